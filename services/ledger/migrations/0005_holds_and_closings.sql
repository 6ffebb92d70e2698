-- Holds, what is pending by them, accounts that are frozen or closed, and the closing of days, months and years.
--
-- Pending sums stand beside the posted ones in `balances`; `pendings` keeps what they were after each record that moved
-- them, so that they too can be asked for as of a sequence. The ledger's row says through when it is closed; each change
-- of that is a row of `closings` at the sequence of its record, and the guards read the one in force at an entry's sequence.

alter table accounts
    add column frozen text check (frozen in ('in', 'out', 'both')),
    add column closed boolean not null default false;

alter table balances
    add column pending_debits numeric(38, 0) not null default 0 check (pending_debits >= 0),
    add column pending_credits numeric(38, 0) not null default 0 check (pending_credits >= 0);

alter table ledgers
    add column days_closed_through date,
    add column soft_closed_through date,
    add column closed_through date;

create table holds (
    ledger_no integer not null,
    id uuid not null,
    status text not null check (status in ('pending', 'captured', 'released', 'expired')),
    expires_at timestamptz,
    placed_sequence bigint not null,
    version bigint not null,
    constraint duplicate_hold_id primary key (ledger_no, id)
) with (fillfactor = 80);
create index holds_by_expiry on holds (expires_at) where status = 'pending' and expires_at is not null;
create index holds_by_placing on holds (ledger_no, placed_sequence);

create table hold_lines (
    ledger_no integer not null,
    hold_id uuid not null,
    line smallint not null,
    account_no integer not null,
    debit boolean not null,
    amount numeric(38, 0) not null check (amount > 0),
    captured numeric(38, 0) not null default 0,
    party text,
    primary key (ledger_no, hold_id, line),
    constraint capture_exceeds_hold check (captured between 0 and amount)
) with (fillfactor = 80);
create index hold_lines_by_account on hold_lines (ledger_no, account_no);

create table pendings (
    ledger_no integer not null,
    account_no integer not null,
    sequence bigint not null,
    pending_debits numeric(38, 0) not null,
    pending_credits numeric(38, 0) not null,
    primary key (ledger_no, account_no, sequence)
);

create table closings (
    ledger_no integer not null,
    sequence bigint not null,
    type text not null check (type in ('day-closed', 'period-soft-closed', 'period-closed', 'period-reopened',
        'year-closed', 'year-reopened')),
    period text not null,
    reason text,
    days_closed_through date,
    soft_closed_through date,
    closed_through date,
    primary key (ledger_no, sequence)
);

-- Entries into days that were closed already: each is a new version of the closed days' balances from its sequence on.
create table backdatings (
    ledger_no integer not null,
    sequence bigint not null,
    effective_on date not null,
    primary key (ledger_no, sequence)
);

-- Nothing is dated on or before the closing in force at its own sequence, neither an entry nor a line. A year's closing
-- entry and the closing of its last month are one statement: the entry comes first, so its sequence is before the
-- closing's. What is dated in a closed period has its log record from this transaction, so that nobody puts it at the place
-- of an older record; and the ledger's row is locked, so that nobody closes a period meanwhile.
create function guard_dates() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if tg_table_name = 'entries' then
        perform 1 from ledgers l where l.no in (select a.ledger_no from added a) for no key update;
    end if;
    if exists (
        select 1
        from (select ledger_no, min(effective_on) as earliest from added group by ledger_no) a
        where (tg_table_name = 'entries' and (select l.no from ledgers l where l.no = a.ledger_no) is null)
           or a.earliest <= (select l.closed_through from ledgers l where l.no = a.ledger_no)
    ) then
        if exists (
            select 1
            from (select distinct ledger_no, sequence, effective_on from added) a
            where (tg_table_name = 'entries' and (select l.no from ledgers l where l.no = a.ledger_no) is null)
               or a.effective_on <= (select c.closed_through from closings c
                    where c.ledger_no = a.ledger_no and c.sequence < a.sequence order by c.sequence desc limit 1)
               or (a.effective_on <= (select l.closed_through from ledgers l where l.no = a.ledger_no)
                   and (select g.xmin from log g where g.ledger_no = a.ledger_no and g.sequence = a.sequence)
                        is distinct from pg_current_xact_id()::xid)
        ) then
            raise exception 'a % is dated in a closed period', tg_table_name
                using errcode = '23514', constraint = 'period_closed';
        end if;
    end if;
    return null;
end $$;
create trigger guard_posting_dates after insert on entries referencing new table as added
    for each statement execute function guard_dates();
create trigger guard_posting_dates after insert on lines referencing new table as added
    for each statement execute function guard_dates();

-- What is closed moves by a record alone: the last row of `closings` says what the ledger's row says, and came with it.
create function guard_closing() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    if (new.days_closed_through, new.soft_closed_through, new.closed_through) is distinct from (
        select (c.days_closed_through, c.soft_closed_through, c.closed_through) from closings c
        where c.ledger_no = new.no and c.sequence > old.sequence and c.sequence <= new.sequence
        order by c.sequence desc limit 1)
    then
        raise exception 'a period is closed and reopened by a record' using errcode = '23514', constraint = 'closing_has_record';
    end if;
    return null;
end $$;
create trigger guard_closing after update of days_closed_through, soft_closed_through, closed_through on ledgers
    for each row
    when ((old.days_closed_through, old.soft_closed_through, old.closed_through)
        is distinct from (new.days_closed_through, new.soft_closed_through, new.closed_through))
    execute function guard_closing();

create function guard_closings() returns trigger language plpgsql security definer
    set search_path = public, pg_temp as $$
begin
    if exists (
        select 1 from added a
        where (select g.xmin from log g where g.ledger_no = a.ledger_no and g.sequence = a.sequence)
            is distinct from pg_current_xact_id()::xid
    ) or exists (
        select 1
        from (select distinct on (ledger_no) * from added order by ledger_no, sequence desc) a
        join ledgers l on l.no = a.ledger_no
        where (l.days_closed_through, l.soft_closed_through, l.closed_through)
            is distinct from (a.days_closed_through, a.soft_closed_through, a.closed_through)
    ) then
        raise exception 'a closing belongs to its record and moves its ledger' using errcode = '23514',
            constraint = 'closing_has_record';
    end if;
    return null;
end $$;
create trigger guard_closings after insert on closings referencing new table as added
    for each statement execute function guard_closings();

create trigger append_only before update or delete or truncate on pendings for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on closings for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on backdatings for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on holds for each statement execute function refuse_change();
create trigger never_removed before delete or truncate on hold_lines for each statement execute function refuse_change();

revoke all on holds, hold_lines, pendings, closings, backdatings from public;
grant select, insert on holds, hold_lines, pendings, closings, backdatings to ledger_writer;
grant update (status, version) on holds to ledger_writer;
grant update (captured) on hold_lines to ledger_writer;
grant update (pending_debits, pending_credits) on balances to ledger_writer;
grant update (days_closed_through, soft_closed_through, closed_through) on ledgers to ledger_writer;
grant select on holds, hold_lines, pendings, closings, backdatings to ledger_reader, ledger_auditor;

do $$
declare name text;
begin
    foreach name in array array['holds', 'hold_lines', 'pendings', 'closings', 'backdatings']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to ledger_reader using (ledger_no = nullif(current_setting(''ledgerbus.ledger'', true), '''')::integer)', name);
        execute format('create policy owns on %I to ledger_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to ledger_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to ledger_auditor using (true) with check (true)', name);
    end loop;
end $$;
