"""The rates the ledger service has heard of: one insert, append-only.

`known_at` is strictly rising in the order of commits: whoever stores rates holds one lock until the end of the
transaction, and takes an instant later than the last one stored. So the rates known at an instant are the same set
whenever they are asked for.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Connection

_LOCK: Final = 0x7261746573
"""Its own number among advisory locks: "rates"."""


class HeardRate(NamedTuple):
    """A rate event; `organization_id` None is everybody's."""

    organization_id: UUID | None
    provider: str
    base: str
    counter: str
    rate: Decimal
    on: date
    published_at: datetime
    supersedes: str | None
    event_source: str
    event_id: str


async def store_rates(connection: Connection, heard: Sequence[HeardRate], at: datetime) -> int:
    """Stores those not heard before, in their order; `at` is now. Gives how many were new. Wants a transaction."""
    if not heard:
        return 0
    await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
    added: str = await connection.execute(
        """
        insert into rates (organization_id, provider, base, counter, rate, rate_on, published_at, known_at, supersedes,
            event_source, event_id)
        select organization_id, provider, base, counter, rate, rate_on, published_at,
            greatest($11, (select max(known_at) from rates)) + place * interval '1 microsecond',
            supersedes, event_source, event_id
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::date[], $7::timestamptz[],
                $8::text[], $9::text[], $10::text[])
            with ordinality as event (organization_id, provider, base, counter, rate, rate_on, published_at, supersedes,
                event_source, event_id, place)
        on conflict on constraint heard_once do nothing
        """,
        *(list(column) for column in zip(*heard, strict=True)),
        at,
    )
    return int(added.removeprefix("INSERT 0 "))
