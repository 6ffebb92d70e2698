"""Early-payment discounts by hand: granted within the terms, and taken back. What payments take is in `discounting`."""

from collections.abc import Mapping
from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.outbox import put
from services.invoicing import announcing, domain, invoice_store, payment_store, settlement_store
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.cash_standing import CashTax, cash_tax
from services.invoicing.discounting import (
    Cause,
    Discounted,
    DiscountWish,
    after_loss,
    early_payments,
    store_discounts,
    take,
)
from services.invoicing.discounting import take_back as _take_back
from services.invoicing.domain import Standing
from services.invoicing.early_payment import granted
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.payments import changed_row, store_standings
from services.invoicing.posting_requests import want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import discount_words


async def grant(
    connection: Connection, organization: str, invoice: UUID, amount: int | None, on: date, now: datetime
) -> Done | Rejection:
    """Takes `amount` off an invoice that is paid early, or all that its terms allow."""
    key = organization, invoice
    rows = await invoice_store.lock_invoices(connection, [key])
    row = rows.get(key)
    if row is None:
        return reject("unknown-invoice", invoice=str(invoice))
    standing = standing_of(row)
    if standing.status in ("draft", "void"):
        return reject("not-issued" if standing.status == "draft" else "invoice-void", status=standing.status)
    early = (await early_payments(connection, rows)).get(key)
    wanted = granted(early, standing.amounts, amount, on, standing.currency)
    if isinstance(wanted, Rejection):
        return wanted
    after = domain.credit(standing, wanted)
    if isinstance(after, Rejection):
        return after
    tax = await _tax(connection, rows, key)
    if isinstance(tax, Rejection):
        return tax
    wish = DiscountWish(invoice=row, before=standing.amounts, amount=wanted, paid_on=on, on=on)
    taken = await take(connection, [wish], tax, Cause(now, f"by-hand/{new_id()}"), now)
    if isinstance(taken, Rejection):
        return taken
    stands = Standing(domain.status_of(after, False, False), after, standing.currency)
    await _store(connection, taken[0], stands, now)
    told = changed_row(row, stands)
    await put(connection, [announcing.invoice_changed("credited", told, now, wanted, credit_note_id=None)])
    return Done(discount_words(taken[0].row._asdict(), told), CREATED)


async def take_back(
    connection: Connection, organization: str, discount: UUID, on: date, now: datetime
) -> Done | Rejection:
    """The whole price is owed again. Twice is `already-undone`."""
    known = await settlement_store.read_discount(connection, organization, discount)
    if known is None:
        return reject("unknown-discount", discount=str(discount))
    key = organization, known["invoice"]
    rows = await invoice_store.lock_invoices(connection, [key])
    standing_ones = await settlement_store.discounts_of(connection, organization, [known["invoice"]])
    taken = next((each for each in standing_ones if each["id"] == discount), None)
    if taken is None:
        return reject("already-undone", discount=str(discount))
    tax = await _tax(connection, rows, key)
    if isinstance(tax, Rejection):
        return tax
    before = standing_of(rows[key])
    cause = Cause(now, f"by-hand/{new_id()}")
    lost = await _take_back(connection, taken, rows[key], before, tax, cause, on, now)
    if isinstance(lost, Rejection):
        return lost
    stands = after_loss(before, lost)
    await _store(connection, lost, stands, now)
    return Done(discount_words(lost.row._asdict(), changed_row(rows[key], stands)), OK)


async def _tax(connection: Connection, rows: Mapping[InvoiceKey, Row], key: InvoiceKey) -> CashTax | Rejection:
    row = rows[key]
    books = await bookkeeping_for(connection, [BooksKey(key[0], row["ledger"], row["currency"], row["issued_on"])])
    tax = await cash_tax(connection, books, [row])
    return tax.unknown([key]) or tax


async def _store(connection: Connection, discounted: Discounted, stands: Standing, now: datetime) -> None:
    key = discounted.row.organization, discounted.row.invoice
    await store_discounts(connection, [discounted])
    await store_standings(connection, {key: stands})
    await payment_store.insert_allocations(connection, [discounted.allocation])
    await want(connection, [discounted.posting], now)
