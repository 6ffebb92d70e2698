"""What the posting rules are told of a business event, as plain values. Amounts are minor units."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

from libs.common.journal import Rate
from libs.common.money import Currency
from libs.common.values import value
from services.invoicing.account_roles import Role
from services.invoicing.arithmetic import Totals
from services.invoicing.cash_basis import TaxStanding
from services.invoicing.crediting import CreditTotals
from services.invoicing.entry_drafts import Part

PlaceRole = Literal["bank", "processor-clearing"]


@value(frozen=True, slots=True)
class Occasion:
    """What is said of an event: its words in the books, its day, and the currency its amounts are in."""

    description: str
    on: date
    currency: Currency


@value(frozen=True, slots=True)
class Place:
    """Where money comes in or goes out: a bank account or what a processor holds for us."""

    role: PlaceRole
    account: str | None = None


@value(frozen=True, slots=True)
class Owed:
    """An amount under a role that names a party: on an invoice, not placed yet, ours to give back, or promised.

    On an invoice in another `currency` than the event's, `paid` is what of the event's money it is.
    """

    role: Role
    party: str
    amount: int
    currency: Currency | None = None
    paid: int | None = None

    @property
    def money(self) -> int:
        """The amount in the event's currency."""
        return self.amount if self.paid is None else self.paid


@value(frozen=True, slots=True)
class IssuedInvoice:
    """`customer` is the party of what is owed."""

    number: str
    customer: str
    issued_on: date
    totals: Totals


@value(frozen=True, slots=True, kw_only=True)
class CreditNote:
    """A credit note, or an early-payment discount, on an invoice.

    `on_receivable` is the part up to what is open. `deferred_left` is what of each invoice line is not recognised yet,
    as booked. `standing` is the invoice's tax before the note, on cash basis.
    """

    number: str
    issued_on: date
    invoice: IssuedInvoice
    totals: CreditTotals
    on_receivable: int
    deferred_left: Mapping[int, int]
    standing: TaxStanding | None = None


@value(frozen=True, slots=True)
class Placed:
    """`amount` of an invoice settled, in the invoice's currency; `paid` is what was paid for it, where that differs."""

    party: str
    amount: int
    currency: Currency
    paid: int | None = None


@value(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A payment and where it went: amount = placed + unapplied + to_credit, the fee inside it.

    `unapplied_party` is whom unapplied receipts are kept under: the customer, or the payment itself while nobody knows
    whose it is. It stays what it was at receipt. `credit_party` is the customer who is owed what was overpaid.
    `stated` is the rate between the payment's and the invoices' currency, where they differ.
    """

    place: Place
    amount: int
    fee: int = 0
    placed: Sequence[Placed] = ()
    unapplied: int = 0
    unapplied_party: str | None = None
    to_credit: int = 0
    credit_party: str | None = None
    stated: Rate | None = None
    due: Sequence[Part] = ()


@value(frozen=True, slots=True)
class MoneyBack:
    """Money that goes back to who paid it, from where it was (`allocating.unwind`), and what that costs on top; at the
    rate that the payment `stated`, where it was on invoices in another currency."""

    place: Place
    sources: Sequence[Owed]
    fee: int = 0
    due: Sequence[Part] = ()
    stated: Rate | None = None
