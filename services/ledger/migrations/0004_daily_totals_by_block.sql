-- Sums of lines by account, effective day and block of 65,536 sequences. A balance as of a day adds the blocks up; as of
-- a day and a sequence it takes the whole blocks before and the lines of one block, however many lines the account has.
drop table daily_totals;
create table daily_totals (
    ledger_no integer not null,
    account_no integer not null,
    effective_on date not null,
    block integer not null,
    debits numeric(38, 0) not null,
    credits numeric(38, 0) not null,
    primary key (ledger_no, account_no, effective_on, block)
) with (fillfactor = 50);

insert into daily_totals (ledger_no, account_no, effective_on, block, debits, credits)
select ledger_no, account_no, effective_on, sequence >> 16,
    coalesce(sum(amount) filter (where debit), 0), coalesce(sum(amount) filter (where not debit), 0)
from lines
group by ledger_no, account_no, effective_on, sequence >> 16;

revoke all on daily_totals from public;
grant select, insert, update on daily_totals to ledger_writer;
grant select on daily_totals to ledger_reader, ledger_auditor;
alter table daily_totals enable row level security;
alter table daily_totals force row level security;
create policy reads on daily_totals for select to ledger_reader
    using (ledger_no = nullif(current_setting('ledgerbus.ledger', true), '')::integer);
create policy owns on daily_totals to ledger_migrator using (true) with check (true);
create policy writes on daily_totals to ledger_writer using (true) with check (true);
create policy audits on daily_totals to ledger_auditor using (true) with check (true);
