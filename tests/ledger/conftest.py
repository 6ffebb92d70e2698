"""A migrated ledger database for each test, and books open on it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.clock import now
from libs.common.db import migrate
from libs.devstack.databases import ServiceDsns
from services.ledger.commands import Asker, Books, open_organization
from services.ledger.pools import MIGRATIONS, create_writer_pool
from tests.ledger.serving import Service, ledger_service
from tests.support.postgres import PostgresServer

SERVICE = "ledger"


@dataclass(frozen=True, slots=True)
class LedgerDatabase:
    """One ledger database: the superuser's address and those of the four roles."""

    admin: str
    dsns: ServiceDsns


@pytest.fixture(scope="session")
async def ledger_template(postgres: PostgresServer) -> str:
    """A template database with the ledger's migrations."""
    await postgres.service_roles(SERVICE)

    async def build(dsn: str) -> None:
        await migrate(postgres.service_dsns(dsn, SERVICE).migrator, Path(MIGRATIONS))

    return await postgres.template(SERVICE, build, owner="ledger_migrator")


@pytest.fixture
async def database(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[LedgerDatabase]:
    """An empty, migrated ledger database."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        yield LedgerDatabase(dsn, postgres.service_dsns(dsn, SERVICE))


@pytest.fixture
async def books(database: LedgerDatabase) -> AsyncIterator[Books]:
    """Books with the organization `demo` and its ledger `main` in USD."""
    pool = await create_writer_pool(database.dsns.writer, max_size=8)
    try:
        opened = Books(pool, now)
        await open_organization(opened, "demo", "Demo", "USD", Asker("demo", "api", "operator", "api/operator"))
        yield opened
    finally:
        await pool.close()


@pytest.fixture
async def rival(books: Books, database: LedgerDatabase) -> AsyncIterator[Books]:
    """The same books in another process: a pool and caches of its own."""
    assert books.pool is not None
    pool = await create_writer_pool(database.dsns.writer, max_size=2)
    try:
        yield Books(pool, now)
    finally:
        await pool.close()


@pytest.fixture
async def service(books: Books, database: LedgerDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """The ledger's application on a real server, with cash, rent, a limited account and a second organization."""
    async with ledger_service(books, database.dsns, tmp_path) as running:
        yield running
