"""The ledger behind its entrances: HTTP straight to it, through the gateway, requests over Kafka, and bulks.

Requests are made before the clock starts, so that making them costs the machine nothing while it is measured.
"""

import asyncio
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bench.load import Load, closed_loop, post_request
from bench.processors import Processors
from bench.report import Figure, Report
from bench.writer_direct import ACCOUNTS
from libs.cli.session import Stack, running
from libs.common.bus import KafkaSettings
from libs.common.clock import new_id, now
from libs.common.journal import ledger_id
from libs.common.messages import Message, cloud_event_headers
from libs.common.publisher import Publisher
from libs.devstack.stack import stack_status, start_detached, stop_stack

ORGANIZATION = "bench"
CONNECTIONS = 50
KAFKA_REQUESTS = 30_000
BULK_ENTRIES = 40_000
READY_PER_S = 5_000
"""Requests made ahead for each second of a run; what is asked beyond is made as it goes."""
SAMPLE_RATIO = "0.01"


async def measure(report: Report, parts: list[str], runs: int, seconds: float, ratio: str) -> None:
    """Starts a stack of its own, measures the parts, verifies the books, stops it."""
    os.environ["LEDGERBUS_TRACE_SAMPLE_RATIO"] = ratio
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        data_dir = Path(folder)
        await asyncio.to_thread(start_detached, data_dir, quiet=True)
        try:
            stack = running(data_dir)
            await prepare(stack)
            status = stack_status(data_dir)
            ledger_url, used = status["ledger"]["url"], Processors(status)
            for part in parts:
                match part:
                    case "http":
                        await _http(report, stack, used, ledger_url, "HTTP straight to the ledger", runs, seconds)
                    case "gateway":
                        await _http(report, stack, used, stack.gateway, "HTTP through the gateway", runs, seconds)
                    case "kafka":
                        await kafka_requests(report, stack, used, runs)
                    case "export":
                        await _beside_export(report, stack, ledger_url, runs, seconds)
                    case _:
                        await _bulk(report, stack, used, runs)
            await verify(stack)
        finally:
            await asyncio.to_thread(stop_stack, data_dir)


async def prepare(stack: Stack) -> None:
    """The organization and its accounts, through the gateway."""
    operator = {"Authorization": f"Bearer {stack.token(None, ['operator'])}"}
    async with aiohttp.ClientSession(stack.gateway, headers=operator) as session:
        body = {"slug": ORGANIZATION, "name": "Bench", "functional_currency": "USD"}
        async with session.post("/api/v1/organizations", json=body) as answer:
            assert answer.status == 201, await answer.text()
    async with aiohttp.ClientSession(stack.gateway, headers=_controller(stack)) as session:

        async def open_account(no: int) -> None:
            account = {"code": f"A{no}", "name": f"A{no}", "type": "asset", "currency": "USD"}
            async with session.post("/api/v1/ledgers/main/accounts", json=account) as answer:
                assert answer.status == 201, await answer.text()

        for first in range(0, ACCOUNTS, 50):
            await asyncio.gather(*(open_account(no) for no in range(first, first + 50)))


def _controller(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.token(ORGANIZATION, ['controller'])}"}


def _body(chosen: random.Random, **more: Any) -> bytes:
    debited = chosen.randrange(ACCOUNTS)
    amount = f"{chosen.randrange(1, 1000)}.{chosen.randrange(100):02d}"
    return orjson.dumps(
        {
            "effective_on": "2026-01-15",
            "description": "payment",
            "lines": [
                {"account": f"A{debited}", "side": "debit", "amount": amount},
                {"account": f"A{(debited + 1) % ACCOUNTS}", "side": "credit", "amount": amount},
            ],
            **more,
        }
    )


def _posting(stack: Stack, url: str) -> Callable[[], bytes]:
    """Makes whole requests that post one entry each, under a key of its own."""
    token, chosen = stack.token(ORGANIZATION, ["controller"]), random.Random(1)
    host = url.removeprefix("http://")
    return lambda: post_request(host, "/api/v1/ledgers/main/entries", token, _body(chosen), str(new_id()))


def ahead(make: Callable[[], bytes], seconds: float) -> Callable[[], bytes]:
    """The same, with the requests of so many seconds made now."""
    made = deque(make() for _ in range(int(seconds * READY_PER_S)))
    return lambda: made.popleft() if made else make()


async def _http(report: Report, stack: Stack, used: Processors, url: str, name: str, runs: int, seconds: float) -> None:
    request = _posting(stack, url)
    loads: list[Load] = []
    idle: list[Load] = []
    await closed_loop(url, CONNECTIONS, 1.0, request)
    for _ in range(runs):
        ready = ahead(request, seconds)
        with used.run() as run:
            loads.append(await closed_loop(url, CONNECTIONS, seconds, ready))
            run.entries = len(loads[-1].latencies)
        idle.append(await closed_loop(url, 1, seconds / 2, ahead(request, seconds / 10)))
    for load in (*loads, *idle):
        assert set(load.statuses) == {201}, load.statuses
    report.add(f"{name}, {CONNECTIONS} connections", [load.per_s for load in loads], "requests/s")
    for share in (0.5, 0.99, 0.999):
        report.add(f"{name}, p{100 * share:g}", [load.percentile_ms(share) for load in loads], "ms")
    report.add(f"{name}, one connection, p50", [load.percentile_ms(0.5) for load in idle], "ms")
    used.tell(report, name)


async def _beside_export(report: Report, stack: Stack, url: str, runs: int, seconds: float) -> None:
    """The same load alone and beside exports of the whole log, one after another, at the ledger; in turn."""
    request = _posting(stack, url)
    await closed_loop(url, CONNECTIONS, seconds, request)
    alone, beside, exported = [], [], []
    for _ in range(runs):
        alone.append((await closed_loop(url, CONNECTIONS, seconds, ahead(request, seconds))).per_s)
        brought: list[int] = []
        ready = ahead(request, seconds)
        exporting = asyncio.create_task(_export(stack, url, brought))
        beside.append((await closed_loop(url, CONNECTIONS, seconds, ready)).per_s)
        exporting.cancel()
        [read] = await asyncio.gather(exporting, return_exceptions=True)
        exported.append(sum(brought) / seconds / 1024**2)
        assert isinstance(read, asyncio.CancelledError), read
    quiet = report.add("posting alone", alone, "requests/s")
    report.add("posting beside exports of the log", beside, "requests/s", quiet.value)
    report.add("exported meanwhile", exported, "MiB/s")


async def _export(stack: Stack, url: str, brought: list[int]) -> None:
    """Exports until it is cancelled; `brought` gets the lengths of what came, bytes."""
    async with aiohttp.ClientSession(url, headers=_controller(stack)) as session:
        while True:
            async with session.get("/api/v1/ledgers/main/export/ndjson") as answer:
                assert answer.status == 200, await answer.text()
                async for piece in answer.content.iter_any():
                    brought.append(len(piece))  # noqa: PERF401 - what came before a cancellation counts


async def kafka_requests(
    report: Report, stack: Stack, used: Processors, runs: int, count: int = KAFKA_REQUESTS
) -> Figure:
    """From the first request in the topic to the last answer: the topic is filled while the ledger works."""
    kafka = KafkaSettings(stack.bootstrap)
    publisher = Publisher(kafka, name="bench")
    await publisher.start()
    figures = []
    for _ in range(runs):
        consumer = kafka.consumer("bench", None)
        await consumer.start()
        partitions = await _partitions(consumer, "ledger.answers.v1")
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        messages = _requests(count)
        with used.run() as run:
            started = time.perf_counter()
            filling = asyncio.create_task(fill(publisher, messages))
            while run.entries < count:
                records = await consumer.getmany(timeout_ms=1_000, max_records=5_000)
                run.entries += sum(map(len, records.values()))
                late = time.perf_counter() - started > 120
                assert not late, f"{run.entries} of {count} answered in two minutes"
            figures.append(count / (time.perf_counter() - started))
        await filling
        await consumer.stop()
    await publisher.stop()
    figure = report.add("Kafka requests to their answers, one ledger", figures, "entries/s")
    used.tell(report, "Kafka requests")
    return figure


async def _partitions(consumer: Any, topic: str) -> list[Any]:
    from aiokafka import TopicPartition

    await consumer._client.add_topic(topic)
    found = consumer.partitions_for_topic(topic)
    assert found, f"{topic} does not exist"
    return [TopicPartition(topic, partition) for partition in sorted(found)]


def _requests(count: int) -> list[Message]:
    chosen, key = random.Random(1), str(ledger_id(ORGANIZATION, "main")).encode()
    messages = []
    for _ in range(count):
        id_ = str(new_id())
        value = _body(chosen, organization=ORGANIZATION, ledger="main", idempotency_key=id_, document=f"pay/{id_}")
        headers = cloud_event_headers("ledger.entry-wanted.v1", "bench", id_, now())
        messages.append(Message("ledger.requests.v1", key, value, headers))
    return messages


async def fill(publisher: Publisher, messages: list[Message]) -> None:
    for first in range(0, len(messages), 1_000):
        await publisher.publish(messages[first : first + 1_000])


async def _bulk(report: Report, stack: Stack, used: Processors, runs: int) -> None:
    figures = []
    for _ in range(runs):
        lines = [_body(random.Random(no)) + b"\n" for no in range(1_000)] * (BULK_ENTRIES // 1_000)

        async def body(lines: list[bytes] = lines) -> AsyncIterator[bytes]:
            for first in range(0, len(lines), 200):
                yield b"".join(lines[first : first + 200])

        headers = {**_controller(stack), "Content-Type": "application/x-ndjson", "Idempotency-Key": str(new_id())}
        path = "/api/v1/ledgers/main/entries/bulk?mode=each"
        timeout = aiohttp.ClientTimeout(total=None)
        with used.run() as run:
            started, run.entries = time.perf_counter(), BULK_ENTRIES
            async with (
                aiohttp.ClientSession(stack.gateway, headers=headers, timeout=timeout) as session,
                session.post(path, data=body()) as answer,
            ):
                posted = (await answer.read()).count(b'"status":"posted"')
            figures.append(BULK_ENTRIES / (time.perf_counter() - started))
        assert posted == BULK_ENTRIES, f"{posted} of {BULK_ENTRIES} were posted"
    report.add("NDJSON bulk through the gateway", figures, "entries/s")
    used.tell(report, "NDJSON bulk")


async def verify(stack: Stack) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(stack.gateway, headers=_controller(stack), timeout=timeout) as session,
        session.get("/api/v1/ledgers/main/verify") as answer,
    ):
        assert answer.status == 200, f"no proof: {answer.status} {await answer.text()}"
        proof = await answer.json()
        assert proof["ok"], proof
        print(f"the books verify through sequence {proof['checked_through']}")
