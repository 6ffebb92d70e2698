"""What a plain ledger is made of: accounts, lines, entries and holds, commands and verdicts, and the rejections.

A request's faults are all collected; `RefusedError` keeps the one that stands first in `ORDER`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from libs.common.journal import LineRequest
from services.ledger.domain import Request

ORDER = (
    "key-reused-with-other-content", "duplicate-entry-id", "duplicate-external-id", "duplicate-hold-id",
    "too-few-lines", "unknown-entry", "already-reversed", "unknown-hold", "hold-not-pending", "hold-expired",
    "hold-not-expired", "unknown-hold-line", "capture-needs-lines", "unknown-account", "account-is-summary",
    "account-is-control", "account-closed", "account-frozen", "party-missing", "currency-mismatch",
    "amount-not-positive", "too-many-decimals", "transfer-sides-differ", "capture-exceeds-hold", "entry-not-balanced",
    "closing-kind-not-permitted", "day-closed", "period-closed", "effective-date-out-of-range", "expiry-not-ahead",
    "insufficient-funds", "balance-condition-failed", "version-conflict", "account-code-taken", "unknown-currency",
    "unknown-parent", "parent-type-differs", "parent-is-closed", "parent-is-below", "account-not-empty",
    "period-not-ended", "period-out-of-order",
    "retained-earnings-missing",
)  # fmt: skip
"""The rejections a history can meet, as docs/errors.md lists them."""

FORGOTTEN = {"key-reused-with-other-content", "hold-not-expired"}
"""What leaves no trace under its key."""

DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0}
OTHER = {"debit": "credit", "credit": "debit"}


@dataclass(frozen=True)
class Command:
    """A request, and who asks it under which key."""

    request: Request
    key: str
    service: str = "api"
    permits: frozenset[str] = frozenset()
    dry_run: bool = False
    lookup: bool = False


class Verdict(NamedTuple):
    """What is answered: a rejection's code or None, the sequence (0 where nothing was posted), known before or not."""

    code: str | None
    sequence: int
    replayed: bool


class Line(NamedTuple):
    """One posted line, or one part of what is pending (negative where it is lifted). Amounts in minor units."""

    sequence: int
    account: str
    side: str
    amount: int
    effective_on: date


@dataclass
class Kept:
    """An account. `version` is the record that last said what it is, `moved` the one that last moved its sums."""

    type: str
    normal: str
    currency: str | None
    summary: bool
    owner: str | None
    parent: str | None
    policy: str
    limit: int
    version: int
    moved: int
    frozen: str | None = None
    closed: bool = False

    def refuses(self, line: LineRequest, service: str) -> set[str]:
        """What stands against a line on it, whatever its amount."""
        if self.summary:
            return {"account-is-summary"}
        into = "in" if line.side == self.normal else "out"
        found = {
            "account-is-control": self.owner not in (None, service),
            "account-closed": self.closed,
            "account-frozen": self.frozen in ("both", into),
            "party-missing": self.owner is not None and line.party is None,
            "currency-mismatch": line.currency not in (None, self.currency),
        }
        return {fault for fault, is_so in found.items() if is_so}


@dataclass
class Posted:
    """An entry, as its reversal needs it."""

    kind: str
    lines: list[LineRequest]
    reversed: bool = False


HeldLine = tuple[str, str, int, str | None]
"""Account, side, amount and party."""


@dataclass
class Held:
    """A hold, and how much of each of its lines is captured."""

    expires_at: datetime | None
    lines: list[HeldLine]
    captured: list[int]
    status: str = "pending"

    def left(self, place: int) -> int:
        return self.lines[place][2] - self.captured[place]


class RefusedError(Exception):
    """The faults of a request, all that were found."""

    def __init__(self, faults: Iterable[str]) -> None:
        super().__init__(min(faults, key=ORDER.index))


def refuse(faults: Iterable[str]) -> None:
    """Raises RefusedError where there are faults."""
    found = set(faults)
    if found:
        raise RefusedError(found)


def minor(text: str, currency: str | None) -> int | str:
    """Minor units of a positive amount, or what is wrong with it."""
    value = Decimal(text).scaleb(DECIMALS[currency or "JPY"])
    if value <= 0:
        return "amount-not-positive"
    return int(value) if value == int(value) and not _too_long(text, currency) else "too-many-decimals"


def _too_long(text: str, currency: str | None) -> bool:
    return len(text.partition(".")[2]) > DECIMALS[currency or "JPY"]
