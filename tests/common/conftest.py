"""Fixtures of the common library's tests."""

from collections.abc import AsyncIterator

import pytest

from libs.common import db, inbox
from libs.common.bus import (
    KafkaSettings,
    Publisher,
)
from tests.common.consumer_bench import Bench
from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
async def consumer_pool(postgres: PostgresServer) -> AsyncIterator[db.Pool]:
    async with postgres.database() as dsn:
        pool = await db.create_pool(dsn, name="consumer", max_size=6)
        await pool.execute(inbox.DDL)
        await pool.execute("create table effect (n int unique, place bigint generated always as identity)")
        yield pool
        await pool.close()


@pytest.fixture
async def bench(kafka: KafkaBroker, consumer_pool: db.Pool) -> AsyncIterator[Bench]:
    topic = kafka.unique_topic("read")
    await kafka.create_topics({topic: 1, f"{topic}.dead-letter": 1})
    await consumer_pool.execute("truncate effect, consumer_offsets, inbox")
    publisher = Publisher(KafkaSettings(kafka.bootstrap), name="bench")
    await publisher.start()
    bench = Bench(kafka, consumer_pool, topic, publisher)
    yield bench
    for consumer in bench.consumers:
        await consumer.stop()
    await publisher.stop()
