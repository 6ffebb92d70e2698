"""The records of closing: days, months softly and for good, years; and what was reopened.

Each says through which day the books are closed after it, so that a reader needs the last of them alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

from services.ledger.state import Account, Closed, LedgerState

ClosingType = Literal[
    "day-closed", "period-soft-closed", "period-closed", "period-reopened", "year-closed", "year-reopened"
]


@dataclass(slots=True, kw_only=True)
class PeriodMoved:
    """`period` is a day (2026-11-21), a month (2026-11) or a fiscal year by the year it begins in (2026).

    `entries` are those that a year's end posted, just before this record, or that its reopening takes back, just after.
    """

    type: ClosingType
    period: str
    closed: Closed
    reason: str | None = None
    entries: Sequence[UUID] = ()

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload."""
        closing: dict[str, Any] = {
            "period": self.period,
            "days_closed_through": _text(self.closed.days),
            "soft_closed_through": _text(self.closed.softly),
            "closed_through": _text(self.closed.months),
        }
        if self.reason is not None:
            closing["reason"] = self.reason
        if self.entries:
            closing["entries"] = [str(id_) for id_ in self.entries]
        return {"type": self.type, "closing": closing}

    def moved_accounts(self) -> Iterable[Account]:
        """None."""
        return ()

    def apply(self, state: LedgerState, _sequence: int, /) -> None:
        """The books are closed so far from now on."""
        state.closed = self.closed


def _text(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None
