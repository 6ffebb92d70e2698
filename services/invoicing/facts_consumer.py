"""Invoicing's ear for the books: `ledger.events.v1` into heads and book lines, for the tie-out.

    record -> decode -> Fact: its place in the log, and the lines where it is a posted entry
    batch  -> one transaction { the offset fence, every fact continues its ledger's log, lines of followed accounts }

* A log is heard whole and in order: what comes again is skipped, what does not continue the last hash heard stops the
  process (`LogBroken`). Each payload's own hash is computed, so nothing on its way here was altered unseen.
* Lines are kept of followed accounts alone (a role is or was mapped to them), of others only that they have lines.
  Where an account is followed that had lines already, the partition is heard again from its first record: its position
  is forgotten in this transaction, and the consumer goes back by losing its fence. Until then the account is not
  complete, and the tie-out says so. Topics of facts are kept for ever, so the beginning is there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from typing import Final, NamedTuple, NotRequired
from uuid import UUID

from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from libs.common.bus import Batch, KafkaSettings, parse_headers
from libs.common.clock import Clock
from libs.common.db import Connection, Pool, transaction
from libs.common.dead_letters import DEFAULT_LIMITS, DeadLetterLimits
from libs.common.errors import Failure, Poison
from libs.common.event_shapes import FACTS, HASH, PREVIOUS_HASH, Open, Ordinal
from libs.common.events import ENTRY_POSTED
from libs.common.inbox import FenceLost, advance
from libs.common.journal import AmountText, CodeText, CurrencyText, Side, SlugText
from libs.common.listening import Ear
from libs.common.problems import faults_of
from libs.common.telemetry import get_logger, start_span
from services.invoicing import facts_store
from services.invoicing.facts_store import BookLine, Followed, Head, Ledger

log = get_logger(__name__)

GROUP: Final = "invoicing-facts"
BATCH_RECORDS: Final = 2_000
PACE_S: Final = 0.25
KNOWN_USED_MAX: Final = 200_000

Account = tuple[str, str, str]
"""Organization, ledger and account, by their codes."""


class ToldLine(TypedDict):
    """What is kept of a line."""

    account: CodeText
    side: Side
    amount: AmountText
    currency: CurrencyText
    party: NotRequired[str | None]


@dataclass(slots=True, kw_only=True)
class ToldEntry(Open):
    """What is kept of an entry."""

    id: UUID
    effective_on: date
    lines: list[ToldLine]


@dataclass(slots=True, kw_only=True)
class Asker(Open):
    """Who asked for it."""

    service: str


@dataclass(slots=True, kw_only=True)
class ToldFact(Open):
    """`event_shapes.Fact` without what is not kept."""

    organization: SlugText
    ledger: SlugText
    ledger_id: UUID
    epoch: Ordinal
    sequence: Ordinal


@dataclass(slots=True, kw_only=True)
class ToldPosted(ToldFact):
    """`events.EntryPosted` without what is not kept: a third of the work of reading it."""

    request: Asker
    entry: ToldEntry


ANY_FACT: Final = TypeAdapter(ToldFact)
POSTED: Final = TypeAdapter(ToldPosted)


class LogBroken(Failure):
    """A ledger's log does not go on where it was heard to: a person decides, by the runbook on restored ledgers."""


class HeardFact(NamedTuple):
    """A fact at its place; `posted` is None where it is no posted entry."""

    ledger: Ledger
    ledger_id: UUID
    place: Head
    previous_hash: str
    posted: ToldPosted | None


def decode(record: ConsumerRecord) -> HeardFact:
    """The fact of a record. Raises Poison; the next fact of that ledger then stops the process."""
    event = parse_headers(record.headers)
    raw = record.value
    if raw is None:
        raise Poison("value-null", "a fact has a value")
    hash_, previous = event.extra.get(HASH, ""), event.extra.get(PREVIOUS_HASH, "")
    try:
        computed = sha256(bytes.fromhex(previous) + raw).hexdigest()
    except ValueError:
        raise Poison("schema", "is no hash in hex", f"ce_{PREVIOUS_HASH}") from None
    if computed != hash_:
        raise Poison("hash-differs", "the payload is not what its hash was computed of", f"ce_{HASH}")
    try:
        posted = POSTED.validate_json(raw) if event.type == ENTRY_POSTED.name else None
        fact = posted or ANY_FACT.validate_json(raw)
    except ValidationError as error:
        fault = faults_of(error.errors(include_url=False), None)[0]
        raise Poison("schema", fault.detail, fault.pointer) from None
    place = Head(fact.epoch, fact.sequence, hash_)
    return HeardFact((fact.organization, fact.ledger), fact.ledger_id, place, previous, posted)


def _signed(side: str, amount: str) -> int:
    """Minor units, debits positive: a fact always writes all decimals of its currency."""
    minor = int(amount.replace(".", ""))
    return minor if side == "debit" else -minor


@dataclass(slots=True)
class _Heard:
    """What a batch comes to."""

    heads: dict[Ledger, tuple[UUID, Head]] = field(default_factory=dict)
    reached: dict[Ledger, int] = field(default_factory=dict)
    lines: list[BookLine] = field(default_factory=list)
    lines_again: list[BookLine] = field(default_factory=list)
    used: set[Account] = field(default_factory=set)


class FactsConsumer:
    """Reads `ledger.events.v1` as `member` of its group; `run` is a task of the runtime. `pool` is the writer's."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        kafka: KafkaSettings,
        *,
        member: str | None = None,
        group: str = GROUP,
        topic: str = FACTS,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        max_records: int = BATCH_RECORDS,
    ) -> None:
        self._pool, self._clock = pool, clock
        self._known_used: set[Account] = set()
        self._ear = Ear(
            kafka, pool, topic=topic, group=group, member=member, decode=decode, accept=self._accept, limits=limits,
            max_records=max_records, pace_s=PACE_S,
        )  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep what is heard until `stopping` is set. Raises what must stop the process, LogBroken among it."""
        await self._ear.run(stopping)

    async def _accept(self, batch: Batch[HeardFact]) -> None:
        """The fence, heads and lines, in one transaction; or back to the partition's first record."""
        facts = [item.value for item in batch.items]
        with start_span(f"consume {batch.topic}", attributes={"messaging.batch.message_count": len(facts)}):
            async with transaction(self._pool) as connection:
                await advance(
                    connection, batch.cluster_id, batch.topic, batch.partition, batch.expected, batch.next_offset
                )
                again = await keep(connection, facts, self._clock(), self._known_used)
                if again:
                    await facts_store.want_again(connection, again)
                    await facts_store.hear_again(connection, batch.topic, batch.partition)
        if again:
            log.info("facts-heard-again", topic=batch.topic, partition=batch.partition, accounts=len(again))
            raise FenceLost(f"{batch.topic}/{batch.partition} is heard again for accounts that are followed now")
        if len(self._known_used) > KNOWN_USED_MAX:
            self._known_used.clear()


async def keep(
    connection: Connection, facts: Sequence[HeardFact], at: datetime, known_used: set[Account]
) -> list[tuple[str, str, str, int]]:
    """Heads and lines of facts of one partition, in their order, in the transaction of `connection`.

    Where it gives accounts, nothing was kept: their log has to be heard again through the sequences beside them.
    `known_used` are accounts that are known to have lines; new ones are added. Raises LogBroken.
    """
    ledgers = sorted({fact.ledger for fact in facts})
    heads = await facts_store.load_heads(connection, ledgers)
    followed = await facts_store.load_followed(connection, ledgers)
    if again := await _newly_followed(connection, heads, followed):
        return again
    heard = _hear(facts, heads, {each[:3]: each for each in followed})
    if heard.lines:
        await facts_store.store_lines(connection, heard.lines)
    if heard.lines_again:
        await facts_store.store_lines_again(connection, heard.lines_again)
    if new := heard.used - known_used:
        await facts_store.store_used(connection, new)
        known_used |= new
    if heard.heads:
        moved = [(*ledger, id_, *head) for ledger, (id_, head) in heard.heads.items()]
        await facts_store.store_heads(connection, moved, at)
    reached = [
        each[:3]
        for each in followed
        if not each.complete
        and each.wanted_through is not None
        and heard.reached.get((each.organization, each.ledger), 0) >= each.wanted_through
    ]
    if reached:
        await facts_store.complete(connection, reached)
    return []


async def _newly_followed(
    connection: Connection, heads: dict[Ledger, Head], followed: list[Followed]
) -> list[tuple[str, str, str, int]]:
    """Accounts whose log has to be heard again, with the sequence to reach; the others are complete from now on."""
    new = [each for each in followed if not each.complete and each.wanted_through is None]
    if not new:
        return []
    used = await facts_store.used_before(connection, new)
    fresh = [each[:3] for each in new if each[:3] not in used]
    await facts_store.complete(connection, fresh)
    return [(*each[:3], heads[each.organization, each.ledger].sequence) for each in new if each[:3] in used]


def _hear(facts: Sequence[HeardFact], heads: dict[Ledger, Head], followed: dict[Account, Followed]) -> _Heard:
    """Every fact at its place. Raises LogBroken where one does not continue the log."""
    heard = _Heard()
    for fact in facts:
        head = heads.get(fact.ledger)
        new = head is None or fact.place[:2] > head[:2]
        if new:
            _continues(fact, head)
            heads[fact.ledger] = fact.place
            heard.heads[fact.ledger] = fact.ledger_id, fact.place
        heard.reached[fact.ledger] = max(heard.reached.get(fact.ledger, 0), fact.place.sequence)
        if fact.posted is None:
            continue
        entry = fact.posted.entry
        for number, line in enumerate(entry.lines):
            account = (*fact.ledger, line["account"])
            if (kept := followed.get(account)) is None:
                heard.used.add(account)
            elif new or not kept.complete:
                (heard.lines if new else heard.lines_again).append(
                    BookLine(
                        *fact.ledger,
                        fact.place.sequence,
                        number,
                        line["account"],
                        line["currency"],
                        line.get("party"),
                        _signed(line["side"], line["amount"]),
                        entry.id,
                        fact.posted.request.service,
                        entry.effective_on,
                    )
                )
    return heard


def _continues(fact: HeardFact, head: Head | None) -> None:
    """Raises LogBroken. A restored ledger goes on in a higher epoch, behind the last record that was told before."""
    place = fact.place
    expected = head or Head(place.epoch, 0, "")
    if place.sequence == expected.sequence + 1 and fact.previous_hash == expected.hash:
        return
    raise LogBroken(
        f"The log of ledger {'/'.join(fact.ledger)} was heard through {expected.sequence} of epoch {expected.epoch}; "
        f"{place.sequence} of epoch {place.epoch} does not continue it. Nothing is skipped: follow the runbook on "
        "restored ledgers."
    )
