"""Customer credit that was used and is taken back: its invoices are open again, the credit is the customer's again."""

from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.money import ISO_4217, to_text
from services.invoicing import domain, entries, invoice_store, payment_store, settlement_store
from services.invoicing.asking import OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import Occasion
from services.invoicing.cash_standing import cash_tax
from services.invoicing.discounting import Cause, lose, store_discounts
from services.invoicing.domain import Standing
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import store_standings
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.words import allocation_words


async def take_back(
    connection: Connection, organization: str, application: UUID, on: date, now: datetime
) -> Done | Rejection:
    """All that one use of credit put on invoices. Twice is `already-undone`."""
    used = await settlement_store.lock_credit_application(connection, organization, application)
    if used is None:
        return reject("unknown-credit-application", credit_application=str(application))
    placed = await payment_store.allocations_of(connection, organization, application)
    if not placed:
        return reject("already-undone", credit_application=str(application))
    invoices = await invoice_store.lock_invoices(connection, [(organization, each["invoice"]) for each in placed])
    currency = ISO_4217[used["currency"]]
    standings: dict[InvoiceKey, Standing] = {}
    undoing: list[AllocationRow] = []
    for each in placed:
        key = organization, each["invoice"]
        after = domain.unallocate(standings.get(key) or standing_of(invoices[key]), int(each["amount"]))
        if isinstance(after, Rejection):
            return after
        standings[key] = Standing(domain.status_of(after, False, False), after, currency)
        undoing.append(
            AllocationRow(
                organization, new_id(), "credit", application, each["invoice"], int(each["amount"]), on, each["id"], now
            )
        )
    amount = sum(row.amount for row in undoing)
    books_key = BooksKey(organization, used["ledger"], used["currency"], on)
    books = await bookkeeping_for(connection, [books_key])
    tax = await cash_tax(connection, books, invoices.values())
    if (waits := tax.unknown(invoices)) is not None:
        return waits
    due = tax.due_between(invoices, standings)
    occasion = Occasion("Customer credit not used after all", on, currency)
    draft = entries.credit_taken_back_entry(used["customer"], amount, occasion, books.books(books_key), due)
    if isinstance(draft, Rejection):
        return draft
    document = document_name("credit-application", application)
    wish = PostingWish(
        organization=organization,
        ledger=used["ledger"],
        document=document,
        purpose="unallocation",
        created_at=now,
        draft=draft,
        depends_on=posting_id(organization, document, "credit_applied", used["created_at"]),
    )
    lost = await lose(connection, dict(invoices), standings, tax, Cause(now, f"credit/{application}"), on, now)
    if isinstance(lost, Rejection):
        return lost
    await store_discounts(connection, lost)
    await store_standings(connection, standings)
    await payment_store.insert_allocations(connection, [*undoing, *(each.allocation for each in lost)])
    credit_key = organization, used["ledger"], used["customer"], used["currency"]
    await payment_store.move_credit(connection, {credit_key: amount})
    await want(connection, [prepare(wish, books), *(each.posting for each in lost)], now)
    told = {"id": application, "customer": used["customer"], "currency": currency.code}
    rows = [allocation_words(row._asdict(), currency.code) for row in undoing]
    return Done({**told, "amount": to_text(amount, currency.exponent), "allocations": rows}, OK)
