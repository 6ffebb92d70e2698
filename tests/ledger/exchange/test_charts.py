"""Charts of accounts taken over: in any order, twice, with every fault named by its line."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.cli import charts
from services.ledger.exchange.chart_file import COLUMNS, cell, csv_accounts, csv_text, plain
from services.ledger.exchange.found import FoundAccount, Unreadable
from tests.ledger.exchange.conftest import Exchange


def row(code: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "name": code, "type": "asset", "currency": "USD", **more}


def as_json(*rows: dict[str, Any]) -> bytes:
    return orjson.dumps({"accounts": rows})


def faults(results: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(result["line"], result["code"]) for result in results if result["status"] == "rejected"]


@pytest.mark.parametrize("name", charts.names())
async def test_every_chart_of_ours_is_taken_and_comes_back_as_csv(exchange: Exchange, name: str) -> None:
    accounts = [charts.account_json(account) for account in charts.read(name).accounts]
    body = as_json(*reversed(accounts))
    first, again = await exchange.take("accounts-json", body), await exchange.take("accounts-json", body)
    assert first[-1]["accounts"] == {"opened": len(accounts)}, first
    assert again[-1]["accounts"] == {"unchanged": len(accounts)}
    _, chart, _ = await exchange.export("accounts-csv", ledger="copy")
    assert (await exchange.take("accounts-csv", chart))[-1]["accounts"] == {"unchanged": len(accounts)}


async def test_children_may_stand_before_their_parents(exchange: Exchange) -> None:
    rows = [row("C", parent="B"), row("B", parent="A"), row("A", summary=True, currency=None)]
    results = await exchange.take("accounts-json", as_json(*rows))
    assert [(result["account"], result["line"]) for result in results[:-1]] == [("A", 3), ("B", 2), ("C", 1)]


async def test_parents_that_go_round_are_named(exchange: Exchange) -> None:
    rows = [row("A", parent="B"), row("B", parent="C"), row("C", parent="B"), row("D", parent="D"), row("E")]
    results = await exchange.take("accounts-json", as_json(*rows))
    assert [(result["line"], result["code"], result["facts"]) for result in results[:-1]] == [
        (2, "parents-go-round", {"accounts": ["B", "C"]}),
        (4, "parents-go-round", {"accounts": ["D"]}),
    ]
    assert (await exchange.get("/copy"))["sequence"] == 1


async def test_an_account_that_differs_names_its_fields(exchange: Exchange) -> None:
    await exchange.take("accounts-json", as_json(row("A"), row("B")))
    results = await exchange.take("accounts-json", as_json(row("A", name="Till", cash=True), row("B"), row("C")))
    assert [result["status"] for result in results] == ["rejected", "unchanged", "opened", "refused"]
    assert results[0]["code"] == "account-differs"
    assert results[0]["facts"] == {
        "account": "A", "field": "name", "fields": ["name", "cash"], "wanted": "Till", "found": "A",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([row("A"), row("A")], [(2, "account-twice")]),
        ([row("A", colour="red")], [(1, "malformed")]),
        ([row("A", type="till"), row("-", name="")], [(1, "malformed"), (2, "malformed")]),
        ([row("A", currency=None)], [(1, "malformed")]),
        ([row("A", parent="nowhere")], [(1, "unknown-parent")]),
        ([row("A", currency="QQQ")], [(1, "unknown-currency")]),
        ([{"name": "x"}], [(1, "malformed")]),
        (["A"], [(1, "malformed")]),
    ],
)
async def test_faults_are_told_by_line(exchange: Exchange, rows: list[Any], found: list[tuple[int, str]]) -> None:
    assert faults(await exchange.take("accounts-json", as_json(*rows))) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(1, "malformed")]),
        ("code,name\nA,A\n", [(1, "malformed")]),
        ("code,name,type,colour\n", [(1, "malformed")]),
        ("code,name,type,name\n", [(1, "malformed")]),
        ("code,name,type,currency\nA,A,asset\n", [(2, "malformed")]),
        ('code,name,type,currency\nA,"A,asset,USD\n', [(2, "malformed")]),
        ("code,name,type,currency,cash\nA,A,asset,USD,perhaps\n", [(2, "malformed")]),
        ("code,name,type,currency,heading_number\nA,A,asset,USD,x\n", [(2, "malformed")]),
        ("code,name,type,currency,metadata\nA,A,asset,USD,{\n", [(2, "json-invalid")]),
        ("code,name,type,currency\nA,A,asset,USD\n\nB,B,asset,USD\nA,C,asset,USD\n", [(5, "account-twice")]),
    ],
)
async def test_faults_of_a_table_are_told_by_line(exchange: Exchange, text: str, found: list[tuple[int, str]]) -> None:
    assert faults(await exchange.take("accounts-csv", text.encode())) == found


async def test_a_table_from_a_spreadsheet(exchange: Exchange) -> None:
    text = (
        "\ufeffcode;name;type;currency;summary;parent;heading_number;heading_name;overdraft_policy;overdraft_limit\r\n"
        '2;"Till; ""small""";asset;USD;;1;10;Cash;limit;50\r\n1;\'=SUM(A1);asset;;TRUE;;;;;\r\n'
    )
    results = await exchange.take("accounts-csv", text.encode())
    assert results[-1]["accounts"] == {"opened": 2}, results
    till, top = [await exchange.get(f"/copy/accounts/{code}") for code in ("2", "1")]
    assert (till["name"], till["parent"], till["overdraft"]) == (
        'Till; "small"',
        "1",
        {"policy": "limit", "limit": "50.00"},
    )
    assert top["name"] == "=SUM(A1)"
    assert b"'=SUM(A1)" in (await exchange.export("accounts-csv", ledger="copy"))[1]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx", "'=1", "''+", "'x", "x", ""])
def test_no_cell_is_a_formula_and_every_one_comes_back(name: str) -> None:
    assert cell(name)[:1] not in {"=", "+", "-", "@", "\t"}
    assert plain(cell(name)) == name


def test_a_row_says_its_line_whatever_is_quoted(tmp_path: Path) -> None:
    text = csv_text([list(COLUMNS[:3]), ["A", "two\nlines", "asset"], ["B", "b", "asset"]]).replace("\r\n", "\n")
    found = list(csv_accounts(text))
    assert [(one.line, isinstance(one, FoundAccount)) for one in found if not isinstance(one, Unreadable)] == [
        (2, True), (4, True),
    ]  # fmt: skip
