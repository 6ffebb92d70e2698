"""The vocabulary of holds: entries that are announced now and posted later, in part or whole, or never.

A hold's lines are pending until they are captured (an entry is posted for them), released, or the hold expires. What is
pending on the side that lowers an account is not available to anybody else meanwhile; what is pending on the other side
announces and raises nothing. Like journal.py these are plain dataclasses, which the edges check JSON straight into.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from annotated_types import Ge, Le, Len

from libs.common.errors import Fault
from libs.common.journal import (
    LINES_MAX,
    AmountText,
    CurrencyText,
    IfClosed,
    LongText,
    Metadata,
    Origin,
    ShortText,
    Side,
)

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}

INSTANT_MIN: Final = datetime(1900, 1, 1, tzinfo=UTC)
INSTANT_MAX: Final = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WithZone:
    """An instant says its zone, and stays where it can be told in any other."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        schema |= {"tz_constraint": "aware", "ge": INSTANT_MIN, "le": INSTANT_MAX}
        return schema


Instant = Annotated[datetime, WithZone()]


@dataclass(slots=True)
class HoldLineRequest:
    """One line of a hold: a positive amount on one side of one account, in the account's currency."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    account: Annotated[str, Len(1, 128)]
    side: Side
    amount: AmountText
    currency: CurrencyText | None = None
    party: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class HoldRequest:
    """Lines someone wants held, balanced like an entry's. Without `expires_at` they are held until someone ends it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    lines: list[HoldLineRequest]
    id: UUID | None = None
    expires_at: Instant | None = None
    description: LongText = ""
    external_id: ShortText | None = None
    origin: Origin | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True)
class CapturedLine:
    """How much of one line is captured. The line goes by its number (from 1), or by an account that no other has."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    amount: AmountText
    line: Annotated[int, Ge(1), Le(LINES_MAX)] | None = None
    account: Annotated[str, Len(1, 128)] | None = None


@dataclass(slots=True, kw_only=True)
class CaptureBody:
    """How much is captured: an amount of two lines, or line by line, or all that is left. `id` is the entry's."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    id: UUID | None = None
    amount: AmountText | None = None
    lines: list[CapturedLine] | None = None
    effective_on: date | None = None
    value_on: date | None = None
    if_closed: IfClosed = "reject"
    description: LongText | None = None
    external_id: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class CaptureRequest(CaptureBody):
    """An entry someone wants posted for some or all of a hold."""

    hold_id: UUID


@dataclass(slots=True, kw_only=True)
class ReleaseBody:
    """Why what is left of a hold is wanted no more."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    reason: LongText | None = None


@dataclass(slots=True, kw_only=True)
class ReleaseRequest(ReleaseBody):
    """What is left of a hold is wanted no more."""

    hold_id: UUID


@dataclass(slots=True, kw_only=True)
class ExpireRequest:
    """A hold's time is over; the ledger asks this of itself."""

    hold_id: UUID


HoldMoveRequest = CaptureRequest | ReleaseRequest | ExpireRequest
"""What moves a hold that is there."""


def capture_faults(request: CaptureBody) -> list[Fault]:
    """What is wrong with a capture whatever the hold is."""
    faults = []
    if request.amount is not None and request.lines is not None:
        faults.append(Fault("/lines", "stands beside /amount: one of them says how much"))
    for place, line in enumerate(request.lines or ()):
        if (line.line is None) == (line.account is None):
            faults.append(Fault(f"/lines/{place}", "names its line either by its number or by its account"))
    return faults
