"""Random histories of receivables through the real database tie out at every sequence: 50 in a run, 1,000 explored."""

import asyncio
import random
import time

import pytest

from libs.common.db import Pool
from tests.invoicing.random_trade import play

AT_ONCE = 6
HISTORIES, EXPLORED = 50, 1_000
TAKEN = {
    ("invoice", "issue"), ("invoice", "void"), ("credit-note", "credit_note"), ("write-off", "write_off"),
    ("payment", "payment"), ("payment", "allocation"), ("payment", "unallocation"), ("payment", "refund"),
    ("payment", "dispute_opened"), ("payment", "dispute_won"), ("payout", "payout"),
}  # fmt: skip
"""What some history has to come to: what none ever does would be proven of nothing."""


async def test_random_histories_tie_at_every_sequence(writer: Pool, request: pytest.FixtureRequest) -> None:
    """`make explore` plays 1,000 that nobody has played yet; a seed that fails is told."""
    explores = request.config.getoption("--hypothesis-profile") == "explore"
    first = random.SystemRandom().randrange(10**9) if explores else 0
    await writer.execute(
        "insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,"
        " event_id) values (null, 'ecb', 'EUR', 'USD', 1.0765, '2026-01-01', now(), now(), 'fx', '1')"
    )
    seeds = list(range(first, first + (EXPLORED if explores else HISTORIES)))
    entries = 0
    began_s = time.monotonic()

    async def play_on() -> None:
        nonlocal entries
        while seeds:
            seed = seeds.pop()
            try:
                made = await play(writer, seed, f"trade-{seed}")
            except Exception as error:
                error.add_note(f"the history of seed {seed}")
                raise
            entries += made

    async with asyncio.TaskGroup() as players:
        for _ in range(AT_ONCE):
            players.create_task(play_on())
    print(f"seeds from {first}: {entries} entries in {time.monotonic() - began_s:.0f} s")
    assert entries > (EXPLORED if explores else HISTORIES) * 10
    rows = await writer.fetch("select distinct split_part(document, '/', 1) as kind, split_part(purpose, '/', 1) as why"
                              " from postings where state = 'posted'")  # fmt: skip
    done = {(row["kind"], row["why"]) for row in rows}
    assert done >= TAKEN, TAKEN - done
