-- The ledger's books: one append-only log per ledger, and the projections that one statement writes beside it.
--
-- Every table's key starts with the ledger's number in this database; nothing ever joins two ledgers. Amounts are minor
-- units in numeric(38, 0). Money moves only in lines; balances, daily_totals and party_balances are sums of lines.
-- Rules that the domain checks are checked here again, set by set in statement triggers; what they refuse they refuse
-- with SQLSTATE 23514 and a constraint name that is the domain's rejection.

create table organizations (
    id uuid primary key,
    slug text not null unique,
    name text not null,
    opened_at timestamptz not null
);

create table currencies (
    organization_id uuid not null references organizations,
    code text not null,
    decimals smallint not null check (decimals between 0 and 18),
    name text not null,
    primary key (organization_id, code)
);

create table ledgers (
    id uuid primary key,
    no integer not null generated always as identity unique,
    organization_id uuid not null references organizations,
    code text not null,
    name text not null,
    functional_currency text not null,
    functional_decimals smallint not null,
    time_zone text not null,
    day_cut_off time not null,
    fiscal_year_start text not null,
    retained_earnings text,
    epoch integer not null default 1,
    sequence bigint not null,
    hash bytea not null check (octet_length(hash) = 32),
    recorded_at timestamptz not null,
    unique (organization_id, code)
) with (fillfactor = 50);

create table log (
    ledger_no integer not null,
    sequence bigint not null,
    payload text not null,
    hash bytea not null,
    primary key (ledger_no, sequence)
);

create table requests (
    ledger_no integer not null,
    scope text not null,
    key text not null,
    fingerprint bytea not null,
    sequence bigint,
    rejection text,
    primary key (ledger_no, scope, key),
    constraint one_outcome check ((sequence is null) <> (rejection is null))
);

create table accounts (
    ledger_no integer not null,
    no integer not null,
    id uuid not null,
    code text not null,
    name text not null,
    type text not null check (type in ('asset', 'liability', 'equity', 'income', 'expense')),
    normal_side text not null check (normal_side in ('debit', 'credit')),
    currency text,
    decimals smallint not null check (decimals between 0 and 18),
    heading jsonb,
    parent_no integer,
    summary boolean not null,
    control_owner text,
    reconcilable boolean not null,
    cash boolean not null,
    cash_flow_class text,
    monetary boolean not null,
    translation text not null,
    overdraft_policy text not null check (overdraft_policy in ('unlimited', 'none', 'limit')),
    overdraft_limit numeric(38, 0) not null check (overdraft_limit >= 0),
    external_id text,
    metadata jsonb not null,
    opened_sequence bigint not null,
    version bigint not null,
    primary key (ledger_no, no),
    constraint account_code_taken unique (ledger_no, code),
    unique (ledger_no, id),
    unique (ledger_no, no, currency),
    constraint summary_has_no_currency check (summary = (currency is null))
);

create table account_changes (
    ledger_no integer not null,
    account_no integer not null,
    sequence bigint not null,
    primary key (ledger_no, account_no, sequence)
);

create table entries (
    ledger_no integer not null,
    id uuid not null,
    sequence bigint not null,
    kind text not null,
    effective_on date not null,
    value_on date not null,
    description text not null,
    external_id text,
    origin_service text,
    origin_document text,
    reverses uuid,
    line_count smallint not null check (line_count between 2 and 1000),
    constraint duplicate_entry_id primary key (ledger_no, id),
    unique (ledger_no, sequence)
);
create unique index duplicate_external_id on entries (ledger_no, external_id) where external_id is not null;
create unique index already_reversed on entries (ledger_no, reverses) where reverses is not null;
create index entries_by_origin on entries (ledger_no, origin_service, origin_document) where origin_document is not null;

create table lines (
    ledger_no integer not null,
    account_no integer not null,
    sequence bigint not null,
    line smallint not null,
    debit boolean not null,
    amount numeric(38, 0) not null constraint amount_not_positive check (amount > 0),
    currency text not null,
    balance_after numeric(38, 0) not null,
    effective_on date not null,
    party text,
    primary key (ledger_no, account_no, sequence, line)
);
-- Lines are appended in the order of their sequence: a block range index finds a slice of the log's lines for nothing.
create index lines_by_sequence on lines using brin (ledger_no, sequence) with (pages_per_range = 16);

-- The currency stands here again, held to the account's by the foreign key, so that the guard of lines finds it in a
-- table with one index: on `accounts` the planner may take another index while statistics are missing (3 ms became 45).
create table balances (
    ledger_no integer not null,
    account_no integer not null,
    currency text,
    debits numeric(38, 0) not null check (debits >= 0),
    credits numeric(38, 0) not null check (credits >= 0),
    version bigint not null,
    primary key (ledger_no, account_no),
    foreign key (ledger_no, account_no, currency) references accounts (ledger_no, no, currency)
) with (fillfactor = 50);

create table daily_totals (
    ledger_no integer not null,
    account_no integer not null,
    effective_on date not null,
    debits numeric(38, 0) not null,
    credits numeric(38, 0) not null,
    primary key (ledger_no, account_no, effective_on)
) with (fillfactor = 50);

create table party_balances (
    ledger_no integer not null,
    account_no integer not null,
    party text not null,
    debits numeric(38, 0) not null,
    credits numeric(38, 0) not null,
    primary key (ledger_no, account_no, party)
) with (fillfactor = 50);

create table relay_cursors (
    ledger_no integer primary key,
    sequence bigint not null,
    hash bytea not null
) with (fillfactor = 50);

-- Guards ------------------------------------------------------------------------------------------------------------

create function must(ok boolean, what text) returns boolean language plpgsql immutable as $$
begin
    if ok is distinct from true then
        raise exception '%', what using errcode = '40001', constraint = 'not_all_written';
    end if;
    return true;
end $$;

create function guard_ledger() returns trigger language plpgsql as $$
begin
    if (new.id, new.no, new.organization_id, new.code, new.functional_currency, new.functional_decimals)
       is distinct from (old.id, old.no, old.organization_id, old.code, old.functional_currency, old.functional_decimals)
    then
        raise exception 'what a ledger is never changes' using errcode = '23514', constraint = 'ledger_is_fixed';
    end if;
    if new.sequence < old.sequence or new.epoch < old.epoch then
        raise exception 'a ledger''s sequence and epoch never fall' using errcode = '23514', constraint = 'sequence_falls';
    end if;
    -- Later than the last and ahead of this clock by more than 2 s is a wrong clock; a clock that jumped back is not.
    if new.recorded_at < old.recorded_at
       or (new.recorded_at > old.recorded_at and new.recorded_at > clock_timestamp() + interval '2 seconds')
    then
        raise exception 'recorded_at % is before the last one or ahead of the clock', new.recorded_at
            using errcode = '23514', constraint = 'recorded_at_is_wrong';
    end if;
    return new;
end $$;
create trigger guard_ledger before update on ledgers for each row execute function guard_ledger();

-- The log is contiguous, ends where the ledger's head is, and each hash covers the one before and the payload.
-- Keyed look-ups as scalar subqueries, and no sequential scans: the plan must not depend on how full a table was once.
create function guard_log() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1
        from (select ledger_no, min(sequence) as low, max(sequence) as high, count(*) as n from added group by ledger_no) a
        where (select l.sequence from ledgers l where l.no = a.ledger_no) is distinct from a.high
           or a.n <> a.high - a.low + 1
           or (a.low > 1 and (select p.sequence from log p where p.ledger_no = a.ledger_no and p.sequence = a.low - 1) is null)
    ) then
        raise exception 'the log would not be contiguous' using errcode = '23514', constraint = 'log_is_contiguous';
    end if;
    if exists (
        select 1
        from (
            select a.hash, a.payload, coalesce(
                lag(a.hash) over (partition by a.ledger_no order by a.sequence),
                (select p.hash from log p where p.ledger_no = a.ledger_no and p.sequence = a.sequence - 1),
                ''::bytea) as previous
            from added a) chained
        where hash is distinct from sha256(previous || convert_to(payload, 'UTF8'))
    ) or exists (
        select 1
        from (select ledger_no, max(sequence) as high from added group by ledger_no) a
        where (select l.hash from ledgers l where l.no = a.ledger_no)
            is distinct from (select g.hash from log g where g.ledger_no = a.ledger_no and g.sequence = a.high)
    ) then
        raise exception 'a hash does not cover its record and the one before' using errcode = '23514', constraint = 'log_hash';
    end if;
    return null;
end $$;
create trigger guard_log after insert on log referencing new table as added
    for each statement execute function guard_log();

-- Every entry balances in every currency, every line is in its account's currency, and no line joins an entry of an
-- earlier transaction: a line's log record was written by this one. The log is contiguous, so its first record says it for all.
create function guard_lines() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1 from added group by ledger_no, sequence, currency
        having sum(case when debit then amount else -amount end) <> 0
    ) then
        raise exception 'an entry does not balance' using errcode = '23514', constraint = 'entry_not_balanced';
    end if;
    if exists (
        select 1
        from (select distinct ledger_no, account_no, currency from added) a
        where (select b.currency from balances b where b.ledger_no = a.ledger_no and b.account_no = a.account_no)
            is distinct from a.currency
    ) then
        raise exception 'a line is not in its account''s currency' using errcode = '23514', constraint = 'currency_mismatch';
    end if;
    if exists (
        select 1
        from (select ledger_no, min(sequence) as low, max(sequence) as high from added group by ledger_no) a
        where coalesce((select l.sequence from ledgers l where l.no = a.ledger_no), -1) < a.high
           or (select g.xmin from log g where g.ledger_no = a.ledger_no and g.sequence = a.low)
              is distinct from pg_current_xact_id()::xid
    ) then
        raise exception 'a line belongs to an entry of its own transaction' using errcode = '23514', constraint = 'lines_are_final';
    end if;
    return null;
end $$;
create trigger guard_lines after insert on lines referencing new table as added
    for each statement execute function guard_lines();

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
        using errcode = '23514', constraint = 'append_only';
end $$;
create trigger append_only before update or delete or truncate on log for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on entries for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on lines for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on requests for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on account_changes for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on ledgers for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on accounts for each statement execute function refuse_change();

-- Roles -------------------------------------------------------------------------------------------------------------
-- migrator owns all of this. The writer inserts and moves heads and sums; the reader sees one organization's rows under
-- forced row-level security; the auditor (relay, verify) reads all and moves the relay's cursors.

revoke all on all tables in schema public from public;
grant usage on schema public to ledger_writer, ledger_reader, ledger_auditor;
grant select, insert on organizations, currencies, ledgers, log, requests, accounts, account_changes, entries, lines,
    balances, daily_totals, party_balances to ledger_writer;
grant update on accounts, daily_totals, party_balances to ledger_writer;
grant update (debits, credits, version) on balances to ledger_writer;
grant update (epoch, sequence, hash, recorded_at, name) on ledgers to ledger_writer;
grant select on all tables in schema public to ledger_reader, ledger_auditor;
grant insert, update on relay_cursors to ledger_auditor;
revoke select on relay_cursors from ledger_reader;

alter table organizations enable row level security;
alter table organizations force row level security;
create policy reads on organizations for select to ledger_reader
    using (id = nullif(current_setting('ledgerbus.organization', true), '')::uuid);
alter table currencies enable row level security;
alter table currencies force row level security;
create policy reads on currencies for select to ledger_reader
    using (organization_id = nullif(current_setting('ledgerbus.organization', true), '')::uuid);
alter table ledgers enable row level security;
alter table ledgers force row level security;
create policy reads on ledgers for select to ledger_reader
    using (organization_id = nullif(current_setting('ledgerbus.organization', true), '')::uuid);

do $$
declare name text;
begin
    foreach name in array array['log', 'requests', 'accounts', 'account_changes', 'entries', 'lines', 'balances',
        'daily_totals', 'party_balances', 'relay_cursors']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to ledger_reader using (ledger_no = nullif(current_setting(''ledgerbus.ledger'', true), '''')::integer)', name);
    end loop;
    foreach name in array array['organizations', 'currencies', 'ledgers', 'log', 'requests', 'accounts',
        'account_changes', 'entries', 'lines', 'balances', 'daily_totals', 'party_balances', 'relay_cursors']
    loop
        execute format('create policy owns on %I to ledger_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to ledger_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to ledger_auditor using (true) with check (true)', name);
    end loop;
end $$;
