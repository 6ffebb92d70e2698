"""The rates the ledger service has heard of: one insert, append-only.

`known_at` is strictly rising in the order of commits: whoever stores rates holds one lock until the end of the
transaction, and takes an instant later than the last one stored. So the rates known at an instant are the same set
whenever they are asked for.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs.common.db import Connection
from libs.common.heard_rates import HeardRate
from libs.common.journal import organization_id

_LOCK: Final = 0x7261746573
"""Its own number among advisory locks: "rates"."""


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
        [None if rate.organization is None else organization_id(rate.organization) for rate in heard],
        *(list(column) for column in list(zip(*heard, strict=True))[1:]),
        at,
    )
    return int(added.removeprefix("INSERT 0 "))
