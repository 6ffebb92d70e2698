"""What callers send: the JSON bodies of invoicing's requests, checked into plain dataclasses.

Amounts, prices, quantities and percents are texts; what the numbers may be is decided with the currency at hand.
Unknown members are refused. Places where the short forms take a JSON number are named in SHORT_AMOUNTS.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len, MaxLen

from libs.common.journal import AmountText, CodeText, CurrencyText, Documented, LongText, Pattern, ShortText, SlugText

NumberText = Annotated[str, Pattern(r"^-?[0-9]{1,30}(\.[0-9]{1,20})?$")]
"""An exact number: a quantity, a price, a percent."""

TaxCode = Annotated[str, Pattern(r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,39}$")]
SeriesText = Annotated[str, Pattern(r"^[A-Z0-9]{1,12}$")]
Day = Annotated[date, Ge(date(1900, 1, 1)), Le(date(2999, 12, 31)), Documented("pattern", "^(19|2[0-9])")]
"""A day that documents may have; what is due later stays a day that exists."""
AmountsByCurrency = Annotated[dict[CurrencyText, AmountText], MaxLen(50), Documented("additionalProperties", False)]
Version = Annotated[int, Ge(1), Le(2**62)]

SHORT_AMOUNTS: Final = (("total",), ("amount",))
"""Where a JSON number is an amount, on the short forms of invoices and payments alone."""

_STRICT: Final[dict[str, Any]] = {"extra": "forbid", "strict": True}


class _Body:
    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(slots=True, kw_only=True)
class AddressBody(_Body):
    """A postal address; `country` is an ISO 3166 code."""

    street: ShortText | None = None
    street_more: ShortText | None = None
    city: ShortText | None = None
    postal_code: ShortText | None = None
    region: ShortText | None = None
    country: Annotated[str, Pattern(r"^[A-Z]{2}$")] | None = None


@dataclass(slots=True, kw_only=True)
class EarlyPaymentBody(_Body):
    """So many percent off where all is paid within so many days from the invoice's day."""

    percent: NumberText
    within_days: Annotated[int, Ge(0), Le(3650)]


@dataclass(slots=True, kw_only=True)
class CustomerBody(_Body):
    """A customer; `tax_ids` by their scheme ({"VAT": "DE123456789"})."""

    name: ShortText
    email: ShortText | None = None
    address: AddressBody | None = None
    tax_ids: Annotated[dict[Annotated[str, Len(1, 20)], Annotated[str, Len(1, 60)]], MaxLen(10)] | None = None
    contact: ShortText | None = None
    currency: CurrencyText | None = None
    payment_terms_days: Annotated[int, Ge(0), Le(3650)] = 30
    early_payment: EarlyPaymentBody | None = None
    external_id: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class CustomerPatchBody(_Body):
    """What of a customer is another from now on; what is absent stays."""

    name: ShortText | None = None
    email: ShortText | None = None
    address: AddressBody | None = None
    tax_ids: Annotated[dict[Annotated[str, Len(1, 20)], Annotated[str, Len(1, 60)]], MaxLen(10)] | None = None
    contact: ShortText | None = None
    currency: CurrencyText | None = None
    payment_terms_days: Annotated[int, Ge(0), Le(3650)] | None = None
    early_payment: EarlyPaymentBody | None = None
    external_id: ShortText | None = None
    expected_version: Version | None = None


@dataclass(slots=True, kw_only=True)
class EmptyBody(_Body):
    """Nothing has to be said."""


@dataclass(slots=True, kw_only=True)
class ReasonBody(_Body):
    """Why, where somebody wants to say it."""

    reason: LongText | None = None


# --- catalog ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class MappedBody(_Body):
    """The account that plays a role; without a currency in the functional one."""

    role: Annotated[str, Len(1, 40)]
    account: CodeText
    currency: CurrencyText | None = None


@dataclass(slots=True, kw_only=True)
class SellerBody(_Body):
    """Who sells: what stands on every invoice."""

    name: ShortText | None = None
    address: AddressBody | None = None
    tax_ids: Annotated[dict[Annotated[str, Len(1, 20)], Annotated[str, Len(1, 60)]], MaxLen(10)] | None = None
    email: ShortText | None = None
    iban: ShortText | None = None
    bic: ShortText | None = None
    registration: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class MappingBody(_Body):
    """A ledger's whole account mapping and its settings; settings that are absent stay.

    `standard` maps an account to each role and asks the ledger to open them, in `currencies` too. `recognition` of
    deferred revenue comes by itself at each accounting period's end, or by hand alone.
    """

    mapping: Annotated[list[MappedBody], MaxLen(500)] = field(default_factory=list)
    standard: bool = False
    currencies: Annotated[list[CurrencyText], MaxLen(50)] = field(default_factory=list)
    functional_currency: CurrencyText | None = None
    tax_basis: Literal["accrual", "cash"] | None = None
    recognition: Literal["period-end", "by-hand"] | None = None
    number_prefix: Annotated[str, Pattern(r"^[A-Za-z0-9\-]{0,12}$")] | None = None
    cash_rounding: AmountsByCurrency | None = None
    seller: SellerBody | None = None


@dataclass(slots=True, kw_only=True)
class ProductBody(_Body):
    """A product and its price, for `base_quantity` units; `tax_rate` is a tax code."""

    code: CodeText
    name: ShortText
    currency: CurrencyText
    unit_price: NumberText
    base_quantity: NumberText = "1"
    tax_rate: TaxCode | None = None
    revenue_account: CodeText | None = None


@dataclass(slots=True, kw_only=True)
class ProductPatchBody(_Body):
    """What of a product is another from now on; what is absent stays."""

    name: ShortText | None = None
    unit_price: NumberText | None = None
    tax_rate: TaxCode | None = None
    revenue_account: CodeText | None = None
    active: bool | None = None
    expected_version: Version | None = None


@dataclass(slots=True, kw_only=True)
class TaxRateBody(_Body):
    """What a tax code means from one day to another (for ever where `valid_to` is absent)."""

    code: TaxCode
    category: Annotated[str, Len(1, 2)]
    rate: NumberText
    valid_from: Day
    valid_to: Day | None = None
    exemption_code: ShortText | None = None
    exemption_reason: LongText | None = None


@dataclass(slots=True, kw_only=True)
class TaxNumberBody(_Body):
    """From a day on a ledger reports its tax under this number, in this currency."""

    ledger: SlugText = "main"
    tax_number: Annotated[str, Len(1, 60)]
    currency: CurrencyText
    valid_from: Day


@dataclass(slots=True, kw_only=True)
class TaxReturnBody(_Body):
    """The return of a tax number for the days from `from` to `to`; a gap to the one before has its reason."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {**_STRICT, "alias_generator": lambda name: name.rstrip("_")}

    tax_number: Annotated[str, Len(1, 60)]
    from_: Day
    to: Day
    basis: Literal["accrual", "cash"] | None = None
    gap_reason: Annotated[str, Len(1, 1_000)] | None = None


# --- invoices ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class TaxBody(_Body):
    """One tax of a line: stated whole, or by its code at the tax point."""

    category: Annotated[str, Len(1, 2)] | None = None
    rate: NumberText | None = None
    exemption_code: ShortText | None = None
    exemption_reason: LongText | None = None
    name: Annotated[str, MaxLen(40)] = ""
    compound: bool = False
    code: TaxCode | None = None


@dataclass(slots=True, kw_only=True)
class LineBody(_Body):
    """One line. Its price, description, tax and account may come from its product."""

    description: ShortText | None = None
    quantity: NumberText = "1"
    unit_price: NumberText | None = None
    base_quantity: NumberText = "1"
    discount_percent: NumberText | None = None
    allowance: AmountText | None = None
    tax: TaxBody | None = None
    further_taxes: Annotated[list[TaxBody], MaxLen(20)] = field(default_factory=list)
    revenue_account: CodeText | None = None
    service_from: Day | None = None
    service_to: Day | None = None
    product: CodeText | None = None
    unit: Annotated[str, Len(1, 3)] = "C62"


@dataclass(slots=True, kw_only=True)
class InvoiceBody(_Body):
    """An invoice with its lines; or, in the short form, a customer's name and a total, issued at once.

    `customer` is an id or a name; in the short form a name that nobody has yet is a new customer's. Beside lines
    `total` is checked. Without terms for early payment the customer's hold.
    """

    customer: ShortText
    ledger: SlugText = "main"
    currency: CurrencyText | None = None
    issued_on: Day | None = None
    tax_point_on: Day | None = None
    due_on: Day | None = None
    lines: Annotated[list[LineBody], MaxLen(1_001)] = field(default_factory=list)
    total: AmountText | None = None
    prices_include_tax: bool = False
    discount: AmountText | None = None
    withholding_percent: NumberText | None = None
    early_payment: EarlyPaymentBody | None = None
    issue: bool | None = None
    series: SeriesText | None = None
    client_ref: ShortText | None = None
    description: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class DraftBody(_Body):
    """A draft as it is from now on, whole: what is absent is absent. `version` is the one that was read."""

    version: Version
    customer: ShortText
    ledger: SlugText = "main"
    currency: CurrencyText | None = None
    issued_on: Day | None = None
    tax_point_on: Day | None = None
    due_on: Day | None = None
    lines: Annotated[list[LineBody], MaxLen(1_001)] = field(default_factory=list)
    total: AmountText | None = None
    prices_include_tax: bool = False
    discount: AmountText | None = None
    withholding_percent: NumberText | None = None
    early_payment: EarlyPaymentBody | None = None
    series: SeriesText | None = None
    client_ref: ShortText | None = None
    description: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class WriteOffBody(_Body):
    """What is given up of an invoice: an amount, or all that is open."""

    amount: AmountText | None = None
    on: Day | None = None
    reason: LongText | None = None


@dataclass(slots=True, kw_only=True)
class DayBody(_Body):
    """On which day; today where it is absent."""

    on: Day | None = None


@dataclass(slots=True, kw_only=True)
class RecoveryBody(_Body):
    """What came in of what was written off; `account` is where the money is."""

    amount: AmountText
    on: Day | None = None
    account: CodeText | None = None


@dataclass(slots=True, kw_only=True)
class CreditLineBody(_Body):
    """What is credited of one of the invoice's lines (from 1): a net amount, a quantity, or all that is left."""

    line: Annotated[int, Ge(1), Le(1_000)]
    net: AmountText | None = None
    quantity: NumberText | None = None


@dataclass(slots=True, kw_only=True)
class CreditNoteBody(_Body):
    """A credit note by lines or by an amount with tax; with neither it credits all that is left of the invoice."""

    invoice_id: UUID
    lines: Annotated[list[CreditLineBody], MaxLen(1_000)] | None = None
    amount: AmountText | None = None
    reason: LongText
    issued_on: Day | None = None


@dataclass(slots=True, kw_only=True)
class DeferralsBody(_Body):
    """Revenue that is earned by the end of a day."""

    through: Day
    ledger: SlugText = "main"
