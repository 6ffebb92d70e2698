"""Files that are broken, forged or foreign: refused by line, with nothing of them posted."""

from hashlib import sha256
from typing import Any

import orjson
import pytest

from tests.ledger.exchange.conftest import Exchange

MIB = 1024 * 1024
ACCOUNTS = "account Assets:Cash\naccount Income:Sales\n\n"
SALE = "2026-01-02 Sale\n    Assets:Cash  5.00 USD\n    Income:Sales\n"


async def refused(exchange: Exchange, format_: str, body: bytes, query: str = "") -> list[tuple[int, str]]:
    """Line and code of each fault; the ledger must not have moved."""
    results = await exchange.take(format_, body, query)
    assert results[-1]["status"] == "refused", results
    assert results[-1]["faults"] == len(results) - 1
    assert (await exchange.get("/copy"))["sequence"] == 1
    return [(result["line"], result["code"]) for result in results[:-1]]


async def log_of(exchange: Exchange) -> list[bytes]:
    _, file, _ = await exchange.export("ndjson")
    return file.splitlines(keepends=True)


def forged(line: bytes, before: bytes, **fields: Any) -> bytes:
    """A record whose hash fits what it says."""
    record = orjson.loads(line)
    payload = orjson.dumps({**orjson.loads(record["payload"]), **fields}).decode()
    hash_ = sha256(bytes.fromhex(orjson.loads(before)["hash"]) + payload.encode()).hexdigest()
    return orjson.dumps({"sequence": record["sequence"], "hash": hash_, "payload": payload}) + b"\n"


async def test_a_log_that_was_altered(exchange: Exchange) -> None:
    lines = await log_of(exchange)
    place = next(place for place, line in enumerate(lines) if b"5000.00" in line)
    altered = [*lines[:place], lines[place].replace(b"5000.00", b"9000.00"), *lines[place + 1 :]]
    assert await refused(exchange, "ndjson", b"".join(altered)) == [(place + 1, "chain-broken")]


async def test_a_log_with_a_record_left_out(exchange: Exchange) -> None:
    lines = await log_of(exchange)
    assert await refused(exchange, "ndjson", b"".join(lines[:9] + lines[10:])) == [(10, "chain-broken")]
    assert await refused(exchange, "ndjson", b"".join(lines[1:])) == [(1, "chain-broken")]


async def test_a_log_whose_end_is_missing(exchange: Exchange) -> None:
    lines = await log_of(exchange)
    head = orjson.loads(lines[-1])["hash"]
    assert await refused(exchange, "ndjson", b"".join(lines)[:-40]) == [(len(lines), "json-invalid")]
    assert await refused(exchange, "ndjson", b"".join(lines[:-1]), f"?head={head}") == [(0, "chain-broken")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"entry": {"lines": [7]}}, "malformed"),
        ({"entry": {"lines": "x"}}, "malformed"),
        ({"account": {"code": ["x"]}, "type": "account-opened"}, "malformed"),
        ({"sequence": 7}, "malformed"),
    ],
)
async def test_a_forged_record_of_the_wrong_shape(exchange: Exchange, fields: dict[str, Any], code: str) -> None:
    lines = await log_of(exchange)
    place = next(place for place, line in enumerate(lines) if b"5000.00" in line)
    body = b"".join([*lines[:place], forged(lines[place], lines[place - 1], **fields)])
    assert await refused(exchange, "ndjson", body) == [(place + 1, code)]


@pytest.mark.parametrize("format_", ["ndjson", "hledger", "beancount", "accounts-csv", "accounts-json"])
async def test_a_line_of_twenty_megabytes(exchange: Exchange, format_: str) -> None:
    ((_, code),) = await refused(exchange, format_, b"x" * 20 * MIB)
    assert code in {"line-too-long", "file-too-long"}


@pytest.mark.parametrize("format_", ["ndjson", "hledger", "beancount", "accounts-csv", "accounts-json"])
async def test_what_is_no_text(exchange: Exchange, format_: str) -> None:
    assert await refused(exchange, format_, b"; \xff\xfe\n") == [(1, "not-utf-8")]
    assert await refused(exchange, format_, b"\n; \0\n") == [(2, "malformed")]


@pytest.mark.parametrize("format_", ["ndjson", "hledger", "beancount"])
async def test_nothing_at_all_is_an_import_of_nothing(exchange: Exchange, format_: str) -> None:
    (summary,) = await exchange.take(format_, b"")
    assert (summary["status"], summary["accounts"], summary["entries"]) == ("done", {}, {})


@pytest.mark.parametrize("format_", ["ndjson", "hledger", "beancount", "accounts-csv"])
async def test_windows_line_ends_and_a_byte_order_mark(exchange: Exchange, format_: str) -> None:
    _, file, _ = await exchange.export(format_)
    results = await exchange.take(format_, b"\xef\xbb\xbf" + file.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert results[-1]["status"] == "done", results
    assert results[-1]["accounts"] == {"opened": 13}


async def test_entries_that_do_not_balance_refuse_the_file(exchange: Exchange) -> None:
    line = {"account": "1010-CASH", "side": "debit", "amount": "5.00"}
    entry = {"lines": [line, {**line, "side": "credit", "amount": "5.01"}]}
    body = orjson.dumps(entry) + b"\n" + orjson.dumps({**entry, "lines": 7}) + b"\n{\n"
    results = await exchange.take("ndjson", body, ledger="main")
    assert [(result["line"], result["code"]) for result in results[:-1]] == [
        (1, "entry-not-balanced"), (2, "malformed"), (3, "json-invalid"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("include other.journal\n", 1, "syntax-not-taken"),
        ("2026-01-02 Sale\n    Assets:Cash  5.00 USD\n    Income:Sales  -4.99 USD\n", 1, "entry-not-balanced"),
        ("2026-01-02 Sale\n    Assets:Cash\n    Income:Sales\n", 1, "syntax-not-taken"),
        ("2026-02-30 Sale\n    Assets:Cash  1 USD\n    Income:Sales\n", 1, "syntax-not-taken"),
        ("01-02 Sale\n    Assets:Cash  1 USD\n", 1, "syntax-not-taken"),
        ("2026-01-02 Sale\n    (Assets:Cash)  5.00 USD\n", 2, "syntax-not-taken"),
        ("2026-01-02 Sale\n    Assets:Cash  5.00 USD @ 1 EUR\n", 2, "syntax-not-taken"),
        ("2026-01-02 Sale\n    Assets:Cash  5,00 USD\n    Income:Sales\n", 2, "syntax-not-taken"),
        ("2026-01-02 Sale\n    Assets:Cash  5.00\n    Income:Sales\n", 2, "syntax-not-taken"),
        ("2026-01-02 Sale\n    Thing:Cash  5.00 USD\n    Income:Sales\n", 1, "account-type-unclear"),
        ("2026-01-02 Sale\n    Assets:a b  5.00 USD\n    Assets:a/b\n", 1, "account-twice"),
        ("~ monthly\n    Assets:Cash  5.00 USD\n", 1, "syntax-not-taken"),
        ("decimal-mark ,\n", 1, "syntax-not-taken"),
        ("    Assets:Cash  5.00 USD\n", 1, "syntax-not-taken"),
        ("Y2026\n", 1, "syntax-not-taken"),
    ],
)
async def test_what_hledger_would_read_otherwise(exchange: Exchange, text: str, line: int, code: str) -> None:
    assert (await refused(exchange, "hledger", text.encode()))[0] == (line, code)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('include "x"\n', 1),
        ('plugin "x"\n', 1),
        ('option "name_assets" "Aktiva"\n', 1),
        ("2026-01-02 pad Assets:Cash Equity:Opening\n", 1),
        ('2026-01-02 * "Sale"\n  Assets:Cash  5 VTI {1 USD}\n', 2),
        ('2026-01-02 * "Sale"\n  Assets:Cash  5 EUR @ 1 USD\n', 2),
        ('2026-01-02 * "Sale"\n  Assets:Cash  (5 + 1) USD\n', 2),
        ('2026-01-02 * "Sale\n', 1),
        ("pushtag #x\n", 1),
        ('2026-13-02 * "Sale"\n', 1),
    ],
)
async def test_what_beancount_would_read_otherwise(exchange: Exchange, text: str, line: int) -> None:
    assert (await refused(exchange, "beancount", text.encode()))[0] == (line, "syntax-not-taken")


async def test_a_foreign_hledger_journal(exchange: Exchange) -> None:
    text = (
        "; of somebody\ncommodity $1,000.00\nP 2026-01-01 EUR $1.10\n\ncomment\nanything\nend comment\n"
        "account assets:bank checking  ; type:C\n\n"
        "2026/1/2 ! (7) Payee | Sale  ; note\n"
        "    ; id: not ours\n"
        "    assets:bank checking    $1,234.50  ; comment\n"
        "    revenues:sales         $-1,234.5 = $-1234.50\n\n"
        "2026-1-3 Exchange\n    assets:bank checking  -5 EUR\n    assets:bank checking  4 EUR\n    expenses:fees\n"
        "2026-1-3 Exchange\n    assets:bank checking  -5 EUR\n    assets:bank checking  4 EUR\n    expenses:fees\n"
    )
    results = await exchange.take("hledger", text.encode())
    assert results[-1]["status"] == "done", results
    assert results[-1]["entries"] == {"posted": 3}
    assert results[-1]["left_out"] == {"price": 1, "balance assertion": 1}
    assert await exchange.balances("copy") == {
        "assets:bank_checking": ("USD", "1234.50"),
        "assets:bank_checking.EUR": ("EUR", "-2.00"),
        "revenues:sales": ("USD", "1234.50"),
        "expenses:fees": ("EUR", "2.00"),
    }
    grown = f"{text}\n2026-01-04 More\n    assets:bank checking  $1\n    revenues:sales\n"
    assert (await exchange.take("hledger", grown.encode()))[-1]["entries"] == {"unchanged": 3, "posted": 1}


async def test_a_foreign_beancount_journal(exchange: Exchange) -> None:
    text = (
        'option "title" "Mine"\n2020-01-01 open Assets:Cash\n2020-01-01 open Income:Sales USD\n'
        "2026-01-01 price EUR 1.10 USD\n* heading\n"
        '2026-01-02 * "A person" "Sale" #shop ^order-7\n  note: "x"\n'
        "  Assets:Cash  1,234.50 USD ; much\n  Income:Sales\n"
        "2026-01-03 balance Assets:Cash 1234.50 USD\n"
    )
    results = await exchange.take("beancount", text.encode())
    assert results[-1]["status"] == "done", results
    assert results[-1]["left_out"] == {"price": 1, "balance": 1}
    assert await exchange.balances("copy") == {
        "Assets:Cash": ("USD", "1234.50"),
        "Income:Sales": ("USD", "1234.50"),
    }
    (entry,) = (await exchange.get("/copy/entries"))["items"]
    assert (entry["description"], entry["metadata"]) == ("Sale", {"tags": ["shop"], "links": ["order-7"]})


async def test_an_account_that_means_something_else_stops_the_import(exchange: Exchange) -> None:
    text = "account 1010-CASH  ; type: L\n\n2026-01-02 x\n    1010-CASH  5.00 USD\n    Income:Sales\n"
    before = (await exchange.get("/main"))["sequence"]
    results = await exchange.take("hledger", text.encode(), ledger="main")
    assert results[0]["code"] == "account-differs"
    assert results[0]["facts"]["field"] == "type"
    assert results[-1]["status"] == "refused"
    assert (await exchange.get("/main"))["sequence"] <= before + 1, "an account may be opened, no entry is posted"


async def test_what_the_request_itself_does_wrong(exchange: Exchange) -> None:
    assert (await exchange.export("xlsx"))[0] == 404
    assert (await exchange.export("hledger", "?sequence=x"))[0] == 422
    for day in ("x", "20260131", "2026-W01-1", "0000-00-00", "2026-02-30"):
        assert (await exchange.export("hledger", f"?from={day}"))[0] == 422, day
    assert (await exchange.export("hledger", ledger="none"))[0] == 404
