"""Payments placed: by reference, by payer, by hand; doubled, too much, for nobody; every cent is somewhere."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id, now
from libs.common.db import Pool, transaction
from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing.allocations import AllocationWish, allocate, apply_credit, unallocate
from services.invoicing.asking import Done
from services.invoicing.disputes import DisputeEnd, end_dispute
from services.invoicing.payments import Recorded
from services.invoicing.refunds import BackWish, take_back
from services.invoicing.voiding import void_invoice
from tests.invoicing.trading import DAY, ORGANIZATION, Company, company, payment


async def _placed(acme: Company) -> list[tuple[str, ...]]:
    rows = await acme.all(
        "select payment_id, allocated, unapplied, to_credit, refunded from payments order by payment_id"
    )
    return [tuple(str(value) for value in row) for row in rows]


async def _invoice(acme: Company) -> tuple[str, int]:
    row = await acme.one("select status, open from invoices order by serial limit 1")
    return row["status"], int(row["open"])


PLACED = [
    ("its number", "120.00", "RE 2026-000001 thanks", None, ("paid", 0), (12000, 0, 0)),
    ("half of it", "60.00", "2026-000001", None, ("part-paid", 6000), (6000, 0, 0)),
    ("the payer alone", "20.00", "", "acme", ("part-paid", 10000), (2000, 0, 0)),
    ("more than open", "150.00", "2026-000001", None, ("paid", 0), (12000, 0, 3000)),
    ("the payer, too much", "150.00", "", "acme", ("paid", 0), (12000, 3000, 0)),
    ("nothing known", "10.00", "hello", None, ("issued", 12000), (0, 1000, 0)),
    ("a payer nobody knows", "10.00", "", "stranger", ("issued", 12000), (0, 1000, 0)),
]


@pytest.mark.parametrize(
    ("amount", "reference", "customer", "invoice", "placed"),
    [row[1:] for row in PLACED],
    ids=[row[0] for row in PLACED],
)
async def test_a_payment_goes_where_it_belongs(
    writer: Pool, amount: str, reference: str, customer: str | None, invoice: tuple[str, int], placed: tuple[int, ...]
) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    payer = str(acme.customer) if customer == "acme" else customer
    (done,) = await acme.record(payment(amount, reference=reference, customer=payer))
    assert isinstance(done, Recorded)
    assert await _invoice(acme) == invoice
    row = await acme.one("select allocated, unapplied, to_credit, reason from payments")
    assert (int(row["allocated"]), int(row["unapplied"]), int(row["to_credit"])) == placed
    assert (row["reason"] is not None) == (placed[1] > 0)
    await acme.post_all()


async def test_a_creditor_reference_finds_its_invoice(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    printed = " ".join(made["creditor_reference"][place : place + 4] for place in range(0, 20, 4))
    await acme.record(payment("120.00", reference=f"Ref {printed}"))
    assert await _invoice(acme) == ("paid", 0)


async def test_payments_of_one_batch_see_what_those_before_left(writer: Pool) -> None:
    acme = await company(writer)
    first = await acme.issued("120.00")
    await acme.issued("60.00", due_on=DAY.replace(year=2027))
    payer = {"customer": str(acme.customer)}
    await acme.record(*(payment("50.00", f"p-{place}", **payer) for place in range(4)))
    assert await _invoice(acme) == ("paid", 0)
    rows = await acme.all("select invoice, amount from allocations order by invoice, amount")
    assert sum(int(row["amount"]) for row in rows if row["invoice"] == first["id"]) == 12000
    assert await _placed(acme) == [
        ("p-0", "5000", "0", "0", "0"),
        ("p-1", "5000", "0", "0", "0"),
        ("p-2", "5000", "0", "0", "0"),
        ("p-3", "3000", "2000", "0", "0"),
    ]


async def test_a_payment_told_twice_is_one(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    same = payment("50.00", reference="2026-000001")
    first, second = await acme.record(same, same)
    (third,) = await acme.record(same)
    assert [isinstance(each, Recorded) and each.is_new for each in (first, second, third)] == [True, False, False]
    (other,) = await acme.record(payment("51.00"))
    assert isinstance(other, Rejection)
    assert other.code == "duplicate-payment"
    assert await _invoice(acme) == ("part-paid", 7000)
    assert len(await acme.all("select * from postings where purpose = 'payment'")) == 1


@pytest.mark.parametrize(
    ("received", "code"),
    [
        (payment("0.00"), "amount-not-positive"),
        (payment("-5.00"), "amount-not-positive"),
        (payment("5.00", fee=501), "fee-exceeds-amount"),
        (payment("5.00", on_invoices=((new_id(), None),)), "unknown-invoice"),
    ],
)
async def test_what_cannot_be_a_payment_leaves_nothing(writer: Pool, received: Any, code: str) -> None:
    acme = await company(writer)
    (refused,) = await acme.record(received)
    assert isinstance(refused, Rejection)
    assert refused.code == code
    assert await _placed(acme) == []


async def test_a_payment_on_a_void_invoice_is_unapplied(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    async with transaction(writer) as connection:
        await void_invoice(connection, ORGANIZATION, made["id"], None, now())
    await acme.record(payment("120.00", reference="2026-000001"))
    assert await _placed(acme) == [("p-1", "0", "12000", "0", "0")]
    (refused,) = await acme.record(payment("120.00", "p-2", on_invoices=((made["id"], None),)))
    assert isinstance(refused, Rejection)
    assert refused.code == "invoice-void"


async def test_unapplied_money_is_placed_by_hand_and_taken_off_again(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    (recorded,) = await acme.record(payment("50.00"))
    assert isinstance(recorded, Recorded)
    paid: UUID = recorded.row["id"]
    await acme.post_all()
    async with transaction(writer) as connection:
        too_much = await allocate(connection, ORGANIZATION, paid, [AllocationWish(made["id"], 5001)], DAY, now())
        assert isinstance(too_much, Rejection)
        assert too_much.code == "allocation-exceeds-payment"
        done = await allocate(connection, ORGANIZATION, paid, [AllocationWish(made["id"], None)], DAY, now())
    assert isinstance(done, Done), done
    assert await _invoice(acme) == ("part-paid", 7000)
    allocation = done.body["allocations"][0]["id"]
    await acme.post_all()
    async with transaction(writer) as connection:
        undone = await unallocate(connection, ORGANIZATION, paid, allocation, DAY, now())
        assert isinstance(undone, Done), undone
    async with transaction(writer) as connection:
        again = await unallocate(connection, ORGANIZATION, paid, allocation, DAY, now())
        assert isinstance(again, Rejection)
        assert again.code == "already-undone"
    assert await _invoice(acme) == ("issued", 12000)
    assert await _placed(acme) == [("p-1", "0", "5000", "0", "0")]
    await acme.post_all()
    assert (await acme.one("select posting from payments"))["posting"] == "posted"


async def test_an_overpayment_is_credit_that_pays_the_next_invoice(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    await acme.record(payment("150.00", reference="2026-000001"))
    await acme.issued("60.00")
    async with transaction(writer) as connection:
        over = await apply_credit(
            connection, ORGANIZATION, "main", acme.customer, ISO_4217["USD"], [], 3001, DAY, now()
        )  # fmt: skip
        assert isinstance(over, Rejection)
        assert over.code == "customer-credit-exceeded"
        used = await apply_credit(
            connection, ORGANIZATION, "main", acme.customer, ISO_4217["USD"], [], None, DAY, now()
        )
    assert isinstance(used, Done), used
    assert (used.body["amount"], used.body["credit_left"]) == ("30.00", "0.00")
    rows = await acme.all("select status, open from invoices order by serial")
    assert [(row["status"], int(row["open"])) for row in rows] == [("paid", 0), ("part-paid", 3000)]
    await acme.post_all()
    sums = await acme.all("select role, sum(amount) as amount from movements group by role")
    assert {row["role"]: int(row["amount"]) for row in sums} == {
        "receivable": 3000, "tax-due": -3000, "processor-clearing": 15000, "customer-credit": 0,
    }  # fmt: skip


def _back(payment_id: UUID, event: Any, name: str, amount: int | None) -> BackWish:
    return BackWish(
        organization=ORGANIZATION, payment=payment_id, event=event, provider="stripe", name=name, amount=amount,
        currency="USD", on=DAY, created_at=now(),
    )  # fmt: skip


async def test_money_that_goes_back_comes_from_unapplied_then_credit_then_the_newest_allocation(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    (recorded,) = await acme.record(payment("150.00", reference="2026-000001"))
    assert isinstance(recorded, Recorded)
    async with transaction(writer) as connection:
        done = await take_back(connection, _back(recorded.row["id"], "refund", "r-1", 4000), now())
        assert isinstance(done, Done), done
        assert (done.body["from_credit"], done.body["from_allocated"]) == ("30.00", "10.00")
    assert await _invoice(acme) == ("part-paid", 1000)
    assert await _placed(acme) == [("p-1", "11000", "0", "0", "4000")]
    async with transaction(writer) as connection:
        too_much = await take_back(connection, _back(recorded.row["id"], "refund", "r-2", 11001), now())
        assert isinstance(too_much, Rejection)
        assert too_much.code == "refund-exceeds-payment"
        again = await take_back(connection, _back(recorded.row["id"], "refund", "r-1", 4000), now())
        assert isinstance(again, Done)
        assert again.body["id"] == done.body["id"]
    assert await _placed(acme) == [("p-1", "11000", "0", "0", "4000")]
    await acme.post_all()


async def test_a_won_dispute_comes_back_where_it_was_and_what_is_settled_meanwhile_is_unapplied(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    (recorded,) = await acme.record(payment("150.00", reference="2026-000001"))
    assert isinstance(recorded, Recorded)
    async with transaction(writer) as connection:
        await take_back(connection, _back(recorded.row["id"], "dispute_opened", "d-1", None), now())
    assert (await _invoice(acme), await _placed(acme)) == (("issued", 12000), [("p-1", "0", "0", "0", "15000")])
    await acme.record(payment("50.00", "p-2", reference="2026-000001"))
    end = DisputeEnd(
        organization=ORGANIZATION, provider="stripe", dispute_id="d-1", status="won", on=DAY, created_at=now()
    )
    for _ in range(2):
        async with transaction(writer) as connection:
            done = await end_dispute(connection, end, now())
            assert isinstance(done, Done), done
    assert await _invoice(acme) == ("paid", 0)
    assert await _placed(acme) == [("p-1", "7000", "5000", "3000", "0"), ("p-2", "5000", "0", "0", "0")]
    row = await acme.one("select reason from payments where payment_id = 'p-1'")
    assert row["reason"] == "50.00 of a won dispute found its invoices settled"
    await acme.post_all()
    sums = await acme.all("select role, sum(amount) as amount from movements group by role")
    assert {row["role"]: int(row["amount"]) for row in sums} == {
        "receivable": 0, "tax-due": -2000, "processor-clearing": 20000, "unapplied-receipts": -5000,
        "customer-credit": -3000,
    }  # fmt: skip


async def test_a_lost_dispute_stays_open(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    (recorded,) = await acme.record(payment("120.00", reference="2026-000001"))
    assert isinstance(recorded, Recorded)
    end = DisputeEnd(
        organization=ORGANIZATION, provider="stripe", dispute_id="d-1", status="lost", on=DAY, created_at=now()
    )
    async with transaction(writer) as connection:
        await take_back(connection, _back(recorded.row["id"], "dispute_opened", "d-1", None), now())
        await end_dispute(connection, end, now())
    assert (await _invoice(acme), await _placed(acme)) == (("issued", 12000), [("p-1", "0", "0", "0", "12000")])


async def test_answers_and_payments_that_meet_do_not_wait_in_a_ring(writer: Pool) -> None:
    acme = await company(writer)
    count = 30
    await acme.make(*(acme.wish("60.00") for _ in range(count)))
    issues = await acme.requested()
    paid = [payment("60.00", f"p-{place}", reference=f"2026-{place:06d}") for place in range(1, count + 1)]
    answers = [
        acme.answer([acme.posted(row["id"]) for row in issues[place : place + 3]]) for place in range(0, count, 3)
    ]
    records = [acme.record(*paid[place : place + 5]) for place in range(0, count, 5)]
    await asyncio.gather(*answers, *records)
    states = await acme.all("select purpose, state, count(*) as n from postings group by purpose, state order by 1")
    assert [tuple(row) for row in states] == [("issue", "posted", count), ("payment", "requested", count)]
