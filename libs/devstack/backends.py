"""Where the tests' real PostgreSQL and Kafka come from; one interface, three sources, chosen by BACKEND.

    embedded         started here from the wheels (the default)
    external         LEDGERBUS_TEST_POSTGRES_DSN (a superuser's) and LEDGERBUS_TEST_KAFKA_BOOTSTRAP
    testcontainers   postgres:18 and apache/kafka in Docker

PostgreSQL and Kafka start separately, so a run that needs only one never waits for the other.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Protocol

from libs.devstack import jars
from libs.devstack.databases import with_database
from libs.devstack.errors import StackError
from libs.devstack.kafka import Kafka
from libs.devstack.postgres import Postgres

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = f"apache/kafka:{jars.KAFKA_VERSION}"


class Backend(Protocol):
    """A source of real parts. Addresses are valid after the part's start."""

    @property
    def name(self) -> str:
        """embedded, external or testcontainers."""
        ...

    async def start_postgres(self) -> str:
        """Starts PostgreSQL and returns the superuser's address of the database `postgres`."""
        ...

    async def start_kafka(self) -> str:
        """Starts Kafka and returns host:port."""
        ...

    async def stop(self) -> None:
        """Stops what was started."""
        ...


def postgres_dsn(admin_dsn: str, database: str) -> str:
    """The superuser's address of another database of the same server."""
    return with_database(admin_dsn, database)


class Embedded:
    """Parts started here, on a folder that belongs to the backend."""

    name = "embedded"

    def __init__(self, folder: Path) -> None:
        self.postgres = Postgres(folder / "postgres", folder / "postgres.log")
        self.kafka = Kafka(folder / "kafka", folder / "kafka.log")

    async def start_postgres(self) -> str:
        """See Backend."""
        await self.postgres.start()
        return self.postgres.dsn()

    async def start_kafka(self) -> str:
        """See Backend."""
        await self.kafka.start(progress=lambda line: print(line, flush=True))
        return self.kafka.bootstrap

    async def stop(self) -> None:
        """See Backend."""
        await asyncio.gather(self.postgres.stop(), self.kafka.stop())


class External:
    """Parts somebody else runs; nothing is started or stopped."""

    name = "external"

    async def start_postgres(self) -> str:
        """See Backend."""
        return _wanted("LEDGERBUS_TEST_POSTGRES_DSN")

    async def start_kafka(self) -> str:
        """See Backend."""
        return _wanted("LEDGERBUS_TEST_KAFKA_BOOTSTRAP")

    async def stop(self) -> None:
        """See Backend."""


class Testcontainers:
    """Parts in Docker containers."""

    __test__ = False
    name = "testcontainers"

    def __init__(self) -> None:
        self._containers: list[Any] = []

    async def start_postgres(self) -> str:
        """See Backend."""
        from testcontainers.postgres import PostgresContainer

        container = PostgresContainer(POSTGRES_IMAGE, username="postgres", dbname="postgres", driver=None)
        container.with_command("postgres -c max_connections=200 -c shared_buffers=256MB -c max_wal_size=4GB")
        await asyncio.to_thread(container.start)
        self._containers.append(container)
        return str(container.get_connection_url())

    async def start_kafka(self) -> str:
        """See Backend."""
        from testcontainers.kafka import KafkaContainer

        container = KafkaContainer(KAFKA_IMAGE).with_kraft()
        container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        container.with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        await asyncio.to_thread(container.start)
        self._containers.append(container)
        return str(container.get_bootstrap_server())

    async def stop(self) -> None:
        """See Backend."""
        for container in reversed(self._containers):
            await asyncio.to_thread(container.stop)


def chosen(folder: Path) -> Backend:
    """The backend BACKEND names; the embedded one works in the folder."""
    name = os.environ.get("BACKEND") or Embedded.name
    if name == Embedded.name:
        return Embedded(folder)
    if name == External.name:
        return External()
    if name == Testcontainers.name:
        return Testcontainers()
    raise StackError(f"BACKEND={name} is none of embedded, external, testcontainers.", "unset it, or name one of them")


def _wanted(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise StackError(f"BACKEND=external, but {name} is not set.", f"set {name}, or unset BACKEND")
    return value
