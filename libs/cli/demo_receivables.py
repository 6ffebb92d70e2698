"""The demo's receivables: invoices over REST, money over REST and Kafka, and what all of it came to in the books.

    Acme Corp   1,500.00 as one total, paid in two halves over REST
    Globex      two tax rates, paid by two payment events over Kafka; what is too much becomes customer credit
    Initech     an invoice, and a credit note for a part of it

Invoicing answers at once and asks the ledger over Kafka, so whoever wants to see the books waits for the postings.
Keys, event ids and payment ids are fixed: played again, nothing is invoiced, paid or posted twice.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from rich.console import Console

from libs.cli import books, charts, output
from libs.cli.client import Client, new_trace
from libs.cli.demo_payments import LEDGER, ORGANIZATION
from libs.cli.exits import Ended, Exit
from libs.common import clock
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.events_payments import PAYMENT_RECEIVED, PAYMENTS, payment_key

PROVIDER: Final = "demo-cards"
_PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.1

Document = Mapping[str, Any]


def _line(description: str, quantity: str, unit_price: str, rate: str) -> dict[str, Any]:
    tax = {"category": "S", "rate": rate}
    return {"description": description, "quantity": quantity, "unit_price": unit_price, "tax": tax}


_GLOBEX: Final = (_line("Consulting, 8 hours", "8", "120.00", "20"), _line("Handbooks", "3", "15.00", "5"))
_INITECH: Final = (_line("Printers", "2", "100.00", "20"),)
_CARD_PAYMENTS: Final = (("py-demo-1", "600.00", "17.70"), ("py-demo-2", "650.00", "19.15"))
"""Payment id, what the payer paid, the processor's fee inside it."""


async def play(console: Console, client: Client, bootstrap: str) -> None:
    """Plays it and prints what came of it. Raises Ended where anything is not as it should be."""
    await books.open_accounts(client, LEDGER, charts.read("receivables").accounts)
    await books.map_accounts(client, LEDGER, charts.read("receivables").mapping)
    documents = [
        await _paid_by_rest(client),
        await _paid_by_events(client, bootstrap),
        await _credited(client),
    ]
    _print_invoices(console, documents)
    await _show_ageing(console, client)
    await _require_tied(console, client)


async def _paid_by_rest(client: Client) -> Document:
    wanted = {"customer": "Acme Corp", "total": "1500.00", "currency": "USD", "issue": True}
    invoice = (await client.post("/invoices", wanted, key="demo-invoice-acme")).body
    for half in ("first", "second"):
        payment = {"invoice_id": invoice["id"], "amount": "750.00"}
        await client.post("/payments", payment, key=f"demo-payment-acme-{half}")
    return await _posted_invoice(client, invoice, lambda found: found["status"] == "paid")


async def _paid_by_events(client: Client, bootstrap: str) -> Document:
    invoice = await _invoiced(client, "Globex", _GLOBEX)
    publisher = Publisher(KafkaSettings(bootstrap), name="demo-payments")
    await publisher.start()
    try:
        await publisher.publish([_received(invoice, *payment) for payment in _CARD_PAYMENTS])
    finally:
        await publisher.stop()
    return await _posted_invoice(client, invoice, lambda found: found["status"] == "paid")


def _received(invoice: Document, payment_id: str, amount: str, fee: str) -> Message:
    body = {
        "organization": ORGANIZATION,
        "ledger": LEDGER,
        "provider": PROVIDER,
        "currency": invoice["currency"],
        "payment_id": payment_id,
        "amount": amount,
        "fee": fee,
        "received_on": invoice["issued_on"],
        "method": "card",
        "reference": f"Invoice {invoice['number']}, thank you",
    }
    headers = cloud_event_headers(
        PAYMENT_RECEIVED.name, PROVIDER, f"{PROVIDER}:{payment_id}", clock.now(), traceparent=new_trace()[1]
    )
    return Message(PAYMENTS, payment_key(ORGANIZATION, payment_id), orjson.dumps(body), headers)


async def _credited(client: Client) -> Document:
    invoice = await _invoiced(client, "Initech", _INITECH)
    note = {"invoice_id": invoice["id"], "amount": "60.00", "reason": "One printer came damaged"}
    await client.post("/credit-notes", note, key="demo-credit-note-initech")
    return await _posted_invoice(client, invoice, lambda found: found["credited"] == "60.00")


async def _invoiced(client: Client, customer: str, lines: Any) -> Document:
    name = customer.lower()
    made = (await client.post("/customers", {"name": customer}, key=f"demo-customer-{name}")).body
    wanted = {"ledger": LEDGER, "customer": made["id"], "currency": "USD", "lines": lines, "issue": True}
    body: Document = (await client.post("/invoices", wanted, key=f"demo-invoice-{name}")).body
    return body


async def _posted_invoice(client: Client, invoice: Document, is_settled: Callable[[Document], bool]) -> Document:
    """The invoice once it is in the books and what was paid or credited on it is known."""
    found: Document = await _awaited(
        lambda: client.get(f"/invoices/{invoice['id']}"),
        lambda found: found["posting"] == "posted" and is_settled(found),
        f"The invoice {invoice['number']}",
    )
    return found


async def _awaited(ask: Callable[[], Any], is_there: Callable[[Any], bool], what: str) -> Any:
    give_up_s = clock.monotonic_s() + _PATIENCE_S
    while True:
        found = await ask()
        if is_there(found):
            return found
        if clock.monotonic_s() > give_up_s:
            raise Ended(f"{what} is not where it should be after {_PATIENCE_S:.0f} s: {orjson.dumps(found).decode()}")
        await asyncio.sleep(_PAUSE_S)


def _print_invoices(console: Console, documents: list[Document]) -> None:
    columns = {"invoice": "left", "status": "left"} | dict.fromkeys(["total", "paid", "credited", "open"], "right")
    rows = [
        [found["number"], found["status"], *(found[name] for name in ("total", "paid", "credited", "open"))]
        for found in documents
    ]
    console.print(output.table("", columns, rows))


async def _show_ageing(console: Console, client: Client) -> None:
    report = await client.get("/receivables/ageing", ledger=LEDGER)
    ages = report["columns"]
    columns = {"customer": "left"} | dict.fromkeys([*ages, "open", "unapplied", "credit", "net"], "right")
    rows = [
        [
            row["name"],
            *(row["by_age"][age] for age in ages),
            *(row[name] for name in ("open", "unapplied", "credit", "net")),
        ]
        for row in report["rows"]
    ]
    console.print(output.table("", columns, rows))


async def _require_tied(console: Console, client: Client) -> None:
    """Waits until the books have everything, then compares them with the receivables."""
    proof = await _awaited(
        lambda: client.get("/receivables/tie-out", ledger=LEDGER),
        lambda found: found["complete"] and found["unposted"]["count"] == 0 and found["ties"],
        "The tie-out of receivables and books",
    )
    if proof["by_others"]:
        raise Ended("Somebody else posted on accounts that are invoicing's.", Exit.BOOKS_DIFFER)
    compared = output.counted(len(proof["rows"]), "account", "accounts")
    console.print(f"Receivables and books say the same at sequence {proof['sequence']}: {compared} compared.")
