"""Keeps one real part (PostgreSQL, Kafka, or a whole stack) running for a whole test run, in a process of its own.

    python -m tests.support.keeper postgres|kafka|stack RUN_FOLDER PYTEST_PID

The first test that needs the part starts its keeper; all workers of the run share it through `<part>.json` in the run
folder. It stops when asked by SIGTERM, and by itself when pytest is gone, however pytest went.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from libs.devstack import backends
from libs.devstack.errors import StackError
from libs.devstack.stack import run_stack

PARTS = ("postgres", "kafka", "stack")


async def _keep(part: str, folder: Path, pytest_pid: int) -> None:
    asked = asyncio.Event()
    for reason in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(reason, asked.set)
    backend = backends.chosen(folder)
    try:
        address = await (backend.start_postgres() if part == "postgres" else backend.start_kafka())
        _publish(folder / f"{part}.json", {"backend": backend.name, "address": address})
        while not asked.is_set() and _is_alive(pytest_pid):
            try:
                await asyncio.wait_for(asked.wait(), 0.5)
            except TimeoutError:
                continue
    finally:
        await backend.stop()
        if not _is_alive(pytest_pid):
            _clear(part, folder)


async def _keep_stack(folder: Path, pytest_pid: int) -> None:
    """The services with a PostgreSQL and a Kafka of their own; the address is the stack's data folder."""
    books = folder / "stack"

    async def until_pytest_is_gone() -> None:
        _publish(folder / "stack.json", {"backend": "embedded", "address": str(books)})
        never = asyncio.Event()
        while _is_alive(pytest_pid):
            with suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), 0.5)
        signal.raise_signal(signal.SIGTERM)

    try:
        await run_stack(books, ready=lambda _: until_pytest_is_gone())
    finally:
        if not _is_alive(pytest_pid):
            _clear("stack", folder)


def _clear(part: str, folder: Path) -> None:
    """What pytest would have removed; the last keeper removes the run's folder."""
    shutil.rmtree(folder / part, ignore_errors=True)
    if not any((folder / other).exists() for other in PARTS):
        shutil.rmtree(folder, ignore_errors=True)


def _publish(path: Path, state: dict[str, str]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.rename(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Runs until the tests are over; a failed start is left in the part's JSON for every waiting test."""
    part, folder, pytest_pid = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    assert part in PARTS
    try:
        asyncio.run(_keep_stack(folder, pytest_pid) if part == "stack" else _keep(part, folder, pytest_pid))
    except StackError as failure:
        _publish(folder / f"{part}.json", {"error": str(failure)})
        raise SystemExit(1) from failure


if __name__ == "__main__":
    main()
