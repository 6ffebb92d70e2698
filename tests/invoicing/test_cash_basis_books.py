"""On cash basis: tax is due as far as an invoice is paid, whatever happens to it, and nothing is left over."""

from typing import Any

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing.allocations import AllocationWish, allocate, apply_credit, unallocate
from services.invoicing.asking import Done
from services.invoicing.credit_notes import NoteWish, issue_credit_note
from services.invoicing.payments import Recorded
from services.invoicing.recoveries import claim_relief, record_recovery
from services.invoicing.refunds import BackWish, take_back
from services.invoicing.write_offs import reverse_write_off, write_off
from tests.invoicing.trading import DAY, ORGANIZATION, Company, company, payment


async def _tax(acme: Company) -> tuple[int, int]:
    """Tax due and tax not yet due, as owed to the tax office."""
    rows = await acme.all("select role, -sum(amount) as amount from movements where role like 'tax%' group by role")
    sums = {row["role"]: int(row["amount"]) for row in rows}
    return sums.get("tax-due", 0), sums.get("tax-not-yet-due", 0)


async def _did(done: Any) -> dict[str, Any]:
    assert isinstance(done, Done), done
    return dict(done.body)


async def test_tax_follows_the_money(writer: Pool) -> None:
    acme = await company(writer, "cash")
    made = await acme.issued("120.00")
    assert await _tax(acme) == (0, 2000)
    (recorded,) = await acme.record(payment("60.00", reference="2026-000001"))
    assert isinstance(recorded, Recorded)
    assert await _tax(acme) == (1000, 1000)
    async with transaction(writer) as connection:
        allocation = recorded.allocations[0]["id"]
        await _did(await unallocate(connection, ORGANIZATION, recorded.row["id"], allocation, DAY, now()))
    assert await _tax(acme) == (0, 2000)
    async with transaction(writer) as connection:
        wishes = [AllocationWish(made["id"], 1000), AllocationWish(made["id"], None)]
        await _did(await allocate(connection, ORGANIZATION, recorded.row["id"], wishes, DAY, now()))
    assert await _tax(acme) == (1000, 1000)
    back = BackWish(
        organization=ORGANIZATION, payment=recorded.row["id"], event="refund", provider="stripe", name="r", amount=3000,
        currency="USD", on=DAY, created_at=now(),
    )  # fmt: skip
    async with transaction(writer) as connection:
        await _did(await take_back(connection, back, now()))
    assert await _tax(acme) == (500, 1500)
    async with transaction(writer) as connection:
        part = await _did(await write_off(connection, ORGANIZATION, made["id"], "30.00", DAY, now()))
    assert await _tax(acme) == (500, 1000)
    async with transaction(writer) as connection:
        await _did(await reverse_write_off(connection, ORGANIZATION, part["write_off"]["id"], DAY, now()))
    assert await _tax(acme) == (500, 1500)
    await acme.record(payment("120.00", "p-2", reference="2026-000001"))
    assert await _tax(acme) == (2000, 0)
    await acme.post_all()


async def test_a_credit_note_takes_tax_from_where_it_is_and_credit_pays_the_next(writer: Pool) -> None:
    acme = await company(writer, "cash")
    made = await acme.issued("120.00")
    await acme.record(payment("120.00", reference="2026-000001"))
    wish = NoteWish(
        organization=ORGANIZATION, invoice=made["id"], lines=None, amount="60.00", reason="half", issued_on=DAY
    )  # fmt: skip
    async with transaction(writer) as connection:
        note = await _did(await issue_credit_note(connection, wish, now()))
    assert note["to_credit"] == "60.00"
    assert await _tax(acme) == (1000, 0)
    await acme.issued("120.00")
    assert await _tax(acme) == (1000, 2000)
    async with transaction(writer) as connection:
        usd = ISO_4217["USD"]
        await _did(await apply_credit(connection, ORGANIZATION, "main", acme.customer, usd, [], None, DAY, now()))
    assert await _tax(acme) == (2000, 1000)
    await acme.post_all()


async def test_relief_is_for_tax_that_was_due(writer: Pool) -> None:
    acme = await company(writer, "cash")
    made = await acme.issued("120.00")
    async with transaction(writer) as connection:
        given_up = await _did(await write_off(connection, ORGANIZATION, made["id"], None, DAY, now()))
        refused = await claim_relief(connection, ORGANIZATION, given_up["write_off"]["id"], DAY, now())
    assert isinstance(refused, Rejection)
    assert refused.code == "relief-on-cash-basis"


async def test_on_accrual_basis_relief_is_claimed_once_and_repaid_with_what_comes_in(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    async with transaction(writer) as connection:
        given_up = await _did(await write_off(connection, ORGANIZATION, made["id"], None, DAY, now()))
    async with transaction(writer) as connection:
        relief = await _did(await claim_relief(connection, ORGANIZATION, given_up["write_off"]["id"], DAY, now()))
        again = await claim_relief(connection, ORGANIZATION, given_up["write_off"]["id"], DAY, now())
    assert isinstance(again, Rejection)
    assert (relief["amount"], again.code) == ("20.00", "already-undone")
    assert await _tax(acme) == (0, 0)
    async with transaction(writer) as connection:
        over = await record_recovery(connection, ORGANIZATION, made["id"], "120.01", None, DAY, now())
        assert isinstance(over, Rejection)
        assert over.code == "recovery-exceeds-write-off"
        await _did(await record_recovery(connection, ORGANIZATION, made["id"], "60.00", None, DAY, now()))
    assert await _tax(acme) == (1000, 0)
    await acme.post_all()
