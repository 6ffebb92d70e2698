"""Refunds that are decided before they are paid: customer credit becomes a promise, which is paid or given up.

    promise   customer credit (or what of a payment is unapplied, kept as credit first) -> refunds payable
    pay       refunds payable -> bank or clearing, whole or in parts
    cancel    refunds payable -> customer credit: what is left of the promise
    bounced   bank or clearing -> refunds payable: what was paid did not arrive, and is left again

amount = paid + cancelled + left; the database holds it too.
"""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, Currency, to_text
from services.invoicing import entries, payment_store, settlement_store
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.business_events import MoneyBack, Occasion, Owed
from services.invoicing.entry_drafts import EntryDraft
from services.invoicing.keeping import keep
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import refund_payable_words


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseWish:
    """So much of a customer's credit is to be given back; None is all of it. With a `payment` it is what of that is
    unapplied."""

    organization: str
    ledger: str
    customer: UUID
    currency: Currency
    amount: int | None
    on: date
    payment: UUID | None = None
    reason: str | None = None


async def promise(connection: Connection, wish: PromiseWish, now: datetime) -> Done | Rejection:
    """Promises a refund."""
    amount = wish.amount
    if wish.payment is not None:
        kept = await _kept(connection, wish, now)
        if isinstance(kept, Rejection):
            return kept
        amount = kept
    credit_key = wish.organization, wish.ledger, wish.customer, wish.currency.code
    balance = await payment_store.lock_credit(connection, credit_key)
    wanted = balance if amount is None else amount
    exponent = wish.currency.exponent
    if wanted <= 0 or wanted > balance:
        given, there = to_text(wanted, exponent), to_text(balance, exponent)
        fault = Fault("/amount", f"is {given}, the credit is {there}")
        return reject("customer-credit-exceeded", errors=[fault], amount=given, balance=there)
    refund = new_id()
    key = BooksKey(wish.organization, wish.ledger, wish.currency.code, wish.on)
    books = await bookkeeping_for(connection, [key])
    occasion = Occasion("Refund promised", wish.on, wish.currency)
    draft = entries.promise_entry("refund_payable", wish.customer, wanted, occasion, books.books(key))
    if isinstance(draft, Rejection):
        return draft
    row = {
        "organization": wish.organization, "id": refund, "ledger": wish.ledger, "customer": wish.customer,
        "payment": wish.payment, "currency": wish.currency.code, "amount": wanted, "on_date": wish.on,
        "reason": wish.reason, "posting": "requested", "created_at": now,
    }  # fmt: skip
    await settlement_store.insert_refund_payable(connection, list(row.values()))
    await payment_store.move_credit(connection, {credit_key: -wanted})
    await want(connection, [prepare(_wish(row, "refund_payable", draft, now, None), books)], now)
    return Done(refund_payable_words({**row, "paid": 0, "cancelled": 0, "version": 1}), CREATED)


async def _kept(connection: Connection, wish: PromiseWish, now: datetime) -> int | Rejection:
    """What of the payment is kept as credit, to be promised at once."""
    assert wish.payment is not None
    row = await payment_store.lock_payment(connection, wish.organization, wish.payment)
    if row is None:
        return reject("unknown-payment", errors=[Fault("/payment_id", "is no payment")], payment=str(wish.payment))
    if (row["ledger"], row["currency"]) != (wish.ledger, wish.currency.code):
        fault = Fault("/payment_id", f"is in {row['currency']} and ledger {row['ledger']}")
        return reject("currency-mismatch", errors=[fault], currency=row["currency"], ledger=row["ledger"])
    if row["customer"] not in (None, wish.customer):
        fault = Fault("/payment_id", "is another customer's")
        return reject("customer-differs", errors=[fault], customer=str(row["customer"]))
    kept = await keep(connection, {**dict(row), "customer": wish.customer}, wish.amount, wish.on, now)
    return kept if isinstance(kept, Rejection) else int(row["unapplied"]) - int(kept["unapplied"])


async def pay(
    connection: Connection,
    organization: str,
    refund: UUID,
    amount: int | None,
    account: str | None,
    method: str,
    on: date,
    now: datetime,
) -> Done | Rejection:
    """`amount` of a promise, or all that is left, is paid."""
    row = await settlement_store.lock_refund_payable(connection, organization, refund)
    if row is None:
        return reject("unknown-refund-payable", refund_payable=str(refund))
    left, exponent = _left(row), ISO_4217[row["currency"]].exponent
    wanted = left if amount is None else amount
    if wanted <= 0 or wanted > left:
        given, there = to_text(wanted, exponent), to_text(left, exponent)
        fault = Fault("/amount", f"is {given}, {there} of the promise is left")
        return reject("refund-exceeds-promised", errors=[fault], amount=given, left=there)
    back = MoneyBack(
        entries.place_of(account, "manual", method), [Owed("refunds-payable", str(row["customer"]), wanted)]
    )  # fmt: skip
    books, key = await _books(connection, row, on)
    occasion = Occasion("Promised refund paid", on, ISO_4217[row["currency"]])
    draft = entries.back_entry("refund", occasion, back, books.books(key))
    return await _moved(connection, row, "paid", wanted, account, draft, books, on, now)


async def cancel(connection: Connection, organization: str, refund: UUID, on: date, now: datetime) -> Done | Rejection:
    """What is left of a promise is the customer's credit again. Twice is `already-undone`."""
    row = await settlement_store.lock_refund_payable(connection, organization, refund)
    if row is None:
        return reject("unknown-refund-payable", refund_payable=str(refund))
    left = _left(row)
    if not left:
        return reject("already-undone", refund_payable=str(refund))
    books, key = await _books(connection, row, on)
    occasion = Occasion("Refund not paid after all", on, ISO_4217[row["currency"]])
    draft = entries.promise_entry("refund_payable_cancelled", row["customer"], left, occasion, books.books(key))
    done = await _moved(connection, row, "cancelled", left, None, draft, books, on, now)
    if not isinstance(done, Rejection):
        credit_key = organization, row["ledger"], row["customer"], row["currency"]
        await payment_store.move_credit(connection, {credit_key: left})
    return done


async def bounced(
    connection: Connection,
    organization: str,
    refund: UUID,
    amount: int | None,
    account: str | None,
    method: str,
    on: date,
    now: datetime,
) -> Done | Rejection:
    """`amount` of what was paid of a promise, or all of it, came back; it is to be paid again, or cancelled."""
    row = await settlement_store.lock_refund_payable(connection, organization, refund)
    if row is None:
        return reject("unknown-refund-payable", refund_payable=str(refund))
    paid, exponent = int(row["paid"]), ISO_4217[row["currency"]].exponent
    wanted = paid if amount is None else amount
    if wanted <= 0 or wanted > paid:
        given, there = to_text(wanted, exponent), to_text(paid, exponent)
        fault = Fault("/amount", f"is {given}, {there} of the promise is paid")
        return reject("bounce-exceeds-paid", errors=[fault], amount=given, paid=there)
    back = MoneyBack(
        entries.place_of(account, "manual", method), [Owed("refunds-payable", str(row["customer"]), wanted)]
    )  # fmt: skip
    books, key = await _books(connection, row, on)
    occasion = Occasion("Promised refund that came back", on, ISO_4217[row["currency"]])
    draft = entries.back_entry("refund_bounced", occasion, back, books.books(key))
    return await _moved(connection, row, "bounced", wanted, account, draft, books, on, now)


async def _moved(
    connection: Connection,
    row: Row,
    kind: str,
    amount: int,
    account: str | None,
    draft: EntryDraft | Rejection,
    books: Bookkeeping,
    on: date,
    now: datetime,
) -> Done | Rejection:
    """A part of a promise paid, cancelled or come back, after the promise's own entry."""
    if isinstance(draft, Rejection):
        return draft
    move = {"id": new_id(), "kind": kind, "amount": amount, "account": account, "on_date": on, "created_at": now}
    await settlement_store.move_refund_payable(connection, row["organization"], row["id"], move)
    document = document_name("refund-payable", row["id"])
    promised = posting_id(row["organization"], document, "refund_payable", row["created_at"])
    await want(connection, [prepare(_wish(row, f"{draft.purpose}/{move['id']}", draft, now, promised), books)], now)
    told, sign = ("paid", -1) if kind == "bounced" else (kind, 1)
    after = {
        **dict(row),
        told: int(row[told]) + sign * amount,
        "posting": "requested",
        "version": row["version"] + 1,
    }
    return Done(refund_payable_words(after), OK)


def _left(row: Row) -> int:
    return int(row["amount"]) - int(row["paid"]) - int(row["cancelled"])


async def _books(connection: Connection, row: Row, on: date) -> tuple[Bookkeeping, BooksKey]:
    key = BooksKey(row["organization"], row["ledger"], row["currency"], on)
    return await bookkeeping_for(connection, [key]), key


def _wish(row: Row, purpose: str, draft: EntryDraft, now: datetime, depends_on: UUID | None) -> PostingWish:
    return PostingWish(
        organization=row["organization"],
        ledger=row["ledger"],
        document=document_name("refund-payable", row["id"]),
        purpose=purpose,
        created_at=now,
        draft=draft,
        depends_on=depends_on,
    )
