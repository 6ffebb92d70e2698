"""What the log is made of: records, their bytes, and how a state moves over them.

A record's payload is JSON text, exactly the bytes that are hashed: hash = SHA-256(previous hash + payload). The payload
holds the ledger, epoch, sequence, type and recorded_at, so that nothing outside it can be altered unseen, and the
request's key and fingerprint, so that what was promised to whom can be rebuilt. The same bytes go to Kafka.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from libs.common.journal import EntryKind, Origin, Rate, Side
from libs.common.money import to_text
from services.ledger.state import Account, Ledger, LedgerState


@dataclass(slots=True)
class EntryLine:
    """One line on its way into an entry. `balance_after` is on the account's normal side, in minor units."""

    account: Account
    side: Side
    amount: int
    party: str | None
    description: str | None
    balance_after: int = 0


@dataclass(slots=True, kw_only=True)
class EntryPosted:
    """An entry that balances. `moved` has debits and credits of each account after it.

    `hold` is the one it captures, `permits` are the scopes without which it would have been refused, `backdated` says
    that its day was closed already.
    """

    id: UUID
    kind: EntryKind
    effective_on: date
    value_on: date
    description: str
    external_id: str | None
    origin: Origin | None
    reverses: UUID | None
    rates: list[Rate]
    metadata: dict[str, Any]
    entry_lines: list[EntryLine]
    moved: list[tuple[Account, int, int]]
    hold: UUID | None = None
    permits: tuple[str, ...] = ()
    backdated: bool = False

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload."""
        entry: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "effective_on": self.effective_on,
            "value_on": self.value_on,
            "description": self.description,
        }
        if self.external_id is not None:
            entry["external_id"] = self.external_id
        if self.origin is not None:
            entry["origin"] = {"service": self.origin.service, "document": self.origin.document}
        if self.reverses is not None:
            entry["reverses"] = str(self.reverses)
        if self.rates:
            entry["rates"] = [{"base": rate.base, "counter": rate.counter, "rate": rate.rate} for rate in self.rates]
        if self.metadata:
            entry["metadata"] = self.metadata
        if self.hold is not None:
            entry["hold"] = str(self.hold)
        if self.permits:
            entry["permits"] = list(self.permits)
        entry["lines"] = [_line(entry_line) for entry_line in self.entry_lines]
        return {"type": "entry-posted", "entry": entry}

    def moved_accounts(self) -> Iterable[Account]:
        """The accounts of its lines."""
        return [account for account, _, _ in self.moved]

    def apply(self, _state: LedgerState, sequence: int, /) -> None:
        """Moves the posted sums."""
        for account, debits, credits_ in self.moved:
            account.debits, account.credits, account.version = debits, credits_, sequence


def _line(entry_line: EntryLine) -> dict[str, Any]:
    account = entry_line.account
    line: dict[str, Any] = {
        "account": account.code,
        "side": entry_line.side,
        "amount": to_text(entry_line.amount, account.exponent),
        "currency": account.currency,
        "balance_after": to_text(entry_line.balance_after, account.exponent),
    }
    if entry_line.party is not None:
        line["party"] = entry_line.party
    if entry_line.description is not None:
        line["description"] = entry_line.description
    return line


class Record(Protocol):
    """What a decision adds to the log. `EntryPosted` is one; the others are in *_records.py."""

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload, with its `type`."""
        ...

    def moved_accounts(self) -> Iterable[Account]:
        """The accounts whose sums, posted or pending, it moves."""
        ...

    def apply(self, state: LedgerState, sequence: int, /) -> None:
        """Moves the state over it."""
        ...


class Sealed(NamedTuple):
    """A record in its place in the log. `body` is its own part of the payload."""

    sequence: int
    body: dict[str, Any]
    payload: bytes
    hash: bytes


class Request(Protocol):
    """What a record says of the request it comes from (`domain.Stamp` is one)."""

    recorded_at: datetime
    service: str
    subject: str
    scope: str
    key: str
    fingerprint: bytes
    traceparent: str | None


def append(state: LedgerState, record: Record, request: Request) -> Sealed:
    """Puts a decided record behind the state's head and moves the state over it."""
    sequence = state.sequence + 1
    body = record.body()
    payload = seal(state.ledger, state.epoch, sequence, body, request)
    state.hash = sha256(state.hash + payload).digest()
    state.sequence, state.recorded_at = sequence, request.recorded_at
    record.apply(state, sequence)
    return Sealed(sequence, body, payload, state.hash)


def seal(ledger: Ledger, epoch: int, sequence: int, body: dict[str, Any], request: Request) -> bytes:
    """The payload: the bytes that are stored, hashed and published."""
    envelope: dict[str, Any] = {
        "type": body["type"],
        "organization": ledger.organization,
        "ledger": ledger.code,
        "ledger_id": ledger.id,
        "epoch": epoch,
        "sequence": sequence,
        "recorded_at": instant(request.recorded_at),
        "actor": request.subject,
        "request": {
            "service": request.service,
            "scope": request.scope,
            "key": request.key,
            "fingerprint": request.fingerprint.hex(),
        },
    }
    if request.traceparent is not None:
        envelope["traceparent"] = request.traceparent
    envelope.update(body)
    return orjson.dumps(envelope)


@lru_cache(maxsize=64)
def instant(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def entry_answer(payload: dict[str, Any], hash_: bytes, reversed_by: UUID | None = None) -> dict[str, Any]:
    """An entry as callers see it, from its log record."""
    return {
        "id": None,
        "ledger": payload["ledger"],
        "sequence": payload["sequence"],
        "kind": None,
        "effective_on": None,
        "value_on": None,
        "recorded_at": payload["recorded_at"],
        "hash": hash_.hex(),
        "description": "",
        "external_id": None,
        "origin": None,
        "reverses": None,
        "reversed_by": str(reversed_by) if reversed_by else None,
        "hold": None,
        "actor": payload["actor"],
        "rates": [],
        "metadata": {},
        **payload["entry"],
    }
