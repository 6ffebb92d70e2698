"""The proof: books as they were written verify, also while they are written to; whatever is tampered with is found."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool, create_pool
from libs.common.journal import CurrencyRequest, Heading, LedgerRequest, Origin, Overdraft, Rate, ReversalRequest
from libs.common.periods import DayClose, PeriodStep
from services.ledger.commands import Books, define_currency, open_ledger, open_organization
from services.ledger.pools import create_writer_pool
from services.ledger.verify import Report, verify
from tests.ledger.asking import ASKER, PERMITTED, account, entry, open_accounts, take, tell
from tests.ledger.attempts import LEDGER
from tests.ledger.conftest import LedgerDatabase
from tests.support.postgres import PostgresServer


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """A pool of the role that proves."""
    pool = await create_pool(database.dsns.auditor, name="ledger-auditor", max_size=2)
    try:
        yield pool
    finally:
        await pool.close()


async def write_books(books: Books) -> None:
    """Books with something of everything but closing: 19 records."""
    await define_currency(books, CurrencyRequest(code="POINT-X", decimals=0), ASKER)
    await open_accounts(
        books,
        account("ASSETS", currency=None, summary=True, heading=Heading(number=1, name="Assets"), metadata={"a": 1.5}),
        account("CASH", parent="ASSETS", overdraft=Overdraft(policy="limit", limit="1000.00"), external_id="ext-1"),
        account("AR", control_owner="api", reconcilable=True),
        account("RENT", "expense", metadata={"who": ["x", None, {"y": True}], "n": 1e22}),
        account("EURO", currency="EUR", cash=True),
        account("POINTS", currency="POINT-X"),
        account("GOODS", "income", currency="POINT-X"),
    )
    rent = await tell(books, entry("RENT debit 100.00", "CASH credit 100.00", description="Rent", external_id="R-1"))
    assert rent.body is not None
    await tell(books, entry("AR debit 5.00 @meier", "AR credit 2.00 @huber", "CASH credit 3.00"))
    await tell(books, entry("POINTS debit 3", "GOODS credit 3", origin=Origin("invoicing", "inv-1"), metadata={"k": 1}))
    bought = entry("EURO debit 10.00", "CASH credit 11.00", rates=[Rate(base="EUR", counter="USD", rate="1.1")])
    await tell(books, bought)
    await tell(books, entry("CASH debit 0.00", "RENT credit 0.00"), "refused")
    await tell(books, ReversalRequest(entry_id=rent.body["id"]))
    for _ in range(4):
        answer = await tell(books, entry("RENT debit 1.00", "CASH credit 1.00"))
        assert answer.rejection is None


async def write_closed_books(books: Books) -> None:
    """The same with a closed day, a backdated entry, and a month closed, reopened and closed again: 27 records."""
    await write_books(books)
    old = {"effective_on": date(2025, 1, 10)}
    await tell(books, entry("RENT debit 1.00", "CASH credit 1.00", **old))
    await take(books, DayClose(day=date(2025, 1, 15)))
    await tell(books, entry("RENT debit 1.00", "CASH credit 1.00", **old), asker=PERMITTED)
    await take(books, PeriodStep(period="2025-01", step="soft-close"), PeriodStep(period="2025-01", step="close"))
    await take(books, PeriodStep(period="2025-01", step="reopen", reason="a late bill"))
    await tell(books, entry("RENT debit 1.00", "CASH credit 1.00", effective_on=date(2025, 2, 1)))
    await take(books, PeriodStep(period="2025-01", step="close"))


def failed(report: Report) -> set[str]:
    """The invariants that do not hold."""
    return {invariant.name for invariant in report.invariants if not invariant.ok}


@pytest.mark.parametrize("slice_records", [1, 2, 7, 2_000])
async def test_books_verify_whatever_the_slices(books: Books, auditor: Pool, slice_records: int) -> None:
    await write_closed_books(books)
    ledger = await books.get("demo", "main")
    report = await verify(auditor, ledger, slice_records=slice_records)
    assert failed(report) == set(), report
    async with books.pool.acquire() as connection:
        head = await connection.fetchrow("select sequence, hash from ledgers")
    assert head is not None
    assert (report.ok, report.checked_through, report.chain_head) == (True, head["sequence"], head["hash"].hex())
    checked = {invariant.name: invariant.checked for invariant in report.invariants}
    assert checked["log-chain"] == head["sequence"] == 27
    assert (checked["entries"], checked["accounts"], checked["party-balances"]) == (12, 9, 2)
    assert checked["requests"] == 24


async def test_an_empty_ledger_verifies_and_another_one_does_not_matter(books: Books, auditor: Pool) -> None:
    await write_closed_books(books)
    await open_ledger(books, LedgerRequest(code="second", name="Second"), ASKER, None)
    report = await verify(auditor, await books.get("demo", "second"))
    assert (report.ok, report.checked_through) == (True, 1), report


async def test_books_verify_while_they_are_written_to(books: Books, auditor: Pool) -> None:
    await write_closed_books(books)
    ledger = await books.get("demo", "main")
    stop = asyncio.Event()

    async def post() -> None:
        while not stop.is_set():
            await tell(books, entry("RENT debit 1.00", "CASH credit 0.50", "CASH debit 0.50", "AR credit 1.00 @p"))

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(post())
        reports = [await verify(auditor, ledger, slice_records=10) for _ in range(8)]
        stop.set()
    assert [failed(report) for report in reports] == [set()] * 8, reports
    assert reports[0].checked_through < reports[-1].checked_through


TABLES = (
    "organizations", "ledgers", "log", "requests", "accounts", "account_changes", "entries", "lines", "balances",
    "daily_totals", "party_balances", "holds", "hold_lines", "pendings", "closings", "backdatings",
)  # fmt: skip
TAMPERINGS = [
    ("log", "payload = replace(payload, 'Rent', 'Rest')", "sequence = 9", "log-chain", 9),
    ("log", "hash = sha256('x')", "sequence = 9", "log-chain", 9),
    ("log", 'payload = replace(payload, \'"ledger":"main"\', \'"ledger":"mine"\')', "sequence = 9", "log-records", 9),
    ("log", "payload = replace(payload, '\"epoch\":1', '\"epoch\":0')", "sequence = 9", "log-records", 9),
    ("log", "payload = 'no JSON'", "sequence = 9", "log-records", 9),
    ("log", "payload = replace(payload, 'entry-posted', 'entry-lost')", "sequence = 9", "log-records", 9),
    ("log", "payload = replace(payload, '\"100.00\"', '\"100\"')", "sequence = 9", "log-records", 9),
    ("log", "payload = '[]'", "sequence = 9", "log-records", 9),
    ("log", "payload = regexp_replace(payload, '20[0-9]{2}-', '1999-')", "sequence = 9", "log-records", 9),
    (
        "log",
        'payload = replace(payload, \'"side":"debit"\', \'"side":"credit"\')',
        "sequence = 9",
        "entries-balance",
        9,
    ),
    ("log", "payload = replace(payload, '\"100.00\"', '\"100.01\"')", "sequence = 9", "running-balances", 9),
    ("log", "sequence = 99", "sequence = 27", "log-chain", 27),
    ("log", "ledger_no = 2", "sequence = 12", "log-chain", 12),
    ("log", "ledger_no = 2", "sequence = 27", "log-chain", 27),
    *[
        ("entries", change, "sequence = 9", "entries", 9)
        for change in (
            "id = gen_random_uuid()",
            "sequence = 99",
            "kind = 'closing'",
            "effective_on = effective_on + 1",
            "value_on = value_on - 1",
            "description = 'Rest'",
            "external_id = null",
            "origin_service = 'x'",
            "origin_document = 'x'",
            "reverses = gen_random_uuid()",
            "line_count = 3",
            "ledger_no = 2",
        )
    ],
    *[
        ("lines", change, "sequence = 9 and line = 1", "lines", 9)
        for change in (
            "account_no = 2",
            "sequence = 10, line = 9",
            "sequence = 99",
            "sequence = -1",
            "line = 3",
            "debit = not debit",
            "amount = amount + 1",
            "currency = 'EUR'",
            "balance_after = balance_after + 1",
            "effective_on = effective_on + 1",
            "party = 'x'",
            "ledger_no = 2",
        )
    ],
    *[
        ("accounts", change, "no = 4", "accounts", 5)
        for change in (
            "id = gen_random_uuid()",
            "code = 'LENT'",
            "name = 'Lent'",
            "type = 'asset'",
            "normal_side = 'credit'",
            "currency = 'EUR'",
            "decimals = 3",
            "heading = '{}'",
            "parent_no = 1",
            "summary = true",
            "control_owner = 'x'",
            "reconcilable = true",
            "cash = true",
            "cash_flow_class = 'x'",
            "monetary = false",
            "translation = 'historical'",
            "overdraft_policy = 'none'",
            "overdraft_limit = 1",
            "external_id = 'x'",
            "metadata = '{}'",
            "opened_sequence = 6",
            "version = 6",
            "no = 44",
            "ledger_no = 2",
        )
    ],
    ("account_changes", "sequence = 6", "account_no = 4", "account-changes", 5),
    ("account_changes", "account_no = 44", "account_no = 4", "account-changes", 5),
    ("requests", "fingerprint = 'x'", "sequence = 9", "requests", 9),
    ("requests", "sequence = 10", "sequence = 9", "requests", 9),
    ("requests", "key = 'x'", "sequence = 9", "requests", 9),
    ("requests", "scope = 'x'", "sequence = 9", "requests", 9),
    ("requests", "sequence = null, rejection = '{}'", "sequence = 9", "requests", 9),
    ("requests", "sequence = 9, rejection = null", "key = 'refused'", "requests", 9),
    ("requests", "sequence = 99, rejection = null", "key = 'refused'", "requests", 99),
    *[
        ("balances", change, "account_no = 3", "balances", 10)
        for change in ("debits = debits + 1", "credits = 0", "version = 11", "currency = 'EUR'", "account_no = 33")
    ],
    *[
        ("daily_totals", change, "account_no = 3", "daily-totals", 0)
        for change in ("debits = debits + 1", "credits = 0", "effective_on = effective_on + 1", "account_no = 33")
    ],
    *[
        ("party_balances", change, "party = 'meier'", "party-balances", 0)
        for change in ("debits = debits + 1", "credits = 1", "party = 'maier'", "account_no = 33", "ledger_no = 2")
    ],
    *[
        ("ledgers", change, "code = 'main'", "head", 27)
        for change in (
            "hash = sha256('x')",
            "recorded_at = recorded_at + interval '1 s'",
            "epoch = 0",
            "code = 'mine'",
            "functional_currency = 'EUR'",
            "functional_decimals = 3",
            "time_zone = 'Europe/Berlin'",
            "day_cut_off = '01:00'",
            "fiscal_year_start = '04-01'",
            "retained_earnings = 'RE'",
            "days_closed_through = null",
            "soft_closed_through = '2026-12-31'",
            "closed_through = null",
        )
    ],
    ("ledgers", "sequence = sequence + 1", "code = 'main'", "log-chain", 28),
    ("ledgers", "sequence = sequence - 1", "code = 'main'", "log-chain", 27),
    ("organizations", "slug = 'demon'", "true", "head", 27),
    *[
        ("closings", change, "sequence = 25", "closings", 25)
        for change in (
            "sequence = 99",
            "type = 'period-closed'",
            "period = '2025-02'",
            "reason = null",
            "days_closed_through = null",
            "soft_closed_through = '2025-01-31'",
            "closed_through = '2025-01-31'",
            "ledger_no = 2",
        )
    ],
    ("backdatings", "effective_on = effective_on + 1", "sequence = 22", "backdatings", 22),
    ("backdatings", "sequence = 99", "sequence = 22", "backdatings", 22),
    ("backdatings", "ledger_no = 2", "sequence = 22", "backdatings", 22),
    ("log", "payload = replace(payload, 'period:backdate', 'period:nothing')", "sequence = 22", "closings", 22),
    ("log", "payload = replace(payload, '2025-02-01', '2025-01-31')", "sequence = 26", "closings", 26),
    ("log", 'payload = replace(payload, \'"kind":"normal"\', \'"kind":"closing"\')', "sequence = 9", "closings", 9),
]


@pytest.fixture(scope="session")
async def unguarded(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """Written books whose checks are gone, and copies of them: a playground for an intruder with all rights."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        pool = await create_writer_pool(postgres.service_dsns(dsn, "ledger").writer, max_size=2)
        try:
            books = Books(pool, now)
            await open_organization(books, "demo", "Demo", "USD", ASKER)
            await write_closed_books(books)
        finally:
            await pool.close()
        await keep(dsn)
        yield dsn


async def keep(dsn: str) -> None:
    """Copies every table, and takes the checks away."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("create schema kept")
        for table in TABLES:
            await connection.execute(f"create table kept.{table} as table {table}")
        checks = await connection.fetch(
            """
            select conrelid::regclass::text as place, conname from pg_constraint
            where contype = 'c' and connamespace = 'public'::regnamespace
            """
        )
        for place, name in checks:
            await connection.execute(f'alter table {place} drop constraint "{name}"')
    finally:
        await connection.close()


async def tampered(postgres: PostgresServer, dsn: str, statement: str) -> Report:
    """The proof after a statement of a superuser whom no trigger and no foreign key stops; then all is put back."""
    connection = await asyncpg.connect(dsn)
    pool = await create_pool(postgres.service_dsns(dsn, "ledger").auditor, name="ledger-auditor", max_size=1)
    try:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(statement)
        return await verify(pool, LEDGER, slice_records=4)
    finally:
        await pool.close()
        for table in TABLES:
            await connection.execute(
                f"delete from {table}; insert into {table} overriding system value select * from kept.{table}"
            )
        await connection.close()


@pytest.mark.parametrize(("table", "change", "where", "invariant", "sequence"), TAMPERINGS)
async def test_whatever_is_changed_is_found_and_named(
    postgres: PostgresServer, unguarded: str, table: str, change: str, where: str, invariant: str, sequence: int
) -> None:
    report = await tampered(postgres, unguarded, f"update {table} set {change} where {where}")
    broken = {found.name: found for found in report.invariants if not found.ok}
    assert invariant in broken, broken
    difference = broken[invariant].first_difference
    assert difference is not None
    assert (report.ok, difference.sequence) == (False, sequence), difference
    assert difference.table in {table, "ledgers", "log"}


@pytest.mark.parametrize(
    ("table", "where", "invariant"),
    [
        ("log", "sequence = 9", "log-chain"),
        ("log", "sequence = 27", "log-chain"),
        ("closings", "sequence = 25", "closings"),
        ("backdatings", "sequence = 22", "backdatings"),
        ("entries", "sequence = 9", "entries"),
        ("lines", "sequence = 9 and line = 2", "lines"),
        ("accounts", "no = 4", "accounts"),
        ("account_changes", "account_no = 4", "account-changes"),
        ("requests", "sequence = 9", "requests"),
        ("balances", "account_no = 4", "balances"),
        ("daily_totals", "account_no = 4", "daily-totals"),
        ("party_balances", "party = 'meier'", "party-balances"),
    ],
)
async def test_whatever_is_missing_is_found(
    postgres: PostgresServer, unguarded: str, table: str, where: str, invariant: str
) -> None:
    assert invariant in failed(await tampered(postgres, unguarded, f"delete from {table} where {where}"))


@pytest.mark.parametrize(
    ("table", "invariant", "changed"),
    [
        ("log", "log-chain", "sequence = 99"),
        ("log", "log-chain", "sequence = 0"),
        ("entries", "entries", "id = gen_random_uuid(), sequence = 3, external_id = null, reverses = null"),
        ("entries", "entries", "id = gen_random_uuid(), sequence = 99, external_id = null, reverses = null"),
        ("lines", "lines", "line = 9"),
        ("lines", "lines", "account_no = 77"),
        ("accounts", "accounts", "no = 77, id = gen_random_uuid(), code = 'X'"),
        ("account_changes", "account-changes", "sequence = 3"),
        ("requests", "requests", "key = 'x', sequence = 9, rejection = null"),
        ("balances", "balances", "account_no = 77"),
        ("daily_totals", "daily-totals", "account_no = 77"),
        ("party_balances", "party-balances", "party = 'x'"),
        ("closings", "closings", "sequence = 18"),
        ("closings", "closings", "sequence = 99"),
        ("backdatings", "backdatings", "sequence = 18"),
        ("backdatings", "backdatings", "sequence = 99"),
    ],
)
async def test_whatever_is_there_without_a_record_is_found(
    postgres: PostgresServer, unguarded: str, table: str, invariant: str, changed: str
) -> None:
    report = await tampered(
        postgres,
        unguarded,
        f"""
        create temporary table extra as select * from {table} order by 2 desc limit 1;
        update extra set {changed};
        insert into {table} select * from extra
        """,
    )
    assert invariant in failed(report)


async def test_what_is_put_back_verifies(postgres: PostgresServer, unguarded: str) -> None:
    """Whatever was tried before in this database, in whatever order: the tests above leave it as it was."""
    report = await tampered(postgres, unguarded, "select 1")
    assert report.ok, report
