"""The rates that invoicing has heard of: one insert, append-only, and the one that holds on a day.

`known_at` is strictly rising in the order of commits: whoever stores rates holds one lock until the end of the
transaction, and takes an instant later than the last one stored. So a document's rate can be found again as it was.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Final, NamedTuple

from libs.common.db import Connection
from libs.common.heard_rates import HeardRate

_LOCK: Final = 0x7261746573
"""Its own number among advisory locks: "rates"."""


class DayRate(NamedTuple):
    """`rate` units of `counter` for one of `base`, published for the day `on`; `inverted` from the other way round."""

    base: str
    counter: str
    rate: Decimal
    on: date
    inverted: bool


_INVERTED: Final = Context(prec=12)
"""A rate that was published the other way round is turned at so many digits, more than any is published with."""


async def store_rates(connection: Connection, heard: Sequence[HeardRate], at: datetime) -> int:
    """Stores those not heard before, in their order; `at` is now. Gives how many were new. Wants a transaction."""
    if not heard:
        return 0
    await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
    added: str = await connection.execute(
        """
        insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, supersedes,
            event_source, event_id)
        select organization, provider, base, counter, rate, rate_on, published_at,
            greatest($11, (select max(known_at) from rates)) + place * interval '1 microsecond',
            supersedes, event_source, event_id
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::date[], $7::timestamptz[],
                $8::text[], $9::text[], $10::text[])
            with ordinality as event (organization, provider, base, counter, rate, rate_on, published_at, supersedes,
                event_source, event_id, place)
        on conflict on constraint heard_once do nothing
        """,
        *(list(column) for column in zip(*heard, strict=True)),
        at,
    )
    return int(added.removeprefix("INSERT 0 "))


async def rates_on(
    connection: Connection, organization: str, pairs: Sequence[tuple[str, str]], on: date
) -> dict[tuple[str, str], DayRate]:
    """For each pair (base, counter) its rate of that day or the last one before, turned where it was published the
    other way round.

    The organization's own rate comes before everybody's, a later day before an earlier, one as it was published before
    a turned one, what was published later before what it corrects. A pair without any rate is left out.
    """
    rows = await connection.fetch(
        """
        select distinct on (pair.base, pair.counter) pair.base as wanted_base, pair.counter as wanted_counter,
            r.base, r.counter, r.rate, r.rate_on
        from unnest($2::text[], $3::text[]) as pair (base, counter)
        join rates r on (r.base, r.counter) in ((pair.base, pair.counter), (pair.counter, pair.base))
        where (r.organization is null or r.organization = $1) and r.rate_on <= $4
        order by pair.base, pair.counter, (r.organization is null), r.rate_on desc, (r.base <> pair.base),
            r.published_at desc, r.no desc
        """,
        organization,
        [base for base, _ in pairs],
        [counter for _, counter in pairs],
        on,
    )
    found: dict[tuple[str, str], DayRate] = {}
    for row in rows:
        pair = (row["wanted_base"], row["wanted_counter"])
        inverted = row["base"] != pair[0]
        rate = _INVERTED.divide(Decimal(1), row["rate"]) if inverted else row["rate"]
        found[pair] = DayRate(*pair, rate, row["rate_on"], inverted)
    return found
