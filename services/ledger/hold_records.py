"""The records of holds: placed, captured in part or whole, released, expired. All move pending sums, none a posted one.

A capture is two records: this one, which lifts what was pending, and the entry that is posted for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from libs.common.journal import Origin
from libs.common.money import to_text
from services.ledger.records import instant
from services.ledger.state import Account, Hold, HoldStatus, LedgerState


@dataclass(slots=True, kw_only=True)
class HoldPlaced:
    """Lines that are pending from now on. `accounts` are those of the lines, line by line."""

    hold: Hold
    accounts: list[Account]
    description: str
    external_id: str | None = None
    origin: Origin | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload."""
        hold: dict[str, Any] = {
            "id": str(self.hold.id),
            "description": self.description,
            "expires_at": instant(self.hold.expires_at) if self.hold.expires_at is not None else None,
        }
        if self.external_id is not None:
            hold["external_id"] = self.external_id
        if self.origin is not None:
            hold["origin"] = {"service": self.origin.service, "document": self.origin.document}
        if self.metadata:
            hold["metadata"] = self.metadata
        hold["lines"] = [
            {
                "account": account.code,
                "side": hold_line.side,
                "amount": to_text(hold_line.amount, account.exponent),
                "currency": account.currency,
                **({"party": hold_line.party} if hold_line.party is not None else {}),
            }
            for account, hold_line in zip(self.accounts, self.hold.hold_lines, strict=True)
        ]
        return {"type": "hold-placed", "hold": hold}

    def moved_accounts(self) -> Iterable[Account]:
        """The accounts of its lines, each once."""
        return {account.no: account for account in self.accounts}.values()

    @property
    def written_lines(self) -> list[bool]:
        """Which lines of the hold it writes: all."""
        return [True] * len(self.accounts)

    def apply(self, state: LedgerState, sequence: int, /) -> None:
        """Adds to what is pending."""
        self.hold.placed_sequence = self.hold.version = sequence
        state.holds[self.hold.id] = self.hold
        for account, hold_line in zip(self.accounts, self.hold.hold_lines, strict=True):
            _pend(account, hold_line.side, hold_line.amount, sequence)


@dataclass(slots=True, kw_only=True)
class HoldLifted:
    """Some or all of a hold is pending no more: captured by an entry, released, or expired.

    `amounts` are minor units line by line (0 where a line is left as it is); `status` is the hold's after it, `version`
    its own before.
    """

    type: Literal["hold-captured", "hold-released", "hold-expired"]
    hold: Hold
    accounts: list[Account]
    amounts: list[int]
    status: HoldStatus
    version: int
    entry_id: UUID | None = None
    reason: str | None = None

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload."""
        hold: dict[str, Any] = {"id": str(self.hold.id), "status": self.status}
        if self.entry_id is not None:
            hold["entry_id"] = str(self.entry_id)
        if self.reason is not None:
            hold["reason"] = self.reason
        hold["lines"] = [
            {
                "line": number,
                "account": account.code,
                "side": hold_line.side,
                "amount": to_text(amount, account.exponent),
                "currency": account.currency,
                "remaining": to_text(hold_line.left - amount, account.exponent),
            }
            for number, (account, hold_line, amount) in enumerate(
                zip(self.accounts, self.hold.hold_lines, self.amounts, strict=True), 1
            )
            if amount
        ]
        return {"type": self.type, "hold": hold}

    def moved_accounts(self) -> Iterable[Account]:
        """The accounts of the lines that it lifts, each once."""
        lifted = zip(self.accounts, self.amounts, strict=True)
        return {account.no: account for account, amount in lifted if amount}.values()

    @property
    def written_lines(self) -> list[bool]:
        """Which lines of the hold it writes: of those it captures, how much is captured now."""
        return [self.type == "hold-captured" and amount > 0 for amount in self.amounts]

    def apply(self, state: LedgerState, sequence: int, /) -> None:
        """Takes from what is pending."""
        hold = self.hold
        hold.status, hold.version = self.status, sequence
        state.holds[hold.id] = hold
        for account, hold_line, amount in zip(self.accounts, hold.hold_lines, self.amounts, strict=True):
            if not amount:
                continue
            if self.type == "hold-captured":
                hold_line.captured += amount
            _pend(account, hold_line.side, -amount, sequence)


HoldRecord = HoldPlaced | HoldLifted


def _pend(account: Account, side: str, amount: int, sequence: int) -> None:
    if side == "debit":
        account.pending_debits += amount
    else:
        account.pending_credits += amount
    account.version = sequence


def hold_answer(payload: dict[str, Any], hash_: bytes) -> dict[str, Any]:
    """A hold as those are told who placed or moved it, from the log record of that."""
    hold = payload["hold"]
    return {
        "id": None,
        "ledger": payload["ledger"],
        "sequence": payload["sequence"],
        "recorded_at": payload["recorded_at"],
        "hash": hash_.hex(),
        "actor": payload["actor"],
        "status": "pending",
        **hold,
    }
