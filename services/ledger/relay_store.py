"""The relay's SQL: which ledgers are behind, one session's locks on them, their records, their cursors.

Statements over many ledgers at once, keyed: the plan that reads the log must not depend on how full it was when it was
made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from libs.common.db import Connection, Pool, transaction
from services.ledger.published import Place

LOCKS: Final = 0x52454C41
"""The first half of the advisory locks' key; the second is the ledger's number."""

_KEYED_PLANS: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_hashjoin": "off"}


@dataclass(frozen=True, slots=True)
class Head:
    """A ledger as its row and its cursor's row say."""

    no: int
    id: UUID
    organization: str
    code: str
    place: Place
    cursor: Place | None


async def load_behind(pool: Pool) -> list[tuple[int, int, int]]:
    """Ledgers whose log is longer than their cursor says: number, epoch, records behind."""
    rows = await pool.fetch(
        """
        select l.no, l.epoch, l.sequence - coalesce(c.sequence, 0) as behind
        from ledgers l left join relay_cursors c on c.ledger_no = l.no
        where l.sequence > coalesce(c.sequence, 0)
        """
    )
    return [(row["no"], row["epoch"], row["behind"]) for row in rows]


async def lock(connection: Connection, nos: Sequence[int]) -> list[int]:
    """Those of the ledgers that no other relay works on; they are this session's until `unlock`."""
    rows = await connection.fetch(
        "select no from unnest($1::int[]) as wanted (no) where pg_try_advisory_lock($2, no)", nos, LOCKS
    )
    return [row["no"] for row in rows]


async def unlock(connection: Connection, nos: Sequence[int]) -> None:
    """Lets other relays work on these ledgers."""
    await connection.execute("select pg_advisory_unlock($2, no) from unnest($1::int[]) as held (no)", nos, LOCKS)


async def unlock_all(connection: Connection) -> None:
    """Lets go of every lock of this session."""
    await connection.execute("select pg_advisory_unlock_all()")


async def load_heads(connection: Connection, nos: Sequence[int]) -> list[Head]:
    """The ledgers' heads and cursors; read after locking, so that no other relay moves the cursors any more."""
    rows = await connection.fetch(
        """
        select l.no, l.id, o.slug, l.code, l.epoch, l.sequence, l.hash,
            c.sequence as cursor_sequence, c.hash as cursor_hash
        from ledgers l
        join organizations o on o.id = l.organization_id
        left join relay_cursors c on c.ledger_no = l.no
        where l.no = any($1::int[])
        """,
        nos,
    )
    return [_head(row) for row in rows]


def _head(row: Mapping[str, Any]) -> Head:
    cursor = row["cursor_sequence"]
    return Head(
        no=row["no"],
        id=row["id"],
        organization=row["slug"],
        code=row["code"],
        place=Place(row["epoch"], row["sequence"], row["hash"]),
        cursor=Place(row["epoch"], cursor, row["cursor_hash"]) if cursor is not None else None,
    )


async def load_compared(connection: Connection, places: Mapping[UUID, Place]) -> dict[UUID, tuple[Head, bytes | None]]:
    """The ledgers with these ids, and the hash their log has at the place's sequence (None: it is not that long)."""
    async with transaction(connection, readonly=True, settings=_KEYED_PLANS):
        rows = await connection.fetch(
            """
            select l.no, l.id, o.slug, l.code, l.epoch, l.sequence, l.hash, g.hash as log_hash,
                c.sequence as cursor_sequence, c.hash as cursor_hash
            from unnest($1::uuid[], $2::bigint[]) as p (id, sequence)
            join ledgers l on l.id = p.id
            join organizations o on o.id = l.organization_id
            left join log g on g.ledger_no = l.no and g.sequence = p.sequence
            left join relay_cursors c on c.ledger_no = l.no
            """,
            list(places),
            [place.sequence for place in places.values()],
        )
    return {row["id"]: (_head(row), row["log_hash"]) for row in rows}


async def load_records(
    connection: Connection, behind: Mapping[int, Place], per_ledger: int, bytes_max: int
) -> list[tuple[int, int, str, bytes]]:
    """Ledger number, sequence, payload and hash behind each place, in order; at least one record in all."""
    async with transaction(connection, readonly=True, settings=_KEYED_PLANS):
        rows = await connection.fetch(
            """
            select no, sequence, payload, hash
            from (
                select t.no, t.rank, g.sequence, g.payload, g.hash,
                    sum(octet_length(g.payload)) over (order by t.rank, g.sequence rows unbounded preceding)
                        - octet_length(g.payload) as bytes_before
                from unnest($1::int[], $2::bigint[]) with ordinality as t (no, after, rank)
                cross join lateral (
                    select sequence, payload, hash from log
                    where ledger_no = t.no and sequence > t.after
                    order by sequence
                    limit $3
                ) g
            ) r
            where bytes_before < $4
            order by rank, sequence
            """,
            list(behind),
            [place.sequence for place in behind.values()],
            per_ledger,
            bytes_max,
        )
    return [tuple(row) for row in rows]


async def move_cursors(connection: Connection, places: Mapping[int, Place]) -> None:
    """Remembers how far these ledgers are published. The commit waits for no disk: what Kafka has is read there."""
    await connection.execute(
        """
        insert into relay_cursors (ledger_no, sequence, hash)
        select w.* from (select set_config('synchronous_commit', 'off', true)) s
        cross join unnest($1::int[], $2::bigint[], $3::bytea[]) w
        on conflict (ledger_no) do update set sequence = excluded.sequence, hash = excluded.hash
        """,
        list(places),
        [place.sequence for place in places.values()],
        [place.hash for place in places.values()],
    )
