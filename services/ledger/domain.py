"""The rules of posting, as pure functions: state in, request in, records or a rejection out.

    decide(state, request, stamp) -> Accepted | Rejection | KnownRequest

Nothing here sees a database, a clock or a socket. A decision reads the state and leaves it as it is; `records.append`
moves the state forward once the decision is taken. Every check names itself by a code of `rejections.REJECTIONS`; where
several lines fail, the code that stands first there wins. Amounts are minor units from the first check on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

import orjson

from libs.common.account_changes import AccountChangeRequest, StandingRequest
from libs.common.errors import Fault, Rejection
from libs.common.holds import CaptureRequest, ExpireRequest, HoldMoveRequest, HoldRequest, ReleaseRequest
from libs.common.journal import (
    LINES_MAX,
    LINES_MIN,
    METADATA_BYTES_MAX,
    OTHER_SIDE,
    RECORD_BYTES_MAX,
    AccountRequest,
    EntryRequest,
    LineRequest,
    Origin,
    ReversalRequest,
    Side,
    TransferRequest,
)
from libs.common.money import BALANCE_MAX, to_text
from libs.common.periods import DayClose, PeriodStep, YearStep
from services.ledger import holding
from services.ledger.account_changes import change_account, change_standing
from services.ledger.account_records import AccountOpened
from services.ledger.accounts import open_account
from services.ledger.closing import STEPS, place_entry, take_step
from services.ledger.conditions import unmet
from services.ledger.entry_lines import balance_of, entry_lines_of
from services.ledger.records import EntryLine, EntryPosted, Record
from services.ledger.rejections import PRECEDENCE, reject
from services.ledger.state import Account, KnownRequest, LedgerState, Posted


@dataclass(slots=True)
class AtomicRequest:
    """Several entries that are posted all or none, under one key. Their ids and sizes (bytes) entry by entry."""

    entries: list[EntryRequest]
    entry_ids: list[UUID]
    sizes: list[int]


Request = (
    EntryRequest
    | TransferRequest
    | ReversalRequest
    | AccountRequest
    | AtomicRequest
    | AccountChangeRequest
    | StandingRequest
    | HoldRequest
    | HoldMoveRequest
    | DayClose
    | PeriodStep
    | YearStep
)

EXCLUSIVE: tuple[type, ...] = (AccountChangeRequest, StandingRequest, *STEPS)
"""Requests that are decided under the row lock: what they look at is in no cache."""

ALONE: tuple[type, ...] = (ReversalRequest, *EXCLUSIVE)
"""Requests that go in a batch of their own, for they look at what the books hold."""

EFFECTIVE_MIN = date(1900, 1, 1)
EFFECTIVE_YEARS_AHEAD = 10
LINE_OVERHEAD_BYTES = 220
"""More than a record adds to a line of a request (currency, balance after it, field names), or a line that is added."""
RECORD_OVERHEAD_BYTES = 4_096
"""More than a record adds to a request: its place, who asked, the key, the trace."""


@dataclass(slots=True)
class Stamp:
    """What surrounds a request: when it is decided, who asks, under which key, and how large it was (bytes).

    `permits` are those of `periods.PERMITS` that the asker has.
    """

    recorded_at: datetime
    today: date
    service: str
    subject: str
    scope: str
    key: str
    fingerprint: bytes
    size: int
    entry_id: UUID
    traceparent: str | None = None
    permits: frozenset[str] = frozenset()


@dataclass(slots=True)
class Accepted:
    """The records a request becomes, in order; their last sequence is its outcome.

    Without records there is nothing to do, and nothing is remembered: the books stand as was asked.
    """

    records: list[Record] = field(default_factory=list)


def decide(state: LedgerState, request: Request, stamp: Stamp) -> Accepted | Rejection | KnownRequest:
    """The ledger's answer to one request, on the state before it. A known key gives what is remembered."""
    known = remembered(state, stamp)
    if known is not None:
        return known
    if request.__class__ is EntryRequest:
        return post_entry(state, request, stamp)
    match request:
        case TransferRequest():
            return transfer(state, request, stamp)
        case ReversalRequest():
            return reverse_entry(state, request, stamp)
        case AccountRequest():
            opened = open_account(state, request, stamp.entry_id)
            return opened if isinstance(opened, Rejection) else Accepted([opened])
        case AccountChangeRequest():
            changed = change_account(state, request)
            return changed if isinstance(changed, Rejection) else Accepted([changed])
        case StandingRequest():
            changed = change_standing(state, request)
            return changed if isinstance(changed, Rejection) else Accepted([changed])
        case HoldRequest() | CaptureRequest() | ReleaseRequest() | ExpireRequest():
            held = holding.decide_hold(state, request, stamp, OF_ENTRIES)
            return held if isinstance(held, Rejection) else Accepted(held)
        case DayClose() | PeriodStep() | YearStep():
            records = take_step(state, request, stamp.today, stamp.entry_id)
            return records if isinstance(records, Rejection) else Accepted(records)
        case _:
            raise AssertionError(f"no rule for {type(request)}")


def remembered(state: LedgerState, stamp: Stamp) -> KnownRequest | Rejection | None:
    """What was answered under this key before, or that it was another request's key; None for a new key."""
    known = state.requests.get((stamp.scope, stamp.key))
    if known is None or known.fingerprint == stamp.fingerprint:
        return known
    first = known.outcome.sequence if isinstance(known.outcome, Posted) else None
    return reject("key-reused-with-other-content", key=stamp.key, sequence=first)


def post_entry(
    state: LedgerState,
    request: EntryRequest,
    stamp: Stamp,
    *,
    reverses: UUID | None = None,
    captures: holding.Captures = holding.NO_HOLD,
) -> Accepted | Rejection:
    """A journal entry of 2 to 1,000 lines that balances in every currency it touches."""
    refused = _envelope(state, request, stamp)
    if refused is not None:
        return refused
    opened: list[AccountOpened] = []
    entry_lines = entry_lines_of(state, request.lines, stamp.service, opened)
    if isinstance(entry_lines, Rejection):
        return entry_lines
    unbalanced = balance_of(state, request.rates, entry_lines, opened)
    refused = _envelope_of_lines(stamp, len(entry_lines))
    if refused is not None:
        return refused
    moved = _move(entry_lines)
    if isinstance(moved, Rejection):
        return moved
    placed = place_entry(state.closed, request, stamp.today, stamp.permits)
    if unbalanced is not None:
        return unbalanced
    if isinstance(placed, Rejection):
        return placed
    refused = (
        _too_far_away(placed.effective_on, stamp.today)
        or _short_of_funds(moved, entry_lines, captures.lifted)
        or unmet(request.lines, moved)
    )
    if refused is not None:
        return refused
    record = EntryPosted(
        id=request.id or stamp.entry_id,
        kind=request.kind,
        effective_on=placed.effective_on,
        value_on=request.value_on or request.effective_on or placed.effective_on,
        description=request.description,
        external_id=request.external_id,
        origin=request.origin,
        reverses=reverses,
        rates=request.rates,
        metadata=request.metadata,
        entry_lines=entry_lines,
        moved=moved,
        hold=captures.hold,
        permits=placed.permits,
        backdated=placed.backdated,
    )
    return Accepted([*opened, record])


def transfer(state: LedgerState, request: TransferRequest, stamp: Stamp) -> Accepted | Rejection:
    """Lowers `source` and raises `target`, both on one normal side: an entry of two lines."""
    source, target = state.accounts.get(request.source), state.accounts.get(request.target)
    raises: Side = target.normal_side if target is not None else "credit"
    entry = EntryRequest(
        id=request.id,
        effective_on=request.effective_on,
        if_closed=request.if_closed,
        description=request.description,
        external_id=request.external_id,
        metadata=request.metadata,
        lines=[
            LineRequest(request.source, OTHER_SIDE[raises], request.amount, request.currency),
            LineRequest(request.target, raises, request.amount, request.currency),
        ],
    )
    outcome = post_entry(state, entry, stamp)
    if source is not None and target is not None and source.normal_side != target.normal_side:
        differ = reject(
            "transfer-sides-differ",
            errors=[Fault("/to", f"is {target.normal_side}-normal, {source.code} is {source.normal_side}-normal")],
            **{"from": source.normal_side, "to": target.normal_side},
        )
        if isinstance(outcome, Accepted) or PRECEDENCE[outcome.code] > PRECEDENCE[differ.code]:
            return differ
    return _in_words_of_a_transfer(outcome) if isinstance(outcome, Rejection) else outcome


def reverse_entry(state: LedgerState, request: ReversalRequest, stamp: Stamp) -> Accepted | Rejection:
    """The same lines on the other sides, linked to the entry they take back; each entry is reversed once."""
    duplicate = _duplicate(state, request.id, None)
    if duplicate is not None:
        return duplicate
    target = state.to_reverse.get(request.entry_id)
    if target is None:
        return reject("unknown-entry", entry=str(request.entry_id))
    if target.known.reversed_by is not None:
        return reject("already-reversed", entry=str(request.entry_id), reversed_by=str(target.known.reversed_by))
    entry = EntryRequest(
        id=request.id,
        kind="closing" if target.kind == "closing" else "normal",
        effective_on=request.effective_on,
        if_closed=request.if_closed,
        description=request.description or f"Reversal of {target.description}"[:2_000],
        origin=Origin(stamp.service, f"reversal/{request.entry_id}"),
        lines=[
            LineRequest(line.account, OTHER_SIDE[line.side], line.amount, None, line.party) for line in target.lines
        ],
    )
    return post_entry(state, entry, stamp, reverses=request.entry_id)


def _duplicate(state: LedgerState, id_: UUID | None, external_id: str | None) -> Rejection | None:
    known = state.entries.get(id_) if id_ is not None else None
    if known is not None:
        return reject("duplicate-entry-id", entry=str(known.id), sequence=known.sequence)
    existing = state.external_ids.get(external_id) if external_id is not None else None
    if existing is not None:
        return reject("duplicate-external-id", external_id=external_id, entry=str(existing))
    return None


def _envelope(state: LedgerState, request: EntryRequest, stamp: Stamp) -> Rejection | None:
    """What is decided before any account is looked at."""
    duplicate = _duplicate(state, request.id, request.external_id)
    if duplicate is not None:
        return duplicate
    count = len(request.lines)
    if _record_bytes_max(stamp, count) > RECORD_BYTES_MAX:
        return reject("entry-too-large", size_bytes=stamp.size, lines=count)
    if request.metadata and len(orjson.dumps(request.metadata)) > METADATA_BYTES_MAX:
        return reject("metadata-too-large", errors=[Fault("/metadata", "is too large")])
    if count < LINES_MIN:
        return reject("too-few-lines", errors=[Fault("/lines", f"has {count}")], lines=count)
    return _envelope_of_lines(stamp, count)


def _envelope_of_lines(stamp: Stamp, count: int) -> Rejection | None:
    """What bounds the lines, asked for and added by a crossing alike."""
    if _record_bytes_max(stamp, count) > RECORD_BYTES_MAX:
        return reject("entry-too-large", size_bytes=stamp.size, lines=count)
    if count > LINES_MAX:
        return reject("too-many-lines", errors=[Fault("/lines", f"has {count}")], lines=count)
    return None


def _record_bytes_max(stamp: Stamp, lines: int) -> int:
    return stamp.size + RECORD_OVERHEAD_BYTES + lines * LINE_OVERHEAD_BYTES


def _too_far_away(effective_on: date, today: date) -> Rejection | None:
    if effective_on >= EFFECTIVE_MIN and effective_on.year <= today.year + EFFECTIVE_YEARS_AHEAD:
        return None
    return reject(
        "effective-date-out-of-range",
        f"It is taken from {EFFECTIVE_MIN} to the end of {today.year + EFFECTIVE_YEARS_AHEAD}.",
        [Fault("/effective_on", "is too far away")],
        effective_on=effective_on.isoformat(),
    )


def _move(entry_lines: list[EntryLine]) -> list[tuple[Account, int, int]] | Rejection:
    """Debits and credits of each account after the lines, in order of first touch; sets the lines' balances."""
    after: dict[str, list[int]] = {}
    accounts: dict[str, Account] = {}
    for entry_line in entry_lines:
        account = entry_line.account
        sides = after.get(account.code)
        if sides is None:
            sides = after[account.code] = [account.debits, account.credits]
            accounts[account.code] = account
        if entry_line.side == "debit":
            sides[0] += entry_line.amount
        else:
            sides[1] += entry_line.amount
        entry_line.balance_after = sides[0] - sides[1] if account.normal_side == "debit" else sides[1] - sides[0]
    moved = [(account, after[code][0], after[code][1]) for code, account in accounts.items()]
    for account, debits, credits_ in moved:
        if debits > BALANCE_MAX or credits_ > BALANCE_MAX:
            return reject("amount-out-of-range", account=account.code)
    return moved


def _short_of_funds(
    moved: list[tuple[Account, int, int]], entry_lines: list[EntryLine], lifted: Mapping[str, int]
) -> Rejection | None:
    """`lifted`, by code, pends no more on the side that lowers the account; below zero it pends from now on."""
    for account, debits, credits_ in moved:
        if account.overdraft_policy != "unlimited":
            posted = debits - credits_ if account.normal_side == "debit" else credits_ - debits
            after = posted - account.pending_out + lifted.get(account.code, 0)
            if after < account.available and after < -account.overdraft_limit:
                return _overdrawn(account, after, entry_lines)
    return None


def _overdrawn(account: Account, after: int, entry_lines: list[EntryLine]) -> Rejection:
    available = to_text(account.available + account.overdraft_limit, account.exponent)
    needed = to_text(account.available - after, account.exponent)
    place = next(
        place
        for place, entry_line in enumerate(entry_lines)
        if entry_line.account is account and entry_line.side != account.normal_side
    )
    return reject(
        "insufficient-funds",
        f"{account.code} has {available} {account.currency} available, {needed} is needed.",
        [Fault(f"/lines/{place}/amount", f"{needed} needed, {available} available")],
        account=account.code,
        currency=account.currency,
        available=available,
        needed=needed,
    )


def _in_words_of_a_transfer(rejection: Rejection) -> Rejection:
    """A transfer has no lines: its first line is `from`, its second `to`."""
    names = {"account": ("/from", "/to"), "currency": ("/currency", "/currency"), "amount": ("/amount", "/amount")}

    def pointer(fault: Fault) -> Fault:
        parts = fault.pointer.split("/")
        if len(parts) == 4 and parts[1] == "lines" and parts[3] in names:
            return Fault(names[parts[3]][int(parts[2])], fault.detail)
        return fault

    return Rejection(rejection.code, rejection.detail, rejection.facts, [pointer(fault) for fault in rejection.errors])


def _post_capture(
    state: LedgerState, request: EntryRequest, stamp: Stamp, captures: holding.Captures
) -> list[Record] | Rejection:
    outcome = post_entry(state, request, stamp, captures=captures)
    return outcome if isinstance(outcome, Rejection) else outcome.records


OF_ENTRIES = holding.EntryRules(_envelope, _short_of_funds, _post_capture)
