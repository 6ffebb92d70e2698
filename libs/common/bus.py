"""Kafka: the one place where its clients are built, because aiokafka's defaults are unsafe for money.

    default of aiokafka         here                 because
    acks=1                      all, idempotent      an acknowledged message survives its leader
    auto_offset_reset=latest    none                 a lost position stops the consumer, nothing is skipped
    auto-commit                 off                  the position is in the database, in the effect's transaction
    read_uncommitted            read_committed       an aborted transaction's messages do not exist
    rebalance timeout 10 s      60 s                 a batch in hand is finished before its partition moves

Publisher, Consumer and Message are given here, so that a service imports this module alone.
"""

import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from libs.common.consumer import Batch, Consumer, Decoded, Positions
from libs.common.dead_letters import DEAD_LETTER_SUFFIX, DeadLetterLimits, TooManyDeadLetters
from libs.common.errors import Misconfigured, Transient
from libs.common.messages import CloudEvent, Headers, Message, cloud_event_headers, parse_headers
from libs.common.publisher import OversizeMessage, Publisher, partition_of
from libs.common.settings import ServiceSettings

__all__ = [
    "DEAD_LETTER_SUFFIX",
    "Batch",
    "CloudEvent",
    "Cluster",
    "Consumer",
    "DeadLetterLimits",
    "Decoded",
    "Headers",
    "KafkaSettings",
    "Message",
    "OversizeMessage",
    "Positions",
    "Publisher",
    "TooManyDeadLetters",
    "TopicFacts",
    "cloud_event_headers",
    "parse_headers",
    "partition_of",
]

REQUEST_TIMEOUT_MS: Final = 10_000
SESSION_TIMEOUT_MS: Final = 30_000
HEARTBEAT_MS: Final = 3_000
REBALANCE_TIMEOUT_MS: Final = 60_000
FETCH_PARTITION_BYTES: Final = 4 * 1024 * 1024
FETCH_BYTES: Final = 16 * 1024 * 1024

_READING: Final[Mapping[str, Any]] = {
    "auto_offset_reset": "none",
    "enable_auto_commit": False,
    "isolation_level": "read_committed",
    "max_partition_fetch_bytes": FETCH_PARTITION_BYTES,
    "fetch_max_bytes": FETCH_BYTES,
}


class TopicFacts(NamedTuple):
    """What the broker says of a topic."""

    partitions: int
    max_message_bytes: int


class Cluster(NamedTuple):
    """The cluster that answered, and those of the topics asked for which exist."""

    cluster_id: str
    topics: Mapping[str, TopicFacts]


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the brokers are and how to prove who we are. `bootstrap` is host:port, several separated by commas."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    @classmethod
    def of(cls, settings: ServiceSettings) -> "KafkaSettings":
        """The Kafka part of a service's settings. Raises Misconfigured where SASL lacks its name or password."""
        password = settings.kafka_sasl_password
        if settings.kafka_security_protocol.startswith("SASL") and not (settings.kafka_sasl_username and password):
            raise Misconfigured("LEDGERBUS_KAFKA_SASL_USERNAME and _PASSWORD are needed with a SASL protocol.")
        return cls(
            settings.kafka_bootstrap,
            settings.kafka_security_protocol,
            settings.kafka_sasl_mechanism,
            settings.kafka_sasl_username,
            password.get_secret_value() if password else None,
            settings.kafka_ssl_cafile,
            settings.kafka_ssl_certfile,
            settings.kafka_ssl_keyfile,
        )

    def producer(self, name: str, *, batch_bytes: int) -> AIOKafkaProducer:
        """A producer, not started: acknowledged by all in-sync replicas, idempotent."""
        return AIOKafkaProducer(
            **self._connection(name),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=batch_bytes,
        )

    def consumer(self, group: str, member: str | None) -> AIOKafkaConsumer:
        """A consumer, not started and not subscribed, that never decides by itself where to read."""
        return AIOKafkaConsumer(
            **self._connection(f"{group}-{member}" if member else group),
            **_READING,
            group_id=group,
            group_instance_id=member,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        )

    def reader(self, name: str) -> AIOKafkaConsumer:
        """A consumer without a group, not started: it reads the partitions it is assigned, and nobody coordinates it.

        With a group, assigning twice is a race that aiokafka's coordinator can lose (an AssertionError of its own).
        """
        return AIOKafkaConsumer(**self._connection(name), **_READING, group_id=None)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """An admin client for one block. Raises Transient when no broker answers."""
        client = AIOKafkaAdminClient(**self._connection("admin"))
        try:
            await client.start()
            yield client
        except KafkaError as error:
            raise Transient(f"Kafka at {self.bootstrap} does not answer: {error}") from error
        finally:
            await client.close()

    async def cluster(self, topics: Collection[str]) -> Cluster:
        """The cluster's id and the facts of those `topics` that exist; asking never creates one. Raises Transient."""
        async with self.admin() as admin:
            cluster_id = (await admin.describe_cluster())["cluster_id"]
            partitions = {
                row["topic"]: len(row["partitions"]) for row in await admin.describe_topics() if row["topic"] in topics
            }
            if not partitions:
                return Cluster(cluster_id, {})
            asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in sorted(partitions)]
            answers = await admin.describe_configs(asked)
        limits = {row[3]: _max_message_bytes(row) for answer in answers for row in answer.resources}
        return Cluster(cluster_id, {topic: TopicFacts(count, limits[topic]) for topic, count in partitions.items()})

    def _connection(self, name: str) -> dict[str, Any]:
        secured = self.security_protocol in {"SSL", "SASL_SSL"}
        return {
            "bootstrap_servers": self.bootstrap.split(","),
            "client_id": name,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "security_protocol": self.security_protocol,
            "ssl_context": self._tls() if secured else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except OSError as error:
            raise Misconfigured(f"Kafka's TLS files cannot be used: {error}") from error
        return context


def _max_message_bytes(row: Any) -> int:
    """From one resource of a DescribeConfigs answer: (error code, message, type, name, settings)."""
    code, message, _, topic, settings = row[:5]
    values = {setting[0]: setting[1] for setting in settings}
    if code != 0 or "max.message.bytes" not in values:
        raise Misconfigured(f"The settings of topic {topic} cannot be read (code {code}: {message}).")
    return int(values["max.message.bytes"])
