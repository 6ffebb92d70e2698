"""One test run: a throwaway folder, the keepers in it, and what the end of the report says about them.

pytest's first process makes the folder and names it to its xdist workers by environment; it also ends the keepers and
removes the folder. Nothing is started before a test asks.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

_FOLDER, _PYTEST_PID = "LEDGERBUS_TEST_RUN_FOLDER", "LEDGERBUS_TEST_RUN_PID"
_START_TIME_LIMIT_S = 300.0
_STOP_TIME_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A part that runs for the whole test run."""

    backend: str
    address: str


def begin() -> None:
    """Called once, by pytest's first process."""
    folder = Path(tempfile.mkdtemp(prefix="ledgerbus-tests-"))
    (folder / "secret").write_text(secrets.token_hex(16), encoding="ascii")
    os.environ[_FOLDER], os.environ[_PYTEST_PID] = str(folder), str(os.getpid())


def end() -> None:
    """Ends the keepers and removes the folder."""
    folder = _folder()
    for pid_file in sorted(folder.glob("*.pid")):
        _end_keeper(int(pid_file.read_text(encoding="ascii")))
    shutil.rmtree(folder, ignore_errors=True)
    del os.environ[_FOLDER], os.environ[_PYTEST_PID]


def run_secret() -> str:
    """A secret all workers of this run share; passwords of test roles are derived from it."""
    return (_folder() / "secret").read_text(encoding="ascii")


def need(part: str) -> KeptPart:
    """The running part; the first caller of all workers starts it. Blocks for its start."""
    folder = _folder()
    with (folder / f"{part}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / f"{part}.json").exists():
            _start_keeper(part, folder)
    state = json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))
    if "error" in state:
        pytest.fail(f"{part} did not start: {state['error']}", pytrace=False)
    return KeptPart(state["backend"], state["address"])


def note(line: str) -> None:
    """Leaves a line, such as a version, for the end of the report."""
    with (_folder() / "notes").open("a", encoding="utf-8") as notes:
        notes.write(f"{line}\n")


def notes() -> list[str]:
    """The different lines left by all workers."""
    path = _folder() / "notes"
    return sorted(set(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def _folder() -> Path:
    return Path(os.environ[_FOLDER])


def _start_keeper(part: str, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.support.keeper", part, str(folder), os.environ[_PYTEST_PID]]
    with (folder / f"{part}.keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            command,
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / f"{part}.pid").write_text(str(keeper.pid), encoding="ascii")
    deadline = time.monotonic() + _START_TIME_LIMIT_S
    while not (folder / f"{part}.json").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            said = (folder / f"{part}.keeper.log").read_text(encoding="utf-8")[-2000:]
            pytest.fail(f"the keeper of {part} ended or did not come up:\n{said}", pytrace=False)
        time.sleep(0.02)
    keeper.returncode = 0  # it outlives this worker; without this Popen warns that it still runs


def _end_keeper(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIME_LIMIT_S
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
    except ChildProcessError:
        _wait_for_stranger(pid)
    except ProcessLookupError:
        return


def _wait_for_stranger(pid: int) -> None:
    """Waits for a keeper another worker started; only its disappearance can be seen."""
    deadline = time.monotonic() + _STOP_TIME_LIMIT_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
