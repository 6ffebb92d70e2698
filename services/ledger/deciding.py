"""A batch decided in memory: every request in turn, on the state the ones before it leave. Pure.

What comes out is what the statement writes and what each asker is told once it is written. Requests of the same batch
know of one another: a key, an entry id or an external id that was used by one of them is used for the next.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from libs.common.errors import Rejection
from services.ledger.domain import Accepted, Request, Stamp, decide
from services.ledger.projection import Batch
from services.ledger.records import EntryPosted, Sealed, append
from services.ledger.rejections import NOT_REMEMBERED
from services.ledger.state import KnownEntry, KnownRequest, LedgerState, Posted

SLICE = 50


class Wished(Protocol):
    """A request with its key and who asks (`writer.QueuedWish` is one)."""

    request: Request
    service: str
    subject: str
    scope: str
    key: str
    fingerprint: bytes
    size: int
    new_id: UUID
    traceparent: str | None


J = TypeVar("J", bound=Wished)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one request: the records it became, what was remembered before, or a rejection."""

    sequence: int = 0
    records: tuple[Sealed, ...] = ()
    rejection: Rejection | None = None
    replayed: bool = False


@dataclass(slots=True)
class Prepared(Generic[J]):
    """A decided batch: what the statement gets, and what each wish is told once it is committed."""

    wishes: list[J]
    outcomes: list[Outcome]
    batch: Batch
    hash: bytes
    recorded_at: datetime
    arguments: tuple[tuple[str, ...], tuple[Any, ...]] = ((), ())
    entry_ids: list[UUID] = field(default_factory=list)
    external_ids: list[str] = field(default_factory=list)

    @property
    def moves(self) -> set[str]:
        """The codes of the accounts whose balances it moves: only after it lands do the tables have them."""
        return {row.code for row in self.batch.touched.values()}

    @property
    def held(self) -> set[UUID]:
        """The holds it moves."""
        return set(self.batch.holds)

    @property
    def writes(self) -> bool:
        """Whether there is anything to store; answers remembered before need nothing."""
        return bool(len(self.batch.log) or len(self.batch.requests))


def decide_batch(state: LedgerState, wishes: list[J], at: datetime) -> "Prepared[J]":
    """Every wish in turn, on the state the ones before it leave."""
    deciding = decide_in_slices(state, wishes, at)
    while True:
        try:
            next(deciding)
        except StopIteration as decided:
            prepared: Prepared[J] = decided.value
            return prepared


def decide_in_slices(state: LedgerState, wishes: list[J], at: datetime) -> "Generator[None, None, Prepared[J]]":
    """The same with a pause after every `SLICE` wishes, in which the event loop can send the statement under way."""
    recorded_at = max(state.recorded_at, at)
    today = state.ledger.accounting_day(recorded_at)
    prepared = Prepared(wishes, [], Batch(state.sequence), state.hash, recorded_at)
    for place, wish in enumerate(wishes):
        if place % SLICE == 0 and len(wishes) > SLICE:
            yield
        stamp = Stamp(
            recorded_at,
            today,
            wish.service,
            wish.subject,
            wish.scope,
            wish.key,
            wish.fingerprint,
            wish.size,
            wish.new_id,
            wish.traceparent,
        )
        decision = decide(state, wish.request, stamp)
        if isinstance(decision, Accepted):
            outcome = _accept(state, prepared, decision, stamp)
        elif isinstance(decision, KnownRequest):
            outcome = _replay(decision)
        else:
            outcome = Outcome(rejection=decision)
            if decision.code not in NOT_REMEMBERED:
                prepared.batch.add_outcome(stamp, decision)
                state.requests[wish.scope, wish.key] = KnownRequest(wish.fingerprint, decision)
        prepared.outcomes.append(outcome)
    prepared.hash = state.hash
    prepared.arguments = prepared.batch.arguments() if prepared.writes else ((), ())
    return prepared


def _accept(state: LedgerState, prepared: Prepared[J], decision: Accepted, stamp: Stamp) -> Outcome:
    """Puts the records behind the head and into the batch, and lets later requests of the batch know of them."""
    sealed = []
    for record in decision.records:
        versions = {account.no: account.version for account in record.moved_accounts()}
        if isinstance(record, EntryPosted):
            state.entries[record.id] = KnownEntry(record.id, state.sequence + 1, None)
            prepared.entry_ids.append(record.id)
            if record.external_id is not None:
                state.external_ids[record.external_id] = record.id
                prepared.external_ids.append(record.external_id)
        appended = append(state, record, stamp)
        prepared.batch.add(record, appended, versions)
        sealed.append(appended)
    prepared.batch.add_outcome(stamp, state.sequence)
    state.requests[stamp.scope, stamp.key] = KnownRequest(stamp.fingerprint, Posted(state.sequence))
    return Outcome(state.sequence, tuple(sealed))


def _replay(known: KnownRequest) -> Outcome:
    if isinstance(known.outcome, Posted):
        return Outcome(known.outcome.sequence, replayed=True)
    return Outcome(rejection=known.outcome, replayed=True)
