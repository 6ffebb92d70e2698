"""Batches of several partitions in one transaction, and each alone where that fails."""

import asyncio
from collections.abc import Sequence

import pytest

from libs.common.bus import Batch
from libs.common.errors import Transient
from libs.common.listening import TOGETHER_RECORDS, Together


def batch(partition: int, records: int = 1) -> Batch[int]:
    return Batch("c", "t", partition, 0, records, [None] * records)  # type: ignore[list-item] # only counted


class Accepting:
    """Keeps which partitions were accepted together; some of them always fail."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.groups: list[list[int]] = []

    async def __call__(self, batches: Sequence[Batch[int]]) -> None:
        partitions = [each.partition for each in batches]
        self.groups.append(partitions)
        await asyncio.sleep(0)
        if any(partition in self.failing for partition in partitions):
            raise Transient(f"no: {partitions}")


async def test_what_comes_at_once_is_accepted_together() -> None:
    accepting = Accepting()
    together = Together(accepting)
    await asyncio.gather(*(together.accept(batch(no)) for no in range(3)))
    await together.accept(batch(3))
    assert accepting.groups == [[0, 1, 2], [3]]


async def test_more_than_enough_is_accepted_side_by_side() -> None:
    accepting = Accepting()
    together = Together(accepting)
    await asyncio.gather(*(together.accept(batch(no, TOGETHER_RECORDS // 2)) for no in range(3)))
    assert accepting.groups == [[0, 1], [2]]


async def test_a_partitions_trouble_is_its_own() -> None:
    accepting = Accepting(1)
    together = Together(accepting)
    told = await asyncio.gather(*(together.accept(batch(no)) for no in range(3)), return_exceptions=True)
    assert accepting.groups == [[0, 1, 2], [0], [1], [2]]
    assert [told[0], told[2]] == [None, None]
    assert isinstance(told[1], Transient)


async def test_what_is_under_way_at_a_stop_is_given_up() -> None:
    begun, ended = asyncio.Event(), False

    async def forever(_: Sequence[Batch[int]]) -> None:
        nonlocal ended
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended = True

    together = Together(forever)
    waiting = asyncio.create_task(together.accept(batch(0)))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await together.stop()
    assert ended
