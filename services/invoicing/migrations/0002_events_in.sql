-- What invoicing hears from others and keeps: exchange rates, how far it has each ledger's log, the book lines of its own
-- accounts; messages that wait for a person or for another message; webhooks in and out.
--
-- Nothing here moves money. Sealed columns hold secrets and what providers sent, which may have personal data in it.

-- Rates, as they were heard on fx.events.v1. Append-only: a correction is another row, known later. `organization` is
-- null for rates that are everybody's.
create table rates (
    no bigint primary key generated always as identity,
    organization text,
    provider text not null,
    base text not null,
    counter text not null,
    rate numeric not null constraint rate_not_positive check (rate > 0),
    rate_on date not null,
    published_at timestamptz not null,
    known_at timestamptz not null unique,
    supersedes text,
    event_source text not null,
    event_id text not null,
    constraint two_currencies check (base <> counter),
    constraint heard_once unique (event_source, event_id)
);
create index rates_by_pair on rates (base, counter, rate_on);

-- How far each ledger's log was heard; the next fact has to continue it.
create table heads (
    organization text not null,
    ledger text not null,
    ledger_id uuid not null unique,
    epoch bigint not null check (epoch > 0),
    sequence bigint not null check (sequence > 0),
    hash text not null check (hash ~ '^[0-9a-f]{64}$'),
    heard_at timestamptz not null,
    primary key (organization, ledger)
) with (fillfactor = 50);

create function guard_head() returns trigger language plpgsql as $$
begin
    if (new.epoch, new.sequence) <= (old.epoch, old.sequence) or new.ledger_id <> old.ledger_id then
        raise exception 'how far a log was heard never falls' using errcode = '23514', constraint = 'head_falls';
    end if;
    return new;
end $$;
create trigger guard_head before update on heads for each row execute function guard_head();
create trigger never_removed before delete or truncate on heads for each statement execute function refuse_change();

-- Accounts that a role is or was mapped to. Their lines are kept from the first fact on; where an account had lines
-- before it was mapped, the log is heard again, and until it was heard through `wanted_through` it is not complete.
create table followed_accounts (
    organization text not null,
    ledger text not null,
    account text not null,
    role text not null,
    wanted_through bigint,
    complete boolean not null default false,
    primary key (organization, ledger, account, role)
);

-- Accounts that have lines which are not kept here.
create table used_accounts (
    organization text not null,
    ledger text not null,
    account text not null,
    primary key (organization, ledger, account)
);

-- Lines on followed accounts, debits positive. `service` is who asked for the entry.
create table book_lines (
    organization text not null,
    ledger text not null,
    sequence bigint not null,
    line smallint not null,
    account text not null,
    currency text not null,
    party text,
    amount numeric(38, 0) not null check (amount <> 0),
    entry_id uuid not null,
    service text not null,
    effective_on date not null,
    primary key (organization, ledger, sequence, line)
);
create index book_lines_by_entry on book_lines (organization, entry_id);
create index book_lines_by_others on book_lines (organization, ledger, sequence) where service <> 'invoicing';
create trigger append_only before update or delete or truncate on book_lines
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on rates
    for each statement execute function refuse_change();

-- Whoever maps a role to an account makes it followed, in the same transaction: an entry can only come later.
create function follow_account() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into followed_accounts (organization, ledger, account, role)
    select organization, ledger, account, role from added
    on conflict do nothing;
    return null;
end $$;
create trigger follow_inserted after insert on account_mappings referencing new table as added
    for each statement execute function follow_account();
create trigger follow_updated after update on account_mappings referencing new table as added
    for each statement execute function follow_account();
insert into followed_accounts (organization, ledger, account, role)
    select organization, ledger, account, role from account_mappings on conflict do nothing;

-- Messages about one document (a payment, a payout) that cannot have their effect yet. While one waits, later ones of
-- that document queue behind it. `value` is as it came, `fixed` what a person put in its place.
create table parked (
    id bigint primary key generated always as identity,
    organization text not null,
    document text not null,
    topic text not null,
    partition integer not null,
    offset_ bigint not null,
    event_source text not null,
    event_id text not null,
    type text not null,
    told_at timestamptz not null,
    value bytea not null,
    fixed bytea,
    headers text not null,
    reason text not null,
    facts jsonb not null default '{}',
    state text not null default 'waiting' check (state in ('waiting', 'released', 'dismissed')),
    parked_at timestamptz not null,
    settled_at timestamptz,
    settled_by text,
    note text,
    constraint parked_once unique (event_source, event_id),
    constraint settled_with_time check ((state = 'waiting') = (settled_at is null))
);
create index parked_waiting on parked (organization, document, id) where state = 'waiting';
create index parked_by_organization on parked (organization, id);

create function guard_parked() returns trigger language plpgsql as $$
begin
    if (new.id, new.organization, new.document, new.event_source, new.event_id, new.type, new.told_at, new.value, new.parked_at)
       is distinct from
       (old.id, old.organization, old.document, old.event_source, old.event_id, old.type, old.told_at, old.value, old.parked_at)
    then
        raise exception 'a parked message is what came' using errcode = '23514', constraint = 'parked_is_fixed';
    end if;
    if old.state <> 'waiting' and new.state <> old.state and not (old.state = 'dismissed' and new.state = 'waiting') then
        raise exception 'what was released had its effect' using errcode = '23514', constraint = 'parked_is_settled';
    end if;
    return new;
end $$;
create trigger guard_parked before update on parked for each row execute function guard_parked();
create trigger never_removed before delete or truncate on parked for each statement execute function refuse_change();

-- Where providers send their webhooks. `code` is the last part of the address; `name` is what a provider's own id of the
-- webhook is (PayPal signs it). Secrets are sealed; while one is replaced there are two.
create table webhook_endpoints (
    organization text not null,
    id uuid not null,
    ledger text not null,
    provider text not null check (provider in ('stripe', 'paypal')),
    code text not null constraint endpoint_taken unique,
    name text not null default '',
    active boolean not null default true,
    created_at timestamptz not null,
    primary key (organization, id)
);

create table webhook_secrets (
    organization text not null,
    owner uuid not null,
    no integer not null,
    key_id text not null,
    sealed bytea not null,
    created_at timestamptz not null,
    ends_at timestamptz,
    primary key (organization, owner, no)
);

-- What providers sent, as it came, sealed; one row per event, however often it is sent.
create table webhooks_in (
    organization text not null,
    endpoint uuid not null,
    event_id text not null,
    event_type text not null,
    key_id text not null,
    sealed bytea not null,
    state text not null default 'stored' check (state in ('stored', 'taken', 'ignored', 'unreadable')),
    detail text,
    received_at timestamptz not null,
    primary key (organization, endpoint, event_id),
    foreign key (organization, endpoint) references webhook_endpoints (organization, id)
);
create index webhooks_stored on webhooks_in (received_at) where state = 'stored';

-- Who hears our events, and each event's way to them.
create table webhook_targets (
    organization text not null,
    id uuid not null,
    url text not null,
    types text[] not null,
    active boolean not null default true,
    created_at timestamptz not null,
    primary key (organization, id)
);

create table webhook_deliveries (
    organization text not null,
    id uuid not null,
    target uuid not null,
    event_id text not null,
    type text not null,
    body bytea not null,
    state text not null default 'waiting' check (state in ('waiting', 'delivered', 'dead')),
    tries integer not null default 0,
    due_at timestamptz not null,
    last_status integer,
    last_fault text,
    created_at timestamptz not null,
    settled_at timestamptz,
    primary key (organization, id),
    foreign key (organization, target) references webhook_targets (organization, id),
    constraint delivered_once unique (organization, target, event_id),
    constraint delivery_settled check ((state = 'waiting') = (settled_at is null))
) with (fillfactor = 80);
create index deliveries_due on webhook_deliveries (due_at) where state = 'waiting';
create index deliveries_by_target on webhook_deliveries (organization, target, created_at, id);

-- Roles: as in the migration before. Sealed secrets are no reader's.

revoke all on rates, heads, followed_accounts, used_accounts, book_lines, parked, webhook_endpoints, webhook_secrets,
    webhooks_in, webhook_targets, webhook_deliveries from public;
grant select, insert on rates, heads, followed_accounts, used_accounts, book_lines, parked, webhook_endpoints,
    webhook_secrets, webhooks_in, webhook_targets, webhook_deliveries to invoicing_writer;
grant update (epoch, sequence, hash, heard_at) on heads to invoicing_writer;
grant update (wanted_through, complete) on followed_accounts to invoicing_writer;
grant update (state, settled_at, settled_by, fixed, reason, facts, note) on parked to invoicing_writer;
grant update (active, name) on webhook_endpoints to invoicing_writer;
grant update (ends_at, key_id, sealed) on webhook_secrets to invoicing_writer;
grant update (state, detail, key_id, sealed) on webhooks_in to invoicing_writer;
grant update (active) on webhook_targets to invoicing_writer;
grant update (state, tries, due_at, last_status, last_fault, settled_at) on webhook_deliveries to invoicing_writer;
grant delete on webhook_secrets, consumer_offsets to invoicing_writer;
grant select on rates, heads, followed_accounts, used_accounts, book_lines, parked, webhook_endpoints, webhook_secrets,
    webhooks_in, webhook_targets, webhook_deliveries to invoicing_auditor;
grant select on rates, heads, followed_accounts, book_lines, parked, webhook_endpoints, webhook_targets,
    webhook_deliveries to invoicing_reader;

do $$
declare name text;
begin
    foreach name in array array['rates', 'heads', 'followed_accounts', 'used_accounts', 'book_lines', 'parked',
        'webhook_endpoints', 'webhook_secrets', 'webhooks_in', 'webhook_targets', 'webhook_deliveries']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        if name = 'rates' then
            create policy reads on rates for select to invoicing_reader
                using (organization is null or organization = current_setting('ledgerbus.organization', true));
        else
            execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        end if;
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;
