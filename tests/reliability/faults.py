"""What a round does to the running stack, and how it waits until the stack is whole again.

ledger, gateway, postgres, kafka    kill -9; the supervisor starts the part again at its address
ledger-stall                        SIGSTOP for some seconds, then SIGCONT: a process that lives and does nothing
payments                            kill -9 of every part on a payment's way, in one round (payment_rounds.py)
restored                            a backup of invoicing's database put back in the middle of payments (restoring.py)
first-of-two, second-of-two         a second ledger on the same database and in the same Kafka group, clients at
                                    both; the stack's own or the other one is killed and started again
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.cli.session import Stack
from libs.devstack import ports, services
from libs.devstack.stack import log_path, stack_status

KILLED = ("ledger", "gateway", "postgres", "kafka")
STALL, FIRST_OF_TWO, SECOND_OF_TWO = "ledger-stall", "first-of-two", "second-of-two"
PAYMENTS, RESTORED = "payments", "restored"
PARTS = (*KILLED, STALL, FIRST_OF_TWO, SECOND_OF_TWO, PAYMENTS, RESTORED)
SUPERVISED = (*KILLED, "invoicing")

RESTART_TIME_LIMIT_S = 90.0
STALL_S = (3.0, 6.0)
_LOOK_EVERY_S = 0.05
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the clients ask meanwhile; `strike` returns when everything runs again, and says what it did."""

    urls: Sequence[str]
    strike: Callable[[], Awaitable[str]]


@asynccontextmanager
async def staged(part: str, stack: Stack, chosen: random.Random) -> AsyncIterator[Scene]:
    """The scene for a fault; what it started itself is stopped in the end."""
    if part == STALL:
        yield Scene([stack.gateway], lambda: _stall(stack, chosen.uniform(*STALL_S)))
    elif part in (FIRST_OF_TWO, SECOND_OF_TWO):
        async with _second_ledger(stack) as second:
            ledger_url: str = stack_status(stack.data_dir)["ledger"]["url"]
            strike = second.kill_and_start_again if part == SECOND_OF_TWO else lambda: kill(stack, "ledger")
            yield Scene([ledger_url, second.url], strike)
    else:
        yield Scene([stack.gateway], lambda: kill(stack, part))


async def kill(stack: Stack, part: str) -> str:
    """kill -9, and wait until the supervisor has it running and ready again."""
    pid = _pid(stack, part)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while not await asyncio.to_thread(_runs_again, stack, part, pid):
        assert time.monotonic() - began < RESTART_TIME_LIMIT_S, f"{part} was not started again"
        await asyncio.sleep(_LOOK_EVERY_S)
    return f"{part} killed, back after {time.monotonic() - began:.1f} s"


async def _stall(stack: Stack, seconds: float) -> str:
    pid = _pid(stack, "ledger")
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    return f"ledger stopped for {seconds:.1f} s"


def pids(stack: Stack) -> dict[str, int]:
    """The process id of every part that the supervisor runs."""
    status = stack_status(stack.data_dir)
    return {part: status[part]["pid"] for part in SUPERVISED}


def may_end(part: str) -> set[str]:
    """Which parts a fault of `part` ends; all others have to live through it."""
    return {"ledger"} if part == FIRST_OF_TWO else {part}


def _pid(stack: Stack, part: str) -> int:
    return pids(stack)[part]


def _environment(pid: int) -> dict[str, str]:
    """What a running process was started with."""
    words = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def _runs_again(stack: Stack, part: str, old_pid: int) -> bool:
    entry: dict[str, Any] = stack_status(stack.data_dir).get(part, {})
    return bool(entry.get("pid", old_pid) != old_pid and entry.get("ready", True))


class _SecondLedger:
    """A ledger process beside the stack's own: the same settings, another port and another name in the group."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._port = ports.free_port()
        self._child: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self._port}"

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        settings = _environment(_pid(self._stack, "ledger"))
        settings["LEDGERBUS_HTTP_PORT"] = str(self._port)
        settings["LEDGERBUS_LEDGER_MEMBER"] = "ledger-2"
        settings["LEDGERBUS_LEDGER_MEMBER"] = "ledger-2"
        settings["LEDGERBUS_SPAN_FILE"] = str(self._stack.data_dir / "spans" / "ledger-2.jsonl")
        with log_path(self._stack.data_dir, "ledger-2").open("ab") as sink:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.ledger.main", cwd=_ROOT, env=settings, stdout=sink, stderr=sink
            )
        began = time.monotonic()
        while not await services.is_ready(self._port):
            assert self._child.returncode is None, "the second ledger ended while starting; its log tells why"
            assert time.monotonic() - began < RESTART_TIME_LIMIT_S, "the second ledger did not become ready"
            await asyncio.sleep(_LOOK_EVERY_S)

    async def kill_and_start_again(self) -> str:
        """kill -9 and a new start."""
        assert self._child is not None
        began = time.monotonic()
        self._child.kill()
        await self._child.wait()
        await self.start()
        return f"second ledger killed, back after {time.monotonic() - began:.1f} s"

    async def stop(self) -> None:
        """Ends it in order."""
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            await self._child.wait()


@asynccontextmanager
async def _second_ledger(stack: Stack) -> AsyncIterator[_SecondLedger]:
    second = _SecondLedger(stack)
    try:
        await second.start()
        yield second
    finally:
        await second.stop()
