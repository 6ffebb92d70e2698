"""What every test may ask for, and what the end of every report says: the backend that ran, the tests not run."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from _pytest.terminal import TerminalReporter
from hypothesis import settings

from libs.cli import session
from libs.cli.session import Stack
from libs.devstack import postgres as embedded_postgres
from libs.devstack.jars import KAFKA_VERSION
from tests.support import run
from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("same")  # `make explore` draws other examples; the suite is the same for everybody

_NOT_RUN = "not run: "
_FOLDER_MARKS = {"devstack": "stack", "reliability": "stack", "gateway": "sockets"}
_MARKS = {"postgres": "database", "kafka": "kafka", "stack": "stack"}


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        run.begin()
        config.add_cleanup(run.end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by the real parts it asks for and the folder it is in, so that none can forget to say so."""
    for item in items:
        if mark := _FOLDER_MARKS.get(item.path.parent.name):
            item.add_marker(mark)
        for fixture, mark in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    notes = run.notes()
    names = sorted({line.partition(" ")[0] for line in notes})
    versions = ", ".join(line.partition(" ")[2] for line in notes)
    terminalreporter.write_line(f"backend: {'/'.join(names)} ({versions})" if notes else "backend: none started")
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    not_run = [reason.removeprefix("Skipped: ") for reason in skipped]
    terminalreporter.write_line(f"not run: {len(not_run)}")
    for reason in sorted(set(not_run)):
        terminalreporter.write_line(f"  {not_run.count(reason)} x {reason.removeprefix(_NOT_RUN)}")


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """A real PostgreSQL that lives as long as the test run, shared by all workers."""
    kept = run.need("postgres")
    connection = await asyncpg.connect(kept.address)
    try:
        run.note(f"{kept.backend} PostgreSQL {(await connection.fetchval('show server_version')).partition(' ')[0]}")
    finally:
        await connection.close()
    server = PostgresServer(kept.address)
    yield server
    await server.drop_all()


@pytest.fixture(scope="session")
async def kafka() -> KafkaBroker:
    """A real Kafka that lives as long as the test run, shared by all workers."""
    kept = run.need("kafka")
    run.note(f"{kept.backend} Kafka{'' if kept.backend == 'external' else ' ' + KAFKA_VERSION}")
    return KafkaBroker(kept.address)


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The whole running stack, as long as the test run and shared by all workers: take an organization of your own.

    It is for reading and posting. Who kills, stops or reconfigures parts starts a stack of its own.
    """
    kept = run.need("stack")
    run.note(f"{kept.backend} stack with PostgreSQL {embedded_postgres.MAJOR_VERSION} and Kafka {KAFKA_VERSION}")
    return session.running(Path(kept.address))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root folder."""
    return Path(__file__).resolve().parents[1]
