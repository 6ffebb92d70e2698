"""What a decision looks at: one ledger's head, the accounts a batch needs, and what is known of keys and ids.

The writer fills a `LedgerState` from the database before it decides; the state is true exactly as long as the ledger's
sequence is the one in it. Decisions read it; only `LedgerState.apply` moves it forward.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any, Literal, NamedTuple
from uuid import UUID

from libs.common.account_changes import Frozen
from libs.common.errors import Rejection
from libs.common.journal import AccountType, CashFlowClass, EntryKind, Heading, OverdraftPolicy, Side, Translation
from libs.common.money import ISO_4217, Currency
from libs.common.periods import accounting_day

HoldStatus = Literal["pending", "captured", "released", "expired"]


@dataclass(slots=True)
class Account:
    """What a decision needs of an account. Amounts are minor units; `version` is the sequence that last moved it."""

    no: int
    id: UUID
    code: str
    type: AccountType
    normal_side: Side
    currency: str | None
    exponent: int
    summary: bool
    control_owner: str | None
    overdraft_policy: OverdraftPolicy
    overdraft_limit: int
    debits: int = 0
    credits: int = 0
    version: int = 0
    pending_debits: int = 0
    pending_credits: int = 0
    frozen: Frozen | None = None
    closed: bool = False
    guarded: bool = field(init=False)
    """Whether a line on it needs more than an amount in its currency."""

    def __post_init__(self) -> None:
        self.guard()

    def guard(self) -> None:
        """Sets `guarded` to what the account is now."""
        self.guarded = self.summary or self.closed or self.frozen is not None or self.control_owner is not None

    @property
    def posted(self) -> int:
        """The posted balance on the normal side."""
        return self.debits - self.credits if self.normal_side == "debit" else self.credits - self.debits

    @property
    def pending_out(self) -> int:
        """What holds reserve on the side that lowers the balance; what they announce on the other never counts."""
        return self.pending_credits if self.normal_side == "debit" else self.pending_debits

    @property
    def available(self) -> int:
        """The posted balance less what is reserved."""
        return self.posted - self.pending_out


@dataclass(frozen=True, slots=True)
class Ledger:
    """What never changes of a ledger. `no` is its number in this database, the first part of every key."""

    id: UUID
    no: int
    organization_id: UUID
    organization: str
    code: str
    functional_currency: Currency
    time_zone: str
    day_cut_off: time
    fiscal_year_start: str = "01-01"
    retained_earnings: str | None = None

    def accounting_day(self, at: datetime) -> date:
        """The day an instant belongs to."""
        return accounting_day(at, self.time_zone, self.day_cut_off)


class Posted(NamedTuple):
    """The remembered outcome of a request that was accepted: the sequence of its last record."""

    sequence: int


class KnownRequest(NamedTuple):
    """A request key that was seen before, and what came of it."""

    fingerprint: bytes
    outcome: Posted | Rejection


class KnownEntry(NamedTuple):
    """An entry that exists: its place, and who reversed it."""

    id: UUID
    sequence: int
    reversed_by: UUID | None


@dataclass(slots=True)
class ReversedLine:
    """A line of an entry that someone wants reversed, as it was posted."""

    account: str
    side: Side
    amount: str
    party: str | None


@dataclass(slots=True)
class EntryToReverse:
    """A posted entry as its reversal needs it."""

    known: KnownEntry
    description: str
    lines: list[ReversedLine]
    kind: EntryKind = "normal"


@dataclass(slots=True)
class HoldLine:
    """One line of a hold: what is reserved or announced on an account, and how much of it became entries."""

    account: str
    account_no: int
    side: Side
    amount: int
    captured: int = 0
    party: str | None = None

    @property
    def left(self) -> int:
        """What is not captured yet."""
        return self.amount - self.captured


@dataclass(slots=True)
class Hold:
    """Lines that are pending until they are captured, released or expired. `version`: the record that last moved it."""

    id: UUID
    status: HoldStatus
    expires_at: datetime | None
    hold_lines: list[HoldLine]
    placed_sequence: int = 0
    version: int = 0


class Closed(NamedTuple):
    """Through which day the books are closed: by days, softly by months, and by months. None: nothing is."""

    days: date | None = None
    softly: date | None = None
    months: date | None = None

    @property
    def last(self) -> date | None:
        """The last day that is closed in any way."""
        days = [day for day in self if day is not None]
        return max(days) if days else None


NOTHING_CLOSED = Closed()


class Parent(NamedTuple):
    """The account above another one."""

    no: int
    code: str


@dataclass(slots=True, kw_only=True)
class AccountSheet:
    """What is said of an account beyond what postings look at. `opened_at`: as its first record has it."""

    name: str
    heading: Heading | None = None
    parent: Parent | None = None
    reconcilable: bool = False
    cash: bool = False
    cash_flow_class: CashFlowClass | None = None
    monetary: bool = True
    translation: Translation = "closing"
    external_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    opened_at: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What the tables say of an account that someone wants changed.

    `sheet` is what is said of it (`account_records.AccountSheet`), `version` the record that said so, `open_children`
    are codes below it that are not closed, `above` are the codes from the parent that is wanted up to its root.
    """

    sheet: AccountSheet
    version: int
    open_children: list[str]
    above: list[str]


@dataclass(slots=True)
class ClosingFacts:
    """What a step of closing looks at beside the head.

    `first_on`: the earliest effective date of all lines. `closed_years`: the years that are closed, with the ids of
    the entries that closed them. `nominal`: codes of income and expense accounts with their debits less credits (minor
    units) as of the end of the year to be closed, those that are not zero.
    """

    first_on: date | None = None
    closed_years: dict[int, list[UUID]] = field(default_factory=dict)
    nominal: list[tuple[str, int]] = field(default_factory=list)


UNREAD = -1
"""The sequence of a state that has not been read."""


@dataclass(slots=True)
class LedgerState:
    """One ledger at one sequence, as far as the batch at hand needs it."""

    ledger: Ledger
    epoch: int
    sequence: int
    hash: bytes
    recorded_at: datetime
    next_account_no: int
    accounts: dict[str, Account] = field(default_factory=dict)
    currencies: dict[str, Currency] = field(default_factory=dict)
    requests: dict[tuple[str, str], KnownRequest] = field(default_factory=dict)
    entries: dict[UUID, KnownEntry] = field(default_factory=dict)
    external_ids: dict[str, UUID] = field(default_factory=dict)
    to_reverse: dict[UUID, EntryToReverse] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)
    described: dict[str, Described] = field(default_factory=dict)
    closed: Closed = NOTHING_CLOSED
    closing: ClosingFacts = field(default_factory=ClosingFacts)

    @classmethod
    def unread(cls, ledger: Ledger) -> "LedgerState":
        """A state that knows nothing yet; the first load of accounts brings the head."""
        return cls(ledger, 0, UNREAD, b"", datetime.min.replace(tzinfo=UTC), 0)

    @property
    def is_read(self) -> bool:
        """Whether the head is known."""
        return self.sequence != UNREAD

    def begin(
        self, epoch: int, sequence: int, hash_: bytes, recorded_at: datetime, next_account_no: int, closed: Closed
    ) -> None:
        """The head as one snapshot has it."""
        self.epoch, self.sequence, self.hash = epoch, sequence, hash_
        self.recorded_at, self.next_account_no, self.closed = recorded_at, next_account_no, closed

    def copied(self, codes: Iterable[str]) -> "LedgerState":
        """The state to try things on: these accounts are copies, and what is added is not in the original."""
        accounts = dict(self.accounts)
        accounts.update({code: replace(accounts[code]) for code in codes if code in accounts})
        return replace(self, accounts=accounts, entries=dict(self.entries), external_ids=dict(self.external_ids))

    def currency(self, code: str) -> Currency | None:
        """An ISO 4217 currency, one of the organization's own, or None."""
        return ISO_4217.get(code) or self.currencies.get(code)
