"""Documents of money are listed, filtered, paged and read alone, by those alone whose they are."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Pool, create_pool
from services.invoicing import money_reads
from services.invoicing.receivable_reads import as_reader
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.paying import tell, told
from tests.invoicing.serving import Service, invoicing_service

LINES = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def did(service: Service, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
    """What a command answers; its status is as expected."""
    found, answer, _ = await service.send("POST", path, {} if body is None else body)
    assert found == status, answer
    return dict(answer)


async def read(service: Service, path: str, status: int = 200, **headers: str) -> Any:
    found, answer, _ = await service.send("GET", path, None, headers)
    assert found == status, answer
    return answer


@pytest.fixture
async def traded(service: Service) -> Service:
    """Two customers' money, with a second of each document: gone back, disputed, given up, used, paid out."""
    for customer in ("Acme Corp", "Bolt Ltd"):
        who = customer.split()[0].lower()
        if who == "bolt":
            await did(service, "/customers", {"name": customer})
        body = {"customer": customer, "currency": "USD", "lines": LINES, "issue": True}
        paid, given_up, rest = [await did(service, "/invoices", body) for _ in range(3)]
        events = [
            told("received", "120.00", payment_id=who, reference=paid["number"]),
            told("returned", "20.00", payment_id=who, return_id=f"{who}-return", fee="3.00"),
            told("disputed", "30.00", payment_id=who, dispute_id=f"{who}-dispute", status="opened", fee="15.00"),
            told("paid", "50.00", payout_id=who, items=[{"amount": "50.00", "payment_id": who}]),
        ]
        await tell(service.acme.pool, *events)
        written_off = await did(service, f"/invoices/{given_up['id']}/write-off")
        await did(service, f"/write-offs/{written_off['write_off']['id']}/relief")
        await did(service, f"/invoices/{given_up['id']}/recoveries", {"amount": "10.00"})
        over = await did(service, "/payments", {"amount": "200.00", "invoice_id": rest["id"]})
        await did(service, f"/payments/{over['id']}/refunds", {"amount": "5.00", "reason": "asked for it"})
        await did(service, f"/customers/{rest['customer']}/credit/apply", {"currency": "USD", "amount": "40.00"})
    lost = told("disputed", "30.00", payment_id="bolt", dispute_id="bolt-dispute", status="lost")
    await tell(service.acme.pool, lost)
    (used,) = (await read(service, f"/credit-applications?customer={rest['customer']}"))["items"]
    await did(service, f"/credit-applications/{used['id']}/take-back", None, 200)
    await service.acme.post_all()
    return service


LISTS = [
    ("/refunds", 4, {"kind=return": 2, "kind=refund": 2, "customer={bolt}": 2, "ledger=main": 4, "payment={none}": 0}),
    ("/disputes", 2, {"status=opened": 1, "status=lost": 1, "status=won": 0, "customer={acme}": 1, "ledger=no": 0}),
    ("/write-offs", 6, {"kind=relief": 2, "kind=recovery": 2, "customer={acme}": 3, "posting=posted": 6,
                        "posting=requested": 0, "ledger=no": 0, "invoice={none}": 0}),
    ("/credit-applications", 2, {"customer={bolt}": 1, "taken_back=true": 1, "taken_back=false": 1,
                                 "posting=posted": 2, "ledger=no": 0}),
    ("/payouts", 2, {"payout_id=bolt": 1, "provider=stripe": 2, "provider=paypal": 0, "posting=posted": 2,
                     "ledger=no": 0}),
]  # fmt: skip
"""Each list: how many there are, and how many by a filter."""


@pytest.mark.parametrize(("path", "count", "filters"), LISTS, ids=[row[0][1:] for row in LISTS])
async def test_a_list_has_each_document_once(traded: Service, path: str, count: int, filters: dict[str, int]) -> None:
    every, cursor = [], ""
    while cursor is not None:
        listed = await read(traded, f"{path}?limit=1" + (f"&cursor={cursor}" if cursor else ""))
        every += listed["items"]
        cursor = listed["next_cursor"]
    ids = [each["id"] for each in every]
    assert (len(ids), ids) == (count, sorted(set(ids)))
    names = {row["name"]: row["id"] for row in (await read(traded, "/customers"))["items"]}
    places = {"acme": names["Acme Corp"], "bolt": names["Bolt Ltd"], "none": UUID(int=7)}
    for asked, found in filters.items():
        listed = await read(traded, f"{path}?{asked.format(**places)}")
        assert len(listed["items"]) == found, (asked, listed)
    for each in every:
        alone = await read(traded, f"{path}/{each['id']}")
        assert {name: value for name, value in alone.items() if name not in ("items", "allocations")} == {
            name: value for name, value in each.items() if name != "allocations"
        }


@pytest.mark.parametrize(("path", "count"), [row[:2] for row in LISTS], ids=[row[0][1:] for row in LISTS])
async def test_a_list_is_its_organization_s_alone(
    traded: Service, receivables: InvoicingDatabase, path: str, count: int
) -> None:
    first = (await read(traded, f"{path}?limit=1"))["items"][0]
    other = traded.headers(organization="other")
    assert (await read(traded, path, 200, **other))["items"] == []
    assert (await read(traded, f"{path}/{first['id']}", 404, **other))["code"].startswith("unknown-")
    assert (await read(traded, f"{path}/{UUID(int=7)}", 404))["code"].startswith("unknown-")
    cursor = (await read(traded, f"{path}?limit=1"))["next_cursor"]
    assert (await read(traded, f"{path}?cursor={cursor}", 422, **other))["code"] == "cursor-invalid"
    assert (await read(traded, path, 403, **traded.headers("nobody")))["code"] == "scope-missing"
    listing = getattr(money_reads, f"list_{path[1:].replace('-', '_')}")
    pool = await create_pool(receivables.dsns.reader, name="reader", max_size=1)
    try:
        for organization, found in (("demo", count), ("other", 0)):
            async with as_reader(pool, organization) as connection:
                assert len(await listing(connection, "demo", {}, None, 100)) == found, organization
    finally:
        await pool.close()


async def test_each_document_says_what_it_is(traded: Service) -> None:
    (returned,) = (await read(traded, "/refunds?kind=return&limit=1"))["items"]
    assert [returned[name] for name in ("refund_id", "amount", "fee", "from_allocated", "reason", "posting")] == [
        "acme-return", "20.00", "3.00", "20.00", "no funds", "posted",
    ]  # fmt: skip
    (lost,) = (await read(traded, "/disputes?status=lost"))["items"]
    dispute = await read(traded, f"/disputes/{lost['id']}")
    assert (dispute["settled_on"], dispute["fee"], dispute["posting"]) == ("2026-03-02", "15.00", "posted")
    assert [each["amount"] for each in dispute["allocations"]] == ["30.00"]
    (relief,) = (await read(traded, "/write-offs?kind=relief&limit=1"))["items"]
    given_up = await read(traded, f"/write-offs/{relief['undoes']}")
    assert (relief["amount"], relief["tax"], given_up["kind"], given_up["amount"]) == (
        "20.00", "20.00", "write-off", "120.00",
    )  # fmt: skip
    (used,) = (await read(traded, "/credit-applications?taken_back=true"))["items"]
    alone = await read(traded, f"/credit-applications/{used['id']}")
    assert (alone["amount"], alone["taken_back"], len(alone["allocations"])) == ("40.00", "40.00", 2)
    (payout,) = (await read(traded, "/payouts?payout_id=acme"))["items"]
    assert (await read(traded, f"/payouts/{payout['id']}"))["items"][0]["payment_id"] == "acme"
    assert "items" not in payout


async def test_what_is_under_way_and_what_was_won_say_so(service: Service) -> None:
    await tell(service.acme.pool, told("received"), told("disputed", status="opened"))
    assert [each["posting"] for each in (await read(service, "/disputes"))["items"]] == ["requested"]
    await service.acme.post_all()
    assert [each["posting"] for each in (await read(service, "/disputes"))["items"]] == ["posted"]
    await tell(service.acme.pool, told("disputed", status="won", payment_id="p-1"))
    (won,) = (await read(service, "/disputes?status=won"))["items"]
    assert (won["posting"], won["from_unapplied"]) == ("requested", "120.00")
