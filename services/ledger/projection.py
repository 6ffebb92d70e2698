"""What a batch of records writes, folded in memory: each table's rows once, in their final state.

Steps of one SQL statement share a snapshot and cannot see each other, so every projection table is written by exactly
one step, as one row per key. Any mix of records in one batch leaves the same tables as batches of one: appended rows
are concatenated, moved rows keep their last state (and the version they were decided on), sums are added up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import orjson

from libs.common.errors import Rejection
from services.ledger.domain import Stamp
from services.ledger.records import AccountOpened, EntryPosted, Record, Sealed

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


class Moved(NamedTuple):
    """An account's sums as the batch leaves them: values, for the account itself moves on with the next batch."""

    code: str
    currency: str | None
    debits: int
    credits: int
    version: int


@dataclass(slots=True)
class Batch:
    """Everything one statement writes. `expected` is the sequence it was decided on."""

    expected: int
    log: Rows = field(default_factory=lambda: Rows(3))
    requests: Rows = field(default_factory=lambda: Rows(5))
    entries: Rows = field(default_factory=lambda: Rows(11))
    lines: Rows = field(default_factory=lambda: Rows(9))
    accounts: list[dict[str, Any]] = field(default_factory=list)
    changes: Rows = field(default_factory=lambda: Rows(2))
    decided_on: dict[int, int] = field(default_factory=dict)
    touched: dict[int, Moved] = field(default_factory=dict)
    daily: dict[tuple[int, date, int], list[int]] = field(default_factory=dict)
    parties: dict[tuple[int, str], list[int]] = field(default_factory=dict)

    def add(self, record: Record, sealed: Sealed, versions: dict[int, int]) -> None:
        """Folds one record in; `versions` are those its accounts had before it."""
        self.log.rows.append((sealed.sequence, sealed.payload.decode(), sealed.hash))
        for no, version in versions.items():
            self.decided_on.setdefault(no, version)
        if isinstance(record, EntryPosted):
            self._add_entry(record, sealed.sequence)
        else:
            self._add_account(record, sealed)

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
        on, block, add_line = record.effective_on, sequence >> BLOCK_BITS, self.lines.rows.append
        for place, entry_line in enumerate(record.entry_lines, 1):
            account, amount, debit = entry_line.account, entry_line.amount, entry_line.side == "debit"
            balance, party = entry_line.balance_after, entry_line.party
            add_line((account.no, sequence, place, debit, amount, account.currency, balance, on, party))
            day = self.daily.get((account.no, on, block))
            if day is None:
                day = self.daily[account.no, on, block] = [0, 0]
            day[0 if debit else 1] += amount
            if party is not None:
                total = self.parties.setdefault((account.no, party), [0, 0])
                total[0 if debit else 1] += amount
        for account, debit_total, credit_total in record.moved:
            self.touched[account.no] = Moved(account.code, account.currency, debit_total, credit_total, sequence)

    def _add_account(self, record: AccountOpened, sealed: Sealed) -> None:
        account = record.account
        self.accounts.append(
            {
                **sealed.body["account"],
                "parent_no": record.parent.no if record.parent else None,
                "overdraft_policy": account.overdraft_policy,
                "overdraft_limit": str(account.overdraft_limit),
                "version": sealed.sequence,
            }
        )
        self.changes.rows.append((account.no, sealed.sequence))
        self.decided_on[account.no] = NEW
        self.touched[account.no] = Moved(account.code, account.currency, 0, 0, sealed.sequence)

    def arguments(self) -> tuple[Any, ...]:
        """The statement's arguments after the ledger's head, in the order of `store.WRITE_BATCH`."""
        moved = self.touched.values()
        log, requests, entries = self.log.columns(), self.requests.columns(), self.entries.columns()
        lines, changes = self.lines.columns(), self.changes.columns()
        return (
            _plain(log[0]),
            *log[1:],
            *requests[:3],
            _plain(requests[3]),
            _some(requests[4]),
            entries[0],
            _plain(entries[1]),
            entries[2],
            _plain(entries[3]),
            _plain(entries[4]),
            entries[5],
            *map(_some, entries[6:10]),
            _plain(entries[10]),
            *map(_plain, lines[:5]),
            lines[5],
            _plain(lines[6]),
            _plain(lines[7]),
            _some(lines[8]),
            orjson.dumps(self.accounts).decode(),
            *map(_plain, changes),
            _plain(self.touched),
            _plain(row.debits for row in moved),
            _plain(row.credits for row in moved),
            _plain(row.version for row in moved),
            _plain(self.decided_on[no] for no in self.touched),
            [row.currency for row in moved],
            *map(_plain, zip(*self.daily, strict=True) if self.daily else ((), (), ())),
            _plain(debits for debits, _ in self.daily.values()),
            _plain(credits_ for _, credits_ in self.daily.values()),
            _plain(no for no, _ in self.parties),
            [party for _, party in self.parties],
            _plain(debits for debits, _ in self.parties.values()),
            _plain(credits_ for _, credits_ in self.parties.values()),
            [
                len(rows)
                for rows in (
                    self.requests, self.entries, self.lines, self.accounts, self.changes, self.touched, self.daily,
                    self.parties,
                )
            ],
        )  # fmt: skip


def _plain(values: Iterable[Any]) -> str:
    """An array as PostgreSQL reads it, of numbers, dates, truths and nothing.

    JSON writes these as PostgreSQL does, and orjson a hundred times faster than asyncpg looks at every element. What is
    larger than 64 bits is written by Python.
    """
    column = values if isinstance(values, tuple) else tuple(values)
    try:
        return f"{{{orjson.dumps(column)[1:-1].decode()}}}"
    except TypeError:
        return f"{{{','.join('null' if value is None else str(value) for value in column)}}}"


def _some(column: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The column, or None where nothing is in it: unnest fills it up."""
    return None if column.count(None) == len(column) else column
