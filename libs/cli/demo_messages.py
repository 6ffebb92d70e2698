"""The demo's side of Kafka: payments as requests, the way a service asks the ledger to post; and the facts that follow.

A request carries an idempotency key and names its document; the ledger answers every request, a repeated one too, and
keys the answer by that document. So a requester sends the same bytes again until the answer is there. Topics are read
from where they ended before something was sent, by no consumer group: the demo remembers nothing.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from libs.cli.client import new_trace
from libs.cli.demo_payments import LEDGER, ORGANIZATION, PAYMENTS, Payment
from libs.cli.exits import Ended
from libs.cli.spans import Span
from libs.common import clock
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers, parse_headers
from libs.common.events import ANSWERS, ENTRY_WANTED, FACTS, REQUEST_POSTED, REQUESTS
from libs.common.journal import ledger_id

SOURCE: Final = "demo"
_PATIENCE_S: Final = 10.0
_TRIES: Final = 4
_POLL_MS: Final = 200

Found = Callable[[ConsumerRecord], bool]


async def request_payments(bootstrap: str) -> list[Mapping[str, Any]]:
    """Asks for every payment of the demo and returns the answers in their order. Raises Ended where one is refused."""
    settings = KafkaSettings(bootstrap)
    publisher = Publisher(settings, name=SOURCE)
    wanted = [_request(payment) for payment in PAYMENTS]
    answers: dict[str, Mapping[str, Any]] = {}

    def all_there(record: ConsumerRecord) -> bool:
        answer = orjson.loads(record.value)
        document = answer["request"]["document"]
        if answer["organization"] == ORGANIZATION and document in map(_document, PAYMENTS):
            answers[document] = _posted(record, answer)
        return len(answers) == len(PAYMENTS)

    try:
        await publisher.start()
        async with from_the_end(settings, ANSWERS) as reader:
            for _ in range(_TRIES):
                await publisher.publish(wanted)
                if await read_until(reader, all_there):
                    return [answers[_document(payment)] for payment in PAYMENTS]
    finally:
        await publisher.stop()
    raise Ended(
        f"The ledger answered {len(answers)} of {len(PAYMENTS)} requests within {_TRIES * _PATIENCE_S:.0f} s.\n"
        f"Look into its log, and into the topic {REQUESTS}.dead-letter."
    )


def _document(payment: Payment) -> str:
    return f"demo-payment/{payment.name}"


def _request(payment: Payment) -> Message:
    body = {
        "organization": ORGANIZATION,
        "ledger": LEDGER,
        "idempotency_key": f"demo-kafka-{payment.name}",
        "document": _document(payment),
        **payment.entry(),
    }
    headers = cloud_event_headers(
        ENTRY_WANTED.name, SOURCE, str(clock.new_id()), clock.now(), traceparent=new_trace()[1]
    )
    return Message(REQUESTS, str(ledger_id(ORGANIZATION, LEDGER)).encode(), orjson.dumps(body), headers)


def _posted(record: ConsumerRecord, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if parse_headers(record.headers).type != REQUEST_POSTED.name:
        raise Ended(f"The ledger refused {answer['request']['document']}: {answer['code']}: {answer['detail']}")
    return answer


async def published_fact(reader: AIOKafkaConsumer, trace_id: str) -> Span | None:
    """The first record of a trace that comes on the facts' topic, as a span below the one its traceparent names."""
    facts: list[Span] = []

    def is_it(record: ConsumerRecord) -> bool:
        event = parse_headers(record.headers)
        if event.traceparent is None or event.traceparent[3:35] != trace_id:
            return False
        facts.append(
            Span(
                trace_id=trace_id,
                span_id=event.id,
                parent_id=event.traceparent[36:52],
                name=event.type,
                service=f"Kafka {FACTS}",
                started_ns=record.timestamp * 1_000_000,
                duration_ns=0,
                attributes={"partition": record.partition, "offset": record.offset},
                links=(),
                error=None,
            )
        )
        return True

    return facts[0] if await read_until(reader, is_it) else None


@asynccontextmanager
async def from_the_end(settings: KafkaSettings, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of what is published to a topic from now on."""
    reader = settings.reader(f"{SOURCE}-reader")
    await reader.start()
    try:
        count = (await settings.cluster([topic])).topics[topic].partitions
        places = [TopicPartition(topic, partition) for partition in range(count)]
        reader.assign(places)
        for place, end in (await reader.end_offsets(places)).items():
            reader.seek(place, end)
        yield reader
    finally:
        await reader.stop()


async def read_until(reader: AIOKafkaConsumer, is_enough: Found) -> bool:
    """Shows every record to `is_enough` until it says so; False where `_PATIENCE_S` went by before."""
    give_up_s = clock.monotonic_s() + _PATIENCE_S
    while clock.monotonic_s() < give_up_s:
        for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                if is_enough(record):
                    return True
    return False
