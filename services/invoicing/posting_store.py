"""What the ledger was asked, as it is kept: postings, their movements, and what documents say of them.

Every function takes the transaction of its caller and works on many rows of many organizations at once. A posting that
others may wait for is looked at under a share lock: the one who marks it posted waits for those who are just about to
depend on it, and so releases them too.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.array_text import array_columns
from libs.common.db import Connection

Key = tuple[str, UUID]
"""Organization and the posting's id, which is its entry's."""


class PostingRow(NamedTuple):
    """A posting as it is first stored."""

    organization: str
    id: UUID
    ledger: str
    document: str
    purpose: str
    type: str
    draft: bytes | None
    value: bytes | None
    state: str
    depends_on: UUID | None
    created_at: datetime
    requested_at: datetime | None
    resend_at: datetime | None
    rejection: str | None


class MovementRow(NamedTuple):
    """One movement of an account that is tied out; debit positive."""

    organization: str
    posting: UUID
    place: int
    ledger: str
    role: str
    party: str
    currency: str
    amount: int


class PostedRow(NamedTuple):
    """What the ledger says of an entry that is in the books."""

    organization: str
    id: UUID
    sequence: int
    effective_on: date
    recorded_at: datetime


class RejectedRow(NamedTuple):
    """What the ledger says of an attempt that it refused; `rejection` is JSON text."""

    organization: str
    id: UUID
    attempt: int
    rejection: str


async def states_of(connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    """The states of postings; those not posted yet are locked, so that they do not change before the commit."""
    if not keys:
        return {}
    rows = await connection.fetch(
        """
        select p.organization, p.id, p.state
        from unnest($1::text::text[], $2::text::uuid[]) as wanted (organization, id)
        join postings p on p.organization = wanted.organization and p.id = wanted.id
        """,
        *array_columns(keys),
    )
    states = {(row["organization"], row["id"]): row["state"] for row in rows}
    unsure = sorted(key for key, state in states.items() if state != "posted")
    if unsure:
        rows = await connection.fetch(
            """
            select p.organization, p.id, p.state
            from unnest($1::text::text[], $2::text::uuid[]) as wanted (organization, id)
            join postings p on p.organization = wanted.organization and p.id = wanted.id
            order by p.organization, p.id
            for share of p
            """,
            *array_columns(unsure),
        )
        states.update({(row["organization"], row["id"]): row["state"] for row in rows})
    return states


async def hold_documents(connection: Connection, keys: Sequence[Key]) -> None:
    """Holds the payments and invoices that postings are of, before the postings themselves: whoever changes several of
    these takes payments, invoices, customer credit, postings in this order, so that nobody waits in a ring."""
    if not keys:
        return
    rows = await connection.fetch(
        """
        select distinct p.organization, split_part(p.document, '/', 1) as kind,
            split_part(p.document, '/', 2) as id
        from unnest($1::text::text[], $2::text::uuid[]) as wanted (organization, id)
        join postings p on p.organization = wanted.organization and p.id = wanted.id
        where split_part(p.document, '/', 1) in ('payment', 'invoice')
        """,
        *array_columns(keys),
    )
    for kind, statement in _HOLD.items():
        held = [(row["organization"], row["id"]) for row in rows if row["kind"] == kind]
        if held:
            await connection.execute(statement, *array_columns(held))


_HOLD: Final[Mapping[str, str]] = {
    "payment": """
        select 1 from unnest($1::text::text[], $2::text::uuid[]) as wanted (organization, id)
        join payments d on d.organization = wanted.organization and d.id = wanted.id
        order by d.organization, d.id for no key update of d
        """,
    "invoice": """
        select 1 from unnest($1::text::text[], $2::text::uuid[]) as wanted (organization, id)
        join invoices d on d.organization = wanted.organization and d.id = wanted.id
        order by d.organization, d.id for no key update of d
        """,
}


async def insert_postings(connection: Connection, rows: Sequence[PostingRow]) -> set[Key]:
    """Stores postings; gives those that are new. One that is there already stays as it is."""
    if not rows:
        return set()
    stored = await connection.fetch(
        """
        insert into postings (organization, id, ledger, document, purpose, type, draft, value, state, depends_on,
            created_at, requested_at, resend_at, rejection)
        select organization, id, ledger, document, purpose, type, draft, value, state, depends_on,
            created_at, requested_at, resend_at, rejection::jsonb
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[], $4::text::text[], $5::text::text[],
            $6::text::text[], $7::bytea[], $8::bytea[],
                $9::text::text[], $10::text::uuid[], $11::text::timestamptz[], $12::text::timestamptz[],
                $13::text::timestamptz[], $14::text::text[])
            as posting (organization, id, ledger, document, purpose, type, draft, value, state, depends_on,
                created_at, requested_at, resend_at, rejection)
        on conflict do nothing
        returning organization, id
        """,
        *array_columns(rows, bytes_at=(6, 7)),
    )
    return {(row["organization"], row["id"]) for row in stored}


async def insert_movements(connection: Connection, rows: Sequence[MovementRow]) -> None:
    """Stores the movements of new postings."""
    if not rows:
        return
    await connection.execute(
        """
        insert into movements (organization, posting, place, ledger, role, party, currency, amount)
        select * from unnest($1::text::text[], $2::text::uuid[], $3::text::smallint[], $4::text::text[],
            $5::text::text[], $6::text::text[], $7::text::text[],
            $8::text::numeric[])
        """,
        *array_columns(rows),
    )


async def mark_posted(connection: Connection, rows: Sequence[PostedRow]) -> list[asyncpg.Record]:
    """Postings that are in the books now and were not before; their movements have the sequence too."""
    if not rows:
        return []
    marked: list[asyncpg.Record] = await connection.fetch(
        """
        with marked as (
            update postings p
               set state = 'posted', sequence = answer.sequence, effective_on = answer.effective_on,
                   recorded_at = answer.recorded_at, resend_at = null, rejection = null
              from unnest($1::text::text[], $2::text::uuid[], $3::text::bigint[], $4::text::date[],
                       $5::text::timestamptz[])
                   as answer (organization, id, sequence, effective_on, recorded_at)
             where p.organization = answer.organization and p.id = answer.id
               and p.state in ('requested', 'needs-attention') and p.value is not null
            returning p.organization, p.id, p.document, p.purpose, p.state, p.sequence, p.effective_on, p.rejection),
        moved as (
            update movements m
               set sequence = marked.sequence
              from marked
             where m.organization = marked.organization and m.posting = marked.id)
        select organization, id::text, document, purpose, state, sequence, effective_on, rejection from marked
        """,
        *array_columns(rows),
    )
    return marked


async def mark_rejected(connection: Connection, rows: Sequence[RejectedRow]) -> list[asyncpg.Record]:
    """Postings whose latest attempt was refused. An older attempt's answer is old news."""
    if not rows:
        return []
    marked: list[asyncpg.Record] = await connection.fetch(
        """
        update postings p
           set state = 'needs-attention', resend_at = null, rejection = answer.rejection::jsonb
          from unnest($1::text::text[], $2::text::uuid[], $3::text::integer[], $4::text::text[])
               as answer (organization, id, attempt, rejection)
         where p.organization = answer.organization and p.id = answer.id and p.state = 'requested'
           and p.attempt = answer.attempt
        returning p.organization, p.id::text, p.document, p.purpose, p.state, p.sequence, p.effective_on, p.rejection
        """,
        *array_columns(rows),
    )
    return marked


async def payments_told(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[asyncpg.Record]:
    """Payments as they are told to others, ids and amounts as text, by organization and the payment's id."""
    if not keys:
        return []
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select d.organization, d.ledger, d.id::text, d.provider, d.payment_id, d.customer::text, d.currency,
            d.amount::text, d.fee::text, d.allocated::text, d.to_credit::text, d.unapplied::text, d.version
        from unnest($1::text::text[], $2::text::uuid[]) as settled (organization, id)
        join payments d on d.organization = settled.organization and d.id = settled.id
        """,
        *array_columns(keys),
    )
    return rows


async def release(
    connection: Connection, keys: Sequence[tuple[str, str]], now: datetime, resend_at: datetime
) -> list[asyncpg.Record]:
    """Postings that waited for these, which are posted now, and are requested from now on: what to send of each."""
    if not keys:
        return []
    released: list[asyncpg.Record] = await connection.fetch(
        """
        update postings p
           set state = 'requested', requested_at = $3, resend_at = $4
          from unnest($1::text::text[], $2::text::uuid[]) as posted (organization, id)
         where p.organization || '' = posted.organization and p.depends_on = posted.id and p.state = 'waiting'
           and p.value is not null
        returning p.organization, p.id, p.ledger, p.document, p.type, p.value, p.attempt
        """,
        *array_columns(keys),
        now,
        resend_at,
    )
    return released


async def due_again(
    connection: Connection, now: datetime, first: timedelta, longest: timedelta, limit: int
) -> list[asyncpg.Record]:
    """Postings without an answer whose time has come, each put off for twice as long as before; what to send again."""
    due: list[asyncpg.Record] = await connection.fetch(
        """
        with due as (
            select organization, id from postings
            where state = 'requested' and resend_at <= $1
            order by resend_at
            limit $4
            for no key update skip locked)
        update postings p
           set tries = p.tries + 1, resend_at = $1 + least($2::interval * (2 ^ least(p.tries + 1, 20)), $3::interval)
          from due
         where p.organization = due.organization and p.id = due.id
        returning p.organization, p.id, p.ledger, p.document, p.type, p.value, p.attempt
        """,
        now,
        first,
        longest,
        limit,
    )
    return due


async def lock_posting(connection: Connection, organization: str, posting: UUID) -> asyncpg.Record | None:
    """One posting, held until the commit."""
    return await connection.fetchrow(
        """
        select organization, id, ledger, document, purpose, type, draft, value, attempt, state, depends_on, created_at,
               rejection
        from postings where organization = $1 and id = $2 for no key update
        """,
        organization,
        posting,
    )


async def store_attempt(
    connection: Connection,
    key: Key,
    attempt: int,
    value: bytes | None,
    state: str,
    requested_at: datetime | None,
    resend_at: datetime | None,
    rejection: str | None,
) -> None:
    """What a posting is after it was tried again."""
    await connection.execute(
        """
        update postings
           set attempt = $3, value = $4, state = $5, requested_at = $6, resend_at = $7, rejection = $8::jsonb, tries = 0
         where organization = $1 and id = $2
        """,
        *key,
        attempt,
        value,
        state,
        requested_at,
        resend_at,
        rejection,
    )


async def store_draft(connection: Connection, key: Key, draft: bytes) -> None:
    """The decision that could not be made when the posting was first wanted."""
    await connection.execute("update postings set draft = $3 where organization = $1 and id = $2", *key, draft)


async def withdraw(connection: Connection, organization: str, document: str) -> bool:
    """Takes back what was never sent of a document: true where that was everything that is asked for it."""
    left: bool = await connection.fetchval(
        """
        with taken as (
            update postings set state = 'withdrawn', resend_at = null
            where organization = $1 and document = $2 and (state = 'waiting' or state = 'needs-attention')
            returning id)
        select not exists (
            select 1 from postings where organization = $1 and document = $2 and state <> 'withdrawn'
            and id not in (select id from taken))
        """,
        organization,
        document,
    )
    return left


async def show_on_documents(connection: Connection, documents: Sequence[tuple[str, str]]) -> list[asyncpg.Record]:
    """Lets documents say how their postings stand: the worst of them. A document is its kind, `/`, its id, each once.

    Gives the payments that say something else now, as `payments_told` does.
    """
    if not documents:
        return []
    rows = await connection.fetch(
        """
        select p.organization, p.document, case
                when bool_or(p.state = 'needs-attention') then 'needs-attention'
                when bool_or(p.state in ('waiting', 'requested')) then 'requested'
                when bool_or(p.state = 'posted') then 'posted'
                else 'none' end as posting
        from unnest($1::text::text[], $2::text::text[]) as d (organization, document)
        join postings p on p.organization || '' = d.organization and p.document = d.document
        group by p.organization, p.document
        order by p.organization, p.document
        """,
        *array_columns(documents),
    )
    by_kind: dict[str, list[tuple[str, str, str]]] = {}
    for row in rows:
        kind, _, document_id = row["document"].partition("/")
        by_kind.setdefault(kind, []).append((row["organization"], document_id, row["posting"]))
    payments: list[asyncpg.Record] = []
    for kind in sorted(by_kind):
        shown = array_columns(by_kind[kind])
        if kind == "payment":
            payments = await connection.fetch(_SHOW[kind], *shown)
        elif statement := _SHOW.get(kind):
            await connection.execute(statement, *shown)
    return payments


_SHOW: Final[Mapping[str, str]] = {
    "invoice": """
        update invoices d set posting = shown.posting, version = d.version + 1
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "payment": """
        update payments d set posting = shown.posting, version = d.version + 1
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        returning d.organization, d.ledger, d.id::text, d.provider, d.payment_id, d.customer::text, d.currency,
            d.amount::text, d.fee::text, d.allocated::text, d.to_credit::text, d.unapplied::text, d.version
        """,
    "credit-note": """
        update credit_notes d set posting = shown.posting
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "payout": """
        update payouts d set posting = shown.posting
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "write-off": """
        update write_offs d set posting = shown.posting
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "discount": """
        update discounts d set posting = shown.posting
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "withholding": """
        update withholdings d set posting = shown.posting
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "refund-payable": """
        update refunds_payable d set posting = shown.posting, version = d.version + 1
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
    "credit-application": """
        update credit_applications d set posting = shown.posting
        from unnest($1::text::text[], $2::text::uuid[], $3::text::text[]) as shown (organization, id, posting)
        where d.organization = shown.organization and d.id = shown.id and d.posting <> shown.posting
        """,
}
