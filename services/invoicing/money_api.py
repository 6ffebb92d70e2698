"""Documents of money over REST, read: refunds and returned payments, disputes, write-offs, credit used, payouts.

Each has a list with filters that goes on by its cursor, oldest first, and is read alone by its id.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Problem
from libs.common.http import App, requires, router
from libs.common.journal import ShortText, SlugText
from services.invoicing import money_reads, receivable_reads, settlement_store
from services.invoicing.domain import Posting
from services.invoicing.money_words import (
    credit_application_words,
    dispute_words,
    disputed_words,
    payout_items_words,
    payout_words,
    refund_words,
    write_off_words,
)
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rejections import REJECTIONS
from services.invoicing.rows import Row
from services.invoicing.writing import PREFIX, Tools

Reads = Annotated[Caller, requires("payment:read")]
ReadsInvoices = Annotated[Caller, requires("invoice:read")]

Back = Literal["refund", "return", "bounced"]
DisputeStatus = Literal["opened", "won", "lost"]
GivenUp = Literal["write-off", "reversal", "relief", "recovery", "relief-taken-back", "recovery-taken-back"]

Rows = Callable[[Connection, str, Mapping[str, Any], UUID | None, int], Awaitable[list[Any]]]
"""A list's statement: organization, filters, behind which id, how many."""


@dataclass(frozen=True, slots=True)
class MoneyApi:
    """The routes that list documents of money and show one."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        on_payments, on_invoices = router(PREFIX, ["payments"]), router(PREFIX, ["invoices"])
        add = on_payments.add_api_route
        add("/refunds", self.refunds, summary="Refunds and returned payments, oldest first")
        add("/refunds/{id}", self.refund, summary="One refund or returned payment")
        add("/disputes", self.disputes, summary="Disputes, oldest first")
        add("/disputes/{id}", self.dispute, summary="One dispute with where its money was")
        add("/credit-applications", self.credit_applications, summary="Uses of customer credit, oldest first")
        add("/credit-applications/{id}", self.credit_application, summary="One use of customer credit")
        add("/payouts", self.payouts, summary="Payouts, oldest first")
        add("/payouts/{id}", self.payout, summary="One payout with what it is made of")
        add = on_invoices.add_api_route
        add("/write-offs", self.write_offs, summary="What was given up and what became of it, oldest first")
        add("/write-offs/{id}", self.write_off, summary="One write-off, or what became of one")
        app.include_router(on_payments)
        app.include_router(on_invoices)

    async def refunds(
        self, caller: Reads, kind: Back | None = None, payment: UUID | None = None, customer: UUID | None = None,
        ledger: SlugText | None = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """`kind` tells what we gave back from what the payer's bank took, and from what of both came back."""
        filters = {"kind": kind, "payment": payment, "customer": customer, "ledger": ledger}
        rows = await self._listed(caller, "refunds", money_reads.list_refunds, filters, cursor, limit)
        return page([refund_words(row) for row in rows[0]], rows[1])

    async def refund(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await money_reads.read_refund(connection, organization, id)
        return refund_words(_there(row, "unknown-refund", refund=id))

    async def disputes(
        self, caller: Reads, status: DisputeStatus | None = None, payment: UUID | None = None,
        customer: UUID | None = None, ledger: SlugText | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """`status=opened` asks for those that have not ended."""
        filters = {"status": status, "payment": payment, "customer": customer, "ledger": ledger}
        rows = await self._listed(caller, "disputes", money_reads.list_disputes, filters, cursor, limit)
        return page([dispute_words(row) for row in rows[0]], rows[1])

    async def dispute(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await money_reads.read_dispute(connection, organization, id)
            taken = await settlement_store.dispute_allocations(connection, organization, id)
        found = _there(row, "unknown-dispute", dispute=id)
        return {**dispute_words(found), "allocations": disputed_words(taken, found["currency"])}

    async def write_offs(
        self, caller: ReadsInvoices, kind: GivenUp | None = None, invoice: UUID | None = None,
        customer: UUID | None = None, ledger: SlugText | None = None, posting: Posting | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Write-offs, their reversals, the relief of their tax, and what came in for them."""
        filters = {"kind": kind, "invoice": invoice, "customer": customer, "ledger": ledger, "posting": posting}
        rows = await self._listed(caller, "write-offs", money_reads.list_write_offs, filters, cursor, limit)
        return page([write_off_words(row) for row in rows[0]], rows[1])

    async def write_off(self, id: UUID, caller: ReadsInvoices) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await money_reads.read_write_off(connection, organization, id)
        return write_off_words(_there(row, "unknown-write-off", write_off=id))

    async def credit_applications(
        self, caller: Reads, customer: UUID | None = None, ledger: SlugText | None = None,
        posting: Posting | None = None, taken_back: bool | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Without their allocations; `taken_back` asks for those of which nothing stands any more."""
        filters = {"customer": customer, "ledger": ledger, "posting": posting, "taken_back": taken_back}
        rows = await self._listed(
            caller, "credit-applications", money_reads.list_credit_applications, filters, cursor, limit
        )
        return page([credit_application_words(row) for row in rows[0]], rows[1])

    async def credit_application(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await money_reads.read_credit_application(connection, organization, id)
            placed = await receivable_reads.list_allocations(connection, organization, source_id=id)
        return credit_application_words(_there(row, "unknown-credit-application", credit_application=id), placed)

    async def payouts(
        self, caller: Reads, provider: ShortText | None = None, payout_id: ShortText | None = None,
        ledger: SlugText | None = None, posting: Posting | None = None, taken_back: bool | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Without what they are made of."""
        filters = {
            "provider": provider, "payout_id": payout_id, "ledger": ledger, "posting": posting,
            "taken_back": taken_back,
        }  # fmt: skip
        rows = await self._listed(caller, "payouts", money_reads.list_payouts, filters, cursor, limit)
        return page([payout_words(row) for row in rows[0]], rows[1])

    async def payout(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await money_reads.read_payout(connection, organization, id)
        found = _there(row, "unknown-payout", payout=id)
        return {**payout_words(found), "items": payout_items_words(found)}

    async def _listed(
        self, caller: Caller, what: str, rows_of: Rows, filters: Mapping[str, Any], cursor: str | None, limit: int
    ) -> tuple[list[Any], str | None]:
        """One page of a list, and the cursor of the next."""
        organization = caller.own_organization()
        name, after = f"{what}/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await rows_of(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return rows[:limit], following


def _there(row: Row | None, code: str, **ids: UUID) -> Row:
    """The row that was asked for. Raises Problem 404 where there is none."""
    if row is None:
        raise Problem(404, code, REJECTIONS[code], facts={name: str(id_) for name, id_ in ids.items()})
    return row
