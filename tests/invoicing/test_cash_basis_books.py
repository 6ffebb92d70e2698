"""On cash basis: tax is due as far as an invoice is paid, whatever happens to it, and nothing is left over."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing.allocations import AllocationWish, allocate, apply_credit, unallocate
from services.invoicing.asking import Done
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.credit_notes import NoteWish, issue_credit_note
from services.invoicing.payments import Recorded
from services.invoicing.posting_requests import retry
from services.invoicing.recoveries import claim_relief, record_recovery
from services.invoicing.redrafting import redraft
from services.invoicing.refunds import BackWish, take_back
from services.invoicing.withholding import withhold
from services.invoicing.write_offs import reverse_write_off, write_off
from tests.invoicing.trading import DAY, LEDGER, ORGANIZATION, Company, body_of, company, payment


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


async def test_a_discount_takes_tax_that_was_not_due_and_leaves_none_behind(writer: Pool) -> None:
    acme = await company(writer, "cash")
    terms = (Decimal(2), 10)
    made = await acme.issued("120.00", early_payment=terms)
    await acme.record(payment("60.00", "p-0", reference="2026-000001"))
    (recorded,) = await acme.record(payment("57.60", reference="2026-000001"))
    assert isinstance(recorded, Recorded)
    assert await _tax(acme) == (1960, 0)
    async with transaction(writer) as connection:
        allocation = recorded.allocations[0]["id"]
        await _did(await unallocate(connection, ORGANIZATION, recorded.row["id"], allocation, DAY, now()))
    assert await _tax(acme) == (1000, 1000)
    async with transaction(writer) as connection:
        await _did(await withhold(connection, ORGANIZATION, made["id"], 1200, None, DAY, now()))
    assert await _tax(acme) == (1200, 800)
    await acme.post_all()


@pytest.mark.parametrize("paid", ["0.00", "30.00"])
async def test_no_more_is_credited_than_a_write_off_left(writer: Pool, paid: str) -> None:
    acme = await company(writer, "cash")
    made = await acme.issued("120.00")
    if paid != "0.00":
        await acme.record(payment(paid, reference="2026-000001"))
    async with transaction(writer) as connection:
        given_up = await _did(await write_off(connection, ORGANIZATION, made["id"], "80.00", DAY, now()))
    for amount, code in (("40.01", "credit-exceeds-invoice"), ("40.00", None)):
        wish = NoteWish(
            organization=ORGANIZATION, invoice=made["id"], lines=None, amount=amount, reason="?", issued_on=DAY
        )  # fmt: skip
        async with transaction(writer) as connection:
            done = await issue_credit_note(connection, wish, now())
        assert getattr(done, "code", None) == code
    assert await _tax(acme) == (0, 0)
    async with transaction(writer) as connection:
        await _did(await reverse_write_off(connection, ORGANIZATION, given_up["write_off"]["id"], DAY, now()))
    assert await _tax(acme) == (0, 1333)
    await acme.post_all()


RATE = """
    insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,
        event_id)
    values (null, 'ecb', 'EUR', 'USD', 1.25, $1, now(), clock_timestamp(), 'fx', $1::date::text)
"""


async def _booked(acme: Company, names: str) -> list[list[tuple[str, str, str]]]:
    """The lines that were asked for the payments whose names begin so, payment by payment."""
    rows = await acme.all(
        "select p.value from postings p join payments d on p.document = 'payment/' || d.id "
        "where d.payment_id like $1 || '%' order by d.payment_id",
        names,
    )
    entries = [body_of(row["value"])["lines"] for row in rows]
    return [sorted((line["account"], line["side"], line["amount"]) for line in lines) for lines in entries]


@pytest.mark.parametrize("known", ["nothing", "the invoice's rate"])
async def test_a_payment_that_waited_for_a_rate_moves_the_tax_it_would_have_moved_in_time(
    writer: Pool, known: str
) -> None:
    acme = await company(writer, "cash")
    async with transaction(writer) as connection:
        await put_mapping(connection, ORGANIZATION, LEDGER, MappingWish(standard=True, currencies=["EUR"]), now())
    early, later = date(2026, 2, 20), date(2026, 3, 1)
    if known != "nothing":
        await writer.execute(RATE, later)
    late = await acme.issued("100.02", currency="EUR")

    async def pay(names: str, number: str) -> None:
        wanted = [
            payment(each, names + each, currency="EUR", reference=number, received_on=early)
            for each in ("33.33", "33.34")
        ]
        await acme.record(*wanted)

    await pay("p-", late["number"])
    async with transaction(writer) as connection:
        given_up = await write_off(connection, ORGANIZATION, late["id"], "1.00", DAY, now())
    if known == "nothing":
        assert isinstance(given_up, Rejection)
        assert given_up.code == "rate-missing"
    await writer.execute(RATE, date(2026, 2, 1))
    for _ in range(2):
        for row in await acme.all("select id from postings where state = 'waiting' and value is null order by id desc"):
            async with transaction(writer) as connection:
                await retry(connection, ORGANIZATION, row["id"], now(), redraft)
    in_time = await acme.issued("100.02", currency="EUR")
    await pay("q-", in_time["number"])
    late_lines, lines = await _booked(acme, "p-"), await _booked(acme, "q-")
    assert (late_lines, [len(each) for each in lines]) == (lines, [4, 4])
    assert await _tax(acme) == (2778, 1390 - (21 if known != "nothing" else 0))
    await acme.post_all()
