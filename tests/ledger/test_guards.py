"""The database's own guards, tried by raw SQL with the service's writing role, and each shown to be what refuses.

An attack is what a broken or hijacked writer could send: the writing statement's steps by hand, one of them wrong. It
is refused by a constraint whose name it says; with that guard taken away, the same attack succeeds.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from libs.common.clock import now
from services.ledger.commands import Books, open_organization
from services.ledger.pools import create_writer_pool
from tests.ledger.asking import ASKER, account, entry, open_accounts, tell
from tests.support.postgres import PostgresServer

HEAD = """
    update ledgers set sequence = sequence + 1, recorded_at = recorded_at + interval '1 microsecond',
        hash = sha256(hash || convert_to('{"x":1}', 'UTF8'))
    where no = 1;
"""
LOG = """
    insert into log (ledger_no, sequence, payload, hash)
    select no, sequence, '{"x":1}', hash from ledgers where no = 1;
"""


def lines(*rows: str, sequence: str = "(select sequence from ledgers where no = 1)") -> str:
    """Lines of the newest entry from "account_no debit amount currency", numbered from 11."""
    values = []
    for number, row in enumerate(rows, 11):
        account_no, side, amount, currency = row.split()
        debit = "true" if side == "debit" else "false"
        values.append(f"(1, {account_no}, {sequence}, {number}, {debit}, {amount}, '{currency}', 0, '2026-03-01')")
    columns = "ledger_no, account_no, sequence, line, debit, amount, currency, balance_after, effective_on"
    return f"insert into lines ({columns}) values {', '.join(values)};"


@dataclass(frozen=True, slots=True)
class Attack:
    """SQL that has to be refused by the constraint `refused_by`; `guard` is the DDL that takes that guard away."""

    name: str
    sql: str
    refused_by: str
    guard: str


def trigger(table: str, name: str) -> str:
    """Takes a trigger away."""
    return f"drop trigger {name} on {table}"


GUARD_LINES, GUARD_LOG, GUARD_LEDGER = (
    trigger("lines", "guard_lines"),
    trigger("log", "guard_log"),
    trigger("ledgers", "guard_ledger"),
)
MOVE = "update ledgers set recorded_at = recorded_at + interval '{}' where no = 1"

ATTACKS = [
    Attack("unbalanced", HEAD + LOG + lines("1 debit 5 USD", "2 credit 4 USD"), "entry_not_balanced", GUARD_LINES),
    Attack("one line", HEAD + LOG + lines("1 debit 5 USD"), "entry_not_balanced", GUARD_LINES),
    Attack(
        "balanced over currencies",
        HEAD + LOG + lines("1 debit 5 USD", "3 credit 5 EUR"),
        "entry_not_balanced",
        GUARD_LINES,
    ),
    Attack(
        "currency of another account",
        HEAD + LOG + lines("1 debit 5 EUR", "3 credit 5 EUR"),
        "currency_mismatch",
        GUARD_LINES,
    ),
    Attack(
        "account that is not", HEAD + LOG + lines("9 debit 5 USD", "1 credit 5 USD"), "currency_mismatch", GUARD_LINES
    ),
    Attack("summary account", HEAD + LOG + lines("4 debit 5 USD", "1 credit 5 USD"), "currency_mismatch", GUARD_LINES),
    Attack(
        "line into an old entry", lines("1 debit 5 USD", "1 credit 5 USD", sequence="6"), "lines_are_final", GUARD_LINES
    ),
    Attack(
        "line into an old entry beside a new one",
        HEAD + LOG + lines("2 debit 5 USD", "2 credit 5 USD", sequence="6"),
        "lines_are_final",
        GUARD_LINES,
    ),
    Attack(
        "line of a sequence to come",
        lines("1 debit 5 USD", "1 credit 5 USD", sequence="7"),
        "lines_are_final",
        GUARD_LINES,
    ),
    Attack("line without a record", HEAD + lines("1 debit 5 USD", "1 credit 5 USD"), "lines_are_final", GUARD_LINES),
    Attack(
        "line in no ledger",
        "insert into lines select 77, account_no, sequence, line, debit, amount, currency, 0, effective_on from lines",
        "currency_mismatch",
        GUARD_LINES,
    ),
    Attack(
        "amount of zero",
        HEAD + LOG + lines("1 debit 0 USD", "2 credit 0 USD"),
        "amount_not_positive",
        "alter table lines drop constraint amount_not_positive",
    ),
    Attack(
        "negative amount",
        HEAD + LOG + lines("1 debit -5 USD", "2 credit -5 USD"),
        "amount_not_positive",
        "alter table lines drop constraint amount_not_positive",
    ),
    Attack(
        "record without moving the head",
        LOG.replace("select no, sequence,", "select no, sequence + 1,"),
        "log_is_contiguous",
        GUARD_LOG,
    ),
    Attack(
        "gap in the log",
        HEAD.replace("sequence + 1", "sequence + 2") + LOG,
        "log_is_contiguous",
        GUARD_LOG,
    ),
    Attack(
        "record of a ledger that is not",
        "insert into log values (77, 1, '{}', sha256(convert_to('{}', 'UTF8')))",
        "log_is_contiguous",
        GUARD_LOG,
    ),
    Attack("payload other than hashed", HEAD + LOG.replace('{"x":1}', '{"x":2}'), "log_hash", GUARD_LOG),
    Attack("hash that leaves out the one before", HEAD.replace("hash ||", "''::bytea ||") + LOG, "log_hash", GUARD_LOG),
    Attack(
        "head whose hash is another",
        HEAD.replace("hash = sha256(hash ||", "hash = sha256('x' ||")
        + """insert into log select 1, 7, '{"x":1}', sha256(hash || convert_to('{"x":1}', 'UTF8')) from log
             where ledger_no = 1 and sequence = 6""",
        "log_hash",
        GUARD_LOG,
    ),
    Attack(
        "sequence that falls", "update ledgers set sequence = sequence - 1 where no = 1", "sequence_falls", GUARD_LEDGER
    ),
    Attack("epoch that falls", "update ledgers set epoch = epoch - 1 where no = 1", "sequence_falls", GUARD_LEDGER),
    Attack("time that runs backwards", MOVE.format("-1 second"), "recorded_at_is_wrong", GUARD_LEDGER),
    Attack("time ahead of the clock", MOVE.format("1 minute"), "recorded_at_is_wrong", GUARD_LEDGER),
    Attack(
        "short hash",
        "update ledgers set hash = 'x' where no = 1",
        "ledgers_hash_check",
        "alter table ledgers drop constraint ledgers_hash_check",
    ),
    Attack(
        "balance in another currency",
        "insert into accounts select ledger_no, 9, gen_random_uuid(), 'NEW', name, type, normal_side, currency,"
        " decimals, heading, parent_no, summary, control_owner, reconcilable, cash, cash_flow_class, monetary,"
        " translation,"
        " overdraft_policy, overdraft_limit, external_id, metadata, 6, 6 from accounts where no = 1;"
        "insert into balances values (1, 9, 'EUR', 0, 0, 6)",
        "balances_ledger_no_account_no_currency_fkey",
        "alter table balances drop constraint balances_ledger_no_account_no_currency_fkey",
    ),
    Attack(
        "account in another currency",
        "update accounts set currency = 'EUR' where ledger_no = 1 and no = 1",
        "balances_ledger_no_account_no_currency_fkey",
        "alter table balances drop constraint balances_ledger_no_account_no_currency_fkey",
    ),
    Attack(
        "summary account with a currency",
        "update accounts set summary = true where ledger_no = 1 and no = 1",
        "summary_has_no_currency",
        "alter table accounts drop constraint summary_has_no_currency",
    ),
    Attack(
        "request with two outcomes",
        "insert into requests values (1, 's', 'k', 'x', 5, '{}')",
        "one_outcome",
        "alter table requests drop constraint one_outcome",
    ),
    Attack(
        "request with none",
        "insert into requests values (1, 's', 'k', 'x', null, null)",
        "one_outcome",
        "alter table requests drop constraint one_outcome",
    ),
    Attack(
        "key used twice",
        "insert into requests select * from requests where sequence = 6",
        "requests_pkey",
        "alter table requests drop constraint requests_pkey",
    ),
    Attack(
        "entry id used twice",
        "insert into entries select 1, id, 7, kind, effective_on, value_on, '', null, null, null, null, 2 from entries",
        "duplicate_entry_id",
        "alter table entries drop constraint duplicate_entry_id",
    ),
    Attack(
        "external id used twice",
        "insert into entries select 1, gen_random_uuid(), 7, kind, effective_on, value_on, '', external_id, null, null,"
        " null, 2 from entries",
        "duplicate_external_id",
        "drop index duplicate_external_id",
    ),
    Attack(
        "entry reversed twice",
        "insert into entries select 1, gen_random_uuid(), s, 'normal', effective_on, value_on, '', null, null, null,"
        " id, 2 from entries, (values (7), (8)) v (s)",
        "already_reversed",
        "drop index already_reversed",
    ),
    Attack(
        "two accounts of one code",
        "update accounts set code = 'A' where ledger_no = 1 and no = 2",
        "account_code_taken",
        "alter table accounts drop constraint account_code_taken",
    ),
]

NEVER_CHANGED = [
    (table, statement)
    for table in ("log", "requests", "account_changes", "entries", "lines")
    for statement in (f"update {table} set ledger_no = 2", f"delete from {table}", f"truncate {table}")
]
NEVER_REMOVED = [
    (table, f"{verb} {table}") for table in ("ledgers", "accounts") for verb in ("delete from", "truncate")
]


@pytest.fixture(scope="session")
async def guarded(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """The superuser's address of books that no test changes for good: accounts A and B in USD, C in EUR, a summary
    account S, and one entry: the head is at 6."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        pool = await create_writer_pool(postgres.service_dsns(dsn, "ledger").writer, max_size=2)
        try:
            books = Books(pool, now)
            await open_organization(books, "demo", "Demo", "USD", ASKER)
            summary = account("S", currency=None, summary=True)
            await open_accounts(books, account("A"), account("B"), account("C", currency="EUR"), summary)
            posted = await tell(books, entry("A debit 1.00", "B credit 1.00", external_id="X"))
            assert posted.sequence == 6
        finally:
            await pool.close()
        yield dsn


@pytest.fixture
async def writer(postgres: PostgresServer, guarded: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the role that writes, with which the service posts, in a transaction that is rolled back."""
    connection = await asyncpg.connect(postgres.service_dsns(guarded, "ledger").writer)
    try:
        await connection.transaction().start()
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def owner(guarded: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may do everything, in a transaction that is rolled back."""
    connection = await asyncpg.connect(guarded)
    try:
        await connection.transaction().start()
        yield connection
    finally:
        await connection.close()


async def attempt(connection: asyncpg.Connection, sql: str, role: str = "ledger_writer") -> None:
    """An attack with the rights of a role; what fails is undone."""
    async with connection.transaction():
        await connection.execute(f"set local role {role}")
        await connection.execute(sql)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_an_attack_is_refused_by_its_guard_and_by_nothing_else(
    writer: asyncpg.Connection, guarded: str, attack: Attack
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await writer.execute(attack.sql)
    assert refused.value.constraint_name == attack.refused_by
    superuser = await asyncpg.connect(guarded)
    try:
        await superuser.execute(f"begin; {attack.guard}; set local role ledger_writer; {attack.sql}; rollback")
    finally:
        await superuser.close()


async def test_the_steps_done_right_are_taken(writer: asyncpg.Connection) -> None:
    """Else the attacks might be refused for what is right in them."""
    await writer.execute(HEAD + LOG + lines("1 debit 5 USD", "2 credit 5 USD"))


@pytest.mark.parametrize(("table", "statement"), NEVER_CHANGED + NEVER_REMOVED)
async def test_history_is_append_only_by_right_and_by_trigger(
    writer: asyncpg.Connection, owner: asyncpg.Connection, table: str, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await writer.execute(statement)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await attempt(owner, f"{statement}{' cascade' * statement.startswith('truncate')}", "ledger_migrator")
    assert refused.value.constraint_name == "append_only"


@pytest.mark.parametrize(("table", "statement"), NEVER_CHANGED + NEVER_REMOVED[:2])
async def test_each_half_of_append_only_holds_alone(owner: asyncpg.Connection, table: str, statement: str) -> None:
    """With the right, the trigger refuses; with the right and without the trigger, nothing does."""
    await owner.execute(f"grant all on {table} to ledger_writer")
    with pytest.raises(asyncpg.CheckViolationError):
        await attempt(owner, statement)
    await owner.execute(trigger(table, "never_removed" if table == "ledgers" else "append_only"))
    await attempt(owner, statement)


@pytest.mark.parametrize(
    "change",
    [
        "functional_currency = 'EUR'",
        "functional_decimals = 3",
        "code = 'other'",
        "id = gen_random_uuid()",
    ],
)
async def test_what_a_ledger_is_never_changes(
    writer: asyncpg.Connection, owner: asyncpg.Connection, change: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await writer.execute(f"update ledgers set {change}")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await attempt(owner, f"update ledgers set {change}", "ledger_migrator")
    assert refused.value.constraint_name == "ledger_is_fixed"
    await owner.execute(GUARD_LEDGER)
    await attempt(owner, f"update ledgers set {change}", "ledger_migrator")


async def test_a_record_of_the_same_instant_and_a_clock_that_jumped_back_are_fine(writer: asyncpg.Connection) -> None:
    await writer.execute(HEAD.replace("recorded_at + interval '1 microsecond'", "recorded_at") + LOG)
