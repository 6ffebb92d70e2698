"""An entry of ours reversed at the ledger: what a document did wrongly is taken back to the cent, at the rates of then.

The reversal is asked for after the entry that it reverses: while that waits for a rate, an account or the ledger, it
waits too, and goes when that is posted.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from libs.common.db import Connection
from libs.common.errors import Rejection
from services.invoicing import posting_store
from services.invoicing.bookkeeping import Bookkeeping
from services.invoicing.posting_requests import DRAFT, PostingWish, Prepared, posting_id, prepare
from services.invoicing.rejections import reject


class Reversed(NamedTuple):
    """An entry that is reversed, by its document, purpose and when that was made; and the reversal's own names."""

    document: str
    purpose: str
    created_at: datetime
    by_document: str
    by_purpose: str


async def reversals(
    connection: Connection, organization: str, ledger: str, entries: Sequence[Reversed], on: date, now: datetime
) -> list[Prepared] | Rejection:
    """The reversals, on a day, of those entries that were asked for; one that nobody could decide yet refuses them."""
    prepared: list[Prepared] = []
    for each in entries:
        entry = posting_id(organization, each.document, each.purpose, each.created_at)
        held = await posting_store.lock_posting(connection, organization, entry)
        if held is None:
            continue
        if held["draft"] is None:
            return reject("entry-not-decided", posting=str(entry), state=held["state"])
        wish = PostingWish(
            organization=organization,
            ledger=ledger,
            document=each.by_document,
            purpose=each.by_purpose,
            created_at=now,
            draft=DRAFT.validate_json(held["draft"]),
            depends_on=entry,
            reverses=entry,
            reversed_on=on,
        )
        prepared.append(prepare(wish, Bookkeeping({}, {})))
    return prepared
