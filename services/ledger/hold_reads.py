"""Holds as they stand: the table has what moves, the record of placing has the rest.

Read under row-level security by who asks, and over all ledgers by the task that ends what is due.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from libs.common.db import Connection
from libs.common.money import to_text
from services.ledger.answers import CapturingEntry, HeldLineAnswer, HoldAnswer, HoldWithEntries
from services.ledger.state import Ledger


async def list_holds(
    connection: Connection, ledger: Ledger, filters: Mapping[str, Any], before: int, limit: int
) -> list[HoldAnswer]:
    """Holds placed before a sequence, newest first. `filters`: status, account (a code or an id)."""
    rows = await connection.fetch(
        """
        select h.id, h.status, h.version, h.placed_sequence, g.payload
        from holds h
        join log g on g.ledger_no = h.ledger_no and g.sequence = h.placed_sequence
        where h.ledger_no = $1 and h.placed_sequence < $2 and ($3::text is null or h.status = $3)
            and ($4::text is null or exists (
                select from accounts a join hold_lines n on n.ledger_no = a.ledger_no and n.account_no = a.no
                    and n.hold_id = h.id
                where a.ledger_no = h.ledger_no and (a.code = $4 or a.id::text = $4)))
        order by h.placed_sequence desc limit $5
        """,
        ledger.no,
        before,
        filters.get("status"),
        filters.get("account"),
        limit,
    )
    return await _holds(connection, ledger, rows)


async def read_hold(connection: Connection, ledger: Ledger, hold_id: UUID) -> HoldWithEntries | None:
    """One hold with its lines and the entries that captured it."""
    rows = await connection.fetch(
        """
        select h.id, h.status, h.version, h.placed_sequence, g.payload
        from holds h
        join log g on g.ledger_no = h.ledger_no and g.sequence = h.placed_sequence
        where h.ledger_no = $1 and h.id = $2
        """,
        ledger.no,
        hold_id,
    )
    if not rows:
        return None
    (hold,) = await _holds(connection, ledger, rows)
    return {**hold, "entries": await _entries(connection, ledger, hold_id)}


async def _entries(connection: Connection, ledger: Ledger, hold_id: UUID) -> list[CapturingEntry]:
    """By their origin, which anybody may write, and by the record, which the ledger alone does."""
    rows = await connection.fetch(
        """
        select e.id, e.sequence, e.effective_on
        from entries e
        join log g on g.ledger_no = e.ledger_no and g.sequence = e.sequence
        where e.ledger_no = $1 and e.origin_service = 'ledger' and e.origin_document = $2
            and g.payload::jsonb -> 'entry' ->> 'hold' = $3
        order by e.sequence
        """,
        ledger.no,
        f"hold/{hold_id}",
        str(hold_id),
    )
    return [
        {"id": str(row["id"]), "sequence": row["sequence"], "effective_on": row["effective_on"].isoformat()}
        for row in rows
    ]


async def _holds(connection: Connection, ledger: Ledger, rows: list[asyncpg.Record]) -> list[HoldAnswer]:
    found = await connection.fetch(
        """
        select n.hold_id, n.line, a.code, a.currency, a.decimals, n.debit, n.amount, n.captured, n.party
        from unnest($2::uuid[]) k (id)
        join hold_lines n on n.ledger_no = $1 and n.hold_id = k.id
        join accounts a on a.ledger_no = $1 and a.no = n.account_no
        order by n.hold_id, n.line
        """,
        ledger.no,
        [row["id"] for row in rows],
    )
    status = {row["id"]: row["status"] for row in rows}
    lines: dict[UUID, list[HeldLineAnswer]] = {row["id"]: [] for row in rows}
    for row in found:
        lines[row["hold_id"]].append(_line(row, status[row["hold_id"]] == "pending"))
    return [_hold(ledger, row, lines[row["id"]]) for row in rows]


def _line(row: asyncpg.Record, pending: bool) -> HeldLineAnswer:
    amount, captured, exponent = int(row["amount"]), int(row["captured"]), row["decimals"]
    line: HeldLineAnswer = {
        "line": row["line"],
        "account": row["code"],
        "side": "debit" if row["debit"] else "credit",
        "amount": to_text(amount, exponent),
        "currency": row["currency"],
        "captured": to_text(captured, exponent),
        "remaining": to_text(amount - captured if pending else 0, exponent),
    }
    if row["party"] is not None:
        line["party"] = row["party"]
    return line


def _hold(ledger: Ledger, row: asyncpg.Record, lines: list[HeldLineAnswer]) -> HoldAnswer:
    record = orjson.loads(row["payload"])
    placed = record["hold"]
    return {
        "id": str(row["id"]),
        "ledger": ledger.code,
        "status": row["status"],
        "description": placed["description"],
        "expires_at": placed["expires_at"],
        "external_id": placed.get("external_id"),
        "origin": placed.get("origin"),
        "metadata": placed.get("metadata", {}),
        "actor": record["actor"],
        "placed_at": record["recorded_at"],
        "sequence": row["placed_sequence"],
        "version": row["version"],
        "lines": lines,
    }


# --- over all ledgers, with the auditor's role ------------------------------------------------------------------------


class DueHold(NamedTuple):
    """A hold whose time is over, by the database's clock."""

    expires_at: datetime
    ledger_no: int
    id: UUID
    organization: str
    ledger: str


async def list_due(connection: Connection, after: DueHold | None, limit: int) -> list[DueHold]:
    """What has to be ended, longest due first, from behind `after` on."""
    rows = await connection.fetch(
        """
        select h.expires_at, h.ledger_no, h.id, o.slug as organization, l.code as ledger
        from (
            select expires_at, ledger_no, id from holds
            where status = 'pending' and expires_at <= now()
                and ($1::timestamptz is null or (expires_at, ledger_no, id) > ($1, $2::integer, $3::uuid))
            order by expires_at, ledger_no, id limit $4
        ) h
        join ledgers l on l.no = h.ledger_no join organizations o on o.id = l.organization_id
        order by h.expires_at, h.ledger_no, h.id
        """,
        after.expires_at if after else None,
        after.ledger_no if after else None,
        after.id if after else None,
        limit,
    )
    return [DueHold(*row) for row in rows]


async def seconds_to_next(connection: Connection) -> float | None:
    """Until the next hold is due that is not yet; None where none ever is."""
    seconds: float | None = await connection.fetchval(
        """
        select extract(epoch from min(expires_at) - clock_timestamp())::float8 from holds
        where status = 'pending' and expires_at > now()
        """
    )
    return seconds
