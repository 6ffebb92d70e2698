"""The books as they were when an invoice was issued: what corrects it is booked at the rates that its issue was.

A rate of the invoice's day may be published, or put right, after the issue was booked. Credit notes, discounts and what
is recognised of deferred revenue take the issue's own rates nevertheless, which stand in its kept decision: so together
they take out of an account exactly what the issue put there.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from libs.common.db import Connection
from libs.common.errors import Rejection
from services.invoicing import posting_store
from services.invoicing.bookkeeping import Bookkeeping, BooksKey
from services.invoicing.entry_drafts import Books
from services.invoicing.invoices import issue_posting
from services.invoicing.posting_requests import DRAFT
from services.invoicing.rows import Row


async def issue_books(connection: Connection, known: Bookkeeping, invoice: Row) -> Books | Rejection:
    """What the rules have to know for a correction of an invoice. While its issue waits for a rate, the day's rates."""
    organization: str = invoice["organization"]
    books = known.books(BooksKey(organization, invoice["ledger"], invoice["currency"], invoice["issued_on"]))
    if isinstance(books, Rejection) or invoice["currency"] == books.functional.code:
        return books
    posting = issue_posting(organization, invoice["id"], invoice["created_at"])
    kept = await posting_store.read_draft(connection, (organization, posting))
    return books if kept is None else replace(books, rates={**books.rates, **_rates(kept)})


def _rates(kept: bytes) -> Mapping[str, Decimal]:
    return {rate.base: Decimal(rate.rate) for rate in DRAFT.validate_json(kept).rates}
