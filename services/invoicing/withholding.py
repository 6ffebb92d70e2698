"""Tax that the customer withheld: paid to the tax office in our name, it settles the invoice and is a claim of ours.

    withhold   withholding receivable / receivable, no more than is open     take_back   the mirror

Where the invoice states how much is withheld (`withholding_percent`) that is what is meant by no amount.
"""

from datetime import date, datetime
from uuid import UUID

import orjson

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217
from libs.common.outbox import put
from services.invoicing import announcing, domain, entries, invoice_store, payment_store, settlement_store
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import Occasion
from services.invoicing.cash_standing import cash_tax
from services.invoicing.domain import Amounts, Standing
from services.invoicing.invoices import issue_posting, standing_of
from services.invoicing.kept_totals import invoice_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import changed_row, store_standings
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.settlement_store import WithholdingRow
from services.invoicing.words import withholding_words


async def withhold(
    connection: Connection,
    organization: str,
    invoice: UUID,
    amount: int | None,
    certificate: str | None,
    on: date,
    now: datetime,
) -> Done | Rejection:
    """Tax withheld settles `amount` of an invoice, or what the invoice states and was not withheld yet."""
    key = organization, invoice
    row = (await invoice_store.lock_invoices(connection, [key])).get(key)
    if row is None:
        return reject("unknown-invoice", invoice=str(invoice))
    if amount is None:
        stated = await _stated(connection, row)
        if isinstance(stated, Rejection):
            return stated
        amount = stated
    after = domain.allocate(standing_of(row), amount)
    if isinstance(after, Rejection):
        return after
    made = WithholdingRow(
        organization, new_id(), row["ledger"], invoice, "withheld", row["currency"], amount, certificate, on, None,
        "requested", now,
    )  # fmt: skip
    before = issue_posting(organization, invoice, row["created_at"])
    refused = await _store(connection, row, made, after, None, before, now)
    if refused is not None:
        return refused
    told = changed_row(row, _stands(row, after))
    await put(connection, [announcing.invoice_changed("paid", told, now, amount, payment_id=None)])
    return Done(withholding_words(made._asdict(), told), CREATED)


async def take_back(
    connection: Connection, organization: str, withholding: UUID, on: date, now: datetime
) -> Done | Rejection:
    """The invoice is open again by what was not withheld after all. Twice is `already-undone`."""
    known = await settlement_store.read_withholding(connection, organization, withholding)
    if known is None:
        return reject("unknown-withholding", withholding=str(withholding))
    key = organization, known["invoice"]
    row = (await invoice_store.lock_invoices(connection, [key]))[key]
    standing = await settlement_store.withheld_of(connection, organization, known["invoice"])
    undone = next((each for each in standing if each["id"] == withholding), None)
    if undone is None:
        return reject("already-undone", withholding=str(withholding))
    after = domain.unallocate(standing_of(row), int(known["amount"]))
    if isinstance(after, Rejection):
        return after
    made = WithholdingRow(
        organization, new_id(), row["ledger"], row["id"], "taken-back", row["currency"], int(known["amount"]),
        known["certificate"], on, withholding, "requested", now,
    )  # fmt: skip
    document = document_name("withholding", withholding)
    before = posting_id(organization, document, "withheld", known["created_at"])
    refused = await _store(connection, row, made, after, undone["allocation"], before, now)
    if refused is not None:
        return refused
    return Done(withholding_words(made._asdict(), changed_row(row, _stands(row, after))), OK)


async def _stated(connection: Connection, row: Row) -> int | Rejection:
    """What the invoice says is withheld, less what was; no more than is open."""
    found = invoice_of(
        orjson.loads(await invoice_store.read_content(connection, (row["organization"], row["id"])))["totals"]
    )  # fmt: skip
    before = await settlement_store.withheld_of(connection, row["organization"], row["id"])
    left = found.withheld - sum(int(each["amount"]) for each in before)
    if left <= 0:
        fault = Fault("/amount", "is missing, and the invoice states nothing more that is withheld")
        return reject("amount-not-positive", errors=[fault])
    return min(left, int(row["open"])) or left


def _stands(row: Row, after: Amounts) -> Standing:
    return Standing(domain.status_of(after, False, False), after, ISO_4217[row["currency"]])


async def _store(
    connection: Connection,
    row: Row,
    made: WithholdingRow,
    after: Amounts,
    undoes: UUID | None,
    depends_on: UUID,
    now: datetime,
) -> Rejection | None:
    """The document, the invoice, the allocation or its undoing, the posting."""
    key = row["organization"], row["id"]
    books_key = BooksKey(row["organization"], row["ledger"], row["currency"], made.on_date)
    books = await bookkeeping_for(connection, [books_key])
    tax = await cash_tax(connection, books, [row])
    if (waits := tax.unknown([key])) is not None:
        return waits
    event = "withheld" if made.undoes is None else "withheld_taken_back"
    words = "Tax withheld of" if made.undoes is None else "Tax not withheld after all of"
    occasion = Occasion(f"{words} invoice {row['number']}", made.on_date, ISO_4217[row["currency"]])
    due = tax.due(key, standing_of(row).amounts, after)
    draft = entries.withheld_entry(event, row["customer"], made.amount, occasion, books.books(books_key), due)
    if isinstance(draft, Rejection):
        return draft
    wish = PostingWish(
        organization=row["organization"],
        ledger=row["ledger"],
        document=document_name("withholding", made.id),
        purpose=event,
        created_at=now,
        draft=draft,
        depends_on=depends_on,
    )
    allocation = AllocationRow(
        row["organization"], new_id(), "withholding", made.undoes or made.id, row["id"], made.amount, made.on_date,
        undoes, now,
    )  # fmt: skip
    await settlement_store.insert_withholding(connection, made)
    await store_standings(connection, {key: _stands(row, after)})
    await payment_store.insert_allocations(connection, [allocation])
    await want(connection, [prepare(wish, books)], now)
    return None
