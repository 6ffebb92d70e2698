"""The dashboard on the running stack: a real Prometheus scrapes every service under load; no panel stays empty.

The load posts by REST and over Kafka, repeats a request, has one refused, reads, and sends one message that nobody can
read, so that every series a healthy platform can have is there.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from libs.cli import books, charts, demo_messages, session
from libs.cli.client import Client, Refused
from libs.cli.demo_payments import LEDGER, ORGANIZATION, PAYMENTS
from libs.cli.session import Stack
from libs.common.bus import KafkaSettings, Message, Publisher
from libs.devstack.stack import stack_status, start_detached, stop_stack
from tests.deploy import prometheus, queries
from tests.deploy.test_queries import ALERTS, PANELS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ONLY_WITH_FAULTS: set[str] = set()
"""Panels that are empty on a healthy stack."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    prometheus.tool("prometheus")
    start_detached(folder, quiet=True)
    try:
        yield session.running(folder)
    finally:
        stop_stack(folder)


async def _prepare(stack: Stack) -> None:
    async with stack.operator() as operator:
        await books.ensure_organization(operator, ORGANIZATION)
    async with stack.client(ORGANIZATION) as client:
        await books.open_accounts(client, LEDGER, charts.read("demo").accounts)


async def _load(stack: Stack, until: asyncio.Event) -> None:
    """Keeps everything moving until told to stop."""
    turn = 0
    async with stack.client(ORGANIZATION) as client:
        while not until.is_set():
            turn += 1
            await asyncio.gather(*(_pay(client, f"{turn}-{number}") for number in range(10)))
            await _pay(client, f"{turn}-0")
            await _be_refused(client, turn)
            await client.get(f"/ledgers/{LEDGER}/accounts/2001-ALICE/balance")
            await demo_messages.request_payments(stack.bootstrap)


async def _pay(client: Client, key: str) -> None:
    await client.post(f"/ledgers/{LEDGER}/transfers", PAYMENTS[0].transfer(), key=f"load-{key}")


async def _be_refused(client: Client, turn: int) -> None:
    body = PAYMENTS[1].transfer() | {"to": "9999-NOBODY"}
    with pytest.raises(Refused):
        await client.post(f"/ledgers/{LEDGER}/transfers", body, key=f"refused-{turn}")


async def _send_unreadable(stack: Stack) -> None:
    publisher = Publisher(KafkaSettings(stack.bootstrap), name="test")
    await publisher.start()
    try:
        await publisher.publish([Message(demo_messages.REQUESTS, b"nobody", b"{", [])])
    finally:
        await publisher.stop()


@pytest.fixture(scope="module")
async def scraped(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[prometheus.Prometheus]:
    """A Prometheus that has scraped every service for some seconds of load."""
    status: dict[str, Any] = stack_status(stack.data_dir)
    targets = {name: urlsplit(status[name]["url"]).netloc for name in ("ledger", "invoicing", "gateway")}
    await _prepare(stack)
    over = asyncio.Event()
    loading = asyncio.create_task(_load(stack, over))
    try:
        async with prometheus.running(tmp_path_factory.mktemp("prometheus"), targets, ALERTS) as server:
            await server.until_up(jobs=3, scrapes=15)
            await _send_unreadable(stack)
            seen = await server.scrapes()
            await server.until_up(jobs=3, scrapes=seen + 90)
            yield server
    finally:
        over.set()
        await loading


async def test_no_panel_is_empty(scraped: prometheus.Prometheus) -> None:
    empty = {query.place for query in PANELS if not await scraped.query(query.expression)}
    assert empty == ONLY_WITH_FAULTS


async def test_every_metric_of_the_alerts_is_there(scraped: prometheus.Prometheus) -> None:
    named = {metric for query in queries.of_alerts(ALERTS) for metric in queries.metrics_of(query.expression)}
    missing = {metric for metric in named if not await scraped.query(f'count({{__name__="{metric}"}})')}
    assert not missing


async def test_rules_are_healthy_and_only_the_unreadable_message_is_told(scraped: prometheus.Prometheus) -> None:
    assert await scraped.health_of_rules() == {"ok"}
    firing = {series["metric"]["alertname"] for series in await scraped.query('ALERTS{alertstate="firing"}')}
    assert firing == {"DeadLetters"}
