"""A migrated invoicing database for each test, and the pool of the role that writes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.db import Pool, migrate
from libs.devstack.databases import ServiceDsns
from services.invoicing.pools import MIGRATIONS, create_writer_pool
from tests.support.postgres import PostgresServer

SERVICE = "invoicing"


@dataclass(frozen=True, slots=True)
class InvoicingDatabase:
    """One invoicing database: the superuser's address and those of the four roles."""

    admin: str
    dsns: ServiceDsns


@pytest.fixture(scope="session")
async def invoicing_template(postgres: PostgresServer) -> str:
    """A template database with invoicing's migrations."""
    await postgres.service_roles(SERVICE)

    async def build(dsn: str) -> None:
        await migrate(postgres.service_dsns(dsn, SERVICE).migrator, Path(MIGRATIONS))

    return await postgres.template(SERVICE, build, owner="invoicing_migrator")


@pytest.fixture
async def receivables(postgres: PostgresServer, invoicing_template: str) -> AsyncIterator[InvoicingDatabase]:
    """An empty, migrated invoicing database."""
    async with postgres.database(invoicing_template, owner="invoicing_migrator") as dsn:
        yield InvoicingDatabase(dsn, postgres.service_dsns(dsn, SERVICE))


@pytest.fixture
async def writer(receivables: InvoicingDatabase) -> AsyncIterator[Pool]:
    """The pool of the role that writes."""
    pool = await create_writer_pool(receivables.dsns.writer, max_size=12)
    try:
        yield pool
    finally:
        await pool.close()
