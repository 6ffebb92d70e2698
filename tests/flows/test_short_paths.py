"""The short paths through the gateway: every path that small ledgers' clients know, as those clients send it.

One test for each row of docs/guides/short-paths.md (reports are in test_short_reports.py). Each looks at the long path
too: what was asked in other words is in the same books.
"""

from typing import Any
from uuid import uuid4

import pytest

from services.gateway.routes import SHORT_PATHS
from services.ledger.short_examples import TOLD
from tests.flows.shop import ENTRIES, LEDGER, Answer, Shop, open_shop

pytestmark = pytest.mark.stack

V1 = "/api/v1"


async def good(shop: Shop, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """The body of an answer that is no problem."""
    answer = await shop.send(method, path, body, headers)
    assert answer.status in (200, 201), answer.body
    return answer.body


async def wallet(shop: Shop, type_: str = "user") -> str:
    """The id of a new wallet."""
    opened = await good(shop, "POST", f"{V1}/ledger/account/", {"currency": "USD", "type": type_})
    account_id: str = opened["id"]
    return account_id


async def journal(shop: Shop, amount: Any = 1000, **more: Any) -> Answer:
    """A cash sale by account codes."""
    lines = [
        {"account_code": "1010-CASH", "amount": amount, "is_debit": True},
        {"account_code": "4000-REVENUE", "amount": amount, "is_debit": False},
    ]
    return await shop.send("POST", f"{V1}/journal", {"description": "Sale", "lines": lines, **more})


async def transaction(shop: Shop, amount: Any = "125.00", **more: Any) -> Answer:
    """A sale by account ids."""
    ids = [(await good(shop, "GET", f"{V1}/accounts/{code}"))["id"] for code in ("1010-CASH", "4000-REVENUE")]
    entries = [
        {"account_id": account_id, "direction": direction, "amount": amount}
        for account_id, direction in zip(ids, ("debit", "credit"), strict=True)
    ]
    return await shop.send("POST", f"{V1}/transactions", {"currency": "USD", "entries": entries, **more})


async def test_post_accounts(shop: Shop) -> None:
    asked = {"code": "1011-TILL", "name": "Till", "account_type": "asset", "is_reconcilable": True}
    told = await good(shop, "POST", f"{V1}/accounts", asked)
    assert told.items() >= asked.items()
    assert (told["currency"], told["is_active"]) == ("USD", True)
    long = await good(shop, "GET", f"{LEDGER}/accounts/1011-TILL")
    assert (long["id"], long["type"], long["reconcilable"]) == (told["id"], "asset", True)
    taken = await shop.send("POST", f"{V1}/accounts", asked)
    assert (taken.status, taken.body["code"], taken.body["errors"][0]["pointer"]) == (
        409,
        "account-code-taken",
        "/code",
    )


async def test_post_accounts_without_a_code(shop: Shop) -> None:
    asked = {"name": "User Wallet", "type": "asset", "ccy": "EUR"}
    first = await good(shop, "POST", f"{V1}/accounts", asked, {"Idempotency-Key": "wallet-1"})
    again = await good(shop, "POST", f"{V1}/accounts", asked, {"Idempotency-Key": "wallet-1"})
    other = await good(shop, "POST", f"{V1}/accounts", asked)
    assert first == again
    assert first["code"] != other["code"]
    assert (first["currency"], first["number"]) == ("EUR", first["code"])


async def test_post_accounts_with_headings_and_parents(shop: Shop) -> None:
    heading = {"heading": "Current assets", "number": 10, "heading_type": "asset", "balance_type": "dr"}
    top = {"number": "1900", "name": "Tills", "heading": heading, "is_control_account": True}
    parent = await good(shop, "POST", f"{V1}/accounts", top)
    assert parent["heading"] == {**heading, "tracker": parent["version"]}
    assert (parent["is_control_account"], parent["currency"], parent["balance_type"]) == (True, None, "dr")
    below = {"number": "1901", "name": "Till 1", "type": "asset", "parent": parent["id"]}
    child = await good(shop, "POST", f"{V1}/accounts", below)
    assert (child["parent"], child["heading"]) == ("1900", None)
    refused = await shop.send("POST", f"{V1}/accounts", {**below, "number": "1902", "parent": "nobody"})
    assert (refused.status, refused.body["code"], refused.body["errors"][0]["pointer"]) == (
        422, "unknown-parent", "/parent",
    )  # fmt: skip


async def test_get_accounts(shop: Shop) -> None:
    first = await good(shop, "GET", f"{V1}/accounts?limit=2")
    rest = await good(shop, "GET", f"{V1}/accounts?cursor={first['next_cursor']}")
    codes = [item["code"] for item in first["items"] + rest["items"]]
    assert codes == [item["code"] for item in (await good(shop, "GET", f"{LEDGER}/accounts"))["items"]]
    assets = await good(shop, "GET", f"{V1}/accounts?account_type=asset")
    assert {item["account_type"] for item in assets["items"]} == {"asset"}


async def test_get_account_and_its_balance_by_code_and_id(shop: Shop) -> None:
    assert (await journal(shop, 12.5)).status == 201
    by_code = await good(shop, "GET", f"{V1}/accounts/1010-CASH")
    assert await good(shop, "GET", f"{V1}/accounts/{by_code['id']}") == by_code
    balance = await good(shop, "GET", f"{V1}/accounts/{by_code['id']}/balance")
    assert (balance["account_id"], balance["balance"], balance["currency"]) == (by_code["id"], "12.50", "USD")
    assert await good(shop, "GET", f"{V1}/accounts/1010-CASH/balance") == balance


async def test_an_account_is_active_until_it_is_closed(shop: Shop) -> None:
    told = await good(shop, "POST", f"{V1}/accounts", {"code": "1011-TILL", "name": "Till", "account_type": "asset"})
    assert told["is_active"]
    await good(shop, "POST", f"{LEDGER}/accounts/1011-TILL/close", {"reason": "moved"})
    closed = await good(shop, "GET", f"{V1}/accounts/{told['id']}")
    listed = (await good(shop, "GET", f"{V1}/accounts"))["items"]
    assert (closed["is_active"], [item["code"] for item in listed if not item["is_active"]]) == (False, ["1011-TILL"])


async def test_post_journal(shop: Shop) -> None:
    answer = await journal(shop, 1500.0, client_ref="sale-1")
    assert (answer.status, answer.body["ok"]) == (201, True)
    entry = await good(shop, "GET", f"{ENTRIES}/{answer.body['entry_id']}")
    assert [(line["account"], line["side"], line["amount"]) for line in entry["lines"]] == [
        ("1010-CASH", "debit", "1500.00"), ("4000-REVENUE", "credit", "1500.00"),
    ]  # fmt: skip
    again = await journal(shop, 1500.0, client_ref="sale-1")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (answer.body, "true")
    other = await journal(shop, 1501, client_ref="sale-1")
    assert (other.status, other.body["code"]) == (422, "key-reused-with-other-content")
    assert {fault["pointer"] for fault in other.body["errors"]} == {"/lines/0/amount", "/lines/1/amount"}


async def test_post_journal_reads_numbers_exactly(shop: Shop) -> None:
    for amount in (0.1, 0.2, "0.3", 1):
        assert (await journal(shop, amount)).status == 201
    assert await shop.posted("1010-CASH") == "1.60"
    body = b'{"description":"x","lines":[{"account_code":"1010-CASH","amount":90071992547409930.07,"is_debit":true},'
    body += b'{"account_code":"4000-REVENUE","amount":90071992547409930.07,"is_debit":false}]}'
    assert (await shop.send("POST", f"{V1}/journal", body)).status == 201
    assert await shop.posted("4000-REVENUE") == "90071992547409931.67"


async def test_post_transactions(shop: Shop) -> None:
    named = {"reference": "PAY-1001", "idempotency_key": "IK-PAY-1001", "description": "Capture"}
    answer = await transaction(shop, **named)
    assert answer.status == 201, answer.body
    assert answer.body.items() >= named.items()
    debit, credit = answer.body["entries"]
    assert (debit["direction"], debit["amount"], debit["dr_value"], debit["cr_value"]) == (
        "debit", "125.00", "125.00", None,
    )  # fmt: skip
    assert (credit["account_code"], credit["cr_amount"], credit["dr_amount"]) == ("4000-REVENUE", "125.00", None)
    again = await transaction(shop, **named)
    assert (again.status, again.body) == (201, answer.body)
    taken = await transaction(shop, reference="PAY-1001")
    assert (taken.status, taken.body["code"]) == (409, "duplicate-external-id")
    assert await shop.posted("1010-CASH") == "125.00"


async def test_get_transactions(shop: Shop) -> None:
    posted = [(await transaction(shop, reference=f"PAY-{number}")).body for number in range(3)]
    first = await good(shop, "GET", f"{V1}/transactions?limit=2")
    rest = await good(shop, "GET", f"{V1}/transactions?cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == posted[::-1]
    assert (await good(shop, "GET", f"{V1}/transactions?reference=PAY-1"))["items"] == [posted[1]]
    assert await good(shop, "GET", f"{V1}/transactions/{posted[0]['id']}") == posted[0]
    unknown = await shop.send("GET", f"{V1}/transactions/{uuid4()}")
    assert (unknown.status, unknown.body["code"]) == (404, "unknown-entry")


async def test_a_foreign_line_shows_its_value_where_a_rate_is_stated(shop: Shop) -> None:
    entry = {
        "lines": [
            {"account": "1020-EUR", "side": "debit", "amount": "10.05"},
            {"account": "4000-REVENUE", "side": "credit", "amount": "11.06"},
        ],
        "rates": [{"base": "EUR", "counter": "USD", "rate": "1.1"}],
    }
    posted = await good(shop, "POST", ENTRIES, entry)
    told = await good(shop, "GET", f"{V1}/transactions/{posted['id']}")
    assert told["currency"] is None
    assert [(line["currency"], line["dr_value"], line["cr_value"]) for line in told["entries"]] == [
        ("EUR", "11.06", None), ("USD", None, "11.06"), ("EUR", None, "11.06"), ("USD", "11.06", None),
    ]  # fmt: skip
    second = await good(shop, "POST", "/api/accounts", {"name": "Second bank", "ccy": "EUR"})
    moved = {"from": "1020-EUR", "to": second["id"], "amount": 1, "ccy": "EUR"}
    moved_id = (await good(shop, "POST", "/api/transfers", moved))["id"]
    within = await good(shop, "GET", f"{V1}/transactions/{moved_id}")
    assert [(line["dr_value"], line["cr_value"]) for line in within["entries"]] == [(None, None), (None, None)]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_post_ledger_account(shop: Shop, slash: str) -> None:
    asked = {"currency": "USD", "type": "user", "metadata": {"name": "John Doe"}}
    told = await good(shop, "POST", f"{V1}/ledger/account{slash}", asked)
    assert told.items() >= asked.items()
    long = await good(shop, "GET", f"{LEDGER}/accounts/{told['id']}")
    assert (long["type"], long["name"], long["overdraft"]["policy"]) == ("liability", "John Doe", "none")
    assert long["code"] == told["code"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_post_ledger_transfer(shop: Shop, slash: str) -> None:
    bank, alice, bob = await wallet(shop, "internal"), await wallet(shop), await wallet(shop)
    asked: dict[str, Any] = {"amount": "500.00", "currency": "USD", "metadata": {"description": "Payment for services"}}
    path = f"{V1}/ledger/transfer{slash}"
    told = await good(shop, "POST", path, {"source_account_id": bank, "destination_account_id": alice, **asked})
    assert told.items() >= {**asked, "source_account_id": bank, "status": "posted"}.items()
    entry = await good(shop, "GET", f"{ENTRIES}/{told['transaction_id']}")
    assert entry["description"] == "Payment for services"
    asked["amount"] = 500.01
    short = await shop.send("POST", path, {"source_account_id": alice, "destination_account_id": bob, **asked})
    assert (short.status, short.body["code"]) == (422, "insufficient-funds")
    nobody = {"source_account_id": alice, "destination_account_id": str(uuid4()), **asked}
    unknown = await shop.send("POST", path, nobody)
    assert (unknown.body["code"], unknown.body["errors"][0]["pointer"]) == (
        "unknown-account", "/destination_account_id",
    )  # fmt: skip


async def test_get_ledger_account_balance(shop: Shop) -> None:
    account_id = await wallet(shop)
    balance = await good(shop, "GET", f"{V1}/ledger/account/{account_id}/balance")
    assert (balance["account_id"], balance["balance"], balance["available"]) == (account_id, "0.00", "0.00")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_get_ledger_events(shop: Shop, slash: str) -> None:
    bank, alice = await wallet(shop, "internal"), await wallet(shop)
    asked = {"source_account_id": bank, "destination_account_id": alice, "amount": 20, "currency": "USD"}
    posted = await good(shop, "POST", f"{V1}/ledger/transfer", asked)
    events = (await good(shop, "GET", f"{V1}/ledger/events{slash}?account_id={alice}&limit=50"))["items"]
    assert [event["event_type"] for event in events] == ["account-opened", "credit"]
    assert events[1].items() >= {
        "account_id": alice, "amount": "20.00", "transaction_id": posted["id"], "balance_after": "20.00"
    }.items()  # fmt: skip
    page = await good(shop, "GET", f"{V1}/ledger/events{slash}?account_id={alice}&limit=1")
    after = await good(shop, "GET", f"{V1}/ledger/events{slash}?account_id={alice}&after={page['next_after']}")
    assert page["items"] + after["items"] == events
    missing = await shop.send("GET", f"{V1}/ledger/events{slash}")
    assert (missing.status, missing.body["code"]) == (422, "malformed")


async def test_post_api_accounts_and_their_balance(shop: Shop) -> None:
    asked = {"code": "1001-CASH", "name": "Cash", "ccy": "EUR"}
    told = await good(shop, "POST", "/api/accounts", asked)
    assert told.items() >= {**asked, "type": "asset"}.items()
    balance = await good(shop, "GET", "/api/accounts/1001-CASH/balance")
    assert balance.items() >= {"code": "1001-CASH", "ccy": "EUR", "balance": "0.00"}.items()


async def test_post_api_transfers(shop: Shop) -> None:
    assert (await journal(shop, 100)).status == 201
    await good(shop, "POST", "/api/accounts", {"code": "1012-SAFE", "name": "Safe", "ccy": "USD"})
    asked = {"from": "1010-CASH", "to": "1012-SAFE", "amount": "30.00", "ccy": "USD", "reference": "T-1"}
    told = await good(shop, "POST", "/api/transfers", asked, {"Idempotency-Key": "t-1"})
    assert told.items() >= asked.items()
    assert await good(shop, "POST", "/api/transfers", asked, {"Idempotency-Key": "t-1"}) == told
    assert (await shop.posted("1010-CASH"), await shop.posted("1012-SAFE")) == ("70.00", "30.00")
    wrong = await shop.send("POST", "/api/transfers", {**asked, "ccy": "EUR", "reference": None})
    assert (wrong.body["code"], wrong.body["errors"][0]["pointer"]) == ("currency-mismatch", "/ccy")


async def test_get_api_journals(shop: Shop) -> None:
    for day in ("2026-01-31", "2026-02-01", "2026-02-28"):
        lines = [
            {"account": "1010-CASH", "side": "debit", "amount": "1.00"},
            {"account": "4000-REVENUE", "side": "credit", "amount": "1.00"},
        ]
        await good(shop, "POST", ENTRIES, {"effective_on": day, "lines": lines})
    path = "/api/journals?from=2026-02-01&to=2026-02-28&account=1010-CASH"
    told = (await good(shop, "GET", path))["items"]
    assert [item["date"] for item in told] == ["2026-02-28", "2026-02-01"]
    assert told[0]["lines"][0] == {
        "account": "1010-CASH", "side": "debit", "amount": "1.00", "ccy": "USD", "value": "1.00"
    }  # fmt: skip
    first = await good(shop, "GET", f"{path}&limit=1")
    assert (await good(shop, "GET", f"/api/journals?cursor={first['next_cursor']}"))["items"] == told[1:]
    assert (await good(shop, "GET", "/api/journals?account=5000-RENT"))["items"] == []


@pytest.mark.parametrize("path", ["/health", "/api/health"])
async def test_get_health(shop: Shop, path: str) -> None:
    told = await good(shop, "GET", path, None, {"Authorization": ""})
    assert (told["status"], told["version"]) == ("ok", "0.1.0")


async def test_every_short_path_is_in_the_document_with_an_example(shop: Shop) -> None:
    document = await good(shop, "GET", "/api/openapi.json")
    assert document["x-upstreams-missing"] == []
    for passage in SHORT_PATHS:
        entry = document["paths"][passage.path][passage.method.lower()]
        assert entry["tags"] == ["Short paths"], passage.path
        answers = [entry["responses"][status] for status in ("200", "201") if status in entry["responses"]]
        assert [answer["content"]["application/json"]["example"] for answer in answers if answer], passage.path
        if passage.method == "POST":
            asked = entry["requestBody"]["content"]["application/json"]
            assert asked["example"]
            assert asked["schema"]["$ref"].rpartition("/")[2] in document["components"]["schemas"]
    for path in ("/health", "/api/health"):
        assert document["paths"][path]["get"]["tags"] == ["Short paths"]


async def test_the_examples_show_the_members_that_are_told(shop: Shop) -> None:
    posted = (await transaction(shop)).body
    alice = await wallet(shop, "internal")
    asked = {"source_account_id": alice, "destination_account_id": await wallet(shop), "amount": 1, "currency": "USD"}
    moved = await good(shop, "POST", f"{V1}/ledger/transfer", {**asked, "metadata": {}})
    assert TOLD["POST", f"{V1}/ledger/transfer"].keys() == moved.keys()
    assert TOLD["POST", f"{V1}/transactions"].keys() == posted.keys()
    assert TOLD["POST", f"{V1}/transactions"]["entries"][0].keys() == posted["entries"][0].keys()
    assert TOLD["POST", f"{V1}/journal"].keys() == (await journal(shop)).body.keys()
    for path, name in (
        ("accounts/{account}", alice), ("accounts/{account}/balance", alice), ("transactions", ""),
        ("reports/trial_balance", ""), ("reports/ledger/{account}", "1010-CASH"),
        ("reports/pnl", ""), ("reports/balance_sheet", ""),
    ):  # fmt: skip
        told = await good(shop, "GET", f"{V1}/{path.format(account=name)}")
        shown = TOLD["GET", f"{V1}/{path}"]
        assert shown.keys() == told.keys(), path
        for rows in ("items", "rows", "lines"):
            assert rows not in told or shown[rows][0].keys() == told[rows][0].keys(), path
    events = await good(shop, "GET", f"{V1}/ledger/events?account_id={alice}")
    assert TOLD["GET", f"{V1}/ledger/events"]["items"][0].keys() == events["items"][1].keys()
    journals = await good(shop, "GET", "/api/journals")
    assert TOLD["GET", "/api/journals"]["items"][0].keys() == journals["items"][0].keys()


async def test_a_key_in_the_header_and_another_in_the_body(shop: Shop) -> None:
    lines = [
        {"account_code": "1010-CASH", "amount": "1", "is_debit": True},
        {"account_code": "4000-REVENUE", "amount": "1", "is_debit": False},
    ]
    body = {"description": "x", "lines": lines, "client_ref": "a"}
    refused = await shop.send("POST", f"{V1}/journal", body, {"Idempotency-Key": "b"})
    assert (refused.status, refused.body["code"]) == (422, "malformed")
    assert refused.body["errors"][0]["pointer"] == "/client_ref"
    assert (await shop.send("POST", f"{V1}/journal", body, {"Idempotency-Key": "a"})).status == 201


async def test_a_dry_run_keeps_nothing(shop: Shop) -> None:
    before = await shop.sequence()
    codes = ["1010-CASH", "FX-POSITION-CHF"]
    for path, body in (
        (f"{V1}/journal", {"description": "x", "lines": [
            {"account_code": "1010-CASH", "amount": 1, "is_debit": side} for side in (True, False)
        ]}),
        (f"{V1}/transactions", {"currency": "CHF", "entries": [
            {"account_id": codes[1], "direction": side, "amount": 1} for side in ("debit", "credit")
        ]}),
    ):  # fmt: skip
        answer = await shop.send("POST", f"{path}?dry_run=true", body)
        assert answer.status == 200, (path, answer.body)
    assert (await shop.send("POST", f"{V1}/journal?dry_run=maybe", body)).status == 422
    assert (await shop.send("POST", "/api/accounts?dry_run=true", {"name": "Cash"})).status == 422
    assert await shop.sequence() == before


async def test_another_organization_sees_nothing(shop: Shop) -> None:
    alice = await wallet(shop)
    posted = (await transaction(shop, reference="PAY-1")).body
    stranger = await open_shop(shop.stack, f"stranger-{uuid4().hex[:12]}")
    named = ["accounts/{}", "accounts/{}/balance", "ledger/account/{}/balance", "ledger/events?account_id={}"]
    for path in [*(path.format(alice) for path in [*named, "reports/ledger/{}"]), f"transactions/{posted['id']}"]:
        answer = await stranger.send("GET", f"{V1}/{path}")
        assert (answer.status, answer.body["code"]) in {(404, "unknown-account"), (404, "unknown-entry")}, path
    for path in (f"{V1}/transactions", "/api/journals", f"{V1}/transactions?account_id={alice}"):
        assert (await good(stranger, "GET", path))["items"] == []
    asked = {"source_account_id": alice, "destination_account_id": alice, "amount": "1", "currency": "USD"}
    moved = await stranger.send("POST", f"{V1}/ledger/transfer/", asked)
    assert (moved.status, moved.body["code"]) == (422, "unknown-account")
    nobody = shop.bearer(organization=f"nobody-{uuid4().hex[:12]}")
    for method, path, body in (("GET", f"{V1}/accounts", None), ("POST", "/api/accounts", {"name": "Cash"})):
        answer = await shop.send(method, path, body, nobody)
        assert (answer.status, answer.body["code"]) == (404, "unknown-ledger")


async def test_who_may_read_and_not_post(shop: Shop) -> None:
    viewer = shop.bearer("viewer")
    assert (await shop.send("GET", f"{V1}/accounts", None, viewer)).status == 200
    for path, scope in (("/api/accounts", "account:write"), (f"{V1}/journal", "ledger:post")):
        answer = await shop.send("POST", path, {}, viewer)
        assert (answer.status, answer.body["facts"]) == (403, {"scope": scope})
