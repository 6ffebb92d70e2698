"""What settles an invoice beside payments, and refunds that are promised, over REST."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Fault, Problem, Rejection
from libs.common.http import App, requires, router
from libs.common.money import ISO_4217
from services.invoicing import (
    credit_applications,
    discounts,
    invoice_store,
    keeping,
    receivable_reads,
    refunds_payable,
    withholding,
)
from services.invoicing.asked_amounts import minor_where_given
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import DayBody
from services.invoicing.customers import find_customers
from services.invoicing.money_bodies import AssignBody, PartBody, PayRefundBody, RefundPayableBody, WithholdingBody
from services.invoicing.receivable_reads import as_reader
from services.invoicing.refunds_payable import PromiseWish
from services.invoicing.rejections import reject
from services.invoicing.settlement_store import lock_refund_payable
from services.invoicing.words import refund_payable_words
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("payment:read")]


@dataclass(frozen=True, slots=True)
class SettlementApi:
    """The routes of discounts, tax withheld, unapplied money kept or assigned, and promised refunds."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        part, day, withheld = TypeAdapter(PartBody), TypeAdapter(DayBody), TypeAdapter(WithholdingBody)
        assigned, promised, paid = TypeAdapter(AssignBody), TypeAdapter(RefundPayableBody), TypeAdapter(PayRefundBody)
        on_invoices, on_payments, refunds = ("invoices",), ("payments",), ("refunds payable",)
        for write in (
            Write("/invoices/{id}/discount", "invoice:write", part, "A discount for early payment", _grant,
                  is_empty_allowed=True, tags=on_invoices),
            Write("/discounts/{id}/take-back", "invoice:write", day, "A discount taken back", _lose, status=OK,
                  is_empty_allowed=True, tags=on_invoices),
            Write("/invoices/{id}/withholding", "payment:write", withheld, "Tax withheld by the customer", _withhold,
                  is_empty_allowed=True, tags=on_invoices),
            Write("/withholdings/{id}/take-back", "payment:write", day, "Tax that was not withheld after all",
                  _not_withheld, status=OK, is_empty_allowed=True, tags=on_invoices),
            Write("/payments/{id}/customer", "payment:write", assigned, "A payment with its customer", _assign,
                  status=OK, tags=on_payments),
            Write("/payments/{id}/keep-as-credit", "payment:write", part, "Unapplied money kept as customer credit",
                  _keep, status=OK, is_empty_allowed=True, tags=on_payments),
            Write("/credit-applications/{id}/take-back", "payment:write", day, "Customer credit not used after all",
                  _unused, status=OK, is_empty_allowed=True, tags=("customers",)),
            Write("/customers/{id}/refunds-payable", "payment:write", promised, "A refund promised", _promise,
                  tags=refunds),
            Write("/refunds-payable/{id}/pay", "payment:write", paid, "A promised refund paid", _pay, status=OK,
                  is_empty_allowed=True, tags=refunds),
            Write("/refunds-payable/{id}/bounced", "payment:write", paid, "A promised refund that came back", _bounced,
                  status=OK, is_empty_allowed=True, tags=refunds),
            Write("/refunds-payable/{id}/cancel", "payment:write", day, "A promised refund not paid after all",
                  _cancel, status=OK, is_empty_allowed=True, tags=refunds),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(refunds))
        routes.add_api_route("/refunds-payable", self.list, summary="Promised refunds, oldest first")
        routes.add_api_route("/refunds-payable/{id}", self.get, summary="One promised refund")
        app.include_router(routes)

    async def get(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_refund_payable(connection, organization, id)
        if row is None:
            facts = {"refund_payable": str(id)}
            raise Problem(404, "unknown-refund-payable", "There is no such promised refund.", facts=facts)
        return refund_payable_words(row)

    async def list(
        self, caller: Reads, customer: UUID | None = None, left: bool | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """`left` asks for those of which something is still to be paid."""
        organization = caller.own_organization()
        filters: dict[str, Any] = {"customer": customer, "left": left}
        name, after = f"refunds-payable/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_refunds_payable(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([refund_payable_words(row) for row in rows[:limit]], following)


async def _on_invoice(connection: Connection, asked: Asked) -> int | Rejection | None:
    """The amount of a body about an invoice, in its currency."""
    key = asked.organization, asked.ids["id"]
    row = (await invoice_store.lock_invoices(connection, [key])).get(key)
    if row is None:
        return reject("unknown-invoice", invoice=str(asked.ids["id"]))
    return minor_where_given(asked.body.amount, ISO_4217[row["currency"]])


async def _grant(connection: Connection, asked: Asked) -> Done | Rejection:
    amount = await _on_invoice(connection, asked)
    if isinstance(amount, Rejection):
        return amount
    on = asked.body.on or asked.now.date()
    return await discounts.grant(connection, asked.organization, asked.ids["id"], amount, on, asked.now)


async def _lose(connection: Connection, asked: Asked) -> Done | Rejection:
    on = asked.body.on or asked.now.date()
    return await discounts.take_back(connection, asked.organization, asked.ids["id"], on, asked.now)


async def _withhold(connection: Connection, asked: Asked) -> Done | Rejection:
    amount = await _on_invoice(connection, asked)
    if isinstance(amount, Rejection):
        return amount
    on, certificate = asked.body.on or asked.now.date(), asked.body.certificate
    return await withholding.withhold(
        connection, asked.organization, asked.ids["id"], amount, certificate, on, asked.now
    )  # fmt: skip


async def _not_withheld(connection: Connection, asked: Asked) -> Done | Rejection:
    on = asked.body.on or asked.now.date()
    return await withholding.take_back(connection, asked.organization, asked.ids["id"], on, asked.now)


async def _assign(connection: Connection, asked: Asked) -> Done | Rejection:
    text = asked.body.customer
    found = await find_customers(connection, asked.tools.sealer, [(asked.organization, text)])
    customer = found.get((asked.organization, text))
    if customer is None:
        return reject("unknown-customer", errors=[Fault("/customer", f"is {text[:60]}")])
    return await keeping.assign(connection, asked.organization, asked.ids["id"], customer["id"])


async def _keep(connection: Connection, asked: Asked) -> Done | Rejection:
    row = await receivable_reads.read_payment(connection, asked.organization, asked.ids["id"])
    if row is None:
        return reject("unknown-payment", payment=str(asked.ids["id"]))
    amount = minor_where_given(asked.body.amount, ISO_4217[row["currency"]])
    if isinstance(amount, Rejection):
        return amount
    on = asked.body.on or asked.now.date()
    return await keeping.keep_as_credit(connection, asked.organization, asked.ids["id"], amount, on, asked.now)


async def _unused(connection: Connection, asked: Asked) -> Done | Rejection:
    on = asked.body.on or asked.now.date()
    return await credit_applications.take_back(connection, asked.organization, asked.ids["id"], on, asked.now)


async def _promise(connection: Connection, asked: Asked) -> Done | Rejection:
    body: RefundPayableBody = asked.body
    if await receivable_reads.read_customer(connection, asked.organization, asked.ids["id"]) is None:
        return reject("unknown-customer", customer=str(asked.ids["id"]))
    currency = ISO_4217.get(body.currency)
    if currency is None:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {body.currency}")])
    amount = minor_where_given(body.amount, currency)
    if isinstance(amount, Rejection):
        return amount
    wish = PromiseWish(
        organization=asked.organization,
        ledger=body.ledger,
        customer=asked.ids["id"],
        currency=currency,
        amount=amount,
        on=body.on or asked.now.date(),
        payment=body.payment_id,
        reason=body.reason,
    )
    return await refunds_payable.promise(connection, wish, asked.now)


async def _pay(connection: Connection, asked: Asked) -> Done | Rejection:
    return await _of_promise(connection, asked, refunds_payable.pay)


async def _bounced(connection: Connection, asked: Asked) -> Done | Rejection:
    return await _of_promise(connection, asked, refunds_payable.bounced)


async def _of_promise(
    connection: Connection, asked: Asked, act: Callable[..., Awaitable[Done | Rejection]]
) -> Done | Rejection:
    """What is paid of a promise, or comes back, in the promise's currency."""
    body: PayRefundBody = asked.body
    row = await lock_refund_payable(connection, asked.organization, asked.ids["id"])
    if row is None:
        return reject("unknown-refund-payable", refund_payable=str(asked.ids["id"]))
    amount = minor_where_given(body.amount, ISO_4217[row["currency"]])
    if isinstance(amount, Rejection):
        return amount
    return await act(
        connection, asked.organization, asked.ids["id"], amount, body.account, body.method,
        body.on or asked.now.date(), asked.now,
    )  # fmt: skip


async def _cancel(connection: Connection, asked: Asked) -> Done | Rejection:
    on = asked.body.on or asked.now.date()
    return await refunds_payable.cancel(connection, asked.organization, asked.ids["id"], on, asked.now)
