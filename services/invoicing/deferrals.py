"""Deferred revenue: what is earned by the end of a day is recognised, invoice by invoice, each day at most once.

deferrals of an invoice (a function of its frozen content) less what is over (recognised, credited) -> what moves now
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from services.invoicing import invoice_store, note_store, posting_rules, recognition
from services.invoicing.asking import OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import IssuedInvoice
from services.invoicing.entry_drafts import Books
from services.invoicing.invoices import issue_document, issue_posting
from services.invoicing.kept_totals import invoice_of
from services.invoicing.posting_requests import PostingWish, prepare, want
from services.invoicing.recognition import Deferral
from services.invoicing.rows import Row

BATCH: Final = 200

Over = dict[int, tuple[int, int]]
"""By line: what was credited and what was recognised of its deferred revenue."""


async def run_deferrals(
    connection: Connection, organization: str, ledger: str, through: date, now: datetime
) -> Done | Rejection:
    """Recognises what is earned by the end of `through` in a ledger. Asked again for the same day it finds nothing."""
    count, amounts = 0, 0
    after: UUID | None = None
    while True:
        rows = await note_store.with_service_period(connection, organization, ledger, after, BATCH)
        for row in rows:
            after = row["id"]
            moved = await _recognise(connection, organization, row["id"], through, now)
            if isinstance(moved, Rejection):
                return moved
            count += moved > 0
            amounts += moved
        if len(rows) < BATCH:
            return Done({"ledger": ledger, "through": through, "invoices": count, "lines": amounts}, OK)


async def _recognise(
    connection: Connection, organization: str, invoice: UUID, through: date, now: datetime
) -> int | Rejection:
    """Recognises what is earned of one invoice; gives the number of its lines that moved."""
    key = organization, invoice
    row = (await invoice_store.lock_invoices(connection, [key]))[key]
    issued = _issued(row, await invoice_store.read_content(connection, key))
    books_key = BooksKey(organization, row["ledger"], row["currency"], row["issued_on"])
    books = await bookkeeping_for(connection, [books_key])
    of_ledger = books.books(books_key)
    if isinstance(of_ledger, Rejection):
        return of_ledger
    deferred = posting_rules.deferrals(issued, of_ledger)
    if isinstance(deferred, Rejection):
        return deferred
    over = await _over(connection, organization, invoice)
    moves = recognition.to_recognise([(each, *over.get(each.line, (0, 0))) for each in deferred], through)
    draft = posting_rules.recognition(row["number"], through, moves, of_ledger)
    if draft is None:
        return 0
    if isinstance(draft, Rejection):
        return draft
    wish = PostingWish(
        organization=organization,
        ledger=row["ledger"],
        document=issue_document(invoice),
        purpose=draft.purpose,
        created_at=row["created_at"],
        draft=draft,
        depends_on=issue_posting(organization, invoice, row["created_at"]),
    )
    await note_store.insert_recognitions(
        connection,
        [
            (
                organization,
                derived_id(
                    row["created_at"], organization, "invoicing", f"recognition/{invoice}/{each.line}/{through}"
                ),
                row["ledger"],
                invoice,
                each.line,
                "recognised",
                through,
                amount,
                now,
            )
            for each, amount in moves
        ],
    )
    await want(connection, [prepare(wish, books)], now)
    return len(moves)


async def take_back_recognised(connection: Connection, row: Row, on: date) -> PostingWish | Rejection | None:
    """Before a void: what was recognised of the invoice is deferred again, so that its issue can be reversed whole."""
    key = row["organization"], row["id"]
    over = await _over(connection, *key)
    if not any(recognised for _, recognised in over.values()):
        return None
    issued = _issued(row, await invoice_store.read_content(connection, key))
    books_key = BooksKey(row["organization"], row["ledger"], row["currency"], row["issued_on"])
    books = (await bookkeeping_for(connection, [books_key])).books(books_key)
    deferred = books if isinstance(books, Rejection) else posting_rules.deferrals(issued, books)
    if isinstance(deferred, Rejection):
        return deferred
    assert not isinstance(books, Rejection), "what is deferred was found with them"
    moves = recognition.to_take_back([(each, over.get(each.line, (0, 0))[1]) for each in deferred])
    draft = posting_rules.recognition(row["number"], on, moves, books)
    if draft is None or isinstance(draft, Rejection):
        return draft
    return PostingWish(
        organization=row["organization"],
        ledger=row["ledger"],
        document=issue_document(row["id"]),
        purpose="recognition-taken-back",
        created_at=row["created_at"],
        draft=draft,
        depends_on=issue_posting(row["organization"], row["id"], row["created_at"]),
    )


def _issued(row: Row, content: str) -> IssuedInvoice:
    found = invoice_of(orjson.loads(content)["totals"])
    return IssuedInvoice(row["number"], str(row["customer"]), row["issued_on"], found)


async def _over(connection: Connection, organization: str, invoice: UUID) -> Over:
    over: Over = {}
    for row in await note_store.recognised_of(connection, organization, [invoice]):
        credited, recognised = over.get(row["line"], (0, 0))
        amount = int(row["amount"])
        if row["kind"] == "credited":
            over[row["line"]] = credited + amount, recognised
        else:
            over[row["line"]] = credited, recognised + amount
    return over


async def deferred_left(
    connection: Connection, organization: str, invoice: UUID, issued: IssuedInvoice, books: Books | Rejection
) -> dict[int, int] | Rejection:
    """What of an invoice's lines is still deferred, by line."""
    if isinstance(books, Rejection):
        return books
    deferred = posting_rules.deferrals(issued, books)
    if isinstance(deferred, Rejection):
        return deferred
    over = await _over(connection, organization, invoice)
    return {each.line: _left(each, over) for each in deferred}


def _left(deferral: Deferral, over: Over) -> int:
    credited, recognised = over.get(deferral.line, (0, 0))
    return recognition.left(deferral, credited, recognised)


def deferred_parts(
    organization: str, ledger: str, invoice: UUID, taken: Mapping[int, int], on: date, now: datetime
) -> list[tuple[Any, ...]]:
    """Rows that say a credit note took so much of lines' deferred revenue."""
    return [
        (
            organization,
            derived_id(now, organization, "invoicing", f"credited/{invoice}/{line}", str(on)),
            ledger,
            invoice,
            line,
            "credited",
            on,
            amount,
            now,
        )
        for line, amount in taken.items()
        if amount
    ]
