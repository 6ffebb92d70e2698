"""What a consumer keeps in its service's database: where it is, and which events it has seen.

    consumer_offsets   the offset fence: one row per partition, moved in the transaction that has the effect
    inbox              event ids, for topics where the same event may be published twice under another offset

The fence: a batch was read from `expected`; its transaction moves the row from exactly `expected` to the next offset,
or does not commit. So of two consumers that hold one partition for a moment, one is sent away, and a batch done twice
has the effect of once. Offsets have holes (transactions, compaction), so the row is never compared with a record's own
offset. The cluster's id stands beside it: offsets of another cluster mean nothing here.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from libs.common.array_text import array_columns, array_text
from libs.common.db import Connection, Pool
from libs.common.errors import Failure, Transient

DDL: Final = """
create table consumer_offsets (
    topic       text    not null,
    partition   integer not null,
    cluster_id  text    not null,
    next_offset bigint  not null check (next_offset >= 0),
    primary key (topic, partition)
);

create table inbox (
    source      text        not null,
    event_id    text        not null,
    received_at timestamptz not null default now(),
    primary key (source, event_id)
);
create index inbox_by_time on inbox using brin (received_at);
"""
"""For a service's migration. A service whose requests carry a key of their own (the ledger) needs no inbox."""


class FenceLost(Transient):
    """Another consumer moved the position meanwhile: roll back, read the position again, go on from there."""


class PositionLost(Failure):
    """The stored position is not in this cluster or topic any more. Stop: going on anywhere would skip or repeat."""


class Move(NamedTuple):
    """A fence on its way: of a partition of a topic in a cluster, from `expected` to `next_offset`."""

    cluster_id: str
    topic: str
    partition: int
    expected: int
    next_offset: int


async def advance(
    connection: Connection, cluster_id: str, topic: str, partition: int, expected_next: int, new_next: int
) -> None:
    """Move one fence inside the effect's transaction. Raises FenceLost when it is not at `expected_next`."""
    await advance_each(connection, [Move(cluster_id, topic, partition, expected_next, new_next)])


async def advance_each(connection: Connection, moves: Sequence[Move]) -> None:
    """Move fences of different partitions inside their effects' transaction, in the order given.

    Raises FenceLost where one of them is not where it is expected.
    """
    rows = await connection.fetch(
        """
        update consumer_offsets o
           set next_offset = moved.next_offset
          from unnest($1::text::text[], $2::text::text[], $3::text::integer[], $4::text::bigint[], $5::text::bigint[])
               as moved (cluster_id, topic, partition, expected, next_offset)
         where o.topic = moved.topic and o.partition = moved.partition and o.cluster_id = moved.cluster_id
           and o.next_offset = moved.expected
        returning o.topic, o.partition
        """,
        *array_columns(moves),
    )
    moved = {(row["topic"], row["partition"]) for row in rows}
    for move in moves:
        if (move.topic, move.partition) not in moved:
            raise FenceLost(f"the position of {move.topic}/{move.partition} is no longer {move.expected}")


async def unseen(connection: Connection, events: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Remember (source, id) of events inside the effect's transaction; gives those not seen before.

    An event that is twice in `events` is given once: the caller handles the first.
    """
    rows = await connection.fetch(
        """
        insert into inbox (source, event_id)
        select distinct source, event_id from unnest($1::text::text[], $2::text::text[]) as event (source, event_id)
        on conflict do nothing
        returning source, event_id
        """,
        array_text([source for source, _ in events]),
        array_text([event_id for _, event_id in events]),
    )
    return {(row["source"], row["event_id"]) for row in rows}


async def forget(connection: Connection, before: datetime, limit: int = 10_000) -> int:
    """Delete at most `limit` events received before an instant (older than any replay); gives how many."""
    deleted: str = await connection.execute(
        """
        delete from inbox
         where (source, event_id) in (select source, event_id from inbox where received_at < $1 limit $2)
        """,
        before,
        limit,
    )
    return int(deleted.removeprefix("DELETE "))


class StoredPositions:
    """The consumer's `Positions` in `consumer_offsets`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self, cluster_id: str, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
        """Partition -> next offset, None where none was ever stored. Raises PositionLost for another cluster's."""
        rows = await self._pool.fetch(
            """
            select partition, cluster_id, next_offset from consumer_offsets where topic = $1 and partition = any($2)
            """,
            topic,
            list(partitions),
        )
        for row in rows:
            if row["cluster_id"] != cluster_id:
                raise PositionLost(
                    f"The position of {topic}/{row['partition']} belongs to Kafka cluster {row['cluster_id']}, this is "
                    f"{cluster_id}. Connect to the right cluster, or follow the runbook on a replaced cluster."
                )
        stored = {row["partition"]: row["next_offset"] for row in rows}
        return {partition: stored.get(partition) for partition in partitions}

    async def start(self, cluster_id: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Store first positions; where one is stored already (by a faster process) it stays."""
        await self._pool.execute(
            """
            insert into consumer_offsets (topic, partition, cluster_id, next_offset)
            select $2, partition, $1, next_offset from unnest($3::int[], $4::bigint[]) as first (partition, next_offset)
            on conflict do nothing
            """,
            cluster_id,
            topic,
            list(offsets.keys()),
            list(offsets.values()),
        )
