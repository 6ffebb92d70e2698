"""The SQL of closing: what its steps look at under the row lock, and the record that an answer is made of."""

from datetime import date
from uuid import UUID

import orjson

from libs.common.db import Connection
from services.ledger.state import ClosingFacts


async def first_effective_on(connection: Connection, ledger_no: int) -> date | None:
    """The earliest effective date of all lines. One look at each account."""
    first: date | None = await connection.fetchval(
        """
        select min(first.effective_on)
        from accounts a
        cross join lateral (
            select d.effective_on from daily_totals d
            where d.ledger_no = a.ledger_no and d.account_no = a.no order by d.effective_on limit 1
        ) first
        where a.ledger_no = $1
        """,
        ledger_no,
    )
    return first


async def load_closing(connection: Connection, ledger_no: int) -> ClosingFacts:
    """The earliest effective date, and the years that are closed."""
    first_on = await first_effective_on(connection, ledger_no)
    rows = await connection.fetch(
        """
        select c.period, g.payload
        from (
            select distinct on (period) period, type, sequence from closings
            where ledger_no = $1 and type in ('year-closed', 'year-reopened')
            order by period, sequence desc
        ) c
        join log g on g.ledger_no = $1 and g.sequence = c.sequence
        where c.type = 'year-closed'
        """,
        ledger_no,
    )
    closed_years = {
        int(row["period"]): [UUID(id_) for id_ in orjson.loads(row["payload"])["closing"].get("entries", ())]
        for row in rows
    }
    return ClosingFacts(first_on, closed_years)


async def load_nominal(connection: Connection, ledger_no: int, through: date) -> list[tuple[str, str, int]]:
    """Income and expense accounts that are not zero as of a day: code, currency, debits less credits (minor units)."""
    rows = await connection.fetch(
        """
        select a.code, a.currency, t.balance
        from accounts a
        cross join lateral (
            select sum(d.debits - d.credits) as balance from daily_totals d
            where d.ledger_no = a.ledger_no and d.account_no = a.no and d.effective_on <= $2
        ) t
        where a.ledger_no = $1 and a.type in ('income', 'expense') and t.balance <> 0
        order by a.code
        """,
        ledger_no,
        through,
    )
    return [(row["code"], row["currency"], int(row["balance"])) for row in rows]


async def load_last_closing(connection: Connection, ledger_no: int, sequence: int) -> tuple[bytes, bytes]:
    """The last record of closing at or before a sequence: payload and hash. There has to be one."""
    row = await connection.fetchrow(
        """
        select g.payload, g.hash
        from closings c join log g on g.ledger_no = c.ledger_no and g.sequence = c.sequence
        where c.ledger_no = $1 and c.sequence <= $2
        order by c.sequence desc limit 1
        """,
        ledger_no,
        sequence,
    )
    assert row is not None, "what stands as asked without a record was closed by one"
    return row["payload"].encode(), bytes(row["hash"])
