"""The ledger over HTTP: what it answers, and what every kind of bad input is told."""

import asyncio
from hashlib import sha256
from typing import Any

import aiohttp
import orjson
import pytest

from libs.common.clock import new_id
from tests.ledger.serving import ENTRIES, Service, rent


async def test_an_entry_is_posted_and_can_be_read_again(service: Service) -> None:
    status, posted, headers = await service.send("POST", ENTRIES, rent(external_id="INV-7", metadata={"order": 7}))
    assert status == 201
    assert headers["Location"] == f"{ENTRIES}/{posted['id']}"
    assert posted["external_id"] == "INV-7"
    assert [line["balance_after"] for line in posted["lines"]] == ["1000.00", "-1000.00"]
    status, read, _ = await service.send("GET", headers["Location"])
    assert (status, read) == (200, posted)
    _, listed, _ = await service.send("GET", f"{ENTRIES}?account=1010-CASH&q=rent&from=2026-01-01&to=2026-01-31")
    assert listed == {"items": [posted], "next_cursor": None}
    _, balance, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/1010-CASH/balance")
    assert balance["posted"] == balance["available"] == "-1000.00"
    _, before, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/1010-CASH/balance?effective_on=2026-01-14")
    assert before["posted"] == "0.00"
    _, events, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/1010-CASH/events")
    assert [event["type"] for event in events["items"]] == ["account-opened", "entry-posted"]
    _, log, _ = await service.send("GET", f"/api/v1/ledgers/main/log?after={posted['sequence'] - 1}")
    assert log["items"][0]["hash"] == posted["hash"]
    _, trial, _ = await service.send("GET", "/api/v1/ledgers/main/reports/trial-balance")
    assert trial["balanced"]
    assert {"currency": "USD", "debits": "1000.00", "credits": "1000.00"} in trial["totals"]
    _, proof, _ = await service.send("GET", "/api/v1/ledgers/main/verify")
    assert proof["ok"], proof


def broken(**changes: Any) -> dict[str, Any]:
    """The good entry with its first line changed."""
    body = rent()
    body["lines"][0].update(changes)
    return body


TOO_MANY = [{"account": "5000-RENT", "side": "debit", "amount": "1.00"}] * 1_001

BAD: list[tuple[str, Any, int, str, str | None]] = [
    ("a JSON number", broken(amount=1000), 422, "malformed", "/lines/0/amount"),
    ("a float", broken(amount=1000.0), 422, "malformed", "/lines/0/amount"),
    ("NaN", orjson.dumps(rent()).replace(b'"1000.00"', b"NaN", 1), 400, "json-invalid", None),
    ("NaN as text", broken(amount="NaN"), 422, "malformed", "/lines/0/amount"),
    ("an exponent", broken(amount="1e3"), 422, "malformed", "/lines/0/amount"),
    ("other digits", broken(amount="١٠"), 422, "malformed", "/lines/0/amount"),
    ("too many decimals", rent("1000.001"), 422, "too-many-decimals", "/lines/0/amount"),
    ("10^30", rent("1" + "0" * 30), 422, "amount-out-of-range", "/lines/0/amount"),
    ("negative", rent("-5.00"), 422, "amount-not-positive", "/lines/0/amount"),
    ("zero", rent("0.00"), 422, "amount-not-positive", "/lines/0/amount"),
    ("one cent too much", broken(amount="1000.01"), 422, "entry-not-balanced", "/lines"),
    ("no lines", rent(lines=[]), 422, "too-few-lines", "/lines"),
    ("one line", rent(lines=TOO_MANY[:1]), 422, "too-few-lines", "/lines"),
    ("1,001 lines", rent(lines=TOO_MANY), 422, "too-many-lines", "/lines"),
    ("unknown account", broken(account="9999"), 422, "unknown-account", "/lines/0/account"),
    ("summary account", broken(account="1000"), 422, "account-is-summary", "/lines/0/account"),
    ("control account", broken(account="1100-AR"), 422, "account-is-control", "/lines/0/account"),
    ("wrong currency", broken(currency="EUR"), 422, "currency-mismatch", "/lines/0/currency"),
    ("another currency's account", broken(account="1020-EUR"), 422, "entry-not-balanced", "/lines"),
    ("unknown side", broken(side="left"), 422, "malformed", "/lines/0/side"),
    ("unknown field", rent(colour="red"), 422, "malformed", "/colour"),
    ("unknown field of a line", broken(colour="red"), 422, "malformed", "/lines/0/colour"),
    ("a date that is none", rent(effective_on="2026-02-30"), 422, "malformed", "/effective_on"),
    ("a date as a number", rent(effective_on=20260101), 422, "malformed", "/effective_on"),
    ("a far date", rent(effective_on="2999-01-01"), 422, "effective-date-out-of-range", "/effective_on"),
    ("an id that is none", rent(id="7"), 422, "malformed", "/id"),
    ("a NUL", rent(description="a\0b"), 422, "malformed", "/description"),
    ("large numbers in metadata", orjson.dumps(rent()).replace(b'"Rent"', b'"x","metadata":{"a":1' + b"0" * 40 + b"}"),
     422, "malformed", None),
    ("much metadata", rent(metadata={"a": "x" * 9_000}), 422, "metadata-too-large", "/metadata"),
    ("broken JSON", b'{"lines": [', 400, "json-invalid", None),
    ("no JSON at all", b"hello", 400, "json-invalid", None),
    ("a list", b"[]", 422, "malformed", ""),
    ("nothing", b"", 400, "json-invalid", None),
    ("bad UTF-8", b'{"description":"\xff"}', 400, "json-invalid", None),
    ("20 MB", b'{"description":"' + b"x" * 20_000_000 + b'"}', 413, "body-too-large", None),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "status", "code", "pointer"), BAD, ids=[row[0] for row in BAD])
async def test_bad_input_is_told_what_is_wrong_and_where(
    service: Service, what: str, body: Any, status: int, code: str, pointer: str | None
) -> None:
    answered, problem, headers = await service.send("POST", ENTRIES, body)
    assert (answered, problem["code"]) == (status, code), problem
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["trace_id"]
    assert problem["request_id"]
    if pointer is not None:
        assert pointer in [fault["pointer"] for fault in problem["errors"]], problem
    _, balance, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/5000-RENT/balance")
    assert balance["posted"] == "0.00"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/ledgers?limti=5"),
        ("GET", f"{ENTRIES}?acount=1010-CASH"),
        ("GET", "/api/v1/ledgers/main/accounts/1010-CASH/balance?effective_at=2026-01-14"),
        ("GET", "/api/v1/ledgers/main/log?after=1&to=2"),
        ("GET", "/api/v1/ledgers/main/reports/trial-balance?as_of=2026-01-14"),
        ("POST", f"{ENTRIES}?dry-run=true"),
        ("POST", f"{ENTRIES}/bulk?mode=each&atomic=true"),
        ("POST", "/api/v1/ledgers/main/accounts?dry_run=true"),
    ],
)
async def test_a_query_parameter_that_is_not_known_is_not_ignored(service: Service, method: str, path: str) -> None:
    """A misspelt filter would answer for everything, and nobody would notice."""
    name = path.rpartition("&")[2].rpartition("?")[2].partition("=")[0]
    status, problem, _ = await service.send(method, path, rent() if method == "POST" else None)
    assert (status, problem["code"], [fault["pointer"] for fault in problem["errors"]]) == (
        422,
        "malformed",
        [f"/{name}"],
    )
    _, balance, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/5000-RENT/balance")
    assert balance["posted"] == "0.00"


async def test_fifty_copies_are_one_entry_and_equal_answers(service: Service) -> None:
    headers = {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(*(service.send("POST", ENTRIES, rent(), headers) for _ in range(50)))
    assert {status for status, _, _ in answers} == {201}
    assert len({orjson.dumps(body) for _, body, _ in answers}) == 1
    assert sorted(told.get("Idempotency-Replayed", "") for _, _, told in answers) == [""] + ["true"] * 49
    status, problem, _ = await service.send("POST", ENTRIES, rent("1000.01"), headers)
    assert (status, problem["code"]) == (422, "key-reused-with-other-content")
    assert "/lines/0/amount" in [fault["pointer"] for fault in problem["errors"]]


async def test_a_rejection_is_remembered_too(service: Service) -> None:
    headers = {"Idempotency-Key": "k-2"}
    body = {"from": "2001-ALICE", "to": "2002-BOB", "amount": "5.00"}
    path = "/api/v1/ledgers/main/transfers"
    status, problem, _ = await service.send("POST", path, body, headers)
    assert (status, problem["code"]) == (422, "insufficient-funds")
    assert problem["facts"] == {"account": "2001-ALICE", "currency": "USD", "available": "0.00", "needed": "5.00"}
    funding = rent(lines=[
        {"account": "1010-CASH", "side": "debit", "amount": "10.00"},
        {"account": "2001-ALICE", "side": "credit", "amount": "10.00"},
    ])  # fmt: skip
    assert (await service.send("POST", ENTRIES, funding))[0] == 201
    again, same, told = await service.send("POST", path, body, headers)
    assert (again, same["code"], told["Idempotency-Replayed"]) == (422, "insufficient-funds", "true")
    assert (await service.send("POST", path, body))[0] == 201


async def test_a_reversal_takes_back_once_and_names_the_winner(service: Service) -> None:
    _, posted, _ = await service.send("POST", ENTRIES, rent())
    path = f"{ENTRIES}/{posted['id']}/reverse"
    answers = await asyncio.gather(*(service.send("POST", path, {}) for _ in range(10)))
    won = [body for status, body, _ in answers if status == 201]
    lost = [body for status, body, _ in answers if status == 409]
    assert len(won) == 1
    assert won[0]["reverses"] == posted["id"]
    assert {body["facts"]["reversed_by"] for body in lost} == {won[0]["id"]}
    _, read, _ = await service.send("GET", f"{ENTRIES}/{posted['id']}")
    assert read["reversed_by"] == won[0]["id"]


async def test_another_organizations_token_sees_nothing(service: Service) -> None:
    _, posted, _ = await service.send("POST", ENTRIES, rent())
    other = service.headers("controller", organization="other")
    for path in (
        "accounts/1010-CASH",
        "accounts/1010-CASH/balance",
        "accounts/1010-CASH/events",
        f"entries/{posted['id']}",
    ):
        status, _, _ = await service.send("GET", f"/api/v1/ledgers/main/{path}", headers=other)
        assert status == 404, path
    for path in ("accounts", "entries", "reports/trial-balance"):
        _, seen, _ = await service.send("GET", f"/api/v1/ledgers/main/{path}", headers=other)
        assert seen.get("items", seen.get("rows")) == [], path
    status, problem, _ = await service.send("POST", ENTRIES, rent(), other)
    assert (status, problem["code"]) == (422, "unknown-account")
    nobody = service.headers("controller", organization="nobody")
    status, problem, _ = await service.send("POST", ENTRIES, rent(), nobody)
    assert (status, problem["code"]) == (404, "unknown-ledger")


async def test_tokens_are_needed_and_have_to_fit(service: Service) -> None:
    viewer = service.headers("viewer")
    status, problem, _ = await service.send("POST", ENTRIES, rent(), viewer)
    assert (status, problem["code"]) == (403, "scope-missing")
    expired = service.headers(lifetime_s=-60)
    status, problem, told = await service.send("POST", ENTRIES, rent(), expired)
    assert (status, problem["code"]) == (401, "token-expired")
    assert "WWW-Authenticate" in told
    operator = service.headers("operator", organization=None)
    status, problem, _ = await service.send("POST", ENTRIES, rent(), operator)
    assert status == 403


async def test_a_bulk_answers_every_line_in_order(service: Service) -> None:
    lines = [rent("1.00"), rent("1.001"), {"lines": 7}, rent("2.00", id=str(new_id()))]
    body = b"\n".join([*map(orjson.dumps, lines), b"{broken", b"", orjson.dumps(rent("3.00"))])
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "bulk-1"}
    for attempt in range(2):
        async with aiohttp.ClientSession() as session, session.post(
            f"{service.url}{ENTRIES}/bulk?mode=each", data=body, headers={**service.headers(), **headers}
        ) as answer:  # fmt: skip
            assert answer.status == 200
            results = [orjson.loads(line) for line in (await answer.read()).splitlines()]
        assert [(one["index"], one["status"], one.get("code")) for one in results] == [
            (0, "posted", None),
            (1, "rejected", "too-many-decimals"),
            (2, "rejected", "malformed"),
            (3, "posted", None),
            (4, "rejected", "json-invalid"),
            (5, "posted", None),
        ]
        assert [one.get("replayed", False) for one in results if one["status"] == "posted"] == [attempt == 1] * 3
    _, balance, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/5000-RENT/balance")
    assert balance["posted"] == "6.00"


async def test_lists_go_on_where_they_stopped(service: Service) -> None:
    for _ in range(5):
        await service.send("POST", ENTRIES, rent())
    seen, cursor = [], ""
    while True:
        _, page, _ = await service.send("GET", f"{ENTRIES}?limit=2{cursor}")
        seen += [item["sequence"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await service.send("POST", ENTRIES, rent())
    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)


async def test_the_log_verifies_with_nothing_but_sha256(service: Service) -> None:
    for _ in range(3):
        await service.send("POST", ENTRIES, rent())
    async with aiohttp.ClientSession() as session, session.get(
        f"{service.url}/api/v1/ledgers/main/log", headers={**service.headers(), "Accept": "application/x-ndjson"}
    ) as answer:  # fmt: skip
        records = [orjson.loads(line) for line in (await answer.read()).splitlines()]
    head = b""
    for place, record in enumerate(records, 1):
        head = sha256(head + record["payload"].encode()).digest()
        assert (record["sequence"], record["hash"]) == (place, head.hex())


async def test_all_or_none_over_http(service: Service) -> None:
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "month-end"}
    good = [rent("1.00"), rent("2.00")]
    path = f"{ENTRIES}/bulk?mode=atomic"
    status, lines, _ = await service.lines(path, good, headers)
    assert status == 200
    assert [(line["index"], line["status"]) for line in lines] == [(0, "posted"), (1, "posted")]
    status, again, answered = await service.lines(path, good, headers)
    assert [{**line, "replayed": True} for line in lines] == again
    assert answered["Idempotency-Replayed"] == "true"
    headers["Idempotency-Key"] = "another"
    uneven = orjson.loads(orjson.dumps(rent("3.00")))
    uneven["lines"][1]["amount"] = "3.01"
    status, (problem,), _ = await service.lines(path, [rent("1.00"), uneven], headers)
    assert (status, problem["code"], problem["facts"]["index"]) == (422, "entry-not-balanced", 1)
    assert problem["errors"][0]["pointer"] == "/1/lines"
    wrong = [rent("1.00"), {"lines": "none"}, rent("1.00", more=1)]
    status, (problem,), _ = await service.lines(path, wrong, headers)
    assert (status, problem["code"]) == (422, "malformed")
    assert [fault["pointer"] for fault in problem["errors"]] == ["/1/lines", "/2/more"]
    status, (problem,), _ = await service.lines(path, [], headers)
    assert (status, problem["code"]) == (422, "malformed")
    status, (problem,), _ = await service.lines(f"{ENTRIES}/bulk?mode=some", good, headers)
    assert (status, problem["errors"][0]["pointer"]) == (422, "/mode")


async def test_a_dry_run_over_http(service: Service) -> None:
    status, tried, _ = await service.send("POST", f"{ENTRIES}?dry_run=true", rent("1.00"))
    assert (status, tried["sequence"], tried["hash"]) == (200, None, None)
    status, problem, _ = await service.send("POST", f"{ENTRIES}?dry_run=maybe", rent("1.00"))
    assert (status, problem["errors"][0]["pointer"]) == (422, "/dry_run")
    transfer = {"from": "2001-ALICE", "to": "1010-CASH", "amount": "1.00"}
    status, problem, _ = await service.send("POST", "/api/v1/ledgers/main/transfers?dry_run=true", transfer)
    assert (status, problem["code"]) == (422, "transfer-sides-differ")
    status, listed, _ = await service.send("GET", ENTRIES)
    assert listed["items"] == []
