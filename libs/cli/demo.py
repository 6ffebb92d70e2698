"""The demo: a day in the life of the platform, through the gateway and Kafka only, on books it makes itself.

    1  the organization `demo` with its chart of accounts
    2  float -> Alice -> Bob, and a refund, as REST transfers
    3  the same payments as requests over Kafka, each answered
    4  invoices, paid over REST and by payment events over Kafka, a credit note; receivables and books compared
    5  eight years of a journal that beancount's generator invented, by the bulk endpoint; every balance compared
    6  the trace of one payment: request, gateway, ledger, Kafka record
    7  the trial balances, and the heads of the two chains of hashes

Everything is sent under fixed keys, so playing it again posts nothing twice and prints the same trial balances.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

from libs.cli import (
    beancount_journal,
    books,
    charts,
    demo_messages,
    demo_receivables,
    example_journal,
    journal_import,
    output,
    spans,
)
from libs.cli.client import Answer, Client, new_trace
from libs.cli.demo_payments import LEDGER, ORGANIZATION, PAYMENTS, Payment
from libs.cli.exits import Ended, Exit
from libs.cli.session import Stack
from libs.cli.spans import Span
from libs.common.bus import KafkaSettings
from libs.common.events import FACTS

JOURNAL_LEDGER: Final = "journal"
_TRACE_WAIT_S: Final = 10.0


async def play(stack: Stack) -> None:
    """Plays the whole demo and prints it. Raises Ended where anything is not as it should be."""
    console = output.facts()
    async with stack.operator() as operator:
        await books.ensure_organization(operator, ORGANIZATION)
    async with stack.client(ORGANIZATION) as client:
        await _open_chart(console, client)
        trace_id, fact = await _pay_by_rest(console, client, stack)
        await _pay_by_messages(console, stack)
        _headline(console, 4, "Invoices and what is paid on them")
        await demo_receivables.play(console, client, stack.bootstrap)
        await _import_journal(console, client, stack)
        await _show_trace(console, stack, trace_id, fact)
        await _show_books(console, client)


async def _open_chart(console: Console, client: Client) -> None:
    chart = charts.read("demo")
    opened = await books.open_accounts(client, LEDGER, chart.accounts)
    there = len(chart.accounts) - opened
    _headline(console, 1, f"Organization {ORGANIZATION}: {opened} accounts opened, {there} were there already")


async def _pay_by_rest(console: Console, client: Client, stack: Stack) -> tuple[str, Span | None]:
    """The transfers over REST, each in its own trace; gives the payment's trace id, and its record on Kafka if new."""
    _headline(console, 2, "Payments over REST")
    async with demo_messages.from_the_end(KafkaSettings(stack.bootstrap), FACTS) as facts:
        answers = {payment.name: await _transfer(client, payment) for payment in PAYMENTS}
        trace_id, shown = answers["payment"]
        fact = None if shown.replayed else await demo_messages.published_fact(facts, trace_id)
    rows = [
        _payment_row(payment, answer.body["sequence"], replayed=answer.replayed)
        for payment, (_, answer) in zip(PAYMENTS, answers.values(), strict=True)
    ]
    _print_payments(console, rows)
    if fact is None and not shown.replayed:
        raise Ended(f"No record of trace {trace_id} came on the topic {FACTS}.")
    return trace_id, fact


async def _transfer(client: Client, payment: Payment) -> tuple[str, Answer]:
    trace_id, traceparent = new_trace()
    key = f"demo-rest-{payment.name}"
    path = f"/ledgers/{LEDGER}/transfers"
    return trace_id, await client.post(path, payment.transfer(), key=key, traceparent=traceparent)


async def _pay_by_messages(console: Console, stack: Stack) -> None:
    _headline(console, 3, "The same payments as requests over Kafka")
    answers = await demo_messages.request_payments(stack.bootstrap)
    rows = [
        _payment_row(payment, answer["sequence"], replayed=answer["replayed"])
        for payment, answer in zip(PAYMENTS, answers, strict=True)
    ]
    _print_payments(console, rows)


def _payment_row(payment: Payment, sequence: int, *, replayed: bool) -> list[str]:
    return [payment.sentence, f"{payment.amount} USD", str(sequence), "was there already" if replayed else "posted"]


def _print_payments(console: Console, rows: list[list[str]]) -> None:
    columns = {"payment": "left", "amount": "right", "sequence": "right", "outcome": "left"}
    console.print(output.table("", columns, rows))


async def _import_journal(console: Console, client: Client, stack: Stack) -> None:
    begin, end, seed = example_journal.BEGIN, example_journal.END, example_journal.SEED
    _headline(console, 5, f"A whole journal: bean-example, seed {seed}, {begin} to {end}")
    path = example_journal.kept_in(stack.data_dir)
    await asyncio.to_thread(example_journal.write, path)
    journal = await asyncio.to_thread(beancount_journal.read, path, ORGANIZATION)
    console.print(
        f"{len(journal.entries)} entries on {len(journal.accounts)} accounts in "
        f"{len(journal.currencies) + 1} currencies."
    )
    imported = await journal_import.import_journal(client, JOURNAL_LEDGER, journal)
    console.print(imported.sentence())
    imported.require_whole()


async def _show_trace(console: Console, stack: Stack, trace_id: str, fact: Span | None) -> None:
    _headline(console, 6, "One payment's trace: Alice pays Bob")
    found = await spans.wait_for(stack.data_dir / "spans", trace_id, _TRACE_WAIT_S)
    if not found:
        raise Ended(f"No span of trace {trace_id} was written to {stack.data_dir / 'spans'}.")
    output.print_tree(spans.tree(trace_id, [*found, fact] if fact is not None else found))
    if fact is None:
        console.print("Its record was published when it was posted; nothing new came on Kafka.")


async def _show_books(console: Console, client: Client) -> None:
    _headline(console, 7, "The books")
    for ledger in (LEDGER, JOURNAL_LEDGER):
        report = await books.trial_balance(client, ledger)
        console.print(output.trial_balance(report, ledger), "")
        if not report["balanced"]:
            raise Ended(f"The trial balance of {ledger} is not balanced.", Exit.BOOKS_DIFFER)
    verdicts = {ledger: await books.verify(client, ledger) for ledger in (LEDGER, JOURNAL_LEDGER)}
    console.print(_heads(verdicts))
    if not all(verdict["ok"] for verdict in verdicts.values()):
        raise Ended("The books do not verify; ask: ledgerbus verify", Exit.BOOKS_DIFFER)


def _heads(verdicts: Mapping[str, Mapping[str, Any]]) -> Any:
    rows = [
        [ledger, "yes" if verdict["ok"] else "NO", str(verdict["checked_through"]), verdict["chain_head"]]
        for ledger, verdict in verdicts.items()
    ]
    columns = {"ledger": "left", "verified": "left", "sequence": "right", "chain head": "left"}
    return output.table("Chain heads", columns, rows)


def _headline(console: Console, number: int, text: str) -> None:
    console.print(f"\n[bold]{number}  {text}[/bold]")
