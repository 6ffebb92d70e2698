"""What a slice of the log must have left in the tables, row by row, and how two sets of rows are compared.

Rows that never change are compared slice by slice; an account's row where it is still what the slice said of it (a
later slice says the rest), a hold's when it has ended or, at the end, when it is pending still.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Set
from itertools import zip_longest
from typing import Any

import asyncpg
import orjson

from libs.common.db import Connection
from libs.common.money import ISO_4217
from services.ledger.records import instant
from services.ledger.replay import Findings, FoldedHold, Replay, SliceRows

ROWS_AT_A_TIME = 2_000


async def compare_slice(connection: Connection, replay: Replay, rows: SliceRows, after: int, through: int) -> None:
    """Compares everything that the records after `after` up to `through` left."""
    await _compare_entries(connection, replay, rows, after, through)
    await _compare_lines(connection, replay, rows, after, through)
    await _compare_accounts(connection, replay, rows)
    await _compare_requests(connection, replay, rows)
    await _compare_holds(connection, replay, rows.holds)
    await _compare_pendings(connection, replay, rows, after, through)
    await _compare_closings(connection, replay, rows, after, through)


async def _compare_entries(connection: Connection, replay: Replay, rows: SliceRows, after: int, through: int) -> None:
    found = await connection.fetch(
        """
        select id::text as id, sequence, kind, effective_on, value_on, description, external_id, origin_service,
            origin_document, reverses::text as reverses, line_count
        from entries where ledger_no = $1 and sequence > $2 and sequence <= $3
        """,
        replay.ledger.no,
        after,
        through,
    )
    stored = keyed(replay.findings, "entries", ((row["sequence"], row) for row in found), lambda key: key)
    await compare_rows(replay.findings, "entries", rows.entries, stored, lambda key: key)


async def _compare_lines(connection: Connection, replay: Replay, rows: SliceRows, after: int, through: int) -> None:
    found = await connection.fetch(
        """
        select account_no, sequence, line, debit, amount::text as amount, currency,
            balance_after::text as balance_after, effective_on, party
        from lines where ledger_no = $1 and sequence > $2 and sequence <= $3
        """,
        replay.ledger.no,
        after,
        through,
    )
    stored = keyed(
        replay.findings, "lines", (((row["sequence"], row["line"]), row) for row in found), lambda key: key[0]
    )
    await compare_rows(replay.findings, "lines", rows.lines, stored, lambda key: key[0])


async def _compare_accounts(connection: Connection, replay: Replay, rows: SliceRows) -> None:
    found = await connection.fetch(
        """
        select no, id::text as id, code, name, type, normal_side, currency, decimals, heading, parent_no, summary,
            control_owner, reconcilable, cash, cash_flow_class, monetary, translation, overdraft_policy,
            overdraft_limit::text as overdraft_limit, external_id, metadata, opened_sequence, frozen, closed, version
        from accounts where ledger_no = $1 and no = any($2::integer[])
        """,
        replay.ledger.no,
        list(rows.accounts),
    )
    stored = keyed(replay.findings, "accounts", ((row["no"], _account_row(row)) for row in found))
    said = {no: account["version"] for no, account in rows.accounts.items()}
    newer = {row["no"] for row in found if row["version"] > said[row["no"]]}
    wanted = {
        no: tuple((name, account[name]) for name in _ACCOUNT)
        for no, account in rows.accounts.items()
        if no not in newer
    }
    stored = {no: row for no, row in stored.items() if no not in newer}
    await compare_rows(replay.findings, "accounts", wanted, stored, lambda no: rows.accounts[no]["version"])


def _account_row(row: asyncpg.Record) -> tuple[Any, ...]:
    account = dict(row)
    account["metadata"] = orjson.loads(row["metadata"])
    account["heading"] = orjson.loads(row["heading"]) if row["heading"] is not None else None
    return tuple(account.items())


_ACCOUNT = (
    "no", "id", "code", "name", "type", "normal_side", "currency", "decimals", "heading", "parent_no", "summary",
    "control_owner", "reconcilable", "cash", "cash_flow_class", "monetary", "translation", "overdraft_policy",
    "overdraft_limit", "external_id", "metadata", "opened_sequence", "frozen", "closed", "version",
)  # fmt: skip


async def _compare_requests(connection: Connection, replay: Replay, rows: SliceRows) -> None:
    found = await connection.fetch(
        """
        select r.scope, r.key, encode(r.fingerprint, 'hex') as fingerprint, r.sequence, r.rejection
        from unnest($2::text[], $3::text[]) k (scope, key)
        cross join lateral (select * from requests where ledger_no = $1 and scope = k.scope and key = k.key limit 1) r
        """,
        replay.ledger.no,
        [scope for scope, _ in rows.requests],
        [key for _, key in rows.requests],
    )
    wanted = {key: (fingerprint, sequence, None) for key, (fingerprint, sequence) in rows.requests.items()}
    stored = keyed(replay.findings, "requests", (((row["scope"], row["key"]), tuple(row)[2:]) for row in found))
    await compare_rows(replay.findings, "requests", wanted, stored, lambda key: rows.requests[key][1])


async def compare_pending_holds(connection: Connection, replay: Replay) -> None:
    """Every hold that the log left pending, and that the table has no other of."""
    await _compare_holds(connection, replay, replay.holds)
    pending = await connection.fetch(
        "select id::text as id from holds where ledger_no = $1 and status = 'pending'", replay.ledger.no
    )
    stored = keyed(replay.findings, "holds", ((row["id"], row) for row in pending))
    find_extra(replay.findings, "holds", replay.holds.keys(), stored)
    ended = await connection.fetchval(
        "select count(*) from holds where ledger_no = $1 and status <> 'pending'", replay.ledger.no
    )
    counted = await connection.fetchval("select count(*) from hold_lines where ledger_no = $1", replay.ledger.no)
    if (ended, counted) != (replay.ended_holds, replay.hold_lines):
        replay.findings.differ("holds", "holds", "count", 0, (replay.ended_holds, replay.hold_lines), (ended, counted))


async def _compare_holds(connection: Connection, replay: Replay, holds: Mapping[str, FoldedHold]) -> None:
    if not holds:
        return
    found = await connection.fetch(
        """
        select h.id::text as id, h.status, h.expires_at, h.placed_sequence, h.version, n.line, n.account_no, n.debit,
            n.amount::text as amount, n.captured::text as captured, n.party
        from unnest($2::uuid[]) k (id)
        cross join lateral (select * from holds where ledger_no = $1 and id = k.id limit 1) h
        left join hold_lines n on n.ledger_no = $1 and n.hold_id = h.id
        order by h.id, n.line
        """,
        replay.ledger.no,
        list(holds),
    )
    stored: dict[str, tuple[Any, ...]] = {}
    hold_lines: dict[str, list[tuple[Any, ...]]] = {}
    for row in found:
        expires_at = instant(row["expires_at"]) if row["expires_at"] is not None else None
        head = (row["status"], expires_at, row["placed_sequence"], row["version"])
        hold_lines.setdefault(row["id"], []).append(tuple(row)[5:])
        stored[row["id"]] = (*head, hold_lines[row["id"]])
    wanted = {
        id_: (
            hold.status,
            hold.expires_at,
            hold.placed_sequence,
            hold.version,
            [
                (number, no, debit, str(amount), str(captured), party)
                for number, (no, debit, amount, captured, party) in enumerate(hold.hold_lines, 1)
            ],
        )
        for id_, hold in holds.items()
    }
    await compare_rows(replay.findings, "holds", wanted, stored, lambda id_: holds[id_].version)


async def _compare_pendings(connection: Connection, replay: Replay, rows: SliceRows, after: int, through: int) -> None:
    found = await connection.fetch(
        """
        select account_no, sequence, pending_debits::text as pending_debits, pending_credits::text as pending_credits
        from pendings where ledger_no = $1 and sequence > $2 and sequence <= $3
        """,
        replay.ledger.no,
        after,
        through,
    )
    stored = keyed(
        replay.findings, "pendings", (((row[0], row[1]), tuple(row)[2:]) for row in found), lambda key: key[1]
    )
    await compare_rows(replay.findings, "pendings", rows.pendings, stored, lambda key: key[1])


async def _compare_closings(connection: Connection, replay: Replay, rows: SliceRows, after: int, through: int) -> None:
    found = await connection.fetch(
        """
        select sequence, type, period, reason, days_closed_through, soft_closed_through, closed_through
        from closings where ledger_no = $1 and sequence > $2 and sequence <= $3
        """,
        replay.ledger.no,
        after,
        through,
    )
    stored = keyed(replay.findings, "closings", ((row["sequence"], row) for row in found), lambda key: key)
    await compare_rows(replay.findings, "closings", rows.closings, stored, lambda key: key)
    found = await connection.fetch(
        "select sequence, effective_on from backdatings where ledger_no = $1 and sequence > $2 and sequence <= $3",
        replay.ledger.no,
        after,
        through,
    )
    stored = keyed(replay.findings, "backdatings", ((row["sequence"], row) for row in found), lambda key: key)
    await compare_rows(replay.findings, "backdatings", rows.backdatings, stored, lambda key: key)


async def compare_currencies(connection: Connection, replay: Replay) -> None:
    """The organization's own currencies that accounts are kept in. One that nothing is kept in has no record."""
    kept = {account.currency: account.exponent for account in replay.accounts.values() if account.currency is not None}
    wanted = {code: (decimals,) for code, decimals in kept.items() if code not in ISO_4217}
    found = await connection.fetch(
        """
        select c.code, c.decimals from currencies c join ledgers l on l.organization_id = c.organization_id
        where l.no = $1 and c.code = any($2::text[])
        """,
        replay.ledger.no,
        list(wanted),
    )
    stored = keyed(replay.findings, "currencies", ((row["code"], (row["decimals"],)) for row in found))
    await compare_rows(replay.findings, "currencies", wanted, stored)


# --- comparing --------------------------------------------------------------------------------------------------------


def keyed(
    findings: Findings,
    invariant: str,
    rows: Iterable[tuple[Any, Any]],
    sequence_of: Callable[[Any], int] = lambda _: 0,
) -> dict[Any, Any]:
    """The rows by their key, each key once."""
    stored: dict[Any, Any] = {}
    for key, row in rows:
        keep(findings, invariant, stored, key, row, sequence_of)
    return stored


def keep(
    findings: Findings,
    invariant: str,
    stored: dict[Any, Any],
    key: Any,
    row: Any,
    sequence_of: Callable[[Any], int] = lambda _: 0,
) -> None:
    """Adds a row. A key that is there twice is a difference: which of its rows would be the last one is chance."""
    if key in stored:
        table = invariant.replace("-", "_")
        findings.differ(invariant, table, key_text(key), sequence_of(key), "one row", "two rows")
    stored[key] = row


async def compare_rows(
    findings: Findings,
    invariant: str,
    expected: Mapping[Any, Iterable[Any]],
    found: Mapping[Any, Iterable[Any]],
    sequence_of: Callable[[Any], int] = lambda _: 0,
) -> None:
    """Row by row: what is missing, what differs and in which values, what is there without a record."""
    table = invariant.replace("-", "_")
    findings.checked(invariant, len(expected))
    for place, (key, row) in enumerate(expected.items()):
        if place % ROWS_AT_A_TIME == 0:
            await asyncio.sleep(0)
        there = found.get(key)
        if there is None:
            findings.differ(invariant, table, key_text(key), sequence_of(key), tuple(row), "no row")
        elif tuple(there) != row:
            pairs = [pair for pair in zip_longest(row, there, fillvalue="nothing") if pair[0] != pair[1]]
            findings.differ(
                invariant,
                table,
                key_text(key),
                sequence_of(key),
                [want for want, _ in pairs],
                [has for _, has in pairs],
            )
    find_extra(findings, invariant, expected.keys(), found)


def find_extra(findings: Findings, invariant: str, expected: Set[Any], found: Mapping[Any, Iterable[Any]]) -> None:
    extra = found.keys() - expected
    if extra:
        first = min(extra, key=str)
        findings.differ(invariant, invariant.replace("-", "_"), key_text(first), 0, "no row", tuple(found[first]))


def key_text(key: Any) -> str:
    return "/".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
