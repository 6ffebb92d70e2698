"""What exports and imports read: slices of the log and of the accounts as they were at a sequence, and known accounts.

Every function is one statement in a short transaction of the reader's role (`reads.as_reader`). What is at or below a
sequence never changes, so slices of it belong together without a snapshot that stays open.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import orjson

from libs.common.db import Connection
from services.ledger.state import Ledger


class Head(NamedTuple):
    """A place in the log and the hash there."""

    sequence: int
    hash: str


async def read_head(connection: Connection, ledger: Ledger, sequence: int | None) -> Head | None:
    """The log's head, or its record at a sequence; None where it has not come so far."""
    row = await connection.fetchrow(
        """
        select g.sequence, g.hash from ledgers l
        join log g on g.ledger_no = l.no and g.sequence = coalesce($2::bigint, l.sequence)
        where l.no = $1
        """,
        ledger.no,
        sequence,
    )
    return Head(row["sequence"], bytes(row["hash"]).hex()) if row is not None else None


async def list_log(connection: Connection, ledger: Ledger, after: int, through: int) -> list[dict[str, Any]]:
    """Records after a sequence and up to another: sequence, hash and payload, the text as it was hashed."""
    rows = await connection.fetch(
        """
        select sequence, hash, payload from log where ledger_no = $1 and sequence > $2 and sequence <= $3
        order by sequence
        """,
        ledger.no,
        after,
        through,
    )
    return [{"sequence": row["sequence"], "hash": bytes(row["hash"]).hex(), "payload": row["payload"]} for row in rows]


async def list_entries_between(
    connection: Connection, ledger: Ledger, after: int, through: int, from_on: date | None, to_on: date | None
) -> list[tuple[int, dict[str, Any]]]:
    """Sequence and record body of the entries in a slice of the log, of those days alone where days are given."""
    rows = await connection.fetch(
        """
        select g.sequence, g.payload from entries e
        join log g on g.ledger_no = e.ledger_no and g.sequence = e.sequence
        where e.ledger_no = $1 and e.sequence > $2 and e.sequence <= $3
            and ($4::date is null or e.effective_on >= $4) and ($5::date is null or e.effective_on <= $5)
        order by e.sequence
        """,
        ledger.no,
        after,
        through,
        from_on,
        to_on,
    )
    return [(row["sequence"], orjson.loads(row["payload"])["entry"]) for row in rows]


async def list_accounts_at(
    connection: Connection, ledger: Ledger, after: str, sequence: int, limit: int
) -> list[dict[str, Any]]:
    """Accounts by code as they were at a sequence, folded from the records that opened and changed them."""
    rows = await connection.fetch(
        """
        select a.code, array(
            select g.payload from account_changes c
            join log g on g.ledger_no = c.ledger_no and g.sequence = c.sequence
            where c.ledger_no = a.ledger_no and c.account_no = a.no and c.sequence <= $3 order by c.sequence
        ) as payloads
        from accounts a
        where a.ledger_no = $1 and a.code > $2 and a.opened_sequence <= $3
        order by a.code limit $4
        """,
        ledger.no,
        after,
        sequence,
        limit,
    )
    return [_folded(row["payloads"]) for row in rows]


def _folded(payloads: Sequence[str]) -> dict[str, Any]:
    account: dict[str, Any] = {}
    for payload in payloads:
        account |= orjson.loads(payload)["account"]
    return account


async def load_currencies_of(connection: Connection, ledger: Ledger, codes: Sequence[str]) -> dict[str, str | None]:
    """The currencies of the accounts that exist among these codes."""
    rows = await connection.fetch(
        "select code, currency from accounts where ledger_no = $1 and code = any($2::text[])", ledger.no, list(codes)
    )
    return {row["code"]: row["currency"] for row in rows}


async def load_known_accounts(
    connection: Connection, ledger: Ledger, codes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The accounts that exist among these codes, with the fields of the request that would open them."""
    rows = await connection.fetch(
        """
        select a.code, a.name, a.type, a.currency, a.normal_side, a.heading, p.code as parent, a.summary,
            a.control_owner, a.reconcilable, a.cash, a.cash_flow_class, a.monetary, a.translation, a.overdraft_policy,
            a.overdraft_limit::text as overdraft_limit, a.decimals, a.external_id, a.metadata
        from accounts a left join accounts p on p.ledger_no = a.ledger_no and p.no = a.parent_no
        where a.ledger_no = $1 and a.code = any($2::text[])
        """,
        ledger.no,
        list(codes),
    )
    return {
        row["code"]: {
            **dict(row),
            "heading": orjson.loads(row["heading"]) if row["heading"] is not None else None,
            "metadata": orjson.loads(row["metadata"]),
        }
        for row in rows
    }
