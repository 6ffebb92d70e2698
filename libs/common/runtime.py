"""One process: its signals, its HTTP server, its named tasks, and the order in which all of it stops.

    SIGTERM, SIGINT, or a task that ends            1  readiness off (a load balancer looks elsewhere)
            |                                       2  HTTP: stop accepting, finish the requests in hand
            v                                       3  tasks: `stopping` is set; each finishes or rolls back its batch
      ordered stop, a time limit on each step       4  closers, in the order given: relay flushed, pools closed

A task that ends by itself before the stop, by a return or an exception, stops the process with exit code 1: a zombie
that answers health checks is worse than a crash. A second signal skips what is left of the waiting. uvicorn's own
signal handling is not used: its `serve` raises SIGTERM again when it returns, which would kill the tasks half-way.
"""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

import uvicorn
import uvloop

from libs.common import metrics
from libs.common.clock import monotonic_s
from libs.common.errors import Misconfigured, Transient
from libs.common.telemetry import get_logger

log = get_logger(__name__)

Stopping = asyncio.Event
"""Given to every task; set when it is to finish what it has in hand and return."""

Task = Callable[[Stopping], Coroutine[Any, Any, None]]
Closer = Callable[[], Awaitable[object]]

EXIT_CLEAN: Final = 0
EXIT_TASK_DIED: Final = 1
EXIT_MISCONFIGURED: Final = 2
EXIT_STOP_TIMED_OUT: Final = 3

GC_THRESHOLDS: Final = (50_000, 20, 50)
"""What is at work makes tens of thousands of objects that live as long as it does: look for cycles less often."""

_LAG_STEP_S: Final = 0.05
_LAG_WINDOW_S: Final = 1.0


class Readiness:
    """What /health/ready answers: named checks, all of which must hold. Nothing is ready before its first `set`."""

    def __init__(self, *names: str) -> None:
        self._checks: dict[str, tuple[bool, str]] = dict.fromkeys(names, (False, "starting"))
        self._stopping = False

    def set(self, name: str, ok: bool, reason: str = "") -> None:
        """Record a check; `reason` is a sentence for the operator and never holds a secret."""
        self._checks[name] = (ok, reason)

    def stop(self) -> None:
        """Not ready from now on, whatever the checks say."""
        self._stopping = True

    @property
    def ready(self) -> bool:
        """Whether every check holds and the process is not stopping."""
        return not self._stopping and all(ok for ok, _ in self._checks.values())

    def report(self) -> dict[str, dict[str, bool | str]]:
        """Check -> {"ready": bool, "detail": sentence}."""
        checks = dict(self._checks)
        if self._stopping:
            checks["process"] = (False, "stopping")
        return {name: {"ready": ok, "detail": detail} for name, (ok, detail) in checks.items()}


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with an error instead of SystemExit where the port is taken."""

    async def serve_until_told(self) -> None:
        try:
            await self._serve()
        except SystemExit as exit_:
            raise Misconfigured(f"HTTP cannot listen on {self.config.host}:{self.config.port}: taken?") from exit_

    async def finish(self, serving: asyncio.Task[None]) -> None:
        self.should_exit = True
        await asyncio.wait([serving])


async def run(
    service: str,
    *,
    app: Any | None,
    host: str,
    port: int,
    tasks: Mapping[str, Task],
    closers: Sequence[tuple[str, Closer]] = (),
    readiness: Readiness,
    step_timeout_s: float = 15.0,
) -> int:
    """Run until a signal or until a task ends; gives the exit code (see EXIT_...).

    `app` is the ASGI application or None for a process without HTTP, `tasks` run beside it until their `stopping` is
    set, `closers` are named and awaited in order after all of them ended. Each step of the stop has `step_timeout_s`.
    """
    gc.freeze()  # what was built lives as long as the process
    gc.set_threshold(*GC_THRESHOLDS)
    stopping = Stopping()
    signals = _Signals()
    with signals:
        running: dict[str, asyncio.Task[None]] = {
            name: asyncio.create_task(task(stopping), name=f"{service}:{name}")
            for name, task in {"loop-lag": _watch_lag_of(service), **tasks}.items()
        }
        workers = list(running.values())
        steps: list[tuple[str, Closer]] = [("tasks", lambda: _end(stopping, workers)), *closers]
        if app is not None:
            server = _Server(_server_config(app, host, port, step_timeout_s))
            http = running["http"] = asyncio.create_task(server.serve_until_told(), name=f"{service}:http")
            steps.insert(0, ("http", lambda: server.finish(http)))
        first = asyncio.create_task(signals.first.wait())
        await asyncio.wait([first, *running.values()], return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        code = _why(service, running)
        readiness.stop()
        for name, step in steps:
            code = await _step(service, name, step, step_timeout_s, signals) or code
        await _cancel(running.values())
    log.info("stopped", service=service, exit_code=code)
    return code


def main(start: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """The last line of every main.py: run `start` on uvloop and end the process with its exit code.

    Misconfigured ends it with one sentence and code 2, Transient (no database yet) with one sentence and code 1: a
    supervisor starts it again after the second, not after the first.
    """
    try:
        code = uvloop.run(start())
    except Misconfigured as error:
        log.critical("misconfigured", error=str(error))
        raise SystemExit(EXIT_MISCONFIGURED) from None
    except Transient as error:
        log.critical("cannot-start-yet", error=str(error))
        raise SystemExit(EXIT_TASK_DIED) from None
    raise SystemExit(code)


class _Signals:
    """SIGTERM and SIGINT: the first asks for the ordered stop, a second skips what is left of the waiting."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear, number)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def _hear(self, number: signal.Signals) -> None:
        log.info("signal", name=number.name)
        (self.second if self.first.is_set() else self.first).set()


def _server_config(app: Any, host: str, port: int, step_timeout_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, int(step_timeout_s * 0.8)),
        backlog=4096,
    )


def _why(service: str, running: Mapping[str, asyncio.Task[None]]) -> int:
    """The exit code of what ended the run: nothing has ended by itself where a signal did."""
    code = EXIT_CLEAN
    for name, task in running.items():
        if task.done():
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Misconfigured):
                log.critical("misconfigured", service=service, task=name, error=str(error))
                return EXIT_MISCONFIGURED
            log.critical("task-died", service=service, task=name, exc_info=error)
            code = EXIT_TASK_DIED
    return code


async def _end(stopping: Stopping, workers: Sequence[asyncio.Task[None]]) -> None:
    alive = [worker for worker in workers if not worker.done()]
    stopping.set()
    if alive:
        await asyncio.wait(alive)
    for worker in alive:
        worker.result()


async def _step(service: str, name: str, step: Closer, limit_s: float, signals: _Signals) -> int:
    """The exit code of one step of the stop. A failed step is told and does not keep the next from running."""
    started_s = monotonic_s()
    work = asyncio.ensure_future(step())
    hurry = asyncio.create_task(signals.second.wait())
    await asyncio.wait([work, hurry], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    took_ms = round((monotonic_s() - started_s) * 1000)
    if not work.done():
        await _cancel([work])
        log.error("stop-step-timed-out", service=service, step=name, duration_ms=took_ms)
        return EXIT_STOP_TIMED_OUT
    if error := work.exception():
        log.error("stop-step-failed", service=service, step=name, exc_info=error)
        return EXIT_TASK_DIED
    log.info("stop-step", service=service, step=name, duration_ms=took_ms)
    return EXIT_CLEAN


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what still runs; one second for the clean-up, then it is left to the process's end."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=1)


def _watch_lag_of(service: str) -> Task:
    gauge = metrics.EVENT_LOOP_LAG_MS.labels(service)

    async def watch(stopping: Stopping) -> None:
        worst_s, window_s = 0.0, monotonic_s()
        while not stopping.is_set():
            slept_s = monotonic_s()
            await asyncio.sleep(_LAG_STEP_S)
            woke_s = monotonic_s()
            worst_s = max(worst_s, woke_s - slept_s - _LAG_STEP_S)
            if woke_s - window_s >= _LAG_WINDOW_S:
                gauge.set(worst_s * 1000)
                worst_s, window_s = 0.0, woke_s

    return watch
