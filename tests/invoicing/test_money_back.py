"""Returned payments, disputes and payouts told by hand: what the events do, done by the same functions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.paying import parked, payments, tell, told
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.test_settling import amounts, did, sums, tied

LINES = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def paid(service: Service, amount: str = "120.00") -> tuple[dict[str, Any], str]:
    """An invoice over 120.00, and the id of the payment p-1 that an event told of it."""
    body = {"customer": "Acme Corp", "currency": "USD", "lines": LINES, "issue": True}
    made = await did(service, "/invoices", body)
    await tell(service.acme.pool, told("received", amount, reference=made["number"]))
    return made, str((await service.acme.one("select id from payments"))["id"])


async def books(service: Service) -> list[tuple[str, str, int]]:
    """What the books are asked for, by event and role, where it is tied out."""
    rows = await service.acme.all(
        "select split_part(p.purpose, '/', 1) as purpose, m.role, m.amount from movements m "
        "join postings p on p.organization = m.organization and p.id = m.posting order by 1, 2"
    )
    return [(row["purpose"], row["role"], int(row["amount"])) for row in rows]


ITEMS = [{"amount": "102.00", "payment_id": "p-1"}, {"amount": "2.00", "fee": "monthly"}]


async def told_by_hand(service: Service, payment: str) -> None:
    on = {"on": "2026-03-02"}
    back = {"amount": "30.00", "fee": "3.00", "reason": "no funds", "return_id": "returned-1", **on}
    await did(service, f"/payments/{payment}/return", back)
    disputed = {"amount": "50.00", "fee": "15.00", "dispute_id": "disputed-1", **on}
    opened = await did(service, f"/payments/{payment}/disputes", disputed)
    won = await did(service, f"/disputes/{opened['id']}/won", {"fee": "15.00", **on}, 200)
    assert (won["status"], won["settled_on"], won["posting"]) == ("won", "2026-03-02", "requested")
    paid_out = {
        "currency": "USD", "amount": "100.00", "provider": "stripe", "payout_id": "po-1", "paid_on": "2026-03-02",
        "items": ITEMS,
    }  # fmt: skip
    assert [item["fee"] for item in (await did(service, "/payouts", paid_out))["items"]] == [None, "monthly"]


async def told_by_events(service: Service, _: str) -> None:
    for event in (
        told("returned", "30.00", fee="3.00"),
        told("disputed", "50.00", status="opened", fee="15.00"),
        told("disputed", "50.00", status="won", fee="15.00"),
        told("paid", "100.00", items=ITEMS),
    ):
        await tell(service.acme.pool, event)


@pytest.mark.parametrize("how", [told_by_hand, told_by_events])
async def test_by_hand_is_as_by_event(service: Service, how: Any) -> None:
    made, payment = await paid(service)
    await how(service, payment)
    assert await payments(service.acme.pool) == [("p-1", 9000, 0, 0, 3000)]
    assert await amounts(service, made["id"]) == ("part-paid", "90.00", "0.00", "30.00")
    kept = await service.acme.one("select kind, provider, refund_id, reason, from_allocated from refunds")
    assert tuple(kept) == ("return", "stripe", "returned-1", "no funds", 3000)
    kept = await service.acme.one("select provider, dispute_id, status, fee, from_allocated from disputes")
    assert tuple(kept) == ("stripe", "disputed-1", "won", 1500, 5000)
    assert await books(service) == [
        ("dispute_opened", "processor-clearing", -6500), ("dispute_opened", "receivable", 5000),
        ("dispute_won", "processor-clearing", 6500), ("dispute_won", "receivable", -5000),
        ("issue", "receivable", 12000), ("issue", "tax-due", -2000),
        ("payment", "processor-clearing", 12000), ("payment", "receivable", -12000),
        ("payout", "processor-clearing", -10200),
        ("returned", "processor-clearing", -3300), ("returned", "receivable", 3000),
    ]  # fmt: skip
    await tied(service)


async def test_what_was_told_by_hand_is_known_when_its_event_comes(service: Service) -> None:
    _, payment = await paid(service)
    await told_by_hand(service, payment)
    before = await books(service)
    await told_by_events(service, payment)
    assert (await parked(service.acme.pool), await books(service)) == ([], before)
    await tell(service.acme.pool, told("returned", "31.00", fee="3.00"))
    assert await parked(service.acme.pool) == [("stripe/p-1", "duplicate-refund")]


async def test_a_lost_dispute_stays_open_and_does_not_end_twice(service: Service) -> None:
    made, payment = await paid(service)
    opened = await did(service, f"/payments/{payment}/disputes", {"fee": "15.00"})
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    over = await did(service, f"/disputes/{opened['id']}/won", {"fee": "15.01"}, 422)
    assert (over["code"], over["facts"], over["errors"][0]["pointer"]) == (
        "fee-exceeds-dispute", {"fee": "15.01", "taken": "15.00"}, "/fee",
    )  # fmt: skip
    assert (await did(service, f"/disputes/{opened['id']}/lost", {"fee": "1.00"}, 422))["code"] == "fee-exceeds-dispute"
    for _ in range(2):
        lost = await did(service, f"/disputes/{opened['id']}/lost", {"on": "2026-04-02"}, 200)
        assert (lost["status"], lost["settled_on"]) == ("lost", "2026-04-02")
    late = await did(service, f"/disputes/{opened['id']}/won", None, 409)
    assert (late["code"], late["facts"]) == ("dispute-settled", {"status": "lost"})
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    assert (await sums(service))["processor-clearing"] == -1500
    await tied(service)


REFUSED = [
    ("a return of too much", "return", {"amount": "120.01"}, 422, "refund-exceeds-payment",
     {"amount": "120.01", "left": "120.00"}),
    ("a dispute of too much", "disputes", {"amount": "120.01"}, 422, "refund-exceeds-payment",
     {"amount": "120.01", "left": "120.00"}),
    ("a return of nothing", "return", {"amount": "0.00"}, 422, "amount-not-positive", None),
    ("half a cent", "disputes", {"amount": "1.005"}, 422, "too-many-decimals", None),
    ("a fee that is none", "return", {"fee": "1.005"}, 422, "too-many-decimals", None),
    ("a member nobody knows", "disputes", {"reason": "?"}, 422, "malformed", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "body", "status", "code", "facts"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_what_cannot_go_back_leaves_nothing(
    service: Service, step: str, body: dict[str, Any], status: int, code: str, facts: Any
) -> None:
    _, payment = await paid(service)
    refused = await did(service, f"/payments/{payment}/{step}", body, status)
    assert refused["code"] == code
    assert refused["errors"]
    assert facts in (None, refused["facts"])
    assert await payments(service.acme.pool) == [("p-1", 12000, 0, 0, 0)]
    for table in ("refunds", "disputes"):
        assert await service.acme.all(f"select * from {table}") == []


async def test_a_name_is_of_one_return_and_one_dispute(service: Service) -> None:
    _, payment = await paid(service)
    for step, name, code in (
        ("return", {"return_id": "r-1"}, "duplicate-refund"),
        ("disputes", {"dispute_id": "d-1"}, "duplicate-dispute"),
    ):
        first = await did(service, f"/payments/{payment}/{step}", {"amount": "10.00", **name})
        assert (await did(service, f"/payments/{payment}/{step}", {"amount": "10.00", **name})) == first
        other = await did(service, f"/payments/{payment}/{step}", {"amount": "11.00", **name}, 409)
        assert (other["code"], other["facts"]["amount"], other["facts"]["id"]) == (code, "10.00", first["id"])
    refunded = told("refunded", "5.00", refund_id="r-1")
    await tell(service.acme.pool, refunded)
    assert await parked(service.acme.pool) == [("stripe/p-1", "duplicate-refund")]


async def test_a_payout_is_recorded_once(service: Service) -> None:
    body = {"currency": "USD", "amount": "100.00", "provider": "stripe", "payout_id": "po-1"}
    answers = await asyncio.gather(*(service.send("POST", "/payouts", body) for _ in range(8)))
    assert [status for status, _, _ in answers] == [201] * 8
    assert len({answer["id"] for _, answer, _ in answers}) == 1
    other = await did(service, "/payouts", {**body, "amount": "100.01"}, 409)
    assert other["code"] == "duplicate-payout"
    fault = {"currency": "USD", "amount": "1.00", "items": [{"amount": "1.00"}, {"amount": "1.001", "fee": "x"}]}
    refused = await did(service, "/payouts", fault, 422)
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("too-many-decimals", "/items/1/amount")
    assert (await did(service, "/payouts", {**body, "currency": "XXQ"}, 422))["code"] == "unknown-currency"
    assert len(await service.acme.all("select * from payouts")) == 1
    await tied(service)


async def test_a_key_is_one_return(service: Service) -> None:
    _, payment = await paid(service)
    path, body, key = f"/payments/{payment}/return", {"amount": "10.00"}, {"Idempotency-Key": "back-1"}
    answers = [await service.send("POST", path, body, key) for _ in range(2)]
    assert [status for status, _, _ in answers] == [201, 201]
    assert answers[0][1] == answers[1][1]
    assert answers[1][2]["Idempotency-Replayed"] == "true"
    assert await payments(service.acme.pool) == [("p-1", 11000, 0, 0, 1000)]
    status, refused, _ = await service.send("POST", path, {"amount": "11.00"}, key)
    assert (status, refused["code"]) == (422, "key-reused-with-other-content")


async def test_nobody_else_takes_money_back(service: Service) -> None:
    _, payment = await paid(service)
    opened = await did(service, f"/payments/{payment}/disputes", {"amount": "10.00"})
    paths = [f"/payments/{payment}/return", f"/payments/{payment}/disputes", f"/disputes/{opened['id']}/won"]
    for path in [*paths, f"/disputes/{opened['id']}/lost", f"/disputes/{UUID(int=7)}/lost"]:
        headers = service.headers(organization="other") if str(UUID(int=7)) not in path else {}
        status, refused, _ = await service.send("POST", path, {}, headers)
        assert (status, refused["code"][:8]) == (404, "unknown-"), path
        status, refused, _ = await service.send("POST", path, {}, service.headers("viewer"))
        assert (status, refused["code"]) == (403, "scope-missing"), path
    assert await payments(service.acme.pool) == [("p-1", 11000, 0, 0, 1000)]
