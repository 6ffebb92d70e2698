"""What the gauges show: how many postings are on their way, and for how long. Partial indexes answer all of it."""

from datetime import timedelta
from typing import Final, NamedTuple

from libs.common.db import Connection

COUNTED_MAX: Final = 100_000


class Underway(NamedTuple):
    """Postings that are not in the books, by state; `oldest` is the age of the oldest unanswered request."""

    waiting: int
    requested: int
    needs_attention: int
    oldest: timedelta | None


async def underway(connection: Connection) -> Underway:
    """All organizations together: asked with a role that reads all."""
    row = await connection.fetchrow(
        """
        select (select count(*) from (select from postings where state = 'waiting' limit $1) counted) as waiting,
               (select count(*) from (select from postings where state = 'requested' limit $1) counted) as requested,
               (select count(*) from (select from postings where state = 'needs-attention' limit $1) counted)
                   as needs_attention,
               (select now() - min(requested_at) from postings where state = 'requested') as oldest
        """,
        COUNTED_MAX,
    )
    assert row is not None, "a select without a table gives a row"
    return Underway(row["waiting"], row["requested"], row["needs_attention"], row["oldest"])
