"""After a write-off: its tax claimed back, and money that comes in after all.

relief     tax due / bad debt             once for a write-off, where tax was due with the invoice
recovery   bank / bad-debt recovery       no more than was given up; a relief that was claimed is repaid with it
"""

from datetime import date, datetime
from uuid import UUID

import orjson

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_minor, to_text
from services.invoicing import entries, invoice_store, note_store, posting_rules
from services.invoicing.asking import CREATED, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import Occasion
from services.invoicing.cash_basis import TaxRow, tax_inside
from services.invoicing.entry_drafts import EntryDraft
from services.invoicing.kept_totals import invoice_of
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import amount_text


async def claim_relief(
    connection: Connection, organization: str, write_off: UUID, on: date, now: datetime
) -> Done | Rejection:
    """Claims the tax of a write-off back. Twice is `already-undone`."""
    given_up = await note_store.read_write_off(connection, organization, write_off)
    if given_up is None or given_up["kind"] != "write-off":
        return reject("unknown-write-off", write_off=str(write_off))
    key = organization, given_up["invoice"]
    row = (await invoice_store.lock_invoices(connection, [key]))[key]
    if await note_store.is_write_off_undone(connection, organization, write_off):
        return reject("already-undone", write_off=str(write_off))
    tax = await _tax_of(connection, row, int(given_up["amount"]), await _given_up_before(connection, given_up))
    amount = sum(each.amount for each in tax)
    if not amount:
        return reject("relief-exceeds-tax", write_off=str(write_off))
    books_key = BooksKey(organization, row["ledger"], row["currency"], row["issued_on"])
    books = await bookkeeping_for(connection, [books_key])
    found = books.books(books_key)
    occasion = Occasion(f"Tax relief on invoice {row['number']}", on, ISO_4217[row["currency"]])
    draft = found if isinstance(found, Rejection) else posting_rules.relief(occasion, tax, found)
    if isinstance(draft, Rejection):
        return draft
    document = new_id()
    before = posting_id(organization, document_name("write-off", write_off), "write_off", given_up["created_at"])
    wish = _wish(row, document, "relief", draft, before, now)
    await note_store.insert_write_off(
        connection,
        [organization, document, row["ledger"], row["id"], "relief", amount, amount, on, write_off, "requested", now],
    )
    await want(connection, [prepare(wish, books)], now)
    return Done({"id": document, "amount": amount_text(amount, row["currency"])}, CREATED)


async def record_recovery(
    connection: Connection, organization: str, invoice: UUID, text: str, account: str | None, on: date, now: datetime
) -> Done | Rejection:
    """Money for what was given up; the invoice stays written off, and relief that was claimed is owed again."""
    key = organization, invoice
    row = (await invoice_store.lock_invoices(connection, [key])).get(key)
    if row is None:
        return reject("unknown-invoice", invoice=str(invoice))
    currency = ISO_4217[row["currency"]]
    amount = to_minor(text, currency.exponent)
    if isinstance(amount, str):
        return reject(amount, errors=[Fault("/amount", f"is {text[:60]}")])
    sums = await note_store.written_off_sums(connection, organization, invoice)
    left = int(row["written_off"]) - sums["recovery"]
    if amount > left:
        given, there = to_text(amount, currency.exponent), to_text(left, currency.exponent)
        fault = Fault("/amount", f"is {given}, {there} was given up and has not come in")
        return reject("recovery-exceeds-write-off", errors=[fault], amount=given, left=there)
    books_key = BooksKey(organization, row["ledger"], row["currency"], on)
    books = await bookkeeping_for(connection, [books_key])
    found = books.books(books_key)
    if isinstance(found, Rejection):
        return found
    occasion = Occasion(f"Recovered of invoice {row['number']}", on, currency)
    place = entries.place_of(account, "bank", "bank")
    drafts = [("recovery", posting_rules.recovery(occasion, amount, place, found))]
    if sums["relief"]:
        tax = await _tax_of(connection, row, amount, sums["recovery"])
        drafts.append(("relief_repaid", posting_rules.relief_repaid(occasion, tax, found)))
    document = new_id()
    wishes: list[PostingWish] = []
    for purpose, draft in drafts:
        if isinstance(draft, Rejection):
            return draft
        wishes.append(_wish(row, document, purpose, draft, None, now))
    await note_store.insert_write_off(
        connection,
        [organization, document, row["ledger"], invoice, "recovery", amount, 0, on, None, "requested", now],
    )
    await want(connection, [prepare(wish, books) for wish in wishes], now)
    return Done({"id": document, "amount": amount_text(amount, row["currency"])}, CREATED)


async def _tax_of(connection: Connection, row: Row, amount: int, before: int) -> tuple[TaxRow, ...]:
    content = await invoice_store.read_content(connection, (row["organization"], row["id"]))
    return tax_inside(invoice_of(orjson.loads(content)["totals"]), amount, before)


async def _given_up_before(connection: Connection, given_up: Row) -> int:
    """What other write-offs of the invoice had taken when this one was made, so that their tax adds up."""
    return await note_store.given_up_before(
        connection, given_up["organization"], given_up["invoice"], given_up["created_at"], given_up["id"]
    )


def _wish(
    row: Row, document: UUID, purpose: str, draft: EntryDraft, depends_on: UUID | None, now: datetime
) -> PostingWish:
    return PostingWish(
        organization=row["organization"],
        ledger=row["ledger"],
        document=document_name("write-off", document),
        purpose=purpose,
        created_at=now,
        draft=draft,
        depends_on=depends_on,
    )
