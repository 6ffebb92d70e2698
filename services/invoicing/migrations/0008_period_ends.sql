-- Deferred revenue is recognised by itself when an accounting period ends: each ledger's calendar, and how far each
-- invoice with deferred revenue has come.
--
-- Order within one transaction: a deferral first, then as in the first migration.

-- Until when days last and when months begin in a ledger, as its log tells it in its first record; nothing of it ever
-- changes. `fiscal_year_start` is MM-DD.
create table calendars (
    organization text not null,
    ledger text not null,
    time_zone text not null check (time_zone <> ''),
    day_cut_off time not null,
    fiscal_year_start text not null check (fiscal_year_start ~ '^(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$'),
    primary key (organization, ledger)
);
create trigger append_only before update or delete or truncate on calendars
    for each statement execute function refuse_change();

-- Calendars of logs that were heard before now: every log is heard again from its first record, and what of it is known
-- changes nothing.
delete from consumer_offsets where topic = 'ledger.events.v1';

-- Whether deferred revenue of a ledger is recognised at each period's end, or only when somebody asks for it.
alter table receivables_settings add column recognition text not null default 'period-end'
    check (recognition in ('period-end', 'by-hand'));

-- One row for each issued invoice that defers revenue. Every period end up to `recognised_through` is done; it begins the
-- day before the invoice's, since nothing is recognised before there is an invoice. What cannot be recognised yet says why
-- and is tried again.
create table deferrals (
    organization text not null,
    invoice uuid not null,
    ledger text not null,
    ends_on date not null,
    recognised_through date not null,
    is_over boolean not null default false,
    rejection jsonb,
    retry_at timestamptz,
    primary key (organization, invoice),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint refused_is_tried_again check ((rejection is null) = (retry_at is null)),
    constraint over_without_rejection check (not is_over or rejection is null)
) with (fillfactor = 80);
create index deferrals_due on deferrals (ledger, recognised_through, organization) where not is_over;

create function guard_deferral() returns trigger language plpgsql as $$
begin
    if (new.organization, new.invoice, new.ledger, new.ends_on)
       is distinct from (old.organization, old.invoice, old.ledger, old.ends_on)
    then
        raise exception 'what an invoice defers is fixed with it' using errcode = '23514', constraint = 'deferral_is_fixed';
    end if;
    if new.recognised_through < old.recognised_through or (old.is_over and not new.is_over) then
        raise exception 'how far revenue was recognised never falls' using errcode = '23514', constraint = 'recognition_falls';
    end if;
    return new;
end $$;
create trigger guard_deferral before update on deferrals for each row execute function guard_deferral();
create trigger never_removed before delete or truncate on deferrals for each statement execute function refuse_change();

insert into deferrals (organization, invoice, ledger, ends_on, recognised_through)
    select i.organization, i.id, i.ledger, max(l.service_to), i.issued_on - 1
    from invoices i
    join invoice_lines l on l.organization = i.organization and l.invoice = i.id and l.service_to > i.issued_on
    where i.status not in ('draft', 'void')
    group by i.organization, i.id;

-- Roles: as in the migrations before ---------------------------------------------------------------------------------

revoke all on calendars, deferrals from public;
grant select, insert on calendars, deferrals to invoicing_writer;
grant update (recognised_through, is_over, rejection, retry_at) on deferrals to invoicing_writer;
grant select on calendars, deferrals to invoicing_auditor, invoicing_reader;

do $$
declare name text;
begin
    foreach name in array array['calendars', 'deferrals']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;
