-- Payments in another currency than their invoice's; and what was done wrongly, taken back: relief, recoveries, payouts, kept
-- credit, refunds that come back. Each is taken back by a dated row of its own, never by a change.

-- Payments in another currency --------------------------------------------------------------------------------------

-- The rate that the payer states between the payment's currency and its invoices': `stated_rate` units of the counter
-- for one of the base. What of such a payment goes back goes back at it.
alter table payments
    add column stated_base text,
    add column stated_counter text,
    add column stated_rate numeric,
    add constraint rate_stated_whole check ((stated_base is null) = (stated_counter is null)
        and (stated_base is null) = (stated_rate is null)),
    add constraint rate_mismatch check (stated_rate > 0),
    add constraint rate_of_the_payment check (stated_base <> stated_counter and currency in (stated_base, stated_counter));

-- `amount` is in the invoice's currency, as ever; `paid` what of the payment went there, where that has another one.
alter table allocations
    add column paid numeric(38, 0) constraint paid_not_positive check (paid > 0),
    add constraint paid_by_a_payment check (paid is null or source = 'payment');
alter table dispute_allocations
    add column settled numeric(38, 0) constraint settled_not_positive check (settled > 0);

create function guard_payment_rate() returns trigger language plpgsql as $$
begin
    raise exception 'the rate that was stated is what it is' using errcode = '23514', constraint = 'payment_is_fixed';
end $$;
create trigger guard_stated_rate before update of stated_base, stated_counter, stated_rate on payments for each row
    when ((new.stated_base, new.stated_counter, new.stated_rate)
          is distinct from (old.stated_base, old.stated_counter, old.stated_rate))
    execute function guard_payment_rate();

-- The guard of allocations as it stands, but for this: of a payment it adds up what was paid, an undoing is of both
-- amounts, and both are there where the currencies differ, and only there.
do $$
declare
    before text := pg_get_functiondef(to_regproc('guard_allocations'));
    after text := before;
begin
    if before not like '%(u.source, u.source_id, u.invoice, u.amount)%(a.source, a.source_id, a.invoice, a.amount)%'
       or before not like '%select organization, ''allocated'', source_id, undoes, amount from added%'
    then
        raise exception 'guard_allocations is not what was expected';
    end if;
    after := replace(after, '(u.source, u.source_id, u.invoice, u.amount)', '(u.source, u.source_id, u.invoice, u.amount, u.paid)');
    after := replace(after, '(a.source, a.source_id, a.invoice, a.amount)', '(a.source, a.source_id, a.invoice, a.amount, a.paid)');
    after := replace(after, 'select organization, ''allocated'', source_id, undoes, amount from added',
        'select organization, ''allocated'', source_id, undoes, coalesce(paid, amount) from added');
    execute after;
end $$;

-- (`offset 0`: row by row by their keys, whatever the planner believes of tables that it has not looked at yet.)
create function guard_paid_currency() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1 from added a
        cross join lateral (
            select ledger, currency, stated_base, stated_counter from payments
            where organization = a.organization and id = a.source_id offset 0) p
        cross join lateral (
            select ledger, currency from invoices where organization = a.organization and id = a.invoice offset 0) i
        where a.source = 'payment' and a.undoes is null
          and (p.ledger <> i.ledger or (a.paid is null) <> (p.currency = i.currency)
               or (a.paid is not null and i.currency is distinct from case p.currency
                       when p.stated_base then p.stated_counter else p.stated_base end))
    ) then
        raise exception 'a payment settles an invoice of its ledger, in its currency or at the rate it states'
            using errcode = '23514', constraint = 'currency_mismatch';
    end if;
    return null;
end $$;
create trigger guard_paid_currency after insert on allocations referencing new table as added
    for each statement execute function guard_paid_currency();

-- Taken back ----------------------------------------------------------------------------------------------------------

-- Relief and recoveries are taken back by another row, which names the one that it takes back; so a write-off whose
-- relief was taken back has none, and may have another.
alter table write_offs drop constraint write_offs_kind_check;
alter table write_offs add constraint write_offs_kind_check
    check (kind in ('write-off', 'reversal', 'relief', 'recovery', 'relief-taken-back', 'recovery-taken-back'));
alter table write_offs drop constraint write_off_undone;
create unique index write_off_undone on write_offs (undoes, organization)
    where kind in ('reversal', 'relief-taken-back', 'recovery-taken-back');

create function guard_write_offs() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
declare sums record;
begin
    perform 1 from invoices where organization = new.organization and id = new.invoice for no key update;
    if new.kind in ('reversal', 'relief') and exists (
        select 1 from write_offs w
        where w.organization || '' = new.organization and w.invoice = new.invoice and w.undoes = new.undoes
          and w.id <> new.id and w.kind in ('reversal', 'relief')
          and not exists (select 1 from write_offs u where u.organization = w.organization and u.undoes = w.id
                            and u.kind = 'relief-taken-back'))
    then
        raise exception 'a write-off is taken back or relieved once' using errcode = '23514', constraint = 'already_undone';
    end if;
    if new.kind in ('relief-taken-back', 'recovery-taken-back') and not exists (
        select 1 from write_offs w
        where w.organization = new.organization and w.id = new.undoes and w.invoice = new.invoice
          and w.amount = new.amount and w.kind || '-taken-back' = new.kind)
    then
        raise exception 'relief and recoveries are taken back whole' using errcode = '23514', constraint = 'undoing_differs';
    end if;
    select coalesce(sum(amount) filter (where kind = 'write-off'), 0)
           - coalesce(sum(amount) filter (where kind = 'reversal'), 0) as given_up,
           coalesce(sum(amount) filter (where kind = 'recovery'), 0)
           - coalesce(sum(amount) filter (where kind = 'recovery-taken-back'), 0) as recovered
    into sums
    from write_offs w where w.organization || '' = new.organization and w.invoice = new.invoice;
    if sums.recovered > sums.given_up then
        raise exception 'no more comes in than was given up'
            using errcode = '23514', constraint = 'recovery_exceeds_write_off';
    end if;
    return null;
end $$;
create trigger guard_write_offs after insert on write_offs for each row execute function guard_write_offs();

-- A payout that was recorded wrongly.
create table payout_reversals (
    organization text not null,
    id uuid not null,
    payout uuid not null,
    on_date date not null,
    reason text,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, payout) references payouts (organization, id),
    constraint payout_taken_back unique (organization, payout)
);

-- What of payments was kept as their customers' credit, and taken back.
create table kept_credits (
    organization text not null,
    id uuid not null,
    payment uuid not null,
    kind text not null check (kind in ('kept', 'taken-back')),
    amount numeric(38, 0) not null check (amount > 0),
    on_date date not null,
    undoes uuid,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, payment) references payments (organization, id),
    constraint kept_credit_taken_back unique (organization, undoes),
    constraint taken_back_names_what_was_kept check ((kind = 'taken-back') = (undoes is not null))
);
create index kept_credits_by_payment on kept_credits (payment);

-- Those of before, by their entries: the purpose names them.
insert into kept_credits (organization, id, payment, kind, amount, on_date, created_at)
select p.organization, split_part(p.purpose, '/', 2)::uuid, split_part(p.document, '/', 2)::uuid, 'kept',
    -sum(m.amount), (convert_from(p.draft, 'UTF8')::jsonb ->> 'effective_on')::date, p.created_at
from postings p
join movements m on m.organization = p.organization and m.posting = p.id and m.role = 'customer-credit'
where p.purpose like 'kept_as_credit/%'
group by p.organization, p.id, p.purpose, p.document, p.draft, p.created_at;

create function guard_kept_credits() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if new.kind = 'taken-back' and not exists (
        select 1 from kept_credits k
        where k.organization = new.organization and k.id = new.undoes and k.kind = 'kept' and k.payment = new.payment
          and k.amount = new.amount)
    then
        raise exception 'kept credit is taken back whole' using errcode = '23514', constraint = 'undoing_differs';
    end if;
    return null;
end $$;
create trigger guard_kept_credits after insert on kept_credits for each row execute function guard_kept_credits();

-- A refund that comes back is another row that names it; from where its money was taken is kept as of a dispute.
alter table refunds drop constraint refunds_kind_check;
alter table refunds
    add column undoes uuid,
    add constraint refunds_kind_check check (kind in ('refund', 'return', 'bounced')),
    add constraint bounced_names_its_refund check ((kind = 'bounced') = (undoes is not null));
create unique index refund_bounced on refunds (undoes, organization) where undoes is not null;

create table refund_allocations (
    organization text not null,
    refund uuid not null,
    place smallint not null,
    invoice uuid not null,
    amount numeric(38, 0) not null check (amount > 0),
    settled numeric(38, 0) check (settled > 0),
    primary key (organization, refund, place),
    foreign key (organization, refund) references refunds (organization, id)
);

create function guard_bounced() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if not exists (
        select 1 from refunds r
        where r.organization = new.organization and r.id = new.undoes and r.kind <> 'bounced'
          and r.payment = new.payment and r.currency = new.currency and r.amount = new.amount)
    then
        raise exception 'a refund comes back whole' using errcode = '23514', constraint = 'undoing_differs';
    end if;
    return null;
end $$;
create trigger guard_bounced after insert on refunds for each row when (new.undoes is not null)
    execute function guard_bounced();

-- What was paid of a promise and came back is owed again: a move of its own, by which what is paid falls.
alter table refund_payable_moves drop constraint refund_payable_moves_kind_check;
alter table refund_payable_moves add constraint refund_payable_moves_kind_check
    check (kind in ('paid', 'cancelled', 'bounced'));

create or replace function guard_refund_payable() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1 from refunds_payable r
        cross join lateral (
            select coalesce(sum(case when kind = 'bounced' then -amount else amount end)
                       filter (where kind <> 'cancelled'), 0) as paid,
                   coalesce(sum(amount) filter (where kind = 'cancelled'), 0) as cancelled
            from refund_payable_moves m where m.organization || '' = r.organization and m.refund = r.id) s
        where r.organization = new.organization and r.id = new.id and (r.paid <> s.paid or r.cancelled <> s.cancelled)
    ) then
        raise exception 'what of a promise is paid is the sum of its payments'
            using errcode = '23514', constraint = 'refund_payable_adds_up';
    end if;
    return null;
end $$;

create or replace function guard_refund_payable_move() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    if (select sum(case when kind = 'bounced' then -amount else amount end) from refund_payable_moves m
        where m.organization || '' = new.organization and m.refund = new.refund)
       is distinct from (select paid + cancelled from refunds_payable r where r.organization = new.organization and r.id = new.refund)
    then
        raise exception 'what of a promise is paid is the sum of its payments'
            using errcode = '23514', constraint = 'refund_payable_adds_up';
    end if;
    return null;
end $$;

create or replace function guard_refund_payable_fixed() returns trigger language plpgsql as $$
begin
    if (new.organization, new.id, new.ledger, new.customer, new.currency, new.amount, new.created_at)
       is distinct from (old.organization, old.id, old.ledger, old.customer, old.currency, old.amount, old.created_at)
       or new.cancelled < old.cancelled
    then
        raise exception 'a promise is what it is' using errcode = '23514', constraint = 'refund_payable_is_fixed';
    end if;
    return new;
end $$;

do $$
declare name text;
begin
    foreach name in array array['payout_reversals', 'kept_credits', 'refund_allocations']
    loop
        execute format('create trigger append_only before update or delete or truncate on %I for each statement execute function refuse_change()', name);
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;

-- Roles: as in the migrations before.

revoke all on payout_reversals, kept_credits, refund_allocations from public;
grant select, insert on payout_reversals, kept_credits, refund_allocations to invoicing_writer;
grant select on payout_reversals, kept_credits, refund_allocations to invoicing_auditor, invoicing_reader;
