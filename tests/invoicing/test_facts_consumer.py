"""The books as invoicing hears them, on real parts: every line of a followed account once, a broken log stops."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common.bus import Message
from libs.common.clock import now
from libs.common.db import Pool
from libs.common.errors import Poison
from services.invoicing.facts_consumer import FactsConsumer, LogBroken, decode
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import Log, Told, as_record, eventually, execute, rows, running, telling
from tests.support.kafka import KafkaBroker

GOLDEN = Path(__file__).parents[1] / "contracts" / "golden" / "facts.json"
MAP = "insert into account_mappings (organization, ledger, role, currency, account) values ('demo', 'main', $1, $2, $3)"


def golden() -> list[Message]:
    written: list[dict[str, Any]] = json.loads(GOLDEN.read_text())
    return [
        Message(
            "t", each["key"].encode(), each["value"].encode(), [(k, v.encode()) for k, v in each["headers"].items()]
        )
        for each in written
    ]


def test_every_golden_fact_is_read_and_each_continues_the_one_before() -> None:
    facts = [decode(as_record(message)) for message in golden()]
    assert [fact.place.sequence for fact in facts] == list(range(1, len(facts) + 1))
    assert [fact.previous_hash for fact in facts[1:]] == [fact.place.hash for fact in facts[:-1]]
    (posted, *_) = [fact.posted for fact in facts if fact.posted is not None]
    assert [tuple(line.values()) for line in posted.entry.lines] == [
        ("1010-CASH", "debit", "49.00", "USD"),
        ("4000-REVENUE", "credit", "49.00", "USD"),
    ]
    assert (posted.request.service, posted.entry.id) == ("shop", UUID("0190a0b0-0000-8000-8000-000000000001"))


def test_an_altered_fact_is_poison() -> None:
    message = golden()[3]
    assert message.value is not None
    altered = Message("t", message.key, message.value.replace(b"49.00", b"94.00"), message.headers)
    with pytest.raises(Poison) as poison:
        decode(as_record(altered))
    assert poison.value.code == "hash-differs"


@pytest.mark.parametrize(("value", "code"), [(None, "value-null"), (b"{}", "hash-differs")])
def test_what_cannot_be_read_is_poison(value: bytes | None, code: str) -> None:
    message = golden()[0]
    with pytest.raises(Poison) as poison:
        decode(as_record(Message("t", message.key, value, message.headers)))
    assert poison.value.code == code


@pytest.fixture
async def told(kafka: KafkaBroker) -> AsyncIterator[Told]:
    async with telling(kafka, "facts") as told:
        yield told


def listening(writer: Pool, told: Told, **more: Any) -> FactsConsumer:
    return FactsConsumer(writer, now, told.kafka, group=told.topic, topic=told.topic, **more)


async def heard(receivables: InvoicingDatabase, sequence: int) -> bool:
    return await rows(receivables.admin, "select sequence from heads where ledger = 'main'") == [(sequence,)]


LINES = "select sequence, line, account, party, amount, service from book_lines order by sequence, line"


async def test_lines_of_mapped_accounts_are_kept_once(writer: Pool, told: Told, receivables: InvoicingDatabase) -> None:
    await execute(receivables.admin, MAP, "receivable", "", "1100-AR")
    log = Log()
    opened = log.record("ledger-opened", opened={})
    first = log.post("1100-AR debit 5.00 acme", "4000-REVENUE credit 5.00")
    second = log.post("4000-REVENUE debit 2.00", "1100-AR credit 2.00 acme", service="api")
    async with running(listening(writer, told).run):
        await told.say(opened, first, first, opened, second)
        await eventually(lambda: heard(receivables, 3))
    async with running(listening(writer, told).run):  # a restart goes on; what comes again changes nothing
        await told.say(second, log.record("day-closed"))
        await eventually(lambda: heard(receivables, 4))
    assert await rows(receivables.admin, LINES) == [
        (2, 0, "1100-AR", "acme", 500, "invoicing"),
        (3, 1, "1100-AR", "acme", -200, "api"),
    ]
    assert await rows(receivables.admin, "select account from used_accounts") == [("4000-REVENUE",)]
    assert await rows(receivables.admin, "select account, complete from followed_accounts") == [("1100-AR", True)]


async def test_an_account_that_is_mapped_late_is_heard_again(
    writer: Pool, told: Told, receivables: InvoicingDatabase
) -> None:
    log, other = Log(), Log(ledger="side")
    await told.say(log.record("ledger-opened", opened={}), other.record("ledger-opened", opened={}))
    await told.say(*(log.post("1100-AR debit 1.00 acme", "4000-REVENUE credit 1.00") for _ in range(5)))
    async with running(listening(writer, told, max_records=2).run):
        await eventually(lambda: heard(receivables, 6))
        assert await rows(receivables.admin, LINES) == []
        await execute(receivables.admin, MAP, "receivable", "", "1100-AR")
        await execute(receivables.admin, MAP, "unapplied-receipts", "", "2300-NEW")
        await told.say(log.post("1100-AR debit 1.00 acme", "4000-REVENUE credit 1.00"), other.record("day-closed"))
        await eventually(lambda: heard(receivables, 7))
        await eventually(lambda: _complete(receivables))
    kept = await rows(receivables.admin, "select sequence, amount from book_lines order by 1")
    assert kept == [(number, 100) for number in range(2, 8)]
    assert await rows(receivables.admin, "select max(wanted_through) from followed_accounts") == [(6,)]


async def _complete(receivables: InvoicingDatabase) -> bool:
    return await rows(receivables.admin, "select count(*) from followed_accounts where not complete") == [(0,)]


async def test_each_batch_is_one_whatever_its_size(writer: Pool, told: Told, receivables: InvoicingDatabase) -> None:
    await execute(receivables.admin, MAP, "receivable", "JPY", "1105-AR-JPY")
    log = Log()
    await told.say(log.record("ledger-opened", opened={}))
    await told.say(*(log.post(f"1105-AR-JPY debit {n} c{n} JPY", f"4000 credit {n} - JPY") for n in range(1, 301)))
    async with running(listening(writer, told, max_records=7).run):
        await eventually(lambda: heard(receivables, 301))
    assert await rows(receivables.admin, "select count(*), sum(amount) from book_lines") == [(300, 300 * 301 // 2)]


def _skipped(log: Log) -> Message:
    log.post("1100-AR debit 1.00 acme", "4000 credit 1.00")
    return log.post("1100-AR debit 1.00 acme", "4000 credit 1.00")


def _another_history(log: Log) -> Message:
    return replace(log, hash="ab" * 32, told=[]).post("1100-AR debit 1.00 acme", "4000 credit 1.00")


def _another_epoch(log: Log) -> Message:
    return replace(log, epoch=2, sequence=1, told=[]).post("1100-AR debit 1.00 acme", "4000 credit 1.00")


def _never_heard(log: Log) -> Message:
    return Log(ledger="unheard", sequence=4, hash="ab" * 32).post("1100-AR debit 1.00 acme", "4000 credit 1.00")


@pytest.mark.parametrize("next_fact", [_skipped, _another_history, _another_epoch, _never_heard])
async def test_a_log_that_does_not_go_on_stops_the_consumer(
    writer: Pool, told: Told, receivables: InvoicingDatabase, next_fact: Any
) -> None:
    log = Log()
    await told.say(log.record("ledger-opened", opened={}), log.record("day-closed"))
    stopping = asyncio.Event()
    task = asyncio.create_task(listening(writer, told).run(stopping))
    await eventually(lambda: heard(receivables, 2))
    await told.say(next_fact(log))
    with pytest.raises(LogBroken):
        await asyncio.wait_for(task, 20)
    assert await heard(receivables, 2)
    offsets = await rows(receivables.admin, "select sum(next_offset)::int from consumer_offsets")
    assert offsets == [(2,)]


async def test_a_restored_ledger_goes_on_in_its_new_epoch(
    writer: Pool, told: Told, receivables: InvoicingDatabase
) -> None:
    log = Log()
    await told.say(log.record("ledger-opened", opened={}))
    log.epoch = 2
    await told.say(log.record("day-closed"))
    async with running(listening(writer, told).run):
        await eventually(lambda: heard(receivables, 2))
    assert await rows(receivables.admin, "select epoch from heads") == [(2,)]


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("update heads set sequence = 1", "head_falls"),
        ("update heads set sequence = sequence", "head_falls"),
        ("delete from heads", "append_only"),
        ("update book_lines set amount = 1", "append_only"),
        ("delete from book_lines", "append_only"),
    ],
)
async def test_what_was_heard_stays(
    writer: Pool, told: Told, receivables: InvoicingDatabase, statement: str, constraint: str
) -> None:
    await execute(receivables.admin, MAP, "receivable", "", "1100-AR")
    log = Log()
    await told.say(log.record("ledger-opened", opened={}), log.post("1100-AR debit 5.00 a", "4000 credit 5.00"))
    async with running(listening(writer, told).run):
        await eventually(lambda: heard(receivables, 2))
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await execute(receivables.admin, statement)
    assert refused.value.constraint_name == constraint
