"""Batches: what is decided while the one before is still being written, and what a batch of many leaves behind."""

import asyncio

from libs.common.db import Connection
from services.ledger.commands import Books, enqueue
from services.ledger.writer import Limits
from tests.ledger.asking import account, entry, open_accounts, wish


async def sums_of_lines(connection: Connection) -> dict[int, tuple[int, int]]:
    """Debits and credits of each account, added up from its lines."""
    rows = await connection.fetch(
        """
        select account_no, coalesce(sum(amount) filter (where debit), 0) as debits,
            coalesce(sum(amount) filter (where not debit), 0) as credits
        from lines group by account_no
        """
    )
    return {row["account_no"]: (int(row["debits"]), int(row["credits"])) for row in rows}


async def test_a_batch_writes_its_own_sums_though_the_next_is_decided_already(books: Books) -> None:
    """The next full batch is decided before this one's statement leaves: it must not see the accounts move on."""
    books.limits = Limits(batch_requests=10)
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    answers = [enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00"))) for _ in range(100)]
    outcomes = await asyncio.gather(*answers)
    assert [outcome.sequence for outcome in outcomes] == list(range(4, 104))
    async with books.pool.acquire() as connection:
        rows = await connection.fetch("select account_no, debits, credits from balances")
        assert {row["account_no"]: (int(row["debits"]), int(row["credits"])) for row in rows} == {
            1: (10_000, 0),
            2: (0, 10_000),
        }
        assert await sums_of_lines(connection) == {1: (10_000, 0), 2: (0, 10_000)}
