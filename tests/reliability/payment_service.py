"""A seller and a payment service on the running stack: invoices issued over REST, then payments told over Kafka.

The payment service does what every publisher has to: what was not acknowledged is published again, all of it. It goes
on a few events at a time, so that faults strike in the middle.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from libs.cli import books, charts
from libs.cli.client import Client
from libs.cli.session import Stack
from libs.common.bus import KafkaSettings, Message, Publisher
from libs.common.errors import Transient
from tests.reliability.payment_wishes import CURRENCY, PROVIDER, Invoice, text
from tests.reliability.wishes import LEDGER

T = TypeVar("T")
R = TypeVar("R")

CLIENTS = 16
PAUSE_S = 0.1
MOMENTS = 150
"""In so many moments everything is told, if nothing is in the way."""


async def open_business(stack: Stack, organization: str, invoices: Sequence[Invoice]) -> None:
    """The organization, its ledger with an account for every role, and the invoices, issued."""
    async with stack.operator() as operator:
        await books.ensure_organization(operator, organization)
    async with stack.client(organization) as client:
        chart = charts.read("receivables")
        await books.open_accounts(client, LEDGER, chart.accounts)
        await books.map_accounts(client, LEDGER, chart.mapping)
        names = sorted({invoice.customer for invoice in invoices})
        ids = dict(zip(names, await _at_once(CLIENTS, names, lambda name: _customer(client, name)), strict=True))
        await _at_once(CLIENTS, list(enumerate(invoices)), lambda each: _issue(client, ids, *each))


async def _at_once(limit: int, wanted: Sequence[T], act: Callable[[T], Awaitable[R]]) -> list[R]:
    """`act` on each, so many at once; the answers in order."""
    free = asyncio.Semaphore(limit)

    async def one(each: T) -> R:
        async with free:
            return await act(each)

    return await asyncio.gather(*map(one, wanted))


async def _customer(client: Client, name: str) -> str:
    made = await client.post("/customers", {"name": name, "external_id": name}, key=f"customer-{name}")
    id_: str = made.body["id"]
    return id_


async def _issue(client: Client, customers: dict[str, str], place: int, invoice: Invoice) -> None:
    line = {"description": "Work", "unit_price": text(invoice.total), "tax": {"category": "Z", "rate": "0"}}
    wanted = {
        "ledger": LEDGER, "customer": customers[invoice.customer], "currency": CURRENCY, "issued_on": "2026-01-15",
        "lines": [line], "issue": True,
    }  # fmt: skip
    issued = (await client.post("/invoices", wanted, key=f"invoice-{place}")).body
    invoice.id, invoice.number, invoice.reference = issued["id"], issued["number"], issued["creditor_reference"]


class PaymentService:
    """Tells `events` over Kafka; `troubles` counts what was not acknowledged, `repeated` what was told again."""

    def __init__(self, bootstrap: str, events: Sequence[Message]) -> None:
        self._bootstrap, self._events = bootstrap, events
        self.troubles: Counter[str] = Counter()
        self.repeated = 0

    async def run(self) -> None:
        """Returns when every event is acknowledged."""
        publisher = Publisher(KafkaSettings(self._bootstrap), name=PROVIDER)
        step = max(1, len(self._events) // MOMENTS)
        try:
            for start in range(0, len(self._events), step):
                await self._tell(publisher, self._events[start : start + step])
                await asyncio.sleep(PAUSE_S)
        finally:
            await publisher.stop()

    async def _tell(self, publisher: Publisher, events: Sequence[Message]) -> None:
        while True:
            try:
                await publisher.publish(events)
            except Transient as lost:
                self.troubles[type(lost).__name__] += 1
                self.repeated += len(events)
                await asyncio.sleep(PAUSE_S)
            else:
                return
