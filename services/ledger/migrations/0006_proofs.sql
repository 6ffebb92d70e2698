-- What the last proof of each ledger found, and which ledger is being proven now. Written by the auditor. It orders the
-- background proofs and feeds their gauges, over restarts and in all processes alike; it proves nothing by itself.
create table proofs (
    ledger_no integer primary key,
    since timestamptz not null default clock_timestamp(),
    sequence bigint not null default 0,
    proven_at timestamptz,
    violations jsonb not null default '{}',
    claimed_until timestamptz
) with (fillfactor = 50);

revoke all on proofs from public;
grant select, insert, update on proofs to ledger_auditor;
alter table proofs enable row level security;
alter table proofs force row level security;
create policy owns on proofs to ledger_migrator using (true) with check (true);
create policy audits on proofs to ledger_auditor using (true) with check (true);
