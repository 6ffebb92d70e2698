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

-- Rows of ledgers that are not there, in whatever table has a ledger's number: no proof of a ledger would see them. Keys
-- begin with the number, so it costs a look into an index for each ledger and table, however many rows there are.
create function find_strays() returns table (place text, ledger_no integer) language plpgsql stable
    set search_path = public, pg_temp set enable_seqscan = off as $$
declare name text;
begin
    for name in
        select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attname = 'ledger_no'
            and not a.attisdropped
        order by 1
    loop
        return query execute format('
            with recursive numbers (no) as (
                (select t.ledger_no from %1$I t order by 1 limit 1)
                union all
                select (select t.ledger_no from %1$I t where t.ledger_no > n.no order by 1 limit 1)
                from numbers n where n.no is not null
            )
            select %1$L::text, n.no from numbers n
            where n.no is not null and not exists (select from ledgers l where l.no = n.no)', name);
    end loop;
end $$;
revoke all on function find_strays() from public;
grant execute on function find_strays() to ledger_auditor;
