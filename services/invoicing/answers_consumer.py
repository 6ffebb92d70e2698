"""The ledger's answers, taken in: `ledger.answers.v1` into what documents say of their postings.

    record -> decode -> an answer to one of our entries, nothing (another service's, another kind), or Poison
    batches -> one transaction { the fences, postings and movements, what waited is requested, documents }

A request's key is the entry's id and the attempt, so an answer says itself what it is of, and one that is known or is
old news (of an earlier attempt) changes nothing. There is no inbox here: an answer of a posting that is not there yet
must not count as heard. After a restored backup the answers may be read before the payments that they are of; the
request goes out once more then, and its answer comes back under the id it had. After the commit the outbox relay is
woken: what waited for a posting goes out at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError

from libs.common import metrics
from libs.common.bus import Batch, KafkaSettings, parse_headers
from libs.common.clock import Clock
from libs.common.db import Pool, transaction
from libs.common.dead_letters import DEFAULT_LIMITS, DeadLetterLimits
from libs.common.errors import Poison
from libs.common.event_shapes import Open, Ordinal
from libs.common.events import ANSWERS, REQUEST_POSTED, REQUEST_REJECTED
from libs.common.events_invoicing import INVOICING_SOURCE
from libs.common.listening import Ear, Together, advance_all
from libs.common.problems import faults_of
from libs.common.telemetry import start_span
from services.invoicing.posting_requests import Answer, PostedAnswer, RejectedAnswer, answered

GROUP: Final = "invoicing-answers"
ANSWER_BYTES_MAX: Final = 1024 * 1024
BATCH_RECORDS: Final = 1_000
PACE_S: Final = 0.1


@dataclass(slots=True, kw_only=True)
class Request(Open):
    """What is kept of which request is answered."""

    service: str
    idempotency_key: str


@dataclass(slots=True, kw_only=True)
class BookedEntry(Open):
    """What is kept of an entry that is in the books."""

    id: UUID
    sequence: Ordinal
    effective_on: date
    recorded_at: datetime


@dataclass(slots=True, kw_only=True)
class ToldPosted(Open):
    """`events.RequestPosted` without what is not kept: a third of the work of reading it."""

    organization: str
    request: Request
    entry: BookedEntry | None = None


POSTED: Final = TypeAdapter(ToldPosted)


class Heard(NamedTuple):
    """What a record says; `answer` is None where it is not for us, `known` whether its type is."""

    answer: Answer | None
    known: bool = True


def decode(record: ConsumerRecord) -> Heard:
    """The answer of a record. Raises Poison."""
    event = parse_headers(record.headers)
    if event.type not in (REQUEST_POSTED.name, REQUEST_REJECTED.name):
        return Heard(None, known=False)
    raw = record.value
    if raw is None:
        raise Poison("value-null", "an answer has a value")
    if len(raw) > ANSWER_BYTES_MAX:
        raise Poison("oversize", f"{len(raw)} bytes, at most {ANSWER_BYTES_MAX} are taken")
    try:
        answer = _answer(event.type, raw)
    except ValidationError as error:
        fault = faults_of(error.errors(include_url=False), None)[0]
        raise Poison("schema", fault.detail, fault.pointer) from None
    return Heard(answer)


def _answer(event_type: str, raw: bytes) -> Answer | None:
    if event_type == REQUEST_POSTED.name:
        posted = POSTED.validate_json(raw)
        attempt = _attempt(posted.request.service, posted.request.idempotency_key)
        if attempt is None or posted.entry is None:
            return None
        entry = posted.entry
        if entry.id != attempt[0]:
            raise Poison("entry-differs", "the posted entry is not the one that the request's key names", "/entry/id")
        return PostedAnswer(posted.organization, entry.id, entry.sequence, entry.effective_on, entry.recorded_at)
    refused = REQUEST_REJECTED.adapter.validate_json(raw)
    attempt = _attempt(refused.request.service, refused.request.idempotency_key)
    if attempt is None:
        return None
    return RejectedAnswer(refused.organization, *attempt, refused.code, refused.detail, refused.facts)


def _attempt(service: str, key: str) -> tuple[UUID, int] | None:
    """The entry and the attempt that one of our keys names; None for what is not an entry of ours."""
    name, _, number = key.partition("/")
    if service != INVOICING_SOURCE or not number.isdecimal() or len(number) > 9:
        return None
    try:
        return UUID(name), int(number)
    except ValueError:
        return None


class AnswersConsumer:
    """Reads `ledger.answers.v1` as `member` of its group; `run` is a task of the runtime. `pool` is the writer's."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        kafka: KafkaSettings,
        *,
        wake: Callable[[], None],
        member: str | None = None,
        group: str = GROUP,
        topic: str = ANSWERS,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        max_records: int = BATCH_RECORDS,
    ) -> None:
        self._pool, self._clock, self._wake = pool, clock, wake
        self._ear: Ear[Heard] = Ear(
            kafka, pool, topic=topic, group=group, member=member, decode=decode, accept=Together(self._accept),
            limits=limits, max_records=max_records, pace_s=PACE_S,
        )  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Take answers in until `stopping` is set. Raises what must stop the process."""
        await self._ear.run(stopping)

    async def _accept(self, batches: Sequence[Batch[Heard]]) -> None:
        """The fences and the answers' effect, in one transaction."""
        heard = [item.value for batch in batches for item in batch.items]
        ours = [each.answer for each in heard if each.answer is not None]
        with start_span(f"consume {batches[0].topic}", attributes={"messaging.batch.message_count": len(heard)}):
            async with transaction(self._pool) as connection:
                await advance_all(connection, batches)
                await answered(connection, ours, self._clock())
        if ours:
            self._wake()
        if ignored := sum(not each.known for each in heard):
            metrics.KAFKA_IGNORED_EVENTS.labels(batches[0].topic).inc(ignored)
