"""Where holds, closings and changed accounts meet balances and reports, over HTTP."""

from typing import Any

import pytest

from tests.ledger.serving import Service

pytestmark = pytest.mark.database

LEDGER = "/api/v1/ledgers/main"
HOLDS = f"{LEDGER}/holds"


async def done(service: Service, method: str, path: str, body: Any = None) -> Any:
    """The answer of a request that is granted."""
    status, answer, _ = await service.send(method, f"{LEDGER}/{path}", body)
    assert status in (200, 201), answer
    return answer


def lines(debit: str, credit: str, amount: str) -> list[dict[str, str]]:
    return [
        {"account": debit, "side": "debit", "amount": amount},
        {"account": credit, "side": "credit", "amount": amount},
    ]


async def funded(service: Service, on: str = "2026-01-10") -> str:
    """The id of a hold of 60.00 of ALICE's 100.00."""
    await done(service, "POST", "entries", {"effective_on": on, "lines": lines("1010-CASH", "2001-ALICE", "100.00")})
    placed = await done(service, "POST", "holds", {"lines": lines("2001-ALICE", "2002-BOB", "60.00")})
    hold_id: str = placed["id"]
    return hold_id


async def test_pending_amounts_of_real_holds_now_and_as_of_a_sequence(service: Service) -> None:
    hold_id = await funded(service)
    shown = []
    for step, body in ((None, None), ("capture", {"amount": "25.00"}), ("release", None)):
        if step is not None:
            await done(service, "POST", f"holds/{hold_id}/{step}", body)
        balance = await done(service, "GET", "accounts/2001-ALICE/balance")
        shown.append((balance["posted"], balance["pending_debits"], balance["available"]))
        sequence = (await done(service, "GET", "head"))["sequence"]
        then = await done(service, "GET", f"accounts/2001-ALICE/balance?sequence={sequence}")
        assert (then["posted"], then["pending_debits"], then["available"]) == shown[-1]
    assert shown == [("100.00", "60.00", "40.00"), ("75.00", "35.00", "40.00"), ("75.00", "0.00", "75.00")]
    records = (await done(service, "GET", "log?limit=1000"))["items"]
    placed_at = next(each["sequence"] for each in records if each["type"] == "hold-placed")
    for sequence, expected in (
        (placed_at - 1, ("100.00", "0.00", "100.00")),
        (placed_at, ("100.00", "60.00", "40.00")),
    ):
        then = await done(service, "GET", f"accounts/2001-ALICE/balance?sequence={sequence}")
        assert (then["posted"], then["pending_debits"], then["available"]) == expected


async def test_a_capture_into_a_closed_month_is_refused_or_moved_to_the_first_open_day(service: Service) -> None:
    hold_id = await funded(service)
    await done(service, "POST", "periods/2026-01/close")
    late = {"effective_on": "2026-01-20", "amount": "10.00"}
    status, problem, _ = await service.send("POST", f"{HOLDS}/{hold_id}/capture", late)
    assert (status, problem["code"]) == (422, "period-closed")
    assert (await done(service, "GET", f"holds/{hold_id}"))["status"] == "pending"
    moved = await done(service, "POST", f"holds/{hold_id}/capture", {**late, "if_closed": "next-open-day"})
    assert (moved["entry"]["effective_on"], moved["entry"]["value_on"]) == ("2026-02-01", "2026-01-20")
    january = await done(service, "GET", "accounts/2002-BOB/balance?effective_on=2026-01-31")
    february = await done(service, "GET", "accounts/2002-BOB/balance?effective_on=2026-02-01")
    assert (january["posted"], february["posted"]) == ("0.00", "10.00")
    assert (await done(service, "GET", "verify"))["ok"]


async def test_frozen_and_closed_accounts_stay_in_statements_and_reports(service: Service) -> None:
    day = "2026-01-10"
    await done(service, "POST", "entries", {"effective_on": day, "lines": lines("5000-RENT", "1010-CASH", "7.00")})
    await done(service, "POST", "accounts", {"code": "1015-TILL", "name": "Till", "type": "asset", "currency": "USD"})
    for pair in (("1015-TILL", "1010-CASH"), ("1010-CASH", "1015-TILL")):
        await done(service, "POST", "entries", {"effective_on": day, "lines": lines(*pair, "5.00")})
    await done(service, "POST", "accounts/1010-CASH/freeze", {"direction": "both", "reason": "audit"})
    await done(service, "POST", "accounts/1015-TILL/close", {"reason": "moved"})
    for code, closing, count in (("1010-CASH", "-7.00", 3), ("1015-TILL", "0.00", 2)):
        statement = await done(service, "GET", f"accounts/{code}/statement")
        assert (statement["closing"], len(statement["items"])) == (closing, count)
        assert all(tie_out["ok"] for tie_out in statement["tie_outs"])
    balances = (await done(service, "GET", "reports/trial-balance"))["rows"]
    rows = {row["account"]: (row["debits"], row["credits"]) for row in balances}
    assert rows["1015-TILL"] == ("5.00", "5.00")
    assert rows["1010-CASH"] == ("5.00", "12.00")
    sheet = await done(service, "GET", "reports/balance-sheet?to=2026-01-31")
    assert sheet["holds"]
    assert sheet["currencies"][-1]["sections"][0]["totals"] == ["-7.00"]


@pytest.mark.parametrize(
    "metadata",
    ['{"a":"\\u0000"}', "{%22a%22:" * 300 + "1" + "}" * 300, '{"a":1e400}', '{"a":1,"a":2}', "[]", '{"a":"\\ud800"}'],
    ids=["nul", "deep", "beyond a double", "a name twice", "a list", "half a surrogate"],
)
async def test_a_metadata_filter_that_no_entry_can_have_is_refused(service: Service, metadata: str) -> None:
    for listing in ("lines", "totals"):
        path = f"{LEDGER}/accounts/1010-CASH/{listing}?metadata={metadata}"
        status, problem, _ = await service.send("GET", path)
        assert (status, problem["code"], problem["errors"][0]["pointer"]) == (422, "malformed", "/metadata"), metadata
