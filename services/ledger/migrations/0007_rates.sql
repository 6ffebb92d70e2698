-- Exchange rates as they were heard on fx.events.v1, for translating reports. Append-only: a correction is another row,
-- known later. `known_at` is when this service learned the rate, strictly later than every rate before it, so that
-- "known at" names the same rates whenever it is asked. `organization_id` is null for rates that are everybody's; the
-- organization may be one that this service has never heard of, so it refers to nothing.
create table rates (
    no bigint primary key generated always as identity,
    organization_id uuid,
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

revoke all on rates from public;
grant select, insert on rates to ledger_writer;
grant select on rates to ledger_reader, ledger_auditor;
alter table rates enable row level security;
alter table rates force row level security;
create policy reads on rates for select to ledger_reader using (
    organization_id is null
    or organization_id = nullif(current_setting('ledgerbus.organization', true), '')::uuid);
create policy owns on rates to ledger_migrator using (true) with check (true);
create policy writes on rates to ledger_writer using (true) with check (true);
create policy audits on rates to ledger_auditor using (true) with check (true);
create trigger append_only before update or delete or truncate on rates for each statement execute function refuse_change();
