"""What was done wrongly is taken back: its row, its entry reversed, all as if it had not been; and refused where it was
used since."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common.db import Pool
from services.invoicing.pools import MIGRATIONS
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import Log
from tests.invoicing.paying import payments, tell, told
from tests.invoicing.random_trade import RuledBooks
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.test_settling import amounts, did, sums
from tests.invoicing.trading import body_of
from tests.invoicing.trading import refused as refusal

LINES = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]
ON = {"on": "2026-04-02"}


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def invoice(service: Service) -> dict[str, Any]:
    """An invoice over 120.00."""
    body = {"customer": "Acme Corp", "currency": "USD", "issued_on": "2026-03-02", "lines": LINES, "issue": True}
    return await did(service, "/invoices", body)


async def read(service: Service, path: str) -> Any:
    status, answer, _ = await service.send("GET", path)
    assert status == 200, answer
    return answer


async def tied(service: Service) -> None:
    """The ledger's own rules post all of it, reversals too, and everything ties out at every sequence."""
    books = RuledBooks(service.acme.pool, Log("demo"))
    await books.open()
    await books.settle()
    for sequence in range(books.log.sequence + 1):
        proof = await books.proof(sequence)
        assert proof.ties, [row for row in proof.rows if not row.ties]
    assert proof.unposted_count == 0


async def taxed(service: Service) -> str:
    """The tax that the report has from March on, which ties to the books."""
    body = {"tax_number": "US-1", "currency": "USD", "valid_from": "2020-01-01"}
    await did(service, "/tax-numbers", body)
    report = await read(service, "/tax/report?from=2026-03-01&to=2026-12-31")
    return str(report["total"]["tax"])


async def given_up(service: Service, amount: str = "120.00") -> tuple[dict[str, Any], str]:
    """An invoice that was given up, and the write-off's id."""
    made = await invoice(service)
    done = await did(service, f"/invoices/{made['id']}/write-off", {"amount": amount, "on": "2026-03-10"})
    return made, done["write_off"]["id"]


# --- write-offs -------------------------------------------------------------------------------------------------------


async def test_relief_is_taken_back_and_claimed_again(service: Service) -> None:
    made, write_off = await given_up(service)
    before = await sums(service)
    relief = await did(service, f"/write-offs/{write_off}/relief", {"on": "2026-03-20"})
    assert (await did(service, f"/write-offs/{write_off}/relief", None, 409))["code"] == "already-undone"
    back = await did(service, f"/write-offs/{relief['id']}/take-back", ON, 200)
    assert [back[name] for name in ("kind", "amount", "tax", "undoes", "on")] == [
        "relief-taken-back", "20.00", "20.00", relief["id"], "2026-04-02",
    ]  # fmt: skip
    assert (await did(service, f"/write-offs/{relief['id']}/take-back", None, 409))["code"] == "already-undone"
    assert await sums(service) == before
    assert await taxed(service) == "20.00"
    again = await did(service, f"/write-offs/{write_off}/relief", {"on": "2026-04-03"})
    assert again["amount"] == "20.00"
    await did(service, f"/write-offs/{again['id']}/take-back", {"on": "2026-04-04"}, 200)
    reversed_ = await did(service, f"/write-offs/{write_off}/reverse")
    assert (reversed_["status"], reversed_["open"]) == ("issued", "120.00")
    assert (await did(service, f"/write-offs/{write_off}/relief", None, 409))["code"] == "already-undone"
    await tied(service)
    listed = await read(service, f"/write-offs?invoice={made['id']}")
    assert [(each["kind"], each["posting"]) for each in listed["items"]] == [
        ("write-off", "posted"), ("relief", "posted"), ("relief-taken-back", "posted"), ("relief", "posted"),
        ("relief-taken-back", "posted"), ("reversal", "posted"),
    ]  # fmt: skip


async def test_a_recovery_is_taken_back_with_the_relief_that_it_repaid(service: Service) -> None:
    made, write_off = await given_up(service)
    relief = await did(service, f"/write-offs/{write_off}/relief", {"on": "2026-03-20"})
    before = await sums(service)
    path = f"/invoices/{made['id']}/recoveries"
    first = await did(service, path, {"amount": "60.00", "on": "2026-03-21"})
    second = await did(service, path, {"amount": "30.00", "on": "2026-03-22"})
    assert await taxed(service) == "15.00"
    used = await did(service, f"/write-offs/{relief['id']}/take-back", None, 422)
    assert (used["code"], used["facts"]) == ("relief-repaid", {"amount": "20.00", "repaid": "15.00", "left": "0.00"})
    early = await did(service, f"/write-offs/{first['id']}/take-back", None, 422)
    assert (early["code"], early["facts"]) == (
        "recovery-followed", {"amount": "60.00", "later": "30.00", "recovery": second["id"]},
    )  # fmt: skip
    for each in (second, first):
        back = await did(service, f"/write-offs/{each['id']}/take-back", ON, 200)
        assert (back["kind"], back["undoes"]) == ("recovery-taken-back", each["id"])
    assert await sums(service) == before
    report = await read(service, "/tax/report?from=2026-03-01&to=2026-12-31")
    assert report["total"]["tax"] == "0.00"
    await did(service, path, {"amount": "120.00", "on": "2026-04-03"})
    await tied(service)
    report = await read(service, "/tax/report?from=2026-03-01&to=2026-12-31")
    assert (report["total"]["tax"], report["ties"]) == ("20.00", True)


async def test_what_is_no_relief_and_no_recovery_is_not_taken_back_so(service: Service) -> None:
    _, write_off = await given_up(service, "60.00")
    for id_ in (write_off, UUID(int=7)):
        assert (await did(service, f"/write-offs/{id_}/take-back", None, 404))["code"] == "unknown-write-off"


async def test_a_write_off_that_was_recovered_is_not_reversed_beneath_it(service: Service) -> None:
    made, write_off = await given_up(service)
    recovery = await did(service, f"/invoices/{made['id']}/recoveries", {"amount": "100.00"})
    refused = await did(service, f"/write-offs/{write_off}/reverse", None, 422)
    assert (refused["code"], refused["facts"]) == (
        "recovery-exceeds-write-off", {"amount": "100.00", "left": "0.00"},
    )  # fmt: skip
    await did(service, f"/write-offs/{recovery['id']}/take-back", None, 200)
    await did(service, f"/write-offs/{write_off}/reverse")
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    await tied(service)


# --- payouts and kept credit ------------------------------------------------------------------------------------------


async def test_a_payout_is_taken_back(service: Service) -> None:
    await tell(service.acme.pool, told("received", "120.00", fee="3.00"))
    before = await sums(service)
    items = [{"amount": "102.00", "payment_id": "p-1"}, {"amount": "2.00", "fee": "monthly"}]
    made = await did(service, "/payouts", {"currency": "USD", "amount": "100.00", "items": items})
    back = await did(service, f"/payouts/{made['id']}/take-back", {**ON, "reason": "Entered twice"}, 200)
    assert (back["taken_back_on"], back["posting"]) == ("2026-04-02", "requested")
    assert (await did(service, f"/payouts/{made['id']}/take-back", None, 409))["code"] == "already-undone"
    assert (await did(service, f"/payouts/{UUID(int=7)}/take-back", None, 404))["code"] == "unknown-payout"
    assert await sums(service) == before
    await tied(service)
    alone = await read(service, f"/payouts/{made['id']}")
    assert (alone["posting"], alone["taken_back_on"], len(alone["items"])) == ("posted", "2026-04-02", 2)
    for taken_back, count in (("true", 1), ("false", 0)):
        assert len((await read(service, f"/payouts?taken_back={taken_back}"))["items"]) == count
    posted = await service.acme.one("select value from postings where purpose = 'payout_reversed'")
    assert b'"effective_on":"2026-04-02"' in posted["value"]


async def test_a_reversal_that_is_tried_again_keeps_its_day(service: Service) -> None:
    made = await did(service, "/payouts", {"currency": "USD", "amount": "100.00", "paid_on": "2026-03-02"})
    await service.acme.post_all()
    await did(service, f"/payouts/{made['id']}/take-back", ON, 200)
    (asked,) = await service.acme.requested()
    await service.acme.answer([refusal(asked["id"])])
    status, tried, _ = await service.send("POST", f"/postings/{asked['id']}/retry")
    assert (status, tried["state"]) == (200, "requested")
    again = await service.acme.one("select value from postings where id = $1", asked["id"])
    told_again = body_of(again["value"])
    assert (told_again["effective_on"], told_again["idempotency_key"][-2:]) == ("2026-04-02", "/2")


async def test_a_payout_that_waits_for_an_account_is_not_taken_back_yet(service: Service) -> None:
    made = await did(service, "/payouts", {"currency": "USD", "amount": "100.00", "ledger": "second"})
    refused = await did(service, f"/payouts/{made['id']}/take-back", None, 422)
    assert (refused["code"], refused["facts"]["state"]) == ("entry-not-decided", "needs-attention")
    await service.send("PUT", "/ledgers/second/account-mapping", {"standard": True, "functional_currency": "USD"})
    assert (await read(service, f"/payouts/{made['id']}"))["taken_back_on"] is None


async def unplaced(service: Service) -> str:
    """50.00 of Acme Corp that are on no invoice."""
    loose = await did(service, "/payments", {"amount": "50.00", "currency": "USD"})
    await did(service, f"/payments/{loose['id']}/customer", {"customer": "Acme Corp"}, 200)
    return f"/payments/{loose['id']}"


async def test_kept_credit_is_unapplied_again_unless_it_was_used(service: Service) -> None:
    loose = await did(service, "/payments", {"amount": "50.00", "currency": "USD"})
    path = f"/payments/{loose['id']}"
    acme = (await did(service, f"{path}/customer", {"customer": "Acme Corp"}, 200))["customer"]
    await did(service, f"{path}/keep-as-credit", {"amount": "30.00"}, 200)
    (kept,) = (await read(service, path))["kept_as_credit"]
    assert (kept["kind"], kept["amount"]) == ("kept", "30.00")
    made = await invoice(service)
    used = await did(service, f"/customers/{acme}/credit/apply", {"currency": "USD", "amount": "10.00"})
    refused = await did(service, f"/kept-credits/{kept['id']}/take-back", None, 422)
    assert (refused["code"], refused["facts"]) == (
        "kept-credit-used", {"amount": "30.00", "left": "20.00", "balance": "20.00"},
    )  # fmt: skip
    await did(service, f"/credit-applications/{used['id']}/take-back", None, 200)
    back = await did(service, f"/kept-credits/{kept['id']}/take-back", ON, 200)
    assert (back["unapplied"], back["to_credit"]) == ("50.00", "0.00")
    assert (await did(service, f"/kept-credits/{kept['id']}/take-back", None, 409))["code"] == "already-undone"
    unknown = await did(service, f"/kept-credits/{UUID(int=7)}/take-back", None, 404)
    assert unknown["code"] == "unknown-kept-credit"
    found = await sums(service)
    assert (found["unapplied-receipts"], "customer-credit" in found) == (-5000, False)
    rows = (await read(service, path))["kept_as_credit"]
    assert [(row["kind"], row["undoes"]) for row in rows] == [("kept", None), ("taken-back", kept["id"])]
    await did(service, f"{path}/allocations", {"invoice_id": made["id"]})
    await tied(service)


async def test_kept_credit_that_went_back_is_not_unapplied_again(service: Service) -> None:
    loose = await did(service, "/payments", {"amount": "50.00", "currency": "USD"})
    path = f"/payments/{loose['id']}"
    await did(service, f"{path}/customer", {"customer": "Acme Corp"}, 200)
    await did(service, f"{path}/keep-as-credit", None, 200)
    other = await did(service, "/payments", {"amount": "40.00", "currency": "USD"})
    await did(service, f"/payments/{other['id']}/customer", {"customer": "Acme Corp"}, 200)
    await did(service, f"/payments/{other['id']}/keep-as-credit", None, 200)
    await did(service, f"{path}/refunds", {"amount": "20.00"})
    (kept,) = (await read(service, path))["kept_as_credit"]
    refused = await did(service, f"/kept-credits/{kept['id']}/take-back", None, 422)
    assert refused["facts"] == {"amount": "50.00", "left": "30.00", "balance": "70.00"}
    await tied(service)


async def test_what_was_kept_before_is_known_by_its_entries(service: Service, receivables: InvoicingDatabase) -> None:
    """The migration that brought the table fills it from the postings of before."""
    path = await unplaced(service)
    for amount in ("20.00", "10.00"):
        await did(service, f"{path}/keep-as-credit", {"amount": amount, **ON}, 200)
    kept = "select * from kept_credits order by id"
    before = await service.acme.all(kept)
    migration = (MIGRATIONS / "0010_reaching.sql").read_text(encoding="utf-8")
    filling = migration[migration.index("insert into kept_credits") :].partition(";")[0]
    admin = await asyncpg.connect(receivables.admin)
    try:
        await admin.execute("set session_replication_role = replica; delete from kept_credits; " + filling)
    finally:
        await admin.close()
    assert await service.acme.all(kept) == before
    assert [int(row["amount"]) for row in before] == [2000, 1000]


# --- refunds that come back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_a_refund_that_bounced_is_where_it_was(service: Service, basis: str) -> None:
    await service.send("PUT", "/ledgers/main/account-mapping", {"standard": True, "tax_basis": basis})
    made = await invoice(service)
    paid = await did(service, "/payments", {"amount": "150.00", "invoice_id": made["id"]})
    before = await sums(service)
    refund = await did(service, f"/payments/{paid['id']}/refunds", {"amount": "70.00", **ON})
    assert await amounts(service, made["id"]) == ("part-paid", "80.00", "0.00", "40.00")
    back = await did(service, f"/refunds/{refund['id']}/bounced", {"on": "2026-04-09"})
    assert [back[name] for name in ("kind", "amount", "from_credit", "from_allocated", "undoes", "on")] == [
        "bounced", "70.00", "30.00", "40.00", refund["id"], "2026-04-09",
    ]  # fmt: skip
    assert await amounts(service, made["id"]) == ("paid", "120.00", "0.00", "0.00")
    assert [row[1:] for row in await payments(service.acme.pool)] == [(12000, 0, 3000, 0)]
    assert await sums(service) == before
    assert (await did(service, f"/refunds/{refund['id']}/bounced", None, 409))["code"] == "already-undone"
    for id_ in (back["id"], UUID(int=7)):
        assert (await did(service, f"/refunds/{id_}/bounced", None, 404))["code"] == "unknown-refund"
    await tied(service)
    listed = (await read(service, f"/refunds?payment={paid['id']}"))["items"]
    assert [(each["kind"], each["posting"]) for each in listed] == [("refund", "posted"), ("bounced", "posted")]
    backs = (await read(service, f"/payments/{paid['id']}"))["money_back"]
    assert [each["kind"] for each in backs] == ["refund", "bounced"]


async def test_what_finds_its_place_taken_is_unapplied(service: Service) -> None:
    made = await invoice(service)
    await tell(service.acme.pool, told("received", "120.00", reference=made["number"]), told("returned", "120.00"))
    await did(service, "/payments", {"amount": "100.00", "invoice_id": made["id"]})
    (returned,) = (await read(service, "/refunds?kind=return"))["items"]
    back = await did(service, f"/refunds/{returned['id']}/bounced")
    assert (back["from_unapplied"], back["from_allocated"]) == ("100.00", "20.00")
    (row,) = await service.acme.all("select reason from payments where payment_id = 'p-1'")
    assert row["reason"] == "100.00 of a refund that came back found its invoices settled"
    await tied(service)


async def test_a_promised_refund_that_bounced_is_left_again(service: Service) -> None:
    path = await unplaced(service)
    acme = (await did(service, f"{path}/keep-as-credit", None, 200))["customer"]
    promised = await did(service, f"/customers/{acme}/refunds-payable", {"currency": "USD"})
    at, before = f"/refunds-payable/{promised['id']}", await sums(service)
    await did(service, f"{at}/pay", {"amount": "40.00"}, 200)
    over = await did(service, f"{at}/bounced", {"amount": "40.01"}, 422)
    assert (over["code"], over["facts"]) == ("bounce-exceeds-paid", {"amount": "40.01", "paid": "40.00"})
    back = await did(service, f"{at}/bounced", {"amount": "15.00", **ON}, 200)
    assert (back["paid"], back["left"]) == ("25.00", "25.00")
    back = await did(service, f"{at}/bounced", None, 200)
    assert (back["paid"], back["left"]) == ("0.00", "50.00")
    assert (await did(service, f"{at}/bounced", None, 422))["code"] == "bounce-exceeds-paid"
    assert (await did(service, f"/refunds-payable/{UUID(int=7)}/bounced", None, 404))[
        "code"
    ] == "unknown-refund-payable"
    assert await sums(service) == before
    await did(service, f"{at}/pay", {"amount": "20.00"}, 200)
    await did(service, f"{at}/cancel", None, 200)
    await tied(service)
    assert [(await read(service, at))[name] for name in ("paid", "cancelled", "left", "posting")] == [
        "20.00", "30.00", "0.00", "posted",
    ]  # fmt: skip


# --- the database -----------------------------------------------------------------------------------------------------

_GIVEN_UP = (
    "insert into write_offs select organization, gen_random_uuid(), ledger, invoice, {}, {}, 0, on_date, {}, 'none', "
    "now() from write_offs where kind = {}"
)
_KEPT = (
    "insert into kept_credits select organization, gen_random_uuid(), payment, 'taken-back', {}, on_date, {}, now() "
    "from kept_credits where kind = 'kept'"
)
_BOUNCED = (
    "insert into refunds select organization, gen_random_uuid(), ledger, {}, 'x', 'x', payment, customer, currency, "
    "{}, 0, 0, 0, {}, refunded_on, null, 'none', now(), {} from refunds where kind = 'refund'"
)
GUARDED = [
    ("relief twice", _GIVEN_UP.format("'relief'", "20", "undoes", "'relief'"), "already_undone"),
    ("a reversal of what has relief", _GIVEN_UP.format("'reversal'", "amount", "id", "'write-off'"), "already_undone"),
    ("relief taken back in part", _GIVEN_UP.format("'relief-taken-back'", "1", "id", "'relief'"), "undoing_differs"),
    ("a recovery taken back as relief",
     _GIVEN_UP.format("'relief-taken-back'", "amount", "id", "'recovery' and amount = 100"), "undoing_differs"),
    ("a recovery taken back twice",
     _GIVEN_UP.format("'recovery-taken-back'", "amount", "undoes", "'recovery-taken-back'"), "write_off_undone"),
    ("more recovered than given up", _GIVEN_UP.format("'recovery'", "11901", "null", "'write-off'"),
     "recovery_exceeds_write_off"),
    ("a payout taken back twice",
     "insert into payout_reversals select organization, gen_random_uuid(), payout, on_date, null, now() "
     "from payout_reversals", "payout_taken_back"),
    ("kept credit taken back in part", _KEPT.format("1", "id"), "undoing_differs"),
    ("kept credit taken back as nothing", _KEPT.format("amount", "null"), "taken_back_names_what_was_kept"),
    ("a promise that came back by nothing", "update refunds_payable set paid = 500, version = 9",
     "refund_payable_adds_up"),
    ("a bounce that the promise does not know",
     "insert into refund_payable_moves select organization, gen_random_uuid(), id, 'bounced', 1, null, on_date, now() "
     "from refunds_payable", "refund_payable_adds_up"),
    ("a reversal changed", "update payout_reversals set on_date = '2027-01-01'", None),
    ("a refund bounced in part", _BOUNCED.format("'bounced'", "1", "1", "id"), "undoing_differs"),
    ("a refund bounced without a name", _BOUNCED.format("'bounced'", "amount", "amount", "null"),
     "bounced_names_its_refund"),
    ("a refund bounced twice", _BOUNCED.format("'bounced'", "amount", "amount", "id") + "; "
     + _BOUNCED.format("'bounced'", "amount", "amount", "id").replace("'x', 'x'", "'x', 'y'"), "refund_bounced"),
]  # fmt: skip
"""What is tried with the service's own role, and which constraint refuses it (None: the role has no such right)."""


@pytest.fixture
async def taken(service: Service) -> Service:
    """A write-off with relief and two recoveries, one taken back; a payout taken back; kept credit; a refund."""
    made, write_off = await given_up(service)
    first = await did(service, f"/invoices/{made['id']}/recoveries", {"amount": "1.00"})
    second = await did(service, f"/invoices/{made['id']}/recoveries", {"amount": "2.00"})
    assert first["id"] < second["id"]
    await did(service, f"/write-offs/{second['id']}/take-back", None, 200)
    await did(service, f"/write-offs/{write_off}/relief")
    payout = await did(service, "/payouts", {"currency": "USD", "amount": "1.00"})
    await did(service, f"/payouts/{payout['id']}/take-back", None, 200)
    loose = await did(service, "/payments", {"amount": "50.00", "currency": "USD"})
    await did(service, f"/payments/{loose['id']}/customer", {"customer": "Acme Corp"}, 200)
    await did(service, f"/payments/{loose['id']}/keep-as-credit", {"amount": "30.00"}, 200)
    await did(service, f"/payments/{loose['id']}/refunds", {"amount": "20.00"})
    promised = await did(
        service, f"/customers/{made['customer']}/refunds-payable", {"currency": "USD", "amount": "10.00"}
    )
    await did(service, f"/refunds-payable/{promised['id']}/pay", None, 200)
    return service


@pytest.mark.parametrize(("statement", "constraint"), [row[1:] for row in GUARDED], ids=[row[0] for row in GUARDED])
async def test_the_database_refuses(taken: Service, statement: str, constraint: str | None) -> None:
    kinds = (asyncpg.CheckViolationError, asyncpg.UniqueViolationError, asyncpg.InsufficientPrivilegeError)
    with pytest.raises(kinds) as refused:
        await taken.acme.pool.execute(statement)
    assert getattr(refused.value, "constraint_name", None) == constraint
