"""Databases and login roles of the services, made by the SQL in `deploy/postgres/init` that docker-compose runs too.

The SQL is psql's (it reads passwords from the environment and includes files), so psql of the embedded PostgreSQL
runs it, also against another server.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from libs.devstack.errors import StartError
from libs.devstack.postgres import binaries

ROLES = ("migrator", "writer", "reader", "auditor")
SERVICES_WITH_DATABASE = ("ledger", "invoicing")
INIT_SQL = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "init"


@dataclass(frozen=True, slots=True)
class ServiceDsns:
    """The postgresql:// address of one service's database for each of its roles."""

    migrator: str
    writer: str
    reader: str
    auditor: str


def service_dsns(dsn: str, service: str, passwords: Mapping[str, str]) -> ServiceDsns:
    """The addresses for a database given by any address of it; `passwords` is keyed by role."""
    return ServiceDsns(**{role: with_user(dsn, f"{service}_{role}", passwords[role]) for role in ROLES})


def with_user(dsn: str, user: str, password: str) -> str:
    """The same address for another user."""
    address = urlsplit(dsn)
    host = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(netloc=f"{quote(user)}:{quote(password, safe='')}@{host}"))


def with_database(dsn: str, database: str) -> str:
    """The same address for another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{quote(database)}"))


async def create_service(admin_dsn: str, service: str, passwords: Mapping[str, str]) -> None:
    """Roles and database of one service; safe to repeat. StartError with psql's words when it fails."""
    (script,) = INIT_SQL.glob(f"[0-9][0-9]-{service}.sql")
    await _psql(admin_dsn, script, _password_environment(service, passwords))


async def create_roles(admin_dsn: str, service: str, passwords: Mapping[str, str]) -> None:
    """The login roles of one service only, for databases with names of their own. Safe to repeat."""
    variables = [f"--set=service={service}", *(f"--set={role}_password={passwords[role]}" for role in ROLES)]
    await _psql(admin_dsn, INIT_SQL / "service" / "roles.sql", {}, *variables)


def _password_environment(service: str, passwords: Mapping[str, str]) -> dict[str, str]:
    return {f"{service.upper()}_{role.upper()}_PASSWORD": passwords[role] for role in ROLES}


async def _psql(admin_dsn: str, script: Path, environment: Mapping[str, str], *variables: str) -> None:
    words = [binaries() / "psql", "--no-psqlrc", "--quiet", "--tuples-only", *variables, "-f", script, "-d", admin_dsn]
    psql = await asyncio.create_subprocess_exec(
        *map(str, words),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await psql.communicate()
    if psql.returncode != 0:
        said = complaints.decode("utf-8", "replace").strip()
        raise StartError(f"{script.name} failed on PostgreSQL:\n{said}", "read the message; the script may be repeated")
