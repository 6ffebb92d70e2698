"""The short paths' words as tables: what a form becomes, what it is refused for, how amounts are read."""

from typing import Any

import orjson
import pytest

from libs.common.errors import Fault
from libs.common.journal import AccountRequest, LineRequest
from libs.common.money import Currency
from libs.common.short_numbers import exact_amounts
from services.ledger import short_examples, short_words
from services.ledger.short_api import AMOUNTS, POSTS
from services.ledger.short_forms import (
    TRANSACTION_WORDS,
    account_request,
    accounts_named,
    by_code,
    journal_request,
    key_in,
    own_faults,
    transaction_request,
    transfer_request,
    wallet_request,
    wallet_transfer_request,
)
from services.ledger.short_words import events_of, functional_value, negated, trial_balance_words

USD = Currency("USD", 2)

NUMBERS: list[tuple[bytes, str | None]] = [
    (b"100", "100"),
    (b"100.50", "100.5"),
    (b"1500.0", "1500"),
    (b"0.1", "0.1"),
    (b"0.30000000000000004", "0.30000000000000004"),
    (b"12345678901234567890.12", "12345678901234567890.12"),
    (b"123456789012345678901234567890", "123456789012345678901234567890"),
    (b"-1.25", "-1.25"),
    (b"0", "0"),
    (b"0.00", "0"),
    (b"-0", "-0"),
    (b'"100.50"', "100.50"),
    (b'"1e3"', "1e3"),
    (b"1e3", None),
    (b"1E3", None),
    (b"1.5e-3", None),
]


@pytest.mark.parametrize(("written", "text"), NUMBERS, ids=[row[0].decode() for row in NUMBERS])
def test_a_number_is_the_text_it_is_written_as(written: bytes, text: str | None) -> None:
    for raw, pointer, steps in (
        (b'{"amount":%s}' % written, "/amount", ["amount"]),
        (b'{"lines":[{},{"amount":%s}]}' % written, "/lines/1/amount", ["lines", 1, "amount"]),
    ):
        value, faults = exact_amounts(raw, orjson.loads(raw), AMOUNTS)
        for step in steps:
            value = value[step]
        if text is None:
            assert [fault.pointer for fault in faults] == [pointer]
        else:
            assert (faults, value) == ([], text)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"amount":true}', b'{"amount":null}', b'{"amount":[1]}', b'{"name":1.5}', b'{"metadata":{"amount":1.5}}',
        b'{"lines":{"amount":1.5}}', b'{"lines":[1.5]}', b"[1.5]", b"1.5", b'{"*":1.5}',
    ],
)  # fmt: skip
def test_numbers_elsewhere_stay_numbers(raw: bytes) -> None:
    assert exact_amounts(raw, orjson.loads(raw), AMOUNTS) == (orjson.loads(raw), [])


ACCOUNTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"code": "A", "account_type": "asset"}, {"code": "A", "type": "asset", "currency": "USD"}),
    ({"code": "A", "type": "income", "ccy": "EUR"}, {"type": "income", "currency": "EUR"}),
    ({"number": "A", "type": "income"}, {"code": "A"}),
    ({"type": "expense"}, {"code": "account-1", "overdraft.policy": "unlimited"}),
    ({"code": "A", "number": "A", "type": "asset", "account_type": "asset"}, {"code": "A"}),
    ({"type": "asset", "is_control_account": True}, {"summary": True, "currency": None}),
    ({"type": "asset", "is_reconcilable": True}, {"reconcilable": True, "summary": False}),
    ({"type": "asset", "balance_type": "cr"}, {"normal_side": "credit"}),
    ({"type": "asset", "parent": "1000", "metadata": None}, {"parent": "1000", "metadata": {}}),
    (
        {"heading": {"heading": "Owed", "number": 7, "heading_type": "liability", "balance_type": "cr"}},
        {"type": "liability", "heading.name": "Owed", "heading.number": 7, "normal_side": "credit"},
    ),
]


@pytest.mark.parametrize(("form", "wanted"), ACCOUNTS, ids=[str(row[0]) for row in ACCOUNTS])
def test_an_account_s_form(form: dict[str, Any], wanted: dict[str, Any]) -> None:
    opening = account_request({"name": "Cash", **form}, code="account-1", currency="USD")
    assert opening.faults == []
    for path, expected in wanted.items():
        value: Any = opening.request
        for step in path.split("."):
            value = getattr(value, step)
        assert value == expected, path


DISAGREEING: list[tuple[dict[str, Any], str]] = [
    ({}, "/account_type"),
    ({"type": "asset", "account_type": "income"}, "/type"),
    ({"type": "asset", "code": "A", "number": "B"}, "/number"),
    ({"type": "asset", "currency": "USD", "ccy": "EUR"}, "/ccy"),
    ({"type": "asset", "heading": {"heading": "H", "number": 1, "heading_type": "income"}}, "/heading/heading_type"),
    (
        {"type": "asset", "balance_type": "dr", "heading": {"heading": "H", "number": 1, "balance_type": "cr"}},
        "/heading/balance_type",
    ),
]


@pytest.mark.parametrize(("form", "pointer"), DISAGREEING, ids=[row[1] for row in DISAGREEING])
def test_an_account_s_form_that_does_not_agree_with_itself(form: dict[str, Any], pointer: str) -> None:
    opening = account_request({"name": "Cash", **form}, code="account-1", currency="USD")
    assert [fault.pointer for fault in opening.faults] == [pointer]


def test_an_account_is_an_asset_where_the_path_says_so() -> None:
    opening = account_request({"name": "Cash"}, code="c", currency="USD", type_="asset")
    assert (opening.faults, opening.request.type) == ([], "asset")


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"name": "John Doe"}, "John Doe"),
        ({"name": ""}, "c"),
        ({"name": 7}, "c"),
        ({"name": "x" * 201}, "c"),
        (None, "c"),
    ],
)
def test_a_wallet_is_a_liability_that_may_not_fall_below_zero(metadata: Any, name: str) -> None:
    request = wallet_request({"currency": "USD", "type": "user", "metadata": metadata}, code="c")
    assert (request.type, request.overdraft.policy, request.name) == ("liability", "none", name)
    assert wallet_request({"currency": "USD", "type": "internal"}, code="c").overdraft.policy == "unlimited"


def test_entries_and_transfers() -> None:
    journal = journal_request({
        "description": "Rent",
        "lines": [
            {"account_code": "5000", "amount": "1", "is_debit": True, "currency": "USD"},
            {"account_code": "1010", "amount": "1", "is_debit": False},
        ],
    })  # fmt: skip
    assert journal.lines == [LineRequest("5000", "debit", "1", "USD"), LineRequest("1010", "credit", "1")]
    transaction = transaction_request({
        "reference": "PAY-1", "currency": "EUR", "entries": [{"account_id": "x", "direction": "credit", "amount": "2"}]
    })  # fmt: skip
    assert (transaction.external_id, transaction.description) == ("PAY-1", "")
    assert transaction.lines == [LineRequest("x", "credit", "2", "EUR")]
    by_ids = wallet_transfer_request({
        "source_account_id": "x", "destination_account_id": "y", "amount": "3", "metadata": {"description": "Lunch"}
    })  # fmt: skip
    assert (by_ids.source, by_ids.target, by_ids.amount, by_ids.description) == ("x", "y", "3", "Lunch")
    by_codes = transfer_request({"from": "x", "to": "y", "amount": "3", "ccy": "EUR", "reference": "R"})
    assert (by_codes.currency, by_codes.external_id) == ("EUR", "R")


def test_names_become_codes_and_what_is_unknown_stays() -> None:
    codes = {"id-1": "1010"}
    transfer = transfer_request({"from": "id-1", "to": "id-2", "amount": "3"})
    transaction = transaction_request({
        "currency": "EUR",
        "entries": [{"account_id": name, "direction": "credit", "amount": "2"} for name in ("id-2", "id-1", "id-1")],
    })  # fmt: skip
    account = AccountRequest(code="c", name="c", type="asset", parent="id-1")
    assert accounts_named(transfer) == ["id-1", "id-2"]
    assert accounts_named(transaction) == ["id-2", "id-1"]
    assert accounts_named(account) == ["id-1"]
    for request in (transfer, transaction, account):
        by_code(request, codes)
    assert (transfer.source, transfer.target, account.parent) == ("1010", "id-2", "1010")
    assert [line.account for line in transaction.lines] == ["id-2", "1010", "1010"]


KEYS: list[tuple[dict[str, Any], str | None, str | None, list[str]]] = [
    ({}, None, None, []),
    ({}, "h", "h", []),
    ({"client_ref": "b"}, None, "b", []),
    ({"idempotency_key": "b"}, None, "b", []),
    ({"idempotency_key": "b", "client_ref": "b"}, "b", "b", []),
    ({"idempotency_key": None}, "h", "h", []),
    ({"idempotency_key": "b"}, "h", "h", ["/idempotency_key"]),
    ({"client_ref": "b"}, "h", "h", ["/client_ref"]),
    ({"idempotency_key": "a", "client_ref": "b"}, None, "a", ["/client_ref"]),
]


@pytest.mark.parametrize(("form", "header", "key", "pointers"), KEYS)
def test_the_key(form: dict[str, Any], header: str | None, key: str | None, pointers: list[str]) -> None:
    found, faults = key_in(form, header)
    assert (found, [fault.pointer for fault in faults]) == (key, pointers)


def test_pointers_speak_of_the_form() -> None:
    faults = [Fault(f"/lines/{place}/{member}", "x") for place in (0, 1) for member in ("account", "currency", "side")]
    told = [fault.pointer for fault in own_faults(faults, {"currency": "USD"}, TRANSACTION_WORDS)]
    assert told == [
        "/entries/0/account_id", "/currency", "/entries/0/direction", "/entries/1/account_id", "/entries/1/direction",
    ]  # fmt: skip
    assert own_faults([Fault("/currency", "x")], {"ccy": "USD"}, {}) == [Fault("/ccy", "x")]


RATES = [{"base": "EUR", "counter": "USD", "rate": "1.1"}, {"base": "USD", "counter": "JPY", "rate": "150"}]
VALUES = [
    ("10.00", "USD", "10.00"),
    ("10.05", "EUR", "11.06"),
    ("10.15", "EUR", "11.16"),
    ("1500", "JPY", "10.00"),
    ("10.00", "GBP", None),
]


@pytest.mark.parametrize(("amount", "currency", "value"), VALUES)
def test_a_value_is_known_or_null(amount: str, currency: str, value: str | None) -> None:
    assert functional_value({"amount": amount, "currency": currency}, RATES, USD) == value
    unrated = functional_value({"amount": amount, "currency": currency}, [], USD)
    assert unrated == (amount if currency == "USD" else None)


def test_a_trial_balance_counts_debits_up() -> None:
    row = {"account": "2000", "name": "Owed", "type": "liability", "normal_side": "credit"}
    row |= {"debits": "1.00", "credits": "3.50", "balance": "2.50"}
    report = {"rows": [row], "totals": [], "balanced": True, "sequence": 3}
    told = trial_balance_words(report, USD)
    assert told["rows"][0]["balance"] == "-2.50"
    assert (told["total_debits"], told["total_credits"]) == ("0.00", "0.00")
    assert [negated(text) for text in ("0.00", "-1", "1", "0")] == ["0.00", "1", "-1", "0"]


def test_an_account_s_events_are_its_own_lines() -> None:
    def side(account: str, side: str) -> dict[str, str]:
        return {"account": account, "side": side, "amount": "1.00", "currency": "USD", "balance_after": "0.00"}

    lines = [side("A", "debit"), side("B", "credit"), side("A", "credit")]
    record = {"sequence": 4, "type": "entry-posted", "recorded_at": "now", "entry": {"id": "e", "lines": lines}}
    told = events_of(record, "A", "id-a")
    assert [(event["event_id"], event["event_type"]) for event in told] == [("4/0", "debit"), ("4/2", "credit")]
    (opened,) = events_of({"sequence": 2, "type": "account-opened", "recorded_at": "now", "account": {}}, "A", "id-a")
    assert (opened["event_id"], opened["event_type"], opened["account_id"]) == ("2", "account-opened", "id-a")


def test_every_example_is_a_form_of_its_path() -> None:
    for post in POSTS:
        raw = orjson.dumps(short_examples.ASKED[post.path.rstrip("/")])
        value, faults = exact_amounts(raw, orjson.loads(raw), AMOUNTS)
        assert faults == []
        post.adapter.validate_json(orjson.dumps(value))


def test_a_heading_counts_its_accounts_changes() -> None:
    account = {
        "id": "i", "code": "c", "name": "n", "type": "asset", "normal_side": "credit", "currency": "USD", "version": 9,
        "heading": {"name": "H", "number": 3}, "parent": None, "summary": False, "reconcilable": False,
        "metadata": {}, "opened_at": "now", "closed": True,
    }  # fmt: skip
    told = short_words.account_words(account)
    assert told["heading"] == {
        "heading": "H", "heading_type": "asset", "balance_type": "dr", "number": 3, "tracker": 9,
    }  # fmt: skip
    assert (told["balance_type"], told["is_active"], told["is_control_account"]) == ("cr", False, False)
