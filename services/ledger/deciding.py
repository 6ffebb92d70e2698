"""A batch decided in memory: every request in turn, on the state the ones before it leave. Pure.

What comes out is what the statement writes and what each asker is told once it is written. Requests of the same batch
know of one another: a key, an entry id or an external id that was used by one of them is used for the next.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from libs.common.errors import Fault, Rejection
from libs.common.journal import position_codes
from services.ledger.domain import Accepted, AtomicRequest, Request, Stamp, decide, post_entry, remembered
from services.ledger.projection import Batch
from services.ledger.records import EntryPosted, Record, Sealed, append
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
    dry_run: bool
    permits: frozenset[str]


J = TypeVar("J", bound=Wished)


class Outcome(NamedTuple):
    """The answer to one request: the records it became, what was remembered before, or a rejection."""

    sequence: int = 0
    records: tuple[Sealed, ...] = ()
    rejection: Rejection | None = None
    replayed: bool = False
    preview: "Preview | None" = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a dry run would have been answered: the bodies of the last records, two at most, and when it was decided."""

    bodies: list[dict[str, Any]]
    recorded_at: datetime


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
    dry_runs: int = 0

    @property
    def moves(self) -> set[str]:
        """The codes of the accounts whose balances it moves: only after it lands do the tables have them."""
        return {account.code for account in self.batch.touched.values()}

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
            wish.permits,
        )
        if wish.request.__class__ is AtomicRequest:
            assert not wish.dry_run, "what is posted all or none is not tried"
            outcome = yield from _post_atomically(state, prepared, wish.request, stamp)
        elif wish.dry_run:
            prepared.dry_runs += 1
            outcome = _preview(decide(state, wish.request, stamp), stamp)
        else:
            outcome = _conclude(state, prepared, decide(state, wish.request, stamp), stamp)
        prepared.outcomes.append(outcome)
    prepared.hash = state.hash
    prepared.arguments = prepared.batch.arguments() if prepared.writes else ((), ())
    return prepared


def _conclude(
    state: LedgerState, prepared: Prepared[J], decision: Accepted | Rejection | KnownRequest, stamp: Stamp
) -> Outcome:
    """What a decision means: records behind the head, a rejection to remember, or what was remembered."""
    if isinstance(decision, Accepted):
        if not decision.records:
            return Outcome(state.sequence)
        sealed = [_append(state, prepared, record, stamp) for record in decision.records]
        return _posted(state, prepared, sealed, stamp)
    if isinstance(decision, KnownRequest):
        return _replay(decision)
    if decision.code not in NOT_REMEMBERED:
        prepared.batch.add_outcome(stamp, decision)
        state.requests[stamp.scope, stamp.key] = KnownRequest(stamp.fingerprint, decision)
    return Outcome(rejection=decision)


def _append(state: LedgerState, prepared: Prepared[J], record: Record, stamp: Stamp) -> Sealed:
    """Puts a record behind the head and into the batch, and lets later requests of the batch know of its ids."""
    prepared.batch.expect(record)
    if isinstance(record, EntryPosted):
        if record.id is not stamp.entry_id:  # nobody can ask again for an id that was drawn here
            state.entries[record.id] = KnownEntry(record.id, state.sequence + 1, None)
            prepared.entry_ids.append(record.id)
        if record.external_id is not None:
            state.external_ids[record.external_id] = record.id
            prepared.external_ids.append(record.external_id)
    sealed = append(state, record, stamp)
    prepared.batch.add(record, sealed)
    return sealed


def _posted(state: LedgerState, prepared: Prepared[J], sealed: list[Sealed], stamp: Stamp) -> Outcome:
    prepared.batch.add_outcome(stamp, state.sequence)
    state.requests[stamp.scope, stamp.key] = KnownRequest(stamp.fingerprint, Posted(state.sequence))
    return Outcome(state.sequence, tuple(sealed))


def _post_atomically(
    state: LedgerState, prepared: Prepared[J], request: AtomicRequest, stamp: Stamp
) -> Generator[None, None, Outcome]:
    """All entries or none: the first rejection is the request's, and says which entry it is of.

    Entries are tried on a copy of what they touch, for each is decided on what the ones before it leave; what the copy
    takes, the state takes.
    """
    known = remembered(state, stamp)
    if known is not None:
        return _conclude(state, prepared, known, stamp)
    codes = {line.account for entry in request.entries for line in entry.lines}
    rates = [rate for entry in request.entries for rate in entry.rates]
    codes.update(code for rate in rates for unit in (rate.base, rate.counter) for code in position_codes(unit))
    trial, attempt = state.copied(codes), Prepared(prepared.wishes, [], Batch(state.sequence), b"", stamp.recorded_at)
    sealed: list[Sealed] = []
    for on, tried in ((trial, attempt), (state, prepared)):
        for index, entry in enumerate(request.entries):
            if index and index % SLICE == 0:
                yield
            own = replace(stamp, size=request.sizes[index], entry_id=request.entry_ids[index])
            decision = post_entry(on, entry, own)
            if isinstance(decision, Rejection):
                return _conclude(state, prepared, of_entry(index, decision), stamp)
            appended = [_append(on, tried, record, own) for record in decision.records]
            if on is state:
                sealed += appended
    return _posted(state, prepared, sealed, stamp)


def of_entry(index: int, rejection: Rejection) -> Rejection:
    """A rejection of one entry among several."""
    errors = [Fault(f"/{index}{fault.pointer}", fault.detail) for fault in rejection.errors] or [
        Fault(f"/{index}", rejection.code)
    ]
    detail = f"Entry {index}: {rejection.detail} Nothing was posted."
    return Rejection(rejection.code, detail, {**rejection.facts, "index": index}, errors)


def _preview(decision: Accepted | Rejection | KnownRequest, stamp: Stamp) -> Outcome:
    """What the answer would be; nothing moves and nothing is remembered."""
    if isinstance(decision, KnownRequest):
        return _replay(decision)
    if isinstance(decision, Rejection):
        return Outcome(rejection=decision)
    return Outcome(preview=Preview([record.body() for record in decision.records[-2:]], stamp.recorded_at))


def _replay(known: KnownRequest) -> Outcome:
    if isinstance(known.outcome, Posted):
        return Outcome(known.outcome.sequence, replayed=True)
    return Outcome(rejection=known.outcome, replayed=True)
