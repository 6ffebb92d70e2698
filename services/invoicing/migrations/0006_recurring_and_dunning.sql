-- Invoices that recur, and reminders of what is overdue.
--
-- Order within one transaction: a recurrence first, then as in the first migration.

-- Recurring invoices -------------------------------------------------------------------------------------------------

-- `template` is the body of POST /invoices without dates; `next_at` is when the next occurrence is due, by this
-- database's clock. Of what was due `due_count` are there, the last of them for the day `last_on`.
create table recurrences (
    organization text not null,
    id uuid not null,
    ledger text not null,
    customer uuid not null,
    template jsonb not null,
    schedule jsonb not null,
    starts_on date not null,
    ends_on date,
    count integer check (count > 0),
    issue boolean not null,
    payment_terms_days integer check (payment_terms_days between 0 and 3650),
    service_period text check (service_period in ('advance', 'arrears')),
    status text not null check (status in ('active', 'paused', 'ended', 'cancelled')),
    due_count integer not null default 0,
    last_on date,
    next_on date,
    next_at timestamptz,
    version bigint not null default 1,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, customer) references customers (organization, id),
    constraint next_while_it_runs check ((status in ('active', 'paused')) = (next_at is not null)
        and (next_at is null) = (next_on is null)),
    constraint next_follows_last check (next_on > last_on),
    constraint count_is_kept check (due_count <= count)
) with (fillfactor = 80);
create index recurrences_due on recurrences (next_at) where status = 'active';
create index recurrences_by_customer on recurrences (customer, id);

-- One row for each day that was due, with its invoice or the reason why there is none.
create table occurrences (
    organization text not null,
    id uuid not null,
    recurrence uuid not null,
    on_date date not null,
    due_at timestamptz not null,
    service_from date,
    service_to date,
    state text not null check (state in ('made', 'needs-attention')),
    invoice uuid,
    rejection jsonb,
    created_at timestamptz not null,
    made_at timestamptz,
    primary key (organization, id),
    foreign key (organization, recurrence) references recurrences (organization, id),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint one_occurrence_a_day unique (recurrence, on_date, organization),
    constraint one_occurrence_an_invoice unique (invoice, organization),
    constraint made_has_an_invoice check ((state = 'made') = (invoice is not null)
        and (state = 'made') = (made_at is not null) and (state = 'made') = (rejection is null))
);
create index occurrences_in_trouble on occurrences (recurrence) where state = 'needs-attention';

create function guard_recurrence() returns trigger language plpgsql as $$
begin
    if (new.organization, new.id, new.ledger, new.customer, new.starts_on, new.created_at)
       is distinct from (old.organization, old.id, old.ledger, old.customer, old.starts_on, old.created_at)
    then
        raise exception 'a recurrence stays its customer''s' using errcode = '23514', constraint = 'recurrence_is_fixed';
    end if;
    if old.status = 'cancelled' then
        raise exception 'nothing comes of what is cancelled' using errcode = '23514', constraint = 'recurrence_over';
    end if;
    if (new.template, new.schedule, new.ends_on, new.count, new.issue, new.payment_terms_days, new.service_period)
       is distinct from
       (old.template, old.schedule, old.ends_on, old.count, old.issue, old.payment_terms_days, old.service_period)
       and new.version <= old.version
    then
        raise exception 'every change raises the version' using errcode = '23514', constraint = 'version_conflict';
    end if;
    if (new.due_count, new.last_on) is distinct from (old.due_count, old.last_on)
       and (new.due_count, new.last_on) is distinct from (old.due_count + 1, old.next_on)
    then
        raise exception 'occurrences come one after another' using errcode = '23514', constraint = 'occurrence_out_of_turn';
    end if;
    return new;
end $$;
create trigger guard_recurrence before update on recurrences for each row execute function guard_recurrence();
create trigger never_removed before delete or truncate on recurrences for each statement execute function refuse_change();

-- An occurrence is the one that its recurrence is at; once it has its invoice it is what it is.
create function guard_occurrence() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        if not exists (
            select 1 from recurrences r
            where r.organization = new.organization and r.id = new.recurrence and r.last_on = new.on_date
        ) then
            raise exception 'occurrences come one after another' using errcode = '23514', constraint = 'occurrence_out_of_turn';
        end if;
    elsif old.state = 'made'
       or (new.organization, new.id, new.recurrence, new.on_date, new.due_at, new.service_from, new.service_to, new.created_at)
          is distinct from
          (old.organization, old.id, old.recurrence, old.on_date, old.due_at, old.service_from, old.service_to, old.created_at)
    then
        raise exception 'an occurrence is what it is' using errcode = '23514', constraint = 'occurrence_made';
    end if;
    return new;
end $$;
create trigger guard_occurrence before insert or update on occurrences for each row execute function guard_occurrence();
create trigger never_removed before delete or truncate on occurrences for each statement execute function refuse_change();

-- Dunning ------------------------------------------------------------------------------------------------------------

-- A ledger's levels, lowest first: [{"days_after_due", "title", "text", "fees": {currency: amount}}].
create table dunning_levels (
    organization text not null,
    ledger text not null,
    levels jsonb not null,
    fee_account text,
    version bigint not null default 1,
    changed_at timestamptz not null,
    primary key (organization, ledger)
);

-- No reminders until the end of a day, or until it is released; of an invoice, or of all that a customer owes.
create table dunning_holds (
    organization text not null,
    id uuid not null,
    invoice uuid,
    customer uuid,
    kind text not null check (kind in ('hold', 'promise')),
    until date,
    reason text,
    created_at timestamptz not null,
    released_at timestamptz,
    primary key (organization, id),
    foreign key (organization, invoice) references invoices (organization, id),
    foreign key (organization, customer) references customers (organization, id),
    constraint hold_of_one check ((invoice is null) <> (customer is null)),
    constraint promise_without_day check (kind <> 'promise' or until is not null)
);
create index dunning_holds_by_invoice on dunning_holds (invoice) where released_at is null;
create index dunning_holds_by_customer on dunning_holds (customer) where released_at is null;

create function guard_dunning_hold() returns trigger language plpgsql as $$
begin
    if old.released_at is not null
       or (new.organization, new.id, new.invoice, new.customer, new.kind, new.until, new.reason, new.created_at)
          is distinct from
          (old.organization, old.id, old.invoice, old.customer, old.kind, old.until, old.reason, old.created_at)
    then
        raise exception 'a hold is released once' using errcode = '23514', constraint = 'hold_released';
    end if;
    return new;
end $$;
create trigger guard_dunning_hold before update on dunning_holds for each row execute function guard_dunning_hold();
create trigger never_removed before delete or truncate on dunning_holds for each statement execute function refuse_change();

-- One letter for a customer and currency; `content` is what it says of the invoices that were open then.
create table dunning_letters (
    organization text not null,
    id uuid not null,
    ledger text not null,
    customer uuid not null,
    currency text not null,
    level smallint not null check (level > 0),
    sent_on date not null,
    fee_invoice uuid,
    content jsonb not null,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, customer) references customers (organization, id),
    foreign key (organization, fee_invoice) references invoices (organization, id)
);
create index dunning_letters_by_customer on dunning_letters (customer, id);
create index disputes_open on disputes (payment) where status = 'opened';
create index dunning_fees on dunning_letters (fee_invoice) where fee_invoice is not null;

-- An invoice's reminders: each level once in a round, which ends when nothing is open any more.
create table dunning_steps (
    organization text not null,
    invoice uuid not null,
    round integer not null,
    level smallint not null,
    letter uuid not null,
    sent_on date not null,
    primary key (organization, invoice, round, level),
    foreign key (organization, invoice) references invoices (organization, id),
    foreign key (organization, letter) references dunning_letters (organization, id)
);
create index dunning_steps_by_letter on dunning_steps (letter);
create trigger append_only before update or delete or truncate on dunning_letters
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on dunning_steps
    for each statement execute function refuse_change();

alter table invoices
    add column dunning_level smallint not null default 0 check (dunning_level >= 0),
    add column dunning_round integer not null default 0;

-- What is paid, credited, written off or void needs no reminder: its level is 0 again, and a new round begins should it
-- be open once more. Nothing is looked at unless a reminder was sent.
create function end_dunning() returns trigger language plpgsql as $$
begin
    new.dunning_level := 0;
    new.dunning_round := old.dunning_round + 1;
    return new;
end $$;
create trigger end_dunning before update on invoices for each row
    when (old.dunning_level > 0 and (new.status = 'void' or new.paid + new.credited + new.written_off = new.total))
    execute function end_dunning();

-- A level is a reminder that was sent, and rises until nothing is open.
create function guard_dunning_level() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if new.dunning_level = 0 and new.dunning_round = old.dunning_round + 1
       and (new.status = 'void' or new.paid + new.credited + new.written_off = new.total) then
        return new;
    end if;
    if new.dunning_round <> old.dunning_round or new.dunning_level <= old.dunning_level or not exists (
        select 1 from dunning_steps s
        where s.organization = new.organization and s.invoice = new.id and s.round = new.dunning_round
          and s.level = new.dunning_level
    ) then
        raise exception 'a dunning level is a letter that was sent' using errcode = '23514', constraint = 'dunning_level_unsent';
    end if;
    return new;
end $$;
create trigger guard_dunning_level after update on invoices for each row
    when (old.dunning_level <> new.dunning_level or old.dunning_round <> new.dunning_round)
    execute function guard_dunning_level();

-- A step is of an invoice on which something is open.
create function guard_dunning_step() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if not exists (
        select 1 from invoices i
        where i.organization = new.organization and i.id = new.invoice and i.status in ('issued', 'part-paid')
          and i.dunning_round = new.round and i.dunning_level < new.level
    ) then
        raise exception 'reminders are of what is open, and rise' using errcode = '23514', constraint = 'dunning_step_illegal';
    end if;
    return new;
end $$;
create trigger guard_dunning_step before insert on dunning_steps for each row execute function guard_dunning_step();

-- Roles: as in the migrations before ---------------------------------------------------------------------------------

revoke all on recurrences, occurrences, dunning_levels, dunning_holds, dunning_letters, dunning_steps from public;
grant select, insert on recurrences, occurrences, dunning_levels, dunning_holds, dunning_letters, dunning_steps
    to invoicing_writer;
grant update on recurrences to invoicing_writer;
grant update (state, invoice, rejection, made_at) on occurrences to invoicing_writer;
grant update (levels, fee_account, version, changed_at) on dunning_levels to invoicing_writer;
grant update (released_at) on dunning_holds to invoicing_writer;
grant select on recurrences, occurrences, dunning_levels, dunning_holds, dunning_letters, dunning_steps
    to invoicing_auditor, invoicing_reader;

do $$
declare name text;
begin
    foreach name in array array['recurrences', 'occurrences', 'dunning_levels', 'dunning_holds', 'dunning_letters',
        'dunning_steps']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;
