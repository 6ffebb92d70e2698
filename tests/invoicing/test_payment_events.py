"""Payment events of every kind and fault: the right outcome each, and money always accounted for."""

import itertools
from typing import Any

import orjson
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from services.invoicing.payment_messages import ToldPayment
from services.invoicing.voiding import void_invoice
from tests.invoicing.paying import accounted, invoices, parked, payments, tell, told
from tests.invoicing.trading import ORGANIZATION, company

NUMBER = "2026-000001"
FIRST = told("received", reference=NUMBER)

# events -> payments (id, allocated, unapplied, to credit, refunded), parked (document, reason), invoice (status, open)
TABLE: list[tuple[str, list[ToldPayment], list[tuple[Any, ...]], list[tuple[str, str]], tuple[str, int]]] = [
    ("one", [FIRST], [("p-1", 12000, 0, 0, 0)], [], ("paid", 0)),
    ("doubled", [FIRST, FIRST], [("p-1", 12000, 0, 0, 0)], [], ("paid", 0)),
    ("doubled under another event id", [FIRST, told("received", reference=NUMBER, id_="again")],
     [("p-1", 12000, 0, 0, 0)], [], ("paid", 0)),
    ("the same payment with another amount", [FIRST, told("received", "60.00", reference=NUMBER)],
     [("p-1", 12000, 0, 0, 0)], [("stripe/p-1", "duplicate-payment")], ("paid", 0)),
    ("in two parts", [told("received", "50.00", reference=NUMBER),
                      told("received", "70.00", reference=NUMBER, payment_id="p-2")],
     [("p-1", 5000, 0, 0, 0), ("p-2", 7000, 0, 0, 0)], [], ("paid", 0)),
    ("above open", [told("received", "150.00", reference=NUMBER)], [("p-1", 12000, 0, 3000, 0)], [], ("paid", 0)),
    ("unknown reference", [told("received", reference="hello")], [("p-1", 0, 12000, 0, 0)], [], ("issued", 12000)),
    ("wrong currency", [told("received", reference=NUMBER, currency="EUR")], [("p-1", 0, 12000, 0, 0)], [],
     ("issued", 12000)),
    ("no currency", [told("received", currency="XTS")], [], [("stripe/p-1", "unknown-currency")], ("issued", 12000)),
    ("zero", [told("received", "0.00")], [], [("stripe/p-1", "amount-not-positive")], ("issued", 12000)),
    ("negative", [told("received", "-5.00")], [], [("stripe/p-1", "amount-not-positive")], ("issued", 12000)),
    ("too many decimals", [told("received", "1.001")], [], [("stripe/p-1", "too-many-decimals")], ("issued", 12000)),
    ("too large", [told("received", "9" * 40)], [], [("stripe/p-1", "amount-out-of-range")], ("issued", 12000)),
    ("fee above amount", [told("received", fee="120.01")], [], [("stripe/p-1", "fee-exceeds-amount")],
     ("issued", 12000)),
    ("fee of zero", [told("received", reference=NUMBER, fee="0.00")], [("p-1", 12000, 0, 0, 0)], [], ("paid", 0)),
    ("for another organization", [told("received", reference=NUMBER, organization="other")],
     [("p-1", 0, 12000, 0, 0)], [], ("issued", 12000)),
    ("for another ledger", [told("received", reference=NUMBER, ledger="side")], [("p-1", 0, 12000, 0, 0)], [],
     ("issued", 12000)),
    ("refunded in part", [FIRST, told("refunded", "20.00")], [("p-1", 10000, 0, 0, 2000)], [], ("part-paid", 2000)),
    ("refunded whole", [FIRST, told("refunded")], [("p-1", 0, 0, 0, 12000)], [], ("issued", 12000)),
    ("a refund told twice", [FIRST, told("refunded", "20.00"), told("refunded", "20.00", id_="again")],
     [("p-1", 10000, 0, 0, 2000)], [], ("part-paid", 2000)),
    ("over-refunded", [FIRST, told("refunded", "70.00"), told("refunded", "70.00", refund_id="r-2")],
     [("p-1", 5000, 0, 0, 7000)], [("stripe/p-1", "refund-exceeds-payment")], ("part-paid", 7000)),
    ("refund in another currency", [FIRST, told("refunded", currency="EUR")], [("p-1", 12000, 0, 0, 0)],
     [("stripe/p-1", "currency-mismatch")], ("paid", 0)),
    ("refund of another ledger", [FIRST, told("refunded", ledger="side")], [("p-1", 12000, 0, 0, 0)],
     [("stripe/p-1", "ledger-differs")], ("paid", 0)),
    ("refund of nobody's payment", [told("refunded", "20.00")], [], [("stripe/p-1", "unknown-payment")],
     ("issued", 12000)),
    ("returned", [FIRST, told("returned", fee="3.00")], [("p-1", 0, 0, 0, 12000)], [], ("issued", 12000)),
    ("disputed", [FIRST, told("disputed", status="opened", fee="15.00")], [("p-1", 0, 0, 0, 12000)], [],
     ("issued", 12000)),
    ("disputed and lost", [FIRST, told("disputed", status="opened"), told("disputed", status="lost")],
     [("p-1", 0, 0, 0, 12000)], [], ("issued", 12000)),
    ("disputed, won, won again",
     [FIRST, told("disputed", status="opened"), told("disputed", status="won"),
      told("disputed", status="won", id_="again")],
     [("p-1", 12000, 0, 0, 0)], [], ("paid", 0)),
    ("lost, then won", [FIRST, told("disputed", status="opened"), told("disputed", status="lost"),
                        told("disputed", status="won")],
     [("p-1", 0, 0, 0, 12000)], [("stripe/p-1", "dispute-settled")], ("issued", 12000)),
    ("won without having been opened", [FIRST, told("disputed", status="won")], [("p-1", 12000, 0, 0, 0)],
     [("stripe/p-1", "unknown-dispute")], ("paid", 0)),
    ("payouts, one told twice", [told("paid"), told("paid", id_="again"), told("paid", "5.00", payout_id="po-2")],
     [], [], ("issued", 12000)),
    ("a payout with another amount", [told("paid"), told("paid", "5.00")], [],
     [("stripe/payout/po-1", "duplicate-payout")], ("issued", 12000)),
    ("a payout of nothing", [told("paid", "0.00")], [], [("stripe/payout/po-1", "amount-not-positive")],
     ("issued", 12000)),
]  # fmt: skip


CASES = [
    pytest.param(*row[1:], together, id=f"{row[0]}{'' if together else ', one by one'}")
    for row in TABLE
    for together in ((True, False) if len(row[1]) > 1 else (True,))
]


@pytest.mark.parametrize(("events", "placed", "waiting", "invoice", "together"), CASES)
async def test_each_event_has_its_outcome(
    writer: Pool,
    events: list[ToldPayment],
    placed: list[tuple[Any, ...]],
    waiting: list[tuple[str, str]],
    invoice: tuple[str, int],
    together: bool,
) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    for batch in [events] if together else [[each] for each in events]:
        await tell(writer, *batch)
    assert await payments(writer) == placed
    assert await parked(writer) == waiting
    assert await invoices(writer) == [invoice]
    await accounted(writer)


async def test_a_payment_for_a_void_invoice_is_unapplied(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    async with transaction(writer) as connection:
        await void_invoice(connection, ORGANIZATION, made["id"], None, now())
    await tell(writer, FIRST)
    assert await payments(writer) == [("p-1", 0, 12000, 0, 0)]
    assert await invoices(writer) == [("void", 12000)]
    await accounted(writer)


STORY = [
    told("received", "100.00", reference=NUMBER),
    told("refunded", "30.00"),
    told("disputed", "20.00", status="opened"),
    told("disputed", "20.00", status="won"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[1::3], ids=str)
async def test_in_any_order_all_of_it_is_done(writer: Pool, order: tuple[int, ...]) -> None:
    """Refund and disputes wait for their payment, the dispute's end for its opening, and all are released."""
    acme = await company(writer)
    await acme.issued("120.00")
    for place in order:
        await tell(writer, STORY[place], STORY[place])
    ((_, allocated, unapplied, credit, refunded),) = await payments(writer)
    assert (allocated, unapplied, credit, refunded) == (7000, 0, 0, 3000)
    assert await parked(writer) == []
    assert await invoices(writer) == [("part-paid", 12000 - allocated)]
    await accounted(writer)


async def test_a_payouts_fees_are_those_among_its_items(writer: Pool) -> None:
    await company(writer)
    items = [{"payment_id": "p-1", "amount": "10.00"}, {"fee": "monthly", "amount": "1.50"}]
    await tell(writer, told("paid", "8.50", items=items, account="1012-BANK"))
    (row,) = await writer.fetch("select convert_from(value, 'utf8')::jsonb -> 'lines' as lines from postings")
    assert {(line["side"], line["amount"]) for line in orjson.loads(row["lines"])} == {
        ("debit", "8.50"),
        ("debit", "1.50"),
        ("credit", "10.00"),
    }
