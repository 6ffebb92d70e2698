"""Money in: recorded once, placed on what is owed, asked for at the ledger. One path for one payment and for thousands.

    known already (organization, provider, payment id)?        -> the payment as it is, nothing done
    customers and references looked up, set by set             -> the invoices that may be meant, held in their order
    each payment in its turn, in memory                        -> allocations, customer credit, unapplied with a reason
    payments, invoices, allocations, credit, postings, facts   -> one statement each

A payment waits for the issue of its invoice: its posting depends on the newest issue that is not posted yet. Ids are
derived from who speaks and the payment's own id, so a replay names the same payment and the same entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_text
from libs.common.outbox import put
from services.invoicing import announcing, domain, entries, invoice_store, payment_store
from services.invoicing.bookkeeping import Bookkeeping
from services.invoicing.discounting import Cause, Discounted, DiscountWish, store_discounts, take
from services.invoicing.invoice_store import AmountsRow, InvoiceKey
from services.invoicing.invoices import issue_posting
from services.invoicing.payment_store import AllocationRow, CreditKey, PaymentRow
from services.invoicing.placing import Placed, Receivables, ReceivedPayment, books_key, place_payments
from services.invoicing.posting_requests import PARTS, PostingWish, Prepared, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row

__all__ = ["ReceivedPayment", "Recorded", "changed_row", "record_payments", "store_standings"]


class Recorded(NamedTuple):
    """A payment as it is stored; `is_new` is False where it was recorded before."""

    kept: PaymentRow | Row
    allocated: Sequence[tuple[AllocationRow, str]]
    is_new: bool

    @property
    def row(self) -> Row:
        """Its row, by name."""
        kept = self.kept
        return {**kept._asdict(), "refunded": 0, "version": 1} if isinstance(kept, PaymentRow) else kept

    @property
    def allocations(self) -> list[Row]:
        """What it settled when it was recorded, by name, in the currencies of its invoices."""
        return [{**each._asdict(), "currency": currency} for each, currency in self.allocated]


async def record_payments(
    connection: Connection, received: Sequence[ReceivedPayment], now: datetime
) -> list[Recorded | Rejection]:
    """Records payments in their order; an answer for each at its place."""
    await payment_store.hold_payments(connection, sorted({payment.name for payment in received}))
    known = await payment_store.known_payments(connection, sorted({payment.name for payment in received}))
    fresh: dict[tuple[str, str, str], ReceivedPayment] = {}
    refused: dict[int, Rejection] = {}
    for place, payment in enumerate(received):
        if payment.name in known or payment.name in fresh:
            continue
        if (fault := _fault(payment)) is not None:
            refused[place] = fault
        else:
            fresh[payment.name] = payment
    placed, receivables, books = await place_payments(connection, list(fresh.values()))
    fit = [each for each in placed if isinstance(each, Placed)]
    recorded = await _store(connection, fit, receivables, books, now)
    answers: list[Recorded | Rejection] = []
    told: set[tuple[str, str, str]] = set()
    unplaced = {
        payment.name: each for payment, each in zip(fresh.values(), placed, strict=True) if isinstance(each, Rejection)
    }
    for place, payment in enumerate(received):
        if place in refused:
            answers.append(refused[place])
        elif payment.name in unplaced:
            answers.append(unplaced[payment.name])
        elif payment.name in recorded:
            first = recorded[payment.name]
            answers.append(first if payment.name not in told else first._replace(is_new=False))
            told.add(payment.name)
        else:
            answers.append(_again(payment, known[payment.name]))
    return answers


def _fault(payment: ReceivedPayment) -> Rejection | None:
    exponent = payment.currency.exponent
    if payment.amount <= 0:
        given = to_text(payment.amount, exponent)
        return reject("amount-not-positive", errors=[Fault("/amount", f"is {given}")], amount=given)
    if not 0 <= payment.fee <= payment.amount:
        fee, amount = to_text(payment.fee, exponent), to_text(payment.amount, exponent)
        return reject("fee-exceeds-amount", errors=[Fault("/fee", f"is {fee}")], fee=fee, amount=amount)
    return None


def _again(payment: ReceivedPayment, row: Row) -> Recorded | Rejection:
    """A payment that is recorded: the same one, or another one under its name."""
    if (row["ledger"], row["currency"], int(row["amount"])) != (
        payment.ledger, payment.currency.code, payment.amount,
    ):  # fmt: skip
        return reject("duplicate-payment", payment=str(row["id"]), payment_id=payment.payment_id)
    return Recorded(row, [], is_new=False)


def _posting(placed: Placed, receivables: Receivables, books: Bookkeeping) -> Prepared:
    """What the ledger is asked for a payment; it waits for the newest issue among its invoices."""
    payment, allocations = placed.payment, placed.allocations
    rows = [receivables.rows[payment.organization, invoice] for invoice, _ in allocations]
    newest = max(rows, key=lambda row: (row["created_at"], row["id"]), default=None)
    keys = [(payment.organization, invoice) for invoice, _ in allocations]
    draft = receivables.tax.unknown(keys) or entries.payment_entry(
        _received(placed), _settled(placed, receivables), books.books(books_key(payment)), placed.due
    )
    before = None if newest is None else issue_posting(payment.organization, newest["id"], newest["created_at"])
    wish = PostingWish(
        organization=payment.organization,
        ledger=payment.ledger,
        document=payment.document,
        purpose="payment",
        created_at=payment.created_at,
        draft=draft,
        depends_on=before,
    )
    return prepare(wish, books)


def _received(placed: Placed) -> Row:
    """What the posting rules ask of a payment's row."""
    payment = placed.payment
    base, counter, rate = _stated(payment)
    return {
        "id": payment.id,
        "payment_id": payment.payment_id,
        "customer": placed.customer,
        "account": payment.account,
        "provider": payment.provider,
        "method": payment.method,
        "currency": payment.currency.code,
        "amount": payment.amount,
        "fee": payment.fee,
        "unapplied": placed.unapplied,
        "to_credit": placed.to_credit,
        "received_on": payment.received_on,
        "stated_base": base,
        "stated_counter": counter,
        "stated_rate": rate,
    }


def _stated(payment: ReceivedPayment) -> tuple[str | None, str | None, Decimal | None]:
    """The columns of the rate that it states."""
    rate = payment.stated
    return (None, None, None) if rate is None else (rate.base, rate.counter, Decimal(rate.rate))


def _settled(placed: Placed, receivables: Receivables) -> list[entries.Placed]:
    """What a payment settles, as the accounting policy is told."""
    rows = [receivables.rows[placed.payment.organization, invoice] for invoice, _ in placed.allocations]
    paid = placed.paid or [None] * len(rows)
    return [
        entries.Placed(str(row["customer"]), amount, ISO_4217[row["currency"]], own)
        for row, (_, amount), own in zip(rows, placed.allocations, paid, strict=True)
    ]


async def _store(
    connection: Connection, placed: Sequence[Placed], receivables: Receivables, books: Bookkeeping, now: datetime
) -> dict[tuple[str, str, str], Recorded]:
    """Payments, what stands on invoices, allocations, customer credit, postings, facts: in this order."""
    postings = [_posting(each, receivables, books) for each in placed]
    rows = [
        _row(each, posting.posting, _receipt(each, posting, receivables))
        for each, posting in zip(placed, postings, strict=True)
    ]
    await payment_store.insert_payments(connection, rows)
    discounted = await _discounted(connection, placed, receivables, now)
    await store_discounts(connection, discounted)
    changed = {
        (each.payment.organization, invoice) for each in placed for invoice, _ in each.allocations
    }  # fmt: skip
    await store_standings(connection, {key: receivables.standings[key] for key in changed})
    allocations = [allocation for each in placed for allocation in _allocations(each, now)]
    await payment_store.insert_allocations(connection, [*allocations, *(each.allocation for each in discounted)])
    credit: dict[CreditKey, int] = {}
    for each in placed:
        if each.to_credit:
            assert each.customer is not None, "credit is somebody's"
            payment = each.payment
            key = payment.organization, payment.ledger, each.customer, payment.currency.code
            credit[key] = credit.get(key, 0) + each.to_credit
    await payment_store.move_credit(connection, credit)
    await want(connection, [*postings, *(each.posting for each in discounted)], now)
    await put(connection, [*_facts(placed, receivables, now), *_discount_facts(discounted, receivables, now)])
    by_payment: dict[UUID, list[tuple[AllocationRow, str]]] = {}
    for allocation in allocations:
        owed: str = receivables.rows[allocation.organization, allocation.invoice]["currency"]
        by_payment.setdefault(allocation.source_id, []).append((allocation, owed))
    return {
        each.payment.name: Recorded(row, by_payment.get(row.id, ()), is_new=True)
        for each, row in zip(placed, rows, strict=True)
    }


async def _discounted(
    connection: Connection, placed: Sequence[Placed], receivables: Receivables, now: datetime
) -> list[Discounted]:
    """What payments took off for being early; each settled its invoice with it, so its amounts are the last ones."""
    discounted: list[Discounted] = []
    for each in placed:
        payment, wishes = each.payment, []
        for invoice, amount in each.discounts:
            key = payment.organization, invoice
            after = receivables.standings[key].amounts
            before = replace(after, credited=after.credited - amount)
            wishes.append(
                DiscountWish(
                    invoice=receivables.rows[key], before=before, amount=amount, paid_on=payment.received_on,
                    on=payment.received_on, payment=payment.id,
                )
            )  # fmt: skip
        made = await take(connection, wishes, receivables.tax, Cause(payment.created_at, f"payment/{payment.id}"), now)
        assert not isinstance(made, Rejection), f"what is open can be credited: {made}"
        discounted += made
    return discounted


def _discount_facts(discounted: Sequence[Discounted], receivables: Receivables, now: datetime) -> list[Any]:
    keys = [(each.row.organization, each.row.invoice) for each in discounted]
    return [
        announcing.invoice_changed(
            "credited", changed_row(receivables.rows[key], receivables.standings[key]), now, each.row.total,
            credit_note_id=None,
        )
        for key, each in zip(keys, discounted, strict=True)
    ]  # fmt: skip


def _row(placed: Placed, posting: str, receipt: str | None) -> PaymentRow:
    """A payment's row."""
    payment = placed.payment
    base, counter, rate = _stated(payment)
    return PaymentRow(
        organization=payment.organization,
        id=payment.id,
        ledger=payment.ledger,
        provider=payment.provider,
        payment_id=payment.payment_id,
        customer=placed.customer,
        currency=payment.currency.code,
        amount=payment.amount,
        fee=payment.fee,
        received_on=payment.received_on,
        method=payment.method,
        account=payment.account,
        reference=payment.reference or None,
        allocated=placed.allocated,
        unapplied=placed.unapplied,
        to_credit=placed.to_credit,
        unapplied_party=entries.unapplied_party(placed.customer, payment.id) if placed.unapplied else None,
        receipt=receipt,
        reason=placed.reason,
        posting=posting,
        client_ref=payment.client_ref,
        created_at=payment.created_at,
        stated_base=base,
        stated_counter=counter,
        stated_rate=rate,
    )


def _receipt(placed: Placed, posting: Prepared, receivables: Receivables) -> str | None:
    """Where the money went at first, where the ledger cannot be asked for it yet."""
    if not isinstance(posting.wish.draft, Rejection):
        return None
    organization = placed.payment.organization
    known = receivables.tax.unknown((organization, invoice) for invoice, _ in placed.allocations) is None
    return orjson.dumps(
        {
            "customer": placed.customer,
            "unapplied": str(placed.unapplied),
            "to_credit": str(placed.to_credit),
            "placed": [
                [invoice, str(amount), receivables.rows[organization, invoice]["customer"], str(before), own]
                for (invoice, amount), before, own in zip(
                    placed.allocations, placed.paid_before, placed.paid or [None] * len(placed.allocations), strict=True
                )
            ],
            "due": orjson.Fragment(PARTS.dump_json(list(placed.due))) if known else None,
        },
        default=str,
    ).decode()


def _allocations(placed: Placed, now: datetime) -> list[AllocationRow]:
    payment = placed.payment
    return [
        AllocationRow(
            payment.organization,
            allocation_id(payment.created_at, payment.organization, payment.id, invoice, 0),
            "payment",
            payment.id,
            invoice,
            amount,
            payment.received_on,
            None,
            now,
            own,
        )
        for (invoice, amount), own in zip(
            placed.allocations, placed.paid or [None] * len(placed.allocations), strict=True
        )
    ]


def allocation_id(created_at: datetime, organization: str, source: UUID, invoice: UUID, number: int) -> UUID:
    """The id of a source's allocation to an invoice, the same in a replay; `number` counts those of one pair."""
    return derived_id(created_at, organization, "invoicing", f"allocation/{source}/{invoice}", str(number))


async def store_standings(connection: Connection, standings: Mapping[InvoiceKey, domain.Standing]) -> None:
    """What stands on invoices after a change."""
    await invoice_store.store_amounts(
        connection,
        [
            AmountsRow(
                *key,
                standing.status,
                standing.amounts.paid,
                standing.amounts.credited,
                standing.amounts.written_off,
            )
            for key, standing in sorted(standings.items())
        ],
    )


def _facts(placed: Sequence[Placed], receivables: Receivables, now: datetime) -> list[Any]:
    """One invoice-paid for each invoice that a payment of the batch is on: all its amounts after the batch."""
    last: dict[InvoiceKey, tuple[Placed, int]] = {}
    for each in placed:
        for invoice, amount in each.allocations:
            key = each.payment.organization, invoice
            before = last.get(key)
            last[key] = each, amount + (before[1] if before else 0)
    return [
        announcing.invoice_changed(
            "paid", _told(receivables.rows[key], receivables.standings[key]), now, amount,
            payment_id=each.payment.id,
        )
        for key, (each, amount) in last.items()
    ]  # fmt: skip


def _told(row: Row, standing: domain.Standing) -> Row:
    """What is told of an invoice that changed: the most frequent fact, so no more than it says."""
    amounts = standing.amounts
    return {
        "organization": row["organization"],
        "ledger": row["ledger"],
        "id": row["id"],
        "number": row["number"],
        "customer": row["customer"],
        "currency": row["currency"],
        "status": standing.status,
        "total": amounts.total,
        "paid": amounts.paid,
        "credited": amounts.credited,
        "written_off": amounts.written_off,
        "version": row["version"] + 1,
    }


def changed_row(row: Row, standing: domain.Standing) -> dict[str, Any]:
    """An invoice's row as it is after its amounts were stored."""
    amounts = standing.amounts
    return {
        **dict(row),
        "status": standing.status,
        "paid": amounts.paid,
        "credited": amounts.credited,
        "written_off": amounts.written_off,
        "version": row["version"] + 1,
    }
