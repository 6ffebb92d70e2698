"""Several entries at once, all or none; and entries that are tried and not posted."""

import asyncio
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.journal import EntryRequest, Rate
from services.ledger.commands import Answer, Books, post_atomically
from services.ledger.domain import AtomicRequest
from tests.ledger.asking import account, entry, open_accounts, tell, wish


def together(*entries: EntryRequest) -> AtomicRequest:
    """A request for all of these."""
    return AtomicRequest(list(entries), [new_id() for _ in entries], [200] * len(entries))


async def post(books: Books, request: AtomicRequest, key: str | None = None, *, lookup: bool = False) -> list[Answer]:
    ledger = await books.get("demo", "main")
    return await post_atomically(books, ledger, wish(request, key, lookup=lookup))


async def counted(books: Books, table: str) -> int:
    async with books.pool.acquire() as connection:
        return int(await connection.fetchval(f"select count(*) from {table}"))


async def balance(books: Books, code: str) -> int:
    """The posted balance on the account's normal side, in minor units."""
    async with books.pool.acquire() as connection:
        row = await connection.fetchrow(
            """
            select a.normal_side, b.debits, b.credits from accounts a
            join balances b on b.ledger_no = a.ledger_no and b.account_no = a.no where a.code = $1
            """,
            code,
        )
    return int(row[1] - row[2]) if row[0] == "debit" else int(row[2] - row[1])


@pytest.fixture(autouse=True)
async def chart(books: Books) -> None:
    await open_accounts(books, account("BANK"), account("ALICE", "liability", overdraft="none"), account("BOB"))


async def test_each_entry_is_decided_on_what_the_ones_before_it_leave(books: Books) -> None:
    answers = await post(
        books,
        together(
            entry("BANK debit 5.00", "ALICE credit 5.00"),
            entry("ALICE debit 5.00", "BOB credit 5.00"),
            entry("BANK debit 1.00", "ALICE credit 1.00"),
        ),
    )
    sequences = [answer.sequence for answer in answers]
    assert sequences == list(range(sequences[0], sequences[0] + 3))
    bodies = [answer.body for answer in answers]
    assert [body["lines"][1]["balance_after"] for body in bodies if body] == ["5.00", "-5.00", "1.00"]
    assert await balance(books, "ALICE") == 100


async def test_one_that_is_refused_takes_all_with_it(books: Books) -> None:
    before = await counted(books, "log")
    refused = together(
        entry("BANK debit 5.00", "ALICE credit 5.00"),
        entry("ALICE debit 5.01", "BOB credit 5.01"),
    )
    (answer,) = await post(books, refused)
    assert answer.rejection is not None
    assert (answer.rejection.code, answer.rejection.facts["index"]) == ("insufficient-funds", 1)
    assert answer.rejection.errors[0].pointer == "/1/lines/0/amount"
    assert (await counted(books, "log"), await balance(books, "ALICE")) == (before, 0)
    await tell(books, entry("BANK debit 2.00", "ALICE credit 2.00"))
    assert await balance(books, "ALICE") == 200


async def test_the_same_key_posts_once_and_is_answered_alike(books: Books) -> None:
    request = together(*[entry("BANK debit 1.00", "ALICE credit 1.00") for _ in range(120)])
    first = await post(books, request, "all")
    again = await post(books, request, "all", lookup=True)
    unmarked = await post(books, request, "all")
    assert len(first) == 120
    for answers in (again, unmarked):
        assert all(answer.replayed for answer in answers)
        assert [(a.sequence, a.hash, a.body) for a in answers] == [(a.sequence, a.hash, a.body) for a in first]
    (other,) = await post(books, together(entry("BANK debit 1.00", "ALICE credit 1.00")), "all", lookup=True)
    assert other.rejection is not None
    assert other.rejection.code == "key-reused-with-other-content"
    assert await balance(books, "ALICE") == 12_000


async def test_entries_of_one_request_know_of_each_others_ids(books: Books) -> None:
    taken = UUID(int=7)
    request = together(
        entry("BANK debit 1.00", "ALICE credit 1.00", id=taken),
        entry("BANK debit 1.00", "ALICE credit 1.00", id=taken),
    )
    (answer,) = await post(books, request)
    assert answer.rejection is not None
    assert (answer.rejection.code, answer.rejection.facts["index"]) == ("duplicate-entry-id", 1)
    posted = await post(books, together(request.entries[0]))
    assert posted[0].body is not None
    assert posted[0].body["id"] == str(taken)


async def test_position_pairs_opened_on_the_way_are_opened_once(books: Books) -> None:
    await open_accounts(books, account("EURO", currency="EUR"))
    rates = [Rate("EUR", "USD", "1.10")]
    crossing = [entry("EURO debit 10.00", "BANK credit 11.00", rates=rates) for _ in range(2)]
    answers = await post(books, together(*crossing))
    assert [answer.kind for answer in answers] == ["entry", "entry"]
    assert await balance(books, "FX-POSITION-EUR") == 2_000
    await tell(books, crossing[0])
    assert await balance(books, "FX-POSITION-EUR") == 3_000


async def test_atomic_requests_and_others_in_one_batch(books: Books) -> None:
    """Side by side they leave what one after the other leaves."""
    many = [post(books, together(*[entry("BANK debit 1.00", "ALICE credit 1.00")] * 3)) for _ in range(10)]
    ones = [tell(books, entry("BANK debit 1.00", "ALICE credit 1.00")) for _ in range(10)]
    await asyncio.gather(*many, *ones)
    assert await balance(books, "ALICE") == 4_000


# --- dry runs ---------------------------------------------------------------------------------------------------------


async def test_a_dry_run_gives_the_verdict_and_stores_nothing(books: Books) -> None:
    wanted = entry("BANK debit 5.00", "ALICE credit 5.00", description="Try")
    before = [await counted(books, table) for table in ("log", "requests", "entries", "lines")]
    tried = await tell(books, wanted, "key", dry_run=True)
    assert tried.body is not None
    assert (tried.sequence, tried.body["sequence"], tried.body["hash"]) == (0, None, None)
    assert [line["balance_after"] for line in tried.body["lines"]] == ["5.00", "5.00"]
    refused = await tell(books, entry("ALICE debit 5.00", "BANK credit 5.00"), "other", dry_run=True)
    assert refused.rejection is not None
    assert refused.rejection.code == "insufficient-funds"
    assert [await counted(books, table) for table in ("log", "requests", "entries", "lines")] == before
    real = await tell(books, wanted, "key")
    assert real.body is not None
    assert not real.replayed
    left_out = ("id", "sequence", "hash", "recorded_at")
    assert {name: real.body[name] for name in real.body if name not in left_out} == {
        name: tried.body[name] for name in tried.body if name not in left_out
    }


async def test_a_dry_run_is_decided_on_the_books_as_they_are(books: Books, rival: Books) -> None:
    """Another process posted meanwhile: the verdict is on what is there now, not on what the cache remembers."""
    await tell(books, entry("BANK debit 1.00", "ALICE credit 1.00"))
    await tell(rival, entry("BANK debit 9.00", "ALICE credit 9.00"))
    tried = await tell(books, entry("ALICE debit 10.00", "BANK credit 10.00"), dry_run=True)
    assert tried.rejection is None, tried.rejection
