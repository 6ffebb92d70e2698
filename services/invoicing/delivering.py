"""Webhooks out: due deliveries sent, signed like Stripe's, tried again with backoff, given up after some days.

    claim what is due (leased, so that a process that dies lets go) -> send side by side -> store what each came to

A delivery is done by any answer from 200 to 299. Everything else is tried again: 10 s, 30 s, 90 s, ... at most 8 h
apart, `TRIES_MAX` times, and then it is dead, kept for a replay by hand. Redirects are not followed and the answer's
body is not read. An address that is not public is never connected to: the host's addresses are looked at where the
connection is made, so that a name cannot turn into one of ours between two looks. Receivers hear of an event at least
once and in any order; its id tells a repetition.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from libs.common import metrics
from libs.common.clock import Clock
from libs.common.db import Pool, transient
from libs.common.sealing import Sealer
from libs.common.telemetry import get_logger
from services.invoicing import delivery_store, webhook_secrets
from services.invoicing.delivery_store import DueDelivery, Tried
from services.invoicing.webhook_addresses import is_public, url_fault
from services.invoicing.webhook_signatures import sign

log = get_logger(__name__)

TRIES_MAX: Final = 14
FIRST_WAIT: Final = timedelta(seconds=10)
LONGEST_WAIT: Final = timedelta(hours=8)
LEASE: Final = timedelta(minutes=2)
TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 32
POLL_S: Final = 1.0

SIGNATURE_HEADER: Final = "LedgerBus-Signature"


class NotPublic(OSError):  # noqa: N818 - says what the address is
    """The host stands for an address that is not public."""


class PublicResolver(AbstractResolver):
    """Resolves host names and refuses those that stand for anything but public addresses."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of `host`. Raises NotPublic where one of them is not public."""
        found = await self._inner.resolve(host, port, family)
        for each in found:
            if not is_public(each["host"]):
                raise NotPublic(f"{host} is not the name of a public address")
        return found

    async def close(self) -> None:
        """Nothing is kept open."""
        await self._inner.close()


def wait_after(tries: int) -> timedelta:
    """How long after so many tries the next one is due."""
    factor: int = 3 ** min(tries - 1, 10)
    return min(LONGEST_WAIT, FIRST_WAIT * factor)


class Delivering:
    """Sends what is due. `run` is a task of the runtime; `pool` is the writer's."""

    def __init__(
        self, pool: Pool, clock: Clock, sealer: Sealer, *, private_allowed: bool = False, poll_s: float = POLL_S
    ) -> None:
        self._pool, self._clock, self._sealer = pool, clock, sealer
        self._private_allowed, self._poll_s = private_allowed, poll_s
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """There is something due: call it after the commit."""
        self._awake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until `stopping` is set. A database that is away is waited for."""
        while not stopping.is_set():
            sent = 0
            try:
                sent = await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("deliveries-wait", error=str(error) or repr(error))
            if sent < AT_ONCE:
                await self._sleep(stopping)

    async def step(self) -> int:
        """One round: gives how many deliveries were tried."""
        self._awake.clear()
        async with self._pool.acquire() as connection:
            due = await delivery_store.claim_due(connection, self._clock(), LEASE, AT_ONCE)
        if not due:
            return 0
        connector = aiohttp.TCPConnector(
            limit=AT_ONCE, resolver=None if self._private_allowed else PublicResolver(), force_close=True
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
            tried = await asyncio.gather(*(self._send(session, each) for each in due))
        async with self._pool.acquire() as connection:
            await delivery_store.store_tries(connection, tried, self._clock())
        _count(tried)
        return len(due)

    async def _send(self, session: aiohttp.ClientSession, due: DueDelivery) -> Tried:
        at = self._clock()
        fault = url_fault(due.url, private_allowed=self._private_allowed)
        status = None
        if fault is None:
            async with self._pool.acquire() as connection:
                secrets = await webhook_secrets.at(connection, self._sealer, due.organization, due.target, at)
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "LedgerBus-Webhooks",
                SIGNATURE_HEADER: sign(secrets, int(at.timestamp()), due.body),
            }
            try:
                async with session.post(due.url, data=due.body, headers=headers, allow_redirects=False) as answer:
                    status = answer.status
                    fault = None if 200 <= status < 300 else f"answered {status}"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                fault = str(error)[:500] or repr(error)[:500]
        return _tried(due, at, status, fault)

    async def _sleep(self, stopping: asyncio.Event) -> None:
        """Until woken, told to stop, or the time is over."""
        waits = [asyncio.create_task(self._awake.wait()), asyncio.create_task(stopping.wait())]
        await asyncio.wait(waits, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
            with suppress(asyncio.CancelledError):
                await wait


def _tried(due: DueDelivery, at: datetime, status: int | None, fault: str | None) -> Tried:
    if fault is None:
        return Tried(due.organization, due.id, "delivered", at, status, None)
    state = "dead" if due.tries >= TRIES_MAX else "waiting"
    return Tried(due.organization, due.id, state, at + wait_after(due.tries), status, fault.replace("\0", ""))


def _count(tried: Sequence[Tried]) -> None:
    for each in tried:
        outcome = "failed" if each.state == "waiting" else each.state
        metrics.INVOICING_WEBHOOK_DELIVERIES.labels(outcome).inc()
        if each.fault is not None:
            log.warning("webhook-not-delivered", delivery=str(each.id), outcome=outcome, fault=each.fault)
