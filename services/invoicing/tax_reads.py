"""What is reported of tax, as it is kept: tax rows of documents by tax point, events on cash basis, entries.

A `Span` is a stretch of tax points of one ledger. `unfiled` leaves out what is on a filed return, and that alone
decides what is reported; `known_after` keeps the search short where a stretch was filed already and little came since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg

from libs.common.db import Connection
from services.invoicing.tax_books import AccountMovement, Booked
from services.invoicing.tax_registrations import Registered


@dataclass(frozen=True, slots=True)
class Span:
    """Tax points of one ledger, first and last day."""

    organization: str
    ledger: str
    since: date
    until: date
    known_after: datetime | None = None
    unfiled: bool = False

    @property
    def arguments(self) -> tuple[object, ...]:
        return self.organization, self.ledger, self.since, self.until, self.known_after


async def registrations(connection: Connection, organization: str) -> list[Registered]:
    """Under which number each ledger's documents are reported, and from when."""
    rows = await connection.fetch(
        """
        select ledger, tax_number, currency, valid_from from tax_numbers
        where organization = $1 order by ledger, valid_from
        """,
        organization,
    )
    return [Registered(*row.values()) for row in rows]


async def ledgers_with_settings(connection: Connection, organization: str) -> list[str]:
    """Codes of an organization's ledgers that invoice."""
    rows = await connection.fetch(
        "select ledger from receivables_settings where organization = $1 order by ledger", organization
    )
    return [row["ledger"] for row in rows]


async def insert_tax_number(connection: Connection, organization: str, row: Registered, now: datetime) -> None:
    """Stores under which number a ledger reports from a day on."""
    await connection.execute(
        """
        insert into tax_numbers (organization, ledger, tax_number, currency, valid_from, created_at)
        values ($1, $2, $3, $4, $5, $6)
        """,
        organization,
        *row,
        now,
    )


async def document_rows(connection: Connection, span: Span) -> list[asyncpg.Record]:
    """Tax rows of what has a tax point in the span: invoices, and, negative, credit notes, voids and discounts; a
    discount that is taken back is positive. One is as old as its payment says, but known since it is on its invoice."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select 'invoice' as kind, 'invoice/' || i.id as source, i.id as document, i.number, i.tax_point_on as day,
            i.tax_point_on as rate_on, i.currency, t.place as part, t.category, t.rate, t.exemption_code,
            t.exemption_reason, t.base, t.amount, 'invoice/' || i.id as posted_as, 'issue' as purpose
        from invoices i
        join invoice_taxes t on t.organization = i.organization and t.invoice = i.id
        where i.organization = $1 and i.ledger = $2 and i.status <> 'draft'
          and i.tax_point_on between $3 and $4 and ($5::timestamptz is null or i.issued_at > $5)
          and not ($6::boolean and exists (select from tax_return_lines l
                where l.organization || '' = $1 and l.source = 'invoice/' || i.id and l.part = t.place))
        union all
        select 'credit-note', 'credit-note/' || n.id, n.id, n.number, n.issued_on, i.tax_point_on, n.currency, t.place,
            t.category, t.rate, t.exemption_code, t.exemption_reason, -t.base, -t.amount, 'credit-note/' || n.id,
            'credit_note'
        from credit_notes n
        join credit_note_taxes t on t.organization = n.organization and t.credit_note = n.id
        join invoices i on i.organization = n.organization and i.id = n.invoice
        where n.organization = $1 and n.ledger = $2
          and n.issued_on between $3 and $4 and ($5::timestamptz is null or n.created_at > $5)
          and not ($6::boolean and exists (select from tax_return_lines l
                where l.organization || '' = $1 and l.source = 'credit-note/' || n.id and l.part = t.place))
        union all
        select 'void', 'invoice/' || i.id || '/void', i.id, i.number, (i.voided_at at time zone 'UTC')::date,
            i.tax_point_on, i.currency, t.place, t.category, t.rate, t.exemption_code, t.exemption_reason, -t.base,
            -t.amount, 'invoice/' || i.id, 'void'
        from invoices i
        join invoice_taxes t on t.organization = i.organization and t.invoice = i.id
        where i.organization = $1 and i.ledger = $2 and i.voided_at is not null
          and (i.voided_at at time zone 'UTC')::date between $3 and $4
          and ($5::timestamptz is null or i.voided_at > $5)
          and not ($6::boolean and exists (select from tax_return_lines l
                where l.organization || '' = $1 and l.source = 'invoice/' || i.id || '/void' and l.part = t.place))
        union all
        select case d.kind when 'discount' then 'discount' else 'discount-taken-back' end, 'discount/' || d.id, d.id,
            i.number, d.on_date, i.tax_point_on, d.currency, t.place, t.category, t.rate, t.exemption_code,
            t.exemption_reason, s.sign * t.base, s.sign * t.amount, 'discount/' || d.id,
            case d.kind when 'discount' then 'early_discount' else 'discount_taken_back' end
        from discounts d
        cross join lateral (select case d.kind when 'discount' then -1 else 1 end as sign) s
        join discount_taxes t on t.organization = d.organization and t.discount = d.id
        join invoices i on i.organization = d.organization and i.id = d.invoice
        where d.organization = $1 and d.ledger = $2 and d.on_date between $3 and $4
          and ($5::timestamptz is null or exists (select from allocations a
                where a.organization || '' = $1 and a.source_id = coalesce(d.undoes, d.id)
                  and (a.undoes is null) = (d.undoes is null) and a.created_at > $5))
          and not ($6::boolean and exists (select from tax_return_lines l
                where l.organization || '' = $1 and l.source = 'discount/' || d.id and l.part = t.place))
        """,
        *span.arguments,
        span.unfiled,
    )
    return rows


async def relief_rows(connection: Connection, span: Span) -> list[asyncpg.Record]:
    """Decisions by which tax of what was given up was claimed back, or repaid, with the number of their invoice; and
    the reversals of such decisions, which have the draft of what they reverse."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select w.id, w.invoice, w.on_date, i.number, i.tax_point_on, p.purpose, p.draft
        from write_offs w
        join invoices i on i.organization = w.organization and i.id = w.invoice
        join postings p on p.organization = w.organization and p.document = 'write-off/' || w.id
        where w.organization = $1 and w.ledger = $2
          and w.kind in ('relief', 'recovery', 'relief-taken-back', 'recovery-taken-back')
          and p.purpose in ('relief', 'relief_repaid', 'relief_reversed', 'relief_repaid_reversed')
          and p.draft is not null
          and w.on_date between $3 and $4 and ($5::timestamptz is null or w.created_at > $5)
          and not ($6::boolean and exists (select from tax_return_lines l
                where l.organization || '' = $1 and l.source = 'write-off/' || w.id))
        """,
        *span.arguments,
        span.unfiled,
    )
    return rows


async def touched_invoices(connection: Connection, span: Span) -> list[UUID]:
    """Invoices to which something happened in the span that moves tax on cash basis, discounts by their allocations."""
    rows = await connection.fetch(
        """
        select distinct i.id
        from (
            select invoice from allocations
            where organization = $1 and source <> 'credit-note'
              and on_date between $3 and $4
              and ($5::timestamptz is null or created_at > $5)
            union all
            select invoice from credit_notes
            where organization = $1 and ledger = $2
              and issued_on between $3 and $4
              and ($5::timestamptz is null or created_at > $5)
            union all
            select invoice from write_offs
            where organization = $1 and ledger = $2 and kind in ('write-off', 'reversal')
              and on_date between $3 and $4
              and ($5::timestamptz is null or created_at > $5)
        ) touched
        join invoices i on i.organization = $1 and i.id = touched.invoice
        where i.ledger = $2
        """,
        *span.arguments,
    )
    return [row["id"] for row in rows]


async def invoices_on_cash(connection: Connection, organization: str, invoices: Sequence[UUID]) -> list[asyncpg.Record]:
    """Invoices with their tax rows as they are frozen, as JSON text."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select id, number, currency, total, tax_point_on, (content -> 'totals' -> 'taxes')::text as taxes from invoices
        where organization = $1 and id = any($2)
        """,
        organization,
        list(invoices),
    )
    return rows


async def events_on_cash(connection: Connection, organization: str, invoices: Sequence[UUID]) -> list[asyncpg.Record]:
    """What happened to invoices, in the order of happening: payments, credit and tax withheld, credit notes,
    discounts (after the payments that take or lose them), write-offs."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from (
            select a.invoice, 'payment' as kind, 'allocation/' || a.id as source, a.id, a.created_at, a.on_date as day,
                case when a.undoes is null then a.amount else -a.amount end as amount, 0::numeric as to_credit,
                null as taxes, null as undoes, null as number
            from allocations a
            where a.organization || '' = $1 and a.invoice = any($2) and a.source not in ('credit-note', 'discount')
            union all
            select d.invoice, case d.kind when 'discount' then 'discount' else 'discount-taken-back' end,
                'discount/' || d.id, d.id, a.created_at, a.on_date, d.total, 0, (d.content -> 'taxes')::text, null, null
            from allocations a
            join discounts d on d.organization = a.organization
              and case when a.undoes is null then d.id else d.undoes end = a.source_id
            where a.organization || '' = $1 and a.invoice = any($2) and a.source = 'discount'
            union all
            select n.invoice, 'credit-note', 'credit-note/' || n.id, n.id, n.created_at, n.issued_on, n.total,
                n.to_credit, (n.content -> 'taxes')::text, null, n.number
            from credit_notes n
            where n.organization || '' = $1 and n.invoice = any($2)
            union all
            select w.invoice, w.kind, 'write-off/' || w.id, w.id, w.created_at, w.on_date, w.amount, 0, null,
                'write-off/' || w.undoes, null
            from write_offs w
            where w.organization || '' = $1 and w.invoice = any($2) and w.kind in ('write-off', 'reversal')
        ) happened
        order by created_at, kind like 'discount%', id
        """,
        organization,
        list(invoices),
    )
    return rows


async def filed_sources(connection: Connection, organization: str, sources: Sequence[str]) -> set[str]:
    """Which of these are on a filed return."""
    rows = await connection.fetch(
        """
        select distinct l.source from unnest($2::text[]) as w (source)
        join tax_return_lines l on l.source = w.source and l.organization || '' = $1
        """,
        organization,
        list(sources),
    )
    return {row["source"] for row in rows}


# --- the books --------------------------------------------------------------------------------------------------------


async def booked_for(
    connection: Connection, organization: str, postings: Sequence[tuple[str, str]], sequence: int
) -> list[Booked]:
    """What the entries of documents (document and purpose) are to move, of those that are decided and not withdrawn;
    one that moves no tax is in no currency."""
    rows = await connection.fetch(
        """
        select p.document, p.purpose, p.id, coalesce(m.currency, '') as currency,
            coalesce(-sum(m.amount), 0)::numeric as amount,
            coalesce(p.sequence <= $4, exists (select from book_lines b
                where b.organization = p.organization and b.entry_id = p.id and b.sequence <= $4)) as is_posted
        from unnest($2::text[], $3::text[]) as w (document, purpose)
        join postings p on p.document = w.document and p.purpose = w.purpose and p.organization = $1
        left join movements m on m.organization = p.organization and m.posting = p.id and m.role = 'tax-due'
        where p.state <> 'withdrawn' and p.draft is not null
        group by p.document, p.purpose, p.id, m.currency, p.sequence, p.organization
        """,
        organization,
        [document for document, _ in postings],
        [purpose for _, purpose in postings],
        sequence,
    )
    return [_booked(row) for row in rows]


async def booked_on(
    connection: Connection, organization: str, ledger: str, since: date, until: date, sequence: int
) -> list[Booked]:
    """The same of all entries whose own day is in these."""
    rows = await connection.fetch(
        """
        select p.document, p.purpose, p.id, m.currency, -sum(m.amount)::numeric as amount,
            coalesce(p.sequence <= $5, exists (select from book_lines b
                where b.organization = p.organization and b.entry_id = p.id and b.sequence <= $5)) as is_posted
        from movements m
        join postings p on p.organization = m.organization and p.id = m.posting
        where m.organization = $1 and m.ledger = $2 and m.role = 'tax-due' and p.state <> 'withdrawn'
          and (convert_from(p.draft, 'UTF8')::jsonb ->> 'effective_on')::date between $3 and $4
        group by p.document, p.purpose, p.id, m.currency, p.sequence, p.organization
        """,
        organization,
        ledger,
        since,
        until,
        sequence,
    )
    return [_booked(row) for row in rows]


async def decisions_of(connection: Connection, organization: str, documents: Sequence[str]) -> dict[str, bytes]:
    """The decisions that booked documents' tax: issues, credit notes, discounts and what takes these back."""
    rows = await connection.fetch(
        """
        select p.document, p.draft from unnest($2::text[]) as w (document)
        join postings p on p.document = w.document and p.organization = $1
        where p.purpose in ('issue', 'credit_note', 'early_discount', 'discount_taken_back')
          and p.state <> 'withdrawn' and p.draft is not null
        """,
        organization,
        list(documents),
    )
    return {row["document"]: row["draft"] for row in rows}


async def account_movements(
    connection: Connection, span: Span, sequence: int, entries: Sequence[UUID]
) -> list[AccountMovement]:
    """What the books say of the accounts of tax that is due, at a sequence."""
    rows = await connection.fetch(
        """
        select b.currency,
            coalesce(-sum(b.amount) filter (where ours), 0)::numeric as reported,
            coalesce(-sum(b.amount) filter (where inside), 0)::numeric as in_period,
            coalesce(-sum(b.amount) filter (where inside and service <> 'invoicing'), 0)::numeric as of_others,
            coalesce(-sum(b.amount) filter (where inside and service = 'invoicing' and not ours), 0)::numeric
                as elsewhere,
            coalesce(-sum(b.amount) filter (where ours and not inside), 0)::numeric as outside
        from (
            select l.currency, l.amount, l.service, l.entry_id = any($6::uuid[]) as ours,
                l.effective_on between $3 and $4 as inside
            from book_lines l
            where l.organization = $1 and l.ledger = $2 and l.sequence <= $5
              and l.account in (select account from followed_accounts
                    where organization = $1 and ledger = $2 and role = 'tax-due')
        ) b
        where ours or inside
        group by b.currency
        """,
        span.organization,
        span.ledger,
        span.since,
        span.until,
        sequence,
        list(entries),
    )
    return [AccountMovement(row["currency"], *map(int, tuple(row.values())[1:])) for row in rows]


def _booked(row: asyncpg.Record) -> Booked:
    return Booked(row["document"], row["purpose"], row["id"], row["currency"], int(row["amount"]), row["is_posted"])
