"""The run's real PostgreSQL as tests see it: databases with names of their own, cloned from migrated templates.

A template is made once per run, whichever worker comes first, under a lock in the server. Cloning one takes some
20 ms. The service roles (`ledger_writer`, ...) are the same in the whole server, made by the SQL docker-compose runs.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from libs.devstack import databases
from tests.support import run

_MAX_NAME_CHARACTERS = 63


async def end_connections(admin_dsn: str, application_name: str) -> None:
    """Ends the connections of this name to this database, as an operator or a failover would.

    To this database only: other workers run the same test in the same server.
    """
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = $1 and datname = current_database()",
            application_name,
        )
    finally:
        await connection.close()


class PostgresServer:
    """Fixture `postgres`."""

    def __init__(self, admin_dsn: str) -> None:
        self.admin_dsn = admin_dsn
        self._prefix = f"t{hashlib.sha256(run.run_secret().encode()).hexdigest()[:8]}"
        self._created: list[str] = []

    async def create_database(self, template: str | None = None, *, owner: str | None = None) -> str:
        """A new database, cloned from a template where named; returns the superuser's address of it.

        It is dropped at the end of the session; use `database` where many are made.
        """
        name = f"{self._prefix}_{uuid4().hex}"
        owned = f' owner "{owner}"' if owner else ""
        await self._run(f'create database "{name}" template "{template or "template0"}"{owned}')
        self._created.append(name)
        return databases.with_database(self.admin_dsn, name)

    async def drop_database(self, dsn: str) -> None:
        """Drops a database made here, ending whoever is still connected."""
        name = dsn.rpartition("/")[2]
        await self._run(f'drop database if exists "{name}" with (force)')
        self._created.remove(name)

    @asynccontextmanager
    async def database(self, template: str | None = None, *, owner: str | None = None) -> AsyncIterator[str]:
        """A database for one block; gives the superuser's address of it."""
        dsn = await self.create_database(template, owner=owner)
        try:
            yield dsn
        finally:
            await self.drop_database(dsn)

    async def template(self, name: str, build: Callable[[str], Awaitable[None]], *, owner: str | None = None) -> str:
        """The name of a template database, for `create_database(template=...)`.

        `build` gets the superuser's address of an empty database and fills it, once per run however many workers ask.
        It must close its connections: PostgreSQL clones only what nobody is connected to.
        """
        finished = f"{self._prefix}_template_{name}"
        assert len(finished) <= _MAX_NAME_CHARACTERS, "a database name has at most 63 characters"
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute("select pg_advisory_lock(hashtextextended($1, 0))", finished)
            if not await connection.fetchval("select exists (select from pg_database where datname = $1)", finished):
                draft = f"{self._prefix}_{uuid4().hex}"
                owned = f' owner "{owner}"' if owner else ""
                await connection.execute(f'create database "{draft}" template template0{owned}')
                await build(databases.with_database(self.admin_dsn, draft))
                await connection.execute(f'alter database "{draft}" rename to "{finished}"')
        finally:
            await connection.close()
        return finished

    async def service_roles(self, service: str) -> None:
        """Makes the login roles <service>_migrator, _writer, _reader, _auditor, or gives them this run's passwords."""
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute("select pg_advisory_lock(hashtextextended($1, 1))", service)
            await databases.create_roles(self.admin_dsn, service, self._passwords(service))
        finally:
            await connection.close()

    def service_dsns(self, dsn: str, service: str) -> databases.ServiceDsns:
        """The addresses of a database for the service's four roles (.migrator, .writer, .reader, .auditor)."""
        return databases.service_dsns(dsn, service, self._passwords(service))

    async def drop_all(self) -> None:
        """Drops what this worker made and did not drop itself."""
        for name in self._created:
            await self._run(f'drop database if exists "{name}" with (force)')
        self._created.clear()

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @staticmethod
    def _passwords(service: str) -> dict[str, str]:
        return {
            role: hashlib.sha256(f"{run.run_secret()}:{service}:{role}".encode()).hexdigest()[:32]
            for role in databases.ROLES
        }
