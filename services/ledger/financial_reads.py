"""What financial statements read beside the sums of accounts: lines of entries that touch cash, and known rates.

Every function takes a connection of the reader role inside `as_reader`. Cash lines come in slices, each bounded by one
block of 65,536 sequences, so that no statement holds a snapshot for long: lines up to a sequence never change.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta

from libs.common.db import Connection
from services.ledger.reports.cash_flow import CashLine
from services.ledger.reports.rates import RATE_AGE_DAYS_MAX, PublishedRate
from services.ledger.state import Ledger


async def cash_blocks(
    connection: Connection, ledger: Ledger, cash: Collection[int], since: date, through: date, sequence: int
) -> list[int]:
    """The blocks up to a sequence in which cash accounts have lines of a range of days."""
    rows = await connection.fetch(
        """
        select distinct block from daily_totals
        where ledger_no = $1 and account_no = any($2::int[]) and effective_on between $3 and $4
            and block <= $5::bigint >> 16
        order by block
        """,
        ledger.no,
        list(cash),
        since,
        through,
        sequence,
    )
    return [row["block"] for row in rows]


async def read_cash_lines(
    connection: Connection,
    ledger: Ledger,
    cash: Collection[int],
    since: date,
    through: date,
    block: int,
    sequence: int,
) -> list[CashLine]:
    """All lines of a block's entries that touch cash in a range of days, up to a sequence; in the log's order."""
    rows = await connection.fetch(
        """
        select n.sequence, n.account_no, n.debit, n.amount, n.effective_on
        from lines n
        where n.ledger_no = $1 and n.sequence between $5::bigint << 16 and least(($5::bigint << 16) + 65535, $6)
            and n.effective_on between $3 and $4
            and n.sequence in (
                select c.sequence from lines c
                where c.ledger_no = $1 and c.account_no = any($2::int[]) and c.effective_on between $3 and $4
                    and c.sequence between $5::bigint << 16 and least(($5::bigint << 16) + 65535, $6))
        order by n.sequence, n.line
        """,
        ledger.no,
        list(cash),
        since,
        through,
        block,
        sequence,
    )
    return [
        CashLine(row["sequence"], row["account_no"], row["debit"], int(row["amount"]), row["effective_on"])
        for row in rows
    ]


async def read_known_at(connection: Connection) -> datetime | None:
    """When the last rate that this organization may see became known; None where there is none."""
    at: datetime | None = await connection.fetchval("select max(known_at) from rates")
    return at


async def list_providers(connection: Connection, known_at: datetime | None) -> list[str]:
    """Whose rates were known then to this organization, by name."""
    rows = await connection.fetch(
        "select distinct provider from rates where known_at <= $1 order by provider limit 100", known_at
    )
    return [row["provider"] for row in rows]


async def read_rates(
    connection: Connection,
    currencies: Sequence[str],
    first: date,
    last: date,
    known_at: datetime,
    provider: str | None = None,
) -> list[PublishedRate]:
    """Rates between some currencies for a range of days (and the days a rate may be old), as they were known then.

    `provider` leaves out those of all others. They come in the order in which they count: by provider, and of one
    provider what was known last.
    """
    rows = await connection.fetch(
        """
        select provider, base, counter, rate_on, rate, organization_id
        from rates
        where base = any($1::text[]) and counter = any($1::text[]) and rate_on between $2 and $3 and known_at <= $4
            and ($5::text is null or provider = $5)
        order by provider, known_at desc
        """,
        list(currencies),
        max(first, date.min + timedelta(days=RATE_AGE_DAYS_MAX)) - timedelta(days=RATE_AGE_DAYS_MAX),
        last,
        known_at,
        provider,
    )
    return [
        PublishedRate(
            row["provider"],
            row["base"],
            row["counter"],
            row["rate_on"],
            row["rate"],
            row["organization_id"] is not None,
        )
        for row in rows
    ]
