"""The rules of holds, as pure functions: placed, captured in parts or whole, released, expired.

    decide_hold(state, request, stamp, rules of entries) -> records | Rejection

A hold's lines are held to what an entry's lines are held to, and a capture is an entry like any other: the rules for
both are those of domain.py, which gives them (`EntryRules`). What is particular:

* available = posted on the normal side less pending on the other. Placing takes from it what its lines on that other
  side add; what pends on the normal side never raises it.
* A capture lifts what it posts, so it takes nothing that was not held: it is never short of funds.
* Whether a hold's time is over is decided at `recorded_at`. From then on it cannot be captured; it pends until a record
  ends it, and may be released until then. Whichever record comes first ends it: there is no second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import orjson

from libs.common.errors import Fault, Rejection
from libs.common.holds import CaptureRequest, ExpireRequest, HoldMoveRequest, HoldRequest, ReleaseRequest
from libs.common.journal import LINES_MIN, EntryRequest, LineRequest, Origin
from libs.common.money import BALANCE_MAX, to_minor, to_text
from services.ledger.account_records import AccountOpened
from services.ledger.entry_lines import balance_of, entry_lines_of
from services.ledger.hold_records import HoldLifted, HoldPlaced
from services.ledger.records import EntryLine, Record, instant
from services.ledger.rejections import PRECEDENCE, reject
from services.ledger.state import Account, Hold, HoldLine, HoldStatus, LedgerState

if TYPE_CHECKING:
    from services.ledger.domain import Stamp

CAPTURE_BYTES_MAX: Final = 16 * 1024
"""More than a capture's own description, external id and field names add to the lines it takes over."""


class Captures(NamedTuple):
    """The hold an entry captures, and what that lifts on the side that lowers an account, by its code."""

    hold: UUID | None
    lifted: Mapping[str, int]


NO_HOLD: Final = Captures(None, {})

Moved: TypeAlias = "list[tuple[Account, int, int]]"


@dataclass(frozen=True, slots=True)
class EntryRules:
    """What domain.py decides of entries and holds alike."""

    envelope: "Callable[[LedgerState, EntryRequest, Stamp], Rejection | None]"
    funds: Callable[[Moved, list[EntryLine], Mapping[str, int]], Rejection | None]
    post: "Callable[[LedgerState, EntryRequest, Stamp, Captures], list[Record] | Rejection]"


def decide_hold(
    state: LedgerState, request: HoldRequest | HoldMoveRequest, stamp: "Stamp", rules: EntryRules
) -> list[Record] | Rejection:
    """The records that a request about a hold becomes, or why it does not."""
    match request:
        case HoldRequest():
            return _place(state, request, stamp, rules)
        case CaptureRequest():
            return _capture(state, request, stamp, rules)
        case ReleaseRequest():
            return _release(state, request, stamp)
        case ExpireRequest():
            return _expire(state, request, stamp)


# --- placing ----------------------------------------------------------------------------------------------------------


def _place(state: LedgerState, request: HoldRequest, stamp: "Stamp", rules: EntryRules) -> list[Record] | Rejection:
    known = state.holds.get(request.id) if request.id is not None else None
    if known is not None:
        return reject("duplicate-hold-id", hold=str(known.id), sequence=known.placed_sequence)
    entry = EntryRequest(
        lines=[LineRequest(line.account, line.side, line.amount, line.currency, line.party) for line in request.lines],
        metadata=request.metadata,
    )
    whole = replace(stamp, size=max(stamp.size, len(orjson.dumps(entry.lines))) + CAPTURE_BYTES_MAX)
    refused = rules.envelope(state, entry, whole)
    if refused is not None:
        return refused
    opened: list[AccountOpened] = []
    entry_lines = entry_lines_of(state, entry.lines, stamp.service, opened)
    if isinstance(entry_lines, Rejection):
        return entry_lines
    accounts = {entry_line.account.code: entry_line.account for entry_line in entry_lines}
    refused = (
        _too_much_pending(entry_lines)
        or balance_of(state, [], entry_lines, opened)
        or _expiry_behind(request, stamp)
        or rules.funds(
            [(account, account.debits, account.credits) for account in accounts.values()],
            entry_lines,
            {code: -amount for code, amount in _lowering(entry_lines).items()},
        )
    )
    if refused is not None:
        return refused
    hold = Hold(
        request.id or stamp.entry_id,
        "pending",
        request.expires_at,
        [
            HoldLine(
                entry_line.account.code,
                entry_line.account.no,
                entry_line.side,
                entry_line.amount,
                party=entry_line.party,
            )
            for entry_line in entry_lines
        ],
    )
    placed = HoldPlaced(
        hold=hold,
        accounts=[entry_line.account for entry_line in entry_lines],
        description=request.description,
        external_id=request.external_id,
        origin=request.origin,
        metadata=request.metadata,
    )
    return [*opened, placed]


def _lowering(entry_lines: list[EntryLine]) -> dict[str, int]:
    """By account: what its lines on the side that is not normal add up to."""
    sums: dict[str, int] = {}
    for entry_line in entry_lines:
        account = entry_line.account
        if entry_line.side != account.normal_side:
            sums[account.code] = sums.get(account.code, 0) + entry_line.amount
    return sums


def _too_much_pending(entry_lines: list[EntryLine]) -> Rejection | None:
    sums: dict[tuple[str, str], int] = {}
    for entry_line in entry_lines:
        account, side = entry_line.account, entry_line.side
        before = sums.get((account.code, side), account.pending_debits if side == "debit" else account.pending_credits)
        sums[account.code, side] = before + entry_line.amount
        if before + entry_line.amount > BALANCE_MAX:
            return reject("amount-out-of-range", account=account.code)
    return None


def _expiry_behind(request: HoldRequest, stamp: "Stamp") -> Rejection | None:
    if request.expires_at is None or request.expires_at > stamp.recorded_at:
        return None
    return reject(
        "expiry-not-ahead",
        errors=[Fault("/expires_at", "is not ahead")],
        expires_at=instant(request.expires_at),
        recorded_at=instant(stamp.recorded_at),
    )


# --- moving one that is there -----------------------------------------------------------------------------------------


def _pending(state: LedgerState, hold_id: UUID) -> Hold | Rejection:
    hold = state.holds.get(hold_id)
    if hold is None:
        return reject("unknown-hold", hold=str(hold_id))
    if hold.status != "pending":
        return reject("hold-not-pending", hold=str(hold_id), status=hold.status, sequence=hold.version)
    return hold


def _is_over(hold: Hold, stamp: "Stamp") -> bool:
    return hold.expires_at is not None and stamp.recorded_at >= hold.expires_at


def _capture(
    state: LedgerState, request: CaptureRequest, stamp: "Stamp", rules: EntryRules
) -> list[Record] | Rejection:
    refused = rules.envelope(state, _outline(request), stamp)
    if refused is not None:
        return refused
    hold = _pending(state, request.hold_id)
    if isinstance(hold, Rejection):
        return hold
    if _is_over(hold, stamp):
        assert hold.expires_at is not None
        return reject("hold-expired", hold=str(hold.id), expires_at=instant(hold.expires_at))
    accounts = [state.accounts[hold_line.account] for hold_line in hold.hold_lines]
    asked = _asked(hold, accounts, request)
    if isinstance(asked, Rejection):
        return asked
    entry = EntryRequest(
        lines=[
            LineRequest(hold_line.account, hold_line.side, amount, None, hold_line.party)
            for hold_line, amount in ((hold.hold_lines[place], amount) for place, amount in asked)
        ],
        id=request.id,
        effective_on=request.effective_on,
        value_on=request.value_on,
        if_closed=request.if_closed,
        description=f"Capture of hold {hold.id}" if request.description is None else request.description,
        external_id=request.external_id,
        origin=Origin("ledger", f"hold/{hold.id}"),
    )
    amounts = _amounts(hold, accounts, asked)
    exceeds = _exceeds(hold, accounts, amounts)
    captures = Captures(hold.id, _lifted(hold, accounts, amounts))
    posted = rules.post(state, entry, replace(stamp, size=len(orjson.dumps(entry))), captures)
    if exceeds is not None and not (
        isinstance(posted, Rejection) and PRECEDENCE[posted.code] < PRECEDENCE[exceeds.code]
    ):
        return exceeds if request.lines is not None else _in_words_of_an_amount(exceeds, request)
    if isinstance(posted, Rejection):
        return posted if request.lines is not None else _in_words_of_an_amount(posted, request)
    left = any(
        hold_line.captured + amount < hold_line.amount
        for hold_line, amount in zip(hold.hold_lines, amounts, strict=True)
    )
    captured = _lift("hold-captured", hold, accounts, amounts, "pending" if left else "captured")
    captured.entry_id = request.id or stamp.entry_id
    return [captured, *posted]


def _outline(request: CaptureRequest) -> EntryRequest:
    """The entry as far as the request alone says it: its ids and how many lines it has, two at least without them."""
    count = LINES_MIN if request.lines is None else len(request.lines)
    lines = [LineRequest("", "debit", "") for _ in range(count)]
    return EntryRequest(lines=lines, id=request.id, external_id=request.external_id)


def _asked(hold: Hold, accounts: list[Account], request: CaptureRequest) -> list[tuple[int, str]] | Rejection:
    """The places of the hold's lines that are captured, each with its amount, in the order they are asked for."""
    if request.amount is not None:
        if len(hold.hold_lines) != 2:
            return reject(
                "capture-needs-lines",
                errors=[Fault("/amount", f"the hold has {len(hold.hold_lines)} lines")],
                hold=str(hold.id),
                lines=len(hold.hold_lines),
            )
        return [(0, request.amount), (1, request.amount)]
    if request.lines is None:
        return [
            (place, to_text(hold_line.left, account.exponent))
            for place, (hold_line, account) in enumerate(zip(hold.hold_lines, accounts, strict=True))
            if hold_line.left
        ]
    asked = []
    for number, line in enumerate(request.lines):
        places = (
            [line.line - 1]
            if line.line is not None
            else [place for place, hold_line in enumerate(hold.hold_lines) if hold_line.account == line.account]
        )
        if len(places) != 1 or places[0] >= len(hold.hold_lines):
            member, name = ("account", line.account) if line.line is None else ("line", line.line)
            detail = (
                f"{name} is on {len(places)} lines: name one by its number" if len(places) > 1 else f"{name} is none"
            )
            return reject(
                "unknown-hold-line", errors=[Fault(f"/lines/{number}/{member}", detail)], hold=str(hold.id), line=name
            )
        asked.append((places[0], line.amount))
    return asked


def _amounts(hold: Hold, accounts: list[Account], asked: list[tuple[int, str]]) -> list[int]:
    """Minor units by line of the hold; what is no amount counts nothing here and is refused with the entry."""
    amounts = [0] * len(hold.hold_lines)
    for place, text in asked:
        amount = to_minor(text, accounts[place].exponent)
        if not isinstance(amount, str):
            amounts[place] += amount
    return amounts


def _exceeds(hold: Hold, accounts: list[Account], amounts: list[int]) -> Rejection | None:
    for number, (hold_line, account, amount) in enumerate(zip(hold.hold_lines, accounts, amounts, strict=True), 1):
        if amount > hold_line.left:
            left, asked = to_text(hold_line.left, account.exponent), to_text(amount, account.exponent)
            return reject(
                "capture-exceeds-hold",
                f"On {account.code} {left} {account.currency} is left, {asked} is asked for.",
                [Fault("/lines", f"line {number}: {asked} asked for, {left} left")],
                hold=str(hold.id),
                line=number,
                account=account.code,
                currency=account.currency,
                remaining=left,
                asked=asked,
            )
    return None


def _lifted(hold: Hold, accounts: list[Account], amounts: list[int]) -> dict[str, int]:
    lifted: dict[str, int] = {}
    for hold_line, account, amount in zip(hold.hold_lines, accounts, amounts, strict=True):
        if hold_line.side != account.normal_side:
            lifted[account.code] = lifted.get(account.code, 0) + amount
    return lifted


def _in_words_of_an_amount(rejection: Rejection, request: CaptureRequest) -> Rejection:
    """A capture by amount, or of all that is left, has no lines to point at."""
    pointer = "/amount" if request.amount is not None else ""
    errors = [
        Fault(pointer, fault.detail) if fault.pointer.startswith("/lines") else fault for fault in rejection.errors
    ]
    return Rejection(rejection.code, rejection.detail, rejection.facts, errors)


def _release(state: LedgerState, request: ReleaseRequest, stamp: "Stamp") -> list[Record] | Rejection:
    hold = _pending(state, request.hold_id)
    if isinstance(hold, Rejection):
        return hold
    accounts = [state.accounts[hold_line.account] for hold_line in hold.hold_lines]
    for account in accounts:
        if account.control_owner not in (None, stamp.service):
            return reject("account-is-control", account=account.code, control_owner=account.control_owner)
    released = _lift("hold-released", hold, accounts, [line.left for line in hold.hold_lines], "released")
    released.reason = request.reason
    return [released]


def _expire(state: LedgerState, request: ExpireRequest, stamp: "Stamp") -> list[Record] | Rejection:
    hold = _pending(state, request.hold_id)
    if isinstance(hold, Rejection):
        return hold
    if not _is_over(hold, stamp):
        return reject("hold-not-expired", hold=str(hold.id))
    accounts = [state.accounts[hold_line.account] for hold_line in hold.hold_lines]
    return [_lift("hold-expired", hold, accounts, [line.left for line in hold.hold_lines], "expired")]


def _lift(
    type_: Literal["hold-captured", "hold-released", "hold-expired"],
    hold: Hold,
    accounts: list[Account],
    amounts: list[int],
    status: HoldStatus,
) -> HoldLifted:
    return HoldLifted(type=type_, hold=hold, accounts=accounts, amounts=amounts, status=status, version=hold.version)
