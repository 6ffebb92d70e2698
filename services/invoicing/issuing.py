"""Invoices that arrive together are committed together: a queue before `make_invoices`, one commit for what is in it.

    ask(wish) -> queue -> (one batch at a time) claim the keys, make the invoices, keep the answers, commit -> answers

The numbers of a batch are drawn under their series' lock and released by one commit, so issuing does not wait for a
disk write each time. Who asks again as soon as it is answered comes when the next batch has just begun, so that half of
them would always miss it: after a batch of several, the next waits a moment until as many are there. Two wishes of one
key in one batch: the second goes to the next and is told the first one's answer. What the database refuses by a guard
is tried one by one, so that one wish cannot spoil the others.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import asyncpg

from libs.common.clock import Clock
from libs.common.db import Pool, transaction, transient
from libs.common.errors import Transient
from libs.common.sealing import Sealer
from services.invoicing import request_store
from services.invoicing.asking import Outcome, Wish, keep, outcome_of, recall, refused_by_guard
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.invoices import make_invoices

BATCH_MAX: Final = 200
QUEUE_MAX: Final = 5_000
LINGER_S: Final = 0.01
"""How long a batch waits for as many as the one before had; one that was alone waits for nobody."""


class _Queued(NamedTuple):
    wish: Wish
    invoice: InvoiceWish
    answer: "asyncio.Future[Outcome]"


class IssueQueue:
    """`ask` from any number of requests at once; batches are written by one task that lives while there is work."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        sealer: Sealer,
        *,
        wake: Callable[[], None] = lambda: None,
        batch_max: int = BATCH_MAX,
        linger_s: float = LINGER_S,
    ) -> None:
        self._pool, self._clock, self._sealer, self._wake = pool, clock, sealer, wake
        self._batch_max, self._linger_s = batch_max, linger_s
        self._queue: list[_Queued] = []
        self._writing: asyncio.Task[None] | None = None
        self._company, self._wanted, self._gathered = 0, 0, asyncio.Event()

    async def ask(self, wish: Wish, invoice: InvoiceWish) -> Outcome:
        """The one answer to a wish. Raises Transient where the database is away or too much waits."""
        if len(self._queue) >= QUEUE_MAX:
            raise Transient("more invoices wait than can be issued now", retry_after_s=1)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(wish, invoice, answer))
        if len(self._queue) >= self._wanted:
            self._gathered.set()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await answer

    async def _write(self) -> None:
        while self._queue:
            await self._gather()
            batch = self._take()
            self._company = len(batch) + len(self._queue)
            try:
                await self._answer(batch)
            except BaseException as error:
                _fail(batch, error)
                if not isinstance(error, Exception):
                    _fail(self._queue, error)
                    raise
            self._wake()

    async def _gather(self) -> None:
        """Those who were answered just now ask again in a moment: their wishes are written with those that wait."""
        self._wanted = min(self._company, self._batch_max)
        if len(self._queue) < self._wanted:
            self._gathered.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gathered.wait(), self._linger_s)

    def _take(self) -> list[_Queued]:
        """The next batch: of several wishes with one key the first."""
        batch: list[_Queued] = []
        later: list[_Queued] = []
        keys = set()
        for queued in self._queue:
            name = queued.wish.claim[:3]
            if len(batch) < self._batch_max and name not in keys:
                keys.add(name)
                batch.append(queued)
            else:
                later.append(queued)
        self._queue = later
        return batch

    async def _answer(self, batch: Sequence[_Queued]) -> None:
        try:
            outcomes = await self._commit(batch)
        except (asyncpg.CheckViolationError, asyncpg.UniqueViolationError) as error:
            if len(batch) > 1:
                for queued in batch:
                    await self._alone(queued)
                return
            outcomes = [outcome_of(refused_by_guard(error))]
        for queued, outcome in zip(batch, outcomes, strict=True):
            if not queued.answer.done():
                queued.answer.set_result(outcome)

    async def _alone(self, queued: _Queued) -> None:
        try:
            await self._answer([queued])
        except Exception as error:  # noqa: BLE001 - it is this wish's answer, the others are not concerned
            _fail([queued], error)

    async def _commit(self, batch: Sequence[_Queued]) -> list[Outcome]:
        now = self._clock()
        async with transaction(self._pool) as connection:
            known = await request_store.claim(connection, [queued.wish.claim for queued in batch], now)
            fresh = [queued for queued in batch if known[queued.wish.claim] is None]
            made = await make_invoices(connection, self._sealer, [queued.invoice for queued in fresh], now)
            outcomes = {queued.wish.claim: outcome_of(done) for queued, done in zip(fresh, made, strict=True)}
            await keep(connection, [(queued.wish, outcomes[queued.wish.claim]) for queued in fresh])
        for queued in batch:
            kept = known[queued.wish.claim]
            if kept is not None:
                outcomes[queued.wish.claim] = recall(kept, queued.wish)
        return [outcomes[queued.wish.claim] for queued in batch]


def _fail(batch: Sequence[_Queued], error: BaseException) -> None:
    """Every wish of a batch hears why there is no answer; what passes is worth another try."""
    told = error
    if isinstance(error, Exception) and transient(error):
        told = Transient("the database could not do it now; ask again with the same key")
    for queued in batch:
        if not queued.answer.done():
            if isinstance(told, Exception):
                queued.answer.set_exception(told)
            else:
                queued.answer.cancel()
