"""The short paths for reading: the organization's ledger `main` in the words of other small ledgers.

Lists are pages like all others, {"items", "next_cursor"}; `{account}` is a code or an id. Nothing is computed here that
the long paths do not answer too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.days import WrittenDay
from libs.common.db import Connection, Pool
from libs.common.errors import Fault, Problem
from libs.common.http import App, requires, router
from libs.common.journal import AccountType, CurrencyText
from libs.common.money import ISO_4217, Currency
from libs.common.problems import malformed
from libs.common.traces import start_span
from services.ledger import reads, short_examples, short_reads, short_words
from services.ledger.answers import EntryAnswer
from services.ledger.balance_reads import AsOf, read_account_kept, read_balance
from services.ledger.commands import Books
from services.ledger.financial_statements import Report, Statements, Wanted
from services.ledger.read_api import entry_id_of
from services.ledger.report_ranges import check_range, state
from services.ledger.reports.sections import Period, StatementAnswer
from services.ledger.reports.trial_balance import Readings, Shown, trial_balance
from services.ledger.short_reads import AccountName
from services.ledger.state import Ledger
from services.ledger.sums import read_sums

V1: Final = "/api/v1"
TAG: Final = "Short paths"

Reads = Annotated[Caller, requires("ledger:read")]
From = Annotated[WrittenDay | None, Query(alias="from")]


@dataclass(frozen=True, slots=True)
class ShortReadApi:
    """What the routes read from: the books to find the ledger, the reader's pool under row-level security."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(tags=[TAG])
        for path, respond, summary in (
            (f"{V1}/accounts", self.accounts, "Accounts by code"),
            (f"{V1}/accounts/{{account}}", self.account, "An account"),
            (f"{V1}/accounts/{{account}}/balance", self.balance, "A balance"),
            (f"{V1}/transactions", self.transactions, "Transactions, newest first"),
            (f"{V1}/transactions/{{id}}", self.transaction, "A transaction"),
            (f"{V1}/ledger/account/{{account}}/balance", self.balance, "A wallet's balance"),
            (f"{V1}/ledger/events", self.events, "What happened to an account, in order"),
            (f"{V1}/ledger/events/", self.events, "What happened to an account, in order"),
            (f"{V1}/reports/trial_balance", self.trial_balance, "Turnover and balance of every account"),
            (f"{V1}/reports/pnl", self.profit_and_loss, "Income, expense and what is left"),
            (f"{V1}/reports/balance_sheet", self.balance_sheet, "What the account types come to"),
            (f"{V1}/reports/ledger/{{account}}", self.account_lines, "An account's lines, in order"),
            ("/api/accounts/{account}/balance", self.balance, "A balance"),
            ("/api/journals", self.journals, "Journal entries, newest first"),
        ):
            _add(routes, path, respond, summary)
        app.include_router(routes)

    async def accounts(
        self, caller: Reads, account_type: AccountType | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Every account, or those of a type."""
        books = await self._main(caller)
        name, filters = f"{caller.own_organization()}/main/short-accounts", {"type": account_type}
        after = decode_cursor(cursor, name, filters).position[0] if cursor else ""
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            items = await reads.list_accounts(connection, books, filters, after, limit)
        following = encode_cursor(name, filters, [items[-1]["code"]]) if len(items) == limit else None
        return page([short_words.account_words(item) for item in items], following)

    async def account(self, account: str, caller: Reads) -> dict[str, Any]:
        """One account by code or id."""
        books = await self._main(caller)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            named = await _named(connection, books, account)
            found = await reads.read_account(connection, books, named.code)
        assert found is not None, "its name was found in the same transaction"
        return short_words.account_words(found)

    async def balance(self, account: str, caller: Reads) -> dict[str, Any]:
        """An account's balance now, by code or id."""
        books = await self._main(caller)
        with start_span("get_balance"):
            async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
                named = await _named(connection, books, account)
                kept = await read_account_kept(connection, books, named.code)
                if kept is None or kept.summary:
                    raise _unknown(account)
                found = await read_balance(connection, books, kept, AsOf())
        return short_words.balance_words(found, named.id)

    async def events(
        self, caller: Reads, account_id: Annotated[str, Query(min_length=1, max_length=128)],
        after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Debits and credits of an account, after a sequence; `limit` counts entries."""
        books = await self._main(caller)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            named = await _named(connection, books, account_id)
            records = await reads.list_account_events(connection, books, named.code, after, limit)
        items = [event for record in records for event in short_words.events_of(record, named.code, named.id)]
        return {"items": items, "next_after": records[-1]["sequence"] if len(records) == limit else None}

    async def transactions(
        self, caller: Reads, account_id: str | None = None, reference: str | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Entries with `direction` and account ids, newest first."""
        books = await self._main(caller)
        name = f"{caller.own_organization()}/main/short-transactions"
        filters = {"account": account_id, "external_id": reference}
        before = 2**63 - 1
        if cursor:
            begun = decode_cursor(cursor, name, filters)
            filters, before = begun.filters, begun.position[0]
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            entries = await reads.list_entries(connection, books, filters, before, limit)
            items = await _transactions(connection, books, entries)
        return page(items, encode_cursor(name, filters, [entries[-1]["sequence"]]) if len(entries) == limit else None)

    async def transaction(self, id: str, caller: Reads) -> dict[str, Any]:  # noqa: A002
        """One entry with `direction` and account ids."""
        books = await self._main(caller)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            entry = await reads.read_entry(connection, books, entry_id_of(id))
            if entry is None:
                raise Problem(404, "unknown-entry", f"The ledger has no entry {id}.")
            (found,) = await _transactions(connection, books, [entry])
        return found

    async def journals(
        self, caller: Reads, from_: From = None, to: WrittenDay | None = None, account: str | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Entries by accounting date and account, newest first."""
        books = await self._main(caller)
        name = f"{caller.own_organization()}/main/short-journals"
        filters: dict[str, Any] = {"from": from_, "to": to, "account": account}
        before = 2**63 - 1
        if cursor:
            begun = decode_cursor(cursor, name, filters)
            filters, before = begun.filters, begun.position[0]
            for end in ("from", "to"):
                filters[end] = date.fromisoformat(filters[end]) if filters.get(end) else None
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            entries = await reads.list_entries(connection, books, filters, before, limit)
        items = [short_words.journal_words(entry, books.functional_currency) for entry in entries]
        return page(items, encode_cursor(name, filters, [entries[-1]["sequence"]]) if len(entries) == limit else None)

    async def trial_balance(self, caller: Reads, currency: CurrencyText | None = None) -> dict[str, Any]:
        """In one currency, the ledger's functional one unless another is asked for."""
        books = await self._main(caller)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            unit = await _unit(connection, books, currency)
            at, closing = await read_sums(connection, books, since=None, through=None, sequence=None)
            stated = await state(connection, "trial-balance", books, None, None, at)
        report = trial_balance(stated, None, Readings(closing), Shown(unit.code))
        return short_words.trial_balance_words(report, unit)

    async def profit_and_loss(
        self, caller: Reads, from_: From = None, to: WrittenDay | None = None, currency: CurrencyText | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """All that was earned and spent, or in a range of days, in one currency; closing entries are left out."""
        check_range(from_, to)
        statement, unit = await self._statement(caller, "profit-and-loss", (from_, to), currency)
        return short_words.profit_and_loss_words(statement, unit)

    async def balance_sheet(
        self, caller: Reads, to: WrittenDay | None = None, currency: CurrencyText | None = None
    ) -> dict[str, Any]:
        """Debits less credits of all that was posted, or up to a day, in one currency."""
        if to is not None and to.year <= 1:
            raise malformed([Fault("/to", "is before all books")])
        statement, unit = await self._statement(caller, "balance-sheet", (None, to), currency)
        return short_words.balance_sheet_words(statement, unit)

    async def account_lines(
        self, account: str, caller: Reads, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT
    ) -> dict[str, Any]:
        """An account's lines in the order they were posted."""
        books = await self._main(caller)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            named = await _named(connection, books, account)
            name = f"{caller.own_organization()}/main/short-ledger/{named.id}"
            position: Sequence[int] = decode_cursor(cursor, name, {}).position if cursor else (0, -1)
            rows = await short_reads.list_lines(connection, books, named.no, (position[0], position[1]), limit)
        following = encode_cursor(name, {}, [rows[-1]["sequence"], rows[-1]["line"]]) if len(rows) == limit else None
        return {
            "account": named.code,
            "name": named.name,
            "lines": [short_words.ledger_line_words(row, named.decimals) for row in rows],
            "next_cursor": following,
        }

    async def _statement(
        self, caller: Caller, report: Report, ends: tuple[date | None, date | None], currency: str | None
    ) -> tuple[StatementAnswer, Currency]:
        books = await self._main(caller)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            unit = await _unit(connection, books, currency)
            facts = await reads.read_ledger(connection, books.code)
        assert facts is not None, "a ledger that is there is never removed"
        wanted = Wanted(
            report=report,
            periods=[Period("current", ends[0], ends[1] or date.max)],
            year_begins=facts["fiscal_year_start"],
            sequence=None,
            currency=unit.code,
            translate_to=None,
            rates_known_at=None,
            level=1,
            zero=False,
        )
        with start_span(f"report {report}"):
            return await Statements(self.reader, caller.own_organization(), books).answer(wanted), unit

    async def _main(self, caller: Caller) -> Ledger:
        return await self.books.get(caller.own_organization(), "main")


def _add(routes: APIRouter, path: str, respond: Callable[..., Any], summary: str) -> None:
    example = short_examples.TOLD["GET", path.rstrip("/")]
    told = {"description": "Found.", "content": {"application/json": {"example": example}}}
    routes.add_api_route(path, respond, summary=summary, responses={200: told})


async def _named(connection: Connection, ledger: Ledger, account: str) -> AccountName:
    """The account that a code or an id names. Raises Problem 404."""
    found = await short_reads.read_names(connection, ledger, [account])
    if account not in found:
        raise _unknown(account)
    return found[account]


def _unknown(account: str) -> Problem:
    return Problem(404, "unknown-account", f"The ledger has no account {account[:128]!r}.")


async def _unit(connection: Connection, ledger: Ledger, currency: str | None) -> Currency:
    """The functional currency, or the one asked for. Raises Problem 422."""
    unit = ledger.functional_currency
    if currency is None or currency == unit.code:
        return unit
    return _currency(currency, {item["code"]: item["decimals"] for item in await reads.list_currencies(connection)})


def _currency(code: str, own: Mapping[str, int]) -> Currency:
    if code in ISO_4217:
        return ISO_4217[code]
    if code not in own:
        raise Problem(
            422, "unknown-currency", f"{code} is neither in ISO 4217 nor one of the organization's own.",
            facts={"currency": code},
        )  # fmt: skip
    return Currency(code, own[code])


async def _transactions(connection: Connection, ledger: Ledger, entries: Sequence[EntryAnswer]) -> list[dict[str, Any]]:
    codes = {line["account"] for entry in entries for line in entry["lines"]}
    names = await short_reads.read_names(connection, ledger, codes)
    ids = {code: account.id for code, account in names.items()}
    keys = await short_reads.read_keys(connection, ledger, [entry["sequence"] for entry in entries])
    functional = ledger.functional_currency
    return [short_words.transaction_words(entry, ids, keys[entry["sequence"]], functional) for entry in entries]
