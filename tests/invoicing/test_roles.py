"""Who may do what: every table has its row-level security, and the reader sees one organization's rows."""

import asyncpg
import pytest

from tests.invoicing.conftest import InvoicingDatabase

QUEUES = {"consumer_offsets", "inbox", "outbox", "schema_migrations"}


async def test_every_table_with_an_organization_forces_row_level_security(receivables: InvoicingDatabase) -> None:
    connection = await asyncpg.connect(receivables.admin)
    try:
        open_tables = await connection.fetch(
            "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace "
            "and not (relrowsecurity and relforcerowsecurity)"
        )
    finally:
        await connection.close()
    assert {row["relname"] for row in open_tables} == QUEUES


async def test_the_reader_sees_its_organization_alone(receivables: InvoicingDatabase) -> None:
    writer = await asyncpg.connect(receivables.dsns.writer)
    reader = await asyncpg.connect(receivables.dsns.reader)
    try:
        for organization in ("demo", "other"):
            await writer.execute(
                "insert into account_mappings values ($1, 'main', 'receivable', 'USD', '1100-AR')", organization
            )
        assert await reader.fetchval("select count(*) from account_mappings") == 0
        await reader.execute("set ledgerbus.organization = 'demo'")
        assert [row[0] for row in await reader.fetch("select organization from account_mappings")] == ["demo"]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("delete from account_mappings")
    finally:
        await writer.close()
        await reader.close()
