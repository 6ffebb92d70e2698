"""Changing accounts over HTTP."""

from typing import Any

import pytest

from services.ledger.verify import verify
from tests.ledger.serving import ENTRIES, Service


async def test_an_account_is_changed_frozen_and_closed(service: Service) -> None:
    path = "/api/v1/ledgers/main/accounts/2001-ALICE"
    _, opened, _ = await service.send("GET", path)
    patch = {"name": "Alice Ltd", "metadata": {"tier": "gold"}, "expected_version": opened["version"]}
    status, changed, _ = await service.send("PATCH", path, patch, {"Idempotency-Key": "rename"})
    assert (status, changed["name"], changed["opened_at"]) == (200, "Alice Ltd", opened["opened_at"])
    assert (await service.send("GET", path))[1] == changed
    status, again, headers = await service.send(
        "PATCH", path, patch, {"Idempotency-Key": "rename", "Idempotency-Retry": "true"}
    )
    assert (status, again, headers["Idempotency-Replayed"]) == (200, changed, "true")
    status, problem, _ = await service.send("PATCH", path, patch)
    assert (status, problem["code"], problem["facts"]["version"]) == (409, "version-conflict", changed["version"])
    by_id = f"/api/v1/ledgers/main/accounts/{opened['id']}"
    status, frozen, _ = await service.send("POST", f"{by_id}/freeze", {"direction": "in", "reason": "court order 7"})
    assert (status, frozen["frozen"], frozen["code"]) == (200, "in", "2001-ALICE")
    status, problem, _ = await service.send(
        "POST", ENTRIES, {"lines": [{"account": "1010-CASH", "side": "debit", "amount": "1.00"},
                                    {"account": "2001-ALICE", "side": "credit", "amount": "1.00"}]}
    )  # fmt: skip
    assert (status, problem["code"], problem["errors"][0]["pointer"]) == (422, "account-frozen", "/lines/1/account")
    assert (await service.send("POST", f"{path}/unfreeze"))[0] == 200
    status, closed, _ = await service.send("POST", f"{path}/close", {"reason": "left"})
    assert (status, closed["closed"], closed["frozen"]) == (200, True, None)
    _, history, _ = await service.send("GET", f"{path}/history")
    assert [(one["change"], one["reason"]) for one in history["items"]] == [
        ("opened", None), ("changed", None), ("frozen", "court order 7"), ("unfrozen", None), ("closed", "left")
    ]  # fmt: skip
    _, then, _ = await service.send("GET", f"{path}/history?sequence={changed['version']}")
    assert [one["account"] for one in then["items"]] == [changed]
    at = then["items"][0]["recorded_at"]
    assert (await service.send("GET", f"{path}/history?at={at}"))[1] == then
    _, events, _ = await service.send("GET", f"{path}/events")
    assert [event["type"] for event in events["items"]] == ["account-opened", *["account-changed"] * 4]
    report = await verify(service.auditor, await service.books.get("demo", "main"))
    assert report.ok, report


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "pointer"),
    [
        ("PATCH", "", {}, 422, "malformed", ""),
        ("PATCH", "", {"expected_version": 3}, 422, "malformed", ""),
        ("PATCH", "", {"code": "NEW"}, 422, "malformed", "/code"),
        ("PATCH", "", {"name": None}, 422, "malformed", "/name"),
        ("PATCH", "", {"cash": "yes"}, 422, "malformed", "/cash"),
        ("PATCH", "", {"overdraft": {"policy": "limit"}}, 422, "malformed", "/overdraft/limit"),
        ("PATCH", "", {"expected_version": "3", "name": "A"}, 422, "malformed", "/expected_version"),
        ("POST", "/freeze", {"direction": "up", "reason": "r"}, 422, "malformed", "/direction"),
        ("POST", "/freeze", {"direction": "in"}, 422, "malformed", "/reason"),
        ("POST", "/freeze", None, 415, "content-type-not-supported", None),
        ("POST", "/close", {"why": "r"}, 422, "malformed", "/why"),
    ],
)
async def test_a_change_of_a_wrong_shape_is_named(
    service: Service, method: str, path: str, body: Any, status: int, code: str, pointer: str | None
) -> None:
    headers = {"Content-Type": "text/plain"} if body is None else None
    answered, problem, _ = await service.send(method, f"/api/v1/ledgers/main/accounts/2001-ALICE{path}", body, headers)
    assert (answered, problem["code"]) == (status, code), problem
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


async def test_nobody_changes_another_organizations_account(service: Service) -> None:
    path = "/api/v1/ledgers/main/accounts/2001-ALICE"
    stranger = service.headers(organization="other")
    status, problem, _ = await service.send("PATCH", path, {"name": "Mine"}, stranger)
    assert (status, problem["code"]) == (404, "unknown-account")
    status, _, _ = await service.send("PATCH", path, {"name": "Mine"}, service.headers("viewer"))
    assert status == 403
    status, _, _ = await service.send("GET", f"{path}/history", headers=stranger)
    assert status == 404
