"""The database of a stack that is stopped, for work that no service may be near: it runs alone, and stops after it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from libs.devstack import services
from libs.devstack.errors import StackError
from libs.devstack.folder import StackFolder
from libs.devstack.postgres import Postgres

_NOBODY = "127.0.0.1:1"
"""Where Kafka would be."""


@asynccontextmanager
async def database_only(data_dir: Path, service: str) -> AsyncIterator[dict[str, str]]:
    """PostgreSQL alone; gives the settings of one service. StackError where a stack runs or never ran."""
    folder = StackFolder(data_dir)
    if not folder.status():
        raise StackError(f"No stack ever ran on {data_dir}.", "start one: ledgerbus up")
    spec = next(spec for spec in services.SERVICES if spec.name == service)
    with folder.held():
        postgres = Postgres(folder.postgres, folder.log("postgres"))
        await postgres.start(folder.remembered_ports().get("postgres"))
        try:
            yield services.environment(spec, folder, {service: 0}, _NOBODY, postgres.dsn())
        finally:
            await postgres.stop()
