"""Tax on cash basis: it is due as far as the invoice is paid, to the cent, whatever happens to the invoice meanwhile.

    due of a row of tax = round(its amount x paid / total), half-up;   the rest of it is not yet due

A standing is what is left of an invoice: its tax rows as booked, its total and what is paid of that. Every event leads
from one standing to the next, and what it moves between the two tax accounts is the difference of the two: so nothing
piles up, and an invoice that is settled, credited or given up leaves nothing under "not yet due".
"""

from collections.abc import Sequence

from libs.common.money import Currency, Rounding, round_ratio
from libs.common.values import value
from services.invoicing.arithmetic import Totals
from services.invoicing.drafts import TaxTerms
from services.invoicing.entry_drafts import Part


@value(frozen=True, slots=True)
class TaxRow:
    """Tax of one kind, in minor units of the currency it is booked in."""

    terms: TaxTerms
    amount: int
    currency: Currency


@value(frozen=True, slots=True)
class TaxStanding:
    """What is left of an invoice: `total` less credit notes, discounts and write-offs, and `paid` of it.

    Credit that a note left to the customer, because the invoice was paid, counts as paid no more. Where that payment is
    taken back later, less than nothing is paid, and where what is open then is given up, less than nothing is left.
    """

    rows: tuple[TaxRow, ...]
    total: int
    paid: int = 0

    def moved(self, rows: Sequence[TaxRow] = (), *, total: int = 0, paid: int = 0) -> "TaxStanding":
        """The standing after so much more (or, negative, less) tax, total and paid."""
        more: dict[TaxTerms, int] = {}
        for row in rows:
            more[row.terms] = more.get(row.terms, 0) + row.amount
        amounts = tuple(TaxRow(row.terms, row.amount + more.get(row.terms, 0), row.currency) for row in self.rows)
        return TaxStanding(amounts, self.total + total, self.paid + paid)

    def due(self, row: TaxRow) -> int:
        """What of a row is due."""
        sign = -1 if self.total < 0 else 1
        return round_ratio(sign * row.amount * self.paid, abs(self.total), Rounding.HALF_UP) if self.total else 0

    def not_due_in(self, amount: int) -> tuple[TaxRow, ...]:
        """The tax not yet due inside `amount` of what is open."""
        left = self.total - self.paid
        assert 0 < amount <= left, f"{amount} of {left} that is open"
        return tuple(
            TaxRow(row.terms, round_ratio((row.amount - self.due(row)) * amount, left, Rounding.HALF_UP), row.currency)
            for row in self.rows
        )


def negated(rows: Sequence[TaxRow]) -> tuple[TaxRow, ...]:
    """The rows with their signs turned."""
    return tuple(TaxRow(row.terms, -row.amount, row.currency) for row in rows)


def tax_parts(before: TaxStanding, after: TaxStanding) -> list[Part]:
    """What leads from the one standing to the other, on the two tax accounts."""
    parts: list[Part] = []
    for old, new in zip(before.rows, after.rows, strict=True):
        assert old.terms == new.terms
        due = before.due(old) - after.due(new)
        parts.append(Part("tax-due", due, old.currency, tax=old.terms))
        parts.append(Part("tax-not-yet-due", old.amount - new.amount - due, old.currency, tax=old.terms))
    return parts


def tax_inside(totals: Totals, amount: int, before: int = 0) -> tuple[TaxRow, ...]:
    """The tax in `amount` of an invoice (a write-off, a recovery), `before` having been taken already, row by row.

    Cumulative, so that the parts of an invoice have all of its tax between them.
    """
    assert 0 < amount <= totals.total - before, f"{amount} of {totals.total - before}"

    def so_far(tax: int, part: int) -> int:
        return round_ratio(tax * part, totals.total, Rounding.HALF_UP)

    return tuple(
        TaxRow(row.terms, so_far(row.amount, before + amount) - so_far(row.amount, before), totals.currency)
        for row in totals.taxes
    )
