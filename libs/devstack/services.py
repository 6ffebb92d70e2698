"""Which services the stack runs, with which settings, and when one of them is ready."""

import asyncio
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from libs.devstack import part, ports
from libs.devstack.databases import ROLES, service_dsns
from libs.devstack.errors import StartError
from libs.devstack.folder import StackFolder

_REPOSITORY = Path(__file__).resolve().parents[2]
_READY_TIME_LIMIT_S = 60.0
_STOP_TIME_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service: how it is started and which port it likes.

    `command` follows the Python interpreter. `port` None: any free one, remembered. `database`: it gets the addresses
    of its own database. `calls`: services whose address it gets as LEDGERBUS_<NAME>_URL.
    """

    name: str
    command: tuple[str, ...]
    port: int | None = None
    database: bool = False
    calls: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


SERVICES = (
    ServiceSpec(
        "ledger",
        ("-m", "services.ledger.main"),
        database=True,
        environment={"LEDGERBUS_LEDGER_MEMBER": "ledger-1"},
    ),
    ServiceSpec(
        "invoicing",
        ("-m", "services.invoicing.main"),
        database=True,
        environment={"LEDGERBUS_INVOICING_MEMBER": "invoicing-1"},
    ),
    ServiceSpec("gateway", ("-m", "services.gateway.main"), port=8080, calls=("ledger", "invoicing")),
)


class Service:
    """One service as a subprocess."""

    def __init__(self, spec: ServiceSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self._part: part.Part | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Its loopback HTTP port."""
        assert self._port is not None, f"{self.spec.name} was not started"
        return self._port

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def is_started(self) -> bool:
        """Whether there is a process to ask for; it may have ended since."""
        return self._part is not None

    @property
    def server(self) -> part.Part:
        """The running process."""
        assert self._part is not None, f"{self.spec.name} was not started"
        return self._part

    async def start(self, port: int, environment: Mapping[str, str]) -> None:
        """Starts it and waits until /health/ready answers 200. StartError when it dies or takes too long."""
        self._port = port
        command = [sys.executable, *self.spec.command]
        self._part = await part.start(
            self.spec.name, command, self.log, environment=environment, folder=_REPOSITORY, death_signal=signal.SIGTERM
        )
        deadline = time.monotonic() + _READY_TIME_LIMIT_S
        while not await is_ready(port, self._part.pid):
            if self._part.exit_code is not None:
                raise StartError(
                    f"{self.spec.name} ended with code {self._part.exit_code} while starting:\n"
                    f"{self._part.last_lines()}",
                    f"read its log {self.log}",
                )
            if time.monotonic() > deadline:
                raise StartError(
                    f"{self.spec.name} was not ready within {_READY_TIME_LIMIT_S:.0f} s:\n{self._part.last_lines()}",
                    f"ask {self.url}/health/ready what it waits for, or read its log {self.log}",
                )
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Asks it to finish what it does and end."""
        if self._part is not None:
            await self._part.stop(signal.SIGTERM, _STOP_TIME_LIMIT_S)

    @property
    def lost_its_port(self) -> bool:
        """True when somebody else took the port between choosing and binding it."""
        return self._part is not None and "address already in use" in self._part.output().lower()


async def is_ready(port: int, process_id: int | None = None) -> bool:
    """Whether the service on the port answers /health/ready with 200, and is the process meant where it says which."""
    return await asyncio.to_thread(is_ready_now, port, process_id)


def is_ready_now(port: int, process_id: int | None = None) -> bool:
    """The same, blocking. Somebody else may have taken the port between choosing and binding it."""
    connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        told = json.loads(answer.read() or b"{}").get("process_id", process_id)
        return answer.status == http.HTTPStatus.OK and (process_id is None or told == process_id)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def environment(
    spec: ServiceSpec, folder: StackFolder, service_ports: Mapping[str, int], bootstrap: str, admin_dsn: str
) -> dict[str, str]:
    """The settings of one service; the caller's environment may choose log and trace settings, not addresses."""
    chosen = {"ENVIRONMENT": "development", "LOG_FORMAT": "json", "LOG_LEVEL": "INFO", "MIGRATE_ON_START": "true"}
    settings = {
        "PYTHONUNBUFFERED": "1",
        "LEDGERBUS_HTTP_HOST": ports.LOOPBACK,
        "LEDGERBUS_HTTP_PORT": str(service_ports[spec.name]),
        "LEDGERBUS_KAFKA_BOOTSTRAP": bootstrap,
        "LEDGERBUS_JWKS_FILE": str(folder.jwks),
        "LEDGERBUS_JWT_ISSUER": "http://ledgerbus.local",
        "LEDGERBUS_JWT_AUDIENCE": "ledgerbus",
        "LEDGERBUS_SPAN_FILE": str(folder.spans / f"{spec.name}.jsonl"),
    }
    for called in spec.calls:
        settings[f"LEDGERBUS_{called.upper()}_URL"] = f"http://{ports.LOOPBACK}:{service_ports[called]}"
    if spec.name == "ledger":
        settings["LEDGERBUS_LEDGER_SIGNING_KEY"] = str(folder.signing_key)
    if spec.name == "invoicing":
        settings["LEDGERBUS_INVOICING_SEALING_KEYS"] = str(folder.sealing_keys)
    if spec.database:
        dsns = service_dsns(f"{admin_dsn.rpartition('/')[0]}/{spec.name}", spec.name, folder.passwords(spec.name))
        settings |= {f"LEDGERBUS_POSTGRES_{role.upper()}_DSN": getattr(dsns, role) for role in ROLES}
    return {**chosen, **os.environ, **settings, **spec.environment}
