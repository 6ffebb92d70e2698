"""The SQL of a rebuild: rows that are not what the log says are taken out, rows that are missing are put in.

Each statement gets the rows as the log has them (`$2`, a JSON array of objects by column name) and a range of keys; it
compares whole rows, so a new column needs nothing here. `history` are the append-only tables, a slice of sequences at a
time; `PROJECTIONS` are replaced under a lock that no writer gets past.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import orjson

from libs.common.db import Connection

WRITER: Final = "ledger_writer"

WRONG_HISTORY: Final[Mapping[str, str]] = {
    "entries": """
        delete from entries x
        where x.ledger_no = $1
            and ((x.sequence > $3 and x.sequence <= $4)
                or x.id in (select e.id from jsonb_populate_recordset(null::entries, $2::text::jsonb) e))
            and not exists (
                select from jsonb_populate_recordset(null::entries, $2::text::jsonb) e where e.id = x.id and e = x)
        """,
    "lines": """
        delete from lines x
        where x.ledger_no = $1 and x.sequence > $3 and x.sequence <= $4
            and not exists (
                select from jsonb_populate_recordset(null::lines, $2::text::jsonb) e
                where e.sequence = x.sequence and e.line = x.line and e = x)
        """,
    "requests": """
        delete from requests x
        where x.ledger_no = $1
            and ((x.sequence > $3 and x.sequence <= $4) or exists (
                select from jsonb_populate_recordset(null::requests, $2::text::jsonb) e
                where e.scope = x.scope and e.key = x.key))
            and not exists (
                select from jsonb_populate_recordset(null::requests, $2::text::jsonb) e
                where e.scope = x.scope and e.key = x.key and e = x)
        """,
    "pendings": """
        delete from pendings x
        where x.ledger_no = $1 and x.sequence > $3 and x.sequence <= $4
            and not exists (
                select from jsonb_populate_recordset(null::pendings, $2::text::jsonb) e
                where e.account_no = x.account_no and e.sequence = x.sequence and e = x)
        """,
    "closings": """
        delete from closings x
        where x.ledger_no = $1 and x.sequence > $3 and x.sequence <= $4
            and not exists (
                select from jsonb_populate_recordset(null::closings, $2::text::jsonb) e
                where e.sequence = x.sequence and e = x)
        """,
    "backdatings": """
        delete from backdatings x
        where x.ledger_no = $1 and x.sequence > $3 and x.sequence <= $4
            and not exists (
                select from jsonb_populate_recordset(null::backdatings, $2::text::jsonb) e
                where e.sequence = x.sequence and e = x)
        """,
    "account_changes": """
        delete from account_changes x
        where x.ledger_no = $1 and x.sequence > $3 and x.sequence <= $4
            and not exists (
                select from jsonb_populate_recordset(null::account_changes, $2::text::jsonb) e
                where e.account_no = x.account_no and e.sequence = x.sequence and e = x)
        """,
}
"""Append-only tables: rows of a slice of sequences that the log has not. Rows beyond the log's end are `BEYOND`."""

MISSING: Final[Mapping[str, str]] = {
    "entries": "insert into entries select * from jsonb_populate_recordset(null::entries, $1::text::jsonb) "
    "on conflict do nothing",
    "lines": "insert into lines select * from jsonb_populate_recordset(null::lines, $1::text::jsonb) "
    "on conflict do nothing",
    "requests": "insert into requests select * from jsonb_populate_recordset(null::requests, $1::text::jsonb) "
    "on conflict do nothing",
    "pendings": "insert into pendings select * from jsonb_populate_recordset(null::pendings, $1::text::jsonb) "
    "on conflict do nothing",
    "closings": "insert into closings select * from jsonb_populate_recordset(null::closings, $1::text::jsonb) "
    "on conflict do nothing",
    "backdatings": "insert into backdatings select * from jsonb_populate_recordset(null::backdatings, $1::text::jsonb) "
    "on conflict do nothing",
    "account_changes": "insert into account_changes "
    "select * from jsonb_populate_recordset(null::account_changes, $1::text::jsonb) on conflict do nothing",
    "accounts": "insert into accounts select * from jsonb_populate_recordset(null::accounts, $1::text::jsonb) "
    "on conflict do nothing",
    "balances": "insert into balances select * from jsonb_populate_recordset(null::balances, $1::text::jsonb) "
    "on conflict do nothing",
    "daily_totals": "insert into daily_totals "
    "select * from jsonb_populate_recordset(null::daily_totals, $1::text::jsonb) on conflict do nothing",
    "party_balances": "insert into party_balances "
    "select * from jsonb_populate_recordset(null::party_balances, $1::text::jsonb) on conflict do nothing",
    "holds": "insert into holds select * from jsonb_populate_recordset(null::holds, $1::text::jsonb) "
    "on conflict do nothing",
    "hold_lines": "insert into hold_lines select * from jsonb_populate_recordset(null::hold_lines, $1::text::jsonb) "
    "on conflict do nothing",
}

WRONG_PROJECTIONS: Final[Mapping[str, str]] = {
    "balances": """
        delete from balances x
        where x.ledger_no = $1 and x.account_no > $3 and x.account_no <= $4
            and not exists (
                select from jsonb_populate_recordset(null::balances, $2::text::jsonb) e
                where e.account_no = x.account_no and e = x)
        """,
    "accounts": """
        delete from accounts x
        where x.ledger_no = $1 and x.no > $3 and x.no <= $4
            and not exists (
                select from jsonb_populate_recordset(null::accounts, $2::text::jsonb) e where e.no = x.no and e = x)
        """,
    "daily_totals": """
        delete from daily_totals x
        where x.ledger_no = $1 and x.account_no > $3 and x.account_no <= $4
            and not exists (
                select from jsonb_populate_recordset(null::daily_totals, $2::text::jsonb) e
                where e.account_no = x.account_no and e.effective_on = x.effective_on and e.block = x.block and e = x)
        """,
    "party_balances": """
        delete from party_balances x
        where x.ledger_no = $1 and x.account_no > $3 and x.account_no <= $4
            and not exists (
                select from jsonb_populate_recordset(null::party_balances, $2::text::jsonb) e
                where e.account_no = x.account_no and e.party = x.party and e = x)
        """,
}
"""Sums and accounts: rows of a range of account numbers that the log has not."""

BEYOND: Final = (
    "delete from entries where ledger_no = $1 and (sequence < 1 or sequence > $2)",
    "delete from lines where ledger_no = $1 and (sequence < 1 or sequence > $2)",
    "delete from requests where ledger_no = $1 and (sequence < 1 or sequence > $2)",
    "delete from pendings where ledger_no = $1 and (sequence < 1 or sequence > $2)",
    "delete from closings where ledger_no = $1 and (sequence < 1 or sequence > $2)",
    "delete from backdatings where ledger_no = $1 and (sequence < 1 or sequence > $2)",
    "delete from account_changes where ledger_no = $1 and (sequence < 1 or sequence > $2)",
)


async def count_writers(connection: Connection) -> int:
    """Sessions of the writing role in this database: each may hold balances in memory that are about to change."""
    return int(
        await connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and usename = $1", WRITER
        )
    )


async def lock_balances(connection: Connection) -> None:
    """Until the transaction ends nobody reads a balance, so that no writer can begin with what is being replaced."""
    await connection.execute("lock table balances in access exclusive mode")


async def read_records(connection: Connection, ledger_no: int, after: int, limit: int) -> list[tuple[int, str, bytes]]:
    """The log behind a sequence: sequence, payload, hash."""
    rows = await connection.fetch(
        "select sequence, payload, hash from log where ledger_no = $1 and sequence > $2 order by 1 limit $3",
        ledger_no,
        after,
        limit,
    )
    return [(row["sequence"], row["payload"], bytes(row["hash"])) for row in rows]


async def lift_guards(connection: Connection, *, history: bool) -> None:
    """The guards of the tables that are put right stay away until the transaction ends with `set_guards`."""
    for name in ("accounts", "holds", "hold_lines"):
        await connection.execute(f"alter table {name} disable trigger user")
    for name in WRONG_HISTORY if history else ():
        await connection.execute(f"alter table {name} disable trigger user")


async def set_guards(connection: Connection, *, history: bool) -> None:
    """The guards are back."""
    for name in ("accounts", "holds", "hold_lines"):
        await connection.execute(f"alter table {name} enable trigger user")
    for name in WRONG_HISTORY if history else ():
        await connection.execute(f"alter table {name} enable trigger user")


async def replace_history(
    connection: Connection, table: str, ledger_no: int, rows: Sequence[Mapping[str, Any]], after: int, through: int
) -> int:
    """Puts an append-only table right for a slice of sequences; returns how many rows were taken out or put in."""
    text = _json(rows)
    removed = await connection.execute(WRONG_HISTORY[table], ledger_no, text, after, through)
    return _count(removed) + _count(await connection.execute(MISSING[table], text))


async def remove_beyond(connection: Connection, ledger_no: int, through: int) -> int:
    """Takes rows out of append-only tables whose sequence the log has not reached."""
    return sum([_count(await connection.execute(statement, ledger_no, through)) for statement in BEYOND])


async def remove_wrong(
    connection: Connection, table: str, ledger_no: int, rows: Sequence[Mapping[str, Any]], after: int, through: int
) -> int:
    """Takes out what is wrong in a projection for a range of account numbers."""
    return _count(await connection.execute(WRONG_PROJECTIONS[table], ledger_no, _json(rows), after, through))


async def remove_balances_without_account(
    connection: Connection, ledger_no: int, rows: Sequence[Mapping[str, Any]], after: int, through: int
) -> int:
    """Balances of accounts that are about to be replaced: they refer to them."""
    removed = await connection.execute(
        """
        delete from balances x
        where x.ledger_no = $1 and x.account_no > $3 and x.account_no <= $4
            and not exists (
                select from accounts a join jsonb_populate_recordset(null::accounts, $2::text::jsonb) e on e.no = a.no
                where a.ledger_no = $1 and a.no = x.account_no and e = a)
        """,
        ledger_no,
        _json(rows),
        after,
        through,
    )
    return _count(removed)


async def add_missing(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Puts in what is missing; what is there stays."""
    return _count(await connection.execute(MISSING[table], _json(rows)))


async def replace_holds(
    connection: Connection,
    ledger_no: int,
    holds: Sequence[Mapping[str, Any]],
    hold_lines: Sequence[Mapping[str, Any]],
) -> int:
    """Puts these holds and their lines right; returns how many rows were taken out or put in."""
    removed = await connection.execute(
        """
        delete from holds x
        where x.ledger_no = $1 and exists (
            select from jsonb_populate_recordset(null::holds, $2::text::jsonb) e where e.id = x.id and e <> x)
        """,
        ledger_no,
        _json(holds),
    )
    removed_lines = await connection.execute(
        """
        delete from hold_lines x
        where x.ledger_no = $1
            and x.hold_id in (select e.id from jsonb_populate_recordset(null::holds, $2::text::jsonb) e)
            and not exists (
                select from jsonb_populate_recordset(null::hold_lines, $3::text::jsonb) e
                where e.hold_id = x.hold_id and e.line = x.line and e = x)
        """,
        ledger_no,
        _json(holds),
        _json(hold_lines),
    )
    added = [await connection.execute(MISSING["holds"], _json(holds))]
    added.append(await connection.execute(MISSING["hold_lines"], _json(hold_lines)))
    return sum(_count(status) for status in (removed, removed_lines, *added))


async def remove_strange_holds(connection: Connection, ledger_no: int) -> int:
    """Takes out holds that no record placed, and lines of no hold."""
    removed = await connection.execute(
        """
        delete from holds h
        where h.ledger_no = $1 and not exists (
            select from log g
            where g.ledger_no = $1 and g.sequence = h.placed_sequence
                and g.payload::jsonb ->> 'type' = 'hold-placed' and g.payload::jsonb -> 'hold' ->> 'id' = h.id::text)
        """,
        ledger_no,
    )
    removed_lines = await connection.execute(
        """
        delete from hold_lines n
        where n.ledger_no = $1 and not exists (select from holds h where h.ledger_no = $1 and h.id = n.hold_id)
        """,
        ledger_no,
    )
    return _count(removed) + _count(removed_lines)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows, default=_plain).decode()


def _plain(value: Any) -> str:
    if isinstance(value, date | Decimal):
        return str(value)
    raise TypeError(f"{type(value)} is in no table")


def _count(status: str) -> int:
    """How many rows a statement says it wrote: the last word of `DELETE 3` and of `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])
