"""The fixtures everyone builds on."""

import asyncio

import asyncpg
import pytest

from libs.devstack.databases import with_database
from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer


@pytest.mark.database
async def test_a_database_is_durable_and_its_own(postgres: PostgresServer) -> None:
    async with postgres.database() as first, postgres.database() as second:
        connection = await asyncpg.connect(first)
        await connection.execute("create table mark (number int)")
        assert await connection.fetchval("show fsync") == "on"
        assert await connection.fetchval("show synchronous_commit") == "on"
        await connection.close()
        other = await asyncpg.connect(second)
        assert await other.fetchval("select to_regclass('mark')") is None
        await other.close()


@pytest.mark.database
async def test_a_database_is_gone_after_its_block(postgres: PostgresServer) -> None:
    async with postgres.database() as dsn:
        name = dsn.rpartition("/")[2]
    connection = await asyncpg.connect(postgres.admin_dsn)
    assert not await connection.fetchval("select exists (select from pg_database where datname = $1)", name)
    await connection.close()


@pytest.mark.database
async def test_a_template_is_built_once_however_many_ask(postgres: PostgresServer) -> None:
    built: list[str] = []

    async def build(dsn: str) -> None:
        built.append(dsn)
        connection = await asyncpg.connect(dsn)
        await connection.execute("create table mark as select 7 as number")
        await connection.close()

    names = await asyncio.gather(*(postgres.template("fixture_mark", build) for _ in range(4)))
    assert len(built) <= 1  # zero when another worker was first
    assert len(set(names)) == 1
    async with postgres.database(names[0]) as dsn:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("select number from mark") == 7
        await connection.close()


@pytest.mark.database
async def test_a_service_has_four_roles_and_only_the_migrator_owns(postgres: PostgresServer) -> None:
    await asyncio.gather(*(postgres.service_roles("ledger") for _ in range(3)))
    async with postgres.database(owner="ledger_migrator") as dsn:
        dsns = postgres.service_dsns(dsn, "ledger")
        migrator = await asyncpg.connect(dsns.migrator)
        await migrator.execute("create table mark (number int); grant select on mark to ledger_reader")
        await migrator.close()
        reader = await asyncpg.connect(dsns.reader)
        assert await reader.fetchval("select count(*) from mark") == 0
        assert await reader.fetchval("show transaction_timeout") == "1min"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("insert into mark values (1)")
        await reader.close()
        for stranger in (dsns.writer, dsns.auditor):
            connection = await asyncpg.connect(stranger)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval("select count(*) from mark")
            await connection.close()


@pytest.mark.database
async def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    await postgres.service_roles("ledger")
    right = postgres.service_dsns(postgres.admin_dsn, "ledger").writer
    password = right.partition("://")[2].partition("@")[0].rpartition(":")[2]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(with_database(right.replace(password, "guess"), "postgres"))


@pytest.mark.kafka
async def test_topics_are_made_with_their_settings(kafka: KafkaBroker) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    name = kafka.unique_topic("marks")
    await kafka.create_topics({name: 3}, {"max.message.bytes": "1100000"})
    await kafka.create_topics({name: 3}, {"max.message.bytes": "1100000"})
    record = b"x" * 1_048_576
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", max_request_size=1_200_000)
    await producer.start()
    written = await producer.send_and_wait(name, record, partition=2)
    await producer.stop()
    consumer = AIOKafkaConsumer(name, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    read = await consumer.getone()
    await consumer.stop()
    assert (read.partition, read.offset, read.value) == (2, written.offset, record)
