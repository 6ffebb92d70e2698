"""The process from outside: real signals, real tasks that die, the order of the stop, and its exit code."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from libs.common.runtime import Readiness
from libs.devstack import ports


class Child:
    def __init__(self, running: asyncio.subprocess.Process, port: int) -> None:
        self.running = running
        self.url = f"http://127.0.0.1:{port}"

    async def answers(self, path: str = "/") -> str:
        """The answer, waiting for the server to listen."""
        async with aiohttp.ClientSession() as client, asyncio.timeout(20):
            while True:
                try:
                    async with client.get(self.url + path) as response:
                        return await response.text()
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)

    async def ended(self, limit_s: float = 20) -> tuple[int, list[str]]:
        """Exit code and what it said itself (not its log)."""
        async with asyncio.timeout(limit_s):
            output, _ = await self.running.communicate()
        assert self.running.returncode is not None
        return self.running.returncode, [line for line in output.decode().splitlines() if not line.startswith("{")]


@asynccontextmanager
async def child(*arguments: str, port: int | None = None) -> AsyncIterator[Child]:
    port = port or ports.free_port()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.common.runtime_child", str(port), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Child(running, port)
    finally:
        if running.returncode is None:
            running.kill()
            await running.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_in_order_and_cleanly(number: signal.Signals) -> None:
    async with child("worker=reader:slow", "closer=relay:waits", "closer=pool:waits") as process:
        assert await process.answers() == "ready"
        process.running.send_signal(number)
        code, said = await process.ended()
    assert code == 0
    assert said == ["reader begins", "reader ends", "relay closed, ready: False", "pool closed, ready: False"]


async def test_requests_in_hand_are_answered() -> None:
    async with child("worker=reader:waits") as process:
        await process.answers()
        slow = asyncio.create_task(process.answers("/slow"))
        await asyncio.sleep(0.2)
        process.running.terminate()
        assert await slow == "not ready"
        assert (await process.ended())[0] == 0


@pytest.mark.parametrize("behaviour", ["dies", "returns"])
async def test_a_task_that_ends_stops_the_process(behaviour: str) -> None:
    async with child(f"worker=relay:{behaviour}", "worker=reader:waits", "closer=pool:waits") as process:
        code, said = await process.ended()
    assert code == 1
    assert sorted(said) == ["pool closed, ready: False", "reader begins", "reader ends", "relay begins"]


async def test_a_misconfigured_task_is_told_apart() -> None:
    async with child("worker=reader:misconfigured") as process:
        assert (await process.ended())[0] == 2


async def test_a_taken_port_is_misconfigured_and_ends_the_others() -> None:
    async with child("worker=reader:waits") as first:
        await first.answers()
        async with child("worker=reader:waits", port=int(first.url.rpartition(":")[2])) as second:
            code, said = await second.ended()
    assert (code, said) == (2, ["reader begins", "reader ends"])


async def test_a_step_that_hangs_is_left_after_its_limit() -> None:
    async with child("worker=reader:stuck", "closer=relay:stuck", "closer=pool:waits", "limit=0.5") as process:
        await process.answers()
        process.running.terminate()
        code, said = await process.ended(limit_s=10)
    assert code == 3
    assert said == ["reader begins", "pool closed, ready: False"]


async def test_a_step_that_fails_does_not_keep_the_next_from_running() -> None:
    async with child("worker=reader:fails", "closer=relay:fails", "closer=pool:waits") as process:
        await process.answers()
        process.running.terminate()
        code, said = await process.ended()
    assert code == 1
    assert said == ["reader begins", "pool closed, ready: False"]


async def test_a_second_signal_skips_the_waiting() -> None:
    async with child("worker=reader:stuck", "closer=pool:waits", "limit=600") as process:
        await process.answers()
        process.running.terminate()
        await asyncio.sleep(0.5)
        process.running.terminate()
        code, _ = await process.ended(limit_s=10)
    assert code == 3


async def test_a_blocked_loop_shows_in_its_lag() -> None:
    async with child("worker=reader:blocks") as process:
        async with asyncio.timeout(20):
            while True:
                page = await process.answers("/metrics")
                lines = [line for line in page.splitlines() if line.startswith('event_loop_lag_ms{service="child"}')]
                if lines and float(lines[0].split()[1]) > 300:
                    break
                await asyncio.sleep(0.1)


def test_readiness_needs_every_check() -> None:
    readiness = Readiness("database", "kafka")
    seen = [readiness.ready]
    for name, ok in (("database", True), ("kafka", True), ("kafka", False)):
        readiness.set(name, ok, "" if ok else "no broker answers")
        seen.append(readiness.ready)
    assert seen == [False, False, True, False]
    assert readiness.report() == {
        "database": {"ready": True, "detail": ""},
        "kafka": {"ready": False, "detail": "no broker answers"},
    }
    assert Readiness("kafka").report() == {"kafka": {"ready": False, "detail": "starting"}}


def test_a_process_that_stops_is_not_ready() -> None:
    readiness = Readiness()
    readiness.set("database", True)
    readiness.stop()
    assert not readiness.ready
    assert readiness.report()["process"] == {"ready": False, "detail": "stopping"}
