"""A dunning letter as one HTML page that stands alone, laid out as invoices are.

What is open adds up twice: by invoice and by age. With the fee, where there is one, it is what is to pay. Amounts have
their minor units beside them, as on invoices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from libs.common.money import Currency
from services.invoicing.documents.html import pages
from services.invoicing.documents.printed import Party, PayTo


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedLetter:
    """One letter: `rows` and `by_age` as it was sent with, amounts in minor units."""

    title: str
    text: str
    level: int
    sent_on: date
    currency: Currency
    seller: Party
    buyer: Party
    rows: Sequence[Mapping[str, Any]]
    by_age: Sequence[tuple[str, int]]
    open: int
    fee: int = 0
    fee_number: str | None = None
    pay_to: PayTo | None = None

    @property
    def due(self) -> int:
        return self.open + self.fee

    @property
    def paragraphs(self) -> list[str]:
        """The text, an empty line between two."""
        return [paragraph.strip() for paragraph in self.text.split("\n\n") if paragraph.strip()]


def render(letter: PrintedLetter) -> str:
    """The page."""
    assert letter.open == sum(row["open"] for row in letter.rows) == sum(amount for _, amount in letter.by_age)
    return _TEMPLATE.render(letter=letter)


_TEMPLATE: Final = pages().get_template("letter.html")
