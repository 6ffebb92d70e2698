"""Exports beside posting: an export rests while requests wait, and only then."""

import asyncio
from collections.abc import Iterator

from libs.common.clock import monotonic_s
from services.ledger.commands import Books, enqueue
from services.ledger.exporting import LOOK_EVERY_S, REST, REST_S_MAX, give_way
from tests.ledger.asking import account, entry, open_accounts, wish
from tests.support.waiting import until


async def rested_s(answers: Iterator[bool], worked_s: float) -> float:
    began_s = monotonic_s()
    await give_way(lambda: next(answers), worked_s)
    return monotonic_s() - began_s


def always(answer: bool) -> Iterator[bool]:
    while True:
        yield answer


async def test_while_requests_wait_the_rest_is_in_proportion_to_the_work() -> None:
    assert await rested_s(always(True), 0.01) >= REST * 0.01
    assert await rested_s(always(True), 60.0) >= REST_S_MAX


async def test_where_nobody_waits_there_is_no_rest() -> None:
    assert await rested_s(always(False), 60.0) < REST_S_MAX


async def test_the_rest_ends_when_the_last_request_is_answered() -> None:
    looks = iter([True, True, False])
    assert 2 * LOOK_EVERY_S <= await rested_s(looks, 60.0) < REST_S_MAX
    assert next(looks, None) is None


async def test_books_are_busy_until_what_was_asked_is_written(books: Books) -> None:
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    outcomes = [enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00"))) for _ in range(3)]
    assert books.busy
    await asyncio.wait(outcomes)
    await until(lambda: not books.busy)
