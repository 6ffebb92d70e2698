"""A short round of each fault on a stack of their own: one kill -9 each of ledger, gateway, PostgreSQL and Kafka."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.cli.session import Stack, running
from libs.devstack.stack import start_detached, stop_stack
from tests.reliability import faults, rounds
from tests.reliability.payment_rounds import KEEP, RESTORE, play_payments

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300), pytest.mark.xdist_group("reliability")]

SEED = "short"


@pytest.fixture(scope="module")
async def fragile_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that may be hurt."""
    folder: Path = tmp_path_factory.mktemp("stack")
    await asyncio.to_thread(start_detached, folder, quiet=True)
    try:
        yield running(folder)
    finally:
        await asyncio.to_thread(stop_stack, folder)


@pytest.fixture(autouse=True)
def kafka_is_away_and_everybody_knows(caplog: pytest.LogCaptureFixture) -> None:
    """aiokafka says ten times a second that it cannot connect."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


@pytest.mark.parametrize("part", [part for part in faults.PARTS if part not in (faults.PAYMENTS, faults.RESTORED)])
async def test_nothing_is_lost_and_nothing_is_doubled(fragile_stack: Stack, part: str) -> None:
    verdict = await rounds.play(fragile_stack, part, f"short-{part}", f"{SEED}-{part}")
    print(verdict.line())
    assert not verdict.findings
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.acknowledged > 100
    assert verdict.rejected > 0
    assert verdict.resent > 0


async def test_payments_are_posted_once_whatever_is_killed(fragile_stack: Stack) -> None:
    verdict = await play_payments(fragile_stack, "short-payments", f"{SEED}-payments", payments=300)
    print(verdict.line())
    assert not verdict.findings
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.acknowledged >= 300


async def test_a_restored_invoicing_hears_it_all_again_and_posts_nothing_twice(fragile_stack: Stack) -> None:
    """A backup of its database is put back in the middle: the topics, read from its positions, say the rest."""
    struck = (KEEP, RESTORE)
    verdict = await play_payments(fragile_stack, "short-restored", f"{SEED}-restored", payments=300, struck=struck)
    print(verdict.line())
    assert not verdict.findings
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.acknowledged >= 300
