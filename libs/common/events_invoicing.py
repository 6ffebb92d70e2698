"""What invoicing tells the others: facts on `invoicing.events.v1`, keyed by the document they are of.

    invoice-issued, invoice-paid, invoice-credited, invoice-voided, invoice-written-off    key: the invoice's id
    credit-note-issued, dunning-sent                                                       key: the invoice's id
    payment-posted, payment-needs-attention                                                key: the payment's id

Every fact of an invoice says all its amounts after it (total = paid + credited + written_off + open) and its version,
which rises with each change: a lower one is old news. Ids and numbers, never personal data; amounts are text in major
units. Fields that a reader does not know are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.event_shapes import Open, Ordinal
from libs.common.event_type import EventType
from libs.common.journal import AmountText, CurrencyText, ShortText, SlugText

INVOICING: Final = "invoicing.events.v1"
INVOICING_SOURCE: Final = "invoicing"
"""The `ce_source` of everything invoicing publishes and asks for."""

InvoiceStatus = Literal["draft", "issued", "part-paid", "paid", "credited", "void", "written-off"]


@dataclass(slots=True, kw_only=True)
class InvoiceFact(Open):
    """What every fact of an invoice says. `customer` is invoicing's id of it, null where it was erased."""

    organization: SlugText
    ledger: SlugText
    invoice_id: UUID
    number: ShortText
    customer: UUID | None
    currency: CurrencyText
    status: InvoiceStatus
    total: AmountText
    paid: AmountText
    credited: AmountText
    written_off: AmountText
    open: AmountText
    version: Ordinal
    occurred_at: datetime


@dataclass(slots=True, kw_only=True)
class TaxAmount(Open):
    """The tax of one category and rate."""

    category: str
    rate: str
    base: AmountText
    amount: AmountText


@dataclass(slots=True, kw_only=True)
class InvoiceIssued(InvoiceFact):
    """An invoice has its number from now on and does not change. `document_hash` is of what was rendered, in hex."""

    net: AmountText
    tax: AmountText
    issued_on: date
    tax_point_on: date
    due_on: date
    taxes: list[TaxAmount] = field(default_factory=list)
    document_hash: str | None = None


@dataclass(slots=True, kw_only=True)
class InvoicePaid(InvoiceFact):
    """Something was paid on an invoice: it is part-paid or paid now. `payment_id` is invoicing's own id."""

    payment_id: UUID | None
    amount: AmountText


@dataclass(slots=True, kw_only=True)
class InvoiceCredited(InvoiceFact):
    """A credit note or customer credit lowered what is open of an invoice."""

    credit_note_id: UUID | None
    amount: AmountText


@dataclass(slots=True, kw_only=True)
class InvoiceVoided(InvoiceFact):
    """An invoice is void; its number stays its own."""

    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class InvoiceWrittenOff(InvoiceFact):
    """Some or all of what was open of an invoice is not expected any more."""

    amount: AmountText


@dataclass(slots=True, kw_only=True)
class CreditNoteIssued(Open):
    """A credit note of an invoice has its number from now on."""

    organization: SlugText
    ledger: SlugText
    credit_note_id: UUID
    number: ShortText
    invoice_id: UUID
    customer: UUID | None
    currency: CurrencyText
    net: AmountText
    tax: AmountText
    total: AmountText
    issued_on: date
    occurred_at: datetime
    taxes: list[TaxAmount] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PaymentFact(Open):
    """What every fact of a payment says; amount = allocated + to_credit + unapplied, the fee is inside it."""

    organization: SlugText
    ledger: SlugText
    payment_id: UUID
    provider: ShortText
    provider_payment_id: ShortText
    customer: UUID | None
    currency: CurrencyText
    amount: AmountText
    fee: AmountText | None
    allocated: AmountText
    to_credit: AmountText
    unapplied: AmountText
    entry_id: UUID
    occurred_at: datetime


@dataclass(slots=True, kw_only=True)
class PaymentPosted(PaymentFact):
    """A payment is in the books: its entry, that entry's sequence and the day it was posted for."""

    sequence: Ordinal
    effective_on: date


@dataclass(slots=True, kw_only=True)
class PaymentNeedsAttention(PaymentFact):
    """The ledger refused a payment's entry; `code` is of the ledger's closed set."""

    code: str
    detail: str


@dataclass(slots=True, kw_only=True)
class DunningSent(InvoiceFact):
    """A reminder of this level was sent for an overdue invoice."""

    level: Ordinal
    sent_on: date


INVOICE_ISSUED: Final = EventType(
    "invoicing.invoice-issued.v1", INVOICING, TypeAdapter(InvoiceIssued), "An invoice was issued."
)
INVOICE_PAID: Final = EventType(
    "invoicing.invoice-paid.v1", INVOICING, TypeAdapter(InvoicePaid), "Something was paid on an invoice."
)
INVOICE_CREDITED: Final = EventType(
    "invoicing.invoice-credited.v1", INVOICING, TypeAdapter(InvoiceCredited), "Something was credited on an invoice."
)
INVOICE_VOIDED: Final = EventType(
    "invoicing.invoice-voided.v1", INVOICING, TypeAdapter(InvoiceVoided), "An invoice is void."
)
INVOICE_WRITTEN_OFF: Final = EventType(
    "invoicing.invoice-written-off.v1", INVOICING, TypeAdapter(InvoiceWrittenOff), "Something open was written off."
)
CREDIT_NOTE_ISSUED: Final = EventType(
    "invoicing.credit-note-issued.v1", INVOICING, TypeAdapter(CreditNoteIssued), "A credit note was issued."
)
PAYMENT_POSTED: Final = EventType(
    "invoicing.payment-posted.v1", INVOICING, TypeAdapter(PaymentPosted), "A payment is in the books."
)
PAYMENT_NEEDS_ATTENTION: Final = EventType(
    "invoicing.payment-needs-attention.v1",
    INVOICING,
    TypeAdapter(PaymentNeedsAttention),
    "The ledger refused a payment's entry; a person has to look.",
)
DUNNING_SENT: Final = EventType(
    "invoicing.dunning-sent.v1", INVOICING, TypeAdapter(DunningSent), "A reminder was sent for an overdue invoice."
)

INVOICING_EVENTS: Final[Sequence[EventType[Any]]] = (
    INVOICE_ISSUED,
    INVOICE_PAID,
    INVOICE_CREDITED,
    INVOICE_VOIDED,
    INVOICE_WRITTEN_OFF,
    CREDIT_NOTE_ISSUED,
    PAYMENT_POSTED,
    PAYMENT_NEEDS_ATTENTION,
    DUNNING_SENT,
)
