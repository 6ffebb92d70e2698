"""Answers kept under the caller's own key, claimed and stored in the transaction that does what was asked.

claim -> (nobody had the key: do it, then `store`) or the answer that was given. Two that claim one key at once: the
second waits for the first one's commit in `claim`, and finds its answer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from libs.common.db import Connection


class Claim(NamedTuple):
    """A wish's key, scoped to who asks, and the SHA-256 of what it stands for."""

    organization: str
    scope: str
    key: str
    fingerprint: bytes


class Kept(NamedTuple):
    """What was answered under a key; `fingerprint` says to what."""

    fingerprint: bytes
    status: int
    body: bytes


async def claim(connection: Connection, claims: Sequence[Claim], now: datetime) -> dict[Claim, Kept | None]:
    """Claims keys, in their order, each given once: None where it is new, else the answer kept under it."""
    ordered = sorted(claims)
    columns = [[each[place] for each in ordered] for place in range(4)]
    won = await connection.fetch(
        """
        insert into requests (organization, scope, key, fingerprint, created_at)
        select organization, scope, key, fingerprint, $5
        from unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) as wish (organization, scope, key, fingerprint)
        on conflict do nothing
        returning organization, scope, key
        """,
        *columns,
        now,
    )
    new = {tuple(row) for row in won}
    outcomes: dict[Claim, Kept | None] = {each: None for each in ordered if tuple(each[:3]) in new}
    known = [each for each in ordered if each not in outcomes]
    if known:
        rows = await connection.fetch(
            """
            select r.organization, r.scope, r.key, r.fingerprint, r.status, r.body
            from unnest($1::text[], $2::text[], $3::text[]) as wish (organization, scope, key)
            join requests r on r.organization = wish.organization and r.scope = wish.scope and r.key = wish.key
            """,
            *([each[place] for each in known] for place in range(3)),
        )
        kept = {tuple(row)[:3]: Kept(row["fingerprint"], row["status"], row["body"]) for row in rows}
        outcomes.update({each: kept[tuple(each[:3])] for each in known})
    return outcomes


async def store(connection: Connection, answers: Sequence[tuple[Claim, int, bytes]]) -> None:
    """Keeps what is answered under claimed keys: status and body."""
    if not answers:
        return
    await connection.execute(
        """
        update requests r
           set status = answer.status, body = answer.body
          from unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::bytea[])
               as answer (organization, scope, key, status, body)
         where r.organization = answer.organization and r.scope = answer.scope and r.key = answer.key
        """,
        *([each[0][place] for each in answers] for place in range(3)),
        [status for _, status, _ in answers],
        [body for _, _, body in answers],
    )


async def unclaim(connection: Connection, claims: Sequence[Claim]) -> None:
    """Lets go of keys whose answer is not kept (what was asked for may exist tomorrow)."""
    if not claims:
        return
    await connection.execute(
        """
        delete from requests r
         using unnest($1::text[], $2::text[], $3::text[]) as wish (organization, scope, key)
         where r.organization = wish.organization and r.scope = wish.scope and r.key = wish.key
        """,
        *([each[place] for each in claims] for place in range(3)),
    )


async def forget(connection: Connection, now: datetime, retention: timedelta, limit: int = 10_000) -> int:
    """Deletes answers older than `retention`, at most `limit`; gives how many."""
    deleted: str = await connection.execute(
        """
        delete from requests where (organization, scope, key) in (
            select organization, scope, key from requests where created_at < $1 order by created_at limit $2)
        """,
        now - retention,
        limit,
    )
    return int(deleted.removeprefix("DELETE "))
