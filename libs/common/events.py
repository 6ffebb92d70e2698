"""Every event type that exists: its name, its topic and its shape. One place for all services.

    ledger.requests.v1   *-wanted.v1                  somebody wants something of a ledger; always answered
    ledger.answers.v1    request-posted|-rejected.v1  the answer, keyed by the document that asked
    ledger.events.v1     ledger-opened.v1, ...        the ledger's log: each record's own bytes, in order, for ever
    ledger.heads.v1      (no event, a table)          how far the log is published, one row per ledger
    payments.events.v1   payment-received.v1, ...     what payment services say happened (events_payments.py)
    invoicing.events.v1  invoice-issued.v1, ...       what invoicing tells (events_invoicing.py)
    fx.events.v1         rate-published.v1            what fx knows (events_fx.py)

The shapes are plain dataclasses checked by one pass of a TypeAdapter over the JSON bytes. Requests refuse what they do
not know, so that a typing error cannot lose a field; answers and facts ignore it, so that a producer may go first.
Facts carry ids, never personal data. docs/events (JSON Schemas, AsyncAPI) is made of EVENT_TYPES by `libs.cli.schemas`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.event_shapes import (
    ANSWERS,
    FACTS,
    HASH,
    HEADS,
    LEDGER_SOURCE,
    PREVIOUS_HASH,
    REQUESTS,
    TOPICS,
    EntryOrigin,
    Fact,
    HashText,
    KeyText,
    LedgerTopics,
    Open,
    Ordinal,
    RecordedRequest,
)
from libs.common.event_type import EventType
from libs.common.events_accounts import ACCOUNT_CHANGED, ACCOUNT_OPENED, AnsweredAccount
from libs.common.events_fx import RATE_PUBLISHED
from libs.common.events_holds import (
    AnsweredHold,
    CaptureWanted,
    HoldCaptured,
    HoldExpired,
    HoldPlaced,
    HoldReleased,
    HoldWanted,
    ReleaseWanted,
)
from libs.common.events_invoicing import INVOICING_EVENTS
from libs.common.events_payments import PAYMENT_EVENTS
from libs.common.events_periods import PERIOD_EVENTS
from libs.common.journal import (
    AccountRequest,
    AmountText,
    CodeText,
    CurrencyText,
    EntryKind,
    EntryRequest,
    IfClosed,
    LongText,
    ReversalRequest,
    ShortText,
    Side,
    SlugText,
)

__all__ = [
    "ACCOUNT_CHANGED",
    "ACCOUNT_OPENED",
    "ACCOUNT_WANTED",
    "ANSWERS",
    "ENTRY_POSTED",
    "ENTRY_WANTED",
    "EVENT_TYPES",
    "FACTS",
    "HASH",
    "HEADS",
    "LEDGER_HEAD",
    "LEDGER_OPENED",
    "LEDGER_SOURCE",
    "PREVIOUS_HASH",
    "REQUESTS",
    "REQUEST_POSTED",
    "REQUEST_REJECTED",
    "REQUEST_TYPES",
    "REVERSAL_WANTED",
    "TOPICS",
    "AccountWanted",
    "EntryWanted",
    "EventType",
    "LedgerTopics",
    "Wanted",
]  # fmt: skip


# --- requests ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class EntryWanted(EntryRequest):
    """A journal entry someone wants posted: the body of POST entries, and whose answer it is."""

    organization: SlugText
    ledger: SlugText
    idempotency_key: KeyText
    document: ShortText

    def request(self) -> EntryRequest:
        """What is wanted, without who asked."""
        return EntryRequest(
            lines=self.lines,
            id=self.id,
            kind=self.kind,
            effective_on=self.effective_on,
            value_on=self.value_on,
            if_closed=self.if_closed,
            description=self.description,
            external_id=self.external_id,
            origin=self.origin,
            metadata=self.metadata,
            rates=self.rates,
        )


@dataclass(slots=True, kw_only=True)
class AccountWanted(AccountRequest):
    """An account someone wants opened: the body of POST accounts, and whose answer it is."""

    organization: SlugText
    ledger: SlugText
    idempotency_key: KeyText
    document: ShortText

    def request(self) -> AccountRequest:
        """What is wanted, without who asked."""
        return AccountRequest(**{each.name: getattr(self, each.name) for each in fields(AccountRequest)})


@dataclass(slots=True, kw_only=True)
class ReversalWanted(ReversalRequest):
    """An entry someone wants taken back whole, and whose answer it is."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}
    entry_id: UUID
    id: UUID | None = None
    effective_on: date | None = None
    if_closed: IfClosed = "reject"
    description: LongText | None = None
    organization: SlugText
    ledger: SlugText
    idempotency_key: KeyText
    document: ShortText

    def request(self) -> ReversalRequest:
        """What is wanted, without who asked."""
        return ReversalRequest(
            entry_id=self.entry_id,
            id=self.id,
            effective_on=self.effective_on,
            if_closed=self.if_closed,
            description=self.description,
        )


Wanted = EntryWanted | AccountWanted | ReversalWanted | HoldWanted | CaptureWanted | ReleaseWanted

# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class RequestReference(Open):
    """Which request is answered: who asked, under which key, for which document."""

    service: str
    idempotency_key: str
    document: str


@dataclass(slots=True, kw_only=True)
class PostedLine(Open):
    """A line as it was posted; `balance_after` is the account's balance on its normal side, signed."""

    account: CodeText
    side: Side
    amount: AmountText
    currency: CurrencyText
    balance_after: AmountText
    party: str | None = None
    description: str | None = None


@dataclass(slots=True, kw_only=True)
class EntryRate(Open):
    """`rate` units of `counter` for one unit of `base`, as the entry used it."""

    base: CurrencyText
    counter: CurrencyText
    rate: str


@dataclass(slots=True, kw_only=True)
class PostedEntry(Open):
    """A journal entry in the books."""

    id: UUID
    kind: EntryKind
    effective_on: date
    value_on: date
    description: str
    lines: list[PostedLine]
    external_id: str | None = None
    origin: EntryOrigin | None = None
    reverses: UUID | None = None
    hold: UUID | None = None
    rates: list[EntryRate] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class AnsweredEntry(PostedEntry):
    """A journal entry as the one who asked for it is told."""

    ledger: str
    sequence: Ordinal
    recorded_at: datetime
    hash: HashText
    reversed_by: UUID | None
    actor: str


@dataclass(slots=True, kw_only=True)
class RequestPosted(Open):
    """The request was accepted, now or before (`replayed`). Of a capture both a hold and an entry are told."""

    organization: str
    ledger: str
    sequence: Ordinal
    hash: HashText
    request: RequestReference
    replayed: bool
    entry: AnsweredEntry | None = None
    account: AnsweredAccount | None = None
    hold: AnsweredHold | None = None


@dataclass(slots=True, kw_only=True)
class RejectedPlace(Open):
    """What is wrong at one place of the request; `pointer` is an RFC 6901 JSON pointer."""

    pointer: str
    detail: str


@dataclass(slots=True, kw_only=True)
class RequestRejected(Open):
    """The request was refused. `code` is of the ledger's closed set, or `malformed`, which is not remembered."""

    organization: str
    ledger: str
    code: str
    detail: str
    facts: dict[str, Any]
    request: RequestReference
    replayed: bool
    errors: list[RejectedPlace] = field(default_factory=list)


# --- facts: the log's records -----------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class OpenedLedger(Open):
    """A set of books as it was opened."""

    code: SlugText
    name: str
    functional_currency: CurrencyText
    functional_decimals: int
    time_zone: str
    day_cut_off: str
    fiscal_year_start: str
    retained_earnings: str | None


@dataclass(slots=True, kw_only=True)
class LedgerOpened(Fact):
    """The first record of every ledger."""

    type: Literal["ledger-opened"]
    opened: OpenedLedger


@dataclass(slots=True, kw_only=True)
class EntryPosted(Fact):
    """A journal entry was posted; a reversal names what it reverses."""

    type: Literal["entry-posted"]
    request: RecordedRequest
    entry: PostedEntry


@dataclass(slots=True, kw_only=True)
class LedgerHead(Open):
    """How far a ledger's log is on `ledger.events.v1`: everything up to here is there."""

    ledger_id: UUID
    organization: SlugText
    ledger: SlugText
    epoch: Ordinal
    sequence: Ordinal
    hash: HashText


# --- the list ---------------------------------------------------------------------------------------------------------

ENTRY_WANTED: Final = EventType(
    "ledger.entry-wanted.v1", REQUESTS, TypeAdapter(EntryWanted), "A journal entry is wanted."
)
ACCOUNT_WANTED: Final = EventType(
    "ledger.account-wanted.v1", REQUESTS, TypeAdapter(AccountWanted), "An account is wanted."
)
REVERSAL_WANTED: Final = EventType(
    "ledger.reversal-wanted.v1", REQUESTS, TypeAdapter(ReversalWanted), "The reversal of an entry is wanted."
)
HOLD_WANTED: Final = EventType("ledger.hold-wanted.v1", REQUESTS, TypeAdapter(HoldWanted), "A hold is wanted.")
CAPTURE_WANTED: Final = EventType(
    "ledger.capture-wanted.v1", REQUESTS, TypeAdapter(CaptureWanted), "Some or all of a hold is wanted as an entry."
)
RELEASE_WANTED: Final = EventType(
    "ledger.release-wanted.v1", REQUESTS, TypeAdapter(ReleaseWanted), "A hold is wanted no more."
)
REQUEST_POSTED: Final = EventType(
    "ledger.request-posted.v1", ANSWERS, TypeAdapter(RequestPosted), "A request was accepted and is in the books."
)
REQUEST_REJECTED: Final = EventType(
    "ledger.request-rejected.v1", ANSWERS, TypeAdapter(RequestRejected), "A request was refused."
)
LEDGER_OPENED: Final = EventType("ledger.ledger-opened.v1", FACTS, TypeAdapter(LedgerOpened), "A ledger was opened.")
ENTRY_POSTED: Final = EventType(
    "ledger.entry-posted.v1", FACTS, TypeAdapter(EntryPosted), "A journal entry was posted."
)
HOLD_PLACED: Final = EventType(
    "ledger.hold-placed.v1", FACTS, TypeAdapter(HoldPlaced), "Lines are pending from now on."
)
HOLD_CAPTURED: Final = EventType(
    "ledger.hold-captured.v1", FACTS, TypeAdapter(HoldCaptured), "Some or all of a hold becomes the entry that follows."
)
HOLD_RELEASED: Final = EventType(
    "ledger.hold-released.v1", FACTS, TypeAdapter(HoldReleased), "What was left of a hold is pending no more."
)
HOLD_EXPIRED: Final = EventType(
    "ledger.hold-expired.v1", FACTS, TypeAdapter(HoldExpired), "A hold's time was over; it is pending no more."
)
LEDGER_HEAD: Final = EventType(
    "ledger.heads.v1", HEADS, TypeAdapter(LedgerHead), "How far a ledger's log is published."
)

_LISTED: Final[Sequence[EventType[Any]]] = (
    ENTRY_WANTED,
    ACCOUNT_WANTED,
    REVERSAL_WANTED,
    HOLD_WANTED,
    CAPTURE_WANTED,
    RELEASE_WANTED,
    REQUEST_POSTED,
    REQUEST_REJECTED,
    LEDGER_OPENED,
    ACCOUNT_OPENED,
    ACCOUNT_CHANGED,
    ENTRY_POSTED,
    HOLD_PLACED,
    HOLD_CAPTURED,
    HOLD_RELEASED,
    HOLD_EXPIRED,
    *PERIOD_EVENTS,
    LEDGER_HEAD,
    *PAYMENT_EVENTS,
    *INVOICING_EVENTS,
    RATE_PUBLISHED,
)

EVENT_TYPES: Final[Mapping[str, EventType[Any]]] = {listed.name: listed for listed in _LISTED}
"""Every type by its `ce_type`; the ledger's head goes by its topic."""

REQUEST_TYPES: Final[Mapping[str, EventType[Wanted]]] = {
    listed.name: listed for listed in _LISTED if listed.topic == REQUESTS
}
"""What `ledger.requests.v1` may carry."""
