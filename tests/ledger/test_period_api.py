"""Closing over HTTP: steps, scopes, shapes, what is told, and that every route into a closed month says no."""

import orjson

from tests.ledger.serving import ENTRIES, Service, rent

LEDGER = "/api/v1/ledgers/main"


async def test_a_month_is_closed_and_reopened_and_everyone_is_told(service: Service) -> None:
    _, posted, _ = await service.send("POST", ENTRIES, rent())
    status, day, _ = await service.send("POST", f"{LEDGER}/days/2026-01-20/close")
    assert (status, day["type"], day["days_closed_through"], day["actor"]) == (200, "day-closed", "2026-01-20", "alice")
    assert (await service.send("POST", f"{LEDGER}/days/2026-01-20/close"))[:2] == (200, day)
    keyed = {"Idempotency-Key": "close-january"}
    status, closed, _ = await service.send("POST", f"{LEDGER}/periods/2026-01/close", {"reason": "done"}, keyed)
    assert (status, closed["closed_through"], closed["reason"]) == (200, "2026-01-31", "done")
    _, again, headers = await service.send("POST", f"{LEDGER}/periods/2026-01/close", {"reason": "done"}, keyed)
    assert (again, headers["Idempotency-Replayed"]) == (closed, "true")
    line = orjson.dumps(rent())
    for path, body in (
        (ENTRIES, rent()),
        (f"{ENTRIES}?dry_run=true", rent()),
        (f"{ENTRIES}/{posted['id']}/reverse", {"effective_on": "2026-01-15"}),
        (
            f"{LEDGER}/transfers",
            {"from": "2001-ALICE", "to": "2002-BOB", "amount": "1", "effective_on": "2026-01-15"},
        ),
    ):
        status, problem, _ = await service.send("POST", path, body)
        assert (status, problem["code"], problem["facts"]["soft"]) == (422, "period-closed", False), path
    for mode, wanted in (("each", 200), ("atomic", 422)):
        ndjson = {"Content-Type": "application/x-ndjson"}
        status, result, _ = await service.send("POST", f"{ENTRIES}/bulk?mode={mode}", line, ndjson)
        assert (status, result["code"]) == (wanted, "period-closed")
    moved = {"if_closed": "next-open-day", "effective_on": "2026-01-15"}
    _, reversal, _ = await service.send("POST", f"{ENTRIES}/{posted['id']}/reverse", moved)
    assert (reversal["effective_on"], reversal["value_on"]) == ("2026-02-01", "2026-01-15")
    status, opened, _ = await service.send("POST", f"{LEDGER}/periods/2026-01/reopen", {"reason": "a late bill"})
    assert (status, opened["type"], opened["closed_through"]) == (200, "period-reopened", None)
    status, problem, _ = await service.send("POST", ENTRIES, rent(), service.headers("accountant"))
    assert (status, problem["code"]) == (422, "day-closed")
    status, backdated, _ = await service.send("POST", ENTRIES, rent())
    assert status == 201
    _, stands, _ = await service.send("GET", f"{LEDGER}/days/2026-01-20")
    assert stands["versions"] == [
        {"version": 1, "sequence": day["sequence"]}, {"version": 2, "sequence": backdated["sequence"]}
    ]  # fmt: skip
    _, periods, _ = await service.send("GET", f"{LEDGER}/periods")
    assert periods["items"][0]["reason"] == "a late bill"
    status, check, _ = await service.send("GET", f"{LEDGER}/periods/2026-01/close-check")
    assert (status, check["closable"], check["status"]) == (200, True, "open")
    _, proof, _ = await service.send("GET", f"{LEDGER}/verify")
    assert proof["ok"], proof


async def test_a_year_is_closed_over_http(service: Service) -> None:
    await service.send("POST", ENTRIES, rent(effective_on="2025-12-03"))
    status, problem, _ = await service.send("POST", f"{LEDGER}/years/2025/close")
    assert (status, problem["code"]) == (422, "retained-earnings-missing")
    equity = {"code": "3900-RE", "name": "Retained", "type": "equity", "currency": "USD"}
    await service.send("POST", f"{LEDGER}/accounts", equity)
    status, closed, _ = await service.send("POST", f"{LEDGER}/years/2025/close", {"retained_earnings": "3900-RE"})
    assert (status, closed["type"]) == (200, "year-closed")
    _, entry, _ = await service.send("GET", f"{ENTRIES}/{closed['entries'][0]}")
    assert (entry["kind"], entry["effective_on"]) == ("closing", "2025-12-31")
    status, opened, _ = await service.send("POST", f"{LEDGER}/years/2025/reopen", {"reason": "audit"})
    assert (status, opened["entries"]) == (200, closed["entries"])
    _, reversed_, _ = await service.send("GET", f"{ENTRIES}/{closed['entries'][0]}")
    assert reversed_["reversed_by"]


async def test_what_is_wrong_is_said(service: Service) -> None:
    for path, body, wanted in (
        ("days/2026-02-30/close", None, "malformed"),
        ("periods/2026-13/close", None, "malformed"),
        ("periods/26-1/soft-close", None, "malformed"),
        ("years/26/close", None, "malformed"),
        ("periods/2026-01/reopen", {}, "malformed"),
        ("periods/2026-01/reopen", {"reason": ""}, "malformed"),
        ("periods/2026-01/close", {"colour": "red"}, "malformed"),
        ("periods/2026-01/close", None, "period-out-of-order"),
        ("days/2199-01-01/close", None, "period-not-ended"),
    ):
        status, problem, _ = await service.send("POST", f"{LEDGER}/{path}", body)
        assert (status, problem["code"]) == (422, wanted), path
    closing = ("days/2026-01-20/close", "periods/2026-01/close", "periods/2026-01/reopen", "years/2025/reopen")
    for path in closing:
        status, problem, _ = await service.send(
            "POST", f"{LEDGER}/{path}", {"reason": "x"}, service.headers("accountant")
        )
        assert (status, problem["code"]) == (403, "scope-missing")
    status, problem, _ = await service.send("POST", "/api/v1/ledgers/none/days/2026-01-20/close")
    assert (status, problem["code"]) == (404, "unknown-ledger")
    assert (await service.send("GET", f"{LEDGER}/periods/x/close-check"))[0] == 422
