"""Payments over Kafka on real parts: a topic in whatever state, a restart, poison; each payment is taken once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from libs.common import metrics
from libs.common.bus import DEAD_LETTER_SUFFIX, Message
from libs.common.clock import now
from libs.common.db import Pool
from libs.common.dead_letters import TooManyDeadLetters
from libs.common.errors import Poison
from libs.common.events_payments import payment_key
from services.invoicing.payment_effects import apply
from services.invoicing.payments_consumer import PaymentsConsumer, decode
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import Told, as_record, event, eventually, execute, rows, running, telling
from tests.invoicing.paying import NOON, accounted, body, message, parked, payments, type_of
from tests.invoicing.trading import company
from tests.support.kafka import KafkaBroker
from tests.support.topic_reader import read_whole

RECEIVED = type_of("received")
KEY = payment_key("demo", "p-1")


def test_an_event_is_read_with_its_own_time() -> None:
    heard = decode(as_record(message("received", id_="e-1")))
    assert heard.event is not None
    assert (heard.event.amount, heard.source, heard.event_id) == ("120.00", "shop", "e-1")
    assert (heard.told_at - NOON).total_seconds() < 1


@pytest.mark.parametrize(
    ("poisoned", "code", "pointer"),
    [
        (event(RECEIVED, None, "e", key=KEY), "value-null", ""),
        (event(RECEIVED, b"{", "e", key=KEY), "schema", ""),
        (event(RECEIVED, b" " * 600_000, "e", key=KEY), "oversize", ""),
        (event(RECEIVED, body("received") | {"amount": 5.0}, "e", key=KEY), "schema", "/amount"),
        (event(RECEIVED, body("received") | {"received_on": "2026-02-30"}, "e", key=KEY), "schema", "/received_on"),
        (event(RECEIVED, body("received") | {"organization": "De Mo"}, "e", key=KEY), "schema", "/organization"),
        (event(RECEIVED, body("received") | {"reference": "a\0b"}, "e", key=KEY), "schema", ""),
        (event(type_of("disputed"), body("disputed", status="maybe"), "e", key=KEY), "schema", "/status"),
        (event(RECEIVED, body("received"), "e", key=b"demo/p-2"), "key-differs", ""),
        (event(type_of("paid"), body("paid"), "e", key=KEY), "key-differs", ""),
    ],
)
def test_what_cannot_be_read_is_poison(poisoned: Message, code: str, pointer: str) -> None:
    with pytest.raises(Poison) as poison:
        decode(as_record(poisoned))
    assert (poison.value.code, poison.value.pointer) == (code, pointer)


def test_an_unknown_type_is_nothing() -> None:
    assert decode(as_record(event("payments.payment-expected.v1", b"?", "e"))).event is None


@pytest.fixture
async def topic(kafka: KafkaBroker) -> AsyncIterator[Told]:
    async with telling(kafka, "payments") as told:
        yield told


def listening(writer: Pool, topic: Told, **more: Any) -> PaymentsConsumer:
    return PaymentsConsumer(writer, now, topic.kafka, apply, group=topic.topic, topic=topic.topic, **more)


async def _taken(receivables: InvoicingDatabase, topic: Told, records: int) -> bool:
    found = await rows(
        receivables.admin, "select sum(next_offset)::int from consumer_offsets where topic = $1", topic.topic
    )
    return found == [(records,)]


def _history(payers: int) -> list[Message]:
    """Payments of many payers, each with a refund and a dispute that is won, in their order."""
    history: list[Message] = []
    for payer in range(payers):
        payment = {"payment_id": f"p-{payer:03}"}
        history += [
            message("received", "10.00", id_=f"{payer}-received", reference=f"2026-{payer + 1:06}", **payment),
            message("refunded", "2.00", id_=f"{payer}-refunded", refund_id=f"r-{payer}", **payment),
            message("disputed", "3.00", id_=f"{payer}-opened", dispute_id=f"d-{payer}", status="opened", **payment),
            message("disputed", "3.00", id_=f"{payer}-won", dispute_id=f"d-{payer}", status="won", **payment),
        ]
    return history


@pytest.mark.parametrize("max_records", [1_000, 7])
async def test_a_topic_doubled_shuffled_and_cut_by_restarts_is_taken_once(
    writer: Pool, topic: Told, receivables: InvoicingDatabase, max_records: int
) -> None:
    acme = await company(writer)
    for _ in range(20):
        await acme.issued("12.00")
    told = _history(20) * 2
    random.Random(7).shuffle(told)
    for message_ in told:
        await topic.say(message_)
    for _ in range(3):  # killed in the middle, wherever that is
        stopping = asyncio.Event()
        task = asyncio.create_task(listening(writer, topic, max_records=max_records).run(stopping))
        await asyncio.sleep(0.6)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with running(listening(writer, topic, max_records=max_records).run):
        await eventually(lambda: _taken(receivables, topic, len(told)), 60)
    found = [(allocated + unapplied, *rest) for _, allocated, unapplied, *rest in await payments(writer)]
    assert found == [(800, 0, 200)] * 20
    assert await parked(writer) == []
    postings = await rows(receivables.admin, "select purpose, count(*) from postings group by 1 order by 1")
    assert dict(postings)["payment"] == 20
    assert await rows(receivables.admin, "select count(*) from refunds") == [(20,)]
    await accounted(writer)


async def test_poison_and_strangers_are_set_aside_and_the_others_flow(
    writer: Pool, topic: Told, kafka: KafkaBroker, receivables: InvoicingDatabase
) -> None:
    await company(writer)
    ignored = metrics.KAFKA_IGNORED_EVENTS.labels(topic.topic)
    await topic.say(
        message("received", id_="1"),
        event(RECEIVED, b"{", "2", key=KEY),
        event("payments.payment-expected.v1", b"?", "3", key=KEY),
        message("received", "0.00", id_="4", payment_id="p-zero"),
        message("refunded", "1.00", id_="5", payment_id="p-zero"),
        message("received", id_="6", payment_id="p-2"),
    )
    async with running(listening(writer, topic).run):
        await eventually(lambda: _taken(receivables, topic, 6))
    assert [row[0] for row in await payments(writer)] == ["p-1", "p-2"]
    assert await parked(writer) == [("stripe/p-zero", "amount-not-positive"), ("stripe/p-zero", "queued")]
    assert ignored._value.get() == 1
    letters = await read_whole(kafka.bootstrap, topic.topic + DEAD_LETTER_SUFFIX)
    assert [dict(letter.headers)["dead_letter_code"] for letter in letters] == [b"schema"]


async def test_a_bad_producer_stops_the_consumer_instead_of_draining_the_topic(
    writer: Pool, topic: Told, receivables: InvoicingDatabase
) -> None:
    await company(writer)
    await topic.say(*(event(RECEIVED, b"{", f"{number}", key=KEY) for number in range(30)))
    with pytest.raises(TooManyDeadLetters):
        await asyncio.wait_for(listening(writer, topic).run(asyncio.Event()), 30)
    assert await rows(receivables.admin, "select count(*) from payments") == [(0,)]


async def test_a_batch_whose_fence_was_lost_has_no_effect(
    writer: Pool, topic: Told, receivables: InvoicingDatabase
) -> None:
    """Another consumer took the first record meanwhile: nothing of it is taken again."""
    await company(writer)
    await topic.say(message("received", id_="1"))
    async with running(listening(writer, topic).run):
        await eventually(lambda: _taken(receivables, topic, 1))
        await execute(
            receivables.admin, "update consumer_offsets set next_offset = next_offset + 1 where next_offset = 1"
        )
        await topic.say(message("received", id_="2", payment_id="p-1", amount="120.00"))
        await topic.say(message("refunded", "1.00", id_="3"))
        await eventually(lambda: _taken(receivables, topic, 3))
    assert await payments(writer) == [("p-1", 0, 11900, 0, 100)]
    assert await rows(receivables.admin, "select count(*) from inbox where event_id = '2'") == [(0,)]
