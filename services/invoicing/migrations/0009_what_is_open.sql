-- What is open stands in a table of its own, and sums are proved by their differences: a payment changes one invoice, and
-- no index of invoices hears of it.
--
-- `status` in the predicate of an index made every change of an invoice a change of all its indexes. What is open is
-- few columns of few invoices, so it is kept beside them: by the triggers below alone, nobody may write it.

create table open_invoices (
    organization text not null,
    invoice uuid not null,
    ledger text not null,
    customer uuid not null,
    currency text not null,
    due_on date not null,
    issued_on date not null,
    issued_at timestamptz not null,
    open numeric(38, 0) not null check (open > 0),
    primary key (organization, invoice)
) with (fillfactor = 90);
insert into open_invoices
select organization, id, ledger, customer, currency, due_on, issued_on, issued_at, open
from invoices where status in ('issued', 'part-paid') order by organization, ledger, customer, currency, due_on, id;
-- In the order in which an ageing adds it up and a payment is placed; enough in the index itself that no row is read.
create unique index open_invoices_aged on open_invoices (organization, ledger, customer, currency, due_on, invoice)
    include (issued_on, issued_at, open);
alter table open_invoices enable row level security;
alter table open_invoices force row level security;
create policy reads on open_invoices for select to invoicing_reader
    using (organization = current_setting('ledgerbus.organization', true));
create policy owns on open_invoices to invoicing_migrator using (true) with check (true);
create policy writes on open_invoices for select to invoicing_writer using (true);
create policy audits on open_invoices for select to invoicing_auditor using (true);
grant select on open_invoices to invoicing_writer, invoicing_reader, invoicing_auditor;

drop index invoices_open;
drop index invoices_aged;
drop index invoices_void;
create index invoices_void on invoices (organization, ledger) where voided_at is not null;
alter table invoices add constraint void_has_its_time check ((status = 'void') = (voided_at is not null));
-- An invoice is changed when it is posted and when it is paid; where its page has room for that, no index hears of it.
alter table invoices set (fillfactor = 50);

-- What stands on an invoice is the sum of its allocations and write-offs, and what a payment placed is the sum of its
-- allocations. Every statement that changes one side notes by how much, and with the other sign where it changes the
-- other; at the commit the notes of a transaction have to come to nothing, for each invoice and payment. Sums that were
-- right before are right after, and no row of before is read for it.
drop trigger note_invoice_sums on invoices;
drop function note_invoice_sums();
drop trigger guard_allocations on allocations;
drop function guard_allocations();
drop table sums_to_prove;
drop function guard_invoice_sums();

create unlogged table sums_to_prove (
    transaction xid8 not null default pg_current_xact_id(),
    no bigint generated always as identity,
    organization text not null,
    what text not null check (what in ('paid', 'credited', 'written-off', 'allocated')),
    ids uuid[] not null,
    differences numeric[] not null,
    primary key (transaction, no)
);
alter table sums_to_prove enable row level security;
alter table sums_to_prove force row level security;
create policy owns on sums_to_prove to invoicing_migrator using (true) with check (true);

create function guard_sums() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
declare wrong text;
begin
    with noted as (
        delete from sums_to_prove where transaction = new.transaction returning organization, what, ids, differences
    )
    select n.what || ' of ' || d.id || ' is off by ' || sum(d.difference) into wrong
    from noted n
    cross join lateral unnest(n.ids, n.differences) as d (id, difference)
    group by n.organization, n.what, d.id
    having sum(d.difference) <> 0
    limit 1;
    if wrong is not null then
        raise exception 'what stands on an invoice or is placed of a payment is the sum of its allocations and write-offs: %', wrong
            using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    return null;
end $$;
create constraint trigger guard_sums after insert on sums_to_prove
    deferrable initially deferred for each row execute function guard_sums();

create function follow_issued_invoices() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    insert into open_invoices
    select organization, id, ledger, customer, currency, due_on, issued_on, issued_at, open
    from added where status in ('issued', 'part-paid');
    return null;
end $$;
create trigger follow_issued_invoices after insert on invoices referencing new table as added
    for each statement execute function follow_issued_invoices();

create function follow_changed_invoices() returns trigger language plpgsql security definer
    set search_path = public, pg_temp
    set enable_hashjoin = on set enable_nestloop = off set enable_seqscan = off as $$
declare changed record;
begin
    for changed in
        select n.organization,
            array_agg(n.id) filter (where n.paid <> o.paid) as paid,
            array_agg(n.paid - o.paid) filter (where n.paid <> o.paid) as paid_by,
            array_agg(n.id) filter (where n.credited <> o.credited) as credited,
            array_agg(n.credited - o.credited) filter (where n.credited <> o.credited) as credited_by,
            array_agg(n.id) filter (where n.written_off <> o.written_off) as written_off,
            array_agg(n.written_off - o.written_off) filter (where n.written_off <> o.written_off) as written_off_by,
            array_agg(n.id) filter (where n.status not in ('issued', 'part-paid')) as closed,
            array_agg(n.id) filter (where n.status in ('issued', 'part-paid')) as open
        from after_change n
        join before_change o on o.organization = n.organization and o.id = n.id
        where n.paid <> o.paid or n.credited <> o.credited or n.written_off <> o.written_off or n.status <> o.status
        group by n.organization
    loop
        insert into sums_to_prove (organization, what, ids, differences)
        select changed.organization, noted.what, noted.ids, noted.differences
        from (values ('paid', changed.paid, changed.paid_by), ('credited', changed.credited, changed.credited_by),
            ('written-off', changed.written_off, changed.written_off_by)) as noted (what, ids, differences)
        where noted.ids is not null;
        if changed.closed is not null then
            delete from open_invoices where organization = changed.organization and invoice = any(changed.closed);
        end if;
        if changed.open is not null then
            insert into open_invoices
            select organization, id, ledger, customer, currency, due_on, issued_on, issued_at, open
            from invoices where organization = changed.organization and id = any(changed.open)
            on conflict (organization, invoice) do update set open = excluded.open;
        end if;
    end loop;
    return null;
end $$;
create trigger follow_changed_invoices after update on invoices
    referencing old table as before_change new table as after_change
    for each statement execute function follow_changed_invoices();

create function guard_allocations() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (select 1 from added where undoes is not null) and exists (
        select 1
        from added a
        left join allocations u on u.organization = a.organization and u.id = a.undoes
        where a.undoes is not null
          and (u.undoes is not null or (u.source, u.source_id, u.invoice, u.amount)
               is distinct from (a.source, a.source_id, a.invoice, a.amount))
    ) then
        raise exception 'an undoing is of the same amount, source and invoice' using errcode = '23514', constraint = 'undoing_differs';
    end if;
    insert into sums_to_prove (organization, what, ids, differences)
    select organization, what, array_agg(id), array_agg(case when undoes is null then -amount else amount end)
    from (
        select organization, case when source in ('credit-note', 'discount') then 'credited' else 'paid' end as what,
            invoice as id, undoes, amount
        from added
        union all
        select organization, 'allocated', source_id, undoes, amount from added where source = 'payment'
    ) told
    group by organization, what;
    return null;
end $$;
create trigger guard_allocations after insert on allocations referencing new table as added
    for each statement execute function guard_allocations();

create function note_write_offs() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    insert into sums_to_prove (organization, what, ids, differences)
    select organization, 'written-off', array_agg(invoice),
        array_agg(case kind when 'write-off' then -amount else amount end)
    from added where kind in ('write-off', 'reversal')
    group by organization;
    return null;
end $$;
create trigger note_write_offs after insert on write_offs referencing new table as added
    for each statement execute function note_write_offs();

create function note_new_payments() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    insert into sums_to_prove (organization, what, ids, differences)
    select organization, 'allocated', array_agg(id), array_agg(allocated) from added where allocated <> 0
    group by organization;
    return null;
end $$;
create trigger note_new_payments after insert on payments referencing new table as added
    for each statement execute function note_new_payments();

create function note_changed_payment() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    insert into sums_to_prove (organization, what, ids, differences)
    values (new.organization, 'allocated', array[new.id], array[new.allocated - old.allocated]);
    return null;
end $$;
create trigger note_changed_payment after update on payments for each row
    when (old.allocated <> new.allocated) execute function note_changed_payment();
