"""Kafka with access rules: the listed rights are those that the services use, each of them and no other."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from libs.cli import books, charts, demo_messages, demo_receivables, session
from libs.cli.demo_payments import LEDGER, ORGANIZATION
from libs.cli.session import Stack
from libs.common import clock, metrics
from libs.common.bus import KafkaSettings, Message, Publisher
from libs.common.group_reading import GroupReading
from libs.devstack import topics
from libs.devstack.folder import StackFolder
from libs.devstack.services import SERVICES
from libs.devstack.stack import stack_status
from libs.devstack.supervisor import Supervisor
from tests.invoicing.hearing import eventually
from tests.support.guarded_kafka import GuardedKafka, Right, listed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

REQUESTS, GROUP = "ledger.requests.v1", "ledger-requests"
HIDDEN = Right("invoicing", "Describe", "group", GROUP)
SEEN = [Right("invoicing", operation, "topic", REQUESTS) for operation in ("Write", "DescribeConfigs")]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[GuardedKafka]:
    """A broker with the topic of requests, on which invoicing has no rights yet."""
    guarded = GuardedKafka(tmp_path / "kafka", tmp_path / "kafka.log", [Right("invoicing", "Read", "group", "own")])
    await guarded.start()
    await topics.ensure(guarded.bootstrap, [topics.Topic(REQUESTS, 2)])
    try:
        yield guarded
    finally:
        await guarded.stop()


async def test_a_group_that_is_hidden_is_said_once_and_counts_as_read(broker: GuardedKafka) -> None:
    reading = GroupReading(broker.settings_of("invoicing"), GROUP, REQUESTS)
    gauge = metrics.KAFKA_GROUP_HIDDEN.labels(GROUP)
    publisher = Publisher(KafkaSettings(broker.bootstrap), name="test")
    await publisher.publish([Message(REQUESTS, b"main", b"{}", [])])
    await publisher.stop()
    reader = KafkaSettings(broker.bootstrap).consumer(GROUP, None)  # so that the group has somebody who coordinates it
    reader.subscribe([REQUESTS])
    await reader.start()
    await reader.stop()

    async def looked() -> tuple[bool, float, list[str]]:
        with capture_logs() as said:
            is_behind = await reading.is_behind(clock.now())
        return is_behind, gauge._value.get(), [line["event"] for line in said]

    assert await looked() == (False, 1, ["group-hidden"])
    await broker.allow(SEEN[:1])
    assert await looked() == (False, 1, [])
    await broker.allow(SEEN[1:])
    assert await looked() == (False, 1, [])
    await broker.allow([HIDDEN])
    assert await looked() == (True, 0, ["group-shown"])


async def unreadable(bootstrap: str) -> None:
    """One message that nobody can read, on every topic that somebody reads."""
    known = {right.name for right in listed()}
    names = [topic.name for topic in topics.listed() if f"{topic.name}.dead-letter" in known]
    publisher = Publisher(KafkaSettings(bootstrap), name="test")
    await publisher.publish([Message(name, b"main", b"\xff", []) for name in names])
    await publisher.stop()


@pytest.fixture
async def guarded_stack(tmp_path: Path) -> AsyncIterator[tuple[Stack, GuardedKafka]]:
    """The whole stack, whose services come to Kafka with a name and the listed rights."""
    folder = StackFolder(tmp_path)
    with folder.held():
        kafka = GuardedKafka(folder.kafka, folder.log("kafka"), listed())
        specs = [
            replace(spec, port=None, environment={**spec.environment, **kafka.environment_of(spec.name)})
            if spec.database
            else replace(spec, port=None)
            for spec in SERVICES
        ]
        supervisor = Supervisor(folder, specs, lambda _: None, kafka=kafka)
        await supervisor.start()
        watching = asyncio.create_task(supervisor.watch())
        try:
            yield session.of_status(tmp_path, supervisor.status()), kafka
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await supervisor.stop()


async def test_the_services_use_the_listed_rights_and_no_others(guarded_stack: tuple[Stack, GuardedKafka]) -> None:
    stack, kafka = guarded_stack
    async with stack.operator() as operator:
        await books.ensure_organization(operator, ORGANIZATION)
    async with stack.client(ORGANIZATION) as client:
        await books.open_accounts(client, LEDGER, charts.read("demo").accounts)
        await demo_messages.request_payments(stack.bootstrap)
        await demo_receivables.play(Console(quiet=True), client, stack.bootstrap)
    await unreadable(stack.bootstrap)
    os.kill(stack_status(stack.data_dir)["ledger"]["pid"], signal.SIGTERM)  # begun again, it reads what it published
    wanted = set(listed()) - {HIDDEN}  # asked for where an answer is late, which none was

    async def all_used() -> bool:
        return wanted <= kafka.told()[0]

    with suppress(AssertionError):
        await eventually(all_used, 40)
    allowed, denied = kafka.told()
    implied = {right._replace(operation="Describe") for right in listed()}
    assert denied == set()
    assert wanted - allowed == set()
    assert allowed - implied - wanted == set()
