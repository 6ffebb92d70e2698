"""Which overdue invoices are reminded of, at which level, in which letters. Pure.

    open invoices of customers + a ledger's levels + the day -> letters, one for a customer and currency
                                                             -> what is not reminded of, and why

No level is left out: an invoice is due for the level after its own when it is that many days overdue and the reminder
before is as many days old as the two levels are apart. So a run that comes late does not begin with a threat, and a run
that comes twice on a day finds nothing. A disputed or held invoice is neither raised nor listed; a fee is listed and
never raised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final, Literal
from uuid import UUID

from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_minor
from services.invoicing.rejections import reject

Stop = Literal["customer-erased", "dispute", "hold", "promise"]

LEVELS_MAX: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A reminder: from so many days after the due date on, under this title, with this text and these fees.

    `fees` are amounts by currency; a letter in another currency costs nothing.
    """

    days_after_due: int
    title: str
    text: str
    fees: Mapping[str, str]

    def fee(self, currency: str) -> int:
        """The fee in minor units."""
        text = self.fees.get(currency)
        if text is None:
            return 0
        minor = to_minor(text, ISO_4217[currency].exponent)
        assert isinstance(minor, int), "levels are checked when they are set"
        return minor


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvoice:
    """What is open on an invoice, and how far its reminders are. `last_on` is the day of the last one."""

    id: UUID
    customer: UUID
    currency: str
    number: str
    issued_on: date
    due_on: date
    total: int
    open: int
    level: int
    round: int
    last_on: date | None = None
    is_fee: bool = False
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """An invoice and the level it is raised to."""

    invoice: OpenInvoice
    level: int


@dataclass(frozen=True, slots=True)
class Letter:
    """What a customer is sent: what is raised, and all that is open in the currency, oldest due first."""

    customer: UUID
    currency: str
    level: int
    raised: tuple[Raised, ...]
    listed: tuple[OpenInvoice, ...]

    @property
    def open(self) -> int:
        return sum(invoice.open for invoice in self.listed)


def check(levels: Sequence[Level]) -> Rejection | None:
    """Why a ledger cannot have these levels."""
    for place, (first, second) in enumerate(pairwise(levels)):
        if second.days_after_due <= first.days_after_due:
            said = f"is {second.days_after_due}, after {first.days_after_due}"
            return reject("dunning-levels-not-ascending", errors=[Fault(f"/levels/{place + 1}/days_after_due", said)])
    for place, level in enumerate(levels):
        for currency, text in level.fees.items():
            pointer = f"/levels/{place}/fees/{currency}"
            if currency not in ISO_4217:
                return reject("unknown-currency", errors=[Fault(pointer, f"is {currency}")], currency=currency)
            minor = to_minor(text, ISO_4217[currency].exponent)
            if isinstance(minor, str):
                return reject(minor, errors=[Fault(pointer, f"is {text[:60]}")], currency=currency)
    return None


def due_level(levels: Sequence[Level], invoice: OpenInvoice, on: date) -> int | None:
    """The level that an invoice is due for on a day; stops are not looked at."""
    if invoice.is_fee or invoice.open <= 0 or invoice.level >= len(levels):
        return None
    wanted = levels[invoice.level].days_after_due
    if (on - invoice.due_on).days < wanted:
        return None
    if invoice.level:
        assert invoice.last_on is not None, "a level is a reminder that was sent"
        if (on - invoice.last_on).days < wanted - levels[invoice.level - 1].days_after_due:
            return None
    return invoice.level + 1


def letters(
    levels: Sequence[Level], invoices: Iterable[OpenInvoice], on: date
) -> tuple[list[Letter], list[OpenInvoice]]:
    """The letters of a day, and the invoices that would be raised were they not stopped."""
    parties: dict[tuple[UUID, str], list[OpenInvoice]] = {}
    for invoice in invoices:
        parties.setdefault((invoice.customer, invoice.currency), []).append(invoice)
    found: list[Letter] = []
    stopped: list[OpenInvoice] = []
    for (customer, currency), owed in sorted(parties.items()):
        owed.sort(key=lambda invoice: (invoice.due_on, invoice.number))
        raised = []
        for invoice in owed:
            level = due_level(levels, invoice, on)
            if level is not None and invoice.stop is not None:
                stopped.append(invoice)
            elif level is not None:
                raised.append(Raised(invoice, level))
        if raised:
            listed = tuple(invoice for invoice in owed if invoice.stop is None)
            found.append(Letter(customer, currency, max(each.level for each in raised), tuple(raised), listed))
    return found, stopped
