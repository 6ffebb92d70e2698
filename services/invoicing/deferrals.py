"""Deferred revenue: what is earned by the end of a day is recognised, invoice by invoice, each day at most once.

    deferrals of an invoice (a function of its frozen content, at its issue's rates) less what is over (recognised,
    credited) -> what moves now

    asked for     every invoice of a ledger that defers something, held -> recognised through the day asked
    period end    those with a period end that has passed and is not done, held -> recognised through it, moved on to
                  the next; in one transaction, so a process that dies in between leaves nothing

A deferral stands at the last period end that is done for it. After downtime each is brought on period by period, the
one that is furthest behind first. What one cannot do yet (its issue waits for a rate) keeps back no other: it says why
and is tried again.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import orjson

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.periods import FiscalCalendar
from services.invoicing import deferral_store, invoice_store, posting_rules, recognition
from services.invoicing.asking import OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import IssuedInvoice
from services.invoicing.deferral_store import PassedEnd, RecognitionRow
from services.invoicing.entry_drafts import Books
from services.invoicing.invoices import issue_document, issue_posting
from services.invoicing.issue_books import issue_books
from services.invoicing.kept_totals import invoice_of
from services.invoicing.posting_requests import PostingWish, prepare, rejection_text, want
from services.invoicing.recognition import Deferral
from services.invoicing.rows import Row

BATCH: Final = 200
TRIED_AGAIN: Final = timedelta(minutes=10)

Over = dict[int, tuple[int, int]]
"""By line: what was credited and what was recognised of its deferred revenue."""

Outcome = Literal["recognised", "nothing", "refused"]
"""What a period end came to for one invoice."""

Calendars = Mapping[tuple[str, str], FiscalCalendar]
"""Ledgers' months, by organization and ledger."""


# --- asked for, and at period ends ------------------------------------------------------------------------------------


async def run_deferrals(
    connection: Connection, organization: str, ledger: str, through: date, now: datetime
) -> Done | Rejection:
    """Recognises what is earned by the end of `through` in a ledger. Asked again for the same day it finds nothing."""
    count, amounts = 0, 0
    after: UUID | None = None
    while True:
        rows = await deferral_store.hold_deferring(connection, organization, ledger, after, BATCH)
        for row in rows:
            after = row["invoice"]
            moved = await _recognise(connection, organization, row["invoice"], through, now)
            if isinstance(moved, Rejection):
                return moved
            count += moved > 0
            amounts += moved
            await deferral_store.advance(connection, organization, row["invoice"], through, row["ends_on"] <= through)
        if len(rows) < BATCH:
            return Done({"ledger": ledger, "through": through, "invoices": count, "lines": amounts}, OK)


async def recognise_passed(
    connection: Connection, calendars: Calendars, ends: Sequence[PassedEnd], now: datetime, limit: int
) -> list[Outcome]:
    """Brings deferrals on by one period end each, at most `limit`, none beyond its ledger's in `ends`."""
    outcomes: list[Outcome] = []
    for row in await deferral_store.claim_due(connection, ends, limit):
        organization, invoice = row["organization"], row["invoice"]
        through = recognition.end_behind(calendars[organization, row["ledger"]], row["recognised_through"])
        moved = await _recognise(connection, organization, invoice, through, now)
        if isinstance(moved, Rejection):
            await _put_off(connection, row, moved)
            outcomes.append("refused")
        else:
            await deferral_store.advance(connection, organization, invoice, through, row["ends_on"] <= through)
            outcomes.append("recognised" if moved else "nothing")
    return outcomes


async def refuse_next(connection: Connection, ends: Sequence[PassedEnd], why: Rejection) -> list[Outcome]:
    """What comes next is put off: the database refused it."""
    rows = await deferral_store.claim_due(connection, ends, 1)
    for row in rows:
        await _put_off(connection, row, why)
    return ["refused" for _ in rows]


async def _put_off(connection: Connection, row: Row, why: Rejection) -> None:
    text = rejection_text(why)
    assert text is not None
    await deferral_store.put_off(connection, row["organization"], row["invoice"], text, TRIED_AGAIN)


async def _recognise(
    connection: Connection, organization: str, invoice: UUID, through: date, now: datetime
) -> int | Rejection:
    """Recognises what is earned of one invoice; gives the number of its lines that moved."""
    key = organization, invoice
    row = (await invoice_store.lock_invoices(connection, [key]))[key]
    if row["status"] == "void" or row["posting"] == "none":
        return 0
    issued = _issued(row, await invoice_store.read_content(connection, key))
    known = await bookkeeping_for(connection, [_books_key(row)])
    books = await issue_books(connection, known, row)
    deferred = books if isinstance(books, Rejection) else posting_rules.deferrals(issued, books)
    if isinstance(deferred, Rejection):
        return deferred
    assert not isinstance(books, Rejection), "what is deferred was found with them"
    over = await _over(connection, organization, invoice)
    moves = recognition.to_recognise([(each, *over.get(each.line, (0, 0))) for each in deferred], through)
    draft = posting_rules.recognition(row["number"], through, moves, books)
    if draft is None or isinstance(draft, Rejection):
        return draft or 0
    wish = PostingWish(
        organization=organization,
        ledger=row["ledger"],
        document=issue_document(invoice),
        purpose=draft.purpose,
        created_at=row["created_at"],
        draft=draft,
        depends_on=issue_posting(organization, invoice, row["created_at"]),
    )
    await deferral_store.insert_recognitions(connection, [_recognised(row, through, *move, now) for move in moves])
    await want(connection, [prepare(wish, known)], now)
    return len(moves)


def _recognised(row: Row, through: date, deferral: Deferral, amount: int, now: datetime) -> RecognitionRow:
    organization, invoice, line = row["organization"], row["id"], deferral.line
    id_ = derived_id(row["created_at"], organization, "invoicing", f"recognition/{invoice}/{line}/{through}")
    return RecognitionRow(organization, id_, row["ledger"], invoice, line, "recognised", through, amount, now)


def _books_key(row: Row) -> BooksKey:
    return BooksKey(row["organization"], row["ledger"], row["currency"], row["issued_on"])


# --- void and credited ------------------------------------------------------------------------------------------------


async def take_back_recognised(connection: Connection, row: Row, on: date) -> PostingWish | Rejection | None:
    """Before a void: what was recognised of the invoice is deferred again, so that its issue can be reversed whole."""
    key = row["organization"], row["id"]
    over = await _over(connection, *key)
    if not any(recognised for _, recognised in over.values()):
        return None
    issued = _issued(row, await invoice_store.read_content(connection, key))
    books = await issue_books(connection, await bookkeeping_for(connection, [_books_key(row)]), row)
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
    for row in await deferral_store.recognised_of(connection, organization, [invoice]):
        credited, recognised = over.get(row["line"], (0, 0))
        amount = int(row["amount"])
        if row["kind"] == "credited":
            over[row["line"]] = credited + amount, recognised
        else:
            over[row["line"]] = credited, recognised + amount
    return over


async def deferred_left(
    connection: Connection, organization: str, invoice: UUID, issued: IssuedInvoice, books: Books
) -> dict[int, int] | Rejection:
    """What of an invoice's lines is still deferred, by line, as booked."""
    deferred = posting_rules.deferrals(issued, books)
    if isinstance(deferred, Rejection):
        return deferred
    over = await _over(connection, organization, invoice)
    return {each.line: _left(each, over) for each in deferred}


def _left(deferral: Deferral, over: Over) -> int:
    credited, recognised = over.get(deferral.line, (0, 0))
    return recognition.left(deferral, credited, recognised)


def credited_rows(
    organization: str, ledger: str, invoice: UUID, taken: Mapping[int, int], on: date, now: datetime
) -> list[RecognitionRow]:
    """Rows that say a credit note took so much of lines' deferred revenue, as booked."""
    return [
        RecognitionRow(
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
