"""What a batch of records writes, folded in memory: each table's rows once, in their final state.

Steps of one SQL statement share a snapshot and cannot see each other, so every projection table is written by exactly
one step, as one row per key. Any mix of records in one batch leaves the same tables as batches of one: appended rows
are concatenated, moved rows keep their last state (and the version they were decided on), sums are added up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from libs.common.errors import Rejection
from services.ledger.account_records import AccountChanged, AccountOpened
from services.ledger.closing_records import PeriodMoved
from services.ledger.domain import Stamp
from services.ledger.hold_records import HoldLifted, HoldPlaced
from services.ledger.records import EntryPosted, Record, Sealed
from services.ledger.state import Account, AccountSheet

BLOCK_BITS = 16
"""Daily totals are kept by blocks of 2**16 sequences, so that they can be added up as of any of them."""

NEW = -1
"""The version a balance row is expected to have that does not exist yet."""


@dataclass(slots=True)
class Rows:
    """Rows of one table on their way into arrays for unnest."""

    width: int
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> tuple[tuple[Any, ...], ...]:
        """The rows column by column."""
        return tuple(zip(*self.rows, strict=True)) if self.rows else ((),) * self.width


class HeldLine(NamedTuple):
    """A hold's line as the batch leaves it."""

    account_no: int
    debit: bool
    amount: int
    captured: int
    party: str | None


class Held(NamedTuple):
    """A hold as the batch leaves it, and the version it was decided on."""

    status: str
    expires_at: datetime | None
    placed_sequence: int
    version: int
    decided_on: int


@dataclass(slots=True)
class Batch:
    """Everything one statement writes. `expected` is the sequence it was decided on."""

    expected: int
    log: Rows = field(default_factory=lambda: Rows(3))
    requests: Rows = field(default_factory=lambda: Rows(5))
    entries: Rows = field(default_factory=lambda: Rows(11))
    lines: Rows = field(default_factory=lambda: Rows(9))
    accounts: list[dict[str, Any]] = field(default_factory=list)
    revised: list[dict[str, Any]] = field(default_factory=list)
    changes: Rows = field(default_factory=lambda: Rows(2))
    decided_on: dict[int, int] = field(default_factory=dict)
    touched: dict[int, Account] = field(default_factory=dict)
    daily: dict[tuple[date, int], dict[int, list[int]]] = field(default_factory=dict)
    parties: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    holds: dict[UUID, Held] = field(default_factory=dict)
    hold_lines: dict[tuple[UUID, int], HeldLine] = field(default_factory=dict)
    pendings: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    closings: Rows = field(default_factory=lambda: Rows(7))
    backdatings: Rows = field(default_factory=lambda: Rows(2))

    def expect(self, record: Record) -> None:
        """Notes the versions that a record's accounts have before the state moves over it; the batch's first stay."""
        decided_on = self.decided_on
        for account in record.moved_accounts():
            if account.no not in decided_on:
                decided_on[account.no] = account.version

    def add(self, record: Record, sealed: Sealed) -> None:
        """Folds one record in, after the state moved over it."""
        self.log.rows.append((sealed.sequence, sealed.payload.decode(), sealed.hash))
        if record.__class__ is EntryPosted:
            self._add_entry(record, sealed.sequence)
            return
        match record:
            case AccountOpened():
                self._add_account(record, sealed)
            case AccountChanged():
                self._add_change(record, sealed)
            case HoldPlaced() | HoldLifted():
                self._add_hold(record, sealed.sequence)
            case PeriodMoved():
                row = (sealed.sequence, record.type, record.period, record.reason, *record.closed)
                self.closings.rows.append(row)
            case _:
                raise AssertionError(f"no table for {type(record)}")

    def add_outcome(self, stamp: Stamp, outcome: int | Rejection) -> None:
        """Remembers the answer under the request's key: the last sequence, or the rejection."""
        if isinstance(outcome, int):
            self.requests.rows.append((stamp.scope, stamp.key, stamp.fingerprint, outcome, None))
            return
        text = orjson.dumps(
            {
                "code": outcome.code,
                "detail": outcome.detail,
                "facts": outcome.facts,
                "errors": [list(fault) for fault in outcome.errors],
            }
        )
        self.requests.rows.append((stamp.scope, stamp.key, stamp.fingerprint, None, text.decode()))

    def _add_entry(self, record: EntryPosted, sequence: int) -> None:
        origin = record.origin
        self.entries.rows.append(
            (
                record.id,
                sequence,
                record.kind,
                record.effective_on,
                record.value_on,
                record.description,
                record.external_id,
                origin.service if origin else None,
                origin.document if origin else None,
                record.reverses,
                len(record.entry_lines),
            )
        )
        on, add_line = record.effective_on, self.lines.rows.append
        day = self.daily.setdefault((on, sequence >> BLOCK_BITS), {})
        for place, entry_line in enumerate(record.entry_lines, 1):
            account, amount, party = entry_line.account, entry_line.amount, entry_line.party
            no, debit = account.no, entry_line.side == "debit"
            add_line((no, sequence, place, debit, amount, account.currency, entry_line.balance_after, on, party))
            sums = day.get(no)
            if sums is None:
                sums = day[no] = [0, 0]
            sums[0 if debit else 1] += amount
            if party is not None:
                total = self.parties.setdefault((no, party), [0, 0])
                total[0 if debit else 1] += amount
        for account, _, _ in record.moved:
            self.touched[account.no] = account
        if record.backdated:
            self.backdatings.rows.append((sequence, on))

    def _add_account(self, record: AccountOpened, sealed: Sealed) -> None:
        account = record.account
        self.accounts.append(_account_row(record.sheet, sealed))
        self.changes.rows.append((account.no, sealed.sequence))
        self.decided_on[account.no] = NEW
        self.touched[account.no] = account

    def _add_change(self, record: AccountChanged, sealed: Sealed) -> None:
        """Comes alone in its batch: it is decided under the row lock."""
        self.revised.append({**_account_row(record.sheet, sealed), "decided_on": record.version})
        self.changes.rows.append((record.account.no, sealed.sequence))

    def _add_hold(self, record: HoldPlaced | HoldLifted, sequence: int) -> None:
        hold = record.hold
        known = self.holds.get(hold.id)
        decided_on = known.decided_on if known else NEW if isinstance(record, HoldPlaced) else record.version
        self.holds[hold.id] = Held(hold.status, hold.expires_at, hold.placed_sequence, sequence, decided_on)
        for number, (hold_line, written) in enumerate(zip(hold.hold_lines, record.written_lines, strict=True), 1):
            if written:
                self.hold_lines[hold.id, number] = HeldLine(
                    hold_line.account_no,
                    hold_line.side == "debit",
                    hold_line.amount,
                    hold_line.captured,
                    hold_line.party,
                )
        for account in record.moved_accounts():
            self.pendings[account.no, sequence] = account.pending_debits, account.pending_credits
            self.touched[account.no] = account

    def arguments(self) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """The steps of the statement that have rows (see statement.py), and their arguments after the ledger's head.

        To be made before the next batch is decided: accounts are taken as they are now, and move on with it.
        """
        steps: list[str] = []
        arguments: list[Any] = []
        counts: list[int] = []
        days = [(no, on, block, *sums) for (on, block), day in self.daily.items() for no, sums in day.items()]
        for name, rows, columns in (
            ("log", self.log.rows, self._log),
            ("requests", self.requests.rows, self._requests),
            ("entries", self.entries.rows, self._entries),
            ("lines", self.lines.rows, self._lines),
            ("accounts", self.accounts, lambda: (orjson.dumps(self.accounts).decode(),)),
            ("revised", self.revised, lambda: (orjson.dumps(self.revised).decode(),)),
            ("changes", self.changes.rows, lambda: _plain(*self.changes.columns())),
            ("balances", () if self.holds else self.touched, self._balances),
            ("pending_balances", self.touched if self.holds else (), self._pending_balances),
            ("daily", days, lambda: _plain(*zip(*days, strict=True))),
            ("parties", self.parties, self._parties),
            ("holds", self.holds, self._holds),
            ("hold_lines", self.hold_lines, self._hold_lines),
            ("pendings", self.pendings, self._pendings),
            ("closings", self.closings.rows, self._closings),
            ("backdatings", self.backdatings.rows, lambda: _plain(*self.backdatings.columns())),
        ):
            if rows:
                steps.append(name)
                arguments.extend(columns())
                counts.append(len(rows))
        return tuple(steps), (*arguments, counts)

    # --- the columns of each step, in the order of its parameters ----------------------------------------------------

    def _log(self) -> Iterable[Any]:
        sequences, payloads, hashes = self.log.columns()
        return *_plain(sequences), payloads, hashes

    def _requests(self) -> Iterable[Any]:
        scopes, keys, fingerprints, sequences, rejections = self.requests.columns()
        return _texts(scopes), _texts(keys), fingerprints, *_plain(sequences), _texts(rejections)

    def _entries(self) -> Iterable[Any]:
        ids, sequences, kinds, effective, value, *texts, reverses, counts = self.entries.columns()
        ids_, sequences_, effective_, value_, reverses_, counts_ = _plain(
            ids, sequences, effective, value, reverses, counts
        )
        return ids_, sequences_, _texts(kinds), effective_, value_, *map(_texts, texts), reverses_, counts_

    def _lines(self) -> Iterable[Any]:
        *first, currencies, balances, dates, parties = self.lines.columns()
        *first_, balances_, dates_ = _plain(*first, balances, dates)
        return *first_, _texts(currencies), balances_, dates_, _texts(parties)

    def _balances(self) -> Iterable[Any]:
        moved = self.touched.values()
        sums = [(account.no, account.debits, account.credits, account.version) for account in moved]
        decided_on = [self.decided_on[no] for no in self.touched]
        return *_plain(*zip(*sums, strict=True), decided_on), _texts([account.currency for account in moved])

    def _pending_balances(self) -> Iterable[Any]:
        sums = [(account.pending_debits, account.pending_credits) for account in self.touched.values()]
        return *self._balances(), *_plain(*zip(*sums, strict=True))

    def _parties(self) -> Iterable[Any]:
        numbers, parties = zip(*self.parties, strict=True)
        numbers_, *sums = _plain(numbers, *zip(*self.parties.values(), strict=True))
        return numbers_, _texts(parties), *sums

    def _holds(self) -> Iterable[Any]:
        status, expires_at, *rest = zip(*self.holds.values(), strict=True)
        return list(self.holds), status, expires_at, *_plain(*rest)

    def _hold_lines(self) -> Iterable[Any]:
        ids, numbers = zip(*self.hold_lines, strict=True)
        *rest, parties = zip(*self.hold_lines.values(), strict=True)
        return ids, *_plain(numbers, *rest), parties

    def _pendings(self) -> Iterable[Any]:
        return _plain(*zip(*self.pendings, strict=True), *zip(*self.pendings.values(), strict=True))

    def _closings(self) -> Iterable[Any]:
        sequences, types, periods, reasons, *closed = self.closings.columns()
        sequences_, *closed_ = _plain(sequences, *closed)
        return sequences_, types, periods, reasons, *closed_


def _account_row(sheet: AccountSheet, sealed: Sealed) -> dict[str, Any]:
    account = sealed.body["account"]
    overdraft = account["overdraft"]
    limit = int(overdraft["limit"].replace(".", "")) if overdraft["limit"] is not None else 0
    return {
        **account,
        "parent_no": sheet.parent.no if sheet.parent else None,
        "overdraft_policy": overdraft["policy"],
        "overdraft_limit": str(limit),
        "version": sealed.sequence,
    }


def _plain(*columns: Sequence[Any]) -> list[str]:
    """Arrays as PostgreSQL reads them, of numbers, dates, ids, truths and nothing.

    JSON writes these as PostgreSQL does, and orjson a hundred times faster than asyncpg looks at every element: all
    columns at once, to be taken apart where one ends and the next begins. What is larger than 64 bits is written by
    Python.
    """
    try:
        written = orjson.dumps(columns).decode()[2:-2].split("],[")
    except TypeError:
        written = [",".join("null" if value is None else str(value) for value in column) for column in columns]
    return [f"{{{column}}}" for column in written]


def _texts(column: Sequence[str | None]) -> str | None:
    """An array of texts as PostgreSQL reads it, or None where nothing is in it: those beside it fill it up.

    JSON quotes texts as PostgreSQL does, but for what it escapes.
    """
    if column.count(None) == len(column):
        return None
    written = orjson.dumps(column)
    if b"\\" not in written:
        return f"{{{written[1:-1].decode()}}}"
    return f"{{{','.join('null' if text is None else _quoted(text) for text in column)}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
