"""Makes Kafka topics and brings their settings to what is wanted.

`deploy/kafka/topics.json` is the list: name, partitions and settings of every topic. Existing topics keep their
records; settings are altered where they differ. Partitions are never changed on a topic that exists: keys would move
to other partitions and their order would be lost, so that is refused with a sentence.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from libs.devstack.errors import StartError

TOPIC_LIST = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "topics.json"
_TOPIC_ALREADY_EXISTS = 36
_TIME_LIMIT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A wanted topic; `config` are Kafka's topic settings as text."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def listed(path: Path = TOPIC_LIST) -> tuple[Topic, ...]:
    """The topics of the list."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Topic(row["name"], row["partitions"], row.get("config", {})) for row in rows)


async def ensure(bootstrap: str, wanted: Iterable[Topic]) -> None:
    """Creates what is absent, alters settings of what is there; returns when every partition has a leader."""
    topics = list(wanted)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_TIME_LIMIT_MS)
    try:
        await admin.start()
        existing = await _create_absent(admin, topics)
        if existing:
            resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name, dict(topic.config)) for topic in existing]
            await admin.alter_configs(resources)
        await _wait_for_leaders(admin, topics)
    except KafkaError as failure:
        raise StartError(
            f"Kafka's topics could not be made: {failure}", "read Kafka's log, then try again"
        ) from failure
    finally:
        await admin.close()


async def _create_absent(admin: AIOKafkaAdminClient, topics: list[Topic]) -> list[Topic]:
    """Creates and returns those that were there already."""
    new = [NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.config)) for topic in topics]
    answer = await admin.create_topics(new, timeout_ms=_TIME_LIMIT_MS)
    codes = {row[0]: row[1] for row in answer.topic_errors}
    for name, code in codes.items():
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            raise StartError(f"Kafka refused topic {name}: {for_code(code).__name__}", "see deploy/kafka/topics.json")
    return [topic for topic in topics if codes[topic.name] == _TOPIC_ALREADY_EXISTS]


async def _wait_for_leaders(admin: AIOKafkaAdminClient, topics: list[Topic]) -> None:
    """A topic is known to the broker a moment after its creation was answered."""
    deadline = time.monotonic() + _TIME_LIMIT_MS / 1000
    while time.monotonic() < deadline:
        found = {row["topic"]: row for row in await admin.describe_topics([topic.name for topic in topics])}
        if all(_has_leaders(found[topic.name]) for topic in topics):
            return _check_partitions(found, topics)
        await asyncio.sleep(0.02)
    raise StartError("Kafka made the topics but leads not all of them.", "read Kafka's log, then try again")


def _has_leaders(row: Mapping[str, Any]) -> bool:
    partitions = row["partitions"]
    return row["error_code"] == 0 and bool(partitions) and all(one["leader"] >= 0 for one in partitions)


def _check_partitions(found: Mapping[str, Mapping[str, Any]], topics: list[Topic]) -> None:
    for topic in topics:
        count = len(found[topic.name]["partitions"])
        if count != topic.partitions:
            raise StartError(
                f"Topic {topic.name} has {count} partitions, the list says {topic.partitions}.",
                "keep the number, or make a topic with a new name; a local stack can be emptied with: make reset",
            )
