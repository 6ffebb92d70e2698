-- Payments in another currency than their invoice's.

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
       or before not like '%select sum(case when undoes is null then amount else -amount end) as allocated%'
    then
        raise exception 'guard_allocations is not what was expected';
    end if;
    after := replace(after, '(u.source, u.source_id, u.invoice, u.amount)', '(u.source, u.source_id, u.invoice, u.amount, u.paid)');
    after := replace(after, '(a.source, a.source_id, a.invoice, a.amount)', '(a.source, a.source_id, a.invoice, a.amount, a.paid)');
    after := replace(after, 'select sum(case when undoes is null then amount else -amount end) as allocated',
        'select sum(case when undoes is null then coalesce(paid, amount) else -coalesce(paid, amount) end) as allocated');
    execute after;
end $$;

create function guard_paid_currency() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1 from added a
        join payments p on p.organization = a.organization and p.id = a.source_id
        join invoices i on i.organization = a.organization and i.id = a.invoice
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
