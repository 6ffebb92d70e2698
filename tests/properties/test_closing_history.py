"""Whatever is closed, reopened and backdated, in any order: a closed day's versions are what its balances then were.

Hypothesis makes the history. The model is brute force: it keeps every line, and when a day's version is made it adds up
all lines dated on or before that day. At the end every version is where the ledger says, and the balance as of the day
and the version's sequence is what was added up then.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.db import Pool, create_pool
from libs.common.journal import EntryRequest, LedgerRequest
from libs.common.money import to_text
from libs.common.periods import DayClose, PeriodStep
from services.ledger import period_reads, reads
from services.ledger.balance_reads import AsOf, read_account_kept, read_balance
from services.ledger.closing import Step
from services.ledger.commands import Books, ask, ask_step, open_ledger, open_organization
from services.ledger.pools import create_writer_pool
from services.ledger.state import Ledger
from services.ledger.verify import verify
from tests.ledger.asking import ASKER, PERMITTED, account, entry, wish
from tests.support.postgres import PostgresServer

LONG_AGO = datetime(2020, 2, 3, 4, 5, 6, 7, UTC)
BEGIN = date(2019, 11, 1)
DAYS = st.integers(0, 92).map(lambda number: BEGIN + timedelta(days=number))
MONTHS = st.sampled_from(["2019-11", "2019-12", "2020-01"])
HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("post"), DAYS, st.integers(1, 999)),
        st.tuples(st.just("post"), DAYS, st.integers(1, 999)),
        st.tuples(st.just("day"), DAYS, st.just(0)),
        st.tuples(st.sampled_from(["soft-close", "close", "reopen"]), MONTHS, st.just(0)),
    ),
    min_size=5,
    max_size=25,
)


@dataclass
class Model:
    """Every line of the account, and the closed days with (sequence, balance) of their versions."""

    posted: list[tuple[date, int]] = field(default_factory=list)
    versions: dict[date, list[tuple[int, int]]] = field(default_factory=dict)

    def snapshot(self, day: date, sequence: int) -> None:
        balance = sum(amount for on, amount in self.posted if on <= day)
        self.versions.setdefault(day, []).append((sequence, balance))

    def close(self, through: date, sequence: int) -> None:
        day = BEGIN - timedelta(days=1)
        while day <= through:
            if day not in self.versions:
                self.snapshot(day, sequence)
            day += timedelta(days=1)

    def post(self, on: date, amount: int, sequence: int) -> None:
        self.posted.append((on, amount))
        for day in self.versions:
            if on <= day:
                self.snapshot(day, sequence)


@dataclass
class Place:
    """Books whose clock stands still, and pools to read and to prove them."""

    books: Books
    reader: Pool
    auditor: Pool
    ledgers: int = 0

    async def open(self) -> Ledger:
        self.ledgers += 1
        code = f"n{self.ledgers}"
        await open_ledger(self.books, LedgerRequest(code=code, name=code), ASKER, None)
        for opened in (account("A"), account("B")):
            await ask(self.books, wish(opened, ledger=code))
        return await self.books.get("demo", code)

    async def post(self, ledger: Ledger, request: EntryRequest) -> int:
        """The entry's sequence, or 0 where it was refused."""
        answer = await ask(self.books, wish(request, asker=PERMITTED, ledger=ledger.code))
        return answer.sequence

    async def take(self, ledger: Ledger, step: Step) -> tuple[int, date | None]:
        """The sequence of the step's record and through which day days are closed; 0 where it was refused."""
        answer = await ask_step(self.books, ledger, wish(step, ledger=ledger.code, lookup=True))
        if answer.body is None:
            return 0, None
        days = answer.body["days_closed_through"]
        return answer.sequence, date.fromisoformat(days) if days else None


@pytest.fixture(scope="session")
async def place(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[Place]:
    """One database, with a new ledger for each history."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        roles = postgres.service_dsns(dsn, "ledger")
        books = Books(await create_writer_pool(roles.writer, max_size=2), lambda: LONG_AGO)
        reader = await create_pool(roles.reader, name="reader", max_size=1)
        auditor = await create_pool(roles.auditor, name="auditor", max_size=1)
        try:
            await open_organization(books, "demo", "Demo", "USD", ASKER)
            yield Place(books, reader, auditor)
        finally:
            for pool in (books.pool, reader, auditor):
                await pool.close()


def step_of(kind: str, what: date | str) -> Step:
    """The step that a row of a history asks for."""
    if isinstance(what, date):
        return DayClose(day=what)
    if kind == "reopen":
        return PeriodStep(period=what, step="reopen", reason="history")
    return PeriodStep(period=what, step="soft-close" if kind == "soft-close" else "close")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORY)
async def test_versions_are_what_brute_force_adds_up(place: Place, history: list[tuple[str, date | str, int]]) -> None:
    ledger, model = await place.open(), Model()
    for kind, what, amount in history:
        if kind == "post":
            assert isinstance(what, date)
            text = to_text(amount, 2)
            sequence = await place.post(ledger, entry(f"A debit {text}", f"B credit {text}", effective_on=what))
            if sequence:
                model.post(what, amount, sequence)
        else:
            sequence, days = await place.take(ledger, step_of(kind, what))
            if sequence and days is not None:
                model.close(days, sequence)
    async with reads.as_reader(place.reader, "demo", ledger) as connection:
        kept = await read_account_kept(connection, ledger, "A")
        assert kept is not None
        for day, versions in list(model.versions.items())[::9]:
            stands = await period_reads.read_day(connection, ledger, day, 0, 1_000)
            assert [version["sequence"] for version in stands["versions"]] == [sequence for sequence, _ in versions]
            for sequence, balance in versions:
                found = await read_balance(connection, ledger, kept, AsOf(day, sequence))
                assert found["posted"] == to_text(balance, 2), (day, sequence)
    report = await verify(place.auditor, ledger)
    assert report.ok, report
