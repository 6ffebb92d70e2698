"""Money in and out as it is kept: payments, allocations, customer credit, refunds, disputes, payouts, write-offs."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.array_text import array_columns, array_text
from libs.common.db import Connection

CreditKey = tuple[str, str, UUID, str]
"""Organization, ledger, customer, currency."""


class PaymentRow(NamedTuple):
    """A payment as it is first stored: amount = allocated + unapplied + to_credit."""

    organization: str
    id: UUID
    ledger: str
    provider: str
    payment_id: str
    customer: UUID | None
    currency: str
    amount: int
    fee: int
    received_on: date
    method: str
    account: str | None
    reference: str | None
    allocated: int
    unapplied: int
    to_credit: int
    unapplied_party: str | None
    receipt: str | None
    reason: str | None
    posting: str
    client_ref: str | None
    created_at: datetime
    stated_base: str | None = None
    stated_counter: str | None = None
    stated_rate: Decimal | None = None


class AllocationRow(NamedTuple):
    """So much of a payment, credit or credit note on an invoice; `undoes` names the row that this one takes back.

    `amount` is in the invoice's currency; `paid` is what of a payment in another one that took.
    """

    organization: str
    id: UUID
    source: str
    source_id: UUID
    invoice: UUID
    amount: int
    on_date: date
    undoes: UUID | None
    created_at: datetime
    paid: int | None = None


async def known_payments(
    connection: Connection, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], asyncpg.Record]:
    """Payments that are stored already, by (organization, provider, payment id)."""
    if not keys:
        return {}
    rows = await connection.fetch(
        """
        select p.* from unnest($1::text::text[], $2::text::text[], $3::text::text[])
            as wanted (organization, provider, payment_id)
        join payments p on p.organization || '' = wanted.organization and p.provider = wanted.provider
            and p.payment_id = wanted.payment_id
        """,
        *array_columns(keys),
    )
    return {(row["organization"], row["provider"], row["payment_id"]): row for row in rows}


async def hold_payments(connection: Connection, keys: Sequence[tuple[str, str, str]]) -> None:
    """Keeps others from storing payments of these names until the commit, so that a doubled one waits and is known."""
    await connection.execute(
        """
        select pg_advisory_xact_lock(key) from (
            select distinct hashtextextended(name, 13) as key from unnest($1::text::text[]) as name
            order by key) as ordered
        """,
        array_text(["\x1f".join(key) for key in keys]),
    )


async def insert_payments(connection: Connection, rows: Sequence[PaymentRow]) -> None:
    """Stores new payments. One that is there already is a defect of the caller, who holds its name."""
    if not rows:
        return
    await connection.execute(
        """
        insert into payments (organization, id, ledger, provider, payment_id, customer, currency, amount, fee,
            received_on, method, account, reference, allocated, unapplied, to_credit, unapplied_party, receipt, reason,
            posting, client_ref, created_at, stated_base, stated_counter, stated_rate)
        select organization, id, ledger, provider, payment_id, customer, currency, amount, fee,
            received_on, method, account, reference, allocated, unapplied, to_credit, unapplied_party, receipt::jsonb,
            reason, posting, client_ref, created_at, stated_base, stated_counter, stated_rate
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[], $4::text::text[], $5::text::text[],
            $6::text::uuid[], $7::text::text[],
                $8::text::numeric[], $9::text::numeric[], $10::text::date[], $11::text::text[], $12::text::text[],
                $13::text::text[], $14::text::numeric[],
                $15::text::numeric[], $16::text::numeric[], $17::text::text[], $18::text::text[], $19::text::text[],
                $20::text::text[], $21::text::text[],
                $22::text::timestamptz[], $23::text::text[], $24::text::text[], $25::text::numeric[])
            as payment (organization, id, ledger, provider, payment_id, customer, currency, amount, fee,
                received_on, method, account, reference, allocated, unapplied, to_credit, unapplied_party, receipt,
                reason, posting, client_ref, created_at, stated_base, stated_counter, stated_rate)
        """,
        *array_columns(rows),
    )


async def insert_allocations(connection: Connection, rows: Sequence[AllocationRow]) -> None:
    """Stores allocations, last of all: the guard compares them with the invoices and payments that stand there."""
    if not rows:
        return
    await connection.execute(
        """
        insert into allocations (organization, id, source, source_id, invoice, amount, on_date, undoes, created_at,
            paid)
        select * from unnest($1::text::text[], $2::text::uuid[], $3::text::text[], $4::text::uuid[],
            $5::text::uuid[], $6::text::numeric[], $7::text::date[],
            $8::text::uuid[], $9::text::timestamptz[], $10::text::numeric[])
        """,
        *array_columns(rows),
    )


async def find_by_reference(
    connection: Connection, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], list[UUID]]:
    """Ids of issued invoices whose number (letters and digits) or creditor reference is one of these words, by
    (organization, ledger, word)."""
    rows = await connection.fetch(
        """
        select w.organization, w.ledger, w.word, i.id
        from unnest($1::text::text[], $2::text::text[], $3::text::text[]) as w (organization, ledger, word)
        join invoices i on i.organization || '' = w.organization and i.ledger = w.ledger and i.plain_number = w.word
        union
        select w.organization, w.ledger, w.word, i.id
        from unnest($1::text::text[], $2::text::text[], $3::text::text[]) as w (organization, ledger, word)
        join invoices i on i.organization || '' = w.organization and i.creditor_reference = w.word
            and i.ledger = w.ledger
        where starts_with(w.word, 'RF')
        """,
        *array_columns(keys),
    )
    found: dict[tuple[str, str, str], list[UUID]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["ledger"], row["word"]), []).append(row["id"])
    return found


async def find_open(
    connection: Connection, keys: Sequence[tuple[str, str, UUID, str]], limit: int
) -> dict[tuple[str, str, UUID, str], list[UUID]]:
    """Ids of the oldest due open invoices of customers, by (organization, ledger, customer, currency)."""
    rows = await connection.fetch(
        """
        select w.organization, w.ledger, w.customer, w.currency, i.id
        from unnest($1::text::text[], $2::text::text[], $3::text::uuid[], $4::text::text[])
            as w (organization, ledger, customer, currency)
        cross join lateral (
            select o.invoice as id from open_invoices o
            where o.organization = w.organization and o.ledger = w.ledger and o.customer = w.customer
              and o.currency = w.currency
            order by o.due_on, o.invoice limit $5) i
        """,
        *array_columns(keys),
        limit,
    )
    found: dict[tuple[str, str, UUID, str], list[UUID]] = {}
    for row in rows:
        found.setdefault((row["organization"], row["ledger"], row["customer"], row["currency"]), []).append(row["id"])
    return found


async def lock_payment(connection: Connection, organization: str, payment: UUID) -> asyncpg.Record | None:
    """One payment, held until the commit."""
    return await connection.fetchrow(
        "select * from payments where organization = $1 and id = $2 for no key update", organization, payment
    )


async def store_placing(connection: Connection, organization: str, payment: UUID, placing: Mapping[str, Any]) -> None:
    """Where a payment's money is after a change; its row is held by the caller."""
    await connection.execute(
        """
        update payments
           set customer = $3, allocated = $4, unapplied = $5, to_credit = $6, refunded = $7, reason = $8, posting = $9,
               version = version + 1
         where organization = $1 and id = $2
        """,
        organization,
        payment,
        *(
            placing[name]
            for name in ("customer", "allocated", "unapplied", "to_credit", "refunded", "reason", "posting")
        ),
    )


async def allocations_of(connection: Connection, organization: str, source_id: UUID) -> list[asyncpg.Record]:
    """Allocations of a payment that stand (not undone), oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select a.id, a.source, a.source_id, a.invoice, a.amount, a.paid, a.on_date, a.created_at
        from allocations a
        where a.organization = $1 and a.source_id = $2 and a.undoes is null
          and not exists (select 1 from allocations u where u.organization = a.organization and u.undoes = a.id)
        order by a.created_at, a.id
        """,
        organization,
        source_id,
    )
    return rows


async def is_undone(connection: Connection, organization: str, source_id: UUID, allocation: UUID) -> bool:
    """Whether a payment had this allocation and it was taken back."""
    undone: bool = await connection.fetchval(
        """
        select exists (select 1 from allocations where organization = $1 and source_id = $2 and undoes = $3)
        """,
        organization,
        source_id,
        allocation,
    )
    return undone


async def move_credit(connection: Connection, moves: Mapping[CreditKey, int]) -> None:
    """Raises (or lowers) customers' credit; the database refuses what falls below zero (`credit_exceeded`)."""
    if not moves:
        return
    ordered = sorted(moves)
    await connection.execute(
        """
        insert into customer_credits (organization, ledger, customer, currency, balance)
        select organization, ledger, customer, currency, 0
        from unnest($1::text::text[], $2::text::text[], $3::text::uuid[], $4::text::text[])
            as moved (organization, ledger, customer, currency)
        on conflict do nothing
        """,
        *array_columns(ordered),
    )
    await connection.execute(
        """
        update customer_credits c
           set balance = c.balance + moved.amount
          from unnest($1::text::text[], $2::text::text[], $3::text::uuid[], $4::text::text[], $5::text::numeric[])
               as moved (organization, ledger, customer, currency, amount)
         where c.organization = moved.organization and c.ledger = moved.ledger and c.customer = moved.customer
           and c.currency = moved.currency
        """,
        *array_columns(ordered),
        array_text([moves[key] for key in ordered]),
    )


async def lock_credit(connection: Connection, key: CreditKey) -> int:
    """A customer's credit, held until the commit; 0 where there never was any."""
    balance = await connection.fetchval(
        """
        select balance from customer_credits
        where organization = $1 and ledger = $2 and customer = $3 and currency = $4 for no key update
        """,
        *key,
    )
    return int(balance or 0)


async def insert_credit_application(connection: Connection, row: Sequence[Any]) -> None:
    """Stores that a customer's credit was used on invoices."""
    await connection.execute(
        """
        insert into credit_applications (organization, id, ledger, customer, currency, amount, applied_on, posting,
            created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        *row,
    )


async def insert_refund(connection: Connection, row: Mapping[str, Any]) -> None:
    """Stores what went back; a second one of its name is refused (`duplicate_refund`)."""
    names = (
        "organization", "id", "ledger", "kind", "provider", "refund_id", "payment", "customer", "currency", "amount",
        "fee", "from_unapplied", "from_credit", "from_allocated", "refunded_on", "reason", "posting", "created_at",
        "undoes",
    )  # fmt: skip
    await connection.execute(
        """
        insert into refunds (organization, id, ledger, kind, provider, refund_id, payment, customer, currency, amount,
            fee, from_unapplied, from_credit, from_allocated, refunded_on, reason, posting, created_at, undoes)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        """,
        *(row[name] for name in names),
    )


async def insert_dispute(connection: Connection, row: Mapping[str, Any]) -> None:
    """Stores a dispute that was opened."""
    names = (
        "organization", "id", "ledger", "provider", "dispute_id", "payment", "status", "currency", "amount", "fee",
        "from_unapplied", "from_credit", "from_allocated", "opened_on", "posting", "created_at",
    )  # fmt: skip
    await connection.execute(
        """
        insert into disputes (organization, id, ledger, provider, dispute_id, payment, status, currency, amount, fee,
            from_unapplied, from_credit, from_allocated, opened_on, posting, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        """,
        *(row[name] for name in names),
    )


async def known_back(
    connection: Connection, organization: str, event: str, provider: str, name: str
) -> asyncpg.Record | None:
    """A refund, return or dispute that is stored already."""
    if event == "dispute_opened":
        return await connection.fetchrow(
            "select * from disputes where organization = $1 and provider = $2 and dispute_id = $3",
            organization,
            provider,
            name,
        )
    return await connection.fetchrow(
        "select * from refunds where organization = $1 and provider = $2 and refund_id = $3",
        organization,
        provider,
        name,
    )


async def lock_dispute(
    connection: Connection, organization: str, provider: str, dispute_id: str
) -> asyncpg.Record | None:
    """One dispute, held until the commit."""
    return await connection.fetchrow(
        """
        select * from disputes where organization = $1 and provider = $2 and dispute_id = $3 for no key update
        """,
        organization,
        provider,
        dispute_id,
    )


async def settle_dispute(
    connection: Connection, organization: str, dispute: UUID, status: str, settled_on: date
) -> None:
    """How a dispute ended."""
    await connection.execute(
        "update disputes set status = $3, settled_on = $4 where organization = $1 and id = $2",
        organization,
        dispute,
        status,
        settled_on,
    )
