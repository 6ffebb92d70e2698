"""What callers send about money: payments and where they go, what goes back, disputes, payouts, promised refunds."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar
from uuid import UUID

from annotated_types import MaxLen

from libs.common.journal import AmountText, CodeText, CurrencyText, LongText, RateText, ShortText, SlugText
from services.invoicing.bodies import Day


class _Body:
    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


@dataclass(slots=True, kw_only=True)
class AllocationBody(_Body):
    """So much of a payment on one invoice; without an amount as much as is open and left."""

    invoice_id: UUID
    amount: AmountText | None = None
    on: Day | None = None


@dataclass(slots=True, kw_only=True)
class RateBody(_Body):
    """So many units of `counter` for one of `base`: between a payment's currency and that of the invoices it names."""

    base: CurrencyText
    counter: CurrencyText
    rate: RateText


@dataclass(slots=True, kw_only=True)
class SettledBody(_Body):
    """What of a new payment is on one invoice, in the invoice's currency; at a rate, `paid` may say what of the payment
    that is. Without an amount it is as much as is open and left."""

    invoice_id: UUID
    amount: AmountText | None = None
    paid: AmountText | None = None
    on: Day | None = None


@dataclass(slots=True, kw_only=True)
class PaymentBody(_Body):
    """Money that came in: on the invoice that is named, on `allocations`, or placed by its reference and customer.

    In another currency than the invoices that it names it states the `rate` between the two.
    """

    amount: AmountText
    invoice_id: UUID | None = None
    customer: ShortText | None = None
    ledger: SlugText | None = None
    currency: CurrencyText | None = None
    method: ShortText = "bank-transfer"
    received_on: Day | None = None
    account: CodeText | None = None
    reference: LongText = ""
    fee: AmountText | None = None
    client_ref: ShortText | None = None
    rate: RateBody | None = None
    allocations: Annotated[list[SettledBody], MaxLen(500)] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class RefundBody(_Body):
    """What goes back to the payer: an amount, or all that is left."""

    amount: AmountText | None = None
    on: Day | None = None
    reason: LongText | None = None
    account: CodeText | None = None


@dataclass(slots=True, kw_only=True)
class ReturnBody(_Body):
    """What the payer's bank took back, an amount or all that is left; `return_id` is the payment's provider's own."""

    amount: AmountText | None = None
    on: Day | None = None
    fee: AmountText | None = None
    reason: LongText | None = None
    return_id: ShortText | None = None
    account: CodeText | None = None


@dataclass(slots=True, kw_only=True)
class DisputeBody(_Body):
    """What the payer disputes, an amount or all that is left; `dispute_id` is the payment's provider's own."""

    amount: AmountText | None = None
    on: Day | None = None
    fee: AmountText | None = None
    dispute_id: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class DisputeEndBody(_Body):
    """How a dispute ended, on which day; `fee` is what of its fee was given back."""

    on: Day | None = None
    fee: AmountText | None = None


@dataclass(slots=True, kw_only=True)
class BouncedBody(_Body):
    """On which day a refund came back, and to which account, where it is not the payment's."""

    on: Day | None = None
    account: CodeText | None = None


@dataclass(slots=True, kw_only=True)
class TakeBackBody(_Body):
    """On which day it is taken back, today where it is absent, and why."""

    on: Day | None = None
    reason: LongText | None = None


@dataclass(slots=True, kw_only=True)
class PayoutItemBody(_Body):
    """What a payout is made of: a payment, a refund, or a fee, whose amount was taken off."""

    amount: AmountText
    payment_id: ShortText | None = None
    refund_id: ShortText | None = None
    fee: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class PayoutBody(_Body):
    """What a provider paid out of what it held; `account` is the bank account that has the money, where it is known."""

    currency: CurrencyText
    amount: AmountText
    ledger: SlugText = "main"
    provider: ShortText = "manual"
    payout_id: ShortText | None = None
    paid_on: Day | None = None
    account: CodeText | None = None
    items: Annotated[list[PayoutItemBody], MaxLen(5_000)] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PartBody(_Body):
    """So much, or all there is; on which day, today where it is absent."""

    amount: AmountText | None = None
    on: Day | None = None


@dataclass(slots=True, kw_only=True)
class WithholdingBody(_Body):
    """Tax that the customer withheld: so much, or what the invoice states; `certificate` is the paper that says so."""

    amount: AmountText | None = None
    on: Day | None = None
    certificate: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class AssignBody(_Body):
    """Whose a payment is: a customer's id or name."""

    customer: ShortText


@dataclass(slots=True, kw_only=True)
class RefundPayableBody(_Body):
    """So much of a customer's credit, or all of it, is to be given back; of a payment it is what is unapplied."""

    ledger: SlugText = "main"
    currency: CurrencyText
    amount: AmountText | None = None
    payment_id: UUID | None = None
    on: Day | None = None
    reason: LongText | None = None


@dataclass(slots=True, kw_only=True)
class PayRefundBody(_Body):
    """What of a promised refund is paid, all that is left where no amount is given, and from where."""

    amount: AmountText | None = None
    on: Day | None = None
    account: CodeText | None = None
    method: ShortText = "bank-transfer"


@dataclass(slots=True, kw_only=True)
class ApplyCreditBody(_Body):
    """A customer's credit used: on the invoices that are named, or on what is due first."""

    ledger: SlugText = "main"
    currency: CurrencyText
    amount: AmountText | None = None
    allocations: Annotated[list[AllocationBody], MaxLen(500)] = field(default_factory=list)
    on: Day | None = None
