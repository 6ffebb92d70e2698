"""The rules of closing: where an entry may still be dated, what may be closed or reopened next, and a year's end. Pure.

A ledger is closed through a day in three ways (`state.Closed`): by months, for everybody; softly by months, for all but
those who may adjust; by days, for all but those who may backdate. Days never open again: what is posted into a closed
day, in a month that is open or was reopened, is a new version of that day's balances. Each step gives the records it
becomes, none where the books stand so already.

A year's end carries income and expense to retained earnings, currency by currency, in entries of at most 1,000 lines.
They come before the record that closes the year, and their reversals after the one that reopens it: at its own place in
the log no entry is dated in a closed month. They are the ledger's own: no freeze, control or overdraft stops them.
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

from libs.common.errors import Fault, Rejection
from libs.common.journal import LINES_MAX, OTHER_SIDE, EntryRequest, Origin, Side
from libs.common.money import BALANCE_MAX, to_minor
from libs.common.periods import ADJUST, BACKDATE, CLOSE, REOPEN, DayClose, FiscalCalendar, PeriodStep, YearStep
from services.ledger.account_records import AccountOpened
from services.ledger.closing_records import PeriodMoved
from services.ledger.records import EntryLine, EntryPosted, Record
from services.ledger.rejections import reject
from services.ledger.state import Account, AccountSheet, Closed, EntryToReverse, LedgerState

Step = DayClose | PeriodStep | YearStep
STEPS = (DayClose, PeriodStep, YearStep)


# --- where an entry may be dated --------------------------------------------------------------------------------------


class Placed(NamedTuple):
    """The day an entry is dated, the scopes it needed for that, and whether the day was closed already."""

    effective_on: date
    permits: tuple[str, ...]
    backdated: bool


def place_entry(closed: Closed, request: EntryRequest, today: date, permits: frozenset[str]) -> Placed | Rejection:
    """The day that is asked for, the first open one where the request says so, or what is closed."""
    effective_on = request.effective_on or today
    last = closed.last
    if request.kind != "closing" and (last is None or effective_on > last):
        return Placed(effective_on, (), False)
    if request.kind == "closing" and ADJUST not in permits:
        return reject("closing-kind-not-permitted", errors=[Fault("/kind", "is the year end's")])
    needed = {ADJUST} if request.kind == "closing" else set()
    refused = _closed_at(closed, effective_on, permits)
    if refused is not None:
        if request.if_closed == "reject":
            return refused
        assert last is not None, "nothing is refused where nothing is closed"
        return Placed(last + timedelta(days=1), tuple(needed), False)
    if closed.softly is not None and effective_on <= closed.softly:
        needed.add(ADJUST)
    elif closed.days is not None and effective_on <= closed.days:
        needed.add(BACKDATE)
    return Placed(effective_on, tuple(sorted(needed)), closed.days is not None and effective_on <= closed.days)


def _closed_at(closed: Closed, effective_on: date, permits: frozenset[str]) -> Rejection | None:
    days, softly, months = closed
    if months is not None and effective_on <= months:
        return _closed("period-closed", effective_on, months, closed, soft=False)
    if softly is not None and effective_on <= softly:
        return None if ADJUST in permits else _closed("period-closed", effective_on, softly, closed, soft=True)
    if days is not None and effective_on <= days and BACKDATE not in permits:
        return _closed("day-closed", effective_on, days, closed)
    return None


def _closed(code: str, effective_on: date, through: date, closed: Closed, **facts: bool) -> Rejection:
    last = closed.last
    assert last is not None, "something is closed"
    how = "closed softly" if facts.get("soft") else "closed"
    return reject(
        code,
        f"The books are {how} through {through}.",
        [Fault("/effective_on", f"is in what is {how}")],
        effective_on=effective_on.isoformat(),
        closed_through=through.isoformat(),
        next_open_day=(last + timedelta(days=1)).isoformat(),
        **facts,
    )


# --- days and months --------------------------------------------------------------------------------------------------


def take_step(state: LedgerState, step: Step, today: date, new_id: UUID) -> list[Record] | Rejection:
    """The records of a step; none where the books stand so already. `today` is the ledger's accounting day."""
    match step:
        case DayClose():
            return _close_day(state.closed, step.day, today)
        case PeriodStep(step="reopen"):
            return _reopen_month(state, step)
        case PeriodStep():
            return _close_month(state, step, today)
        case YearStep(step="close"):
            return _close_year(state, step, today, new_id)
        case YearStep():
            return _reopen_year(state, step, new_id)


def _close_day(closed: Closed, day: date, today: date) -> list[Record] | Rejection:
    if closed.days is not None and day <= closed.days:
        return []
    if day >= today:
        return _not_ended(day.isoformat(), day, today)
    return [PeriodMoved(type="day-closed", period=day.isoformat(), closed=closed._replace(days=day))]


def _close_month(state: LedgerState, step: PeriodStep, today: date) -> list[Record] | Rejection:
    calendar, closed = FiscalCalendar(state.ledger.fiscal_year_start), state.closed
    month = calendar.month_named(step.period)
    ends = calendar.ends(month)
    reached = closed.months if step.step == "close" else closed.softly
    if reached is not None and ends <= reached:
        return []
    if ends >= today:
        return _not_ended(step.period, ends, today)
    expected = _following(calendar, reached, state.closing.first_on)
    if month != expected:
        return _out_of_order(step.period, calendar.name(expected) if expected is not None else None)
    if step.step == "soft-close":
        after = closed._replace(softly=ends)
        return [PeriodMoved(type="period-soft-closed", period=step.period, closed=after, reason=step.reason)]
    return [PeriodMoved(type="period-closed", period=step.period, closed=_whole(closed, ends), reason=step.reason)]


def _whole(closed: Closed, ends: date) -> Closed:
    """A month is closed with its days."""
    return Closed(max(closed.days or ends, ends), max(closed.softly or ends, ends), ends)


def _following(calendar: FiscalCalendar, reached: date | None, first_on: date | None) -> int | None:
    """The month to be closed next: the one after the last, else that of the earliest entry."""
    if reached is not None:
        return calendar.month_of(reached) + 1
    return calendar.month_of(first_on) if first_on is not None else None


def _reopen_month(state: LedgerState, step: PeriodStep) -> list[Record] | Rejection:
    calendar = FiscalCalendar(state.ledger.fiscal_year_start)
    month, last = calendar.month_named(step.period), _last_month(calendar, state.closed)
    if month != last:
        return _out_of_order(step.period, calendar.name(last) if last is not None else None)
    year = calendar.year_of(month)
    if year in state.closing.closed_years and month == calendar.last_month(year):
        return _out_of_order(step.period, str(year), f"The year {year} is closed: reopen that.")
    after = _reopened(state, calendar, month)
    return [PeriodMoved(type="period-reopened", period=step.period, closed=after, reason=step.reason)]


def _last_month(calendar: FiscalCalendar, closed: Closed) -> int | None:
    """The last month that is closed, softly or for good."""
    return calendar.month_of(closed.softly) if closed.softly is not None else None


def _reopened(state: LedgerState, calendar: FiscalCalendar, month: int) -> Closed:
    """Closed through the month before, or not at all where that has no entries. Its days stay closed."""
    closed, first_on = state.closed, state.closing.first_on
    before = calendar.ends(month - 1) if first_on is not None and calendar.month_of(first_on) < month else None
    if closed.months == calendar.ends(month):
        return closed._replace(softly=before, months=before)
    return closed._replace(softly=before)


def _not_ended(period: str, ends: date, today: date) -> Rejection:
    return reject(
        "period-not-ended",
        f"The ledger's accounting day is {today}, and {period} ends with {ends}.",
        period=period,
        ends_on=ends.isoformat(),
        accounting_day=today.isoformat(),
    )


def _out_of_order(period: str, expected: str | None, detail: str = "") -> Rejection:
    detail = detail or (f"The next is {expected}." if expected is not None else "There is none.")
    return reject("period-out-of-order", detail, period=period, expected=expected)


# --- a year's end -----------------------------------------------------------------------------------------------------


def _close_year(state: LedgerState, step: YearStep, today: date, new_id: UUID) -> list[Record] | Rejection:
    calendar, closed = FiscalCalendar(state.ledger.fiscal_year_start), state.closed
    if step.year in state.closing.closed_years:
        return []
    last = calendar.last_month(step.year)
    ends = calendar.ends(last)
    if ends >= today:
        return _not_ended(str(step.year), ends, today)
    expected = _following(calendar, closed.months, state.closing.first_on)
    if expected != last:
        if expected is not None and expected > last:
            again = f"Its last month is closed already: reopen {calendar.name(last)}, the year's end closes it again."
            return _out_of_order(str(step.year), calendar.name(expected - 1), again)
        return _out_of_order(str(step.year), calendar.name(expected) if expected is not None else None)
    year_end = _YearEnd(state, ends, f"year/{step.year}", new_id)
    records = year_end.carry(step.retained_earnings or state.ledger.retained_earnings, step.year)
    if isinstance(records, Rejection):
        return records
    entries = [record.id for record in records if isinstance(record, EntryPosted)]
    after = _whole(closed, ends)
    return [
        *records,
        PeriodMoved(type="year-closed", period=str(step.year), closed=after, reason=step.reason, entries=entries),
    ]


def _reopen_year(state: LedgerState, step: YearStep, new_id: UUID) -> list[Record] | Rejection:
    calendar, years = FiscalCalendar(state.ledger.fiscal_year_start), state.closing.closed_years
    if step.year not in years:
        return _out_of_order(str(step.year), str(max(years)) if years else None, f"{step.year} is not closed.")
    last = calendar.last_month(step.year)
    if _last_month(calendar, state.closed) != last:
        expected = _last_month(calendar, state.closed)
        return _out_of_order(str(step.year), calendar.name(expected) if expected is not None else None)
    year_end = _YearEnd(state, calendar.ends(last), f"year/{step.year}", new_id)
    taken_back = [state.to_reverse[id_] for id_ in years[step.year]]
    reversals = year_end.take_back([entry for entry in taken_back if entry.known.reversed_by is None])
    if isinstance(reversals, Rejection):
        return reversals
    moved = PeriodMoved(
        type="year-reopened",
        period=str(step.year),
        closed=_reopened(state, calendar, last),
        reason=step.reason,
        entries=[entry.reverses for entry in reversals if entry.reverses is not None],
    )
    return [moved, *reversals]


class _YearEnd:
    """Entries of one year's end: each moves the sums that the ones before it leave, and the state stays as it is."""

    def __init__(self, state: LedgerState, ends: date, document: str, new_id: UUID) -> None:
        self._state = state
        self._ends = ends
        self._origin = Origin("ledger", document)
        self._new_id = new_id
        self._made = 0
        self._sums: dict[str, tuple[int, int]] = {}
        self._opened: dict[str, AccountOpened] = {}

    def carry(self, retained: str | None, year: int) -> list[Record] | Rejection:
        """Entries that bring the nominal accounts to zero as of the year's end, after the accounts opened for them."""
        by_currency: dict[str, list[tuple[Account, int]]] = {}
        for code, balance in self._state.closing.nominal:
            account = self._state.accounts[code]
            by_currency.setdefault(account.currency or "", []).append((account, balance))
        entries: list[Record] = []
        for currency, nominal in sorted(by_currency.items()):
            equity = self._retained(retained, currency, nominal[0][0].exponent)
            if isinstance(equity, Rejection):
                return equity
            for some in _slices(nominal, LINES_MAX - 1):
                lines = [_line(account, -balance) for account, balance in some]
                if carried := sum(balance for _, balance in some):
                    lines.append(_line(equity, carried))
                entry = self._entry(lines, f"Year end {year}, {currency}", CLOSE, None)
                if isinstance(entry, Rejection):
                    return entry
                entries.append(entry)
        return [*self._opened.values(), *entries]

    def take_back(self, targets: Iterable[EntryToReverse]) -> list[EntryPosted] | Rejection:
        """The reversals of what closed a year."""
        entries: list[EntryPosted] = []
        for target in targets:
            lines = []
            for line in target.lines:
                account = self._state.accounts[line.account]
                amount = to_minor(line.amount, account.exponent)
                assert isinstance(amount, int), "it was posted"
                lines.append(EntryLine(account, OTHER_SIDE[line.side], amount, line.party, None))
            entry = self._entry(lines, f"Reversal of {target.description}", REOPEN, target.known.id)
            if isinstance(entry, Rejection):
                return entry
            entries.append(entry)
        return entries

    def _retained(self, code: str | None, currency: str, exponent: int) -> Account | Rejection:
        """The account that takes a currency's result: the named one, or one beside it in that currency."""
        if code is None:
            return reject("retained-earnings-missing", "The ledger names none.", account=None)
        named = self._state.accounts.get(code)
        if named is None or named.type != "equity" or named.summary:
            return reject("retained-earnings-missing", f"{code} is none.", account=code)
        if named.currency == currency:
            return named
        beside = f"{code}-{currency}"
        account = self._state.accounts.get(beside)
        if account is not None and (account.type != "equity" or account.currency != currency):
            return reject("retained-earnings-missing", f"{beside} is none in {currency}.", account=beside)
        if account is None:
            account = self._open(named, beside, currency, exponent)
        return account

    def _open(self, named: Account, code: str, currency: str, exponent: int) -> Account:
        account = Account(
            no=self._state.next_account_no + len(self._opened),
            id=uuid5(self._state.ledger.id, code),
            code=code,
            type="equity",
            normal_side=named.normal_side,
            currency=currency,
            exponent=exponent,
            summary=False,
            control_owner=None,
            overdraft_policy="unlimited",
            overdraft_limit=0,
        )
        self._opened[code] = AccountOpened(account, AccountSheet(name=f"{named.code} in {currency}", monetary=False))
        return account

    def _entry(
        self, lines: list[EntryLine], description: str, permit: str, reverses: UUID | None
    ) -> EntryPosted | Rejection:
        moved = self._move(lines)
        if any(max(debits, credits_) > BALANCE_MAX for _, debits, credits_ in moved):
            return reject("amount-out-of-range")
        id_ = uuid5(self._new_id, str(self._made)) if self._made else self._new_id
        self._made += 1
        closed = self._state.closed
        return EntryPosted(
            id=id_,
            kind="closing",
            effective_on=self._ends,
            value_on=self._ends,
            description=description[:2_000],
            external_id=None,
            origin=self._origin,
            reverses=reverses,
            rates=[],
            metadata={},
            entry_lines=lines,
            moved=moved,
            permits=(permit,),
            backdated=closed.days is not None and self._ends <= closed.days,
        )

    def _move(self, lines: list[EntryLine]) -> list[tuple[Account, int, int]]:
        touched: dict[str, Account] = {}
        for line in lines:
            account = touched.setdefault(line.account.code, line.account)
            debits, credits_ = self._sums.get(account.code, (account.debits, account.credits))
            if line.side == "debit":
                debits += line.amount
            else:
                credits_ += line.amount
            self._sums[account.code] = debits, credits_
            line.balance_after = debits - credits_ if account.normal_side == "debit" else credits_ - debits
        return [(account, *self._sums[code]) for code, account in touched.items()]


def _line(account: Account, debit: int) -> EntryLine:
    side: Side = "debit" if debit > 0 else "credit"
    return EntryLine(account, side, abs(debit), None, None)


def _slices(nominal: list[tuple[Account, int]], size: int) -> Iterator[list[tuple[Account, int]]]:
    for start in range(0, len(nominal), size):
        yield nominal[start : start + size]
