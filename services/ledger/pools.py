"""What the ledger's pools are made of; main.py reads the settings themselves."""

from pathlib import Path

from libs.common.db import Pool, create_pool

MIGRATIONS = Path(__file__).with_name("migrations")

KEYED_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""The writer only looks rows up by their keys: one plan, made once, that does not depend on how full a table was."""


READ_TIMEOUT_S = 10.0
"""Key look-ups take a millisecond; whatever takes this long is a connection that is gone and does not say so."""


WRITER_CONNECTIONS = 8
"""Statements under way at once: some more than the database has processors, for those that wait for their commit.

Each one more is a process that comes to every statement with cold caches: with traffic spread over a thousand ledgers,
on two processors, a statement took 0.5 ms of processor time with 4 connections, 0.65 with 8 and 0.75 with 16.
"""


async def create_writer_pool(
    dsn: str, *, max_size: int = WRITER_CONNECTIONS, read_timeout_s: float = READ_TIMEOUT_S
) -> Pool:
    """The pool of the role that writes; every statement of it is a keyed one.

    The time limit bounds everything but the writing statement (which has its own): loads, the look after an unknown
    outcome, and giving up a statement.
    """
    return await create_pool(
        dsn,
        name="ledger-writer",
        min_size=2,
        max_size=max_size,
        server_settings=KEYED_PLANS,
        command_timeout_s=read_timeout_s,
    )
