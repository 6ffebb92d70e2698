"""What an invoice adds up to: EN 16931's arithmetic in whole minor units, half-up, each sum rounded once.

Line: before_discount = quantity x price / base quantity; net = that less percent and allowance. Then per row of tax,
which is one (category, rate, name):

    prices without tax   amount = round(sum of the lines' nets x rate); the lines' shares of it by largest remainder
    prices with tax      amount = round(sum of the lines' gross x rate / (100 + rate)); net = gross - amount

The document's discount is spread over the lines by largest remainder before tax. What is shown adds up, always:

    sum(line.net) - discount = net = sum(line.taxable)      sum(row.amount) = tax = sum(line.tax)
    net + tax + rounding = total                            line.before_discount - line.discount = line.shown

`policy` names the way the tax was found, so that whoever recomputes an old document does it the way it was made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from libs.common.errors import Fault, Rejection
from libs.common.money import AMOUNT_MAX, Currency, Rounding, round_ratio, spread
from services.invoicing.drafts import Draft, LineDraft, TaxCategory, TaxTerms, check, text
from services.invoicing.rejections import reject

__all__ = [
    "Draft", "LineDraft", "LineTotal", "TaxCategory", "TaxTerms", "TaxTotal", "Totals", "total_matches", "totals",
]  # fmt: skip

NET_POLICY: Final = "net-sum-half-up"
GROSS_POLICY: Final = "gross-sum-half-up"

_HALF_UP = Rounding.HALF_UP

Row = tuple[TaxCategory, Decimal, str, bool]
"""What stands in one row of tax: category, rate, name, compound. Reasons do not divide it (BR-E-01 and its like)."""


@dataclass(frozen=True, slots=True)
class LineTotal:
    """One line in minor units. `net` is before the document's discount, `taxable` after it and what revenue gets;
    `taxes` are the line's shares, in the order of `draft.taxes`. With prices including tax `shown` is gross."""

    draft: LineDraft
    before_discount: int
    discount: int
    net: int
    document_discount: int
    taxes: tuple[int, ...]

    @property
    def shown(self) -> int:
        return self.before_discount - self.discount

    @property
    def taxable(self) -> int:
        return self.net - self.document_discount

    @property
    def tax(self) -> int:
        return sum(self.taxes)


@dataclass(frozen=True, slots=True)
class TaxTotal:
    """One row of tax: `amount` on `base`, both in minor units."""

    terms: TaxTerms
    base: int
    amount: int


@dataclass(frozen=True, slots=True)
class Totals:
    """An invoice added up, in minor units. `discount` is the document's, without tax. `withheld` is the part of the
    total that the customer pays to the tax office instead of us."""

    draft: Draft
    lines: tuple[LineTotal, ...]
    discount: int
    taxes: tuple[TaxTotal, ...]
    net: int
    tax: int
    rounding: int
    total: int
    withheld: int
    policy: str

    @property
    def currency(self) -> Currency:
        return self.draft.currency


def totals(draft: Draft) -> Totals | Rejection:
    """The draft added up, or why it cannot be."""
    if refused := check(draft):
        return refused
    amounts = [_line_amounts(line, draft.currency.exponent) for line in draft.lines]
    if refused := _check_amounts(draft, amounts):
        return refused
    shown = [before - discount for before, discount in amounts]
    shares = _discount_shares(draft.discount, shown)
    parts = _out_of_gross(draft, shown, shares) if draft.prices_include_tax else _on_net(draft, shown, shares)
    lines = tuple(
        LineTotal(line, before, discount, net, share, taxes)
        for line, (before, discount), (net, share, taxes) in zip(draft.lines, amounts, parts, strict=True)
    )
    rows = tax_rows(lines)
    net, tax = sum(line.taxable for line in lines), sum(row.amount for row in rows)
    if net + tax < 0:
        return _negative(net + tax, draft.currency)
    rounding = _to_cash(net + tax, draft.cash_rounding)
    if sum(abs(line.taxable) + abs(line.tax) for line in lines) > AMOUNT_MAX:
        return reject("amount-out-of-range", errors=[Fault("/lines", "add up to more than is kept")])
    return Totals(
        draft=draft,
        lines=lines,
        discount=sum(line.document_discount for line in lines),
        taxes=rows,
        net=net,
        tax=tax,
        rounding=rounding,
        total=net + tax + rounding,
        withheld=percent_of(net, draft.withholding_percent or Decimal(0)),
        policy=GROSS_POLICY if draft.prices_include_tax else NET_POLICY,
    )


def total_matches(found: Totals, stated: int) -> Rejection | None:
    """Whether what the caller says the total is, is what the lines add up to."""
    if stated == found.total:
        return None
    computed, said = text(found.total, found.currency), text(stated, found.currency)
    return reject(
        "total-differs",
        f"They add up to {computed} {found.currency.code}, stated is {said}.",
        [Fault("/total", f"is {said}, the lines add up to {computed}")],
        currency=found.currency.code,
        total=computed,
        stated=said,
        difference=text(stated - found.total, found.currency),
    )


def percent_of(minor: int, percent: Decimal) -> int:
    """`percent` of an amount, half-up."""
    up, down = percent.as_integer_ratio()
    return round_ratio(minor * up, down * 100, _HALF_UP)


def row_of(terms: TaxTerms) -> Row:
    return terms.category, terms.rate, terms.name, terms.compound


def tax_rows(lines: Sequence[LineTotal]) -> tuple[TaxTotal, ...]:
    """The rows of tax in the order their first lines stand in; a compound row's base holds the taxes it is on."""
    terms: dict[Row, list[TaxTerms]] = {}
    sums: dict[Row, tuple[int, int]] = {}
    for line in lines:
        for each, amount in zip(line.draft.taxes, line.taxes, strict=True):
            row = row_of(each)
            base = line.taxable + (line.tax - amount if each.compound else 0)
            base_before, amount_before = sums.get(row, (0, 0))
            sums[row] = base_before + base, amount_before + amount
            terms.setdefault(row, []).append(each)
    return tuple(TaxTotal(_one_of(terms[row]), base, amount) for row, (base, amount) in sums.items())


def near(total: int, numerators: Sequence[int], denominator: int) -> list[int]:
    """Whole parts that add up to `total`, each next to its exact value `numerator / denominator`.

    `total` is the rounded sum of the exact values. By largest remainder, ties go to the first.

    >>> near(-1, [-3, -1, 0], 4)
    [-1, 0, 0]
    """
    parts = [numerator // denominator for numerator in numerators]
    left = total - sum(parts)
    assert 0 <= left <= len(parts)
    if left:
        order = sorted(range(len(parts)), key=lambda place: -(numerators[place] % denominator))
        for place in order[:left]:
            parts[place] += 1
    return parts


def _one_of(terms: list[TaxTerms]) -> TaxTerms:
    """The terms of a row; where its lines are exempt for different reasons, it names them all."""
    first = terms[0]
    if all(each == first for each in terms):
        return first
    codes = _distinct(each.exemption_code for each in terms)
    reasons = _distinct(each.exemption_reason for each in terms)
    code = codes[0] if len(codes) == 1 else None
    reason = "; ".join(reasons if code else [*codes, *reasons]) or None
    return TaxTerms(first.category, first.rate, code, reason, first.name, first.compound)


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(each for each in texts if each))


def _line_amounts(line: LineDraft, exponent: int) -> tuple[int, int]:
    """Before the discount, and the discount: the line less its percent is rounded once, the allowance is exact."""
    up, down = line.quantity.as_integer_ratio()
    price_up, price_down = line.unit_price.as_integer_ratio()
    base_up, base_down = line.base_quantity.as_integer_ratio()
    numerator, denominator = up * price_up * base_down * 10**exponent, down * price_down * base_up
    before = round_ratio(numerator, denominator, _HALF_UP)
    after = before
    if line.discount_percent:
        part, whole = line.discount_percent.as_integer_ratio()
        after = round_ratio(numerator * (100 * whole - part), denominator * 100 * whole, _HALF_UP)
    return before, before - after + (line.allowance if line.quantity > 0 else -line.allowance)


def _check_amounts(draft: Draft, amounts: list[tuple[int, int]]) -> Rejection | None:
    for place, (before, discount) in enumerate(amounts):
        if abs(discount) > abs(before):
            off, whole = text(abs(discount), draft.currency), text(abs(before), draft.currency)
            fault = Fault(f"/lines/{place}/allowance", f"takes {off} off {whole}")
            return reject("discount-out-of-range", errors=[fault], discount=off, line=whole)
    shown = sum(before - discount for before, discount in amounts)
    if shown < 0:
        return _negative(shown, draft.currency)
    if draft.discount > shown:
        off, whole = text(draft.discount, draft.currency), text(shown, draft.currency)
        fault = Fault("/discount", f"takes {off} off {whole}")
        return reject("discount-out-of-range", errors=[fault], discount=off, lines=whole)
    return None


def _negative(total: int, currency: Currency) -> Rejection:
    found = text(total, currency)
    return reject("total-negative", errors=[Fault("/lines", f"add up to {found}")], total=found)


def _discount_shares(discount: int, shown: list[int]) -> list[int]:
    """The document's discount over its lines; returns take no part in it."""
    return spread(discount, [max(amount, 0) for amount in shown]) if discount else [0] * len(shown)


_Parts = list[tuple[int, int, tuple[int, ...]]]
"""Of each line: its net before the document's discount, its share of that, its taxes."""


def _on_net(draft: Draft, shown: list[int], shares: list[int]) -> _Parts:
    """Tax on top: each row's tax once on the sum of its lines; taxes on tax after the others they are on."""
    taxables = [amount - share for amount, share in zip(shown, shares, strict=True)]
    taxes = [[0] * len(line.taxes) for line in draft.lines]
    rows: dict[Row, list[tuple[int, int]]] = {}
    for place, line in enumerate(draft.lines):
        for number, terms in enumerate(line.taxes):
            rows.setdefault(row_of(terms), []).append((place, number))
    for (_, rate, _, compound), members in sorted(rows.items(), key=lambda row: row[0][3]):
        up, down = rate.as_integer_ratio()
        bases = [taxables[place] + (sum(taxes[place]) if compound else 0) for place, _ in members]
        amount = round_ratio(sum(bases) * up, down * 100, _HALF_UP)
        parts = near(amount, [base * up for base in bases], down * 100)
        for (place, number), part in zip(members, parts, strict=True):
            taxes[place][number] = part
    return [(amount, share, tuple(of_line)) for amount, share, of_line in zip(shown, shares, taxes, strict=True)]


def _out_of_gross(draft: Draft, shown: list[int], shares: list[int]) -> _Parts:
    """Tax inside: per group of lines with the same taxes, tax is taken out of the sum and what is left is spread."""
    groups: dict[tuple[Row, ...], list[int]] = {}
    for place, line in enumerate(draft.lines):
        groups.setdefault(tuple(row_of(terms) for terms in line.taxes), []).append(place)
    parts: dict[int, tuple[int, int, tuple[int, ...]]] = {}
    for rows, members in groups.items():
        up, down = gross_factor(rows)
        gross = [shown[place] - shares[place] for place in members]
        tax = inside(sum(gross), up, down)
        nets = near(sum(gross) - tax, [amount * down for amount in gross], up)
        off = _net_discounts([shown[place] for place in members], [shares[place] for place in members], up, down)
        taxes = _split(rows, tax, gross, nets)
        for place, net, share, of_line in zip(members, nets, off, taxes, strict=True):
            parts[place] = net + share, share, of_line
    return [parts[place] for place in range(len(shown))]


def gross_factor(rows: Sequence[Row]) -> tuple[int, int]:
    """Gross per net as a fraction: 1 + the rates, times 1 + the rate of the tax on tax."""
    simple = sum((rate for _, rate, _, compound in rows if not compound), Decimal(0))
    on_tax = next((rate for _, rate, _, compound in rows if compound), Decimal(0))
    up, down = (100 + simple).as_integer_ratio()
    further_up, further_down = (100 + on_tax).as_integer_ratio()
    return up * further_up, down * further_down * 10_000


def inside(gross: int, up: int, down: int) -> int:
    """The tax that is inside `gross`, where gross per net is `up / down`."""
    return round_ratio(gross * (up - down), up, _HALF_UP)


def _net_discounts(shown: list[int], shares: list[int], up: int, down: int) -> list[int]:
    """The document's discount on these lines without its tax: what their net loses by it."""
    before, after = sum(shown), sum(shown) - sum(shares)
    off = (before - inside(before, up, down)) - (after - inside(after, up, down))
    return spread(off, shares) if off else [0] * len(shares)


def _split(rows: Sequence[Row], tax: int, gross: list[int], nets: list[int]) -> list[tuple[int, ...]]:
    """A group's tax by line and by tax: down the lines and across the taxes it adds up."""
    of_lines = [amount - net for amount, net in zip(gross, nets, strict=True)]
    if len(rows) == 1:
        return [(amount,) for amount in of_lines]
    if not tax:
        return [(*[0] * (len(rows) - 1), amount) for amount in of_lines]
    columns = [
        near(of_row, [amount * of_row * tax // abs(tax) for amount in of_lines], abs(tax))
        for of_row in spread(tax, tax_weights(rows))[:-1]
    ]
    return [
        (*(column[place] for column in columns), amount - sum(column[place] for column in columns))
        for place, amount in enumerate(of_lines)
    ]


def tax_weights(rows: Sequence[Row]) -> list[int]:
    """How a sum of several taxes on one net divides: by rate, a tax on tax by what it takes of the other taxes too."""
    simple = sum((rate for _, rate, _, compound in rows if not compound), Decimal(0))
    rates = [rate * (100 + simple) / 100 if compound else rate for _, rate, _, compound in rows]
    scale = 10**16
    return [int(rate * scale) for rate in rates]


def _to_cash(amount: int, step: int) -> int:
    """What brings `amount` to the nearest coin."""
    return round_ratio(amount, step, _HALF_UP) * step - amount if step else 0
