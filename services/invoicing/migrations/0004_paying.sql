-- The same guards at less cost: a payment touches ten rows, and each of them is looked at.
--
-- A row's trigger is called where there is something to refuse, not for every row to find nothing: its condition stands
-- in the trigger and again in the function, which says what is wrong. What was looked at row by row at the end of a
-- transaction is looked at set by set. Indexes that no question needs are gone.

-- Nothing but what these functions refuse makes their conditions true.
drop trigger guard_payment on payments;
create trigger guard_payment before update on payments for each row
    when ((new.organization, new.id, new.ledger, new.provider, new.payment_id, new.currency, new.amount, new.fee,
           new.received_on, new.created_at)
          is distinct from
          (old.organization, old.id, old.ledger, old.provider, old.payment_id, old.currency, old.amount, old.fee,
           old.received_on, old.created_at))
    execute function guard_payment();

drop trigger guard_posting on postings;
create trigger guard_posting before update on postings for each row
    when ((new.organization, new.id, new.ledger, new.document, new.purpose, new.type, new.created_at)
          is distinct from (old.organization, old.id, old.ledger, old.document, old.purpose, old.type, old.created_at)
          or old.state = 'posted' or new.state = 'withdrawn' or old.state = 'withdrawn' or new.attempt < old.attempt)
    execute function guard_posting();

drop trigger guard_movement on movements;
create trigger guard_movement before update on movements for each row
    when ((new.organization, new.posting, new.place, new.ledger, new.role, new.party, new.currency, new.amount)
          is distinct from
          (old.organization, old.posting, old.place, old.ledger, old.role, old.party, old.currency, old.amount)
          or old.sequence is not null)
    execute function guard_movement();

-- A movement is of a posting that is there. Postings are never removed and never get another id (guard_posting), so it
-- is enough to look when movements are added; the posting is of this transaction or of one that is committed.
alter table movements drop constraint movements_organization_posting_fkey;
create function guard_movement_posting() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1
        from (select distinct organization, posting from added) a
        where not exists (select 1 from postings p where p.organization = a.organization and p.id = a.posting)
    ) then
        raise exception 'a movement is of a posting' using errcode = '23514', constraint = 'movement_without_posting';
    end if;
    return null;
end $$;
create trigger guard_movement_posting after insert on movements referencing new table as added
    for each statement execute function guard_movement_posting();

-- What stands on an invoice is the sum of its allocations and write-offs at the end of the transaction: every statement
-- that changes sums notes which, in one row, and the row's deferred trigger looks at all of them at once. The rows are
-- gone at the commit, so they need not be logged.
create unlogged table sums_to_prove (
    no bigint generated always as identity primary key,
    organization text not null,
    invoices uuid[] not null,
    written_off uuid[] not null
);
alter table sums_to_prove enable row level security;
alter table sums_to_prove force row level security;
create policy owns on sums_to_prove to invoicing_migrator using (true) with check (true);

drop trigger guard_invoice_sums on invoices;
drop function guard_invoice_sums();
create function note_invoice_sums() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_hashjoin = on set enable_nestloop = off as $$
begin
    insert into sums_to_prove (organization, invoices, written_off)
    select n.organization, array_agg(n.id),
           coalesce(array_agg(n.id) filter (where n.written_off <> 0 or o.written_off <> 0), '{}')
    from after_change n
    join before_change o on o.organization = n.organization and o.id = n.id
    where o.paid <> n.paid or o.credited <> n.credited or o.written_off <> n.written_off
    group by n.organization;
    return null;
end $$;
create trigger note_invoice_sums after update on invoices
    referencing old table as before_change new table as after_change
    for each statement execute function note_invoice_sums();

create function guard_invoice_sums() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1
        from unnest(new.invoices) as changed (id)
        join invoices i on i.organization = new.organization and i.id = changed.id
        cross join lateral (
            select coalesce(sum(case when undoes is null then amount else -amount end) filter (where source <> 'credit-note'), 0) as paid,
                   coalesce(sum(case when undoes is null then amount else -amount end) filter (where source = 'credit-note'), 0) as credited
            from allocations a where a.organization || '' = i.organization and a.invoice = i.id) s
        where i.paid <> s.paid or i.credited <> s.credited
    ) or exists (
        select 1
        from unnest(new.written_off) as changed (id)
        join invoices i on i.organization = new.organization and i.id = changed.id
        where i.written_off <> (
            select coalesce(sum(case when kind = 'write-off' then amount else -amount end), 0)
            from write_offs w
            where w.organization || '' = i.organization and w.invoice = i.id and w.kind in ('write-off', 'reversal'))
    ) then
        raise exception 'what stands on an invoice is the sum of its allocations and write-offs'
            using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    delete from sums_to_prove where no = new.no;
    return null;
end $$;
create constraint trigger guard_invoice_sums after insert on sums_to_prove
    deferrable initially deferred for each row execute function guard_invoice_sums();

-- Only an undoing names the row that it undoes.
alter table allocations drop constraint already_undone;
create unique index already_undone on allocations (undoes, organization) where undoes is not null;

-- Events are forgotten by time, in the order in which they came.
drop index inbox_by_time;
create index inbox_by_time on inbox using brin (received_at);

-- A message is removed when it is published.
delete from outbox where published_at is not null;
drop index outbox_unpublished;
drop index outbox_published;
alter table outbox drop column published_at;

-- Each row of these is changed once, soon after it is written. Where its page has room for that, no index hears of it.
alter table payments set (fillfactor = 50);
alter table movements set (fillfactor = 50);
