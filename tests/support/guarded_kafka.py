"""A real broker with access rules: nobody may do what no rule allows, and its log tells what it allowed and denied.

Two listeners: the usual one, whose clients are nobody in particular and may do everything (the stack's own work, and a
test's), and a guarded one, where a client gives its name and password (SASL PLAIN) and has the rights of its rules.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.protocol.admin import CreateAclsRequest

from libs.common.bus import KafkaSettings
from libs.devstack import jars, ports
from libs.devstack.kafka import Kafka

ACCESS = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "access.json"
_KINDS = {"topic": 2, "group": 3}
_OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}
_LITERAL, _ALLOW = 3, 3
_TOLD = re.compile(
    r"Principal = User:(\w+) is (Allowed|Denied) operation = (\w+) from host = \S+ on resource = (\w+):LITERAL:(\S+)",
    re.IGNORECASE,
)
_LOG4J = """logger.authorizer.name=kafka.authorizer.logger
logger.authorizer.level=debug
"""


class Right(NamedTuple):
    """What one service may do with one topic or group."""

    service: str
    operation: str
    kind: str
    name: str


def listed(path: Path = ACCESS) -> list[Right]:
    """The rights of the list."""
    return [right for row in json.loads(path.read_text(encoding="utf-8")) for right in rights_of(row)]


def rights_of(row: Mapping[str, Any]) -> list[Right]:
    """The rights of one row of the list."""
    (kind,) = _KINDS.keys() & row.keys()
    return [Right(row["service"], operation, kind, row[kind]) for operation in row["operations"]]


class GuardedKafka(Kafka):
    """One broker with `rights`, for services who give their name as their password too."""

    def __init__(self, folder: Path, log: Path, rights: Iterable[Right]) -> None:
        super().__init__(folder, log)
        self._rights = list(rights)
        self._services = sorted({right.service for right in self._rights})
        self._guarded = ports.free_port()

    @property
    def guarded_bootstrap(self) -> str:
        """host:port of the guarded listener."""
        return f"{ports.LOOPBACK}:{self._guarded}"

    def environment_of(self, service: str) -> dict[str, str]:
        """The settings with which a service comes by the guarded listener."""
        return {
            "LEDGERBUS_KAFKA_BOOTSTRAP": self.guarded_bootstrap,
            "LEDGERBUS_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "LEDGERBUS_KAFKA_SASL_MECHANISM": "PLAIN",
            "LEDGERBUS_KAFKA_SASL_USERNAME": service,
            "LEDGERBUS_KAFKA_SASL_PASSWORD": service,
        }

    def settings_of(self, service: str) -> KafkaSettings:
        """The same for a client in the test."""
        return KafkaSettings(self.guarded_bootstrap, "SASL_PLAINTEXT", "PLAIN", service, service)

    async def start(
        self, port: int | None = None, controller_port: int | None = None, *, progress: jars.Progress = lambda _: None
    ) -> int:
        """See Kafka; then there are the rights."""
        started = await super().start(port, controller_port, progress=progress)
        await self.allow(self._rights)
        return started

    async def allow(self, rights: Iterable[Right]) -> None:
        """Adds rights."""
        async with KafkaSettings(self.bootstrap).admin() as admin:
            for right in rights:
                answer = await admin._send_request(
                    CreateAclsRequest(
                        _KINDS[right.kind], right.name, _LITERAL, f"User:{right.service}", "*",
                        _OPERATIONS[right.operation], _ALLOW,
                    )
                )  # fmt: skip
                assert [row[0] for row in answer.creation_responses] == [0], answer

    def told(self) -> tuple[set[Right], set[Right]]:
        """What the broker allowed to services, and what it denied."""
        found: dict[str, set[Right]] = {"allowed": set(), "denied": set()}
        for service, verdict, operation, kind, name in _TOLD.findall(self.log.read_text(encoding="utf-8")):
            if service in self._services:
                word = "".join(part.capitalize() for part in operation.split("_"))
                found[verdict.lower()].add(Right(service, word, kind.lower(), name))
        return found["allowed"], found["denied"]

    def _write_settings(self) -> None:
        super()._write_settings()
        with (self.folder / "log4j2.properties").open("a", encoding="utf-8") as settings:
            settings.write(_LOG4J)

    def _settings(self) -> dict[str, str]:
        settings = super()._settings()
        users = " ".join(f'user_{service}="{service}"' for service in self._services)
        return settings | {
            "listeners": f"{settings['listeners']},GUARDED://{self.guarded_bootstrap}",
            "advertised.listeners": f"{settings['advertised.listeners']},GUARDED://{self.guarded_bootstrap}",
            "listener.security.protocol.map": f"{settings['listener.security.protocol.map']},GUARDED:SASL_PLAINTEXT",
            "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
