"""The closed set: every code has a row in the tables, and the tables hold on the real books as in memory."""

from uuid import UUID

import pytest

from libs.common.journal import CurrencyRequest, LedgerRequest
from libs.common.money import BALANCE_MAX
from services.ledger.closing import STEPS
from services.ledger.commands import Asker, Books, Wish, ask, ask_step, define_currency, open_ledger
from services.ledger.domain import Accepted, Stamp, decide
from services.ledger.rejections import CONFLICTS, NOT_FOUND, NOT_REMEMBERED, PRECEDENCE, REJECTIONS, reject
from tests.ledger import test_accounts, test_crossing, test_domain
from tests.ledger.asking import ASKER, entry, tell
from tests.ledger.attempts import HOLDS, NOON, OWN_UNITS, Attempt, rules, table
from tests.ledger.plain_books import PlainBooks

TABLES = (*test_domain.TABLES, *test_crossing.TABLES, *test_accounts.TABLES)


def test_every_code_has_a_row() -> None:
    verdicts = {attempt.verdict for name in TABLES for attempt in rules(name)}
    answered_outside_the_rules = {"unknown-ledger"}
    assert (
        verdicts - {"posted", "opened", "changed", "replayed", "malformed", "done", "stands", *HOLDS.values()}
        == set(REJECTIONS) - answered_outside_the_rules
    )


def test_what_is_said_of_codes_is_said_of_codes_that_are() -> None:
    assert set(REJECTIONS) >= CONFLICTS | NOT_FOUND | NOT_REMEMBERED
    assert list(PRECEDENCE) == list(REJECTIONS)
    assert all(sentence.endswith(".") for sentence in REJECTIONS.values())


def test_a_rejection_says_its_sentence_and_what_is_particular() -> None:
    rejection = reject("too-few-lines", "Here are none.", lines=0)
    assert rejection.detail == "An entry has at least two lines. Here are none."
    assert rejection.facts == {"lines": 0}


async def test_a_ledger_that_is_not_there_keeps_no_answer(books: Books) -> None:
    for _ in range(2):
        answer = await tell(books, entry("A debit 1", "B credit 1"), "k", ledger="nowhere")
        assert answer.rejection is not None
        assert (answer.rejection.code, answer.replayed) == ("unknown-ledger", False)
    async with books.pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from requests") == 0


def fact(attempt: Attempt, answer_facts: dict[str, object]) -> dict[str, str | None]:
    """The row's facts as the answer has them."""
    return {word: str(answer_facts[word]) if word in answer_facts else None for word in attempt.words}


async def checked(books: Books, attempt: Attempt) -> None:
    """The real books give a row the verdict that the table gives it."""
    asker = Asker("demo", attempt.service, "alice", attempt.service, attempt.permits)
    wish = Wish(asker, "past", attempt.request, attempt.key, attempt.fingerprint, attempt.size, True, None)
    if isinstance(attempt.request, STEPS):
        answer = await ask_step(books, await books.get("demo", "past"), wish)
    else:
        answer = await ask(books, wish)
    if attempt.verdict == "replayed":
        assert answer.replayed, attempt.row
    elif answer.rejection is not None:
        assert answer.rejection.code == attempt.verdict, f"{attempt.row}\n  gives {answer.rejection}"
        assert fact(attempt, dict(answer.rejection.facts)) == attempt.words, attempt.row
    else:
        allowed = {"posted", "opened", "changed", "done", "stands", *HOLDS.values()}
        assert attempt.verdict in allowed, f"{attempt.row}\n  gives {answer.body}"


@pytest.mark.parametrize("name", TABLES)
async def test_the_tables_hold_on_the_real_books(books: Books, name: str) -> None:
    in_memory = PlainBooks()
    books = Books(books.pool, lambda: in_memory.at)
    await open_ledger(books, LedgerRequest(code="past", name="Where it is noon"), ASKER, None)
    for code, unit in OWN_UNITS.items():
        asker = Asker("demo", "api", "alice", "api")
        await define_currency(books, CurrencyRequest(code=code, decimals=unit.exponent), asker)
    for attempt in rules(name):
        in_memory.check(attempt)
        await checked(books, attempt)
    async with books.pool.acquire() as connection:
        stored = await connection.fetch(
            """
            select a.code, b.debits::text, b.credits::text, b.pending_debits::text, b.pending_credits::text
            from balances b join accounts a on a.ledger_no = b.ledger_no and a.no = b.account_no
            """
        )
    assert {row["code"]: tuple(map(int, tuple(row)[1:])) for row in stored} == {
        account.code: (account.debits, account.credits, account.pending_debits, account.pending_credits)
        for account in in_memory.state.accounts.values()
    }


def test_a_balance_has_38_digits_and_no_more() -> None:
    """It takes a hundred million greatest entries to get there; so the state is set."""
    books = PlainBooks()
    for row in table("open | A asset JPY | opened\nopen | B asset JPY | opened"):
        books.check(row)
    books.state.accounts["A"].debits = books.state.accounts["B"].credits = BALANCE_MAX - 1
    for asked in (
        "A debit 2; B credit 2; key a | amount-out-of-range account=A",
        "A debit 2; B credit 3; key b | amount-out-of-range account=A",
        f"A debit 1; B credit 1; key c | posted A={BALANCE_MAX}",
        "A debit 1; B credit 1; key d | amount-out-of-range",
    ):
        books.check(table(f"entry | {asked}")[0])


def test_a_decision_leaves_the_state_as_it_is() -> None:
    books = PlainBooks()
    for row in table("open | A asset USD | opened\nopen | B asset USD | opened"):
        books.check(row)
    before = repr(books.state.accounts)
    attempt = table("entry | A debit 1; B credit 1; id 1 | posted")[0]
    hash_, sequence = books.state.hash, books.state.sequence
    stamp = Stamp(NOON, NOON.date(), "api", "alice", "api", "k", b"", 200, UUID(int=5))
    assert isinstance(decide(books.state, attempt.request, stamp), Accepted)
    assert (repr(books.state.accounts), books.state.hash, books.state.sequence) == (before, hash_, sequence)
