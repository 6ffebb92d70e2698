"""The relay: every log record to `ledger.events.v1`, in order, and how far it is to `ledger.heads.v1`.

    round = lock some ledgers -> read behind their places -> facts published -> heads published -> cursors -> unlock

* One connection does it for all ledgers, many in one round, so that a thousand ledgers with a record each cost what one
  with a thousand does. Quiet ledgers cost nothing but their row in the poll's one query.
* Publishing twice is allowed, skipping is not: heads move when their facts are acknowledged, cursors after the heads.
* An advisory lock makes one relay of several processes work on a ledger at a time. Who does not get it tries again.
* A session begins with what Kafka says (`published.py`) and compares all of it with the log: the cursor in the database
  would be restored together with a log that lost its end. Where they differ, the ledger is not relayed any more, and
  ledger_invariant_violations{invariant="relay-heads"} says so, until its epoch is raised. Every session ends with its
  connection, so a failover of the database is followed by a new comparison.
* Each record read has to continue the hash chain of the one before.
* A round after a quiet time begins at once; while commits follow one another, one begins every `PACE_S` at most, for a
  round costs the database and Kafka the same for one record as for a thousand.

`wake` comes from the writer after a commit; a slow poll finds what other processes wrote. Kafka being down delays the
relay and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import orjson

from libs.common import metrics
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.clock import monotonic_s
from libs.common.db import Connection, Pool, is_connection_error, transient
from libs.common.events import HASH, LEDGER_HEAD, LEDGER_SOURCE, PREVIOUS_HASH, TOPICS, LedgerTopics
from libs.common.journal import RECORD_BYTES_MAX
from libs.common.signing import KEY_ID, SIGNATURE, ChainHead, SigningKeys
from libs.common.telemetry import get_logger, start_span
from services.ledger import relay_store
from services.ledger.published import Place, PublishedLogs
from services.ledger.records import instant
from services.ledger.relay_store import Head
from services.ledger.state import Ledger

log = get_logger(__name__)

ROUND_LEDGERS: Final = 1_000
ROUND_RECORDS: Final = 2_000
ROUND_BYTES: Final = 8 * 1024 * 1024
CHAINED_AT_ONCE: Final = 100
POLL_S: Final = 1.0
PACE_S: Final = 0.05
TAKEN_S: Final = 0.1
BACKOFF_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
DRAIN_S: Final = 5.0


@dataclass(slots=True)
class Round:
    """What a round found and built. `ends` are the places reached, `facts` what is to be published for it.

    `traced` are the facts whose traces are recorded.
    """

    heads: dict[int, Head]
    begins: dict[int, Place] = field(default_factory=dict)
    ends: dict[int, Place] = field(default_factory=dict)
    facts: list[Message] = field(default_factory=list)
    traced: list[Message] = field(default_factory=list)
    recorded_at: dict[int, datetime] = field(default_factory=dict)


class Relay:
    """Relays the logs of all ledgers, as far as no other process does. `run` is a task of the runtime."""

    def __init__(
        self,
        auditor: Pool,
        kafka: KafkaSettings,
        *,
        topics: LedgerTopics = TOPICS,
        keys: SigningKeys | None = None,
        poll_s: float = POLL_S,
        pace_s: float = PACE_S,
        round_records: int = ROUND_RECORDS,
        round_bytes: int = ROUND_BYTES,
    ) -> None:
        self._auditor = auditor
        self._kafka = kafka
        self._topics = topics
        self._keys = keys or SigningKeys()
        self._poll_s, self._pace_s = poll_s, pace_s
        self._round_records, self._round_bytes = round_records, round_bytes
        self._publisher = Publisher(
            kafka, name="ledger-relay", required_topics={topics.facts: 2 * RECORD_BYTES_MAX, topics.heads: 0}
        )
        self._published = PublishedLogs(kafka, topics)
        self._places: dict[int, Place] = {}
        self._stopped: dict[int, int] = {}
        self._lost = 0
        self._pending: dict[int, None] = {}
        self._woken = asyncio.Event()

    def wake(self, ledger: Ledger) -> None:
        """Something was committed to this ledger's log."""
        self._pending[ledger.no] = None
        self._woken.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Relay until `stopping` is set, then what is pending still. Raises what must stop the process."""
        stopper = asyncio.create_task(self._wake_at(stopping))
        failed = 0
        try:
            while not stopping.is_set():
                try:
                    await self._poll()
                    async with self._session() as connection:
                        failed = 0
                        await self._work(connection, stopping)
                except Exception as error:
                    if not transient(error):
                        raise
                    failed += 1
                    log.warning("relay-waits", failed=failed, error=str(error) or repr(error))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(failed, 10)))
        finally:
            stopper.cancel()
            await self._publisher.stop()

    async def flush(self) -> None:
        """What was committed after `run` ended; a closer of the runtime. Without Kafka it waits for the next start."""
        if self._pending:
            try:
                async with self._session() as connection:
                    await self._drain(connection)
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("relay-not-flushed", ledgers=len(self._pending), error=str(error) or repr(error))
            finally:
                await self._publisher.stop()

    async def _wake_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._woken.set()

    # --- a session: from one comparison with Kafka until a connection breaks -----------------------------------------

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        await self._publisher.start()
        self._published = PublishedLogs(self._kafka, self._topics)
        self._places.clear()
        self._stopped.clear()
        await self._published.read()
        async with self._auditor.acquire() as connection:
            try:
                await self._compare_all(connection)
                yield connection
            finally:
                await _unlock_all(connection)

    async def _compare_all(self, connection: Connection) -> None:
        """Every head that Kafka has against the log, quiet ledgers too; cursors that Kafka contradicts get a round."""
        places = self._published.places
        found = await relay_store.load_compared(connection, places)
        self._lost = len(places) - len(found)
        for id_ in places.keys() - found.keys():
            log.error("relay-ledger-is-lost", ledger_id=str(id_), published=places[id_].sequence)
        for id_, (head, hash_) in found.items():
            place = places[id_]
            if place.epoch > head.place.epoch or (place.epoch == head.place.epoch and hash_ != place.hash):
                self._stop(head, place)
            elif head.cursor is None or head.cursor.sequence != place.sequence:
                self._pending[head.no] = None
        self._show_violations()

    def _stop(self, head: Head, published: Place) -> None:
        self._stopped[head.no] = head.place.epoch
        self._show_violations()
        log.error(
            "relay-stopped-for-ledger",
            organization=head.organization,
            ledger=head.code,
            reason="what Kafka has is not in the log: the log lost its end, or was changed",
            published_epoch=published.epoch,
            published_sequence=published.sequence,
            log_epoch=head.place.epoch,
            log_sequence=head.place.sequence,
        )

    def _show_violations(self) -> None:
        metrics.LEDGER_INVARIANT_VIOLATIONS.labels("relay-heads").set(len(self._stopped) + self._lost)

    async def _work(self, connection: Connection, stopping: asyncio.Event) -> None:
        poll_at_s = 0.0
        while not stopping.is_set():
            if monotonic_s() >= poll_at_s:
                await self._poll()
                poll_at_s = monotonic_s() + self._poll_s
            if self._pending:
                began_s = monotonic_s()
                await self._round(connection)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), max(0.0, began_s + self._pace_s - monotonic_s()))
                continue
            self._woken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(0.0, poll_at_s - monotonic_s()))
        await self._drain(connection)

    async def _drain(self, connection: Connection) -> None:
        give_up_s = monotonic_s() + DRAIN_S
        while self._pending and monotonic_s() < give_up_s:
            await self._round(connection)

    async def _poll(self) -> None:
        behind = await relay_store.load_behind(self._auditor)
        metrics.LEDGER_RELAY_LAG_RECORDS.set(sum(records for _, _, records in behind))
        for no, epoch, _ in behind:
            if self._stopped.get(no, epoch) != epoch:
                del self._stopped[no]
                self._show_violations()
            self._pending[no] = None

    # --- a round -----------------------------------------------------------------------------------------------------

    async def _round(self, connection: Connection) -> None:
        """Some ledgers, as far as one round goes; whoever is not done then is pending again."""
        taken = list(islice(self._pending, ROUND_LEDGERS))
        for no in taken:
            del self._pending[no]
        wanted = [no for no in taken if no not in self._stopped]
        if not wanted:
            return
        try:
            locked = await relay_store.lock(connection, wanted)
            if locked:
                await self._relay(connection, locked)
                await relay_store.unlock(connection, locked)
        except BaseException:
            self._pending.update(dict.fromkeys(wanted))
            raise
        if len(locked) < len(wanted):
            self._pending.update(dict.fromkeys(set(wanted) - set(locked)))
            if not locked:
                await asyncio.sleep(TAKEN_S)

    async def _relay(self, connection: Connection, locked: Sequence[int]) -> None:
        round_ = Round({head.no: head for head in await relay_store.load_heads(connection, locked)})
        await self._begin(round_)
        behind = {no: place for no, place in round_.begins.items() if place.sequence < round_.heads[no].place.sequence}
        if behind:
            per_ledger = max(1, self._round_records // len(behind))
            records = await relay_store.load_records(connection, behind, per_ledger, self._round_bytes)
            await self._chain(round_, records)
            await self._publish(round_)
        moved = {no: place for no, place in (round_.begins | round_.ends).items() if place != round_.heads[no].cursor}
        if moved:
            await relay_store.move_cursors(connection, moved)
        self._places.update(round_.begins | round_.ends)
        for no in behind:
            if no not in self._stopped and self._places[no].sequence < round_.heads[no].place.sequence:
                self._pending[no] = None

    async def _begin(self, round_: Round) -> None:
        """Where each ledger goes on; those whose log is not what was published are stopped."""
        heads = round_.heads.values()
        if any(self._is_behind_cursor(head) for head in heads):
            await self._published.read()
        for head in heads:
            place = self._place_of(head)
            log_place = head.place
            if (
                place.epoch > log_place.epoch
                or place.sequence > log_place.sequence
                or (place.sequence == log_place.sequence and place.hash != log_place.hash)
            ):
                self._stop(head, place)
            else:
                round_.begins[head.no] = place

    def _is_behind_cursor(self, head: Head) -> bool:
        """Whether another relay went on since Kafka was read, or Kafka lost what the cursor says it has."""
        if head.no in self._places or head.cursor is None:
            return False
        published = self._published.places.get(head.id)
        return published is None or published.sequence < head.cursor.sequence

    def _place_of(self, head: Head) -> Place:
        known = self._places.get(head.no)
        if known is not None:
            ahead = head.cursor is not None and head.cursor.sequence > known.sequence
            return head.cursor if ahead and head.cursor is not None else known
        published = self._published.places.get(head.id)
        if published is None:
            return Place(head.place.epoch, 0, b"")
        if published.epoch < head.place.epoch:  # restored, as a person has confirmed: Kafka's end is not the log's
            return head.cursor or Place(head.place.epoch, 0, b"")
        return published

    async def _chain(self, round_: Round, records: Iterable[tuple[int, int, str, bytes]]) -> None:
        """The records as facts, as long as each continues the one before. Others are served between slices of them."""
        places = dict(round_.begins)
        broken: set[int] = set()
        for number, (no, sequence, text, hash_) in enumerate(records, 1):
            if number % CHAINED_AT_ONCE == 0:
                await asyncio.sleep(0)
            place = places[no]
            payload = text.encode()
            if no in broken:
                continue
            if sequence != place.sequence + 1 or sha256(place.hash + payload).digest() != hash_:
                broken.add(no)
                self._stop(round_.heads[no], place)
                continue
            record = orjson.loads(payload)
            round_.recorded_at[no] = recorded_at = datetime.fromisoformat(record["recorded_at"])
            round_.facts.append(fact(self._topics.facts, payload, record, recorded_at, hash_, place.hash))
            if (record.get("traceparent") or "").endswith("1"):
                round_.traced.append(round_.facts[-1])
            places[no] = round_.ends[no] = Place(record["epoch"], sequence, hash_)

    async def _publish(self, round_: Round) -> None:
        if not round_.facts:
            return
        await self._publisher.publish(round_.facts)
        metrics.LEDGER_RELAY_PUBLISHED.inc(len(round_.facts))
        _trace(round_.traced)
        await self._publisher.publish(
            [
                head_moved(self._topics.heads, round_.heads[no], place, round_.recorded_at[no], self._keys)
                for no, place in round_.ends.items()
            ]
        )


def _trace(facts: Sequence[Message]) -> None:
    """A span in the trace of every recorded request: its fact is acknowledged by Kafka now."""
    for fact in facts:
        headers = dict(fact.headers)
        attributes: dict[str, str | int | bool] = {"messaging.destination.name": fact.topic}
        attributes["messaging.message.id"] = headers["ce_id"].decode()
        with start_span("publish fact", traceparent=headers["traceparent"].decode(), attributes=attributes):
            continue


async def _unlock_all(connection: Connection) -> None:
    """The connection goes back to its pool; one that does not answer is closed, which unlocks too."""
    try:
        if not connection.is_closed():
            await relay_store.unlock_all(connection)
    except Exception as error:
        if not is_connection_error(error):
            raise
        log.info("relay-connection-broke", error=str(error))


# --- messages ---------------------------------------------------------------------------------------------------------


def fact(
    topic: str, payload: bytes, record: Mapping[str, Any], recorded_at: datetime, hash_: bytes, previous_hash: bytes
) -> Message:
    """A log record as an event: its own bytes, and what is said of them in the headers."""
    ledger = record["ledger_id"]
    headers = cloud_event_headers(
        f"ledger.{record['type']}.v1",
        LEDGER_SOURCE,
        f"{ledger}:{record['epoch']}:{record['sequence']}",
        recorded_at,
        traceparent=record.get("traceparent"),
        extra={HASH: hash_.hex(), PREVIOUS_HASH: previous_hash.hex()},
    )
    return Message(topic, ledger.encode(), payload, headers)


def head_moved(topic: str, head: Head, place: Place, recorded_at: datetime, keys: SigningKeys) -> Message:
    """How far a ledger's log is published from now on, signed where there is a key."""
    ledger = str(head.id)
    value = {
        "ledger_id": ledger,
        "organization": head.organization,
        "ledger": head.code,
        "epoch": place.epoch,
        "sequence": place.sequence,
        "hash": place.hash.hex(),
    }
    id_ = f"{ledger}:{place.epoch}:{place.sequence}"
    signature = keys.sign(
        ChainHead(
            head.organization, head.code, ledger, place.epoch, place.sequence, place.hash.hex(), instant(recorded_at)
        )
    )
    extra = {SIGNATURE: signature.text, KEY_ID: signature.key_id} if signature else {}
    headers = cloud_event_headers(LEDGER_HEAD.name, LEDGER_SOURCE, id_, recorded_at, extra=extra)
    return Message(topic, ledger.encode(), orjson.dumps(value), headers)
