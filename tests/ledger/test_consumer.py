"""Requests over Kafka on real parts: every one answered, repeated ones alike, poison set aside, nothing skipped."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import orjson
import pytest
from aiokafka import ConsumerRecord

from libs.common import metrics
from libs.common.bus import Message, cloud_event_headers, parse_headers
from libs.common.clock import now
from libs.common.events import REQUEST_POSTED, REQUEST_REJECTED
from libs.common.journal import ledger_id
from libs.common.periods import DayClose, PeriodStep
from services.ledger.commands import Books
from services.ledger.consumer import REQUEST_BYTES_MAX, RequestsConsumer, decode
from tests.ledger.asking import account, open_accounts, take
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.wire import Wire, entry_body, open_wire, running
from tests.support.kafka import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.database]

POSTED, REJECTED = REQUEST_POSTED.name, REQUEST_REJECTED.name
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def wire(kafka: KafkaBroker, books: Books) -> AsyncIterator[Wire]:
    """Topics of the test's own, and accounts A and B in the books."""
    await open_accounts(books, account("A"), account("B"))
    async with open_wire(kafka) as opened:
        yield opened


def consumer(books: Books, wire: Wire) -> RequestsConsumer:
    return RequestsConsumer(books, wire.kafka, group=wire.topics.requests, topics=wire.topics)


async def entries(database: LedgerDatabase) -> int:
    connection = await asyncpg.connect(database.admin)
    try:
        return int(await connection.fetchval("select count(*) from entries"))
    finally:
        await connection.close()


async def test_an_entry_an_account_and_a_reversal_are_answered(books: Books, wire: Wire) -> None:
    address = {"organization": "demo", "ledger": "main"}
    opening = {**address, "idempotency_key": "a1", "document": "account/c", "code": "C", "name": "C", "type": "income",
               "currency": "USD"}  # fmt: skip
    async with running(consumer(books, wire).run):
        await wire.send(wire.request(opening, type_="ledger.account-wanted.v1"))
        await wire.send(wire.request(entry_body("e1", "A debit 5.00", "C credit 5.00", external_id="p/1")))
        opened, posted = await wire.answers(2)
        assert opened[0] == posted[0] == POSTED
        assert opened[2]["account"]["code"] == "C"
        assert posted[2]["request"] == {"service": "shop", "idempotency_key": "e1", "document": "payment/e1"}
        assert (posted[2]["organization"], posted[2]["ledger"], posted[2]["replayed"]) == ("demo", "main", False)
        assert posted[2]["entry"]["lines"][0]["balance_after"] == "5.00"
        reversal = {**address, "idempotency_key": "r1", "document": "payment/e1",
                    "entry_id": posted[2]["entry"]["id"], "description": "taken back"}  # fmt: skip
        await wire.send(wire.request(reversal, type_="ledger.reversal-wanted.v1"))
        reversed_ = (await wire.answers(3))[2]
    assert reversed_[2]["entry"]["reverses"] == posted[2]["entry"]["id"]
    for _, _, value in (opened, posted, reversed_):
        REQUEST_POSTED.adapter.validate_json(orjson.dumps(value))


async def test_a_closed_month_is_closed_over_kafka_too(books: Books, wire: Wire, database: LedgerDatabase) -> None:
    """Nobody has a permit there: neither for closed days nor for entries of kind closing."""
    old = {"effective_on": "2025-01-10"}
    async with running(consumer(books, wire).run):
        await wire.send(wire.request(entry_body("c1", **old)))
        ((_, _, posted),) = await wire.answers(1)
        await take(books, PeriodStep(period="2025-01", step="close"), DayClose(day=date(2025, 2, 5)))
        back = {"organization": "demo", "ledger": "main", "idempotency_key": "r1", "document": "d",
                "entry_id": posted["entry"]["id"], **old}  # fmt: skip
        await wire.send(
            wire.request(entry_body("c2", **old)),
            wire.request(back, type_="ledger.reversal-wanted.v1"),
            wire.request(entry_body("c3", effective_on="2025-02-05")),
            wire.request(entry_body("c4", kind="closing")),
            wire.request(entry_body("c5", **old, if_closed="next-open-day")),
        )
        answers = await wire.answers(6)
    told = {value["request"]["idempotency_key"]: value for _, _, value in answers}
    codes = [told[key]["code"] for key in ("c2", "r1", "c3", "c4")]
    assert codes == ["period-closed", "period-closed", "day-closed", "closing-kind-not-permitted"]
    assert (told["c5"]["entry"]["effective_on"], told["c5"]["entry"]["value_on"]) == ("2025-02-06", "2025-01-10")
    assert await entries(database) == 2


async def test_the_time_to_a_durable_outcome_is_observed(books: Books, wire: Wire) -> None:
    """As over REST; what never reached a ledger's queue has none."""

    def observed() -> float:
        return sum(bucket.get() for bucket in metrics.LEDGER_POSTING_LATENCY_MS._buckets)

    before = observed()
    async with running(consumer(books, wire).run):
        await wire.send(wire.request(entry_body("t1")), wire.request(entry_body("t2", "A debit 1.00", "B credit 2.00")))
        await wire.send(wire.request(entry_body("t3", colour="red")))
        await wire.answers(3)
    assert observed() == before + 2


async def test_answers_are_keyed_by_document_and_carry_the_trace(books: Books, wire: Wire) -> None:
    async with running(consumer(books, wire).run):
        await wire.send(wire.request(entry_body("t1", document="order/7"), traceparent=TRACE))
        (record,) = await wire.read_until(wire.topics.answers, 1)
    event = parse_headers(record.headers)
    assert record.key == b"order/7"
    assert event.source == "ledger"
    assert event.traceparent is not None
    assert event.traceparent.split("-")[1] == TRACE.split("-")[1]
    async with books.pool.acquire() as connection:
        payload = orjson.loads(await connection.fetchval("select payload from log order by sequence desc limit 1"))
    assert payload["traceparent"] == TRACE
    assert payload["request"]["service"] == payload["request"]["scope"] == payload["actor"] == "shop"


async def test_a_request_sent_again_has_the_same_answer(books: Books, wire: Wire, database: LedgerDatabase) -> None:
    request = wire.request(entry_body("same"))
    async with running(consumer(books, wire).run):
        await wire.send(request, request)
        await wire.answers(2)
        await wire.send(request)
        answers = await wire.answers(3)
    assert [value["replayed"] for _, _, value in answers] == [False, True, True]
    assert len({id_ for _, id_, _ in answers}) == 1
    assert len({value["entry"]["id"] for _, _, value in answers}) == 1
    assert len({value["hash"] for _, _, value in answers}) == 1
    assert await entries(database) == 1


async def test_a_rejection_is_remembered_too(books: Books, wire: Wire) -> None:
    request = wire.request(entry_body("no", "A debit 1.00", "B credit 2.00"))
    async with running(consumer(books, wire).run):
        await wire.send(request)
        await wire.answers(1)
        await wire.send(request)
        answers = await wire.answers(2)
    assert [(type_, value["code"]) for type_, _, value in answers] == [(REJECTED, "entry-not-balanced")] * 2
    assert [value["replayed"] for _, _, value in answers] == [False, True]
    assert answers[0][1] == answers[1][1]
    assert answers[0][2]["facts"] == answers[1][2]["facts"]


async def test_a_key_used_again_for_something_else(books: Books, wire: Wire, database: LedgerDatabase) -> None:
    async with running(consumer(books, wire).run):
        await wire.send(wire.request(entry_body("k", "A debit 1.00", "B credit 1.00", description="Rent")))
        await wire.send(wire.request(entry_body("k", "A debit 2.00", "B credit 2.00", description="Rent")))
        await wire.send(wire.request(entry_body("k", "A debit 3.00", "B credit 3.00"), source="other"))
        answers = await wire.answers(3)
    assert answers[1][2]["code"] == "key-reused-with-other-content"
    assert {"pointer": "/lines/0/amount", "detail": "was 1.00, is 2.00 now"} in answers[1][2]["errors"]
    assert answers[2][0] == POSTED, "another service's keys are its own"
    assert len({id_ for _, id_, _ in answers}) == 3
    assert await entries(database) == 2


def _with(**changes: object) -> dict[str, object]:
    return {**entry_body("m"), **changes}


def _line(**changes: object) -> dict[str, object]:
    body = entry_body("m")
    body["lines"][0] |= changes
    return body


MALFORMED = {
    "unknown field": (orjson.dumps(_with(colour="red")), "/colour"),
    "unknown field in a line": (orjson.dumps(_line(colour="red")), "/lines/0/colour"),
    "a number as amount": (orjson.dumps(_line(amount=1)), "/lines/0/amount"),
    "a float as amount": (orjson.dumps(_line(amount=1.5)), "/lines/0/amount"),
    "an amount that is none": (orjson.dumps(_line(amount="1e3")), "/lines/0/amount"),
    "no lines": (orjson.dumps({k: v for k, v in entry_body("m").items() if k != "lines"}), "/lines"),
    "lines are none": (orjson.dumps(_with(lines="none")), "/lines"),
    "a NUL character": (orjson.dumps(_with(description="a\0b")), "/description"),
    "a key with a space": (orjson.dumps(_with(idempotency_key="a b")), "/idempotency_key"),
    "a ledger that cannot be": (orjson.dumps(_with(ledger="Main!")), "/ledger"),
    "a name twice": (orjson.dumps(entry_body("m"))[:-1] + b',"description":"a","description":"b"}', ""),
    "a day that is none": (orjson.dumps(_with(effective_on="2026-02-30")), "/effective_on"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_of_a_wrong_shape(name: str) -> None:
    raw, pointer = MALFORMED[name]
    value = orjson.loads(raw)
    asked = decode(record_of(raw, str(ledger_id(value["organization"], value["ledger"])).encode()))
    assert asked.refused is not None
    assert asked.refused.code == "malformed"
    assert asked.refused.errors[0].pointer == pointer, asked.refused


def record_of(value: bytes, key: bytes) -> ConsumerRecord:
    """A record as it is fetched."""
    headers = cloud_event_headers("ledger.entry-wanted.v1", "shop", "1", now())
    return ConsumerRecord("t", 0, 0, 0, 0, key, value, None, len(key), len(value), tuple(headers))


async def test_a_wrong_shape_is_answered_and_leaves_no_trace(
    books: Books, wire: Wire, database: LedgerDatabase
) -> None:
    bad, good = entry_body("m", colour="red"), entry_body("m")
    async with running(consumer(books, wire).run):
        await wire.send(wire.request(bad), wire.request(bad), wire.request(good))
        await wire.send(wire.request(entry_body("w"), key=b"not-the-ledger's-id"))
        await wire.send(wire.request({**good, "ledger": "none"}))
        answers = await wire.answers(5)
    codes = [value.get("code") for _, _, value in answers]
    assert codes == ["malformed", "malformed", None, "malformed", "unknown-ledger"]
    assert answers[0][2]["errors"] == [{"pointer": "/colour", "detail": "is not a known field"}]
    assert answers[0][1] == answers[1][1]
    assert answers[2][1] != answers[0][1], "an inbox must not take the good answer for the bad one again"
    assert answers[2][2]["replayed"] is False
    assert await wire.read(wire.dead_letters) == []
    for _, _, value in (answers[0], answers[3], answers[4]):
        REQUEST_REJECTED.adapter.validate_json(orjson.dumps(value))
    assert await entries(database) == 1


async def test_poison_is_set_aside_and_the_consumer_goes_on(books: Books, wire: Wire) -> None:
    def bare(value: bytes | None, *drop: str, **change: bytes) -> Message:
        message = wire.request(entry_body("p"))
        headers = [(name, change.get(name, content)) for name, content in message.headers if name not in drop]
        return Message(message.topic, message.key, value, headers)

    good = orjson.dumps(entry_body("p"))
    poison = {
        "json-invalid": bare(good[:-1]),
        "value-null": bare(None),
        "oversize": bare(orjson.dumps(entry_body("p", description="x" * REQUEST_BYTES_MAX))),
        "type-unknown": bare(good, ce_type=b"ledger.tea-wanted.v1"),
        "header-missing": bare(good, "ce_source"),
        "header-wrong": bare(good, ce_specversion=b"0.3"),
        "address-unreadable": bare(orjson.dumps({**entry_body("p"), "document": 7})),
    }
    floats = bare(good.replace(b'"1.00"', b"NaN", 1))
    async with running(consumer(books, wire).run):
        for message in poison.values():
            await wire.send(message)
        await wire.send(floats, bare(good))
        ((type_, _, value),) = await wire.answers(1)
        letters = await wire.read_until(wire.dead_letters, len(poison) + 1)
    assert (type_, value["request"]["idempotency_key"]) == (POSTED, "p")
    reasons = [dict(letter.headers)["dead_letter_code"].decode() for letter in letters]
    assert reasons == [*poison, "json-invalid"]
    assert [int(dict(letter.headers)["dead_letter_offset"]) for letter in letters] == list(range(len(letters)))


async def test_an_answer_that_was_lost_comes_again(books: Books, wire: Wire, database: LedgerDatabase) -> None:
    """Killed after the commit and before the answer: the offset was not stored, so the request is read again."""
    request = wire.request(entry_body("lost"))
    async with running(consumer(books, wire).run):
        await wire.send(request)
        (first,) = await wire.answers(1)
    connection = await asyncpg.connect(database.admin)
    await connection.execute("update consumer_offsets set next_offset = 0")
    await connection.close()
    async with running(consumer(books, wire).run):
        first_again, second = await wire.answers(2)
    assert first_again == first
    assert second[1] == first[1]
    assert second[2] == {**first[2], "replayed": True}
    assert await entries(database) == 1


async def test_a_restart_goes_on_where_it_was(books: Books, wire: Wire, database: LedgerDatabase) -> None:
    for number in range(3):
        await wire.send(wire.request(entry_body(f"r{number}")))
        async with running(consumer(books, wire).run):
            await wire.answers(number + 1)
    assert [value["replayed"] for _, _, value in await wire.answers(3)] == [False] * 3
    assert await entries(database) == 3


async def test_two_consumers_share_the_work(kafka: KafkaBroker, books: Books, database: LedgerDatabase) -> None:
    await open_accounts(books, account("A"), account("B"))
    async with open_wire(kafka, partitions=2) as wire, running(consumer(books, wire).run):
        await wire.send(*(wire.request(entry_body(f"a{number}")) for number in range(200)))
        async with running(consumer(books, wire).run):
            await wire.send(*(wire.request(entry_body(f"b{number}")) for number in range(200)))
            answers = await wire.answers(400)
            await asyncio.sleep(0)
        await wire.send(*(wire.request(entry_body(f"c{number}")) for number in range(50)))
        answers = await wire.answers(450)
    assert {value["request"]["idempotency_key"] for _, _, value in answers} >= {f"c{number}" for number in range(50)}
    assert len({value["sequence"] for _, _, value in answers}) == 450
    assert await entries(database) == 450


async def test_what_a_defect_keeps_out_is_a_dead_letter_alone(
    books: Books, wire: Wire, database: LedgerDatabase
) -> None:
    """The database refuses what the domain accepted: that one is set aside, those around it are posted."""
    connection = await asyncpg.connect(database.admin)
    await connection.execute("alter table entries add constraint no_tea check (description <> 'tea')")
    await connection.close()
    async with running(consumer(books, wire).run):
        await wire.send(*(wire.request(entry_body(f"d{n}", description="tea" if n == 2 else "")) for n in range(5)))
        answers = await wire.answers(4)
        (letter,) = await wire.read_until(wire.dead_letters, 1)
    assert [value["request"]["idempotency_key"] for _, _, value in answers] == ["d0", "d1", "d3", "d4"]
    assert dict(letter.headers)["dead_letter_code"] == b"refused-by-guard"
    assert orjson.loads(letter.value)["idempotency_key"] == "d2"


async def test_a_request_that_cannot_be_decided_does_not_stop_the_others(
    books: Books, wire: Wire, database: LedgerDatabase
) -> None:
    """What is remembered under its key cannot be read any more: that one is set aside."""
    bad = wire.request(entry_body("bad", "A debit 1.00", "B credit 2.00"))
    async with running(consumer(books, wire).run):
        await wire.send(bad)
        await wire.answers(1)
        connection = await asyncpg.connect(database.admin)
        await connection.execute("alter table requests disable trigger user")
        await connection.execute("update requests set rejection = 'no JSON' where key = 'bad'")
        await connection.close()
        await wire.send(wire.request(entry_body("x1")), bad, wire.request(entry_body("x2")))
        answers = await wire.answers(3)
        (letter,) = await wire.read_until(wire.dead_letters, 1)
    assert [value["request"]["idempotency_key"] for _, _, value in answers] == ["bad", "x1", "x2"]
    assert dict(letter.headers)["dead_letter_code"] == b"request-failed"


async def test_many_at_once_in_order(books: Books, wire: Wire, database: LedgerDatabase) -> None:
    async with running(consumer(books, wire).run):
        await wire.send(*(wire.request(entry_body(f"n{number}", document="one")) for number in range(5_000)))
        answers = await wire.answers(5_000)
    assert [value["sequence"] for _, _, value in answers] == list(range(4, 5_004))
    assert [value["request"]["idempotency_key"] for _, _, value in answers] == [f"n{n}" for n in range(5_000)]
