"""What is given up of an invoice, whole or in part, and taken back: each a document of its own with its entry."""

from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_minor
from libs.common.outbox import put
from services.invoicing import announcing, domain, entries, invoice_store, note_store
from services.invoicing.asking import CREATED, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import Occasion
from services.invoicing.cash_standing import cash_tax, given_up_tax
from services.invoicing.domain import Standing
from services.invoicing.invoices import issue_posting, standing_of
from services.invoicing.payments import changed_row, store_standings
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.words import amount_text, invoice_words


async def write_off(
    connection: Connection, organization: str, invoice: UUID, text: str | None, on: date, now: datetime
) -> Done | Rejection:
    """Gives up `text` of an invoice, or all that is open."""
    row = (await invoice_store.lock_invoices(connection, [(organization, invoice)])).get((organization, invoice))
    if row is None:
        return reject("unknown-invoice", invoice=str(invoice))
    standing = standing_of(row)
    amount: int | None = None
    if text is not None:
        minor = to_minor(text, standing.currency.exponent)
        if isinstance(minor, str):
            return reject(minor, errors=[Fault("/amount", f"is {text[:60]}")])
        amount = minor
    after = domain.write_off(standing, amount)
    if isinstance(after, Rejection):
        return after
    amount = after.written_off - standing.amounts.written_off
    document = new_id()
    key = BooksKey(organization, row["ledger"], row["currency"], on)
    books = await bookkeeping_for(connection, [key])
    on_cash = await cash_tax(connection, books, [row])
    if (waits := on_cash.unknown([(organization, invoice)])) is not None:
        return waits
    tax = on_cash.standing((organization, invoice), standing.amounts)
    occasion = Occasion(f"Invoice {row['number']} written off", on, standing.currency)
    draft = entries.write_off_entry(row["customer"], amount, occasion, books.books(key), tax)
    if isinstance(draft, Rejection):
        return draft
    wish = PostingWish(
        organization=organization,
        ledger=row["ledger"],
        document=document_name("write-off", document),
        purpose="write_off",
        created_at=now,
        draft=draft,
        depends_on=issue_posting(organization, invoice, row["created_at"]),
    )
    await note_store.insert_write_off(
        connection,
        [organization, document, row["ledger"], invoice, "write-off", amount, 0, on, None, "requested", now],
    )
    stands = Standing(domain.status_of(after, False, False), after, standing.currency)
    await store_standings(connection, {(organization, invoice): stands})
    await want(connection, [prepare(wish, books)], now)
    told = changed_row(row, stands)
    await put(connection, [announcing.invoice_changed("written-off", told, now, amount)])
    return Done(
        {**invoice_words(told), "write_off": {"id": document, "amount": amount_text(amount, row["currency"])}}, CREATED
    )


async def reverse_write_off(
    connection: Connection, organization: str, document: UUID, on: date, now: datetime
) -> Done | Rejection:
    """What a write-off gave up is owed again. Twice is `already-undone`."""
    given_up = await note_store.read_write_off(connection, organization, document)
    if given_up is None or given_up["kind"] != "write-off":
        return reject("unknown-write-off", write_off=str(document))
    invoice = given_up["invoice"]
    row = (await invoice_store.lock_invoices(connection, [(organization, invoice)]))[organization, invoice]
    if await note_store.is_write_off_undone(connection, organization, document):
        return reject("already-undone", write_off=str(document))
    amount, currency = int(given_up["amount"]), ISO_4217[row["currency"]]
    recovered = (await note_store.written_off_sums(connection, organization, invoice))["recovery"]
    left = int(row["written_off"]) - amount
    if recovered > left:
        came_in, rest = (amount_text(minor, row["currency"]) for minor in (recovered, left))
        said = f"{came_in} came in, and {rest} would stay given up; take the recovery back first."
        return reject("recovery-exceeds-write-off", said, amount=came_in, left=rest)
    after = domain.reverse_write_off(standing_of(row), amount)
    if isinstance(after, Rejection):
        return after
    reversal = new_id()
    key = BooksKey(organization, row["ledger"], row["currency"], on)
    books = await bookkeeping_for(connection, [key])
    tax = (await cash_tax(connection, books, [row])).standing((organization, invoice), standing_of(row).amounts)
    not_due = await given_up_tax(connection, organization, document) if tax is not None else ()
    occasion = Occasion(f"Invoice {row['number']} no longer written off", on, currency)
    draft = entries.write_off_reversed_entry(row["customer"], amount, occasion, books.books(key), tax, not_due)
    if isinstance(draft, Rejection):
        return draft
    wish = PostingWish(
        organization=organization,
        ledger=row["ledger"],
        document=document_name("write-off", reversal),
        purpose="write_off_reversed",
        created_at=now,
        draft=draft,
        depends_on=posting_id(
            organization, document_name("write-off", document), "write_off", given_up["created_at"]
        ),
    )  # fmt: skip
    await note_store.insert_write_off(
        connection,
        [organization, reversal, row["ledger"], invoice, "reversal", amount, 0, on, document, "requested", now],
    )
    stands = Standing(domain.status_of(after, False, False), after, currency)
    await store_standings(connection, {(organization, invoice): stands})
    await want(connection, [prepare(wish, books)], now)
    return Done(invoice_words(changed_row(row, stands)), CREATED)
