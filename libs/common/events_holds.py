"""The events of holds: what is wanted of them, what is answered, and what the log says. The list is in events.py."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from libs.common.event_shapes import EntryOrigin, Fact, HashText, KeyText, Open, Ordinal, RecordedRequest
from libs.common.holds import CaptureRequest, HoldRequest, ReleaseRequest
from libs.common.journal import AmountText, CodeText, CurrencyText, ShortText, Side, SlugText

HoldStatus = Literal["pending", "captured", "released", "expired"]

# --- requests ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class HoldWanted(HoldRequest):
    """A hold someone wants placed: the body of POST holds, and whose answer it is."""

    organization: SlugText
    ledger: SlugText
    idempotency_key: KeyText
    document: ShortText

    def request(self) -> HoldRequest:
        """What is wanted, without who asked."""
        return HoldRequest(**{each.name: getattr(self, each.name) for each in fields(HoldRequest)})


@dataclass(slots=True, kw_only=True)
class CaptureWanted(CaptureRequest):
    """An entry someone wants posted for some or all of a hold, and whose answer it is."""

    organization: SlugText
    ledger: SlugText
    idempotency_key: KeyText
    document: ShortText

    def request(self) -> CaptureRequest:
        """What is wanted, without who asked."""
        return CaptureRequest(**{each.name: getattr(self, each.name) for each in fields(CaptureRequest)})


@dataclass(slots=True, kw_only=True)
class ReleaseWanted(ReleaseRequest):
    """A hold someone wants no more, and whose answer it is."""

    organization: SlugText
    ledger: SlugText
    idempotency_key: KeyText
    document: ShortText

    def request(self) -> ReleaseRequest:
        """What is wanted, without who asked."""
        return ReleaseRequest(hold_id=self.hold_id, reason=self.reason)


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class AnsweredHoldLine(Open):
    """A line as it was held, or what was moved of it: then with its number and what is left."""

    account: CodeText
    side: Side
    amount: AmountText
    currency: CurrencyText
    party: str | None = None
    line: Ordinal | None = None
    remaining: AmountText | None = None


@dataclass(slots=True, kw_only=True)
class AnsweredHold(Open):
    """What was done to a hold, as the one who asked for it is told, and the lines that it concerned."""

    id: UUID
    ledger: str
    status: HoldStatus
    sequence: Ordinal
    recorded_at: datetime
    hash: HashText
    actor: str
    lines: list[AnsweredHoldLine]
    entry_id: UUID | None = None
    reason: str | None = None
    description: str | None = None
    expires_at: datetime | None = None
    external_id: str | None = None
    origin: EntryOrigin | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


# --- facts ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class HeldLine(Open):
    """A line that is pending."""

    account: CodeText
    side: Side
    amount: AmountText
    currency: CurrencyText
    party: str | None = None


@dataclass(slots=True, kw_only=True)
class PlacedHold(Open):
    """A hold as it was placed."""

    id: UUID
    description: str
    expires_at: datetime | None
    lines: list[HeldLine]
    external_id: str | None = None
    origin: EntryOrigin | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class LiftedLine(Open):
    """So much of a hold's line, by its number from 1, is pending no more; so much of it can be captured still."""

    line: Ordinal
    account: CodeText
    side: Side
    amount: AmountText
    currency: CurrencyText
    remaining: AmountText


@dataclass(slots=True, kw_only=True)
class LiftedHold(Open):
    """Which hold was moved, how it stands then, and by how much its lines are lifted."""

    id: UUID
    status: HoldStatus
    lines: list[LiftedLine]


@dataclass(slots=True, kw_only=True)
class CapturedHold(LiftedHold):
    """`entry_id` is posted by the next record."""

    entry_id: UUID


@dataclass(slots=True, kw_only=True)
class ReleasedHold(LiftedHold):
    """`reason` is what the asker gave."""

    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class HoldPlaced(Fact):
    """Lines are pending from now on."""

    type: Literal["hold-placed"]
    request: RecordedRequest
    hold: PlacedHold


@dataclass(slots=True, kw_only=True)
class HoldCaptured(Fact):
    """Some or all of a hold becomes an entry, which the next record posts."""

    type: Literal["hold-captured"]
    request: RecordedRequest
    hold: CapturedHold


@dataclass(slots=True, kw_only=True)
class HoldReleased(Fact):
    """What was left of a hold is pending no more."""

    type: Literal["hold-released"]
    request: RecordedRequest
    hold: ReleasedHold


@dataclass(slots=True, kw_only=True)
class HoldExpired(Fact):
    """A hold's time was over; what was left of it is pending no more."""

    type: Literal["hold-expired"]
    request: RecordedRequest
    hold: LiftedHold
