"""What is owed as of a day and as it was known at an instant, by customer, currency and column of days.

As of today or later what stands on an invoice answers. As of an earlier day, or as it was known earlier, what came
since is put back: allocations and write-offs of a later day or known later, by their own dates, and invoices made void
since. So the past costs as much more as happened since on invoices that were there; what came on later ones is told by
the day of their issue, which allocations keep. Receipts that are not placed and customer credit are sums of movements,
which have no invoice.

The columns, at most fourteen, are added up where the rows are, each between two days: two comparisons cost less than
finding a column's place, which PostgreSQL does for each sum anew. What is open is read off its index in order; what is
put back is told beside it and added by `ageing.aged`. Everything is asked within a `Stretch` of parties: an ageing is
told whole, or as pages of customers.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection
from services.invoicing.ageing import EDGES_MAX, AgedAmounts, Basis, OnAccount


class Stretch(NamedTuple):
    """Parties after one and up to another, in the order of their ids."""

    after: UUID
    through: UUID


NO_PARTY: Final = UUID(int=0)
LAST_PARTY: Final = UUID(int=2**128 - 1)
EVER: Final = datetime.max.replace(tzinfo=UTC)
EVERYBODY: Final = Stretch(NO_PARTY, LAST_PARTY)
COLUMNS_MAX: Final = EDGES_MAX + 2

_IN_ITS_ORDER: Final = """
    set local enable_hashagg = off; set local enable_sort = off; set local enable_seqscan = off;
    set local enable_bitmapscan = off
    """
"""The index of what is open has everything, and in order; left to itself PostgreSQL reads the table and sorts it."""
_AS_PLANNED: Final = """
    set local enable_hashagg = on; set local enable_sort = on; set local enable_seqscan = on;
    set local enable_bitmapscan = on
    """


class Asked(NamedTuple):
    """Whose ageing, of which day, by which dates; `thresholds` as ageing.py has them."""

    organization: str
    ledger: str
    as_of: date
    basis: Basis
    thresholds: Sequence[int]
    parties: Stretch = EVERYBODY


async def plan_for_values(connection: Connection) -> None:
    """Each question of this transaction is planned for what it asks: a day long ago, a page, everybody."""
    await connection.execute("set local plan_cache_mode = force_custom_plan")
    await connection.execute("set local work_mem = '32MB'")


async def page_of_customers(connection: Connection, organization: str, after: UUID, limit: int) -> Stretch:
    """The stretch of the next customers; the last one reaches to the end."""
    last: UUID | None = await connection.fetchval(
        "select id from customers where organization = $1 and id > $2 order by id offset $3 limit 1",
        organization,
        after,
        limit - 1,
    )
    return Stretch(after, last or LAST_PARTY)


async def still_open(
    connection: Connection, asked: Asked, issued_by: date = date.max, known_at: datetime = EVER
) -> list[AgedAmounts]:
    """What is open now on invoices that were issued by a day, and known at an instant."""
    await connection.execute(_IN_ITS_ORDER)
    rows = await connection.fetch(
        """
        select customer::text as party, currency,
            array_to_string(array[
                sum(open) filter (where on_day <= ($4::date[])[1] and on_day > $4[2]),
                sum(open) filter (where on_day <= $4[2] and on_day > $4[3]),
                sum(open) filter (where on_day <= $4[3] and on_day > $4[4]),
                sum(open) filter (where on_day <= $4[4] and on_day > $4[5]),
                sum(open) filter (where on_day <= $4[5] and on_day > $4[6]),
                sum(open) filter (where on_day <= $4[6] and on_day > $4[7]),
                sum(open) filter (where on_day <= $4[7] and on_day > $4[8]),
                sum(open) filter (where on_day <= $4[8] and on_day > $4[9]),
                sum(open) filter (where on_day <= $4[9] and on_day > $4[10]),
                sum(open) filter (where on_day <= $4[10] and on_day > $4[11]),
                sum(open) filter (where on_day <= $4[11] and on_day > $4[12]),
                sum(open) filter (where on_day <= $4[12] and on_day > $4[13]),
                sum(open) filter (where on_day <= $4[13] and on_day > $4[14]),
                sum(open) filter (where on_day <= $4[14] and on_day > $4[15])
            ], ' ', '0') as columns
        from (
            select customer, currency, open, case $3 when 'due' then due_on else issued_on end as on_day
            from open_invoices
            where organization = $1 and ledger = $2
              and customer > $5 and customer <= $6 and issued_at <= $7 and issued_on <= $8
        ) aged
        group by customer, currency
        """,
        *_arguments(asked),
        known_at,
        issued_by,
    )
    await connection.execute(_AS_PLANNED)
    return _amounts(rows, asked)


async def put_back(connection: Connection, asked: Asked, known_at: datetime) -> list[AgedAmounts]:
    """What came since, put back on the invoices of then: paid, credited, written off and made void later."""
    rows = await connection.fetch(
        """
        with since as (
            select invoice, case when undoes is null then amount else -amount end as amount
            from allocations
            where organization = $1 and (on_date > $8 or created_at > $7) and invoice_issued_on <= $8
            union all
            select invoice, case when kind = 'write-off' then amount else -amount end
            from write_offs
            where organization = $1 and ledger = $2 and kind in ('write-off', 'reversal')
              and (on_date > $8 or created_at > $7)
        ), gone as (
            select i.customer, i.currency, i.due_on, i.issued_on, s.amount as open
            from since s
            join invoices i on i.organization = $1 and i.id = s.invoice
            where i.ledger = $2 and i.status <> 'draft' and i.customer > $5 and i.customer <= $6
              and i.issued_on <= $8 and i.issued_at <= $7
              and (i.voided_at is null or i.voided_at > $7 or (i.voided_at at time zone 'UTC')::date > $8)
            union all
            select customer, currency, due_on, issued_on, total
            from invoices
            where organization = $1 and ledger = $2 and voided_at is not null and customer > $5 and customer <= $6
              and issued_on <= $8 and issued_at <= $7
              and (voided_at > $7 or (voided_at at time zone 'UTC')::date > $8)
        )
        select customer::text as party, currency,
            array_to_string(array[
                sum(open) filter (where on_day <= ($4::date[])[1] and on_day > $4[2]),
                sum(open) filter (where on_day <= $4[2] and on_day > $4[3]),
                sum(open) filter (where on_day <= $4[3] and on_day > $4[4]),
                sum(open) filter (where on_day <= $4[4] and on_day > $4[5]),
                sum(open) filter (where on_day <= $4[5] and on_day > $4[6]),
                sum(open) filter (where on_day <= $4[6] and on_day > $4[7]),
                sum(open) filter (where on_day <= $4[7] and on_day > $4[8]),
                sum(open) filter (where on_day <= $4[8] and on_day > $4[9]),
                sum(open) filter (where on_day <= $4[9] and on_day > $4[10]),
                sum(open) filter (where on_day <= $4[10] and on_day > $4[11]),
                sum(open) filter (where on_day <= $4[11] and on_day > $4[12]),
                sum(open) filter (where on_day <= $4[12] and on_day > $4[13]),
                sum(open) filter (where on_day <= $4[13] and on_day > $4[14]),
                sum(open) filter (where on_day <= $4[14] and on_day > $4[15])
            ], ' ', '0') as columns
        from (
            select customer, currency, open, case $3 when 'due' then due_on else issued_on end as on_day
            from gone
        ) aged
        group by customer, currency
        """,
        *_arguments(asked),
        known_at,
        asked.as_of,
    )
    return _amounts(rows, asked)


async def on_account(connection: Connection, asked: Asked, known_at: datetime) -> list[OnAccount]:
    """Receipts not placed and customer credit at the end of a day, as it was known at an instant."""
    rows = await connection.fetch(
        """
        select m.party, m.currency,
               coalesce(-sum(m.amount) filter (where m.role = 'unapplied-receipts'), 0)::numeric as unapplied,
               coalesce(-sum(m.amount) filter (where m.role = 'customer-credit'), 0)::numeric as credit
        from movements m
        join postings p on p.organization = m.organization and p.id = m.posting
        where m.organization = $1 and m.ledger = $2 and m.role in ('unapplied-receipts', 'customer-credit')
          and m.party collate "C" > $4 and m.party collate "C" <= $5
          and p.state <> 'withdrawn' and p.created_at <= $6
          and coalesce(p.effective_on, (p.created_at at time zone 'UTC')::date) <= $3
        group by m.party, m.currency
        having sum(m.amount) filter (where m.role = 'unapplied-receipts') <> 0
            or sum(m.amount) filter (where m.role = 'customer-credit') <> 0
        """,
        asked.organization,
        asked.ledger,
        asked.as_of,
        *map(str, asked.parties),
        known_at,
    )
    return [OnAccount(row["party"], row["currency"], int(row["unapplied"]), int(row["credit"])) for row in rows]


async def sealed_customers(connection: Connection, organization: str, ids: Collection[UUID]) -> list[asyncpg.Record]:
    """What is sealed of customers that were not erased."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select organization, id, sealed, key_id from customers
        where organization = $1 and id = any($2) and sealed is not null
        """,
        organization,
        list(ids),
    )
    return rows


def _arguments(asked: Asked) -> tuple[object, ...]:
    return (asked.organization, asked.ledger, asked.basis, _bounds(asked), *asked.parties)


def _bounds(asked: Asked) -> list[date]:
    """Between which days each column lies, latest first: column p is up to day p and after day p + 1.

    Columns that were not asked for lie before all days.
    """
    days = [asked.as_of - timedelta(days=threshold) for threshold in asked.thresholds]
    return [date.max, *days, *[date.min] * (COLUMNS_MAX - len(days))]


def _amounts(rows: Sequence[asyncpg.Record], asked: Asked) -> list[AgedAmounts]:
    count = len(asked.thresholds) + 1
    return [
        AgedAmounts(row["party"], row["currency"], [*map(int, row["columns"].split(" ", count)[:count])])
        for row in rows
    ]
