"""Many entries as one NDJSON stream: lines in, results out in the same order, in constant memory.

    bytes -> lines -> wishes -> the writer's queue (at most WINDOW of them) -> results -> spool -> bytes

Each line stands on its own: a bad one is answered on its line and the rest goes on. Reading and answering are two tasks
with a spool between them, because many clients read nothing before they have sent everything: what they do not take yet
waits in memory up to `SPOOL_MEMORY_BYTES` and in a temporary file beyond. Line n's key is "<Idempotency-Key>/n".
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import IO, Any

import orjson
from pydantic import TypeAdapter, ValidationError

from libs.common import metrics
from libs.common.clock import new_id
from libs.common.errors import Fault, Problem, Rejection, Transient
from libs.common.journal import EntryRequest
from libs.common.json_text import parse_json
from libs.common.problems import faults_of
from services.ledger import commands
from services.ledger.commands import Asker, Books, Wish, fingerprint_of
from services.ledger.deciding import Outcome
from services.ledger.state import Ledger

WINDOW = 4_000
LINE_BYTES_MAX = 1024 * 1024
SPOOL_MEMORY_BYTES = 4 * 1024 * 1024
RESULTS_AT_ONCE = 500


@dataclass(slots=True)
class Spool:
    """Bytes on their way out, in order; beyond some memory they wait in a file."""

    _memory: deque[bytes] = field(default_factory=deque)
    _memory_bytes: int = 0
    _file: IO[bytes] | None = None
    _read_at: int = 0
    _written: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False
    _error: BaseException | None = None

    def put(self, piece: bytes) -> None:
        """Adds bytes behind those that wait."""
        if self._file is None and self._memory_bytes + len(piece) > SPOOL_MEMORY_BYTES:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        if self._file is not None:
            self._file.seek(self._written)
            self._file.write(piece)
            self._written += len(piece)
        else:
            self._memory.append(piece)
            self._memory_bytes += len(piece)
        self._changed.set()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes."""
        self._ended, self._error = True, error
        self._changed.set()

    def close(self) -> None:
        """Lets the file go."""
        if self._file is not None:
            self._file.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was put in, as it comes."""
        while True:
            if self._memory:
                piece = self._memory.popleft()
                self._memory_bytes -= len(piece)
                yield piece
            elif self._file is not None and self._read_at < self._written:
                self._file.seek(self._read_at)
                piece = self._file.read(256 * 1024)
                self._read_at += len(piece)
                yield piece
            elif self._ended:
                if self._error is not None:
                    raise self._error
                return
            else:
                self._changed.clear()
                await self._changed.wait()


@dataclass(slots=True)
class _Waiting:
    """A line that was queued, or that was answered at once."""

    index: int
    wish: Wish | None
    future: "asyncio.Future[Outcome] | None"
    refusal: Rejection | None = None


@dataclass(slots=True)
class Postings:
    """Wishes on their way through one ledger's queue; `told` gets their results in the order they were put in."""

    books: Books
    ledger: Ledger
    told: Callable[[list[dict[str, Any]]], Awaitable[None]]
    _waiting: deque[_Waiting] = field(default_factory=deque)

    async def put(self, index: int, wish: Wish) -> None:
        """Queues a wish; waits for the oldest results where too many are under way."""
        while len(self._waiting) >= WINDOW:
            await self._answer_some()
        while True:
            try:
                future = commands.enqueue(self.books, self.ledger, wish)
            except Transient:
                if self._waiting:
                    await self._answer_some()
                else:
                    await asyncio.sleep(0.05)
            else:
                self._waiting.append(_Waiting(index, wish, future))
                return

    async def refuse(self, index: int, refusal: Rejection) -> None:
        """A line that is answered without asking the ledger, at its place among the others."""
        while len(self._waiting) >= WINDOW:
            await self._answer_some()
        self._waiting.append(_Waiting(index, None, None, refusal))

    async def drain(self) -> None:
        """Waits until everything is answered."""
        while self._waiting:
            await self._answer_some()

    async def _answer_some(self) -> None:
        """Waits for the oldest line and answers it with all behind it that are done."""
        done: list[_Waiting] = []
        first = self._waiting[0]
        if first.future is not None:
            await asyncio.wait([first.future])
        while self._waiting and len(done) < RESULTS_AT_ONCE:
            waiting = self._waiting[0]
            if waiting.future is not None and not waiting.future.done():
                break
            done.append(self._waiting.popleft())
        await self.told(await self._results(done))

    async def _results(self, done: list[_Waiting]) -> list[dict[str, Any]]:
        decided = [
            (one, one.future.result(), one.wish)
            for one in done
            if one.future is not None and one.wish is not None and one.future.exception() is None
        ]
        replayed = [(outcome, wish) for _, outcome, wish in decided if not outcome.records]
        known = iter(
            await commands.answers(
                self.books, self.ledger, [outcome for outcome, _ in replayed], [wish for _, wish in replayed]
            )
        )
        results: dict[int, dict[str, Any]] = {}
        posted = 0
        for one, outcome, _ in decided:
            if outcome.records:
                posted += 1
                entry = outcome.records[-1].body["entry"]
                results[one.index] = {
                    "index": one.index, "status": "posted", "id": entry["id"], "sequence": outcome.sequence
                }  # fmt: skip
                continue
            answer = next(known)
            if answer.body is not None:
                results[one.index] = {
                    "index": one.index, "status": "posted", "id": answer.body["id"], "sequence": answer.sequence,
                    "replayed": True,
                }  # fmt: skip
            else:
                assert answer.rejection is not None
                results[one.index] = rejected_result(one.index, answer.rejection)
        metrics.LEDGER_TX.labels("entry", "posted").inc(posted)
        return [results.get(one.index) or _failed(one) for one in done]


async def answered_while_read(read: Callable[[Spool], Coroutine[Any, Any, None]]) -> AsyncIterator[bytes]:
    """Runs `read` as a task of its own and gives what it puts into the spool; ends it with the answer."""
    spool = Spool()
    reading = asyncio.create_task(read(spool), name="bulk")
    try:
        async with aclosing(spool.pieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        spool.close()


@dataclass(slots=True)
class BulkPosting:
    """One bulk request."""

    books: Books
    ledger: Ledger
    asker: Asker
    key: str | None
    traceparent: str | None
    model: TypeAdapter[EntryRequest]
    _index: int = 0

    def results(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Posts what comes in and gives the result lines."""
        return answered_while_read(lambda spool: self._read(body, spool))

    async def _read(self, body: AsyncIterator[bytes], spool: Spool) -> None:
        async def told(results: list[dict[str, Any]]) -> None:
            spool.put(b"".join(result_line(result) for result in results))

        postings = Postings(self.books, self.ledger, told)
        try:
            rest = b""
            async for piece in body:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    await self._take(line, postings)
                if len(rest) > LINE_BYTES_MAX:
                    raise Problem(413, "line-too-long", f"Line {self._index} is longer than {LINE_BYTES_MAX} bytes.")
            await self._take(rest, postings)
            await postings.drain()
        except Problem as problem:
            await postings.drain()
            failed = {"index": self._index, "status": "failed", "code": problem.code, "detail": problem.detail}
            spool.put(result_line(failed))
            spool.end()
        except BaseException as error:
            spool.end(error)
            raise
        else:
            spool.end()

    async def _take(self, line: bytes, postings: Postings) -> None:
        if not line.strip():
            return
        index, self._index = self._index, self._index + 1
        try:
            value = parse_json(line)
            wanted = self.model.validate_json(line)
        except Problem as problem:
            await postings.refuse(index, Rejection(problem.code, problem.detail, problem.facts, problem.errors))
            return
        except ValidationError as error:
            faults = faults_of(error.errors(include_url=False), value)
            refusal = Rejection("malformed", f"{faults[0].pointer} {faults[0].detail}.", {}, faults)
            await postings.refuse(index, refusal)
            return
        key = f"{self.key}/{index}" if self.key is not None else str(new_id())
        wish = Wish(self.asker, self.ledger.code, wanted, key, fingerprint_of(value), len(line), True, self.traceparent)
        await postings.put(index, wish)


def _failed(waiting: _Waiting) -> dict[str, Any]:
    if waiting.refusal is not None:
        return rejected_result(waiting.index, waiting.refusal)
    assert waiting.future is not None
    error = waiting.future.exception()
    if isinstance(error, Transient):
        return {"index": waiting.index, "status": "failed", "code": "unavailable", "detail": error.detail}
    return {"index": waiting.index, "status": "failed", "code": "internal", "detail": "The ledger could not post it."}


def rejected_result(index: int, rejection: Rejection) -> dict[str, Any]:
    """The result of a line that was refused."""
    return {
        "index": index,
        "status": "rejected",
        "code": rejection.code,
        "detail": rejection.detail,
        "facts": rejection.facts,
        "errors": [_fault(fault) for fault in rejection.errors],
    }


def _fault(fault: Fault) -> dict[str, str]:
    return {"pointer": fault.pointer, "detail": fault.detail}


def result_line(result: dict[str, Any]) -> bytes:
    """One line of the answer."""
    return orjson.dumps(result) + b"\n"
