"""The rules of posting, as pure functions: state in, request in, records or a rejection out.

    decide(state, request, stamp) -> Accepted | Rejection | KnownRequest

Nothing here sees a database, a clock or a socket. A decision reads the state and leaves it as it is; `records.append`
moves the state forward once the decision is taken. Every check names itself by a code of `rejections.REJECTIONS`; where
several lines fail, the code that stands first there wins. Amounts are minor units from the first check on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson

from libs.common.errors import Fault, Rejection
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
from libs.common.money import BALANCE_MAX, to_minor, to_text
from services.ledger.account_records import AccountOpened
from services.ledger.accounts import open_account, pair_currency, position_pair
from services.ledger.conditions import unmet
from services.ledger.crossing import cross
from services.ledger.records import EntryLine, EntryPosted, Record
from services.ledger.rejections import PRECEDENCE, reject
from services.ledger.state import Account, KnownRequest, LedgerState, Posted


@dataclass(slots=True)
class AtomicRequest:
    """Several entries that are posted all or none, under one key. Their ids and sizes (bytes) entry by entry."""

    entries: list[EntryRequest]
    entry_ids: list[UUID]
    sizes: list[int]


Request = EntryRequest | TransferRequest | ReversalRequest | AccountRequest | AtomicRequest

EXCLUSIVE: tuple[type, ...] = ()
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
    """What surrounds a request: when it is decided, who asks, under which key, and how large it was (bytes)."""

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


@dataclass(slots=True)
class Accepted:
    """The records a request becomes, in order; their last sequence is its outcome."""

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
    state: LedgerState, request: EntryRequest, stamp: Stamp, *, reverses: UUID | None = None
) -> Accepted | Rejection:
    """A journal entry of 2 to 1,000 lines that balances in every currency it touches."""
    refused = _envelope(state, request, stamp)
    if refused is not None:
        return refused
    opened: list[AccountOpened] = []
    entry_lines = _entry_lines(state, request.lines, stamp, opened)
    if isinstance(entry_lines, Rejection):
        return entry_lines
    unbalanced = _balance(state, request, entry_lines, opened)
    refused = _envelope_of_lines(stamp, len(entry_lines))
    if refused is not None:
        return refused
    moved = _move(entry_lines)
    if isinstance(moved, Rejection):
        return moved
    effective_on = request.effective_on or stamp.today
    refused = (
        unbalanced
        or _too_far_away(effective_on, stamp.today)
        or _short_of_funds(moved, entry_lines)
        or unmet(request.lines, moved)
    )
    if refused is not None:
        return refused
    record = EntryPosted(
        id=request.id or stamp.entry_id,
        kind=request.kind,
        effective_on=effective_on,
        value_on=request.value_on or effective_on,
        description=request.description,
        external_id=request.external_id,
        origin=request.origin,
        reverses=reverses,
        rates=request.rates,
        metadata=request.metadata,
        entry_lines=entry_lines,
        moved=moved,
    )
    return Accepted([*opened, record])


def transfer(state: LedgerState, request: TransferRequest, stamp: Stamp) -> Accepted | Rejection:
    """Lowers `source` and raises `target`, both on one normal side: an entry of two lines."""
    source, target = state.accounts.get(request.source), state.accounts.get(request.target)
    raises: Side = target.normal_side if target is not None else "credit"
    entry = EntryRequest(
        id=request.id,
        effective_on=request.effective_on,
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
    duplicate = _duplicate_id(state, request.id)
    if duplicate is not None:
        return duplicate
    target = state.to_reverse.get(request.entry_id)
    if target is None:
        return reject("unknown-entry", entry=str(request.entry_id))
    if target.known.reversed_by is not None:
        return reject("already-reversed", entry=str(request.entry_id), reversed_by=str(target.known.reversed_by))
    entry = EntryRequest(
        id=request.id,
        effective_on=request.effective_on,
        if_closed=request.if_closed,
        description=request.description or f"Reversal of {target.description}"[:2_000],
        origin=Origin(stamp.service, f"reversal/{request.entry_id}"),
        lines=[
            LineRequest(line.account, OTHER_SIDE[line.side], line.amount, None, line.party) for line in target.lines
        ],
    )
    return post_entry(state, entry, stamp, reverses=request.entry_id)


def _duplicate_id(state: LedgerState, id_: UUID | None) -> Rejection | None:
    known = state.entries.get(id_) if id_ is not None else None
    return known and reject("duplicate-entry-id", entry=str(known.id), sequence=known.sequence)


def _envelope(state: LedgerState, request: EntryRequest, stamp: Stamp) -> Rejection | None:
    """What is decided before any account is looked at."""
    duplicate = _duplicate_id(state, request.id)
    if duplicate is not None:
        return duplicate
    if request.external_id is not None and (existing := state.external_ids.get(request.external_id)):
        return reject("duplicate-external-id", external_id=request.external_id, entry=str(existing))
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


def _entry_lines(
    state: LedgerState, lines: list[LineRequest], stamp: Stamp, opened: list[AccountOpened]
) -> list[EntryLine] | Rejection:
    """The lines with their accounts and minor units; appends to `opened` the position pairs they need."""
    accounts = state.accounts
    entry_lines: list[EntryLine] = []
    faults: list[tuple[str, int]] = []
    for place, line in enumerate(lines):
        account = accounts.get(line.account) or _pair_account(state, line.account, opened)
        if account is None:
            faults.append(("unknown-account", place))
        elif account.guarded and (fault := _guard(account, line, stamp)):
            faults.append((fault, place))
        elif line.currency is not None and line.currency != account.currency:
            faults.append(("currency-mismatch", place))
        else:
            amount = to_minor(line.amount, account.exponent)
            if isinstance(amount, str):
                faults.append((amount, place))
            else:
                entry_lines.append(EntryLine(account, line.side, amount, line.party, line.description))
    return _worst(state, lines, faults) if faults else entry_lines


def _guard(account: Account, line: LineRequest, stamp: Stamp) -> str | None:
    if account.summary:
        return "account-is-summary"
    if account.control_owner is not None and account.control_owner != stamp.service:
        return "account-is-control"
    if account.closed:
        return "account-closed"
    if account.frozen is not None and account.frozen in ("both", "in" if line.side == account.normal_side else "out"):
        return "account-frozen"
    return "party-missing" if account.control_owner is not None and line.party is None else None


def _worst(state: LedgerState, lines: list[LineRequest], faults: list[tuple[str, int]]) -> Rejection:
    """One rejection for all lines: the code of highest precedence, with every line it is true of."""
    code = min((code for code, _ in faults), key=PRECEDENCE.__getitem__)
    places = [place for fault, place in faults if fault == code]
    line = lines[places[0]]
    account = state.accounts.get(line.account)
    facts: dict[str, Any] = {"account": line.account, "line": places[0]}
    member = "amount"
    match code:
        case "unknown-account" | "account-is-summary" | "account-closed":
            member = "account"
        case "account-frozen":
            assert account is not None
            member, facts["frozen"] = "account", account.frozen
        case "account-is-control":
            assert account is not None
            member, facts["control_owner"] = "account", account.control_owner
        case "party-missing":
            member = "party"
        case "currency-mismatch":
            assert account is not None
            member, facts["currency"], facts["asked"] = "currency", account.currency, line.currency
        case _:
            facts["amount"] = line.amount
            if account is not None:
                facts["currency"], facts["decimals"] = account.currency, account.exponent
    errors = [Fault(f"/lines/{place}/{member}", f"{code}: {lines[place].account}") for place in places[:100]]
    return reject(code, errors=errors, **facts)


def _pair_account(state: LedgerState, code: str, opened: list[AccountOpened]) -> Account | None:
    """An account of a position pair, which the ledger opens on first need; None for any other unknown code."""
    for record in opened:
        if record.account.code == code:
            return record.account
    currency = pair_currency(code)
    pair = position_pair(state, currency, len(opened)) if currency is not None else None
    if pair is None:
        return None
    opened.extend(pair)
    return next(record.account for record in pair if record.account.code == code)


def _pair_of(state: LedgerState, opened: list[AccountOpened]) -> Any:
    def account(code: str) -> Account:
        found = state.accounts.get(code) or _pair_account(state, code, opened)
        assert found is not None, f"{code} was asked for a currency that is not known"
        return found

    return account


def _balance(
    state: LedgerState, request: EntryRequest, entry_lines: list[EntryLine], opened: list[AccountOpened]
) -> Rejection | None:
    """Whether debits are credits in every currency, once the lines of position pairs are appended to `entry_lines`."""
    sums: dict[str, int] = {}
    for entry_line in entry_lines:
        currency = entry_line.account.currency
        assert currency is not None
        sums[currency] = sums.get(currency, 0) + (
            entry_line.amount if entry_line.side == "debit" else -entry_line.amount
        )
    if request.rates:
        crossed = cross(state, request.rates, sums, len(entry_lines), _pair_of(state, opened))
        if isinstance(crossed, Rejection):
            return crossed
        for entry_line in crossed:
            entry_lines.append(entry_line)
            sums[entry_line.account.currency or ""] += (
                entry_line.amount if entry_line.side == "debit" else -entry_line.amount
            )
    return _not_balanced(entry_lines, sums) if any(sums.values()) else None


def _not_balanced(entry_lines: Iterable[EntryLine], sums: dict[str, int]) -> Rejection:
    exponents = {entry_line.account.currency: entry_line.account.exponent for entry_line in entry_lines}
    off = {code: to_text(total, exponents[code]) for code, total in sums.items() if total}
    worst = next(iter(off))
    more = "more" if sums[worst] > 0 else "less"
    return reject(
        "entry-not-balanced",
        f"In {worst} the debits are {off[worst].lstrip('-')} {more} than the credits.",
        [Fault("/lines", f"debits less credits is {amount} {code}") for code, amount in off.items()],
        currency=worst,
        difference=off[worst],
        differences=off,
    )


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


def _short_of_funds(moved: list[tuple[Account, int, int]], entry_lines: list[EntryLine]) -> Rejection | None:
    for account, debits, credits_ in moved:
        if account.overdraft_policy != "unlimited" and (short := _overdrawn(account, debits, credits_, entry_lines)):
            return short
    return None


def _overdrawn(account: Account, debits: int, credits_: int, entry_lines: list[EntryLine]) -> Rejection | None:
    posted = debits - credits_ if account.normal_side == "debit" else credits_ - debits
    if posted >= account.posted or posted - account.pending_out >= -account.overdraft_limit:
        return None
    available = to_text(account.available + account.overdraft_limit, account.exponent)
    needed = to_text(account.posted - posted, account.exponent)
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
