"""What is reported of tax: lines of documents by category and rate, and their sums. Pure.

    accrual  invoice at its tax point; credit note, discount, void, relief and what takes one back on their own days
    cash     as far as it is paid: `cash_lines` replays an invoice's events and dates each difference by its event

Amounts are minor units, what is owed to the tax office positive. A line has its document's currency and the one of the
return: `reported` is in that, None while no rate is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from uuid import UUID

from libs.common.money import Currency, Rounding, convert, round_ratio
from services.invoicing.cash_basis import TaxRow, TaxStanding, negated
from services.invoicing.drafts import TaxTerms

Kind = Literal[
    "invoice", "credit-note", "void", "discount", "discount-taken-back", "relief", "relief-repaid",
    "relief-taken-back", "relief-repaid-taken-back", "payment", "write-off",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Based:
    """A base and its tax."""

    base: int
    tax: int


NOTHING: Final = Based(0, 0)


class InBooks(NamedTuple):
    """Tax as an entry has to have it, in the currency that it is booked in."""

    currency: str
    tax: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxLine:
    """One category and rate of one document. `source` and `part` name it among all that is ever reported.

    `rate_on` is the day whose rate leads to the return's currency, `posting` the document and purpose of its entry.
    `in_books` is the tax at the entry's own rate; None where there is no entry.
    """

    ledger: str
    source: str
    part: int
    kind: Kind
    document: UUID
    number: str
    tax_point_on: date
    category: str
    rate: Decimal
    exemption_code: str | None
    exemption_reason: str | None
    currency: str
    own: Based
    rate_on: date
    posting: tuple[str, str]
    reported: Based | None = None
    in_books: InBooks | None = None

    @property
    def is_told(self) -> bool:
        """Whether there is something to report, in whichever currency; a document's own row is, also of nothing."""
        return self.posting != ("", "") or self.own != NOTHING or self.reported not in (None, NOTHING)


def converted(line: TaxLine, own: Currency, wanted: Currency, rate: Decimal | None) -> TaxLine:
    """The line with what it is in the return's currency; each amount by itself, half-even, as the books have it."""
    if own.code == wanted.code:
        return replace(line, reported=line.own)
    if rate is None:
        return line
    return replace(line, reported=based_in(line.own, own, wanted, rate))


def based_in(amounts: Based, own: Currency, wanted: Currency, rate: Decimal) -> Based:
    """A base and its tax in another currency."""
    return Based(
        convert(amounts.base, own, wanted, rate, Rounding.HALF_EVEN),
        convert(amounts.tax, own, wanted, rate, Rounding.HALF_EVEN),
    )


def base_with(tax: int, row: Based) -> int:
    """The part of a row's base that goes with a part of its tax."""
    return round_ratio(row.base * tax, row.tax, Rounding.HALF_UP) if row.tax else 0


@dataclass(slots=True)
class TaxSum:
    """What one category and rate comes to, in all; `own` by the documents' currencies."""

    category: str
    rate: Decimal
    base: int = 0
    tax: int = 0
    own: dict[str, Based] = field(default_factory=dict)


def summed(lines: Iterable[TaxLine]) -> list[TaxSum]:
    """Sums by category and rate; lines without a rate of exchange are in their own currency's sums alone."""
    sums: dict[tuple[str, Decimal], TaxSum] = {}
    for line in lines:
        row = sums.setdefault((line.category, line.rate), TaxSum(line.category, line.rate))
        before = row.own.get(line.currency, Based(0, 0))
        row.own[line.currency] = Based(before.base + line.own.base, before.tax + line.own.tax)
        if line.reported is not None:
            row.base += line.reported.base
            row.tax += line.reported.tax
    return [sums[key] for key in sorted(sums)]


# --- cash basis -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CashEvent:
    """What happened to an invoice, in the order of happening: `paid` more of it, or `total` less by the `rows` of a
    credit note or discount.

    A write-off gives `given_up`, its taking back the `source` of the write-off as `undoes`.
    """

    source: str
    kind: Kind
    document: UUID
    number: str
    on: date
    paid: int = 0
    total: int = 0
    rows: Mapping[TaxTerms, Based] = field(default_factory=dict)
    given_up: int = 0
    undoes: str | None = None


@dataclass(slots=True)
class _Standing:
    """An invoice's bases and taxes as they stand, each by the rule of tax on cash basis."""

    base: TaxStanding
    tax: TaxStanding
    taken: dict[str, tuple[tuple[TaxRow, ...], tuple[TaxRow, ...], int]] = field(default_factory=dict)

    def due(self) -> list[Based]:
        return [
            Based(self.base.due(base), self.tax.due(tax))
            for base, tax in zip(self.base.rows, self.tax.rows, strict=True)
        ]

    def move(self, event: CashEvent, currency: Currency) -> None:
        if event.given_up:
            parts = self.base.not_due_in(event.given_up), self.tax.not_due_in(event.given_up)
            self.taken[event.source] = (*parts, event.given_up)
            self.base = self.base.moved(negated(parts[0]), total=-event.given_up)
            self.tax = self.tax.moved(negated(parts[1]), total=-event.given_up)
        elif event.undoes is not None:
            bases, taxes, amount = self.taken[event.undoes]
            self.base = self.base.moved(bases, total=amount)
            self.tax = self.tax.moved(taxes, total=amount)
        else:
            bases = tuple(TaxRow(terms, row.base, currency) for terms, row in event.rows.items())
            taxes = tuple(TaxRow(terms, row.tax, currency) for terms, row in event.rows.items())
            self.base = self.base.moved(bases, total=event.total, paid=event.paid)
            self.tax = self.tax.moved(taxes, total=event.total, paid=event.paid)


def due_by_event(
    rows: Mapping[TaxTerms, Based], total: int, events: Sequence[CashEvent], currency: Currency
) -> list[list[Based]]:
    """For each event what it makes due of each of the invoice's rows, in their order."""
    stands = _Standing(
        TaxStanding(tuple(TaxRow(terms, row.base, currency) for terms, row in rows.items()), total),
        TaxStanding(tuple(TaxRow(terms, row.tax, currency) for terms, row in rows.items()), total),
    )
    found: list[list[Based]] = []
    before = stands.due()
    for event in events:
        stands.move(event, currency)
        after = stands.due()
        found.append([Based(b.base - a.base, b.tax - a.tax) for a, b in zip(before, after, strict=True)])
        before = after
    return found
