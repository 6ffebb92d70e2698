"""The trial balance: turnover and balance of every account, by code, down to a level of the tree.

The figures come from up to four readings of the same books at one sequence: the closing one, and where asked the
opening one (all before `from`), the movement (from `from` to `to`) and the comparison. Every account is counted once:
below the level its figures stand in its ancestor's row of that currency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.money import to_text
from services.ledger.account_sum import AccountSum, add_up
from services.ledger.reports.answers import (
    HeadingAnswer,
    HeadingTotal,
    Stated,
    TieOut,
    TrialBalance,
    TrialBalanceRow,
    TrialBalanceTotal,
)
from services.ledger.reports.tree import NOTHING_HELD, Amounts, Branch, at_level, grow, on_side, total_of

COLUMNS = ("account", "name", "type", "currency", "normal_side", "heading", "level", "debits", "credits", "balance")
MOVEMENT_COLUMNS = ("opening", "movement", "closing")
COMPARE_COLUMNS = ("compare_debits", "compare_credits", "compare_balance")
AMOUNT_COLUMNS = frozenset({"debits", "credits", "balance", *MOVEMENT_COLUMNS, *COMPARE_COLUMNS})


@dataclass(frozen=True, slots=True)
class Readings:
    """The same accounts read up to `to`, before `from`, between them, and up to the day to compare with.

    `opening` and `movement` are both there or both None.
    """

    closing: Sequence[AccountSum]
    opening: Sequence[AccountSum] | None = None
    movement: Sequence[AccountSum] | None = None
    compare: Sequence[AccountSum] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """Which rows are wanted: one currency or all, rows of nothing or not, how deep."""

    currency: str | None = None
    zero: bool = True
    level: int | None = None


def trial_balance(stated: Stated, compare: str | None, readings: Readings, shown: Shown) -> TrialBalance:
    """The whole report; `balanced` says that debits are credits in every currency."""
    only = shown.currency
    rows = [row for row in _rows(readings, shown) if only is None or row["currency"] == only]
    exponents = {each.currency: each.exponent for each in readings.closing if each.currency is not None}
    turnover = readings.closing if readings.movement is None else readings.movement
    totals = {code: sums for code, sums in add_up(turnover).items() if only is None or code == only}
    return {
        **stated,
        "compare": compare,
        "rows": rows,
        "headings": headings([each for each in turnover if only is None or each.currency == only]),
        "totals": totals_of(totals, exponents),
        "balanced": all(debits == credits_ for debits, credits_ in totals.values()),
        "tie_outs": [tie for tie in _tie_outs(readings, exponents) if only is None or tie["currency"] == only],
    }


def totals_of(totals: dict[str, tuple[int, int]], exponents: dict[str, int]) -> list[TrialBalanceTotal]:
    """Debits and credits by currency as text."""
    return [
        {"currency": code, "debits": to_text(debits, exponents[code]), "credits": to_text(credits_, exponents[code])}
        for code, (debits, credits_) in totals.items()
    ]


def headings(accounts: Sequence[AccountSum]) -> list[HeadingTotal]:
    """Sums by heading, in its order, and currency; accounts without one come last."""
    groups: dict[tuple[bool, tuple[int, str], str], Amounts] = {}
    for account in accounts:
        if account.currency is not None:
            key = (account.heading is None, account.heading or (0, ""), account.currency)
            before = groups.get(key, Amounts(account.exponent))
            groups[key] = before.plus(Amounts(account.exponent, account.debits, account.credits))
    if all(without for without, _, _ in groups):
        return []
    return [
        {
            "heading": None if without else {"number": number, "name": name},
            "currency": currency,
            "debits": to_text(sums.debits, sums.exponent),
            "credits": to_text(sums.credits, sums.exponent),
        }
        for (without, (number, name), currency), sums in sorted(groups.items())
    ]


def debits_equal_credits(totals: dict[str, tuple[int, int]], exponents: dict[str, int]) -> list[TieOut]:
    """The first tie-out of every report."""
    return [
        tie_out("debits-equal-credits", code, exponents[code], debits, credits_)
        for code, (debits, credits_) in totals.items()
    ]


def tie_out(name: str, currency: str, exponent: int, left: int, right: int) -> TieOut:
    """Two figures that must be equal."""
    return {
        "name": name,
        "currency": currency,
        "left": to_text(left, exponent),
        "right": to_text(right, exponent),
        "ok": left == right,
    }


def _rows(readings: Readings, shown: Shown) -> list[TrialBalanceRow]:
    parts = [readings.closing, readings.opening, readings.movement, readings.compare]
    by_no = [{each.no: each for each in part} if part is not None else None for part in parts]
    rows = []
    for branch, members in at_level(grow(readings.closing), shown.level):
        closing, opening, movement, compare = (
            total_of((part[member.no] for member in members), {}) if part is not None else None for part in by_no
        )
        assert closing is not None
        for currency, sums in closing.items():
            columns = [None if part is None else part[currency] for part in (opening, movement, compare)]
            if shown.zero or any(each.debits or each.credits for each in (sums, *columns) if each is not None):
                rows.append(_row(branch, len(members) > 1, currency, sums, columns))
    return rows


def _row(
    branch: Branch, rolled_up: bool, currency: str, closing: Amounts, columns: Sequence[Amounts | None]
) -> TrialBalanceRow:
    opening, movement, compare = columns
    account, exponent = branch.account, closing.exponent

    def balance(sums: Amounts) -> str:
        return to_text(on_side(account.normal_side, sums.debits, sums.credits), exponent)

    turnover = closing if movement is None else movement
    assert turnover.held == NOTHING_HELD, "holds are no turnover"
    row: TrialBalanceRow = {
        "account": account.code,
        "name": account.name,
        "type": account.type,
        "currency": currency,
        "normal_side": account.normal_side,
        "heading": heading_answer(account.heading),
        "level": branch.level,
        "rolled_up": rolled_up,
        "debits": to_text(turnover.debits, exponent),
        "credits": to_text(turnover.credits, exponent),
        "balance": balance(closing),
    }
    if opening is not None and movement is not None:
        row["opening"], row["movement"], row["closing"] = balance(opening), balance(movement), balance(closing)
    if compare is not None:
        row["compare_debits"] = to_text(compare.debits, exponent)
        row["compare_credits"] = to_text(compare.credits, exponent)
        row["compare_balance"] = balance(compare)
    return row


def heading_answer(heading: tuple[int, str] | None) -> HeadingAnswer | None:
    """A heading as it is answered."""
    return None if heading is None else {"number": heading[0], "name": heading[1]}


def _tie_outs(readings: Readings, exponents: dict[str, int]) -> list[TieOut]:
    """Debits are credits; debit balances are credit balances; opening and movement, read apart, make the closing."""
    closing = add_up(readings.closing)
    ties = debits_equal_credits(closing, exponents)
    net: dict[str, tuple[int, int]] = {}
    for account in readings.closing:
        if account.currency is not None:
            debit, credit = net.get(account.currency, (0, 0))
            balance = account.debits - account.credits
            net[account.currency] = (debit + max(balance, 0), credit + max(-balance, 0))
    ties += [
        tie_out("debit-balances-equal-credit-balances", code, exponents[code], *sums)
        for code, sums in sorted(net.items())
    ]
    if readings.opening is not None and readings.movement is not None:
        ties += _same(readings.closing, [*readings.opening, *readings.movement], exponents)
    return ties


def _same(closing: Sequence[AccountSum], others: Sequence[AccountSum], exponents: dict[str, int]) -> list[TieOut]:
    """By currency the turnover up to the closing and of the others; ok where it is so for every single account."""
    summed = {account.no: [0, 0] for account in closing}
    for account in others:
        summed[account.no][0] += account.debits
        summed[account.no][1] += account.credits
    wrong = {each.currency for each in closing if summed[each.no] != [each.debits, each.credits]}
    left, ties = add_up(others), []
    for code, (debits, credits_) in add_up(closing).items():
        tie = tie_out("opening-and-movement-make-closing", code, exponents[code], sum(left[code]), debits + credits_)
        tie["ok"] = tie["ok"] and code not in wrong
        ties.append(tie)
    return ties
