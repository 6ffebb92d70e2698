"""An issued invoice made void: it keeps its number; its entry is withdrawn (never sent) or reversed (once posted)."""

from datetime import datetime
from uuid import UUID

from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.outbox import put
from services.invoicing import announcing, domain, invoice_store, posting_store
from services.invoicing.asking import OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.deferrals import take_back_recognised
from services.invoicing.invoices import issue_document, issue_posting, standing_of
from services.invoicing.posting_requests import DRAFT, PostingWish, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.words import invoice_words


async def void_invoice(
    connection: Connection, organization: str, invoice: UUID, reason: str | None, now: datetime
) -> Done | Rejection:
    """As if it had never been: the number stays, the entry is withdrawn where it was never sent, else reversed."""
    row = (await invoice_store.lock_invoices(connection, [(organization, invoice)])).get((organization, invoice))
    if row is None:
        return reject("unknown-invoice", invoice=str(invoice))
    refused = domain.void(standing_of(row))
    if isinstance(refused, Rejection):
        return refused
    document = issue_document(invoice)
    entry = issue_posting(organization, invoice, row["created_at"])
    posting = "none"
    held = await posting_store.lock_posting(connection, organization, entry)
    if held is not None and held["state"] in ("waiting", "needs-attention"):
        await posting_store.withdraw(connection, organization, document)
    elif held is not None:
        taken_back = await take_back_recognised(connection, row, now.date())
        if isinstance(taken_back, Rejection):
            return taken_back
        wish = PostingWish(
            organization=organization,
            ledger=row["ledger"],
            document=document,
            purpose="void",
            created_at=row["created_at"],
            draft=DRAFT.validate_json(held["draft"]),
            depends_on=entry,
            reverses=entry,
            reversed_on=now.date(),
        )
        key = BooksKey(organization, row["ledger"], row["currency"], row["issued_on"])
        books = await bookkeeping_for(connection, [key])
        wishes = [wish] if taken_back is None else [taken_back, wish]
        await want(connection, [prepare(each, books) for each in wishes], now)
        posting = "requested"
    await invoice_store.void_invoice(connection, organization, invoice, posting, now)
    told = {**dict(row), "status": "void", "posting": posting, "version": row["version"] + 1}
    await put(connection, [announcing.invoice_changed("voided", told, now, reason=reason)])
    return Done(invoice_words(told), OK)
