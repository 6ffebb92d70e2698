"""The ledger's entrance over Kafka: requests in, every one of them answered.

    record -> decode -> Asked, or Poison (a dead letter)         pure, no waiting
    batch  -> enqueue all -> wait -> answers -> publish           acknowledged
           -> only then the next offset in the ledger's own database

* A record whose organization, ledger, idempotency_key and document can be read is always answered; of a wrong shape, or
  under the key of another ledger (its order would be lost): `malformed`, which is not remembered. What cannot be
  read, is too long, of an unknown type or without its CloudEvents headers is a dead letter.
* Each batch may come again: the request key finds what was decided, and the answer is published again under the id it
  had. Answers that are not remembered (the next try may be taken) have an id of their own per content, so that no inbox
  takes the good answer for a repetition of the bad one.
* What a defect of ours keeps out (the database's guards refuse it, or deciding it fails) although it was tried alone
  is a dead letter too; more than a few of them stop the process.
* Who asks is `ce_source`, which the broker's access rules vouch for.

A batch is longer than the writer's statements: while one statement commits, the next is decided and the answers of the
one before are published.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from aiokafka import ConsumerRecord
from asyncpg import PostgresError
from pydantic import ValidationError

from libs.common import metrics
from libs.common.bus import (
    DEAD_LETTER_SUFFIX,
    Batch,
    CloudEvent,
    Consumer,
    Decoded,
    KafkaSettings,
    Message,
    Publisher,
    cloud_event_headers,
    parse_headers,
)
from libs.common.clock import name_based_id
from libs.common.db import transient
from libs.common.dead_letters import (
    DEFAULT_LIMITS,
    PREFIX,
    VALUE_BYTES_MAX,
    DeadLetterCount,
    DeadLetterLimits,
    dead_letter,
)
from libs.common.errors import Fault, Poison, Problem, Rejection, Transient
from libs.common.events import (
    LEDGER_SOURCE,
    REQUEST_POSTED,
    REQUEST_REJECTED,
    REQUEST_TYPES,
    TOPICS,
    AccountWanted,
    LedgerTopics,
    Wanted,
)
from libs.common.events_holds import CaptureWanted
from libs.common.holds import capture_faults
from libs.common.inbox import StoredPositions, advance
from libs.common.journal import RECORD_BYTES_MAX, ledger_id
from libs.common.json_text import parse_json
from libs.common.problems import faults_of
from libs.common.telemetry import context_from, current_traceparent, get_logger, start_span
from services.ledger import commands
from services.ledger.accounts import shape_faults
from services.ledger.commands import Answer, Asker, Books, Wish, fingerprint_of
from services.ledger.deciding import Outcome
from services.ledger.rejections import NOT_REMEMBERED, reject
from services.ledger.state import Ledger
from services.ledger.writer import RefusedByGuard

log = get_logger(__name__)

GROUP: Final = "ledger-requests"
REQUEST_BYTES_MAX: Final = 2 * RECORD_BYTES_MAX
BATCH_REQUESTS: Final = 4_000
ANSWERS_AT_ONCE: Final = 1_000
LINKS_MAX: Final = 100
ADDRESS: Final = ("organization", "ledger", "idempotency_key", "document")
ADDRESS_CHARACTERS_MAX: Final = 1_000
RETRY_S: Final = 1.0

MALFORMED: Final = "malformed"


class Asked(NamedTuple):
    """A request that will be answered: its address, and what is wished for or why that cannot be."""

    organization: str
    ledger: str
    key: str
    document: str
    service: str
    kind: str
    fingerprint: bytes
    traceparent: str | None
    wish: Wish | None
    refused: Rejection | None


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode(record: ConsumerRecord) -> Asked:
    """What a record asks for. Raises Poison where nobody could be answered."""
    event = parse_headers(record.headers)
    wanted_type = REQUEST_TYPES.get(event.type)
    if wanted_type is None:
        raise Poison("type-unknown", f"{event.type[:200]} is no type of this topic", "ce_type")
    if "\0" in event.source:
        raise Poison("header-wrong", "header ce_source has a NUL character", "ce_source")
    raw = record.value
    if raw is None:
        raise Poison("value-null", "a request has a value")
    if len(raw) > REQUEST_BYTES_MAX:
        raise Poison("oversize", f"{len(raw)} bytes, at most {REQUEST_BYTES_MAX} are taken")
    body, faults = _json(raw)
    address = _address(body)
    kind = event.type.split(".")[1].removesuffix("-wanted")
    if not faults and record.key != _ledger_id(address[0], address[1])[1]:
        faults = [Fault("", "is under a record key that is not its ledger's id: its order would be lost")]
    wanted: Wanted | None = None
    if not faults:
        try:
            wanted = wanted_type.adapter.validate_json(raw)
        except ValidationError as error:
            faults = faults_of(error.errors(include_url=False), body)
        else:
            faults = _shape_faults(wanted)
    if wanted is None or faults:
        return _malformed(address, event, kind, raw, faults)
    return _asked(wanted, event, kind, body, len(raw))


def _shape_faults(wanted: Wanted) -> list[Fault]:
    if isinstance(wanted, AccountWanted):
        return shape_faults(wanted)
    return capture_faults(wanted) if isinstance(wanted, CaptureWanted) else []


def _json(raw: bytes) -> tuple[Any, list[Fault]]:
    """The value, and what is wrong with it although it can be read: names twice, NUL characters, too deep."""
    try:
        return parse_json(raw), []
    except Problem as problem:
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise Poison("json-invalid", problem.detail) from problem
        return value, list(problem.errors) or [Fault("", problem.detail)]


def _address(body: Any) -> tuple[str, str, str, str]:
    """Organization, ledger, key and document, whatever their shape, as long as they can be read."""
    if not isinstance(body, dict):
        raise Poison("address-unreadable", "the value is no JSON object")
    for name in ADDRESS:
        text = body.get(name)
        if not isinstance(text, str) or not 0 < len(text) <= ADDRESS_CHARACTERS_MAX:
            raise Poison(
                "address-unreadable",
                f"{name} is no text of 1 to {ADDRESS_CHARACTERS_MAX} characters, so there is nobody to answer",
                f"/{name}",
            )
    return body["organization"], body["ledger"], body["idempotency_key"], body["document"]


@lru_cache(maxsize=65_536)
def _ledger_id(organization: str, ledger: str) -> tuple[UUID, bytes]:
    """The ledger's id, and the record key it makes."""
    id_ = ledger_id(organization, ledger)
    return id_, str(id_).encode()


@lru_cache(maxsize=4_096)
def _asker(organization: str, service: str) -> Asker:
    """A scope over REST has a slash, so a service's name must not bring one of its own."""
    return Asker(organization, service, service, service.replace("%", "%25").replace("/", "%2F"))


def _asked(wanted: Wanted, event: CloudEvent, kind: str, body: dict[str, Any], size: int) -> Asked:
    del body["idempotency_key"]
    fingerprint = fingerprint_of([event.type, body])
    traceparent = event.traceparent if context_from(event.traceparent) else None
    wish = Wish(
        asker=_asker(wanted.organization, event.source),
        ledger=wanted.ledger,
        request=wanted.request(),
        key=wanted.idempotency_key,
        fingerprint=fingerprint,
        size=size,
        lookup=True,
        traceparent=traceparent,
    )
    return Asked(
        wanted.organization,
        wanted.ledger,
        wanted.idempotency_key,
        wanted.document,
        event.source,
        kind,
        fingerprint,
        traceparent,
        wish,
        None,
    )


def _malformed(
    address: tuple[str, str, str, str], event: CloudEvent, kind: str, raw: bytes, faults: Sequence[Fault]
) -> Asked:
    first = faults[0]
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    rejection = Rejection(MALFORMED, f"{first.pointer or 'The request'} {first.detail}.{more}", {}, faults)
    traceparent = event.traceparent if context_from(event.traceparent) else None
    return Asked(*address, event.source, kind, fingerprint_of(raw.hex()), traceparent, None, rejection)


# --- answers ----------------------------------------------------------------------------------------------------------


def answer_id(asked: Asked, rejection: Rejection | None) -> str:
    """The event id of an answer: one per request key, and one per content for what is not remembered under the key."""
    names = [asked.service, asked.key]
    if rejection is not None and (rejection.code == MALFORMED or rejection.code in NOT_REMEMBERED):
        names += [rejection.code, asked.fingerprint.hex()]
    return name_based_id(_ledger_id(asked.organization, asked.ledger)[0], "\x1f".join(names))


def answer_value(asked: Asked, answer: Answer) -> bytes:
    """The value of an answer: `RequestPosted` or `RequestRejected` as JSON."""
    value: dict[str, Any] = {"organization": asked.organization, "ledger": asked.ledger}
    if answer.rejection is None:
        body = answer.body if answer.kind == "capture" and answer.body is not None else {answer.kind: answer.body}
        value |= {"sequence": answer.sequence, "hash": answer.hash, **body}
    else:
        rejection = answer.rejection
        value |= {
            "code": rejection.code,
            "detail": rejection.detail,
            "facts": rejection.facts,
            "errors": [{"pointer": fault.pointer, "detail": fault.detail} for fault in rejection.errors],
        }
    value["request"] = {"service": asked.service, "idempotency_key": asked.key, "document": asked.document}
    value["replayed"] = answer.replayed
    return orjson.dumps(value)


class RequestsConsumer:
    """Reads `ledger.requests.v1` as `member` of its group; `run` is a task of the runtime.

    `member` is this process's own name, the same after a restart, so that a restart moves no partition; two processes
    never share one. Without it a killed process keeps its partitions until its session times out (30 s).
    """

    def __init__(
        self,
        books: Books,
        kafka: KafkaSettings,
        *,
        member: str | None = None,
        group: str = GROUP,
        topics: LedgerTopics = TOPICS,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        batch_requests: int = BATCH_REQUESTS,
    ) -> None:
        self._books = books
        self._topics = topics
        self._group = group
        self._defects = DeadLetterCount(limits)
        self._publisher = Publisher(
            kafka,
            name="ledger-answers",
            required_topics={
                topics.answers: 2 * RECORD_BYTES_MAX,
                topics.requests + DEAD_LETTER_SUFFIX: VALUE_BYTES_MAX + 64 * 1024,
            },
        )
        self._consumer: Consumer[Asked] = Consumer(
            kafka,
            topic=topics.requests,
            group=group,
            member=member,
            positions=StoredPositions(books.pool),
            decode=decode,
            accept=self._accept,
            dead_letters=self._publisher,
            limits=limits,
            max_records=batch_requests,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Answer requests until `stopping` is set; the batch in hand is finished. Raises what must stop the process."""
        try:
            if await self._connected(stopping):
                await self._consumer.run(stopping)
        finally:
            await self._publisher.stop()

    async def _connected(self, stopping: asyncio.Event) -> bool:
        """Waits for Kafka; False where the stop came first."""
        while not stopping.is_set():
            try:
                await self._publisher.start()
            except Transient as error:
                log.warning("requests-wait-for-kafka", error=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), RETRY_S)
            else:
                return True
        return False

    async def _accept(self, batch: Batch[Asked]) -> None:
        """Every request of the batch answered, then the position moved."""
        traceparents = [item.value.traceparent for item in batch.items if item.value.traceparent is not None]
        with start_span(
            f"consume {batch.topic}",
            traceparent=traceparents[0] if len(traceparents) == 1 else None,
            links=traceparents[:LINKS_MAX],
            attributes={"messaging.system": "kafka", "messaging.batch.message_count": len(batch.items)},
        ):
            await self._answer_all(batch.items)
            async with self._books.pool.acquire() as connection:
                await advance(
                    connection, batch.cluster_id, batch.topic, batch.partition, batch.expected, batch.next_offset
                )

    async def _answer_all(self, items: Sequence[Decoded[Asked]]) -> None:
        places = {(item.value.organization, item.value.ledger) for item in items if item.value.wish is not None}
        ledgers = {place: await self._books.find(*place) for place in places}
        waiting: list[asyncio.Future[Outcome] | None] = []
        try:
            for item in items:
                asked = item.value
                ledger = ledgers[asked.organization, asked.ledger] if asked.wish is not None else None
                taken = commands.enqueue(self._books, ledger, asked.wish) if ledger and asked.wish else None
                waiting.append(commands.measured(taken) if taken is not None else None)
            for start in range(0, len(items), ANSWERS_AT_ONCE):
                end = start + ANSWERS_AT_ONCE
                await self._answer(items[start:end], waiting[start:end], ledgers)
        except Exception:
            await _settle(waiting)
            raise

    async def _answer(
        self,
        items: Sequence[Decoded[Asked]],
        waiting: Sequence["asyncio.Future[Outcome] | None"],
        ledgers: Mapping[tuple[str, str], Ledger | None],
    ) -> None:
        """Publishes the answers to some requests in their order, and dead letters for what a defect keeps out."""
        letters: list[Message] = []
        answers: dict[int, Answer] = {}
        decided: dict[tuple[str, str], list[tuple[int, Outcome, Wish]]] = {}
        for place, (item, future) in enumerate(zip(items, waiting, strict=True)):
            asked = item.value
            if future is None or asked.wish is None:
                answers[place] = _unremembered(asked.refused or reject("unknown-ledger", ledger=asked.ledger))
                continue
            try:
                row = place, await future, asked.wish
            except Exception as error:
                if transient(error) or isinstance(error, PostgresError):
                    raise
                letters.append(self._letter(item, error))
            else:
                decided.setdefault((asked.organization, asked.ledger), []).append(row)
        for books_of, rows in decided.items():
            ledger = ledgers[books_of]
            assert ledger is not None, "what was enqueued has a ledger"
            outcomes, wishes = [outcome for _, outcome, _ in rows], [wish for _, _, wish in rows]
            told = await commands.answers(self._books, ledger, outcomes, wishes)
            answers.update((place, answer) for (place, _, _), answer in zip(rows, told, strict=True))
        await self._publish([(items[place].value, answers[place]) for place in sorted(answers)], letters)

    async def _publish(self, answered: Sequence[tuple[Asked, Answer]], letters: Sequence[Message]) -> None:
        now = self._books.clock()
        await self._publisher.publish([*(self._message(asked, answer, now) for asked, answer in answered), *letters])
        if answered:
            self._defects.decoded(len(answered))
        for (kind, outcome), count in Counter((asked.kind, _outcome(answer)) for asked, answer in answered).items():
            metrics.LEDGER_TX.labels(kind, outcome).inc(count)
        for letter in letters:
            code = dict(letter.headers)[f"{PREFIX}code"].decode()
            metrics.KAFKA_DEAD_LETTERS.labels(self._topics.requests, code).inc()

    def _message(self, asked: Asked, answer: Answer, now: datetime) -> Message:
        answered = REQUEST_POSTED if answer.rejection is None else REQUEST_REJECTED
        headers = cloud_event_headers(
            answered.name,
            LEDGER_SOURCE,
            answer_id(asked, answer.rejection),
            now,
            traceparent=_traced(asked, answer),
        )
        return Message(self._topics.answers, asked.document.encode(), answer_value(asked, answer), headers)

    def _letter(self, item: Decoded[Asked], error: Exception) -> Message:
        """A defect of ours, met by this request although it was tried alone: a person looks at it, the others go on."""
        code = "refused-by-guard" if isinstance(error, RefusedByGuard) else "request-failed"
        poison = Poison(code, str(error) or repr(error))
        log.error("request-set-aside", code=code, document=item.value.document, exc_info=error)
        self._defects.poisoned(self._topics.requests, poison)
        return dead_letter(item.record, poison, group=self._group)


def _outcome(answer: Answer) -> str:
    return "replayed" if answer.replayed else "rejected" if answer.rejection else "posted"


def _traced(asked: Asked, answer: Answer) -> str | None:
    """A span of ours in the requester's own trace, where it is recorded; the answer continues it."""
    if asked.traceparent is None or not asked.traceparent.endswith("1"):
        return asked.traceparent
    with start_span(
        "answer request",
        traceparent=asked.traceparent,
        links=[batch] if (batch := current_traceparent()) else [],
        attributes={"ledgerbus.outcome": _outcome(answer), "ledgerbus.sequence": answer.sequence},
    ) as span:
        return span.traceparent


def _unremembered(rejection: Rejection) -> Answer:
    metrics.LEDGER_REJECTIONS.labels(rejection.code).inc()
    return Answer("", None, rejection, False)


async def _settle(waiting: Sequence["asyncio.Future[Outcome] | None"]) -> None:
    """Waits for what is queued already, so that a batch that comes again meets nothing of itself."""
    futures = [future for future in waiting if future is not None]
    if futures:
        await asyncio.wait(futures)
    for future in futures:
        if not future.cancelled():
            future.exception()
