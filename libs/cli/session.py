"""The running local stack as a caller sees it: where its gateway is, and tokens for it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libs.cli.client import Client, connect
from libs.cli.exits import Ended, Exit, NotRunning
from libs.common.auth import ROLES, DevIssuer
from libs.devstack.stack import dev_issuer_path, stack_status

ISSUER: Final = "http://ledgerbus.local"
AUDIENCE: Final = "ledgerbus"
SUBJECT: Final = "cli"
"""Request keys are remembered per subject, so the command always is the same one."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: its folder, the gateway's base URL and Kafka's host:port."""

    data_dir: Path
    gateway: str
    bootstrap: str

    def token(
        self,
        organization: str | None,
        roles: Iterable[str],
        *,
        scopes: Iterable[str] = (),
        service: str | None = None,
        lifetime_s: int = 3600,
        subject: str = SUBJECT,
    ) -> str:
        """A signed token of the development issuer. Raises Ended (usage) for a role that does not exist."""
        roles = list(roles)
        if unknown := [role for role in roles if role not in ROLES]:
            raise Ended(f"There is no role {unknown[0]}; there are {', '.join(ROLES)}.", Exit.USAGE)
        issuer = DevIssuer(dev_issuer_path(self.data_dir), ISSUER, AUDIENCE, "development")
        return issuer.token(subject, organization, roles, scopes, service, lifetime_s)

    @asynccontextmanager
    async def client(self, organization: str | None, role: str = "controller") -> AsyncIterator[Client]:
        """A client with a token of that role; None is for operators."""
        async with connect(self.gateway, self.token(organization, [role])) as client:
            yield client

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Client]:
        """A client above all organizations."""
        async with self.client(None, "operator") as client:
            yield client


def running(data_dir: Path) -> Stack:
    """The stack that runs on a folder. Raises NotRunning where none does, or where it is not ready yet."""
    status = stack_status(data_dir)
    if not status["running"]:
        raise NotRunning(f"No stack is running on {status['data']}.")
    return of_status(data_dir, status)


def of_status(data_dir: Path, status: Mapping[str, Any]) -> Stack:
    """The stack that a status tells of. Raises Ended where it is not ready."""
    if status["phase"] != "ready":
        raise Ended(f"The stack on {data_dir} is {status['phase']}; try again in a moment.", Exit.NOT_RUNNING)
    return Stack(data_dir, status["gateway"]["url"], status["kafka"]["bootstrap"])
