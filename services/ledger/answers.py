"""What the ledger's answers look like, for the OpenAPI document and its readers. Amounts are text in major units."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from libs.common.journal import AccountType, EntryKind, OverdraftPolicy, Side


class LineAnswer(TypedDict):
    """A posted line; `balance_after` is the account's balance on its normal side."""

    account: str
    side: Side
    amount: str
    currency: str
    balance_after: str
    party: NotRequired[str]
    description: NotRequired[str]


class EntryAnswer(TypedDict):
    """A posted journal entry."""

    id: str
    ledger: str
    sequence: int
    kind: EntryKind
    effective_on: str
    value_on: str
    recorded_at: str
    hash: str
    description: str
    external_id: str | None
    origin: dict[str, str] | None
    reverses: str | None
    reversed_by: str | None
    hold: str | None
    actor: str
    rates: list[dict[str, str]]
    metadata: dict[str, Any]
    lines: list[LineAnswer]


class HeldLineAnswer(TypedDict):
    """A hold's line: what was held, what of it became entries, and what remains."""

    line: int
    account: str
    side: Side
    amount: str
    currency: str
    captured: str
    remaining: str
    party: NotRequired[str]


class CapturingEntry(TypedDict):
    """An entry that captured some of a hold."""

    id: str
    sequence: int
    effective_on: str


class HoldAnswer(TypedDict):
    """A hold as it stands; `version` is the sequence of the record that last moved it."""

    id: str
    ledger: str
    status: Literal["pending", "captured", "released", "expired"]
    description: str
    expires_at: str | None
    external_id: str | None
    origin: dict[str, str] | None
    metadata: dict[str, Any]
    actor: str
    placed_at: str
    sequence: int
    version: int
    lines: list[HeldLineAnswer]


class HoldWithEntries(HoldAnswer):
    """A hold and the entries that captured it, in their order."""

    entries: list[CapturingEntry]


class MovedLineAnswer(TypedDict):
    """What a record moved of a hold's line, and what is left of it."""

    line: NotRequired[int]
    account: str
    side: Side
    amount: str
    currency: str
    remaining: NotRequired[str]
    party: NotRequired[str]


class HoldMoved(TypedDict):
    """What a record did to a hold, and its lines that the record moved; of a dry run, what one would do.

    `sequence` and `hash` are null in a dry run.
    """

    id: str
    ledger: str
    status: Literal["pending", "captured", "released", "expired"]
    sequence: int | None
    recorded_at: str
    hash: str | None
    actor: str
    lines: list[MovedLineAnswer]
    entry_id: NotRequired[str]
    reason: NotRequired[str]
    description: NotRequired[str]
    expires_at: NotRequired[str | None]
    external_id: NotRequired[str]
    origin: NotRequired[dict[str, str]]
    metadata: NotRequired[dict[str, Any]]


class CaptureAnswer(TypedDict):
    """What was captured of a hold, and the entry that was posted for it."""

    hold: HoldMoved
    entry: EntryAnswer


class OverdraftAnswer(TypedDict):
    """How far the available balance may fall below zero."""

    policy: OverdraftPolicy
    limit: str | None


class AccountAnswer(TypedDict):
    """An account."""

    id: str
    ledger: str
    code: str
    name: str
    type: AccountType
    normal_side: Side
    currency: str | None
    decimals: int
    heading: dict[str, Any] | None
    parent: str | None
    summary: bool
    control_owner: str | None
    reconcilable: bool
    cash: bool
    cash_flow_class: str | None
    monetary: bool
    translation: str
    overdraft: OverdraftAnswer
    external_id: str | None
    metadata: dict[str, Any]
    frozen: Literal["in", "out", "both"] | None
    closed: bool
    version: int
    opened_at: str


class BalanceAnswer(TypedDict):
    """An account's balance on its normal side, as of a sequence and, where asked, a date or a party."""

    account: str
    currency: str
    normal_side: Side
    posted: str
    pending_debits: str
    pending_credits: str
    available: str
    sequence: int
    effective_on: str | None
    party: str | None


class LedgerAnswer(TypedDict):
    """A set of books."""

    id: str
    code: str
    name: str
    functional_currency: str
    time_zone: str
    day_cut_off: str
    fiscal_year_start: str
    retained_earnings: str | None
    sequence: int
    epoch: int


class RecordAnswer(TypedDict):
    """A log record: `payload` is the exact text that was hashed, hash = SHA-256(previous hash + payload)."""

    sequence: int
    type: str
    recorded_at: str
    hash: str
    payload: str


class BulkResult(TypedDict):
    """What came of one line of a bulk."""

    index: int
    status: Literal["posted", "rejected", "failed"]
    id: NotRequired[str]
    sequence: NotRequired[int]
    replayed: NotRequired[bool]
    code: NotRequired[str]
    detail: NotRequired[str]
    facts: NotRequired[dict[str, Any]]
    errors: NotRequired[list[dict[str, str]]]


class ClosingAnswer(TypedDict):
    """A record of closing: what was closed or reopened, and through which days the ledger is closed after it."""

    ledger: str
    type: str
    period: str
    days_closed_through: str | None
    soft_closed_through: str | None
    closed_through: str | None
    reason: str | None
    entries: list[str]
    sequence: int
    recorded_at: str
    actor: str
    hash: str


class DayVersion(TypedDict):
    """A closed day's balances are those of entries dated on or before it, as of this sequence."""

    version: int
    sequence: int


class DayAnswer(TypedDict):
    """A day: version 1 is that of its close; each entry put into it, or before it, later is one more."""

    ledger: str
    date: str
    status: Literal["open", "closed"]
    versions: list[DayVersion]
    next_after: int | None
    sequence: int


PeriodStatus = Literal["open", "soft-closed", "closed"]


class PeriodRow(TypedDict):
    """A month, or a fiscal year; who moved it to its status, when, and by which record."""

    period: str
    begins_on: str
    ends_on: str
    status: PeriodStatus
    sequence: int | None
    recorded_at: str | None
    actor: str | None
    reason: str | None


class PeriodsAnswer(TypedDict):
    """All months from the first entry to now, in order, and the fiscal years that were ever closed."""

    ledger: str
    items: list[PeriodRow]
    years: list[PeriodRow]
    days_closed_through: str | None
    soft_closed_through: str | None
    closed_through: str | None
    sequence: int


class CheckRow(TypedDict):
    """One thing to look at. `blocking`: the close would be refused. `not_known`: what this service cannot see."""

    check: str
    status: Literal["ok", "blocking", "warning"]
    detail: str
    facts: dict[str, Any]
    not_known: str | None


class CloseCheckAnswer(TypedDict):
    """What is unfinished in a month."""

    ledger: str
    period: str
    status: PeriodStatus
    closable: bool
    checks: list[CheckRow]
    sequence: int
