"""The REST entrance for one account: its balance, its lines and totals by filters; and the tree of all accounts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import orjson
from starlette.responses import Response

from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.days import WrittenDay
from libs.common.db import Connection, Pool
from libs.common.errors import Fault, Problem
from libs.common.http import App, json_response, router
from libs.common.json_text import parse_json
from libs.common.money import to_text
from libs.common.problems import malformed
from libs.common.traces import start_span
from services.ledger import balance_reads
from services.ledger.account_sum import add_up
from services.ledger.answers import BalanceAnswer
from services.ledger.balance_reads import AccountRead, AsOf, read_turnover
from services.ledger.commands import Books
from services.ledger.reads import as_reader
from services.ledger.report_ranges import (
    From,
    Json,
    Reads,
    Sequence,
    To,
    Words,
    account_of,
    check_range,
    day_of,
    exponents_of,
    state,
    turnover_before,
    with_currency,
)
from services.ledger.reports import tree
from services.ledger.reports.answers import AccountTotals, AccountTree, BranchBalance, LinePage, SummaryBalance
from services.ledger.reports.running import statement_line
from services.ledger.reports.trial_balance import debits_equal_credits
from services.ledger.state import Ledger
from services.ledger.statement_reads import LineFilters, read_filtered_lines, read_filtered_sums
from services.ledger.sums import read_head, read_sums

PREFIX = "/api/v1"
ACCOUNT = "/ledgers/{ledger}/accounts/{code}"
TREE = "/ledgers/{ledger}/reports/account-tree"


@dataclass(frozen=True, slots=True)
class BalanceApi:
    """What the routes read from."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX)
        balances: Any = BalanceAnswer | BranchBalance | SummaryBalance
        listed: tuple[tuple[str, Callable[..., Any], Any, str], ...] = (
            (f"{ACCOUNT}/balance", self.balance, balances, "A balance, now or as of a day, a sequence, or both"),
            (f"{ACCOUNT}/lines", self.account_lines, LinePage, "An account's lines by filters, as they were posted"),
            (f"{ACCOUNT}/totals", self.account_totals, AccountTotals, "Debits and credits of the lines that pass"),
            (TREE, self.account_tree, AccountTree, "Own and total balances of every branch"),
        )
        for path, respond, model, summary in listed:
            routes.add_api_route(path, respond, summary=summary, response_model=model)
        app.include_router(routes)

    async def balance(
        self, ledger: str, code: str, caller: Reads, effective_on: WrittenDay | None = None, sequence: Sequence = None,
        party: str | None = None,
    ) -> Response:  # fmt: skip
        books, asked = await self.books.get(caller.own_organization(), ledger), AsOf(effective_on, sequence, party)
        with start_span("get_balance"):
            async with as_reader(self.reader, caller.own_organization(), books) as connection:
                account = await account_of(connection, books, code)
                if account.summary:
                    return json_response(await _summary_balance(connection, books, account, asked))
                answer = await balance_reads.read_balance(connection, books, account, asked)
                if not account.has_children or party is not None:
                    return json_response(answer)
                branch, _ = await _branch(connection, books, account.no, effective_on, answer["sequence"])
        return json_response({**answer, **{name: branch[name] for name in ("own", "children", "total")}})

    async def account_tree(
        self, ledger: str, caller: Reads, to: To = None, sequence: Sequence = None
    ) -> Response:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            at, accounts = await read_sums(connection, books, since=None, through=to, sequence=sequence)
            held = await balance_reads.read_held(connection, books, at)
            stated = await state(connection, "account-tree", books, None, to, at)
        answer: AccountTree = {
            **stated,
            "accounts": [tree.branch_answer(top, held) for top in tree.grow(accounts)],
            "tie_outs": debits_equal_credits(add_up(accounts), exponents_of(accounts)),
        }
        return json_response(answer)

    async def account_lines(
        self, ledger: str, code: str, caller: Reads, from_: From = None, to: To = None,
        side: Literal["debit", "credit"] | None = None, q: Words = None, party: Words = None, origin: Words = None,
        metadata: Json = None, sequence: Sequence = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> Response:  # fmt: skip
        check_range(from_, to)
        books = await self.books.get(caller.own_organization(), ledger)
        name = f"{caller.own_organization()}/{ledger}/accounts/{code}/lines"
        given: dict[str, Any] = {
            "from": from_, "to": to, "side": side, "q": q, "party": party, "origin": origin,
            "metadata": _object_text(metadata), "sequence": sequence,
        }  # fmt: skip
        after = (0, 0)
        if cursor:
            begun = decode_cursor(cursor, name, given)
            given, after = begun.filters, (begun.position[0], begun.position[1])
            given["from"], given["to"] = day_of(given.get("from")), day_of(given.get("to"))
        filters = _line_filters(given)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            account = with_currency(await account_of(connection, books, code))
            at = await read_head(connection, books, given.get("sequence"))
            lines = await read_filtered_lines(connection, books, account.no, filters, after, at, limit)
        items = [statement_line(line, account.exponent, None) for line in lines]
        following = None
        if len(lines) == limit:
            last = lines[-1].place
            following = encode_cursor(name, {**given, "sequence": at}, [last.sequence, last.line])
        return json_response({**page(items, following), "sequence": at})

    async def account_totals(
        self, ledger: str, code: str, caller: Reads, from_: From = None, to: To = None,
        side: Literal["debit", "credit"] | None = None, q: Words = None, party: Words = None, origin: Words = None,
        metadata: Json = None, sequence: Sequence = None,
    ) -> Response:  # fmt: skip
        check_range(from_, to)
        books = await self.books.get(caller.own_organization(), ledger)
        filters = LineFilters(from_, to, side, q, party, origin, _object_text(metadata))
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            account = with_currency(await account_of(connection, books, code))
            at = await read_head(connection, books, sequence)
            if filters.only_days:
                before = await turnover_before(connection, books, account, from_, at)
                through = await read_turnover(connection, books, account, to, at)
                debits, credits_ = through[0] - before[0], through[1] - before[1]
            else:
                debits, credits_ = await read_filtered_sums(connection, books, account.no, filters, at)
            stated = await state(connection, "account-totals", books, from_, to, at)
        assert account.currency is not None
        answer: AccountTotals = {
            **stated,
            "account": account.code,
            "currency": account.currency,
            "normal_side": account.normal_side,
            "filters": {
                "side": side, "q": q, "party": party, "origin": origin,
                "metadata": orjson.loads(metadata) if metadata else None,
            },
            "debits": to_text(debits, account.exponent),
            "credits": to_text(credits_, account.exponent),
            "balance": to_text(tree.on_side(account.normal_side, debits, credits_), account.exponent),
        }  # fmt: skip
        return json_response(answer)


async def _summary_balance(connection: Connection, ledger: Ledger, account: AccountRead, asked: AsOf) -> SummaryBalance:
    if asked.party is not None:
        detail = "A summary account has no lines, so none of a party. Ask for one of its children."
        raise Problem(422, "account-is-summary", detail, errors=[Fault("/party", "is not for a summary account")])
    branch, at = await _branch(connection, ledger, account.no, asked.effective_on, asked.sequence)
    return {
        "account": account.code,
        "summary": True,
        "normal_side": account.normal_side,
        "own": branch["own"],
        "children": branch["children"],
        "total": branch["total"],
        "sequence": at,
        "effective_on": asked.effective_on.isoformat() if asked.effective_on else None,
    }


async def _branch(
    connection: Connection, ledger: Ledger, no: int, on: date | None, sequence: int | None
) -> tuple[Any, int]:
    """An account's branch, and the sequence; nothing is in it before the account was opened."""
    at, accounts = await read_sums(connection, ledger, since=None, through=on, sequence=sequence)
    branch = tree.find(tree.grow(accounts), no)
    if branch is None:
        return {"own": [], "children": [], "total": []}, at
    return tree.branch_answer(branch, await balance_reads.read_held(connection, ledger, at)), at


def _line_filters(given: Mapping[str, Any]) -> LineFilters:
    return LineFilters(
        given.get("from"), given.get("to"), given.get("side"), given.get("q"), given.get("party"),
        given.get("origin"), given.get("metadata"),
    )  # fmt: skip


def _object_text(text: str | None) -> str | None:
    """The JSON object that a filter is, as canonical text. Raises Problem 422."""
    if text is None:
        return None
    try:
        value = parse_json(text.encode())
    except Problem as refused:
        raise malformed([Fault("/metadata", f"must be a JSON object: {refused.detail}")]) from refused
    if not isinstance(value, dict):
        raise malformed([Fault("/metadata", "must be a JSON object")])
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
