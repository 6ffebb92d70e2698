"""Holds over HTTP: placed, read, captured, released; and what every kind of bad input is told."""

from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from tests.ledger.asking import account, entry, open_accounts, tell
from tests.ledger.serving import Service

pytestmark = pytest.mark.database

HOLDS = "/api/v1/ledgers/main/holds"
ALICE = "/api/v1/ledgers/main/accounts/ALICE"


@pytest.fixture(autouse=True)
async def chart(service: Service) -> None:
    """ALICE has 100.00 and no overdraft."""
    await open_accounts(
        service.books, account("BANK"), account("ALICE", "liability", overdraft="none"), account("BOB", "liability")
    )
    await tell(service.books, entry("BANK debit 100.00", "ALICE credit 100.00"))


def hold(amount: str = "60.00", **more: Any) -> dict[str, Any]:
    """So much of ALICE's for BOB."""
    lines = [{"account": "ALICE", "side": "debit", "amount": amount}]
    return {"lines": [*lines, {"account": "BOB", "side": "credit", "amount": amount, "party": "p"}], **more}


async def test_a_hold_is_placed_captured_in_parts_and_released(service: Service) -> None:
    status, placed, headers = await service.send(
        "POST", HOLDS,
        hold(expires_at="2199-01-01T01:30:00+01:00", description="Order 7", external_id="order/7", metadata={"a": 1},
             origin={"service": "shop", "document": "order/7"}),
    )  # fmt: skip
    assert (status, headers["Location"]) == (201, f"{HOLDS}/{placed['id']}")
    one = headers["Location"]
    _, balance, _ = await service.send("GET", f"{ALICE}/balance")
    assert (balance["posted"], balance["pending_debits"], balance["available"]) == ("100.00", "60.00", "40.00")
    _, announced, _ = await service.send("GET", "/api/v1/ledgers/main/accounts/BOB/balance")
    assert (announced["posted"], announced["pending_credits"], announced["available"]) == ("0.00", "60.00", "0.00")

    status, captured, headers = await service.send(
        "POST", f"{one}/capture", {"amount": "25.00", "description": "First parcel"}
    )
    assert (status, captured["hold"]["status"]) == (201, "pending")
    assert headers["Location"] == f"/api/v1/ledgers/main/entries/{captured['entry']['id']}"
    assert captured["entry"]["lines"][1]["party"] == "p"
    _, entry_, _ = await service.send("GET", headers["Location"])
    assert entry_ == captured["entry"]
    status, released, _ = await service.send("POST", f"{one}/release", {"reason": "out of stock"})
    assert (status, released["status"], released["reason"]) == (200, "released", "out of stock")

    _, found, _ = await service.send("GET", one)
    expected = {
        "id": placed["id"], "ledger": "main", "status": "released", "description": "Order 7",
        "expires_at": "2199-01-01T00:30:00.000000Z", "external_id": "order/7",
        "origin": {"service": "shop", "document": "order/7"}, "metadata": {"a": 1}, "actor": "alice",
        "placed_at": placed["recorded_at"], "sequence": placed["sequence"], "version": released["sequence"],
        "entries": [{key: captured["entry"][key] for key in ("id", "sequence", "effective_on")}],
    }  # fmt: skip
    assert {key: value for key, value in found.items() if key != "lines"} == expected
    assert found["lines"] == [
        {"line": 1, "account": "ALICE", "side": "debit", "amount": "60.00", "currency": "USD", "captured": "25.00",
         "remaining": "0.00"},
        {"line": 2, "account": "BOB", "side": "credit", "amount": "60.00", "currency": "USD", "captured": "25.00",
         "remaining": "0.00", "party": "p"},
    ]  # fmt: skip
    _, balance, _ = await service.send("GET", f"{ALICE}/balance")
    assert (balance["posted"], balance["pending_debits"], balance["available"]) == ("75.00", "0.00", "75.00")
    _, events, _ = await service.send("GET", f"{ALICE}/events")
    assert [event["type"] for event in events["items"]] == [
        "account-opened", "entry-posted", "hold-placed", "hold-captured", "entry-posted", "hold-released"
    ]  # fmt: skip
    assert events["items"][2]["hold"]["id"] == placed["id"]


async def test_a_capture_without_a_body_takes_all_that_is_left(service: Service) -> None:
    _, placed, _ = await service.send("POST", HOLDS, hold())
    await service.send("POST", f"{HOLDS}/{placed['id']}/capture", {"lines": [
        {"line": 1, "amount": "10.00"}, {"account": "BOB", "amount": "10.00"}
    ]})  # fmt: skip
    status, captured, _ = await service.send("POST", f"{HOLDS}/{placed['id']}/capture")
    assert (status, captured["entry"]["lines"][0]["amount"]) == (201, "50.00")
    assert captured["hold"]["status"] == "captured"


async def test_a_key_makes_a_request_once_and_belongs_to_one_hold(service: Service) -> None:
    key = {"Idempotency-Key": "h1"}
    first = await service.send("POST", HOLDS, hold(), key)
    again = await service.send("POST", HOLDS, hold(), {**key, "Idempotency-Retry": "true"})
    assert (again[1], again[2]["Idempotency-Replayed"]) == (first[1], "true")
    one = f"{HOLDS}/{first[1]['id']}"
    capture = await service.send("POST", f"{one}/capture", {"amount": "5.00"}, {"Idempotency-Key": "c1"})
    repeated = await service.send(
        "POST", f"{one}/capture", {"amount": "5.00"}, {"Idempotency-Key": "c1", "Idempotency-Retry": "true"}
    )
    assert (repeated[1], repeated[2]["Idempotency-Replayed"]) == (capture[1], "true")
    _, second, _ = await service.send("POST", HOLDS, hold("1.00"))
    status, problem, _ = await service.send(
        "POST", f"{HOLDS}/{second['id']}/capture", {"amount": "5.00"}, {"Idempotency-Key": "c1"}
    )
    assert (status, problem["code"]) == (422, "key-reused-with-other-content")
    _, balance, _ = await service.send("GET", f"{ALICE}/balance")
    assert (balance["posted"], balance["available"]) == ("95.00", "39.00")


ONLY_IN_THE_LOG = {"id", "entry_id", "sequence", "recorded_at", "hash"}


def without_the_log(body: Any) -> Any:
    """An answer without what a dry run cannot know."""
    return {name: value for name, value in body.items() if name not in ONLY_IN_THE_LOG}


async def test_a_dry_run_of_a_hold_has_the_real_one_s_verdict_and_stores_nothing(service: Service) -> None:
    _, placed, _ = await service.send("POST", HOLDS, hold())
    one = f"{HOLDS}/{placed['id']}"
    rows: list[tuple[str, Any, int]] = [
        (HOLDS, hold("40.00", description="Second", metadata={"a": 1}), 201),
        (HOLDS, hold("40.00"), 422),
        (f"{one}/capture", {"amount": "25.00", "effective_on": "2026-01-15"}, 201),
        (f"{one}/capture", {"amount": "35.01"}, 422),
        (f"{one}/capture", {"lines": [{"line": 1, "amount": "1.00"}]}, 422),
        (f"{one}/release", {"reason": "gone"}, 200),
        (f"{one}/release", {}, 409),
        (f"{one}/capture", {}, 409),
        (f"{HOLDS}/{new_id()}/release", {}, 404),
    ]
    for path, body, wanted in rows:
        before = (await service.send("GET", "/api/v1/ledgers/main"))[1]["sequence"]
        key = {"Idempotency-Key": f"{path}{body}".replace(" ", "")[:200]}
        status, tried, headers = await service.send("POST", f"{path}?dry_run=true", body, key)
        assert (status, "Location" in headers) == (200 if wanted < 300 else wanted, False), tried
        assert (await service.send("GET", "/api/v1/ledgers/main"))[1]["sequence"] == before, "nothing is stored"
        status, real, headers = await service.send("POST", path, body, {**key, "Idempotency-Retry": "true"})
        assert (status, "Idempotency-Replayed" in headers) == (wanted, False), real
        if wanted >= 300:
            left_out = ("request_id", "trace_id")
            assert {**tried, **dict.fromkeys(left_out)} == {**real, **dict.fromkeys(left_out)}
        elif path.endswith("/capture"):
            assert tried["hold"]["sequence"] is tried["entry"]["hash"] is None
            for name in ("hold", "entry"):
                assert without_the_log(tried[name]) == without_the_log(real[name])
        else:
            assert tried["sequence"] is tried["hash"] is None
            assert without_the_log(tried) == without_the_log(real)
    status, problem, _ = await service.send("POST", f"{one}/release?dry_run=perhaps", {})
    assert (status, problem["errors"][0]["pointer"]) == (422, "/dry_run")


async def test_holds_are_listed_newest_first_by_status_and_account(service: Service) -> None:
    placed = [(await service.send("POST", HOLDS, hold("1.00")))[1]["id"] for _ in range(5)]
    await service.send("POST", f"{HOLDS}/{placed[1]}/release")
    _, page, _ = await service.send("GET", f"{HOLDS}?limit=2")
    assert [each["id"] for each in page["items"]] == [placed[4], placed[3]]
    _, following, _ = await service.send("GET", f"{HOLDS}?limit=2&cursor={page['next_cursor']}")
    assert [each["id"] for each in following["items"]] == [placed[2], placed[1]]
    _, pending, _ = await service.send("GET", f"{HOLDS}?status=pending&account=ALICE")
    assert [each["id"] for each in pending["items"]] == [placed[4], placed[3], placed[2], placed[0]]
    _, released, _ = await service.send("GET", f"{HOLDS}?status=released")
    assert [each["id"] for each in released["items"]] == [placed[1]]
    _, nothing, _ = await service.send("GET", f"{HOLDS}?account=BANK")
    assert nothing == {"items": [], "next_cursor": None}
    status, problem, _ = await service.send("GET", f"{HOLDS}?status=gone")
    assert (status, problem["code"]) == (422, "malformed")


async def test_another_organization_sees_no_hold(service: Service) -> None:
    _, placed, _ = await service.send("POST", HOLDS, hold())
    other = service.headers(organization="rival")
    status, problem, _ = await service.send("GET", f"{HOLDS}/{placed['id']}", headers=other)
    assert (status, problem["code"]) in {(404, "unknown-hold"), (404, "unknown-ledger")}
    status, problem, _ = await service.send("POST", f"{HOLDS}/{placed['id']}/release", {}, other)
    assert status == 404, problem


BAD: list[tuple[str, Any, int, str, str | None]] = [
    ("an instant without a zone", hold(expires_at="2199-01-01T00:00:00"), 422, "malformed", "/expires_at"),
    ("a date", hold(expires_at="2199-01-01"), 422, "malformed", "/expires_at"),
    ("a number", hold(expires_at=4_000_000_000), 422, "malformed", "/expires_at"),
    ("the end of time", hold(expires_at="9999-12-31T23:59:59-12:00"), 422, "malformed", "/expires_at"),
    ("the beginning", hold(expires_at="0001-01-01T00:00:00+12:00"), 422, "malformed", "/expires_at"),
    ("yesterday", hold(expires_at="2020-01-01T00:00:00Z"), 422, "expiry-not-ahead", "/expires_at"),
    ("a line's description", {"lines": [{**hold()["lines"][0], "description": "x"}]}, 422, "malformed", None),
    ("rates", hold(rates=[]), 422, "malformed", "/rates"),
    ("a JSON number", hold()["lines"][0] | {"amount": 1}, 422, "malformed", None),
    ("too much", hold("100.01"), 422, "insufficient-funds", "/lines/0/amount"),
    ("one line", {"lines": hold()["lines"][:1]}, 422, "too-few-lines", "/lines"),
]


@pytest.mark.parametrize(("name", "body", "status", "code", "pointer"), BAD, ids=[row[0] for row in BAD])
async def test_a_bad_hold_is_told_where(
    service: Service, name: str, body: Any, status: int, code: str, pointer: str | None
) -> None:  # fmt: skip
    told, problem, _ = await service.send("POST", HOLDS, body)
    assert (told, problem["code"]) == (status, code), (name, problem)
    assert pointer is None or pointer in {fault["pointer"] for fault in problem["errors"]}, problem


BAD_CAPTURES: list[tuple[Any, int, str, str | None]] = [
    ({"amount": "1.00", "lines": []}, 422, "malformed", "/lines"),
    ({"lines": [{"amount": "1.00"}]}, 422, "malformed", "/lines/0"),
    ({"lines": [{"amount": "1.00", "line": 1, "account": "ALICE"}]}, 422, "malformed", "/lines/0"),
    ({"lines": [{"amount": "1.00", "line": 0}]}, 422, "malformed", "/lines/0/line"),
    ({"amount": 1}, 422, "malformed", "/amount"),
    ({"amount": "-1.00"}, 422, "amount-not-positive", "/amount"),
    ({"amount": "60.01"}, 422, "capture-exceeds-hold", "/amount"),
    ({"lines": []}, 422, "too-few-lines", "/lines"),
    ({"hold_id": str(new_id())}, 422, "malformed", "/hold_id"),
    ({"effective_on": "1800-01-01"}, 422, "effective-date-out-of-range", "/effective_on"),
]


@pytest.mark.parametrize(("body", "status", "code", "pointer"), BAD_CAPTURES)
async def test_a_bad_capture_is_told_where(
    service: Service, body: Any, status: int, code: str, pointer: str | None
) -> None:  # fmt: skip
    _, placed, _ = await service.send("POST", HOLDS, hold(id=str(UUID(int=7))))
    told, problem, _ = await service.send("POST", f"{HOLDS}/{placed['id']}/capture", body)
    assert (told, problem["code"]) == (status, code), problem
    assert pointer is None or pointer in {fault["pointer"] for fault in problem["errors"]}, problem


async def test_conflicts_and_what_is_not_there_have_their_statuses(service: Service) -> None:
    body = hold(id=str(UUID(int=7)))
    _, placed, _ = await service.send("POST", HOLDS, body)
    status, problem, _ = await service.send("POST", HOLDS, body)
    assert (status, problem["code"], problem["facts"]["hold"]) == (409, "duplicate-hold-id", placed["id"])
    for path in (f"{HOLDS}/{new_id()}", f"{HOLDS}/nothing"):
        for method, place in (("GET", path), ("POST", f"{path}/capture"), ("POST", f"{path}/release")):
            status, problem, _ = await service.send(method, place, {} if method == "POST" else None)
            assert (status, problem["code"]) == (404, "unknown-hold"), place
    await service.send("POST", f"{HOLDS}/{placed['id']}/release")
    status, problem, _ = await service.send("POST", f"{HOLDS}/{placed['id']}/capture")
    assert (status, problem["code"], problem["facts"]["status"]) == (409, "hold-not-pending", "released")


async def test_who_may_only_read_places_nothing(service: Service) -> None:
    reader = service.headers("viewer")
    status, _, _ = await service.send("POST", HOLDS, hold(), reader)
    assert status == 403
    status, listed, _ = await service.send("GET", HOLDS, headers=reader)
    assert (status, listed["items"]) == (200, [])
