"""What a cash forecast is made of: what is open by customer and due date, and how late was paid."""

from datetime import date

from libs.common.db import Connection
from services.invoicing.cash_forecast import Due


async def open_dues(connection: Connection, organization: str, ledger: str) -> list[Due]:
    """What is open now, by customer, currency and due date."""
    rows = await connection.fetch(
        """
        select customer::text as customer, currency, due_on, sum(open)::numeric as open
        from open_invoices
        where organization = $1 and ledger = $2
        group by customer, currency, due_on
        """,
        organization,
        ledger,
    )
    return [Due(row["customer"], row["currency"], row["due_on"], int(row["open"])) for row in rows]


async def days_late(
    connection: Connection, organization: str, ledger: str, since: date, payments_max: int
) -> dict[str, list[int]]:
    """Days between due date and payment of each customer's last payments that stand, newest first."""
    rows = await connection.fetch(
        """
        select customer::text as customer, array_agg(late order by on_date desc, id desc) as late
        from (
            select i.customer, a.on_date, a.id, a.on_date - i.due_on as late,
                row_number() over (partition by i.customer order by a.on_date desc, a.id desc) as place
            from allocations a
            join invoices i on i.organization = a.organization and i.id = a.invoice
            where a.organization = $1 and i.ledger = $2 and a.on_date >= $3 and a.source = 'payment'
              and a.undoes is null
              and not exists (select from allocations u where u.organization = a.organization and u.undoes = a.id)
        ) paid
        where place <= $4
        group by customer
        """,
        organization,
        ledger,
        since,
        payments_max,
    )
    return {row["customer"]: list(row["late"]) for row in rows}
