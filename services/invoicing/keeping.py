"""Whose unapplied money is: a payment gets its customer, and what of it is not placed is kept as the customer's credit.

    assign          a payment without a customer -> the customer's; nothing moves in the books
    keep_as_credit  unapplied of a customer's payment -> the customer's credit, to be used or given back

Unapplied receipts stay under the party that they came in under (the payment itself, while nobody knew whose it was)
until they are placed, kept or given back.
"""

from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_text
from services.invoicing import entries, payment_store, settlement_store
from services.invoicing.allocations import money_wish, payment_posting
from services.invoicing.asking import OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.posting_requests import prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import payment_words


async def assign(connection: Connection, organization: str, payment: UUID, customer: UUID) -> Done | Rejection:
    """The payment is this customer's. One that was assigned by hand is assigned anew while none of it is placed."""
    row = await payment_store.lock_payment(connection, organization, payment)
    if row is None:
        return reject("unknown-payment", payment=str(payment))
    if row["customer"] not in (None, customer):
        was_known = row["unapplied_party"] != str(payment)
        if was_known or int(row["allocated"]) or int(row["to_credit"]):
            fault = Fault("/customer", "is another one than the payment's")
            return reject("customer-differs", errors=[fault], customer=str(row["customer"]))
    changed = {**dict(row), "customer": customer, "version": row["version"] + 1}
    if row["customer"] == customer:
        return Done(payment_words(row), OK)
    await payment_store.store_placing(connection, organization, payment, changed)
    return Done(payment_words(changed), OK)


async def keep_as_credit(
    connection: Connection, organization: str, payment: UUID, amount: int | None, on: date, now: datetime
) -> Done | Rejection:
    """`amount` of what is unapplied, or all of it, is the customer's credit from now on."""
    row = await payment_store.lock_payment(connection, organization, payment)
    if row is None:
        return reject("unknown-payment", payment=str(payment))
    kept = await keep(connection, row, amount, on, now)
    return kept if isinstance(kept, Rejection) else Done(payment_words(kept), OK)


async def keep(connection: Connection, row: Row, amount: int | None, on: date, now: datetime) -> Row | Rejection:
    """Keeps `amount` of a payment that the caller holds, or all that is unapplied; the payment as it is then."""
    unapplied, exponent = int(row["unapplied"]), ISO_4217[row["currency"]].exponent
    if row["customer"] is None:
        return reject("payer-unknown", "Assign the payment to a customer first.", payment=str(row["id"]))
    wanted = unapplied if amount is None else amount
    if wanted <= 0 or wanted > unapplied:
        given, there = to_text(wanted, exponent), to_text(unapplied, exponent)
        fault = Fault("/amount", f"is {given}, {there} is unapplied")
        return reject("kept-exceeds-unapplied", errors=[fault], amount=given, unapplied=there)
    key = BooksKey(row["organization"], row["ledger"], row["currency"], on)
    books = await bookkeeping_for(connection, [key])
    draft = entries.kept_as_credit_entry(row, wanted, on, books.books(key))
    if isinstance(draft, Rejection):
        return draft
    kept = new_id()
    wish = await money_wish(connection, row, f"kept_as_credit/{kept}", now, draft, [payment_posting(row)])
    after = {
        **dict(row),
        "unapplied": unapplied - wanted,
        "to_credit": int(row["to_credit"]) + wanted,
        "reason": row["reason"] if unapplied > wanted else None,
        "posting": "requested",
        "version": row["version"] + 1,
    }
    await payment_store.store_placing(connection, row["organization"], row["id"], after)
    await settlement_store.insert_kept_credit(
        connection, [row["organization"], kept, row["id"], "kept", wanted, on, None, now]
    )
    credit_key = row["organization"], row["ledger"], row["customer"], row["currency"]
    await payment_store.move_credit(connection, {credit_key: wanted})
    await want(connection, [prepare(wish, books)], now)
    return after
