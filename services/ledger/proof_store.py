"""The SQL of proofs that is not the proof itself: heads as callers see them, which ledger is to be proven next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from libs.common.db import Connection, Pool
from libs.common.signing import ChainHead
from services.ledger.records import instant
from services.ledger.replay import Difference


async def read_head(connection: Connection, code: str) -> ChainHead | None:
    """Where the log of one of the organization's ledgers ends."""
    row = await connection.fetchrow(
        """
        select o.slug, l.code, l.id, l.epoch, l.sequence, l.hash, l.recorded_at
        from ledgers l join organizations o on o.id = l.organization_id
        where l.code = $1
        """,
        code,
    )
    return _head(row) if row is not None else None


def _head(row: asyncpg.Record | Any) -> ChainHead:
    return ChainHead(
        organization=row["slug"],
        ledger=row["code"],
        ledger_id=str(row["id"]),
        epoch=row["epoch"],
        sequence=row["sequence"],
        hash=bytes(row["hash"]).hex(),
        recorded_at=instant(row["recorded_at"]),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How far all ledgers are proven. Ages are in seconds by the database's clock."""

    lag_records: int
    failed_ledgers: int
    oldest_at: datetime | None
    age_s: int
    last_s: int
    violations: dict[str, int]


async def claim_next(pool: Pool, round_every: timedelta, claim: timedelta) -> tuple[int, str, str] | None:
    """The ledger whose proof is due and oldest: its number, organization and code; nobody else gets it meanwhile.

    Due is a ledger that was never proven, whose log is not where its proof ended, or whose proof is `round_every` old.
    """
    row = await pool.fetchrow(
        """
        with chosen as (
            select l.no
            from ledgers l left join proofs p on p.ledger_no = l.no
            where (p.claimed_until is null or p.claimed_until < clock_timestamp())
                and (p.proven_at is null or l.sequence <> p.sequence or p.proven_at < clock_timestamp() - $1::interval)
            order by p.proven_at nulls first, l.no
            limit 1
        ), claimed as (
            insert into proofs (ledger_no, claimed_until)
            select no, clock_timestamp() + $2::interval from chosen
            on conflict (ledger_no) do update set claimed_until = excluded.claimed_until
                where proofs.claimed_until is null or proofs.claimed_until < clock_timestamp()
            returning ledger_no
        )
        select l.no, o.slug, l.code
        from claimed c join ledgers l on l.no = c.ledger_no join organizations o on o.id = l.organization_id
        """,
        round_every,
        claim,
    )
    return (row["no"], row["slug"], row["code"]) if row is not None else None


async def keep_claim(pool: Pool, ledger_no: int, claim: timedelta) -> None:
    """The proof goes on: nobody else begins it."""
    await pool.execute(
        "update proofs set claimed_until = clock_timestamp() + $2::interval where ledger_no = $1", ledger_no, claim
    )


async def drop_claim(pool: Pool, ledger_no: int) -> None:
    """The proof was given up: whoever comes next may begin it."""
    await pool.execute("update proofs set claimed_until = null where ledger_no = $1", ledger_no)


async def store_proof(pool: Pool, ledger_no: int, sequence: int, violations: Mapping[str, int]) -> None:
    """A proof ended; its claim, where there was one, ends with it."""
    await pool.execute(
        """
        insert into proofs (ledger_no, sequence, proven_at, violations)
        values ($1, $2, clock_timestamp(), $3::text::jsonb)
        on conflict (ledger_no) do update set sequence = excluded.sequence, proven_at = excluded.proven_at,
            violations = excluded.violations, claimed_until = null
        """,
        ledger_no,
        sequence,
        orjson.dumps(dict(violations)).decode(),
    )


async def load_standing(pool: Pool) -> Standing:
    """How far all ledgers are proven; remembers ledgers that are new since the last time."""
    await pool.execute("insert into proofs (ledger_no) select no from ledgers on conflict do nothing")
    row = await pool.fetchrow(
        """
        select coalesce(sum(greatest(l.sequence - p.sequence, 0)), 0) as lag_records,
            count(*) filter (where p.violations <> '{}') as failed_ledgers,
            min(coalesce(p.proven_at, p.since)) as oldest_at,
            coalesce(extract(epoch from clock_timestamp() - min(coalesce(p.proven_at, p.since))), 0)::bigint as age_s,
            coalesce(extract(epoch from clock_timestamp() - max(coalesce(p.proven_at, p.since))), 0)::bigint as last_s
        from ledgers l join proofs p on p.ledger_no = l.no
        """
    )
    assert row is not None, "an aggregate is one row"
    counted = await pool.fetch(
        """
        select v.key as invariant, sum(v.value::bigint) as violations
        from proofs p cross join lateral jsonb_each_text(p.violations) v
        group by v.key
        """
    )
    violations = {found["invariant"]: int(found["violations"]) for found in counted}
    return Standing(
        int(row["lag_records"]), row["failed_ledgers"], row["oldest_at"], row["age_s"], row["last_s"], violations
    )


async def find_strays(pool: Pool) -> list[Difference]:
    """What no proof of a ledger sees: rows of no ledger, ledgers of no organization, organizations without books.

    And a ledger or an organization that is there twice.
    """
    rows = await pool.fetch(
        """
        select place, ledger_no::text as key, 'a ledger of this number' as expected from find_strays()
        union all
        select 'ledgers', l.code, 'an organization of this ledger' from ledgers l
        where not exists (select from organizations o where o.id = l.organization_id)
        union all
        select 'organizations', o.slug, 'a ledger of this organization' from organizations o
        where not exists (select from ledgers l where l.organization_id = o.id)
        union all
        select 'ledgers', min(code), 'one row' from ledgers group by no having count(*) > 1
        union all
        select 'organizations', min(slug), 'one row' from organizations group by id having count(*) > 1
        """
    )
    return [Difference(row["place"], row["key"], 0, row["expected"], "none") for row in rows]
