"""What a batch of requests needs of the database before it can be decided, and how it gets into the state."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from libs.common.account_changes import AccountChangeRequest, StandingRequest
from libs.common.db import Connection
from libs.common.holds import CaptureRequest, ExpireRequest, HoldMoveRequest, HoldRequest, ReleaseRequest
from libs.common.journal import AccountRequest, EntryRequest, ReversalRequest, TransferRequest, position_codes
from libs.common.periods import FiscalCalendar, YearStep
from services.ledger import books_store, closing_store, store
from services.ledger.accounts import pair_currency
from services.ledger.closing import STEPS, Step
from services.ledger.domain import AtomicRequest, Request
from services.ledger.state import LedgerState


class Asked(Protocol):
    """A request with its key (`writer.QueuedWish` is one). `lookup`: the database may know it already."""

    request: Request
    scope: str
    key: str
    lookup: bool


@dataclass(slots=True)
class Needs:
    """What is not in the state yet."""

    codes: set[str] = field(default_factory=set)
    keys: set[tuple[str, str]] = field(default_factory=set)
    ids: set[UUID] = field(default_factory=set)
    external_ids: set[str] = field(default_factory=set)
    currencies: bool = False
    to_reverse: set[UUID] = field(default_factory=set)
    holds: set[UUID] = field(default_factory=set)
    described: dict[str, str | None] = field(default_factory=dict)
    step: Step | None = None

    def __bool__(self) -> bool:
        return any((
            self.codes, self.keys, self.ids, self.external_ids, self.currencies, self.to_reverse, self.holds,
            self.described, self.step,
        ))  # fmt: skip


def needs_of(state: LedgerState, wishes: Sequence[Asked]) -> Needs:
    """What the wishes need beyond what the state has. A reversal's accounts are known once its target is loaded.

    Ids that a caller gives are always looked up: "exists already" stands before "insufficient funds", and a rejection
    inserts no entry on which the database could say so. So are keys of expiries, whose "not yet" is not remembered.
    """
    needs = Needs()
    for wish in wishes:
        if (wish.lookup or isinstance(wish.request, ExpireRequest)) and (wish.scope, wish.key) not in state.requests:
            needs.keys.add((wish.scope, wish.key))
        if isinstance(wish.request, AtomicRequest):
            for entry in wish.request.entries:
                _need(needs, state, entry)
        elif isinstance(wish.request, STEPS):
            needs.step = wish.request
        else:
            _need(needs, state, wish.request)
    return needs


def _need(needs: Needs, state: LedgerState, request: Request) -> None:
    accounts = state.accounts
    match request:
        case EntryRequest():
            for line in request.lines:
                if line.account not in accounts:
                    _account_or_pair(needs, line.account)
            for rate in request.rates:
                for code in (rate.base, rate.counter):
                    if code != state.ledger.functional_currency.code:
                        needs.codes.update(code for code in position_codes(code) if code not in accounts)
                        needs.currencies = needs.currencies or state.currency(code) is None
            _need_ids(needs, state, request.id, request.external_id)
        case TransferRequest():
            needs.codes.update(code for code in (request.source, request.target) if code not in accounts)
            _need_ids(needs, state, request.id, request.external_id)
        case ReversalRequest():
            needs.to_reverse.add(request.entry_id)
            _need_ids(needs, state, request.id, None)
        case AccountChangeRequest():
            parent = request.patch.get("parent")
            needs.described[request.code] = parent
            needs.codes.update(code for code in (request.code, parent) if code and code not in accounts)
        case StandingRequest():
            needs.described[request.code] = None
            needs.codes.update({request.code} - accounts.keys())
        case AccountRequest():
            needs.codes.update(code for code in (request.code, request.parent) if code and code not in accounts)
            needs.currencies = needs.currencies or bool(request.currency and state.currency(request.currency) is None)
        case HoldRequest():
            for held in request.lines:
                if held.account not in accounts:
                    _account_or_pair(needs, held.account)
            if request.id is not None and request.id not in state.holds:
                needs.holds.add(request.id)
        case CaptureRequest():
            _need_hold(needs, state, request.hold_id)
            _need_ids(needs, state, request.id, request.external_id)
        case ReleaseRequest() | ExpireRequest():
            _need_hold(needs, state, request.hold_id)
        case _:
            raise AssertionError(f"nothing is known of the needs of {type(request)}")


def _need_ids(needs: Needs, state: LedgerState, id_: UUID | None, external_id: str | None) -> None:
    if id_ is not None and id_ not in state.entries:
        needs.ids.add(id_)
    if external_id is not None and external_id not in state.external_ids:
        needs.external_ids.add(external_id)


def _need_hold(needs: Needs, state: LedgerState, hold_id: UUID) -> None:
    """The accounts of a hold's lines are known once it is loaded."""
    hold = state.holds.get(hold_id)
    if hold is None:
        needs.holds.add(hold_id)
    else:
        needs.codes.update(line.account for line in hold.hold_lines if line.account not in state.accounts)


def _account_or_pair(needs: Needs, code: str) -> None:
    needs.codes.add(code)
    currency = pair_currency(code)
    if currency is not None:
        needs.codes.update(position_codes(currency))
        needs.currencies = True


def count_fitting(state: LedgerState, wishes: Sequence[Asked], lines_max: int) -> int:
    """How many of the wishes fit a batch, the first in any case: how long a hold is shows once it is loaded."""
    lines, counted = 0, set[UUID]()
    for place, wish in enumerate(wishes if state.holds else ()):
        request = wish.request
        hold = state.holds.get(request.hold_id) if isinstance(request, HoldMoveRequest) else None
        if hold is not None and hold.id not in counted:
            counted.add(hold.id)
            lines += len(hold.hold_lines)
            if lines > lines_max and place:
                return place
    return len(wishes)


async def load_facts(connection: Connection, state: LedgerState, needs: Needs) -> None:
    """Brings in what can never change once it is there: answered keys, entries, currencies."""
    ledger_no = state.ledger.no
    if needs.keys:
        state.requests.update(await store.load_requests(connection, ledger_no, needs.keys))
    if needs.ids or needs.external_ids:
        known, external = await store.load_entries(connection, ledger_no, list(needs.ids), list(needs.external_ids))
        state.entries.update(known)
        state.external_ids.update(external)
    if needs.currencies:
        state.currencies.update(await books_store.load_currencies(connection, state.ledger.organization_id))
    state.described.clear()
    for code, parent in needs.described.items():
        described = await store.load_described(connection, ledger_no, code, parent)
        if described is not None:
            state.described[code] = described
    if needs.step is not None:
        await _load_closing(connection, state, needs, needs.step)
    for entry_id in needs.to_reverse:
        state.to_reverse.pop(entry_id, None)
        target = await store.load_entry_to_reverse(connection, ledger_no, entry_id)
        if target is not None:
            state.to_reverse[entry_id] = target
            needs.codes.update(line.account for line in target.lines if line.account not in state.accounts)


async def _load_closing(connection: Connection, state: LedgerState, needs: Needs, step: Step) -> None:
    """What a step of closing looks at; its accounts and the entries it takes back are loaded with all others."""
    state.closing = facts = await closing_store.load_closing(connection, state.ledger.no)
    if not isinstance(step, YearStep):
        return
    if step.step == "reopen":
        needs.to_reverse.update(facts.closed_years.get(step.year, ()))
        return
    calendar = FiscalCalendar(state.ledger.fiscal_year_start)
    ends = calendar.ends(calendar.last_month(step.year))
    nominal = await closing_store.load_nominal(connection, state.ledger.no, ends)
    facts.nominal = [(code, balance) for code, _, balance in nominal]
    retained = step.retained_earnings or state.ledger.retained_earnings
    needs.codes.update(code for code, _, _ in nominal if code not in state.accounts)
    if retained is not None:
        beside = {f"{retained}-{currency}" for _, currency, _ in nominal}
        needs.codes.update(code for code in (retained, *beside) if code not in state.accounts)


async def load_accounts(connection: Connection, state: LedgerState, codes: set[str], acceptable: set[int]) -> bool:
    """Brings the accounts in, and the head into a state that has none yet.

    False, and nothing brought in, where the ledger is at none of the acceptable sequences.
    """
    head, accounts = await store.load_accounts(connection, state.ledger.no, sorted(codes))
    if not state.is_read:
        state.begin(head.epoch, head.sequence, head.hash, head.recorded_at, head.next_account_no, head.closed)
    elif head.sequence not in acceptable:
        return False
    for account in accounts:
        state.accounts[account.code] = account
    return True


async def load_holds(connection: Connection, state: LedgerState, needs: Needs, acceptable: set[int]) -> bool:
    """Brings the holds in and asks for their accounts; False where the ledger is at no acceptable sequence."""
    sequence, holds = await store.load_holds(connection, state.ledger.no, list(needs.holds))
    if state.is_read and sequence not in acceptable:
        return False
    state.holds.update(holds)
    for hold in holds.values():
        needs.codes.update(line.account for line in hold.hold_lines if line.account not in state.accounts)
    return True
