"""Money over REST: payments recorded and placed, allocations by hand and back, refunds, customer credit used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.clock import new_id
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection, transaction
from libs.common.errors import Fault, Problem, Rejection
from libs.common.http import App, requires, router
from libs.common.journal import Rate
from libs.common.money import ISO_4217, Currency
from services.invoicing import allocations, invoice_store, payments, receivable_reads, refunds
from services.invoicing.allocations import AllocationWish
from services.invoicing.asked_amounts import fee_of, minor_of, minor_where_given
from services.invoicing.asking import CREATED, Done, outcome_of
from services.invoicing.bodies import SHORT_AMOUNTS
from services.invoicing.catalog_store import ledger_terms
from services.invoicing.customers import find_customers
from services.invoicing.domain import Posting
from services.invoicing.exchanging import pair_of
from services.invoicing.money_bodies import AllocationBody, ApplyCreditBody, PaymentBody, RefundBody, SettledBody
from services.invoicing.money_words import kept_credit_words
from services.invoicing.payments import ReceivedPayment
from services.invoicing.receivable_reads import as_reader
from services.invoicing.refunds import BackWish
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.wished import wish_response
from services.invoicing.words import money_back_words, payment_words
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("payment:read")]
Writes = Annotated[Caller, requires("payment:write")]

PROVIDER = "manual"
"""Whose payments those are that come in over REST; their ids are the caller's `client_ref`, or ours."""


@dataclass(frozen=True, slots=True)
class PaymentApi:
    """The routes of payments."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags = ("payments",)
        body, place = TypeAdapter(PaymentBody), TypeAdapter(AllocationBody)
        refund, credit = TypeAdapter(RefundBody), TypeAdapter(ApplyCreditBody)
        for write in (
            Write("/payments", "payment:write", body, "A recorded payment", _record, short_amounts=SHORT_AMOUNTS,
                  tags=tags),
            Write("/payments/{id}/allocations", "payment:write", place, "A payment placed by hand", _allocate,
                  tags=tags),
            Write("/payments/{id}/refunds", "payment:write", refund, "Money given back", _refund,
                  is_empty_allowed=True, tags=tags),
            Write("/customers/{id}/credit/apply", "payment:write", credit, "Customer credit used", _apply_credit,
                  tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        add = routes.add_api_route
        add("/payments", self.list, summary="Payments, oldest first")
        add("/payments/{id}", self.get, summary="One payment with its allocations")
        add("/payments/{id}/allocations/{allocation}", self.unallocate, methods=["DELETE"],
            summary="An allocation taken back")  # fmt: skip
        app.include_router(routes)

    async def get(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_payment(connection, organization, id)
            placed = await receivable_reads.list_allocations(connection, organization, source_id=id)
            backs = await receivable_reads.list_money_back(connection, organization, id)
            kept = await receivable_reads.list_kept(connection, organization, id)
        if row is None:
            raise Problem(404, "unknown-payment", "There is no such payment.", facts={"payment": str(id)})
        money_back = [money_back_words(each, row["currency"]) for each in backs]
        kept_as_credit = [kept_credit_words(each, row["currency"]) for each in kept]
        return {**payment_words(row, placed), "money_back": money_back, "kept_as_credit": kept_as_credit}

    async def list(
        self, caller: Reads, customer: UUID | None = None, posting: Posting | None = None,
        unapplied: bool | None = None, payment_id: str | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Without their allocations; `unapplied` asks for those with money that is not placed yet."""
        organization = caller.own_organization()
        filters: dict[str, Any] = {
            "customer": customer, "posting": posting, "unapplied": unapplied, "payment_id": payment_id,
        }  # fmt: skip
        name, after = f"payments/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_payments(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([payment_words(row) for row in rows[:limit]], following)

    async def unallocate(self, id: UUID, allocation: UUID, caller: Writes) -> Any:  # noqa: A002
        """The invoice is open again, the money unapplied; dated today."""
        organization, now = caller.own_organization(), self.tools.clock()
        async with transaction(self.tools.writer) as connection:
            done = await allocations.unallocate(connection, organization, id, allocation, now.date(), now)
        self.tools.wake()
        return wish_response(outcome_of(done))


async def _record(connection: Connection, asked: Asked) -> Done | Rejection:
    received = await _received(connection, asked)
    if isinstance(received, Rejection):
        return received
    (recorded,) = await payments.record_payments(connection, [received], asked.now)
    if isinstance(recorded, Rejection):
        return recorded
    return Done(payment_words(recorded.row, recorded.allocations), CREATED)


async def _received(connection: Connection, asked: Asked) -> ReceivedPayment | Rejection:
    """The body as a payment: its ledger and currency are its invoice's where it does not say them."""
    body: PaymentBody = asked.body
    named = [body.invoice_id] if body.invoice_id is not None else [each.invoice_id for each in body.allocations]
    rows = await invoice_store.lock_invoices(connection, [(asked.organization, invoice) for invoice in named])
    first = rows.get((asked.organization, named[0])) if named else None
    if named and first is None:
        pointer = "/invoice_id" if body.invoice_id is not None else "/allocations/0/invoice_id"
        return reject("unknown-invoice", errors=[Fault(pointer, "is no invoice")], invoice=str(named[0]))
    ledger = body.ledger or (first["ledger"] if first is not None else "main")
    currency = await _currency(connection, asked, first, ledger)
    if isinstance(currency, Rejection):
        return currency
    stated = _stated(body, first, currency)
    if isinstance(stated, Rejection):
        return stated
    customer = await _customer(connection, asked)
    amount, fee = minor_of(body.amount, currency, "/amount"), fee_of(body.fee, currency)
    placed = _on_invoices(body, currency, currency if stated is None or first is None else ISO_4217[first["currency"]])
    for each in (customer, amount, fee, placed):
        if isinstance(each, Rejection):
            return each
    assert isinstance(amount, int)
    assert isinstance(fee, int)
    assert isinstance(placed, _OnInvoices)
    return ReceivedPayment(
        organization=asked.organization,
        ledger=ledger,
        provider=PROVIDER,
        payment_id=body.client_ref or str(new_id()),
        currency=currency,
        amount=amount,
        fee=fee,
        received_on=body.received_on or asked.now.date(),
        method=body.method,
        created_at=asked.now,
        customer=str(customer) if customer is not None else None,
        account=body.account,
        reference=body.reference,
        client_ref=body.client_ref,
        on_invoices=placed.wishes,
        paid=placed.paid,
        stated=stated,
    )


def _stated(body: PaymentBody, first: Row | None, currency: Currency) -> Rate | Rejection | None:
    """The rate between the payment and the invoices that it names; one without the other is refused."""
    if body.rate is None:
        return None
    if first is None:
        return reject("rate-without-invoice", errors=[Fault("/rate", "is stated, and no invoice is named")])
    stated = Rate(body.rate.base, body.rate.counter, body.rate.rate)
    return pair_of(stated, currency, ISO_4217[first["currency"]]) or stated


async def _currency(connection: Connection, asked: Asked, first: Any, ledger: str) -> Currency | Rejection:
    """The payment's currency: as it says, the other one of its rate, its invoice's, or the ledger's own."""
    body: PaymentBody = asked.body
    code = body.currency or (first["currency"] if first is not None else None)
    if body.currency is None and body.rate is not None:
        code = body.rate.counter if code == body.rate.base else body.rate.base
    if code is None:
        key = asked.organization, ledger
        code = (await ledger_terms(connection, [key]))[key].functional_currency
    currency = ISO_4217.get(code)
    if currency is None:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {code}" if code else "is missing")])
    return currency


async def _customer(connection: Connection, asked: Asked) -> UUID | Rejection | None:
    text = asked.body.customer
    if text is None:
        return None
    found = await find_customers(connection, asked.tools.sealer, [(asked.organization, text)])
    if (asked.organization, text) not in found:
        return reject("unknown-customer", errors=[Fault("/customer", f"is {text[:60]}")])
    customer: UUID = found[asked.organization, text]["id"]
    return customer


class _OnInvoices(NamedTuple):
    """Where a payment goes by hand; `paid` beside each is what of the payment it is, where that is said."""

    wishes: tuple[tuple[UUID, int | None], ...]
    paid: tuple[int | None, ...] = ()


def _on_invoices(body: PaymentBody, currency: Currency, owed: Currency) -> _OnInvoices | Rejection:
    """`owed` is the invoices' currency."""
    if body.invoice_id is not None and body.allocations:
        return reject(
            "allocated-twice", errors=[Fault("/allocations", "stand beside invoice_id; give one or the other")]
        )
    if body.invoice_id is not None:
        return _OnInvoices(((body.invoice_id, None),))
    wishes = _wishes(body.allocations, owed)
    if isinstance(wishes, Rejection):
        return wishes
    paid: list[int | None] = []
    for place, each in enumerate(body.allocations):
        if each.paid is not None and (body.rate is None or each.amount is None):
            said = "goes with an amount of an invoice in another currency, at the rate that is stated"
            return reject("paid-without-rate", errors=[Fault(f"/allocations/{place}/paid", said)])
        own = minor_where_given(each.paid, currency, f"/allocations/{place}/paid")
        if isinstance(own, Rejection):
            return own
        paid.append(own)
    return _OnInvoices(tuple((wish.invoice, wish.amount) for wish in wishes), tuple(paid))


def _wishes(bodies: Sequence[AllocationBody | SettledBody], currency: Currency) -> list[AllocationWish] | Rejection:
    wishes: list[AllocationWish] = []
    for place, each in enumerate(bodies):
        amount = minor_where_given(each.amount, currency, f"/allocations/{place}/amount")
        if isinstance(amount, Rejection):
            return amount
        wishes.append(AllocationWish(each.invoice_id, amount))
    return wishes


async def _allocate(connection: Connection, asked: Asked) -> Done | Rejection:
    body: AllocationBody = asked.body
    row = await receivable_reads.read_payment(connection, asked.organization, asked.ids["id"])
    if row is None:
        return reject("unknown-payment", payment=str(asked.ids["id"]))
    amount = minor_where_given(body.amount, ISO_4217[row["currency"]])
    if isinstance(amount, Rejection):
        return amount
    wish = AllocationWish(body.invoice_id, amount)
    on = body.on or asked.now.date()
    return await allocations.allocate(connection, asked.organization, asked.ids["id"], [wish], on, asked.now)


async def _refund(connection: Connection, asked: Asked) -> Done | Rejection:
    body: RefundBody = asked.body
    row = await receivable_reads.read_payment(connection, asked.organization, asked.ids["id"])
    if row is None:
        return reject("unknown-payment", payment=str(asked.ids["id"]))
    amount = minor_where_given(body.amount, ISO_4217[row["currency"]])
    if isinstance(amount, Rejection):
        return amount
    wish = BackWish(
        organization=asked.organization,
        payment=asked.ids["id"],
        event="refund",
        provider=PROVIDER,
        name=str(new_id()),
        amount=amount,
        currency=None,
        on=body.on or asked.now.date(),
        created_at=asked.now,
        reason=body.reason,
        account=body.account,
    )
    return await refunds.take_back(connection, wish, asked.now)


async def _apply_credit(connection: Connection, asked: Asked) -> Done | Rejection:
    body: ApplyCreditBody = asked.body
    currency = ISO_4217.get(body.currency)
    if currency is None:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {body.currency}")])
    wishes = _wishes(body.allocations, currency)
    amount = minor_where_given(body.amount, currency)
    if isinstance(wishes, Rejection):
        return wishes
    if isinstance(amount, Rejection):
        return amount
    return await allocations.apply_credit(
        connection, asked.organization, body.ledger, asked.ids["id"], currency, wishes, amount,
        body.on or asked.now.date(), asked.now,
    )  # fmt: skip
