"""Starts, watches and stops the parts of one local stack.

    PostgreSQL + databases   ┐ side by side
    Kafka + topics           ┘
    services                   side by side, when both are there
    watch                      one task per part: a part that ends is started again, later and later (0.5 s to 30 s)
    stop                       gateway first, PostgreSQL last

Restarted parts keep their ports, so nobody needs a new address. The status file is written after every change.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from libs.common.auth import create_dev_issuer
from libs.common.sealing import add_sealing_key
from libs.common.signing import add_key
from libs.devstack import databases, jars, part, ports, services, topics
from libs.devstack.errors import StackError
from libs.devstack.folder import StackFolder
from libs.devstack.kafka import Kafka
from libs.devstack.postgres import MAJOR_VERSION, Postgres
from libs.devstack.services import Service, ServiceSpec

_BACKOFF_S_MIN, _BACKOFF_S_MAX, _STEADY_S = 0.5, 30.0, 60.0
_PORT_TRIES = 3
_LEFTOVER_LOOKS = 150

Say = Callable[[str], None]


class Supervisor:
    """One stack on one folder, which the caller holds."""

    def __init__(
        self, folder: StackFolder, specs: Sequence[ServiceSpec], say: Say, *, kafka: Kafka | None = None
    ) -> None:
        """`kafka` on `folder.kafka`, where it shall be another than the usual one."""
        self._folder = folder
        self._say = say
        self._postgres = Postgres(folder.postgres, folder.log("postgres"))
        self._kafka = kafka or Kafka(folder.kafka, folder.log("kafka"))
        self._services = [Service(spec, folder.log(spec.name)) for spec in specs]
        self._service_ports: dict[str, int] = {}
        self._phase = "starting"

    async def start(self) -> None:
        """Returns when everything is ready. StackError with a way out otherwise."""
        await self._wait_for_leftovers()
        self._write_status()
        create_dev_issuer(self._folder.dev_issuer, self._folder.jwks)
        if not self._folder.signing_key.exists():
            add_key(self._folder.signing_key)
        if not self._folder.sealing_keys.exists():
            add_sealing_key(self._folder.sealing_keys)
        remembered = self._folder.remembered_ports()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._start_postgres(remembered.get("postgres")))
                both.create_task(self._start_kafka(remembered.get("kafka"), remembered.get("kafka_controller")))
        except* StackError as failures:
            raise failures.exceptions[0] from None
        await self._start_services(remembered)
        self._folder.remember_ports(self._ports())
        self._phase = "ready"
        self._write_status()

    async def watch(self) -> None:
        """Starts again what ends; returns only by being cancelled."""
        async with asyncio.TaskGroup() as watchers:
            watchers.create_task(self._watch("PostgreSQL", lambda: self._postgres.server, self._restart_postgres))
            watchers.create_task(self._watch("Kafka", lambda: self._kafka.server, self._restart_kafka))
            for service in self._services:
                watchers.create_task(self._watch_service(service))

    async def stop(self) -> None:
        """Stops everything in reverse order of the start."""
        self._phase = "stopping"
        self._write_status()
        for service in reversed(self._services):
            await self._stop_one(service.spec.name, service.stop)
        await self._stop_one("Kafka", self._kafka.stop)
        await self._stop_one("PostgreSQL", self._postgres.stop)
        self._phase = "stopped"
        self._folder.write_status({"phase": "stopped"})

    def status(self) -> dict[str, Any]:
        """Where everything is; parts that are not started yet are absent."""
        status: dict[str, Any] = {"phase": self._phase, "supervisor": {"pid": os.getpid()}}
        if (server := _started(self._postgres)) is not None:
            status["postgres"] = {"dsn": self._postgres.dsn(), "pid": server.pid}
        if (server := _started(self._kafka)) is not None:
            status["kafka"] = {"bootstrap": self._kafka.bootstrap, "pid": server.pid}
        for service in self._services:
            if (server := _started(service)) is not None:
                status[service.spec.name] = {"url": service.url, "port": service.port, "pid": server.pid}
        return status

    async def _start_postgres(self, port: int | None) -> None:
        began = time.monotonic()
        self._say(f"PostgreSQL {MAJOR_VERSION}: starting")
        await self._postgres.start(port)
        for name in databases.SERVICES_WITH_DATABASE:
            await databases.create_service(self._postgres.dsn(), name, self._folder.passwords(name))
        self._say(f"PostgreSQL {MAJOR_VERSION}: ready on port {self._postgres.port} ({_seconds(began)})")
        self._write_status()

    async def _start_kafka(self, port: int | None, controller_port: int | None) -> None:
        began = time.monotonic()
        self._say(f"Kafka {jars.KAFKA_VERSION}: starting")
        await self._kafka.start(port, controller_port, progress=self._say)
        wanted = topics.listed()
        await topics.ensure(self._kafka.bootstrap, wanted)
        self._say(
            f"Kafka {jars.KAFKA_VERSION}: ready on port {self._kafka.port}, {len(wanted)} topics ({_seconds(began)})"
        )
        self._write_status()

    async def _start_services(self, remembered: dict[str, int]) -> None:
        for attempt in range(_PORT_TRIES):
            self._choose_service_ports(remembered if attempt == 0 else {})
            failure = await self._try_to_start_services()
            if failure is None:
                return
            again = attempt + 1 < _PORT_TRIES and any(service.lost_its_port for service in self._services)
            for service in self._services:
                await service.stop()
            if not again:
                raise failure
            self._say("somebody took a service's port in the meantime; trying other ports")

    async def _try_to_start_services(self) -> Exception | None:
        """All services at once; gives the first failure. What is raised inside `except*` would come out in a group."""
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as all_of_them:
                for service in self._services:
                    all_of_them.create_task(self._start_service(service))
        except* StackError as failures:
            first = failures.exceptions[0]
            assert isinstance(first, StackError)
            failure = first
        return failure

    async def _start_service(self, service: Service) -> None:
        began = time.monotonic()
        self._say(f"{service.spec.name}: starting")
        await self._run_service(service)
        self._say(f"{service.spec.name}: ready on {service.url} ({_seconds(began)})")

    async def _run_service(self, service: Service) -> None:
        settings = services.environment(
            service.spec, self._folder, self._service_ports, self._kafka.bootstrap, self._postgres.dsn()
        )
        await service.start(self._service_ports[service.spec.name], settings)

    def _choose_service_ports(self, remembered: dict[str, int]) -> None:
        chosen: dict[str, int] = {}
        for service in self._services:
            name, liked = service.spec.name, service.spec.port
            before = remembered.get(name)
            if before is not None and ports.is_free(before):
                chosen[name] = before
            else:
                chosen[name] = ports.free_port() if liked is None else ports.next_free(liked)
        self._service_ports = chosen

    async def _restart_postgres(self) -> None:
        await self._postgres.start(self._postgres.port)

    async def _restart_kafka(self) -> None:
        await self._kafka.start(self._kafka.port, self._kafka.controller_port)

    async def _watch_service(self, service: Service) -> None:
        await self._watch(service.spec.name, lambda: service.server, lambda: self._run_service(service))

    async def _watch(self, name: str, running: Callable[[], part.Part], start: Callable[[], Awaitable[None]]) -> None:
        backoff_s = _BACKOFF_S_MIN
        while True:
            began = time.monotonic()
            exit_code = await running().wait()
            if time.monotonic() - began > _STEADY_S:
                backoff_s = _BACKOFF_S_MIN
            self._say(
                f"{name} {_ended(exit_code)}; its last lines:\n{running().last_lines()}\n"
                f"{name}: starting again in {backoff_s:.1f} s"
            )
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_S_MAX)
            try:
                await start()
            except StackError as failure:
                self._say(str(failure))
                running().kill()
            else:
                self._say(f"{name}: running again")
                self._write_status()

    async def _stop_one(self, name: str, stop: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        await stop()
        self._say(f"{name}: stopped ({_seconds(began)})")

    async def _wait_for_leftovers(self) -> None:
        """After a kill -9 of the supervisor its parts are still ending; their ports are free a moment later."""
        before = self._folder.status()
        pids = [entry["pid"] for entry in before.values() if isinstance(entry, dict) and "pid" in entry]
        for _ in range(_LEFTOVER_LOOKS):
            if not any(_is_ours(pid) for pid in pids):
                return
            await asyncio.sleep(0.1)

    def _ports(self) -> dict[str, int]:
        kafka = {"kafka": self._kafka.port, "kafka_controller": self._kafka.controller_port}
        return {"postgres": self._postgres.port, **kafka, **self._service_ports}

    def _write_status(self) -> None:
        self._folder.write_status(self.status())


def _started(one: Postgres | Kafka | Service) -> part.Part | None:
    return one.server if one.is_started else None


def _ended(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with code {exit_code}"


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def _is_ours(pid: int) -> bool:
    """Whether a process with this id lives and is one of a stack's kinds; ids are used again by others."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(sign in words for sign in (b"postgres", b"kafka.Kafka", b"services."))
