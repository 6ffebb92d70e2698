"""Credit notes: any split of an invoice into them totals the invoice exactly, row by row and line by line.

The k-th note's tax of a row is round(cumulative credited base x rate) less what is credited already, so rounding never
piles up; the note that takes the last of a row takes what is left of its tax. (Where prices include tax, the same by
line and by the line's own part of the tax: what was sold for 90.00 goes back for 90.00.) By lines, a note names what it
credits of each line's net, or how many units, or all that is left. By amount, a gross sum is spread over the groups of
lines with the same taxes by what is left of them, and the tax is the one inside the cumulative gross.
Nothing is stored here: what was credited before comes in, oldest first or in any order. Amounts are minor units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from libs.common.errors import Fault, Rejection
from libs.common.money import Rounding, round_ratio, spread
from services.invoicing.arithmetic import (
    GROSS_POLICY,
    LineTotal,
    Row,
    TaxTotal,
    Totals,
    gross_factor,
    inside,
    row_of,
    tax_weights,
)
from services.invoicing.drafts import PRICE_DECIMALS_MAX, first_of, number_findings, text
from services.invoicing.rejections import reject

_HALF_UP = Rounding.HALF_UP


@dataclass(frozen=True, slots=True)
class CreditWish:
    """What is to be credited of the invoice's line at `line` (from 0): so much of its taxable net, or so many of its
    units, or, with neither, all that is left."""

    line: int
    net: int | None = None
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CreditLine:
    """What a note credits of one line; `taxes` in the order of the line's taxes."""

    line: int
    net: int
    taxes: tuple[int, ...]
    quantity: Decimal | None = None

    @property
    def tax(self) -> int:
        return sum(self.taxes)


@dataclass(frozen=True, slots=True)
class CreditTotals:
    """A credit note added up: net + tax + rounding = total, all as positive as the invoice's."""

    lines: tuple[CreditLine, ...]
    taxes: tuple[TaxTotal, ...]
    net: int
    tax: int
    rounding: int
    total: int


@dataclass(slots=True)
class _Left:
    """What no note has credited yet, by line (and its taxes), and what the notes took of each row of tax."""

    net: list[int]
    taxes: list[list[int]]
    rounding: int
    credited: dict[Row, tuple[int, int]]

    @property
    def goods(self) -> int:
        return sum(self.net) + sum(map(sum, self.taxes))

    def gross(self, places: Sequence[int]) -> int:
        return sum(self.net[place] + sum(self.taxes[place]) for place in places)


def credit_lines(
    invoice: Totals, credited: Sequence[CreditTotals], lines: Sequence[CreditWish]
) -> CreditTotals | Rejection:
    """The note that credits these lines of the invoice after the notes `credited`."""
    left = _left(invoice, credited)
    nets = _wished(invoice, credited, left, lines)
    if isinstance(nets, Rejection):
        return nets
    taxes = _taxes_on(invoice, left, nets)
    quantities = {wish.line: wish.quantity for wish in lines}
    return _note(
        invoice, left, [CreditLine(place, net, taxes[place], quantities[place]) for place, net in nets.items()]
    )


def credit_amount(invoice: Totals, credited: Sequence[CreditTotals], amount: int) -> CreditTotals | Rejection:
    """The note of exactly this total (with tax) after the notes `credited`."""
    left = _left(invoice, credited)
    if amount <= 0:
        return reject("amount-not-positive", errors=[Fault("/amount", f"is {text(amount, invoice.currency)}")])
    if amount > left.goods + left.rounding:
        return exceeds(invoice, amount, left.goods + left.rounding, "/amount")
    if amount == left.goods + left.rounding:
        return credit_rest(invoice, credited)
    goods = min(amount, left.goods)
    groups = _groups(invoice) if goods else {}
    weights = [max(left.gross(places), 0) for places in groups.values()]
    found: list[CreditLine] = []
    for (rows, places), gross in zip(groups.items(), spread(goods, weights) if goods else (), strict=True):
        if gross:
            found += _of_group(invoice, left, rows, places, gross)
    return _note(invoice, left, sorted(found, key=lambda line: line.line), rounding=amount - goods)


def credit_rest(invoice: Totals, credited: Sequence[CreditTotals]) -> CreditTotals | Rejection:
    """The note that takes all that is left of the invoice."""
    left = _left(invoice, credited)
    lines = [
        CreditLine(place, net, tuple(taxes))
        for place, (net, taxes) in enumerate(zip(left.net, left.taxes, strict=True))
        if net or any(taxes)
    ]
    return _note(invoice, left, lines)


def _left(invoice: Totals, credited: Sequence[CreditTotals]) -> _Left:
    left = _Left(
        [line.taxable for line in invoice.lines],
        [list(line.taxes) for line in invoice.lines],
        invoice.rounding - sum(note.rounding for note in credited),
        {row_of(row.terms): (0, 0) for row in invoice.taxes},
    )
    for note in credited:
        for line in note.lines:
            left.net[line.line] -= line.net
            for number, amount in enumerate(line.taxes):
                left.taxes[line.line][number] -= amount
        for row in note.taxes:
            base, amount = left.credited[row_of(row.terms)]
            left.credited[row_of(row.terms)] = base + row.base, amount + row.amount
    return left


def _wished(
    invoice: Totals, credited: Sequence[CreditTotals], left: _Left, lines: Sequence[CreditWish]
) -> dict[int, int] | Rejection:
    """The net of each line that is wished, by its place in the invoice."""
    if not lines:
        return reject("no-lines", errors=[Fault("/lines", "is empty")])
    nets: dict[int, int] = {}
    for number, wish in enumerate(lines):
        at = f"/lines/{number}"
        if not 0 <= wish.line < len(invoice.lines):
            return reject(
                "unknown-invoice-line", errors=[Fault(f"{at}/line", f"is {wish.line}")], lines=len(invoice.lines)
            )
        if wish.line in nets:
            return reject("line-named-twice", errors=[Fault(f"{at}/line", f"{wish.line} is named before")])
        if unkept := first_of(list(number_findings(wish.quantity, PRICE_DECIMALS_MAX, f"{at}/quantity"))):
            return unkept
        open_net = left.net[wish.line]
        net = _net_of(invoice.lines[wish.line], open_net, _units(credited, wish.line), wish)
        if net * open_net < 0:
            return reject("amount-not-positive", errors=[Fault(at, "goes the other way than its line")])
        if abs(net) > abs(open_net):
            return exceeds(invoice, net, open_net, at)
        nets[wish.line] = net
    return nets


def _units(credited: Sequence[CreditTotals], place: int) -> tuple[Decimal, int]:
    """How many units of a line the notes credited that say so, and their net."""
    said = [line for note in credited for line in note.lines if line.line == place and line.quantity is not None]
    return sum((line.quantity for line in said if line.quantity is not None), Decimal(0)), sum(
        line.net for line in said
    )


def _net_of(line: LineTotal, open_net: int, units: tuple[Decimal, int], wish: CreditWish) -> int:
    if wish.quantity is None or not line.draft.quantity:
        return open_net if wish.net is None else wish.net
    before, net_before = units
    so_far = before + wish.quantity
    if so_far == line.draft.quantity:
        return open_net
    up, down = so_far.as_integer_ratio()
    whole_up, whole_down = line.draft.quantity.as_integer_ratio()
    sign = -1 if whole_up < 0 else 1
    return round_ratio(line.taxable * up * whole_down * sign, down * whole_up * sign, _HALF_UP) - net_before


def _taxes_on(invoice: Totals, left: _Left, nets: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """The taxes on these nets: of each row the cumulative tax less what is credited; taxes on tax after the others."""
    if invoice.policy == GROSS_POLICY:
        return {place: _shares_of(invoice.lines[place], left, place, net) for place, net in nets.items()}
    taxes = {place: [0] * len(invoice.lines[place].taxes) for place in nets}
    rows: dict[Row, list[tuple[int, int]]] = {}
    for place in nets:
        for number, terms in enumerate(invoice.lines[place].draft.taxes):
            rows.setdefault(row_of(terms), []).append((place, number))
    for row, members in sorted(rows.items(), key=lambda each: each[0][3]):
        bases = [nets[place] + (sum(taxes[place]) if row[3] else 0) for place, _ in members]
        amount = _row_amount(invoice, left, row, sum(bases), _is_finished(invoice, left, nets, row))
        for (place, number), part in zip(members, _by_rate(amount, bases, row[1]), strict=True):
            taxes[place][number] = part
    return {place: tuple(of_line) for place, of_line in taxes.items()}


def _shares_of(line: LineTotal, left: _Left, place: int, net: int) -> tuple[int, ...]:
    """With prices including tax a line goes back at what was paid for it: each of its taxes by its part of the net."""
    if net == left.net[place]:
        return tuple(left.taxes[place])
    so_far = line.taxable - left.net[place] + net
    found = []
    for whole, open_tax in zip(line.taxes, left.taxes[place], strict=True):
        share = round_ratio(abs(whole) * abs(so_far), abs(line.taxable), _HALF_UP)
        more = share - abs(whole - open_tax)
        found.append(max(0, min(more, abs(open_tax))) * (-1 if whole < 0 else 1))
    return tuple(found)


def _row_amount(invoice: Totals, left: _Left, row: Row, base: int, is_finished: bool) -> int:
    whole = next(each for each in invoice.taxes if row_of(each.terms) == row)
    base_before, amount_before = left.credited[row]
    if is_finished:
        return whole.amount - amount_before
    up, down = row[1].as_integer_ratio()
    so_far = round_ratio((base_before + base) * up, down * 100, _HALF_UP)
    if all(line.taxable >= 0 for line in invoice.lines):
        so_far = max(min(so_far, whole.amount), amount_before)
    return so_far - amount_before


def _is_finished(invoice: Totals, left: _Left, nets: dict[int, int], row: Row) -> bool:
    """Whether these nets are the last of every line of the row."""
    return all(
        left.net[place] == nets.get(place, 0)
        for place, line in enumerate(invoice.lines)
        if any(row_of(terms) == row for terms in line.draft.taxes)
    )


def _by_rate(total: int, bases: list[int], rate: Decimal) -> list[int]:
    """`total` over lines, each next to its base x rate; where the total is further off, all carry it alike."""
    up, down = rate.as_integer_ratio()
    parts, rests = zip(*(divmod(base * up, down * 100) for base in bases), strict=True)
    each, left = divmod(total - sum(parts), len(parts))
    extra = set(sorted(range(len(parts)), key=lambda place: -rests[place])[:left])
    return [part + each + (place in extra) for place, part in enumerate(parts)]


def _by_left(total: int, left: list[int]) -> list[int]:
    """`total` over what is left of each, never more than that where the total is not."""
    weights = [max(amount, 0) for amount in left]
    return spread(total, weights if any(weights) else [1] * len(left))


def _groups(invoice: Totals) -> dict[tuple[Row, ...], list[int]]:
    groups: dict[tuple[Row, ...], list[int]] = {}
    for place, line in enumerate(invoice.lines):
        groups.setdefault(tuple(row_of(terms) for terms in line.draft.taxes), []).append(place)
    return groups


def _of_group(invoice: Totals, left: _Left, rows: tuple[Row, ...], places: list[int], gross: int) -> list[CreditLine]:
    """`gross` credited of the lines with these taxes: net and taxes each spread by what is left of them."""
    up, down = gross_factor(rows)
    net_left = sum(left.net[place] for place in places)
    tax_left = left.gross(places) - net_left
    whole_gross = sum(invoice.lines[place].taxable + invoice.lines[place].tax for place in places)
    whole_tax = sum(invoice.lines[place].tax for place in places)
    so_far = whole_gross - left.gross(places) + gross
    tax = inside(so_far, up, down) - (whole_tax - tax_left)
    tax = max(0, gross - net_left, min(tax, gross, tax_left))
    nets = _by_left(gross - tax, [left.net[place] for place in places])
    weights = [max(0, sum(left.taxes[place][number] for place in places)) for number in range(len(rows))]
    of_rows = spread(tax, weights if any(weights) else [weight or 1 for weight in tax_weights(rows)])
    columns = [
        _by_left(amount, [left.taxes[place][number] for place in places]) for number, amount in enumerate(of_rows)
    ]
    return [
        CreditLine(place, net, tuple(column[at] for column in columns))
        for at, (place, net) in enumerate(zip(places, nets, strict=True))
        if net or any(column[at] for column in columns)
    ]


def _note(
    invoice: Totals, left: _Left, lines: list[CreditLine], rounding: int | None = None
) -> CreditTotals | Rejection:
    """The note of these lines. The one that takes the last takes the cash rounding too, unless it says how much."""
    net, tax = sum(line.net for line in lines), sum(line.tax for line in lines)
    over = net + tax - (left.goods + left.rounding)
    if rounding is None:
        nets = {line.line: line.net for line in lines}
        is_last = net + tax == left.goods and all(nets.get(place, 0) == each for place, each in enumerate(left.net))
        rounding = left.rounding if is_last else -max(over, 0)
        if not is_last and over > max(-left.rounding, 0):
            return exceeds(invoice, net + tax, left.goods + left.rounding, "/lines")
    if not rounding and not any(line.net or any(line.taxes) for line in lines):
        return exceeds(invoice, 0, left.goods + left.rounding, "")
    if net + tax + rounding < 0:
        return reject("total-negative", errors=[Fault("/lines", "add up to less than zero")])
    return CreditTotals(tuple(lines), _rows(invoice, lines), net, tax, rounding, net + tax + rounding)


def _rows(invoice: Totals, lines: list[CreditLine]) -> tuple[TaxTotal, ...]:
    sums: dict[Row, tuple[int, int]] = {}
    for line in lines:
        for terms, amount in zip(invoice.lines[line.line].draft.taxes, line.taxes, strict=True):
            base_before, amount_before = sums.get(row_of(terms), (0, 0))
            base = line.net + (line.tax - amount if terms.compound else 0)
            sums[row_of(terms)] = base_before + base, amount_before + amount
    return tuple(TaxTotal(row.terms, *sums[row_of(row.terms)]) for row in invoice.taxes if row_of(row.terms) in sums)


def exceeds(invoice: Totals, wished: int, left: int, pointer: str) -> Rejection:
    """More is to be credited than is left."""
    said, there = text(wished, invoice.currency), text(left, invoice.currency)
    return reject(
        "credit-exceeds-invoice",
        f"Left is {there} {invoice.currency.code}.",
        [Fault(pointer, f"is {said}, left is {there}" if wished else f"left is {there}")],
        currency=invoice.currency.code,
        wished=said,
        left=there,
    )
