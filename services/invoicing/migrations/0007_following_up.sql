-- Ageing, tax returns and what follows from them.

-- What is open, in the order in which an ageing adds it up; enough in the index itself that no invoice is read for it.
create index invoices_aged on invoices (organization, ledger, customer, currency)
    include (due_on, issued_on, issued_at, open) where status in ('issued', 'part-paid');
-- The few that are not open any more without anything on them.
create index invoices_void on invoices (organization, ledger) where status = 'void';
-- What came after a day or an instant. Both rise with the table, so that block ranges tell it, and an insert pays nothing.
create index allocations_by_time on allocations
    using brin (on_date date_minmax_multi_ops, created_at timestamptz_minmax_multi_ops) with (pages_per_range = 16);

-- Tax ---------------------------------------------------------------------------------------------------------------

-- Under which tax number a ledger's documents are reported, by their tax point, and in which currency.
create table tax_numbers (
    organization text not null,
    ledger text not null,
    valid_from date not null,
    tax_number text not null check (tax_number <> ''),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null,
    constraint tax_number_taken primary key (organization, ledger, valid_from)
);

-- Documents of a tax point, by block ranges: a return looks at whole months, and an issue pays nothing for it.
create index invoices_by_tax_point on invoices
    using brin (tax_point_on date_minmax_multi_ops, issued_at timestamptz_minmax_multi_ops) with (pages_per_range = 16);
create index credit_notes_by_day on credit_notes
    using brin (issued_on date_minmax_multi_ops, created_at timestamptz_minmax_multi_ops) with (pages_per_range = 16);
create index discounts_by_day on discounts using brin (on_date date_minmax_multi_ops) with (pages_per_range = 16);

-- The returns of a tax number follow one another; a gap has its reason.
create table tax_returns (
    organization text not null,
    id uuid not null,
    tax_number text not null,
    from_on date not null,
    to_on date not null,
    basis text not null check (basis in ('accrual', 'cash')),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    gap_reason text check (gap_reason <> ''),
    state text not null default 'open' check (state in ('open', 'filed')),
    base numeric(38, 0),
    tax numeric(38, 0),
    created_at timestamptz not null,
    filed_at timestamptz,
    filed_by text,
    primary key (organization, id),
    constraint return_period_in_order check (to_on >= from_on),
    constraint filed_with_sums check ((state = 'filed') = (filed_at is not null) and (filed_at is null) = (base is null)
        and (base is null) = (tax is null))
);
create index tax_returns_by_number on tax_returns (tax_number, organization, from_on);

-- What a filed return says, line by line. `source` and `part` name what was reported, and it is reported once.
create table tax_return_lines (
    organization text not null,
    tax_return uuid not null,
    place integer not null check (place > 0),
    ledger text not null,
    source text not null,
    part smallint not null,
    kind text not null,
    document uuid not null,
    number text not null,
    tax_point_on date not null,
    is_correction boolean not null,
    category text not null,
    rate numeric not null,
    exemption_code text,
    exemption_reason text,
    currency text not null,
    base numeric(38, 0) not null,
    tax numeric(38, 0) not null,
    base_reported numeric(38, 0) not null,
    tax_reported numeric(38, 0) not null,
    primary key (organization, tax_return, place),
    foreign key (organization, tax_return) references tax_returns (organization, id),
    constraint reported_once unique (source, part, organization)
);

create trigger append_only before update or delete or truncate on tax_return_lines
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on tax_numbers
    for each statement execute function refuse_change();
create trigger never_emptied before truncate on tax_returns for each statement execute function refuse_change();

-- One transaction at a time works on the returns of a tax number.
create function guard_tax_return() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
declare
    one record := case when tg_op = 'DELETE' then old else new end;
    last date;
begin
    perform pg_advisory_xact_lock(hashtextextended('tax-return/' || one.organization || '/' || one.tax_number, 0));
    if tg_op = 'INSERT' then
        select max(to_on) into last from tax_returns
        where organization = new.organization and tax_number = new.tax_number;
        if new.state <> 'open' then
            raise exception 'a tax return begins open' using errcode = '23514', constraint = 'return_begins_open';
        end if;
        if new.from_on <= last then
            raise exception 'the returns of a tax number do not overlap'
                using errcode = '23514', constraint = 'tax_return_overlaps';
        end if;
        if new.from_on > last + 1 and new.gap_reason is null then
            raise exception 'between the returns of a tax number is no day, unless it is said why'
                using errcode = '23514', constraint = 'tax_return_gap';
        end if;
        return new;
    end if;
    if old.state = 'filed' then
        raise exception 'a filed tax return is what was filed' using errcode = '23514', constraint = 'tax_return_filed';
    end if;
    if tg_op = 'DELETE' then
        if exists (select 1 from tax_returns where organization = old.organization
                   and tax_number = old.tax_number and from_on > old.from_on) then
            raise exception 'only the last return of a tax number is taken back'
                using errcode = '23514', constraint = 'tax_return_gap';
        end if;
        return old;
    end if;
    if (new.organization, new.id, new.tax_number, new.from_on, new.to_on, new.basis, new.currency, new.created_at)
       is distinct from
       (old.organization, old.id, old.tax_number, old.from_on, old.to_on, old.basis, old.currency, old.created_at)
    then
        raise exception 'what a tax return is of never changes' using errcode = '23514', constraint = 'tax_return_filed';
    end if;
    if new.state = 'filed' and exists (select 1 from tax_returns where organization = new.organization
                   and tax_number = new.tax_number and from_on < new.from_on and state = 'open') then
        raise exception 'returns are filed one after another'
            using errcode = '23514', constraint = 'earlier_return_open';
    end if;
    return new;
end $$;
create trigger guard_tax_return before insert or update or delete on tax_returns
    for each row execute function guard_tax_return();

-- Lines come with the filing, before it is done; those of an earlier day are corrections, later ones have no place.
create function guard_tax_return_lines() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    if exists (
        select 1 from added a
        join tax_returns r on r.organization = a.organization and r.id = a.tax_return
        where r.state <> 'open'
    ) then
        raise exception 'a filed tax return is what was filed' using errcode = '23514', constraint = 'tax_return_filed';
    end if;
    if exists (
        select 1 from added a
        join tax_returns r on r.organization = a.organization and r.id = a.tax_return
        where a.tax_point_on > r.to_on or a.is_correction <> (a.tax_point_on < r.from_on)
    ) then
        raise exception 'a line is of the period of its return, or corrects an earlier one'
            using errcode = '23514', constraint = 'line_outside_period';
    end if;
    return null;
end $$;
create trigger guard_tax_return_lines after insert on tax_return_lines referencing new table as added
    for each statement execute function guard_tax_return_lines();

-- Roles: as in the migrations before.

revoke all on tax_numbers, tax_returns, tax_return_lines from public;
grant select, insert on tax_numbers, tax_returns, tax_return_lines to invoicing_writer;
grant update (state, base, tax, filed_at, filed_by) on tax_returns to invoicing_writer;
grant delete on tax_returns to invoicing_writer;
grant select on tax_numbers, tax_returns, tax_return_lines to invoicing_auditor, invoicing_reader;

do $$
declare name text;
begin
    foreach name in array array['tax_numbers', 'tax_returns', 'tax_return_lines']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;
