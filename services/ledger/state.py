"""What a decision looks at: one ledger's head, the accounts a batch needs, and what is known of keys and ids.

The writer fills a `LedgerState` from the database before it decides; the state is true exactly as long as the ledger's
sequence is the one in it. Decisions read it; only `LedgerState.apply` moves it forward.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from libs.common.errors import Rejection
from libs.common.journal import AccountType, OverdraftPolicy, Side
from libs.common.money import ISO_4217, Currency


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

    @property
    def guarded(self) -> bool:
        """Whether a line on it needs more than an amount in its currency."""
        return self.summary or self.control_owner is not None

    @property
    def posted(self) -> int:
        """The posted balance on the normal side."""
        return self.debits - self.credits if self.normal_side == "debit" else self.credits - self.debits


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

    def accounting_day(self, at: datetime) -> date:
        """The day an instant belongs to: a cut-off before noon ends the day before, a later one begins the next."""
        local = at.astimezone(ZoneInfo(self.time_zone)).replace(tzinfo=None)
        shift = timedelta(hours=self.day_cut_off.hour, minutes=self.day_cut_off.minute)
        return (local - shift if shift < timedelta(hours=12) else local + timedelta(days=1) - shift).date()


@dataclass(frozen=True, slots=True)
class Posted:
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

    @classmethod
    def unread(cls, ledger: Ledger) -> "LedgerState":
        """A state that knows nothing yet; the first load of accounts brings the head."""
        return cls(ledger, 0, UNREAD, b"", datetime.min.replace(tzinfo=UTC), 0)

    @property
    def is_read(self) -> bool:
        """Whether the head is known."""
        return self.sequence != UNREAD

    def begin(self, epoch: int, sequence: int, hash_: bytes, recorded_at: datetime, next_account_no: int) -> None:
        """The head as one snapshot has it."""
        self.epoch, self.sequence, self.hash = epoch, sequence, hash_
        self.recorded_at, self.next_account_no = recorded_at, next_account_no

    def currency(self, code: str) -> Currency | None:
        """An ISO 4217 currency, one of the organization's own, or None."""
        return ISO_4217.get(code) or self.currencies.get(code)
