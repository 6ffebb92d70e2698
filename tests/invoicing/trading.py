"""A company that invoices: a ledger with the standard accounts mapped, a customer, and answers as the ledger gives."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from libs.common import outbox
from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.errors import Rejection
from libs.common.messages import Message
from libs.common.money import ISO_4217
from libs.common.sealing import Sealer
from services.invoicing.asking import Done
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.customers import CustomerWish, create_customer
from services.invoicing.drafts import TaxTerms
from services.invoicing.invoice_plans import InvoiceWish, LineWish
from services.invoicing.invoices import make_invoices
from services.invoicing.payments import ReceivedPayment, Recorded, record_payments
from services.invoicing.posting_requests import Answer, PostedAnswer, RejectedAnswer, answered

ORGANIZATION, LEDGER = "demo", "main"
VAT = TaxTerms("S", Decimal(20))
DAY = date(2026, 3, 2)


def new_sealer() -> Sealer:
    """A seal with keys of its own."""
    return Sealer([os.urandom(32)], os.urandom(32))


@dataclass(slots=True)
class Company:
    """Everything a test needs to invoice and be paid."""

    pool: Pool
    sealer: Sealer
    customer: UUID
    sequence: int = 0
    organization: str = ORGANIZATION

    async def one(self, sql: str, *arguments: Any) -> Any:
        """The first row of a question put as the role that writes."""
        return await self.pool.fetchrow(sql, *arguments)

    async def all(self, sql: str, *arguments: Any) -> list[Any]:
        """All rows of a question put as the role that writes."""
        return list(await self.pool.fetch(sql, *arguments))

    def wish(self, total: str = "120.00", **more: Any) -> InvoiceWish:
        """An invoice over one line with 20 % tax, `total` with it."""
        net = Decimal(total) / Decimal("1.2")
        line = LineWish(description="Work", unit_price=net, tax=VAT)
        wanted = {
            "organization": self.organization, "ledger": LEDGER, "customer": str(self.customer), "currency": "USD",
            "issued_on": DAY, "lines": (line,), "issue": True, **more,
        }  # fmt: skip
        return InvoiceWish(**wanted)

    async def told(self, topic: str) -> list[Message]:
        """What waits in the outbox for a topic, oldest first."""
        async with self.pool.acquire() as connection:
            rows = await outbox.unpublished(connection, 10_000)
        return [message for _, messages in rows for message in messages if message.topic == topic]

    async def make(self, *wishes: InvoiceWish) -> list[Done | Rejection]:
        """Makes invoices in one transaction."""
        async with transaction(self.pool) as connection:
            return await make_invoices(connection, self.sealer, wishes, now())

    async def issued(self, total: str = "120.00", **more: Any) -> dict[str, Any]:
        """An issued invoice as its maker is told."""
        (done,) = await self.make(self.wish(total, **more))
        assert isinstance(done, Done), done
        return dict(done.body)

    async def record(self, *received: ReceivedPayment) -> list[Recorded | Rejection]:
        """Records payments in one transaction."""
        async with transaction(self.pool) as connection:
            return await record_payments(connection, received, now())

    async def requested(self) -> list[Any]:
        """Postings that the ledger has not answered, oldest first."""
        return await self.all("select * from postings where state = 'requested' order by requested_at, id")

    async def answer(self, answers: Sequence[Answer]) -> None:
        """The ledger's answers, taken in."""
        async with transaction(self.pool) as connection:
            await answered(connection, answers, now())

    async def post_all(self) -> None:
        """The ledger posts all it was asked, and what waits for that."""
        while rows := await self.requested():
            await self.answer([self.posted(row["id"]) for row in rows])

    def posted(self, posting: UUID) -> PostedAnswer:
        """The ledger says that an entry is in the books."""
        self.sequence += 1
        return PostedAnswer(ORGANIZATION, posting, self.sequence, DAY, now())


def refused(posting: UUID, attempt: int = 1, code: str = "unknown-account") -> RejectedAnswer:
    """The ledger says no."""
    return RejectedAnswer(ORGANIZATION, posting, attempt, code, "The ledger has no such account.", {"account": "x"})


def payment(amount: str, payment_id: str = "p-1", *, currency: str = "USD", **more: Any) -> ReceivedPayment:
    """A payment as an event tells it."""
    minor = int(Decimal(amount).scaleb(ISO_4217[currency].exponent))
    told = {
        "organization": ORGANIZATION, "ledger": LEDGER, "provider": "stripe", "payment_id": payment_id,
        "currency": ISO_4217[currency], "amount": minor, "received_on": DAY, "method": "card",
        "created_at": datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(milliseconds=sum(payment_id.encode())), **more,
    }  # fmt: skip
    return ReceivedPayment(**told)


async def company(
    pool: Pool, tax_basis: str = "accrual", organization: str = ORGANIZATION, currencies: Sequence[str] = ()
) -> Company:
    """A company with the standard accounts mapped and one customer."""
    sealer = new_sealer()
    mapping = MappingWish(standard=True, currencies=currencies, functional_currency="USD", tax_basis=tax_basis)
    async with transaction(pool) as connection:
        mapped = await put_mapping(connection, organization, LEDGER, mapping, now())
        assert isinstance(mapped, Done), mapped
        made = await create_customer(connection, sealer, organization, CustomerWish(name="Acme Corp"), now())
        assert isinstance(made, Done), made
    return Company(pool, sealer, made.body["id"], organization=organization)


def body_of(value: bytes) -> dict[str, Any]:
    """A stored request's JSON."""
    found: dict[str, Any] = orjson.loads(value)
    return found
