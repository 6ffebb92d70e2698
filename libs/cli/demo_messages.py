"""The demo's payments as requests over Kafka, the way a service asks the ledger to post.

A request carries an idempotency key and names its document; the ledger answers every request on `ledger.answers.v1`,
keyed by that document, a repeated one too. So a requester sends the same bytes again until the answer is there. This
one reads the answers from where the topic ended before it sent, without a consumer group: it remembers nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.cli.demo_payments import LEDGER, ORGANIZATION, PAYMENTS, Payment
from libs.cli.exits import Ended
from libs.common import clock
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers, parse_headers
from libs.common.journal import ledger_id

REQUESTS: Final = "ledger.requests.v1"
ANSWERS: Final = "ledger.answers.v1"
POSTED: Final = "ledger.request-posted.v1"
SOURCE: Final = "demo"
_RESEND_S: Final = 10.0
_TRIES: Final = 4
_POLL_MS: Final = 200


async def request_payments(bootstrap: str) -> list[Mapping[str, Any]]:
    """Asks for every payment of the demo and returns the answers in their order. Raises Ended where one is refused."""
    settings = KafkaSettings(bootstrap)
    wanted = [_request(payment) for payment in PAYMENTS]
    answers: dict[str, Mapping[str, Any]] = {}
    publisher, consumer = Publisher(settings, name=SOURCE), settings.consumer(f"{SOURCE}-answers", None)
    try:
        await publisher.start()
        await consumer.start()
        await _read_from_the_end(settings, consumer)
        for _ in range(_TRIES):
            await publisher.publish(wanted)
            await _collect(consumer, answers)
            if len(answers) == len(PAYMENTS):
                return [answers[_document(payment)] for payment in PAYMENTS]
    finally:
        await consumer.stop()
        await publisher.stop()
    raise Ended(
        f"The ledger answered {len(answers)} of {len(PAYMENTS)} requests within {_TRIES * _RESEND_S:.0f} s.\n"
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
    headers = cloud_event_headers("ledger.entry-wanted.v1", SOURCE, str(clock.new_id()), clock.now())
    key = str(ledger_id(ORGANIZATION, LEDGER)).encode()
    return Message(REQUESTS, key, orjson.dumps(body), headers)


async def _read_from_the_end(settings: KafkaSettings, consumer: AIOKafkaConsumer) -> None:
    count = (await settings.cluster([ANSWERS])).topics[ANSWERS].partitions
    places = [TopicPartition(ANSWERS, partition) for partition in range(count)]
    consumer.assign(places)
    for place, end in (await consumer.end_offsets(places)).items():
        consumer.seek(place, end)


async def _collect(consumer: AIOKafkaConsumer, answers: dict[str, Mapping[str, Any]]) -> None:
    """Adds our requests' answers by document until all are there, for `_RESEND_S` at most."""
    ours = {_document(payment) for payment in PAYMENTS}
    give_up_s = clock.monotonic_s() + _RESEND_S
    while ours - answers.keys() and clock.monotonic_s() < give_up_s:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                answer = orjson.loads(record.value)
                document = answer["request"]["document"]
                if answer["organization"] != ORGANIZATION or document not in ours:
                    continue
                if parse_headers(record.headers).type != POSTED:
                    raise Ended(f"The ledger refused {document}: {answer['code']}: {answer['detail']}")
                answers[document] = answer
