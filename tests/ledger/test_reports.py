"""Reports over HTTP on a small set of books: what they answer as of days and sequences, as JSON and as CSV."""

import csv
import io
from dataclasses import dataclass
from datetime import date
from typing import Any

import aiohttp
import orjson
import pytest

from libs.common.db import create_pool, transaction
from libs.common.journal import Heading
from tests.ledger.asking import ASKER, account, entry, open_accounts, tell
from tests.ledger.serving import Service

BOOKS = "/api/v1/ledgers/main"
REPORTS = f"{BOOKS}/reports"
HOSTILE = '=HYPERLINK("http://x"),\n+1'


@dataclass(slots=True)
class Told:
    """An answer with its bytes."""

    status: int
    type: str
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def rows(self) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.raw.decode())))


async def ask(service: Service, path: str, accept: str = "application/json") -> Told:
    headers = {**service.headers(), "Accept": accept}
    async with aiohttp.ClientSession() as session, session.get(service.url + path, headers=headers) as answer:
        return Told(answer.status, answer.headers["Content-Type"], await answer.read())


@pytest.fixture
async def sequences(service: Service) -> list[int]:
    """A tree of assets, rent over two months, one entry backdated; the sequence of each entry."""
    await open_accounts(
        service.books,
        account("1001-TILL", parent="1000", heading=Heading(number=10, name="Liquid assets")),
        account("1002-SAFE", parent="1000", heading=Heading(number=10, name="Liquid assets")),
        account("1003-EURO", currency="EUR", parent="1000"),
        account("1001-A", parent="1001-TILL"),
        account("3000-CAPITAL", "equity"),
        account("3001-CAPITAL-EUR", "equity", currency="EUR"),
    )
    posted = []
    for effective_on, description, lines in (
        ("2026-01-05", "Capital", ("1001-TILL debit 500.00", "3000-CAPITAL credit 500.00")),
        ("2026-01-06", "Capital in euro", ("1003-EURO debit 80.00", "3001-CAPITAL-EUR credit 80.00")),
        ("2026-02-03", HOSTILE, ("5000-RENT debit 120.00", "1001-TILL credit 120.00")),
        ("2026-02-04", "To the safe", ("1002-SAFE debit 30.00", "1001-TILL credit 30.00")),
        ("2026-01-20", "Backdated", ("1001-A debit 7.00", "3000-CAPITAL credit 7.00")),
        ("2026-01-21", "Rent, late", ("5000-RENT debit 1.00", "1001-TILL credit 1.00")),
    ):
        answer = await tell(service.books, entry(*lines, effective_on=day(effective_on), description=description))
        assert answer.rejection is None, answer.rejection
        posted.append(answer.sequence)
    return posted


def day(text: str) -> date:
    return date.fromisoformat(text)


async def posted_at(service: Service, code: str, query: str) -> str:
    told = await ask(service, f"{BOOKS}/accounts/{code}/balance{query}")
    assert told.status == 200, told.raw
    posted: str = told.body["posted"]
    return posted


async def test_a_balance_now_as_of_a_day_a_sequence_and_both(service: Service, sequences: list[int]) -> None:
    assert await posted_at(service, "1001-TILL", "") == "349.00"
    assert await posted_at(service, "1001-TILL", "?effective_on=2026-01-31") == "499.00"
    assert await posted_at(service, "1001-TILL", f"?sequence={sequences[4]}") == "350.00"
    assert await posted_at(service, "1001-TILL", f"?sequence={sequences[4]}&effective_on=2026-01-31") == "500.00"
    assert await posted_at(service, "3000-CAPITAL", f"?sequence={sequences[0]}") == "500.00"
    assert await posted_at(service, "1001-TILL", "?sequence=0") == "0.00"


async def test_a_balance_beyond_the_head_is_refused(service: Service, sequences: list[int]) -> None:
    for path in ("accounts/1001-TILL/balance", "accounts/1000/balance", "reports/trial-balance", "reports/journal"):
        told = await ask(service, f"{BOOKS}/{path}?sequence={sequences[-1] + 1}")
        assert (told.status, told.body["code"]) == (422, "sequence-not-reached")
        assert told.body["facts"]["head"] == sequences[-1]


async def test_a_partys_balance_is_that_of_its_lines(service: Service) -> None:
    await open_accounts(service.books, account("1200-AR", control_owner="api"))
    for amount, party in (("5.00", "@anna"), ("2.00", "@ben"), ("1.00", "@anna")):
        lines = (f"1200-AR debit {amount} {party}", f"1010-CASH credit {amount}")
        last = await tell(service.books, entry(*lines, effective_on=day("2026-01-15")), asker=ASKER)
        assert last.rejection is None, last.rejection
    for query, expected in (
        ("?party=anna", "6.00"),
        (f"?party=anna&sequence={last.sequence - 1}", "5.00"),
        ("?party=anna&effective_on=2026-01-14", "0.00"),
        ("?party=nobody", "0.00"),
    ):
        assert await posted_at(service, "1200-AR", query) == expected, query


async def test_pending_amounts_are_those_at_the_sequence(service: Service, sequences: list[int], database: Any) -> None:
    """Rows as a hold's record leaves them, placed by the owner: what reads them is under test."""
    owner = await create_pool(database.dsns.migrator, name="owner", max_size=1)
    async with transaction(owner) as connection:
        no = await connection.fetchval("select no from accounts where code = '1001-TILL'")
        ledger_no = await connection.fetchval("select ledger_no from accounts where code = '1001-TILL'")
        await connection.execute(
            "insert into pendings values ($1, $2, $3, 0, 2000), ($1, $2, $4, 300, 4900)",
            ledger_no, no, sequences[1], sequences[3],
        )  # fmt: skip
        await connection.execute(
            "update balances set pending_debits = 300, pending_credits = 4900 where ledger_no = $1 and account_no = $2",
            ledger_no, no,
        )  # fmt: skip
    await owner.close()
    for query, pending in (
        ("", ("349.00", "3.00", "49.00", "300.00")),
        (f"?sequence={sequences[0]}", ("500.00", "0.00", "0.00", "500.00")),
        (f"?sequence={sequences[2]}", ("380.00", "0.00", "20.00", "360.00")),
        ("?effective_on=2026-01-31", ("499.00", "3.00", "49.00", "450.00")),
    ):
        found = (await ask(service, f"{BOOKS}/accounts/1001-TILL/balance{query}")).body
        shown = tuple(found[name] for name in ("posted", "pending_debits", "pending_credits", "available"))
        assert shown == pending, query
    (total, _) = (await ask(service, f"{BOOKS}/accounts/1000/balance")).body["total"][::-1]
    assert total["pending_credits"] == "49.00"
    assert total["available"] == "337.00"


async def test_a_summary_account_adds_up_its_branch_by_currency(service: Service, sequences: list[int]) -> None:
    found = (await ask(service, f"{BOOKS}/accounts/1000/balance")).body
    assert found["summary"] is True
    assert found["own"] == []
    assert [(total["currency"], total["posted"]) for total in found["total"]] == [("EUR", "80.00"), ("USD", "386.00")]
    assert [child["account"] for child in found["children"]] == ["1001-TILL", "1002-SAFE", "1003-EURO"]
    till = found["children"][0]
    assert (till["own"][0]["posted"], till["total"][0]["posted"]) == ("349.00", "356.00")
    early = (await ask(service, f"{BOOKS}/accounts/1000/balance?effective_on=2026-01-31&sequence={sequences[3]}")).body
    assert [(total["currency"], total["posted"]) for total in early["total"]] == [("EUR", "80.00"), ("USD", "500.00")]
    parent = (await ask(service, f"{BOOKS}/accounts/1001-TILL/balance")).body
    assert parent["posted"] == "349.00"
    assert parent["total"][0]["posted"] == "356.00"
    assert "total" not in (await ask(service, f"{BOOKS}/accounts/1002-SAFE/balance")).body
    assert (await ask(service, f"{BOOKS}/accounts/1000/balance?party=x")).status == 422


async def test_the_tree_has_every_account_once(service: Service, sequences: list[int]) -> None:
    found = (await ask(service, f"{REPORTS}/account-tree")).body
    assert found["sequence"] == sequences[-1]
    assert all(tie["ok"] for tie in found["tie_outs"])
    tops = [branch["account"] for branch in found["accounts"]]
    assert "1000" in tops
    assert "1001-TILL" not in tops


async def test_a_trial_balance_has_opening_movement_and_closing(service: Service, sequences: list[int]) -> None:
    found = (await ask(service, f"{REPORTS}/trial-balance?from=2026-02-01&to=2026-02-28&compare=2026-01-06")).body
    rows = {row["account"]: row for row in found["rows"]}
    till = rows["1001-TILL"]
    assert (till["opening"], till["movement"], till["closing"]) == ("499.00", "-150.00", "349.00")
    assert (till["debits"], till["credits"], till["balance"]) == ("0.00", "150.00", "349.00")
    assert till["compare_balance"] == "500.00"
    assert (till["level"], till["heading"]) == (2, {"number": 10, "name": "Liquid assets"})
    assert found["balanced"]
    assert {tie["name"] for tie in found["tie_outs"]} == {
        "debits-equal-credits",
        "debit-balances-equal-credit-balances",
        "opening-and-movement-make-closing",
    }
    assert all(tie["ok"] for tie in found["tie_outs"])
    assert {total["currency"]: total["debits"] for total in found["totals"]} == {"EUR": "0.00", "USD": "150.00"}
    assert found["headings"][0] == {
        "heading": {"number": 10, "name": "Liquid assets"}, "currency": "USD", "debits": "30.00", "credits": "150.00",
    }  # fmt: skip


async def test_a_trial_balance_may_leave_out_nothing_and_roll_up_branches(
    service: Service, sequences: list[int]
) -> None:
    everything = (await ask(service, f"{REPORTS}/trial-balance")).body
    assert "2001-ALICE" in {row["account"] for row in everything["rows"]}
    short = (await ask(service, f"{REPORTS}/trial-balance?zero=false&level=1&currency=USD")).body
    rows = {row["account"]: (row["balance"], row["rolled_up"]) for row in short["rows"]}
    assert rows == {"1000": ("386.00", True), "3000-CAPITAL": ("507.00", False), "5000-RENT": ("121.00", False)}
    assert short["totals"] == [total for total in everything["totals"] if total["currency"] == "USD"]


async def test_the_same_sequence_gives_the_same_bytes_later(service: Service, sequences: list[int]) -> None:
    paths = [
        f"{path}sequence={sequences[4]}"
        for path in (
            f"{REPORTS}/trial-balance?from=2026-01-10&", f"{REPORTS}/general-ledger?to=2026-02-03&",
            f"{REPORTS}/journal?", f"{BOOKS}/accounts/1001-TILL/statement?", f"{REPORTS}/account-tree?",
            f"{BOOKS}/accounts/1001-TILL/totals?side=credit&",
        )
    ]  # fmt: skip
    before = [(await ask(service, path, accept)).raw for path in paths for accept in ("application/json", "text/csv")]
    reversed_ = (await ask(service, f"{BOOKS}/entries?limit=5")).body["items"][1]
    body = {"effective_on": "2026-01-11"}
    assert (await service.send("POST", f"{BOOKS}/entries/{reversed_['id']}/reverse", body))[0] == 201
    changes = {"name": "Drawer", "parent": None, "heading": {"number": 99, "name": "Other"}}
    assert (await service.send("PATCH", f"{BOOKS}/accounts/1001-TILL", changes))[0] == 200
    await open_accounts(service.books, account("0001-LATE"))
    after = [(await ask(service, path, accept)).raw for path in paths for accept in ("application/json", "text/csv")]
    assert after == before


async def test_a_statement_runs_by_effective_day_page_by_page(service: Service, sequences: list[int]) -> None:
    whole = (await ask(service, f"{BOOKS}/accounts/1001-TILL/statement?from=2026-01-10")).body
    assert (whole["opening"], whole["debits"], whole["credits"], whole["closing"]) == (
        "500.00", "0.00", "151.00", "349.00",
    )  # fmt: skip
    assert [(line["effective_on"], line["balance"]) for line in whole["items"]] == [
        ("2026-01-21", "499.00"),
        ("2026-02-03", "379.00"),
        ("2026-02-04", "349.00"),
    ]
    assert whole["tie_outs"][0]["ok"]
    items, cursor = [], ""
    for _ in range(4):
        part = (await ask(service, f"{BOOKS}/accounts/1001-TILL/statement?from=2026-01-10&limit=1{cursor}")).body
        items += part["items"]
        if not items[1:]:
            await tell(service.books, entry("1001-TILL debit 9.00", "3000-CAPITAL credit 9.00"))
        cursor = f"&cursor={part['next_cursor']}"
    assert part["next_cursor"] is None
    assert items == whole["items"], "what is posted meanwhile is not in it"
    assert part["tie_outs"] == whole["tie_outs"]
    assert (await ask(service, f"{BOOKS}/accounts/1000/statement")).body["code"] == "account-is-summary"


async def test_csv_is_quoted_and_no_text_is_a_formula(service: Service, sequences: list[int]) -> None:
    told = await ask(service, f"{BOOKS}/accounts/1001-TILL/statement", "text/csv")
    assert told.type.startswith("text/csv")
    header, *rows = told.rows
    table = [dict(zip(header, row, strict=True)) for row in rows[:4]]
    assert [row["balance"] for row in table] == ["500.00", "499.00", "379.00", "349.00"]
    assert table[2]["description"] == "'" + HOSTILE
    stated = {row[0]: row[1:] for row in rows[4:] if row}
    assert stated["sequence"] == [str(sequences[-1])]
    assert stated["tie-out"] == ["lines-make-closing", "USD", "349.00", "349.00", "true"]
    trial = await ask(service, f"{REPORTS}/trial-balance?from=2026-02-01", "text/csv")
    row = next(row for row in trial.rows if row[0] == "1001-TILL")
    assert row[5] == "10 Liquid assets"
    assert "-150.00" in row, "an amount is no formula and has no quote before it"


async def test_the_general_ledger_has_every_line_once(service: Service, sequences: list[int]) -> None:
    found = (await ask(service, f"{REPORTS}/general-ledger?from=2026-01-10")).body
    accounts = {part["account"]: part for part in found["accounts"]}
    assert set(accounts) == {
        "1001-A", "1001-TILL", "1002-SAFE", "1003-EURO", "3000-CAPITAL", "3001-CAPITAL-EUR", "5000-RENT",
    }  # fmt: skip
    assert accounts["1003-EURO"]["lines"] == []
    assert [line["balance"] for line in accounts["5000-RENT"]["lines"]] == ["1.00", "121.00"]
    assert accounts["5000-RENT"]["closing"] == "121.00"
    assert found["balanced"]
    assert all(tie["ok"] for tie in found["tie_outs"])
    assert found["totals"] == [{"currency": "EUR", "debits": "0.00", "credits": "0.00"}, {
        "currency": "USD", "debits": "158.00", "credits": "158.00",
    }]  # fmt: skip
    rows = (await ask(service, f"{REPORTS}/general-ledger?from=2026-01-10", "text/csv")).rows
    assert [row[-1] for row in rows if row and row[0] == "5000-RENT"] == ["0.00", "1.00", "121.00", "121.00"]


async def test_the_journal_is_in_the_order_of_posting(service: Service, sequences: list[int]) -> None:
    found = (await ask(service, f"{REPORTS}/journal?from=2026-01-06&to=2026-01-31")).body
    assert [each["sequence"] for each in found["entries"]] == [sequences[1], *sequences[4:]]
    assert [(total["currency"], total["debits"]) for total in found["totals"]] == [("EUR", "80.00"), ("USD", "8.00")]
    rows = (await ask(service, f"{REPORTS}/journal?from=2026-02-01", "text/csv")).rows
    header = rows[0]
    table = [dict(zip(header, row, strict=True)) for row in rows[1:5]]
    assert [(row["account"], row["side"], row["amount"]) for row in table[:2]] == [
        ("5000-RENT", "debit", "120.00"),
        ("1001-TILL", "credit", "120.00"),
    ]


@pytest.mark.parametrize(
    ("query", "debits", "credits_"),
    [
        ("", "500.00", "151.00"),
        ("?from=2026-02-01", "0.00", "150.00"),
        ("?to=2026-01-31", "500.00", "1.00"),
        ("?side=debit", "500.00", "0.00"),
        ("?side=credit&to=2026-02-03", "0.00", "121.00"),
        ("?q=SAFE", "0.00", "30.00"),
        ("?party=anna", "0.00", "0.00"),
        ("?metadata=%7B%22a%22:1%7D", "0.00", "0.00"),
        ("?metadata=%7B%7D&side=credit", "0.00", "151.00"),
        ("?origin=order/7", "0.00", "0.00"),
    ],
)
async def test_totals_by_filters(
    service: Service, sequences: list[int], query: str, debits: str, credits_: str
) -> None:
    found = (await ask(service, f"{BOOKS}/accounts/1001-TILL/totals{query}")).body
    assert (found["debits"], found["credits"]) == (debits, credits_)
    lines = (await ask(service, f"{BOOKS}/accounts/1001-TILL/lines{query}")).body["items"]
    for side, expected in (("debit", debits), ("credit", credits_)):
        total = sum(int(line["amount"].replace(".", "")) for line in lines if line["side"] == side)
        assert total == int(expected.replace(".", "")), "the lines are those that are added up"


async def test_lines_by_metadata_and_origin_go_on_by_cursor(service: Service) -> None:
    for number in range(5):
        body = {
            "effective_on": "2026-01-15", "metadata": {"order": {"no": number % 2}}, "origin":
            {"service": "shop", "document": f"order/{number}"}, "lines": [
                {"account": "5000-RENT", "side": "debit", "amount": f"{number + 1}.00"},
                {"account": "1010-CASH", "side": "credit", "amount": f"{number + 1}.00"}],
        }  # fmt: skip
        assert (await service.send("POST", f"{BOOKS}/entries", body))[0] == 201
    path = f"{BOOKS}/accounts/5000-RENT/lines?limit=2&metadata=%7B%22order%22:%7B%22no%22:0%7D%7D"
    first = (await ask(service, path)).body
    rest = (await ask(service, f"{path}&cursor={first['next_cursor']}")).body
    assert [line["amount"] for line in (*first["items"], *rest["items"])] == ["1.00", "3.00", "5.00"]
    found = (await ask(service, f"{BOOKS}/accounts/5000-RENT/totals?origin=order/3")).body
    assert found["debits"] == "4.00"
    assert (await ask(service, f"{BOOKS}/accounts/5000-RENT/totals?metadata=3")).body["code"] == "malformed"


async def test_a_range_that_ends_before_it_begins_is_refused(service: Service) -> None:
    for path in ("reports/trial-balance", "reports/general-ledger", "reports/journal", "accounts/1010-CASH/statement"):
        assert (await ask(service, f"{BOOKS}/{path}?from=2026-02-01&to=2026-01-01")).status == 422
    assert (await ask(service, f"{REPORTS}/trial-balance?from=0001-01-01")).status == 200
    assert (await ask(service, f"{BOOKS}/accounts/1010-CASH/statement?from=0001-01-01&to=9999-12-31")).status == 200
