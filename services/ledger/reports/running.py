"""Lines with the balance after each, in the order of effective day, sequence and line."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from libs.common.journal import Side
from libs.common.money import to_text
from services.ledger.reports.answers import StatementLine
from services.ledger.reports.tree import on_side

COLUMNS = (
    "effective_on", "value_on", "sequence", "line", "entry", "kind", "description", "external_id", "origin", "party",
    "side", "amount", "balance",
)  # fmt: skip
AMOUNT_COLUMNS = frozenset({"amount", "balance"})


class Place(NamedTuple):
    """Where a line stands in that order."""

    effective_on: date
    sequence: int
    line: int


@dataclass(frozen=True, slots=True)
class LineRead:
    """A posted line with what is said of its entry; the amount in minor units."""

    place: Place
    value_on: date
    entry: UUID
    kind: str
    description: str
    external_id: str | None
    origin: str | None
    party: str | None
    side: Side
    amount: int


@dataclass(slots=True)
class Running:
    """The balance on its way through the lines of one account, in minor units, and the turnover so far."""

    normal_side: Side
    exponent: int
    balance: int
    debits: int = 0
    credits: int = 0

    def through(self, lines: Iterable[LineRead]) -> list[StatementLine]:
        """The lines with the balance after each."""
        return [self._after(line) for line in lines]

    def _after(self, line: LineRead) -> StatementLine:
        debit, credit = (line.amount, 0) if line.side == "debit" else (0, line.amount)
        self.debits += debit
        self.credits += credit
        self.balance += on_side(self.normal_side, debit, credit)
        return statement_line(line, self.exponent, self.balance)


def statement_line(line: LineRead, exponent: int, balance: int | None) -> StatementLine:
    """A line as it is answered, with the balance after it where there is one."""
    answer: StatementLine = {
        "effective_on": line.place.effective_on.isoformat(),
        "value_on": line.value_on.isoformat(),
        "sequence": line.place.sequence,
        "line": line.place.line,
        "entry": str(line.entry),
        "kind": line.kind,
        "description": line.description,
        "external_id": line.external_id,
        "origin": line.origin,
        "party": line.party,
        "side": line.side,
        "amount": to_text(line.amount, exponent),
    }
    if balance is not None:
        answer["balance"] = to_text(balance, exponent)
    return answer
