"""Rebuilding a ledger's projections from its log, by the owner of the tables, while the ledger service stands still.

    the log in slices -> fold (replay.py) -> history put right where that is wanted, ended holds put right
    one transaction   -> nobody reads balances -> accounts, sums, pending holds put right -> commit -> proof

The log is what is believed: where it is broken itself, nothing is touched. Only rows that differ are replaced. The
append-only tables (entries, lines, requests and their like) are left as they are and told by the proof at the end,
unless `restore_history` says that they too are to be made what the log says. A writer keeps balances in memory, so none
may be connected; who begins during the last transaction waits for its end. Memory: a row for each account, day, party.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from libs.common.db import Connection, Pool
from libs.common.errors import Failure
from services.ledger import rebuild_store as rows_store
from services.ledger.prover import prove
from services.ledger.replay import Findings, FoldedHold, Replay, SliceRows
from services.ledger.state import Ledger
from services.ledger.verify import Report

SLICE_RECORDS: Final = 250
ACCOUNTS_AT_A_TIME: Final = 2_000
LAST_NO: Final = 2**31 - 1

Advance = Callable[[int, int], None]
"""Told how many records are folded, and how many there are."""

ENTRY: Final = (
    "id", "sequence", "kind", "effective_on", "value_on", "description", "external_id", "origin_service",
    "origin_document", "reverses", "line_count",
)  # fmt: skip
LINE: Final = (
    "account_no", "sequence", "line", "debit", "amount", "currency", "balance_after", "effective_on", "party",
)  # fmt: skip
CLOSING: Final = (
    "sequence", "type", "period", "reason", "days_closed_through", "soft_closed_through", "closed_through",
)  # fmt: skip


class CannotRebuild(Failure):
    """The log is broken, or a writer is connected; the sentence says which. Nothing was changed since."""


@dataclass(slots=True)
class Rebuilt:
    """What was replaced, by table (rows taken out and rows put in)."""

    replaced: dict[str, int] = field(default_factory=dict)
    requests_through: int = 0

    def add(self, table: str, count: int) -> None:
        """So many more rows."""
        if count:
            self.replaced[table] = self.replaced.get(table, 0) + count

    def requests(self, rows: SliceRows) -> tuple[int, int]:
        """The sequences whose requests are whole now: the last one of a slice may go on in the next."""
        begin = self.requests_through
        self.requests_through = max([begin, *(sequence for _, sequence in rows.requests.values())])
        return begin, self.requests_through


async def rebuild(
    owner: Pool,
    ledger: Ledger,
    *,
    restore_history: bool = False,
    advance: Advance = lambda _, __: None,
    slice_records: int = SLICE_RECORDS,
) -> tuple[dict[str, int], Report]:
    """Makes one ledger's projections what its log says; rows replaced by table, and the proof afterwards.

    Raises CannotRebuild. `owner` is a pool of the migrator's role.
    """
    head = await _require_whole_log(owner, ledger)
    rebuilt, replay = Rebuilt(), Replay(ledger, Findings())
    accounts: dict[int, dict[str, Any]] = {}
    async with owner.acquire() as connection:
        if writers := await rows_store.count_writers(connection):
            raise CannotRebuild(f"{writers} sessions of the ledger's writer are open: stop the ledger service first.")
        while replay.sequence < head:
            await _rebuild_slice(connection, replay, accounts, rebuilt, (slice_records, head, restore_history))
            advance(replay.sequence, head)
        async with connection.transaction():
            await rows_store.lock_balances(connection)
            if writers := await rows_store.count_writers(connection):
                raise CannotRebuild(f"{writers} sessions of the ledger's writer came meanwhile: stop the service.")
            await rows_store.lift_guards(connection, history=restore_history)
            await _rebuild_sums(connection, replay, accounts, rebuilt)
            await _rebuild_pending_holds(connection, replay, rebuilt)
            if restore_history:
                await _rebuild_ends(connection, replay, rebuilt)
            await rows_store.set_guards(connection, history=restore_history)
    return rebuilt.replaced, await prove(owner, ledger)


async def _require_whole_log(owner: Pool, ledger: Ledger) -> int:
    """The chain from its beginning to its end, before anything is changed; returns the last sequence."""
    replay = Replay(ledger, Findings())
    async with owner.acquire() as connection:
        while records := await rows_store.read_records(connection, ledger.no, replay.sequence, SLICE_RECORDS):
            for record in records:
                replay.follow(*record, SliceRows())
    for name in ("log-chain", "log-records", "entries-balance", "running-balances"):
        found = replay.findings.invariants[name]
        if not found.ok:
            raise CannotRebuild(f"The log itself is wrong, nothing can be rebuilt from it: {found.detail}.")
    return replay.sequence


async def _rebuild_slice(
    connection: Connection,
    replay: Replay,
    accounts: dict[int, dict[str, Any]],
    rebuilt: Rebuilt,
    extent: tuple[int, int, bool],
) -> None:
    """Folds the next slice and puts right what it left for good. `extent`: slice's records, head, history as well."""
    slice_records, head, history = extent
    after, rows, no = replay.sequence, SliceRows(), replay.ledger.no
    records = await rows_store.read_records(connection, no, after, slice_records)
    for record in records:
        replay.follow(*record, rows)
    if replay.sequence == head:
        replay.close(rows)
    for account_no, row in rows.accounts.items():
        accounts[account_no] = {"ledger_no": no, **row}
    if rows.holds or history:
        async with connection.transaction():
            await rows_store.lift_guards(connection, history=history)
            rebuilt.add("holds", await rows_store.replace_holds(connection, no, *_hold_rows(no, rows.holds)))
            for table, wanted in _history(no, rows) if history else ():
                place = rebuilt.requests(rows) if table == "requests" else (after, replay.sequence)
                rebuilt.add(table, await rows_store.replace_history(connection, table, no, wanted, *place))
            await rows_store.set_guards(connection, history=history)


def _history(no: int, rows: SliceRows) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What a slice left in the append-only tables."""
    yield "entries", [_row(no, ENTRY, row) for row in rows.entries.values()]
    yield "lines", [_row(no, LINE, row) for row in rows.lines.values()]
    yield (
        "requests",
        [
            {"ledger_no": no, "scope": scope, "key": key, "fingerprint": f"\\x{fingerprint}", "sequence": sequence}
            for (scope, key), (fingerprint, sequence) in rows.requests.items()
        ],
    )
    yield (
        "pendings",
        [
            {
                "ledger_no": no,
                "account_no": key[0],
                "sequence": key[1],
                "pending_debits": row[0],
                "pending_credits": row[1],
            }
            for key, row in rows.pendings.items()
        ],
    )
    yield "closings", [_row(no, CLOSING, row) for row in rows.closings.values()]
    yield "backdatings", [_row(no, ("sequence", "effective_on"), row) for row in rows.backdatings.values()]


async def _rebuild_sums(
    connection: Connection, replay: Replay, accounts: dict[int, dict[str, Any]], rebuilt: Rebuilt
) -> None:
    """Accounts and everything that is a sum of lines, a range of account numbers at a time."""
    no = replay.ledger.no
    daily = _by_account(_sum_rows(no, ("account_no", "effective_on", "block"), replay.daily.items()))
    parties = _by_account(_sum_rows(no, ("account_no", "party"), replay.parties.items()))
    balances = _by_account(_balance_rows(replay))
    numbers = sorted(accounts)
    ends = [*numbers[ACCOUNTS_AT_A_TIME::ACCOUNTS_AT_A_TIME], LAST_NO]
    after = -LAST_NO
    for through in ends:
        mine = [number for number in numbers if after < number <= through]
        place = (after, through)
        account_rows = [accounts[number] for number in mine]
        gone = await rows_store.remove_balances_without_account(connection, no, account_rows, *place)
        rebuilt.add("balances", gone)
        for table, wanted in (
            ("balances", _of(balances, mine)),
            ("accounts", account_rows),
            ("daily_totals", _of(daily, mine)),
            ("party_balances", _of(parties, mine)),
        ):
            rebuilt.add(table, await rows_store.remove_wrong(connection, table, no, wanted, *place))
        for table, wanted in (
            ("accounts", account_rows),
            ("balances", _of(balances, mine)),
            ("daily_totals", _of(daily, mine)),
            ("party_balances", _of(parties, mine)),
        ):
            rebuilt.add(table, await rows_store.add_missing(connection, table, wanted))
        after = through


async def _rebuild_pending_holds(connection: Connection, replay: Replay, rebuilt: Rebuilt) -> None:
    no = replay.ledger.no
    rebuilt.add("holds", await rows_store.remove_strange_holds(connection, no))
    rebuilt.add("holds", await rows_store.replace_holds(connection, no, *_hold_rows(no, replay.holds)))


async def _rebuild_ends(connection: Connection, replay: Replay, rebuilt: Rebuilt) -> None:
    """What has no slice: rows beyond the log, and the list of account changes."""
    no = replay.ledger.no
    rebuilt.add("beyond the log", await rows_store.remove_beyond(connection, no, replay.sequence))
    changes = [{"ledger_no": no, "account_no": account_no, "sequence": at} for account_no, at in replay.changes]
    count = await rows_store.replace_history(connection, "account_changes", no, changes, 0, replay.sequence)
    rebuilt.add("account_changes", count)


# --- rows by column name ----------------------------------------------------------------------------------------------


def _row(no: int, names: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    return {"ledger_no": no, **dict(zip(names, values, strict=True))}


def _hold_rows(no: int, holds: dict[str, FoldedHold]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    heads = [
        {
            "ledger_no": no,
            "id": id_,
            "status": hold.status,
            "expires_at": hold.expires_at,
            "placed_sequence": hold.placed_sequence,
            "version": hold.version,
        }
        for id_, hold in holds.items()
    ]
    names = ("account_no", "debit", "amount", "captured", "party")
    hold_lines = [
        {"hold_id": id_, "line": number, **_row(no, names, (row[0], row[1], str(row[2]), str(row[3]), row[4]))}
        for id_, hold in holds.items()
        for number, row in enumerate(hold.hold_lines, 1)
    ]
    return heads, hold_lines


def _sum_rows(no: int, names: tuple[str, ...], sums: Iterable[tuple[Any, list[int]]]) -> Iterator[dict[str, Any]]:
    for key, (debits, credits_) in sums:
        yield {**_row(no, names, key), "debits": str(debits), "credits": str(credits_)}


def _balance_rows(replay: Replay) -> Iterator[dict[str, Any]]:
    for account in replay.accounts.values():
        yield {
            "ledger_no": replay.ledger.no,
            "account_no": account.no,
            "currency": account.currency,
            "debits": str(account.debits),
            "credits": str(account.credits),
            "version": account.version,
            "pending_debits": str(account.pending_debits),
            "pending_credits": str(account.pending_credits),
        }


def _by_account(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["account_no"], []).append(row)
    return found


def _of(rows: dict[int, list[dict[str, Any]]], numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [row for number in numbers for row in rows.get(number, ())]
