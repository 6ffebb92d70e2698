"""The vocabulary: what a ledger, an account and a journal entry are, as plain values. Read this file first.

Everything that asks for a posting, over REST or Kafka, asks in these words; everything the ledger says is made of
them. A line has a positive amount and a side; signed numbers exist only in balances, with the normal side named.
The classes are plain dataclasses: the edges check JSON straight into them (`__pydantic_config__` is for that alone).
"""

from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID, uuid5

from annotated_types import Ge, Le, Len, MaxLen
from typing_extensions import TypeAliasType

from libs.common.money import AMOUNT_PATTERN, EXPONENT_MAX

Side = Literal["debit", "credit"]
AccountType = Literal["asset", "liability", "equity", "income", "expense"]
EntryKind = Literal["normal", "opening", "adjusting", "closing", "revaluation", "recognition"]
IfClosed = Literal["reject", "next-open-day"]
OverdraftPolicy = Literal["unlimited", "none", "limit"]
CashFlowClass = Literal["operating", "investing", "financing"]
Translation = Literal["closing", "transaction-date", "historical"]

NORMAL_SIDE: dict[AccountType, Side] = {
    "asset": "debit",
    "expense": "debit",
    "liability": "credit",
    "equity": "credit",
    "income": "credit",
}
OTHER_SIDE: dict[Side, Side] = {"debit": "credit", "credit": "debit"}

LINES_MIN = 2
LINES_MAX = 1_000
METADATA_BYTES_MAX = 8 * 1024
RECORD_BYTES_MAX = 512 * 1024
"""A log record's published form is at most this long, so that nothing committed can block the relay."""

_NAMESPACE = UUID("5f3c1d52-7f0a-5e6b-9d0e-1c0a6f5a4b21")


@lru_cache(maxsize=10_000)
def organization_id(slug: str) -> UUID:
    """The id every service derives from an organization's slug (slugs are immutable)."""
    return uuid5(_NAMESPACE, slug)


@lru_cache(maxsize=10_000)
def ledger_id(organization: str, ledger: str) -> UUID:
    """The id every service derives from an organization's slug and a ledger's code; the Kafka key of its topics."""
    return uuid5(organization_id(organization), ledger)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression for a text; the edges turn it into a check and into JSON Schema's `pattern`."""

    regex: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        schema["pattern"] = self.regex
        return schema


@dataclass(frozen=True, slots=True)
class Documented:
    """What JSON Schema says of a type beside its checks, where those do not show there: a keyword and its value."""

    keyword: str
    value: str | bool

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> Any:
        return handler(core_schema) | {self.keyword: self.value}


SlugText = Annotated[str, Pattern(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
CodeText = Annotated[str, Pattern(r"^\w[\w.:\-]{0,127}$")]
CurrencyText = Annotated[str, Pattern(r"^[A-Z][A-Z0-9._\-]{1,22}[A-Z0-9]$")]
AmountText = Annotated[str, Pattern(AMOUNT_PATTERN)]
RateText = Annotated[str, Pattern(r"^[0-9]{1,20}(\.[0-9]{1,20})?$")]
ShortText = Annotated[str, Len(1, 200)]
LongText = Annotated[str, MaxLen(2_000)]
MetadataValue = TypeAliasType(
    "MetadataValue",
    "bool | Annotated[int, Ge(-(2**63)), Le(2**63 - 1)] | Annotated[float, Ge(-(2**53)), Le(2**53)] | str"
    " | list[MetadataValue] | dict[str, MetadataValue] | None",
)
"""Any JSON value that all readers keep as it is: whole numbers of 64 bits, others to 2**53, texts, lists, objects."""
Metadata = dict[Annotated[str, Len(1, 100)], MetadataValue]

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}


@dataclass(slots=True)
class Origin:
    """Where an entry comes from: a service and a document in it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    service: ShortText
    document: ShortText


@dataclass(slots=True)
class Rate:
    """`rate` units of `counter` are worth one unit of `base`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    base: CurrencyText
    counter: CurrencyText
    rate: RateText


@dataclass(slots=True, kw_only=True)
class Condition:
    """What has to be true of a line's account for its entry to be posted.

    `available_at_least` and `posted_equals` are of the balance after the whole entry, on the account's normal side, in
    major units and signed; `version_equals` is of the balance before it (the sequence that last moved it).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    available_at_least: AmountText | None = None
    posted_equals: AmountText | None = None
    version_equals: Annotated[int, Ge(0), Le(2**63 - 1)] | None = None


@dataclass(slots=True)
class LineRequest:
    """One line of an entry: a positive amount on one side of one account, in the account's currency."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    account: Annotated[str, Len(1, 128)]
    side: Side
    amount: AmountText
    currency: CurrencyText | None = None
    party: ShortText | None = None
    description: LongText | None = None
    condition: Condition | None = None


@dataclass(slots=True, kw_only=True)
class EntryRequest:
    """A journal entry someone wants posted. Absent `effective_on` is the ledger's accounting day."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    lines: list[LineRequest]
    id: UUID | None = None
    kind: EntryKind = "normal"
    effective_on: date | None = None
    value_on: date | None = None
    if_closed: IfClosed = "reject"
    description: LongText = ""
    external_id: ShortText | None = None
    origin: Origin | None = None
    metadata: Metadata = field(default_factory=dict)
    rates: list[Rate] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class TransferRequest:
    """Lowers `source` and raises `target`, each on its normal side ("from" and "to" in JSON)."""

    source: str
    target: str
    amount: str
    currency: str | None = None
    description: str = ""
    external_id: str | None = None
    effective_on: date | None = None
    if_closed: IfClosed = "reject"
    metadata: Metadata = field(default_factory=dict)
    id: UUID | None = None


@dataclass(slots=True, kw_only=True)
class ReversalRequest:
    """An entry that takes back another one whole, line by line on the other side."""

    entry_id: UUID
    id: UUID | None = None
    effective_on: date | None = None
    if_closed: IfClosed = "reject"
    description: str | None = None


@dataclass(slots=True, kw_only=True)
class Heading:
    """The group of an account in reports; `number` gives the order."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    number: Annotated[int, Ge(0), Le(10**9)]
    name: ShortText


@dataclass(slots=True, kw_only=True)
class Overdraft:
    """How far the available balance may fall below zero; `limit` in major units, for the policy of that name alone."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    policy: OverdraftPolicy = "unlimited"
    limit: AmountText | None = None


@dataclass(slots=True, kw_only=True)
class AccountRequest:
    """An account someone wants opened. A summary account has no currency and takes no lines."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    code: CodeText
    name: ShortText
    type: AccountType
    currency: CurrencyText | None = None
    normal_side: Side | None = None
    heading: Heading | None = None
    parent: str | None = None
    summary: bool = False
    control_owner: ShortText | None = None
    reconcilable: bool = False
    cash: bool = False
    cash_flow_class: CashFlowClass | None = None
    monetary: bool = True
    translation: Translation = "closing"
    overdraft: Overdraft = field(default_factory=Overdraft)
    external_id: ShortText | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class LedgerRequest:
    """A set of books someone wants opened in the caller's organization."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    code: SlugText
    name: ShortText
    functional_currency: CurrencyText = "USD"
    time_zone: Annotated[str, Len(1, 64)] = "UTC"
    day_cut_off: Annotated[str, Pattern(r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "00:00"
    fiscal_year_start: Annotated[str, Pattern(r"^(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$")] = "01-01"
    retained_earnings: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class CurrencyRequest:
    """A unit of the organization's own, beside ISO 4217's."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    code: CurrencyText
    decimals: Annotated[int, Ge(0), Le(EXPONENT_MAX)]
    name: Annotated[str, MaxLen(200)] = ""


def position_codes(currency: str) -> tuple[str, str]:
    """The codes of a foreign currency's position pair: its position in itself, its equivalent in the functional one."""
    return f"FX-POSITION-{currency}", f"FX-EQUIVALENT-{currency}"
