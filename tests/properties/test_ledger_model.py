"""Whatever is asked of a ledger, in any order: verdicts, sums, versions and closed days are those of a plain model.

A history that differs is shrunk and told with its seed; `python -m tests.properties.model_play` plays more of them.
"""

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.properties.drawn_history import BEGIN, MAKERS, Drawing
from tests.properties.model_play import STEPS_OF_A_HISTORY, Place, judge, place_at
from tests.properties.plain_model import PlainModel
from tests.properties.plain_values import ORDER
from tests.support.postgres import PostgresServer

SEEDS = range(1, 31)


@pytest.fixture(scope="session")
async def played_at(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[Place]:
    """One database, with a new ledger for each history."""
    async with place_at(postgres, ledger_template) as place:
        yield place


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_ledger_is_what_the_plain_model_is(played_at: Place, seed: int) -> None:
    told = await judge(played_at, seed)
    assert told is None, told


def test_histories_meet_every_rejection_and_every_request_that_is_taken() -> None:
    met, taken = Counter[str](), Counter[str]()
    for seed in SEEDS:
        model = PlainModel(BEGIN, BEGIN)
        for step in Drawing(seed).draw(STEPS_OF_A_HISTORY):
            model.now += step.clock
            for command in step.commands:
                code = model.answer(command).code
                met[code or "taken"] += 1
                taken[type(command.request).__name__] += code is None
    assert set(ORDER) <= met.keys()
    assert len(taken) == len(MAKERS)
    assert min(taken.values()) >= 5, taken
