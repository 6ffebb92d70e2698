"""Sums as of two times are what adding up the lines gives: across blocks, with backdating, with kinds left out.

One history of 70,000 small entries is posted once, so that it passes a block of 65,536 sequences; effective days are
drawn at random over some weeks, far from the order of posting.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta

import pytest

from libs.common.clock import new_id, now
from libs.common.db import Pool, create_pool
from libs.common.errors import Problem
from libs.common.journal import EntryKind, EntryRequest, LineRequest
from libs.common.money import to_text
from libs.devstack.databases import ServiceDsns
from services.ledger import report_streams
from services.ledger.balance_reads import AsOf, read_account_kept, read_balance
from services.ledger.commands import Asker, Books, Wish, enqueue, open_organization
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits
from services.ledger.reads import as_reader
from services.ledger.reports.running import Running
from services.ledger.state import Ledger
from services.ledger.sums import read_daily_sums, read_sums
from tests.ledger.asking import CLOSER, account, open_accounts
from tests.support.postgres import PostgresServer

CODES = ("A", "B", "C", "D")
ENTRIES = 70_000
FIRST_DAY, DAYS = date(2026, 1, 1), 40
BLOCK = 65_536

Line = tuple[str, int, date, bool, int, EntryKind]
"""Account, sequence, effective day, whether a debit, amount, kind of the entry."""


@dataclass(frozen=True, slots=True)
class History:
    """A ledger, the reader's pool, and every line that was posted, as the test drew them."""

    ledger: Ledger
    reader: Pool
    dsns: ServiceDsns
    lines: list[Line]
    head: int


def draw(chosen: random.Random) -> EntryRequest:
    """An entry of two lines on any day; one in 500 is a closing entry."""
    debited, credited = chosen.sample(CODES, 2)
    amount = f"{chosen.randrange(1, 500)}.{chosen.randrange(100):02d}"
    return EntryRequest(
        kind="closing" if chosen.random() < 0.002 else "normal",
        effective_on=FIRST_DAY + timedelta(days=chosen.randrange(DAYS)),
        lines=[LineRequest(debited, "debit", amount), LineRequest(credited, "credit", amount)],
    )


async def post_all(books: Books, ledger: Ledger, requests: list[EntryRequest]) -> list[int]:
    """The sequences of the entries, in the order they were asked for."""
    sequences = []
    for start in range(0, len(requests), 2_000):
        waiting = []
        for request in requests[start : start + 2_000]:
            key = str(new_id())
            wish = Wish(CLOSER, "main", request, key, key.encode()[:32], 200, False, None)
            waiting.append(enqueue(books, ledger, wish))
        for outcome in await asyncio.gather(*waiting):
            assert outcome.records, outcome
            sequences.append(outcome.records[-1].sequence)
    return sequences


@pytest.fixture(scope="module")
async def history(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[History]:
    chosen = random.Random(20260101)
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        dsns = postgres.service_dsns(dsn, "ledger")
        pool = await create_writer_pool(dsns.writer)
        reader = await create_pool(dsns.reader, name="reader", max_size=2)
        books = Books(pool, now, Limits(batch_requests=1_000))
        await open_organization(books, "demo", "Demo", "USD", Asker("demo", "api", "operator", "api/operator"))
        await open_accounts(books, *(account(code) for code in CODES), account("SUM", currency=None, summary=True))
        ledger = await books.get("demo", "main")
        requests = [draw(chosen) for _ in range(ENTRIES)]
        sequences = await post_all(books, ledger, requests)
        await open_accounts(books, account("LATE"))
        lines = [
            (line.account, sequence, request.effective_on, line.side == "debit", minor(line.amount), request.kind)
            for request, sequence in zip(requests, sequences, strict=True)
            for line in request.lines
            if request.effective_on is not None
        ]
        yield History(ledger, reader, dsns, lines, sequences[-1] + 1)
        await reader.close()
        await pool.close()


def minor(text: str) -> int:
    return int(text.replace(".", ""))


def added_up(
    lines: list[Line], since: date | None, through: date | None, sequence: int, kinds: tuple[str, ...]
) -> dict[tuple[str, date], tuple[int, int]]:
    """Debits and credits by account and day, one line after another."""
    sums: dict[tuple[str, date], list[int]] = defaultdict(lambda: [0, 0])
    for code, at, day, is_debit, amount, kind in lines:
        if at <= sequence and (since or day) <= day <= (through or day) and kind not in kinds:
            sums[code, day][0 if is_debit else 1] += amount
    return {key: (debits, credits_) for key, (debits, credits_) in sums.items()}


def by_account(daily: dict[tuple[str, date], tuple[int, int]]) -> dict[str, tuple[int, int]]:
    sums: dict[str, list[int]] = {code: [0, 0] for code in CODES}
    for (code, _), (debits, credits_) in daily.items():
        sums[code][0] += debits
        sums[code][1] += credits_
    return {code: (debits, credits_) for code, (debits, credits_) in sums.items()}


def ranges(chosen: random.Random, head: int) -> list[tuple[date | None, date | None, int | None, tuple[str, ...]]]:
    """Every edge of a block, the head, the beginning, none, and some in between; days open at either end."""
    edges = [None, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, head, head - 1, *(chosen.randrange(10, head) for _ in range(6))]
    asked = []
    for sequence in edges:
        for _ in range(3):
            first = chosen.choice([None, FIRST_DAY + timedelta(days=chosen.randrange(DAYS))])
            last = chosen.choice([None, FIRST_DAY + timedelta(days=chosen.randrange(DAYS))])
            asked.append((first, last, sequence, chosen.choice([(), ("closing",)])))
    asked.append((None, None, None, ()))
    asked.append((None, None, None, ("closing", "opening")))
    return asked


async def test_sums_are_what_the_lines_add_up_to(history: History) -> None:
    for since, through, sequence, kinds in ranges(random.Random(3), history.head):
        expected = added_up(history.lines, since, through, sequence or history.head, kinds)
        async with as_reader(history.reader, "demo", history.ledger) as connection:
            at, accounts = await read_sums(
                connection, history.ledger, since=since, through=through, sequence=sequence, without_kinds=kinds
            )
            daily_at, daily = await read_daily_sums(
                connection, history.ledger, since=since, through=through, sequence=sequence, without_kinds=kinds
            )
        place = (since, through, sequence, kinds)
        assert at == daily_at == (sequence or history.head), place
        found = {each.code: (each.debits, each.credits) for each in accounts if each.code in CODES}
        assert found == {code: by_account(expected)[code] for code in found}, place
        days = {(each.code, day): (each.debits, each.credits) for day, each in daily}
        assert days == expected, place


async def test_accounts_are_those_the_ledger_had_at_the_sequence(history: History) -> None:
    async with as_reader(history.reader, "demo", history.ledger) as connection:
        listed = {}
        for sequence in (1, 3, history.head - 1, None):
            _, accounts = await read_sums(connection, history.ledger, since=None, through=None, sequence=sequence)
            listed[sequence] = [each.code for each in accounts]
    assert listed == {
        1: [],
        3: ["A", "B"],
        history.head - 1: ["A", "B", "C", "D", "SUM"],
        None: ["A", "B", "C", "D", "LATE", "SUM"],
    }


async def test_a_sequence_beyond_the_head_is_refused_by_name(history: History) -> None:
    async with as_reader(history.reader, "demo", history.ledger) as connection:
        for read in (read_sums, read_daily_sums):
            with pytest.raises(Problem, match=str(history.head)) as refused:
                await read(connection, history.ledger, since=None, through=None, sequence=history.head + 1)
            assert refused.value.code == "sequence-not-reached"
            assert refused.value.facts == {"head": history.head, "sequence": history.head + 1}


async def test_the_lines_of_a_block_and_closing_entries_are_found_by_index(history: History) -> None:
    """The plans under row-level security: neither the lines of other blocks nor the entries of other kinds are read."""
    async with as_reader(history.reader, "demo", history.ledger) as connection:
        by_block = await connection.fetch(
            "explain select sum(amount) from lines where ledger_no = $1 and sequence >= $2 and sequence <= $3",
            history.ledger.no, BLOCK, BLOCK + 100,
        )  # fmt: skip
        by_kind = await connection.fetch(
            "explain select id from entries where ledger_no = $1 and kind <> 'normal' and kind = any($2::text[])",
            history.ledger.no, ["closing"],
        )  # fmt: skip
    plan = "\n".join(row[0] for row in by_block)
    assert "Seq Scan" not in plan, plan
    assert "Index Cond: ((ledger_no = 1) AND (sequence >= " in plan, plan
    assert "entries_by_kind" in "\n".join(row[0] for row in by_kind)


async def test_a_balance_as_of_any_two_times_is_what_the_lines_add_up_to(history: History) -> None:
    for _, through, sequence, _ in ranges(random.Random(5), history.head):
        expected = by_account(added_up(history.lines, None, through, sequence or history.head, ()))
        for code in CODES[:2]:
            async with as_reader(history.reader, "demo", history.ledger) as connection:
                kept = await read_account_kept(connection, history.ledger, code)
                assert kept is not None
                asked = AsOf(through, sequence)
                found = await read_balance(connection, history.ledger, kept, asked)
            debits, credits_ = expected[code]
            assert (found["posted"], found["sequence"]) == (
                to_text(debits - credits_, 2),
                sequence or history.head,
            ), (code, asked)


@pytest.mark.parametrize("sequence", [BLOCK - 1, BLOCK + 1, None])
@pytest.mark.parametrize("limit", [None, 6_001])
async def test_a_statement_read_in_slices_has_every_line_in_order(
    history: History, sequence: int | None, limit: int | None
) -> None:
    at = sequence or history.head
    since, through = FIRST_DAY + timedelta(days=3), FIRST_DAY + timedelta(days=30)
    expected = sorted(
        (day, known_at, "debit" if is_debit else "credit", to_text(amount, 2))
        for code, known_at, day, is_debit, amount, _ in history.lines
        if code == "A" and known_at <= at and since <= day <= through
    )[:limit]
    books = report_streams.Books(history.reader, "demo", history.ledger, since, through, at)
    async with books.reading() as connection:
        kept = await read_account_kept(connection, history.ledger, "A")
    assert kept is not None
    run = Running("debit", 2, 0)
    found = [line async for piece in report_streams.slices(books, kept.no, run, None, limit) for line in piece]
    shown = [
        (date.fromisoformat(each["effective_on"]), each["sequence"], each["side"], each["amount"]) for each in found
    ]
    assert shown == expected
    assert found[-1]["balance"] == to_text(run.balance, 2) == to_text(run.debits - run.credits, 2)


async def test_the_lines_of_a_party_are_found_by_their_index(history: History) -> None:
    async with as_reader(history.reader, "demo", history.ledger) as connection:
        rows = await connection.fetch(
            "explain select sum(amount) from lines where ledger_no = $1 and account_no = $2 and party = $3",
            history.ledger.no, 1, "nobody",
        )  # fmt: skip
    assert "lines_by_party" in "\n".join(row[0] for row in rows)
