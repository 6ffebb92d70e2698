"""The offset fence and the inbox, against a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.common import db, inbox
from libs.common.clock import now
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.database


@pytest.fixture
async def pool(postgres: PostgresServer) -> AsyncIterator[db.Pool]:
    async with postgres.database() as dsn:
        pool = await db.create_pool(dsn, name="inbox", max_size=4)
        await pool.execute(inbox.DDL)
        yield pool
        await pool.close()


async def test_the_fence_moves_from_where_it_is(pool: db.Pool) -> None:
    positions = inbox.StoredPositions(pool)
    await positions.start("c1", "t", {0: 7})
    async with db.transaction(pool) as connection:
        await inbox.advance(connection, "c1", "t", 0, 7, 12)
    assert await positions.load("c1", "t", [0, 1]) == {0: 12, 1: None}


@pytest.mark.parametrize(
    ("cluster", "topic", "partition", "expected"),
    [("c1", "t", 0, 6), ("c1", "t", 0, 8), ("c2", "t", 0, 7), ("c1", "t", 1, 7), ("c1", "u", 0, 7)],
    ids=["behind", "ahead", "another cluster", "another partition", "another topic"],
)
async def test_a_fence_that_is_elsewhere_is_lost(
    pool: db.Pool, cluster: str, topic: str, partition: int, expected: int
) -> None:
    await inbox.StoredPositions(pool).start("c1", "t", {0: 7})
    with pytest.raises(inbox.FenceLost, match=f"{topic}/{partition}"):
        async with db.transaction(pool) as connection:
            await inbox.advance(connection, cluster, topic, partition, expected, 20)
    assert await inbox.StoredPositions(pool).load("c1", "t", [0]) == {0: 7}


async def test_fences_of_several_partitions_move_together(pool: db.Pool) -> None:
    positions = inbox.StoredPositions(pool)
    await positions.start("c1", "t", {0: 7, 1: 0, 2: 5})
    async with db.transaction(pool) as connection:
        await inbox.advance_each(connection, [inbox.Move("c1", "t", 0, 7, 9), inbox.Move("c1", "t", 1, 0, 4)])
    assert await positions.load("c1", "t", [0, 1, 2]) == {0: 9, 1: 4, 2: 5}


async def test_of_several_fences_one_that_is_elsewhere_is_enough(pool: db.Pool) -> None:
    positions = inbox.StoredPositions(pool)
    await positions.start("c1", "t", {0: 7, 1: 0})
    with pytest.raises(inbox.FenceLost, match="t/1 is no longer 3"):
        async with db.transaction(pool) as connection:
            await inbox.advance_each(connection, [inbox.Move("c1", "t", 0, 7, 9), inbox.Move("c1", "t", 1, 3, 4)])
    assert await positions.load("c1", "t", [0, 1]) == {0: 7, 1: 0}


async def test_of_two_consumers_one_has_the_effect(pool: db.Pool) -> None:
    await inbox.StoredPositions(pool).start("c1", "t", {0: 0})
    await pool.execute("create table effect (n int)")

    async def accept() -> str:
        try:
            async with db.transaction(pool) as connection:
                await connection.execute("insert into effect values (1)")
                await inbox.advance(connection, "c1", "t", 0, 0, 5)
        except inbox.FenceLost:
            return "lost"
        return "done"

    assert sorted(await asyncio.gather(*(accept() for _ in range(4)))) == ["done", "lost", "lost", "lost"]
    assert await pool.fetchval("select count(*) from effect") == 1


async def test_positions_of_another_cluster_stop_the_reader(pool: db.Pool) -> None:
    await inbox.StoredPositions(pool).start("c1", "t", {0: 7})
    with pytest.raises(inbox.PositionLost, match="belongs to Kafka cluster c1, this is c2"):
        await inbox.StoredPositions(pool).load("c2", "t", [0])


async def test_a_first_position_never_overwrites(pool: db.Pool) -> None:
    positions = inbox.StoredPositions(pool)
    await positions.start("c1", "t", {0: 7})
    await positions.start("c1", "t", {0: 0, 1: 3})
    assert await positions.load("c1", "t", [0, 1]) == {0: 7, 1: 3}


async def test_an_event_is_seen_once(pool: db.Pool) -> None:
    async with db.transaction(pool) as connection:
        first = await inbox.unseen(connection, [("pay", "1"), ("pay", "2"), ("pay", "1"), ("bank", "1")])
    async with db.transaction(pool) as connection:
        second = await inbox.unseen(connection, [("pay", "2"), ("pay", "3")])
    assert (first, second) == ({("pay", "1"), ("pay", "2"), ("bank", "1")}, {("pay", "3")})


async def test_a_rolled_back_event_is_not_seen(pool: db.Pool) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with db.transaction(pool) as connection:
            await inbox.unseen(connection, [("pay", "1")])
            raise ZeroDivisionError
    async with db.transaction(pool) as connection:
        assert await inbox.unseen(connection, [("pay", "1")]) == {("pay", "1")}


async def test_old_events_are_forgotten_in_portions(pool: db.Pool) -> None:
    async with db.transaction(pool) as connection:
        await inbox.unseen(connection, [("pay", str(number)) for number in range(5)])
    async with pool.acquire() as connection:
        assert await inbox.forget(connection, now() - timedelta(hours=1)) == 0
        assert [await inbox.forget(connection, now() + timedelta(hours=1), limit=3) for _ in range(3)] == [3, 2, 0]
