"""The local stack as the command line uses it: run, start detached, stop, ask, empty.

python -m libs.devstack.stack DATA_FOLDER      runs it in the foreground
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from libs.devstack import services
from libs.devstack.errors import FolderInUseError, StackError, StartError
from libs.devstack.folder import StackFolder
from libs.devstack.services import SERVICES, ServiceSpec
from libs.devstack.supervisor import Supervisor

_DETACHED_TIME_LIMIT_S = 600.0
_STOP_TIME_LIMIT_S = 150.0
_TOLD_LINES = 20

Ready = Callable[[Mapping[str, Any]], Any]


def default_data_dir() -> Path:
    """LEDGERBUS_DATA, else `.ledgerbus` in the current folder."""
    return Path(os.environ.get("LEDGERBUS_DATA") or ".ledgerbus")


def dev_issuer_path(data_dir: Path) -> Path:
    """The private key (PEM, mode 0600) that signs development tokens of this stack."""
    return StackFolder(data_dir).dev_issuer


def signing_key_path(data_dir: Path) -> Path:
    """The keys that the stack's ledger signs chain heads with."""
    return StackFolder(data_dir).signing_key


def sealing_keys_path(data_dir: Path) -> Path:
    """The keys that the stack's invoicing seals personal data with."""
    return StackFolder(data_dir).sealing_keys


def log_path(data_dir: Path, name: str) -> Path:
    """The log file of one part: postgres, kafka, supervisor or a service's name."""
    return StackFolder(data_dir).log(name)


async def run_stack(
    data_dir: Path, *, ready: Ready | None = None, quiet: bool = False, specs: Sequence[ServiceSpec] = SERVICES
) -> None:
    """Runs everything until SIGINT, SIGTERM or SIGHUP, then stops it in order.

    `ready` is called once with the status when everything is ready; when it returns an awaitable, that runs beside
    the watching, and its exception ends the stack. Raises StackError (after stopping what was started) with a way out.
    """
    folder = StackFolder(data_dir)
    with folder.held():
        supervisor = Supervisor(folder, specs, _silent if quiet else _print)
        work = asyncio.ensure_future(_work(supervisor, ready))
        with _cancelled_by_signals(work):
            try:
                await asyncio.wait([work])
            finally:
                work.cancel()
                await asyncio.wait([work])
                await supervisor.stop()
        if not work.cancelled():
            work.result()


async def _work(supervisor: Supervisor, ready: Ready | None) -> None:
    await supervisor.start()
    watching = asyncio.ensure_future(supervisor.watch())
    try:
        told = ready(supervisor.status()) if ready is not None else None
        if asyncio.iscoroutine(told) or isinstance(told, asyncio.Future):
            await told
        await watching
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def start_detached(
    data_dir: Path, *, quiet: bool = False, program: Sequence[str] = ("-m", "libs.devstack.stack")
) -> dict[str, Any]:
    """Starts the stack in the background and waits until it is ready; returns its status. StackError otherwise.

    `program` follows the Python interpreter and gets the folder as its argument.
    """
    if (running := StackFolder(data_dir).holder()) is not None:
        raise FolderInUseError(
            f"A stack is already running on {data_dir} (process id {running}).", "use it, or stop it"
        )
    folder = StackFolder(data_dir)
    folder.logs.mkdir(parents=True, exist_ok=True)
    log = folder.log("supervisor")
    log.write_text("", encoding="utf-8")
    with log.open("ab") as sink:
        command = [sys.executable, *program, str(folder.path)]
        root = Path(__file__).resolve().parents[2]
        child = subprocess.Popen(
            command, cwd=root, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    say, deadline, told = (_silent if quiet else _print), time.monotonic() + _DETACHED_TIME_LIMIT_S, 0
    while True:
        is_over = child.poll() is not None
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if is_over:
            untold = lines[-_TOLD_LINES:] if quiet else lines[told:]
            raise StartError("\n".join(["The stack did not start.", *untold]), f"its whole output is in {log}")
        for line in lines[told:]:
            say(line)
        told = len(lines)
        if folder.holder() == child.pid and folder.status_of(child.pid).get("phase") == "ready":
            child.returncode = 0  # it outlives us; without this Popen warns that it still runs
            return stack_status(data_dir)
        if time.monotonic() > deadline:
            child.terminate()
            raise StartError("The stack did not become ready within ten minutes.", f"its output is in {log}")
        time.sleep(0.1)


def stop_stack(data_dir: Path) -> bool:
    """Stops the stack on this folder and waits for its end. False when none runs. StackError when it does not end."""
    folder = StackFolder(data_dir)
    pid = folder.holder()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIME_LIMIT_S
    while folder.holder() is not None:
        if time.monotonic() > deadline:
            raise StackError(f"The stack (process id {pid}) did not end.", f"end it with: kill -9 {pid}")
        time.sleep(0.05)
    return True


def stack_status(data_dir: Path) -> dict[str, Any]:
    """What runs where: `running`, `phase`, and for each part its address and process id; services also `ready`."""
    folder = StackFolder(data_dir)
    holder = folder.holder()
    if holder is None:
        return {"running": False, "phase": "stopped", "data": str(folder.path)}
    status: dict[str, Any] = {
        "running": True,
        "phase": "starting",
        "data": str(folder.path),
        **folder.status_of(holder),
    }
    for entry in status.values():
        if isinstance(entry, dict) and "url" in entry:
            entry["ready"] = services.is_ready_now(entry["port"])
    return status


def reset_stack(data_dir: Path) -> None:
    """Stops the stack on this folder if it runs, and removes all its data."""
    stop_stack(data_dir)
    StackFolder(data_dir).empty()


def _print(line: str) -> None:
    print(line, flush=True)


def _silent(_: str) -> None:
    return


class _cancelled_by_signals:  # noqa: N801 - reads as the statement it is used in
    """While in its block, SIGINT, SIGTERM and SIGHUP cancel the work instead of ending the process."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, work: asyncio.Future[None]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for reason in self._SIGNALS:
            self._loop.add_signal_handler(reason, self._work.cancel)

    def __exit__(self, *_: object) -> None:
        for reason in self._SIGNALS:
            self._loop.remove_signal_handler(reason)


def main() -> None:
    """Runs the stack on the folder named by the first argument."""
    try:
        asyncio.run(run_stack(Path(sys.argv[1]) if len(sys.argv) > 1 else default_data_dir()))
    except StackError as failure:
        print(failure, file=sys.stderr, flush=True)
        raise SystemExit(1) from failure


if __name__ == "__main__":
    main()
