"""One program of the stack: its process, its log file, its end.

Every program runs in a session of its own, so that Ctrl-C in the terminal reaches only the supervisor, which then
stops the programs in order. Its output goes to one log file that is appended to. `launch.py` ties it to our life.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class RunAs:
    """The operating system user a program runs as, and the paths it must be able to reach."""

    uid: int
    gid: int
    paths: tuple[Path, ...]


class Part:
    """A running program. `start` makes one; it is stopped with `stop` or seen ending with `wait`."""

    def __init__(self, name: str, log: Path, log_offset: int, child: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self._log_offset = log_offset
        self._child = child

    @property
    def pid(self) -> int:
        """The process id of the program itself (the launcher replaces itself by it)."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._child.returncode

    def output(self) -> str:
        """What this run has written to its log so far."""
        with self.log.open("rb") as lines:
            lines.seek(self._log_offset)
            return lines.read().decode("utf-8", "replace")

    def last_lines(self, count: int = 12) -> str:
        """The last lines of this run's log, indented for a terminal."""
        return "\n".join(f"    {line}" for line in self.output().splitlines()[-count:]) or "    (it wrote nothing)"

    async def wait(self) -> int:
        """Waits for the end of the program and returns its exit code."""
        return await self._child.wait()

    async def wait_or_kill(self) -> int:
        """Waits for the end; a waiter that is cancelled ends the program, for programs that only prepare something."""
        try:
            return await self.wait()
        except asyncio.CancelledError:
            self.kill()
            await self.wait()
            raise

    async def stop(self, how: signal.Signals, time_limit_s: float) -> bool:
        """Asks with the signal, kills after the time limit. True when it ended by being asked."""
        if self._child.returncode is not None:
            return True
        self._child.send_signal(how)
        try:
            await asyncio.wait_for(self._child.wait(), time_limit_s)
        except TimeoutError:
            self._child.kill()
            await self._child.wait()
            return False
        return True

    def kill(self) -> None:
        """kill -9."""
        if self._child.returncode is None:
            self._child.kill()


async def start(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    run_as: RunAs | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    holds: int | None = None,
) -> Part:
    """Starts a program; the first word of the command is an absolute path.

    `holds` is an open file it inherits, so that a lock on that file lasts as long as the program.

    Call it from the thread that lives as long as the program shall: Linux ties the program to the starting thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    uid, gid, paths = (run_as.uid, run_as.gid, run_as.paths) if run_as else (0, 0, ())
    launcher = [
        sys.executable,
        "-I",
        "-S",
        str(_LAUNCHER),
        str(os.getpid()),
        str(int(death_signal)),
        str(uid),
        str(gid),
    ]
    with log.open("ab") as sink:
        log_offset = sink.tell()
        child = await asyncio.create_subprocess_exec(
            *launcher,
            *map(str, paths),
            "--",
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
            pass_fds=() if holds is None else (holds,),
        )
        return Part(name, log, log_offset, child)


def is_alive(pid: int) -> bool:
    """Whether a process has this id, also one of another user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
