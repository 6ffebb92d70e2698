-- What settles an invoice beside payments (early-payment discounts, tax that the customer withheld), refunds that are
-- promised before they are paid, and where a disputed payment's money was.

-- Terms: so much off where all is paid within so many days from the invoice's day. A customer's are its invoices' unless
-- the invoice has its own; those of an invoice stay what they are once it is issued, like its lines.
alter table customers
    add column discount_percent numeric,
    add column discount_days integer,
    add constraint discount_terms_whole check ((discount_percent is null) = (discount_days is null)),
    add constraint discount_terms_in_range
        check (discount_percent > 0 and discount_percent < 100 and discount_days between 0 and 3650);

create table discount_terms (
    organization text not null,
    invoice uuid not null,
    percent numeric not null check (percent > 0 and percent < 100),
    within_days integer not null check (within_days between 0 and 3650),
    primary key (organization, invoice),
    foreign key (organization, invoice) references invoices (organization, id)
);
create trigger guard_added_terms after insert on discount_terms referencing new table as touched
    for each statement execute function guard_invoice_lines();
create trigger guard_changed_terms after update on discount_terms referencing old table as touched
    for each statement execute function guard_invoice_lines();
create trigger guard_removed_terms after delete on discount_terms referencing old table as touched
    for each statement execute function guard_invoice_lines();

-- A discount that was taken, and the row that takes it back. `payment` is the one that took it, null for one by hand;
-- `paid_on` the day that has to be in time. `content` is its sums, as of a credit note.
create table discounts (
    organization text not null,
    id uuid not null,
    ledger text not null,
    invoice uuid not null,
    kind text not null check (kind in ('discount', 'taken-back')),
    payment uuid,
    currency text not null,
    net numeric(38, 0) not null,
    tax numeric(38, 0) not null,
    total numeric(38, 0) not null check (total > 0),
    paid_on date not null,
    on_date date not null,
    content jsonb not null,
    undoes uuid,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint discount_taken_back unique (organization, undoes),
    constraint taken_back_names_its_discount check ((kind = 'taken-back') = (undoes is not null))
);
create index discounts_by_invoice on discounts (invoice);

create table discount_taxes (
    organization text not null,
    discount uuid not null,
    place smallint not null,
    category text not null,
    rate numeric not null,
    exemption_code text,
    exemption_reason text,
    base numeric(38, 0) not null,
    amount numeric(38, 0) not null,
    primary key (organization, discount, place),
    foreign key (organization, discount) references discounts (organization, id)
);

-- Tax that the customer paid to the tax office in our name; `certificate` is the paper that says so.
create table withholdings (
    organization text not null,
    id uuid not null,
    ledger text not null,
    invoice uuid not null,
    kind text not null check (kind in ('withheld', 'taken-back')),
    currency text not null,
    amount numeric(38, 0) not null check (amount > 0),
    certificate text,
    on_date date not null,
    undoes uuid,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint withholding_taken_back unique (organization, undoes),
    constraint taken_back_names_its_withholding check ((kind = 'taken-back') = (undoes is not null))
);
create index withholdings_by_invoice on withholdings (invoice);

-- Customer credit that is promised back: `amount` of it was, so much is paid, so much not to be paid any more.
create table refunds_payable (
    organization text not null,
    id uuid not null,
    ledger text not null,
    customer uuid not null,
    payment uuid,
    currency text not null,
    amount numeric(38, 0) not null check (amount > 0),
    paid numeric(38, 0) not null default 0 check (paid >= 0),
    cancelled numeric(38, 0) not null default 0 check (cancelled >= 0),
    on_date date not null,
    reason text,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    version bigint not null default 1,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, customer) references customers (organization, id),
    constraint refund_exceeds_promised check (paid + cancelled <= amount)
);
create index refunds_payable_by_customer on refunds_payable (customer, id);

create table refund_payable_moves (
    organization text not null,
    id uuid not null,
    refund uuid not null,
    kind text not null check (kind in ('paid', 'cancelled')),
    amount numeric(38, 0) not null check (amount > 0),
    account text,
    on_date date not null,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, refund) references refunds_payable (organization, id)
);
create index refund_payable_moves_by_refund on refund_payable_moves (refund);

-- Where a disputed payment's money was: what of it was on which invoice, in the order in which it was taken off.
create table dispute_allocations (
    organization text not null,
    dispute uuid not null,
    place smallint not null,
    invoice uuid not null,
    amount numeric(38, 0) not null check (amount > 0),
    primary key (organization, dispute, place),
    foreign key (organization, dispute) references disputes (organization, id)
);

-- Guards ------------------------------------------------------------------------------------------------------------

alter table allocations drop constraint allocations_source_check;
alter table allocations add constraint allocations_source_check
    check (source in ('payment', 'credit', 'credit-note', 'discount', 'withholding'));

-- The guards of allocations as they stand, but for one thing: a discount lowers an invoice as a credit note does. (That
-- tax withheld settles it as a payment does they say already.) Either of them tells the two apart in one place.
do $$
declare
    name text;
    before text;
    after text;
begin
    foreach name in array array['guard_allocations', 'guard_invoice_sums']
    loop
        before := pg_get_functiondef(to_regproc(name));
        if before not like '%source <> ''credit-note''%source = ''credit-note''%' then
            raise exception '% does not tell credit notes from payments as expected', name;
        end if;
        after := replace(before, 'source <> ''credit-note''', 'source not in (''credit-note'', ''discount'')');
        after := replace(after, 'source = ''credit-note''', 'source in (''credit-note'', ''discount'')');
        execute after;
    end loop;
end $$;

create function guard_settling_allocations() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1 from added a where a.source = 'discount' and not exists (
            select 1 from discounts d where d.organization = a.organization and d.id = a.source_id
              and d.invoice = a.invoice and d.total = a.amount)
    ) or exists (
        select 1 from added a where a.source = 'withholding' and not exists (
            select 1 from withholdings w where w.organization = a.organization and w.id = a.source_id
              and w.invoice = a.invoice and w.amount = a.amount)
    ) then
        raise exception 'a discount and tax withheld stand on their invoice as their documents say'
            using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    return null;
end $$;
create trigger guard_settling_allocations after insert on allocations referencing new table as added
    for each statement execute function guard_settling_allocations();

-- A discount is within its invoice's terms: in time, and with those that stand no more than the percent of the total.
create function guard_discounts() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
declare terms record;
begin
    select t.percent, i.issued_on + t.within_days as until, i.total into terms
    from discount_terms t join invoices i on i.organization = t.organization and i.id = t.invoice
    where t.organization = new.organization and t.invoice = new.invoice;
    if not found then
        raise exception 'the invoice has no terms for early payment' using errcode = '23514', constraint = 'no_discount_terms';
    end if;
    if new.kind = 'discount' and new.paid_on > terms.until then
        raise exception 'the time for the discount is over' using errcode = '23514', constraint = 'discount_expired';
    end if;
    if (select sum(case when kind = 'discount' then total else -total end) from discounts d
        where d.organization || '' = new.organization and d.invoice = new.invoice) > round(terms.total * terms.percent / 100)
    then
        raise exception 'more than the terms allow' using errcode = '23514', constraint = 'discount_exceeds_terms';
    end if;
    if new.kind = 'taken-back' and not exists (
        select 1 from discounts d where d.organization = new.organization and d.id = new.undoes and d.kind = 'discount'
          and d.invoice = new.invoice and d.total = new.total)
    then
        raise exception 'a discount is taken back whole' using errcode = '23514', constraint = 'undoing_differs';
    end if;
    return null;
end $$;
create trigger guard_discounts after insert on discounts for each row execute function guard_discounts();

-- Each document stands on its invoice: at the end of its transaction its allocation, or the undoing of one, is there.
create function guard_settled() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if not exists (
        select 1 from allocations a
        where a.organization || '' = new.organization and a.source_id = coalesce(new.undoes, new.id)
          and a.invoice = new.invoice and (a.undoes is null) = (new.undoes is null))
    then
        raise exception 'what settles an invoice stands on it' using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    return null;
end $$;
create constraint trigger guard_settled after insert on discounts
    deferrable initially deferred for each row execute function guard_settled();
create constraint trigger guard_settled after insert on withholdings
    deferrable initially deferred for each row execute function guard_settled();

-- What of a promise is paid or cancelled is the sum of its moves.
create function guard_refund_payable() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1 from refunds_payable r
        cross join lateral (
            select coalesce(sum(amount) filter (where kind = 'paid'), 0) as paid,
                   coalesce(sum(amount) filter (where kind = 'cancelled'), 0) as cancelled
            from refund_payable_moves m where m.organization || '' = r.organization and m.refund = r.id) s
        where r.organization = new.organization and r.id = new.id and (r.paid <> s.paid or r.cancelled <> s.cancelled)
    ) then
        raise exception 'what of a promise is paid is the sum of its payments'
            using errcode = '23514', constraint = 'refund_payable_adds_up';
    end if;
    return null;
end $$;
create constraint trigger guard_refund_payable after insert or update of paid, cancelled on refunds_payable
    deferrable initially deferred for each row execute function guard_refund_payable();
create function guard_refund_payable_move() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    if (select sum(amount) from refund_payable_moves m where m.organization || '' = new.organization and m.refund = new.refund)
       is distinct from (select paid + cancelled from refunds_payable r where r.organization = new.organization and r.id = new.refund)
    then
        raise exception 'what of a promise is paid is the sum of its payments'
            using errcode = '23514', constraint = 'refund_payable_adds_up';
    end if;
    return null;
end $$;
create constraint trigger guard_refund_payable_move after insert on refund_payable_moves
    deferrable initially deferred for each row execute function guard_refund_payable_move();

create function guard_refund_payable_fixed() returns trigger language plpgsql as $$
begin
    if (new.organization, new.id, new.ledger, new.customer, new.currency, new.amount, new.created_at)
       is distinct from (old.organization, old.id, old.ledger, old.customer, old.currency, old.amount, old.created_at)
       or new.paid < old.paid or new.cancelled < old.cancelled
    then
        raise exception 'a promise is what it is, and what was paid of it stays paid'
            using errcode = '23514', constraint = 'refund_payable_is_fixed';
    end if;
    return new;
end $$;
create trigger guard_refund_payable_fixed before update on refunds_payable
    for each row execute function guard_refund_payable_fixed();

do $$
declare name text;
begin
    foreach name in array array['discount_taxes', 'refund_payable_moves', 'dispute_allocations']
    loop
        execute format('create trigger append_only before update or delete or truncate on %I for each statement execute function refuse_change()', name);
    end loop;
    foreach name in array array['discounts', 'withholdings', 'refunds_payable']
    loop
        execute format('create trigger never_removed before delete or truncate on %I for each statement execute function refuse_change()', name);
    end loop;
end $$;

-- Roles: as in the migrations before.

revoke all on discount_terms, discounts, discount_taxes, withholdings, refunds_payable, refund_payable_moves,
    dispute_allocations from public;
grant select, insert on discount_terms, discounts, discount_taxes, withholdings, refunds_payable, refund_payable_moves,
    dispute_allocations to invoicing_writer;
grant update, delete on discount_terms to invoicing_writer;
grant update (posting) on discounts, withholdings to invoicing_writer;
grant update (paid, cancelled, posting, version) on refunds_payable to invoicing_writer;
grant select on discount_terms, discounts, discount_taxes, withholdings, refunds_payable, refund_payable_moves,
    dispute_allocations to invoicing_auditor, invoicing_reader;

do $$
declare name text;
begin
    foreach name in array array['discount_terms', 'discounts', 'discount_taxes', 'withholdings', 'refunds_payable',
        'refund_payable_moves', 'dispute_allocations']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;
