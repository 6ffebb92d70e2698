-- Deferred revenue is recognised by itself when an accounting period ends: each ledger's calendar, and how far each
-- invoice with deferred revenue has come. And the hash of each credit note's document, kept as those of invoices are.
--
-- Order within one transaction: a deferral first, then as in the first migration.

-- Deferred revenue ---------------------------------------------------------------------------------------------------

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
-- What a ledger has to do next, in its order: the organization comes first here, for most ledgers are called the same.
create index deferrals_due on deferrals (organization, ledger, recognised_through) where not is_over;

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

-- Credit notes -------------------------------------------------------------------------------------------------------

-- `document_hash` is the SHA-256 of the document as the form of that number renders it, between the parties that stand
-- with its invoice; it comes soon after the issue and then stays.
alter table credit_notes
    add column document_hash bytea check (octet_length(document_hash) = 32),
    add column document_form smallint,
    add constraint hash_with_form check ((document_hash is null) = (document_form is null));
create index credit_notes_unhashed on credit_notes (id) where document_hash is null;

create function guard_credit_note() returns trigger language plpgsql as $$
begin
    if (to_jsonb(new) - array['posting', 'document_hash', 'document_form'])
       is distinct from (to_jsonb(old) - array['posting', 'document_hash', 'document_form'])
       or (old.document_hash is not null and (new.document_hash, new.document_form)
           is distinct from (old.document_hash, old.document_form))
    then
        raise exception 'an issued credit note is what it is' using errcode = '23514', constraint = 'issued_is_fixed';
    end if;
    return new;
end $$;
create trigger guard_credit_note
    before update of organization, id, ledger, invoice, customer, series, year, serial, number, currency, issued_on,
        reason, net, tax, total, applied, to_credit, content, created_at, document_hash, document_form
    on credit_notes for each row execute function guard_credit_note();

-- An invoice's hash stands with its parties since migration 0003; the column that was meant for it was never used.
do $$
declare
    before text := pg_get_functiondef('guard_issued'::regproc);
    after text := regexp_replace(before, '\s+or \(old\.document_hash is not null and [^)]+old\.document_hash\)', '');
begin
    if after = before then
        raise exception 'guard_issued does not look at the hash as expected';
    end if;
    execute after;
end $$;
drop trigger guard_issued on invoices;
alter table invoices drop column document_hash;
create trigger guard_issued
    before update of organization, id, ledger, created_at, customer, series, year, serial, number, currency, issued_on,
        tax_point_on, due_on, net, tax, rounding, total, content, creditor_reference, client_ref, issued_at
    on invoices for each row execute function guard_issued();

-- Roles: as in the migrations before ---------------------------------------------------------------------------------

revoke all on calendars, deferrals from public;
grant select, insert on calendars, deferrals to invoicing_writer;
grant update (document_hash, document_form) on credit_notes to invoicing_writer;
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
