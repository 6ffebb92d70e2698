"""How fast money comes in: payment events over Kafka until the ledger has posted them and invoicing knows it.

    python -m bench.paying [--payments 10000] [--runs 3] [--json FILE]

A whole stack of its own in a temporary folder, fsync on, every guard and projection on. Beforehand, and not timed: a
ledger with the standard accounts mapped, and for each payment an invoice of its own, made and hashed by invoicing's own
functions and posted by the ledger. A run begins with the first event published to `payments.events.v1`, each naming its
invoice by number in the payer's text, and ends when no payment's posting waits for anything; then every payment has to
be `posted` and every invoice `paid`. The reference is the same run's: bare requests to the ledger over Kafka, answered.

The seconds are the machine's, whatever else it does; the processor time of each process for one event says what limits
it. At the end the receivables have to tie out with the books, and the books verify.
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import uvloop

from bench import stack_load
from bench.processors import PARTS, Processors
from bench.report import Report
from bench.stack_load import ORGANIZATION, SAMPLE_RATIO
from libs.cli import books, charts
from libs.cli.session import Stack, running
from libs.common.bus import KafkaSettings
from libs.common.clock import new_id, now
from libs.common.db import Pool, transaction
from libs.common.events_payments import PAYMENT_RECEIVED, PAYMENTS, payment_key
from libs.common.messages import Message, cloud_event_headers
from libs.common.publisher import Publisher
from libs.common.sealing import Sealer, read_sealer
from libs.devstack.databases import service_dsns, with_database
from libs.devstack.folder import StackFolder
from libs.devstack.stack import sealing_keys_path, stack_status, start_detached, stop_stack
from services.invoicing.asking import Done
from services.invoicing.hashing import Hashing
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.invoices import make_invoices
from services.invoicing.pools import create_writer_pool

LEDGER: Final = "main"
CUSTOMERS: Final = 100
INVOICES_AT_ONCE: Final = 500
TOTAL: Final = "120.00"
LOOK_EVERY_S: Final = 0.02
PATIENCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Receivables:
    """Invoicing's database of the stack that is measured, and the seal of its customers."""

    pool: Pool
    sealer: Sealer

    async def invoices(self, count: int) -> list[str]:
        """So many new issued invoices, in the books and their documents hashed; their numbers."""
        numbers: list[str] = []
        while len(numbers) < count:
            wishes = [
                InvoiceWish(
                    organization=ORGANIZATION, ledger=LEDGER, customer=f"Customer {no % CUSTOMERS}",
                    make_customer=True, total=TOTAL, currency="USD", issue=True,
                )
                for no in range(len(numbers), min(count, len(numbers) + INVOICES_AT_ONCE))
            ]  # fmt: skip
            async with transaction(self.pool) as connection:
                for done in await make_invoices(connection, self.sealer, wishes, now()):
                    assert isinstance(done, Done), done
                    numbers.append(done.body["number"])
        await self.settled()
        hashing = Hashing(self.pool, self.sealer, batch=INVOICES_AT_ONCE)
        while await hashing.step():  # at the service's own pace it would take a minute, and be counted to the payments
            continue
        return numbers

    async def settled(self) -> None:
        """Until no posting waits for the ledger or for another posting."""
        give_up_s = time.perf_counter() + PATIENCE_S
        while await self.pool.fetchval(
            """
            select exists (select from postings where state = 'requested' and resend_at is not null)
                or exists (select from postings where state = 'waiting')
            """
        ):
            assert time.perf_counter() < give_up_s, "postings still wait"
            await asyncio.sleep(LOOK_EVERY_S)

    async def heard(self) -> int:
        """How many payment events had their effect or were given up: the positions behind them, all together."""
        positions: int = await self.pool.fetchval(
            "select coalesce(sum(next_offset), 0)::bigint from consumer_offsets where topic = $1", PAYMENTS
        )
        return positions

    async def require_paid(self, payments: int) -> None:
        """Every payment is in the books and on its invoice, nothing is parked."""
        found = await self.pool.fetchrow(
            """
            select (select count(*) from payments where posting = 'posted' and allocated = amount) as payments,
                   (select count(*) from invoices where status = 'paid') as invoices,
                   (select count(*) from parked) as parked
            """
        )
        assert found is not None, "a select without a table gives a row"
        assert tuple(found.values()) == (payments, payments, 0), dict(found)


async def measure(payments: int, runs: int, json_file: Path | None) -> None:
    """Starts a stack of its own, pays, proves what came of it, stops it."""
    ratio = os.environ.setdefault("LEDGERBUS_TRACE_SAMPLE_RATIO", SAMPLE_RATIO)
    report = Report(
        "paying",
        {"payments a run": str(payments), "runs": str(runs), "postgres": "18, fsync on", "trace sample ratio": ratio},
    )
    report.head()
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        data_dir = Path(folder)
        await asyncio.to_thread(start_detached, data_dir, quiet=True)
        try:
            await _measure(report, data_dir, payments, runs)
        finally:
            await asyncio.to_thread(stop_stack, data_dir)
    if json_file is not None:
        report.write(json_file)


async def _measure(report: Report, data_dir: Path, payments: int, runs: int) -> None:
    stack, status = running(data_dir), stack_status(data_dir)
    await stack_load.prepare(stack)
    chart = charts.read("receivables")
    async with stack.client(ORGANIZATION) as client:
        await books.open_accounts(client, LEDGER, chart.accounts)
        await books.map_accounts(client, LEDGER, chart.mapping)
    used = Processors(status, ("invoicing", *PARTS))
    reference = await stack_load.kafka_requests(report, stack, used, runs, payments)
    dsn = with_database(status["postgres"]["dsn"], "invoicing")
    dsns = service_dsns(dsn, "invoicing", StackFolder(data_dir).passwords("invoicing"))
    pool = await create_writer_pool(dsns.writer, max_size=4)
    try:
        receivables = Receivables(pool, read_sealer(sealing_keys_path(data_dir)))
        figures = [await _paid(stack, receivables, used, payments, run) for run in range(runs)]
    finally:
        await pool.close()
    report.add("payment events to their confirmed postings", figures, "events/s", reference.value)
    report.add("load average meanwhile", [os.getloadavg()[0]], "")
    used.tell(report, "payment events")
    await _require_tied(stack)
    await stack_load.verify(stack)


async def _paid(stack: Stack, receivables: Receivables, used: Processors, payments: int, run: int) -> float:
    """Events a second of one run."""
    numbers = await receivables.invoices(payments)
    messages = [_received(number) for number in numbers]
    publisher = Publisher(KafkaSettings(stack.bootstrap), name="bench")
    await publisher.start()
    heard = await receivables.heard()
    with used.run() as spent:
        started_s = time.perf_counter()
        filling = asyncio.create_task(stack_load.fill(publisher, messages))
        while await receivables.heard() - heard < payments:
            assert time.perf_counter() - started_s < PATIENCE_S, "payment events are not taken in"
            await asyncio.sleep(LOOK_EVERY_S)
        await receivables.settled()
        seconds = time.perf_counter() - started_s
        spent.entries = payments
    await filling
    await publisher.stop()
    await receivables.require_paid((run + 1) * payments)
    return payments / seconds


def _received(number: str) -> Message:
    payment_id = str(new_id())
    body = {
        "organization": ORGANIZATION, "ledger": LEDGER, "provider": "bench", "currency": "USD",
        "payment_id": payment_id, "amount": TOTAL, "fee": "3.78", "received_on": now().date(), "method": "card",
        "reference": f"Invoice {number}, thank you",
    }  # fmt: skip
    headers = cloud_event_headers(PAYMENT_RECEIVED.name, "bench", payment_id, now())
    return Message(PAYMENTS, payment_key(ORGANIZATION, payment_id), orjson.dumps(body), headers)


async def _require_tied(stack: Stack) -> None:
    """Waits until invoicing heard the whole log, then the receivables are what the books say."""
    token = stack.token(ORGANIZATION, ["controller"])
    give_up_s = time.perf_counter() + PATIENCE_S
    async with aiohttp.ClientSession(stack.gateway, headers={"Authorization": f"Bearer {token}"}) as session:
        while True:
            async with session.get("/api/v1/receivables/tie-out", params={"ledger": LEDGER}) as answer:
                proof = await answer.json()
            if proof.get("complete") and not proof["unposted"]["count"] and proof["ties"]:
                break
            assert time.perf_counter() < give_up_s, proof
            await asyncio.sleep(0.2)
    print(f"receivables and books say the same at sequence {proof['sequence']}")


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.paying", description=__doc__)
    parser.add_argument("--payments", type=int, default=10_000, help="payments a run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.payments, chosen.runs, chosen.json))


if __name__ == "__main__":
    main()
