"""The writer on a real database: batches, races, unknown outcomes, and keys."""

import asyncio

from services.ledger.commands import Books
from tests.ledger.asking import account, entry, open_accounts, tell


async def test_an_entry_is_posted_and_its_answer_says_where(books: Books) -> None:
    await open_accounts(books, account("1010-CASH"), account("5000-RENT", "expense"))
    answer = await tell(books, entry("5000-RENT debit 1000.00", "1010-CASH credit 1000.00", description="Rent"))
    assert answer.rejection is None
    assert answer.sequence == 4
    assert answer.body is not None
    assert [line["balance_after"] for line in answer.body["lines"]] == ["1000.00", "-1000.00"]


async def test_fifty_copies_of_one_request_are_one_entry(books: Books) -> None:
    await open_accounts(books, account("A"), account("B"))
    request = entry("A debit 1.00", "B credit 1.00")
    answers = await asyncio.gather(*(tell(books, request, "the-key") for _ in range(50)))
    assert len({answer.sequence for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 49
    assert len({str(answer.body) for answer in answers}) == 1
