"""Cash flow, direct: where money came from and went to, by the accounts on the other side of cash.

For each entry and currency the net movement of cash accounts is spread over the lines on the other side by largest
remainder, weighted by their amounts; what moves between cash accounts of one currency nets out. A line of a position
pair is looked through: its share goes on to the lines of the other currencies, weighted by what the entry's own pairs
say they are worth; where those are cash, it is an exchange between currencies.

The class is the counter account's `cash_flow_class`; without one it goes by type (`CLASS_OF_TYPE`), and the row says
which. opening + flows + exchange + FX effect = closing: untranslated the FX effect is nothing, since cash is counted in
its own currency; translated it is what holding cash gained or lost, because flows go at their day's rate and both ends
at the closing rate of their day.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from itertools import groupby
from math import lcm
from typing import Final, NamedTuple

from libs.common.journal import AccountType, CashFlowClass
from libs.common.money import Currency, spread
from services.ledger.account_sum import AccountSum
from services.ledger.accounts import PAIR_PREFIXES, pair_currency
from services.ledger.reports.sections import (
    CurrencyAnswer,
    Layout,
    Line,
    Part,
    Period,
    Worth,
    day_before,
    line,
    section,
    tie_outs,
)
from services.ledger.reports.translation import Translator, is_pair, rounded

CLASSES: Final[tuple[CashFlowClass, ...]] = ("operating", "investing", "financing")
CLASS_OF_TYPE: Final[Mapping[AccountType, CashFlowClass]] = {
    "asset": "operating",
    "liability": "operating",
    "equity": "financing",
    "income": "operating",
    "expense": "operating",
}
NOTE: Final = (
    "An account without a cash-flow class is operating, equity financing. Amounts are money in; entries between cash "
    "accounts of one currency net out."
)
EQUIVALENT: Final = PAIR_PREFIXES[1]


class CashLine(NamedTuple):
    """A line of an entry that touches cash; amounts are minor units of its account's currency."""

    sequence: int
    account_no: int
    debit: bool
    amount: int
    effective_on: date


class Flow(NamedTuple):
    """Money in (positive) or out of cash in a currency, on a day. No account: exchanged for another currency."""

    unit: Currency
    account_no: int | None
    day: date
    amount: int


class CashColumn(NamedTuple):
    """A column: its flows, and cash accounts' sums before its first day and through its last."""

    period: Period
    flows: Sequence[Flow]
    opening: Sequence[AccountSum]
    closing: Sequence[AccountSum]


def flows_of(lines: Iterable[CashLine], accounts: Mapping[int, AccountSum]) -> list[Flow]:
    """The flows of whole entries, added up by currency, account and day. `lines` are in the order of sequences."""
    sums: dict[tuple[Currency, int, date], int] = defaultdict(int)
    for _, entry in groupby(lines, key=lambda each: each.sequence):
        entry_lines = list(entry)
        for account_no, unit, amount in _entry_flows(entry_lines, accounts):
            sums[unit, -1 if account_no is None else account_no, entry_lines[0].effective_on] += amount
    return _flows(sums)


def added(one: Iterable[Flow], other: Iterable[Flow]) -> list[Flow]:
    """Flows of two pieces of the log together."""
    sums: dict[tuple[Currency, int, date], int] = defaultdict(int)
    for flow in (*one, *other):
        sums[flow.unit, -1 if flow.account_no is None else flow.account_no, flow.day] += flow.amount
    return _flows(sums)


def _flows(sums: Mapping[tuple[Currency, int, date], int]) -> list[Flow]:
    return [
        Flow(unit, None if no == -1 else no, day, amount) for (unit, no, day), amount in sorted(sums.items()) if amount
    ]


def _entry_flows(
    entry: Sequence[CashLine], accounts: Mapping[int, AccountSum]
) -> Iterable[tuple[int | None, Currency, int]]:
    """Counter account (None: another currency's cash), currency, and the cash that came in from it."""
    by_unit: dict[Currency, list[CashLine]] = {}
    for each in entry:
        by_unit.setdefault(_unit(accounts[each.account_no]), []).append(each)
    for unit, lines in by_unit.items():
        net = sum(each.amount if each.debit else -each.amount for each in lines if accounts[each.account_no].cash)
        if net == 0:
            continue
        others = [each for each in lines if not accounts[each.account_no].cash and each.debit == (net < 0)]
        assert others, "an entry balances in each currency"
        for each, share in zip(others, spread(net, [other.amount for other in others]), strict=True):
            if is_pair(accounts[each.account_no]):
                for account_no, part in _through_pair(entry, accounts, unit, share):
                    yield account_no, unit, part
            else:
                yield each.account_no, unit, share


def _through_pair(
    entry: Sequence[CashLine], accounts: Mapping[int, AccountSum], unit: Currency, share: int
) -> Iterable[tuple[int | None, int]]:
    """A share that went through a position pair, over the lines of the other currencies on its other side."""
    if share == 0:
        return
    worth_of_one = _ratios(entry, accounts)
    candidates = [
        (each, each.amount * worth_of_one.get(_unit(accounts[each.account_no]).code, Fraction(1)))
        for each in entry
        if _unit(accounts[each.account_no]) != unit
        and not is_pair(accounts[each.account_no])
        and each.debit == (share < 0)
    ]
    weighed = [(each, weight) for each, weight in candidates if weight]
    if not weighed:
        yield None, share
        return
    scale = lcm(*(weight.denominator for _, weight in weighed))
    parts = spread(share, [int(weight * scale) for _, weight in weighed])
    for (each, _), part in zip(weighed, parts, strict=True):
        yield None if accounts[each.account_no].cash else each.account_no, part


def _ratios(entry: Sequence[CashLine], accounts: Mapping[int, AccountSum]) -> dict[str, Fraction]:
    """Minor units of the functional currency for one of each foreign currency, by the entry's own pair lines."""
    positions: dict[str, int] = defaultdict(int)
    equivalents: dict[str, int] = defaultdict(int)
    for each in entry:
        account = accounts[each.account_no]
        if is_pair(account):
            currency = pair_currency(account.code)
            assert currency is not None
            side = equivalents if account.code.startswith(EQUIVALENT) else positions
            side[currency] += each.amount if each.debit else -each.amount
    return {
        currency: Fraction(abs(equivalents.get(currency, 0)), abs(amount))
        for currency, amount in positions.items()
        if amount
    }


def _unit(account: AccountSum) -> Currency:
    assert account.currency is not None, "an account with lines has a currency"
    return Currency(account.currency, account.exponent)


def class_of(account: AccountSum) -> tuple[CashFlowClass, str]:
    """The class of what goes to or comes from an account, and where it is from: the account or its type."""
    if account.cash_flow_class is not None:
        return account.cash_flow_class, "account"
    return CLASS_OF_TYPE[account.type], "type"


def untranslated(layout: Layout, columns: Sequence[CashColumn], only: str | None) -> list[CurrencyAnswer]:
    """One part for each currency of a cash account, in the order of their codes; `only` names one."""
    units = {_unit(each) for column in columns for each in column.closing if each.cash and each.currency is not None}
    parts = []
    for unit in sorted(unit for unit in units if only in (None, unit.code)):
        worths = [_by_account(column.flows, unit) for column in columns]
        ends = [[Worth(_cash(sums, unit)) for sums in (column.opening, column.closing)] for column in columns]
        parts.append(_part(layout, unit, columns, worths, ends, None))
    return parts


def _by_account(flows: Iterable[Flow], unit: Currency) -> dict[int | None, Worth]:
    sums: dict[int | None, int] = defaultdict(int)
    for flow in flows:
        if flow.unit == unit:
            sums[flow.account_no] += flow.amount
    return {account_no: Worth(amount) for account_no, amount in sums.items()}


def _cash(sums: Iterable[AccountSum], unit: Currency) -> int:
    return sum(each.debits - each.credits for each in sums if each.cash and each.currency == unit.code)


def translated(layout: Layout, columns: Sequence[CashColumn], translator: Translator) -> CurrencyAnswer:
    """The one part, in the target currency. Raises RateMissing."""
    worths: list[dict[int | None, Worth]] = []
    ends: list[list[Worth]] = []
    effects: list[int] = []
    for column in columns:
        assert column.period.since is not None, "a range has a beginning"
        days = day_before(column.period.since), column.period.through
        found: dict[int | None, Worth] = {}
        for flow in column.flows:
            before = found.get(flow.account_no, Worth(0))
            found[flow.account_no] = _add(translator, before, flow)
        worths.append(found)
        ends.append(
            [_held(translator, sums, day) for sums, day in zip((column.opening, column.closing), days, strict=True)]
        )
        effects.append(_effect(translator, column, days))
    return _part(layout, translator.target, columns, worths, ends, effects)


def _held(translator: Translator, sums: Iterable[AccountSum], day: date) -> Worth:
    """Cash as of a day at its rate, account by account."""
    worth = Worth(0)
    for each in sums:
        if each.cash and each.currency is not None and each.debits != each.credits:
            worth = _add(translator, worth, Flow(_unit(each), each.no, day, each.debits - each.credits))
    return worth


def _add(translator: Translator, before: Worth, flow: Flow) -> Worth:
    if flow.unit.code == translator.target.code:
        return Worth(before.amount + flow.amount, before.parts)
    part: Part = translator.part(flow.account_no, flow.unit, flow.amount, flow.day)
    return Worth(before.amount + part.worth, (*before.parts, part))


def _effect(translator: Translator, column: CashColumn, days: tuple[date, date]) -> int:
    """What rates did to cash held: openings and flows, each from its own rate to the last day's."""
    effect = Fraction(0)
    for each in column.opening:
        if each.cash and each.currency is not None:
            net, unit = each.debits - each.credits, _unit(each)
            effect += translator.exact(net, unit, days[1]) - translator.exact(net, unit, days[0])
    for flow in column.flows:
        at_end = translator.exact(flow.amount, flow.unit, days[1])
        effect += at_end - translator.exact(flow.amount, flow.unit, flow.day)
    return rounded(effect)


def _part(
    layout: Layout, unit: Currency, columns: Sequence[CashColumn], worths: Sequence[Mapping[int | None, Worth]],
    ends: Sequence[Sequence[Worth]], effects: Sequence[int] | None,
) -> CurrencyAnswer:  # fmt: skip
    classes = {no: class_of(account) for no, account in layout.accounts.items()}
    classed_by = {no: source for no, (_, source) in classes.items()}
    sections = [
        section(layout, name, 1, unit, [_of_class(column, name, classes) for column in worths], classed_by)
        for name in CLASSES
    ]
    exchanged = [column.get(None, Worth(0)).amount for column in worths]
    flows = [sum(amounts) for amounts in zip(exchanged, *(each.totals for each in sections), strict=True)]
    opening, closing = [each[0].amount for each in ends], [each[1].amount for each in ends]
    # Untranslated there is no rate in it, so that a difference shows in the tie-out and not on a line.
    fx = [0] * len(ends) if effects is None else [
        end - begin - flow for begin, flow, end in zip(opening, flows, closing, strict=True)
    ]  # fmt: skip
    lines = [
        Line("exchanged-between-currencies", exchanged, parts=[column.get(None, Worth(0)).parts for column in worths]),
        Line("opening-cash", opening, parts=[each[0].parts for each in ends]),
        Line("net-flows", flows),
        Line("fx-effect", fx),
        Line("closing-cash", closing, parts=[each[1].parts for each in ends]),
    ]
    periods = [column.period for column in columns]
    reached = [sum(amounts) for amounts in zip(opening, flows, fx, strict=True)]
    held = tie_outs("opening + flows + fx effect = closing", reached, closing, periods, unit)
    if effects is not None:
        pieces = sum(len(worth.parts) for column in worths for worth in column.values()) + 2 * len(layout.accounts)
        name = "fx effect = openings and flows at the last day's rate less at their own, to rounding"
        held += tie_outs(name, fx, effects, periods, unit, within=(pieces + 1) // 2)
    return {
        "currency": unit.code,
        "sections": [each.answer for each in sections],
        "lines": [line(layout, each, unit) for each in lines],
        "tie_outs": held,
    }


def _of_class(
    column: Mapping[int | None, Worth], name: CashFlowClass, classes: Mapping[int, tuple[CashFlowClass, str]]
) -> dict[int, Worth]:
    return {no: worth for no, worth in column.items() if no is not None and classes[no][0] == name}
