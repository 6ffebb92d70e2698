"""The data folder of one local stack: who holds it, what it remembers, what it tells.

stack.lock       held (flock) by the running supervisor; its text is the supervisor's process id
ports.json       the ports of the last run, used again when free
passwords.json   generated passwords of the services' database roles (mode 0600)
status.json      what runs where (mode 0600: it holds addresses with passwords)
keys/ logs/ spans/ postgres/ kafka/
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from libs.devstack.databases import ROLES, SERVICES_WITH_DATABASE
from libs.devstack.errors import FolderInUseError, StackError
from libs.devstack.part import is_alive

_OWN_FOLDERS = ("keys", "logs", "spans", "postgres", "kafka")
_OWN_FILES = ("ports.json", "passwords.json", "status.json", "stack.lock")
_FREE_BYTES_MIN = 500_000_000
_LOG_BYTES_MAX = 20_000_000
_TRIES, _TRY_EVERY_S = 20, 0.01


class StackFolder:
    """The data folder; making the object touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.keys, self.logs, self.spans = (self.path / name for name in ("keys", "logs", "spans"))
        self.postgres, self.kafka = self.path / "postgres", self.path / "kafka"
        self.dev_issuer, self.jwks = self.keys / "dev-issuer.json", self.keys / "jwks.json"
        self.signing_key = self.keys / "ledger-signing.pem"
        self.sealing_keys = self.keys / "invoicing-sealing.keys"
        self._lock, self._status = self.path / "stack.lock", self.path / "status.json"

    def log(self, name: str) -> Path:
        """The log file of one part."""
        return self.logs / f"{name}.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder for one supervisor. FolderInUseError when another one holds it."""
        self._prepare()
        with self._lock.open("a+", encoding="ascii") as lock:
            if not self._take(lock):
                raise FolderInUseError(
                    f"A stack is already running on {self.path} (process id {self.holder() or 'unknown'}).",
                    "use it, stop it with `ledgerbus down`, or start another one with LEDGERBUS_DATA=another-folder",
                )
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
            lock.truncate(0)

    def _take(self, lock: TextIO) -> bool:
        """Tries some times: whoever only asks who holds it has a share of the lock for a moment."""
        for _ in range(_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_TRY_EVERY_S)
            else:
                return True
        return False

    def holder(self) -> int | None:
        """The process id of the supervisor that holds the folder; None when nobody does."""
        if not self._lock.exists():
            return None
        with self._lock.open("r", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                written = lock.read().strip()  # of one that was killed, until the next one has written its own
                return int(written) if written and is_alive(int(written)) else None
        return None

    def remembered_ports(self) -> dict[str, int]:
        """The last run's ports by name; empty before the first run."""
        path = self.path / "ports.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def remember_ports(self, ports: Mapping[str, int]) -> None:
        """Keeps the ports for the next run."""
        _write_whole(self.path / "ports.json", dict(ports))

    def passwords(self, service: str) -> dict[str, str]:
        """The service's database passwords by role; generated once, also for services that are new to the folder."""
        path = self.path / "passwords.json"
        known: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not known.keys() >= set(SERVICES_WITH_DATABASE):
            made = {s: {r: secrets.token_hex(16) for r in ROLES} for s in SERVICES_WITH_DATABASE}
            known = {**made, **known}
            _write_whole(path, known)
        return known[service]

    def status(self) -> dict[str, Any]:
        """What the last supervisor wrote; empty when none did."""
        return json.loads(self._status.read_text(encoding="utf-8")) if self._status.exists() else {}

    def status_of(self, holder: int) -> dict[str, Any]:
        """What the supervisor with this process id wrote; empty while there is only what one before it left behind."""
        status = self.status()
        return status if status.get("supervisor", {}).get("pid") == holder else {}

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replaces the status in one step."""
        _write_whole(self._status, dict(status))

    def empty(self) -> None:
        """Removes what a stack makes, and the folder when nothing else is in it. The folder must not be held."""
        for name in _OWN_FOLDERS:
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)
        for name in _OWN_FILES:
            (self.path / name).unlink(missing_ok=True)
        if self.path.exists() and not any(self.path.iterdir()):
            self.path.rmdir()

    def _prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.keys, self.logs, self.spans):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as failure:
            raise StackError(
                f"{self.path} cannot be written: {failure.strerror}.", "name another folder with LEDGERBUS_DATA"
            ) from failure
        if (free := shutil.disk_usage(self.path).free) < _FREE_BYTES_MIN:
            raise StackError(
                f"Only {free // 1_000_000} MB are free where {self.path} is; the stack needs 500 MB.",
                "free some space, or name a folder on another disk with LEDGERBUS_DATA",
            )
        if self.holder() is None:
            for log in self.logs.glob("*.log"):
                if log.stat().st_size > _LOG_BYTES_MAX:
                    log.replace(log.with_suffix(".log.old"))


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    draft.replace(path)
