"""A drawn history on real PostgreSQL beside the plain model: where the two differ first, and the shortest such history.

    python -m tests.properties.model_play --seconds 600 --seed 1

plays histories one after the other on a PostgreSQL of its own, seed after seed, and ends with 1 at the first that
differs. Two books write in turn with pools and caches of their own, so each meets what the other wrote meanwhile.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from libs.common.db import Pool, create_pool, migrate
from libs.common.journal import LedgerRequest
from libs.common.money import to_text
from services.ledger import reads
from services.ledger.balance_reads import AsOf, read_account_kept, read_balance
from services.ledger.closing import STEPS
from services.ledger.commands import Asker, Books, Wish, enqueue, fingerprint_of, open_ledger, open_organization
from services.ledger.deciding import Outcome
from services.ledger.pools import MIGRATIONS, create_writer_pool
from services.ledger.state import Ledger
from services.ledger.verify import verify
from tests.ledger.asking import ASKER
from tests.properties.drawn_history import BEGIN, Drawing, Step
from tests.properties.plain_model import PlainModel
from tests.properties.plain_values import OTHER, Command, Verdict
from tests.support import run
from tests.support.postgres import PostgresServer

STEPS_OF_A_HISTORY: Final = 70
AS_OF_READS: Final = 12


class HandClock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.at = BEGIN

    def now(self) -> datetime:
        return self.at


@dataclass
class Place:
    """One database; two books that write to it, and pools to read and to prove."""

    clock: HandClock
    books: Sequence[Books]
    reader: Pool
    auditor: Pool
    ledgers: int = 0

    async def open(self) -> Ledger:
        """A new ledger."""
        self.ledgers += 1
        self.clock.at = BEGIN
        code = f"n{self.ledgers}"
        await open_ledger(self.books[0], LedgerRequest(code=code, name=code), ASKER, None)
        return await self.books[0].get("demo", code)


@asynccontextmanager
async def place_at(postgres: PostgresServer, template: str) -> AsyncIterator[Place]:
    """A migrated database with the organization `demo`."""
    async with postgres.database(template, owner="ledger_migrator") as dsn:
        roles, clock = postgres.service_dsns(dsn, "ledger"), HandClock()
        books = [Books(await create_writer_pool(roles.writer, max_size=2), clock.now) for _ in range(2)]
        reader = await create_pool(roles.reader, name="reader", max_size=1)
        auditor = await create_pool(roles.auditor, name="auditor", max_size=1)
        try:
            await open_organization(books[0], "demo", "Demo", "USD", ASKER)
            yield Place(clock, books, reader, auditor)
        finally:
            for pool in (*(one.pool for one in books), reader, auditor):
                await pool.close()


async def play(place: Place, history: Sequence[Step], seed: int) -> str | None:
    """The first difference between the ledger and the model, or None."""
    ledger, model = await place.open(), PlainModel(BEGIN, BEGIN)
    for number, step in enumerate(history):
        place.clock.at += step.clock
        model.now += step.clock
        books = place.books[step.writer]
        outcomes = await asyncio.gather(*[enqueue(books, ledger, _wish(ledger, command)) for command in step.commands])
        for command, outcome in zip(step.commands, outcomes, strict=True):
            expected, reached = model.answer(command), _verdict(command, outcome)
            if reached != expected:
                return f"step {number}: {command}\n  the ledger: {reached}\n  the model:  {expected}"
        if (told := await _difference(place, ledger, model)) is not None:
            return f"after step {number} ({step.commands}): {told}"
    report = await verify(place.auditor, ledger)
    if not report.ok:
        return f"verify: {report}"
    return await _past_difference(place, ledger, model, random.Random(seed))


def _wish(ledger: Ledger, command: Command) -> Wish:
    asker = Asker("demo", command.service, "alice", command.service, command.permits)
    print_ = fingerprint_of(command.request)
    return Wish(asker, ledger.code, command.request, command.key, print_, 300, command.lookup, None, command.dry_run)


def _verdict(command: Command, outcome: Outcome) -> Verdict:
    code = outcome.rejection.code if outcome.rejection is not None else None
    previewed = outcome.preview is not None or outcome.rejection is not None
    moved = bool(outcome.records) or outcome.replayed or previewed or isinstance(command.request, STEPS)
    assert moved, f"{command} was accepted and left no record"
    return Verdict(code, outcome.sequence, outcome.replayed)


async def _difference(place: Place, ledger: Ledger, model: PlainModel) -> str | None:
    """Head, closed days and every account: sums, what is pending, both versions, and how it stands."""
    async with place.auditor.acquire() as connection:
        head = await connection.fetchrow(
            "select sequence, days_closed_through, soft_closed_through, closed_through from ledgers where no = $1",
            ledger.no,
        )
        rows = await connection.fetch(
            """
            select a.code, a.normal_side, b.debits - b.credits, b.pending_debits, b.pending_credits, b.version,
                a.version, a.frozen, a.closed
            from accounts a join balances b on b.ledger_no = a.ledger_no and b.account_no = a.no
            where a.ledger_no = $1
            """,
            ledger.no,
        )
    closing = model.closing
    expected_head = (model.sequence, closing.days, closing.softly, closing.months)
    assert head is not None
    if tuple(head) != expected_head:
        return f"the head is {tuple(head)}, the model's {expected_head}"
    found = {
        row[0]: (row[1], int(row[2]) * (1 if row[1] == "debit" else -1), int(row[3]), int(row[4]), *tuple(row)[5:])
        for row in rows
    }
    expected = {
        code: (
            kept.normal, model.posted(code), *(model.pends(code, side) for side in OTHER), kept.moved, kept.version,
            kept.frozen, kept.closed,
        )
        for code, kept in model.accounts.items()
    }  # fmt: skip
    differ = {code: (found.get(code), row) for code, row in expected.items() if found.get(code) != row}
    return f"accounts differ (ledger, model): {differ}" if differ or found.keys() != expected.keys() else None


async def _past_difference(place: Place, ledger: Ledger, model: PlainModel, draw: random.Random) -> str | None:
    """Balances as of random days and sequences, by the ledger's own reads."""
    codes = [code for code, kept in model.accounts.items() if not kept.summary]
    async with reads.as_reader(place.reader, "demo", ledger) as connection:
        for number in range(AS_OF_READS):
            code, sequence = draw.choice(codes), draw.randrange(1, model.sequence + 1)
            on = model.now.date() - timedelta(days=draw.randrange(-3, 80))
            asked = [AsOf(on, sequence), AsOf(None, sequence), AsOf(on, None), AsOf()][number % 4]
            kept = await read_account_kept(connection, ledger, code)
            assert kept is not None
            found = await read_balance(connection, ledger, kept, asked)
            at = model.sequence if asked.sequence is None else sequence
            posted = model.posted(code, asked.effective_on or date.max, at)
            held = model.pends(code, OTHER[model.accounts[code].normal], at)
            expected = to_text(posted, 2), to_text(posted - held, 2), at
            if (found["posted"], found["available"], found["sequence"]) != expected:
                return f"{code} as of {asked}: {found}, the model has {expected}"
    return None


async def shrink(place: Place, history: list[Step], seed: int) -> list[Step]:
    """The history with every step left out that a difference does not need."""
    size = len(history) // 2
    while size:
        start = 1
        while start < len(history):
            shorter = history[:start] + history[start + size :]
            if await play(place, shorter, seed) is not None:
                history = shorter
            else:
                start += size
        size //= 2
    return history


async def judge(place: Place, seed: int) -> str | None:
    """Plays the history of a seed; where it differs, says how the shortest such one does."""
    history = Drawing(seed).draw(STEPS_OF_A_HISTORY)
    if await play(place, history, seed) is None:
        return None
    shortest = await shrink(place, history, seed)
    steps = "\n".join(f"  {number}: {step}" for number, step in enumerate(shortest) if number)
    return f"seed {seed}\n{steps}\n{await play(place, shortest, seed)}"


async def ledger_template_of(postgres: PostgresServer) -> str:
    """A template database with the ledger's migrations."""
    await postgres.service_roles("ledger")

    async def build(dsn: str) -> None:
        await migrate(postgres.service_dsns(dsn, "ledger").migrator, Path(MIGRATIONS))

    return await postgres.template("ledger", build, owner="ledger_migrator")


async def _play_for(seconds: float, seed: int) -> int:
    postgres, ends_s, played = PostgresServer(run.need("postgres").address), time.monotonic() + seconds, 0
    async with place_at(postgres, await ledger_template_of(postgres)) as place:
        while time.monotonic() < ends_s:
            if (told := await judge(place, seed + played)) is not None:
                print(told)
                return 1
            played += 1
    print(f"{played} histories from seed {seed} on: ledger and model agree")
    return 0


def main() -> None:
    """Plays for as long as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.model_play", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    run.begin()
    try:
        ended = asyncio.run(_play_for(asked.seconds, asked.seed))
    finally:
        run.end()
    sys.exit(ended)


if __name__ == "__main__":
    main()
