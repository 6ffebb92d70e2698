"""The writer: one queue and one cache per ledger, batches of whatever waits, one statement at a time.

    put -> queue -> prepare (load what is missing, decide each in memory) -> one statement -> answers

* Group commit never waits for company: a request that finds no statement under way goes alone and at once. Requests
  that arrive meanwhile form the next batch; a full one is decided while the statement before it is still committing.
* The cached accounts are true exactly while the ledger's sequence is the one last seen. Every load brings the sequence
  of its own snapshot; if it is neither the one before nor the one after the statement under way, another writer was
  here and the cache is dropped. A lost race writes nothing: drop, load, decide again; after a few in a row under the
  row lock.
* A connection that breaks in the statement leaves the outcome unknown: take the row lock (which waits for the ghost)
  and look whether the batch is there. Who waits longer than that is told 503 and finds the answer under its key.
* What the database refuses although the domain accepted it is a defect: the batch is tried again one by one, so that
  one request is answered 500 and the others stand.

Any number of writers may run for one ledger; the statement decides. At rest a ledger costs its cached accounts only.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context

import asyncpg

from libs.common import metrics
from libs.common.clock import Clock, monotonic_s
from libs.common.db import Connection, Pool, is_connection_error, transient
from libs.common.errors import Failure, Transient
from libs.common.telemetry import Span, get_logger, start_span
from services.ledger import loading, store
from services.ledger.deciding import Prepared, decide_in_slices
from services.ledger.domain import ALONE, EXCLUSIVE
from services.ledger.queued import Limits, QueuedWish
from services.ledger.state import Ledger, LedgerState

log = get_logger(__name__)

LINKS_MAX = 100


class RefusedByGuard(Failure):
    """The database refused what the domain accepted: a defect in one of them; nothing was written."""


class LedgerWriter:
    """Decides and writes the requests of one ledger. `committed` is called after each commit that moved it."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        limits: Limits,
        committed: Callable[[Ledger], None],
    ) -> None:
        self.ledger = ledger
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._committed = committed
        self._waiting: deque[QueuedWish] = deque()
        self._in_hand: list[QueuedWish] = []
        self._state: LedgerState | None = None
        self._lost_races = 0
        self._rounds_under_lock = 0
        self._task: asyncio.Task[None] | None = None
        self._news: asyncio.Future[None] | None = None

    @property
    def cached_accounts(self) -> int:
        """How many accounts the cache holds."""
        return len(self._state.accounts) if self._state else 0

    @property
    def queue_length(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether requests wait or are being written."""
        return self._task is not None

    def put(self, wish: QueuedWish) -> None:
        """Queues a wish; raises Transient where the queue is full."""
        if len(self._waiting) >= self._limits.queue_requests:
            raise Transient("the ledger has more requests waiting than it takes")
        self._waiting.append(wish)
        if self._task is None:
            name = f"writer {self.ledger.organization}/{self.ledger.code}"
            self._task = asyncio.create_task(self._run(), name=name, context=Context())
        elif len(self._waiting) == self._limits.batch_requests:
            self._tell()

    def forget(self) -> None:
        """Drops the cache, where memory is wanted elsewhere; only while nothing is under way."""
        if not self.busy:
            self._state = None

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._task = None
            for wish in [*self._in_hand, *self._waiting]:
                _fail(wish, Transient("the ledger's writer stopped"))
            self._in_hand.clear()
            self._waiting.clear()

    async def _work(self) -> None:
        flight: tuple[Prepared[QueuedWish], asyncio.Task[bool]] | None = None
        while self._waiting or flight is not None:
            following: Prepared[QueuedWish] | None = None
            landed: Prepared[QueuedWish] | None = None
            self._in_hand = list(flight[0].wishes) if flight is not None else []
            if flight is None and (self._rounds_under_lock > 0 or isinstance(self._waiting[0].request, EXCLUSIVE)):
                await self._round_under_lock()
                continue
            if flight is not None:
                await self._landed_or_full(flight[1])
            if flight is None or self._full_batch_waits():
                following = await self._prepare(self._take(), flight[0] if flight else None)
            if flight is not None:
                landed, again = flight[0], await self._land(*flight)
                flight = None
                if again is not None:
                    self._state = None
                    self._put_back(again + (following.wishes if following else []))
                    continue
            if following is not None:
                flight = following, asyncio.create_task(self._store(following), name="ledger statement")
            if landed is not None:
                await asyncio.sleep(0)  # the statement that follows is sent before anybody is answered
                self._answer(landed)

    async def _landed_or_full(self, statement: asyncio.Task[bool]) -> None:
        """Until the statement has ended, or a full batch waits that can be decided meanwhile."""
        try:
            while not statement.done() and not self._full_batch_waits():
                self._news = asyncio.get_running_loop().create_future()
                statement.add_done_callback(self._tell)
                await self._news
        except asyncio.CancelledError:
            statement.cancel()
            raise

    def _tell(self, _: "asyncio.Task[bool] | None" = None) -> None:
        """Wakes who waits for a statement's end or a full batch."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _full_batch_waits(self) -> bool:
        return len(self._waiting) >= self._limits.batch_requests and not _goes_alone(self._waiting[0])

    def _take(self) -> list[QueuedWish]:
        """The next wishes, in order, within the bounds of a batch."""
        limits, waiting = self._limits, self._waiting
        wishes = [waiting.popleft()]
        lines, size = wishes[0].line_count, wishes[0].size
        while waiting and len(wishes) < limits.batch_requests and not _goes_alone(wishes[0]):
            lines, size = lines + waiting[0].line_count, size + waiting[0].size
            if lines > limits.batch_lines or size > limits.batch_bytes or _goes_alone(waiting[0]):
                break
            wishes.append(waiting.popleft())
        self._in_hand += wishes
        return wishes

    def _put_back(self, wishes: list[QueuedWish]) -> None:
        """In front of the queue, in order."""
        self._waiting.extendleft(reversed(wishes))

    def _once_more(self, wishes: list[QueuedWish]) -> list[QueuedWish]:
        """The wishes that are worth another try; who failed too often or waits too long is told to come again."""
        kept = []
        too_old_s = monotonic_s() - self._limits.patience_s
        for wish in wishes:
            wish.attempts += 1
            if wish.attempts > self._limits.attempts or wish.queued_s < too_old_s:
                _fail(wish, Transient("the ledger could not get this request through; send it again with its key"))
            else:
                kept.append(wish)
        return kept

    async def _prepare(
        self, wishes: list[QueuedWish], under_way: Prepared[QueuedWish] | None
    ) -> Prepared[QueuedWish] | None:
        """Loads and decides; None where that failed or has to wait, and the wishes are back in the queue."""
        try:
            return await self._load_and_decide(wishes, under_way)
        except Exception as error:
            self._state = None
            if transient(error):
                await asyncio.sleep(min(1.0, 0.02 * 2 ** wishes[0].attempts))
                self._put_back(self._once_more(wishes))
            elif len(wishes) == 1:
                log.exception("request-failed", organization=self.ledger.organization, ledger=self.ledger.code)
                _fail(wishes[0], error)
            else:
                for wish in wishes:
                    wish.alone = True
                self._put_back(wishes)
            return None

    async def _load_and_decide(
        self, wishes: list[QueuedWish], under_way: Prepared[QueuedWish] | None
    ) -> Prepared[QueuedWish] | None:
        state = self._state
        if state is None and under_way is not None:
            self._put_back(wishes)
            return None
        if state is None:
            state = self._state = LedgerState.unread(self.ledger)
        needs = loading.needs_of(state, wishes)
        if state.is_read and not needs:
            return await self._decide(state, wishes)
        if under_way is not None and (needs.codes & under_way.moves or needs.holds & under_way.held):
            self._put_back(wishes)
            return None
        async with self._pool.acquire() as connection:
            current = await self._load(connection, state, needs, under_way)
        if not current:
            waits = under_way is not None and needs.codes & under_way.moves
            self._state = state if waits else None
            self._put_back(wishes if waits else self._lost_race(wishes))
            return None
        if (fitting := loading.count_fitting(state, wishes, self._limits.batch_lines)) < len(wishes):
            self._put_back([wishes.pop() for _ in range(len(wishes) - fitting)][::-1])
        return await self._decide(state, wishes)

    async def _decide(self, state: LedgerState, wishes: list[QueuedWish]) -> Prepared[QueuedWish]:
        """Decides in slices: the statement under way is sent, and others are served, between them."""
        deciding = decide_in_slices(state, wishes, self._clock())
        while True:
            try:
                next(deciding)
            except StopIteration as decided:
                prepared: Prepared[QueuedWish] = decided.value
                return prepared
            await asyncio.sleep(0)

    async def _load(
        self, connection: Connection, state: LedgerState, needs: loading.Needs, under_way: Prepared[QueuedWish] | None
    ) -> bool:
        """Brings in what is needed; False where another writer, or the statement under way, moves it meanwhile."""
        await loading.load_facts(connection, state, needs)
        acceptable = {state.sequence} if under_way is None else {state.sequence, under_way.batch.expected}
        if needs.holds and not state.is_read:
            await loading.load_accounts(connection, state, set(), acceptable)
            acceptable = {state.sequence}
        if needs.holds and not await loading.load_holds(connection, state, needs, acceptable):
            return False
        if state.is_read and not needs.codes:
            return True
        if under_way is not None and needs.codes & under_way.moves:
            return False
        return await loading.load_accounts(connection, state, needs.codes, acceptable)

    async def _store(self, prepared: Prepared[QueuedWish]) -> bool:
        if not prepared.writes and not prepared.dry_runs:
            return True
        async with self._pool.acquire() as connection:
            if not prepared.writes:
                return await store.is_at(connection, self.ledger.no, prepared.batch.expected)
            return await self._write(connection, prepared)

    async def _write(self, connection: Connection, prepared: Prepared[QueuedWish]) -> bool:
        started_s = monotonic_s()
        with _batch_span(prepared):
            won = await store.write_batch(
                connection,
                self.ledger,
                prepared.batch,
                prepared.arguments,
                prepared.hash,
                prepared.recorded_at,
                self._limits.statement_s,
            )
        metrics.LEDGER_STATEMENT_DURATION_MS.observe((monotonic_s() - started_s) * 1000)
        return won

    async def _land(self, prepared: Prepared[QueuedWish], statement: asyncio.Task[bool]) -> list[QueuedWish] | None:
        """Waits for the statement; gives back the wishes to decide again, None if committed."""
        try:
            return await self._conclude(prepared, await statement, None)
        except asyncpg.PostgresError as error:
            return await self._conclude(prepared, False, error)
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            return await self._conclude(prepared, False, error)

    async def _conclude(
        self, prepared: Prepared[QueuedWish], won: bool, error: Exception | None
    ) -> list[QueuedWish] | None:
        """What a statement's end means for its wishes."""
        match error:
            case None if won:
                self._lost_races = 0
                return None
            case None:
                return self._lost_race(prepared.wishes)
            case asyncpg.UniqueViolationError():
                for wish in prepared.wishes:
                    wish.lookup = True
                return self._once_more(prepared.wishes)
            case asyncpg.IntegrityConstraintViolationError() | asyncpg.DataError() | asyncpg.SerializationError():
                return self._refused(prepared, error)
            case _ if is_connection_error(error):
                return await self._settle(prepared)
            case _ if transient(error):
                await asyncio.sleep(0.1)
                return self._once_more(prepared.wishes)
            case _:
                for wish in prepared.wishes:
                    _fail(wish, error)
                raise error

    def _lost_race(self, wishes: list[QueuedWish]) -> list[QueuedWish]:
        """Another writer was faster, while the wishes were decided or while their accounts were read."""
        metrics.LEDGER_SERIALIZATION_RETRIES.inc()
        self._lost_races += 1
        if self._lost_races >= self._limits.lost_races_before_lock:
            self._lost_races, self._rounds_under_lock = 0, self._limits.rounds_under_lock
        return wishes

    def _refused(self, prepared: Prepared[QueuedWish], error: Exception) -> list[QueuedWish]:
        """The database said no to a decided batch: find the request it says no to."""
        log.error("refused-by-guard", ledger=self.ledger.code, wishes=len(prepared.wishes), error=str(error))
        if len(prepared.wishes) == 1 and prepared.wishes[0].alone:
            _fail(prepared.wishes[0], RefusedByGuard(str(error)))
            return []
        for wish in prepared.wishes:
            wish.alone = True
        return prepared.wishes

    async def _settle(self, prepared: Prepared[QueuedWish]) -> list[QueuedWish] | None:
        """Finds out whether a batch of unknown outcome was committed."""
        deadline_s, pause_s = monotonic_s() + self._limits.unknown_outcome_s, 0.05
        while monotonic_s() < deadline_s:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await store.lock_ledger(connection, self.ledger.no)
                    if not await store.committed(connection, self.ledger.no, prepared.batch, prepared.hash):
                        return self._once_more(prepared.wishes)
            except Exception as error:
                if not is_connection_error(error):
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)
            else:
                return None
        for wish in prepared.wishes:
            _fail(wish, Transient("the database does not answer; send the request again with its key", 2))
        return []

    async def _round_under_lock(self) -> None:
        """One batch under the row lock, so that nobody starves while several processes write one ledger."""
        self._rounds_under_lock = max(0, self._rounds_under_lock - 1)
        wishes = self._take()
        prepared: Prepared[QueuedWish] | None = None
        failure: Exception | None = None
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                sequence = await store.lock_ledger(connection, self.ledger.no)
                state = self._state
                if state is None or state.sequence != sequence:
                    state = self._state = LedgerState.unread(self.ledger)
                await self._load(connection, state, loading.needs_of(state, wishes), None)
                prepared = await self._decide(state, wishes)
                if prepared.writes:
                    await self._write(connection, prepared)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            failure = error
        if prepared is None:
            self._state = None
            await asyncio.sleep(0.1)
            self._put_back(self._once_more(wishes))
            return
        again = await self._conclude(prepared, failure is None, failure)
        if again is None:
            self._answer(prepared)
        else:
            self._state = None
            self._put_back(again)

    def _answer(self, prepared: Prepared[QueuedWish]) -> None:
        """Tells every waiter what is committed now, and lets go of what only this batch had to know."""
        now_s = monotonic_s()
        metrics.LEDGER_BATCH_ENTRIES.observe(len(prepared.wishes))
        metrics.LEDGER_QUEUE_WAIT_MS.observe((now_s - prepared.wishes[0].queued_s) * 1000)
        for wish, outcome in zip(prepared.wishes, prepared.outcomes, strict=True):
            if not wish.answer.done():
                wish.answer.set_result(outcome)
        state = self._state
        if state is not None:
            for wish in prepared.wishes:
                state.requests.pop((wish.scope, wish.key), None)
            for entry_id in prepared.entry_ids:
                state.entries.pop(entry_id, None)
            for external_id in prepared.external_ids:
                state.external_ids.pop(external_id, None)
            state.to_reverse.clear()
            state.holds.clear()
            self._trim(state)
        if len(prepared.batch.log):
            self._committed(self.ledger)

    def _trim(self, state: LedgerState) -> None:
        """Halves a cache that is too large, oldest first; what is missing is loaded again when asked for."""
        if len(state.accounts) > self._limits.cached_accounts:
            for code in list(state.accounts)[: len(state.accounts) // 2]:
                del state.accounts[code]


def _goes_alone(wish: QueuedWish) -> bool:
    """What is decided on more than accounts and keys waits for everything before it."""
    return wish.alone or isinstance(wish.request, ALONE)


def _batch_span(prepared: Prepared[QueuedWish]) -> Span:
    """The statement in its request's own trace, or linked to those of the requests it writes together."""
    traces = [wish.traceparent for wish in prepared.wishes[:LINKS_MAX] if wish.traceparent is not None]
    own = traces[0] if len(prepared.wishes) == 1 and traces else None
    attributes: dict[str, str | int | bool] = {"ledgerbus.requests": len(prepared.wishes)}
    return start_span("write batch", traceparent=own, links=traces, attributes=attributes)


def _fail(wish: QueuedWish, error: Exception) -> None:
    if not wish.answer.done():
        wish.answer.set_exception(error)
