"""Early payment as tables: what terms allow, what a payment takes, and how a payment goes over several invoices."""

from datetime import date
from decimal import Decimal

import pytest

from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing.allocating import Kept, OpenInvoice, allocate, put_back
from services.invoicing.domain import Amounts
from services.invoicing.early_payment import EarlyPayment, Terms, as_terms, granted, missing

USD = ISO_4217["USD"]
ISSUED, LAST, LATE = date(2026, 3, 1), date(2026, 3, 11), date(2026, 3, 12)
TERMS = Terms(Decimal(2), 10)

ALLOWED = """
# total  paid credited written-off taken | on   | allowed
  12000     0        0           0     0 | last | 240
  12000     0        0           0     0 | late | 0
  12000  6000        0           0     0 | last | 240
  12000 11900        0           0     0 | last | 100
  12000     0     2000           0     0 | last | 200
  12000     0        0        2000     0 | last | 200
  12000     0      100           0   100 | last | 140
  12000     0      240           0   240 | last | 0
  12000     0    12000           0     0 | last | 0
     25     0        0           0     0 | last | 1
     24     0        0           0     0 | last | 0
"""


@pytest.mark.parametrize("row", [row for row in ALLOWED.strip().splitlines() if not row.startswith("#")])
def test_what_the_terms_allow(row: str) -> None:
    numbers, on, allowed = (column.split() for column in row.split("|"))
    total, paid, credited, written_off, taken = map(int, numbers)
    early = EarlyPayment(TERMS, ISSUED, taken)
    assert early.allowed(Amounts(total, paid, credited, written_off), LAST if on == ["last"] else LATE) == int(*allowed)


MISSING = [
    ("exactly", 11760, [(12000, 240)], 1, [240]),
    ("a cent more than that", 11761, [(12000, 240)], 1, [239]),
    ("a cent less", 11759, [(12000, 240)], 1, None),
    ("all of it", 12000, [(12000, 240)], 1, None),
    ("two that are named", 23520, [(12000, 240), (12000, 240)], 2, [240, 240]),
    ("two, one without terms", 22760, [(12000, 240), (11000, 0)], 2, [240, 0]),
    ("both though the first would do", 11860, [(12000, 240), (100, 0)], 2, [240, 0]),
    ("the first of two that are named", 11760, [(12000, 240), (12000, 240)], 2, [240]),
    ("the oldest of the payer's", 11760, [(12000, 240), (5000, 100)], 0, [240]),
    ("the two oldest", 16660, [(12000, 240), (5000, 100)], 0, [240, 100]),
    ("nothing", 5, [], 0, None),
]


@pytest.mark.parametrize(
    ("amount", "queue", "named", "taken"), [row[1:] for row in MISSING], ids=[r[0] for r in MISSING]
)
def test_what_a_payment_takes(amount: int, queue: list[tuple[int, int]], named: int, taken: list[int] | None) -> None:
    assert missing(amount, queue, named) == taken


def test_a_payment_settles_its_invoices_with_their_discounts() -> None:
    def invoice(id_: str, discount: int) -> OpenInvoice:
        return OpenInvoice(id_, f"INV-{id_}", None, "acme", "USD", 12000, LAST, ISSUED, discount)

    both = [invoice("1001", 240), invoice("1002", 120)]
    placed = allocate(23640, "USD", "INV-1001, INV-1002", None, both)
    assert (placed.allocations, placed.discounts) == (
        (("1001", 11760), ("1002", 11880)), (("1001", 240), ("1002", 120)),
    )  # fmt: skip
    assert (placed.unapplied, placed.to_credit) == (0, 0)
    part = allocate(11000, "USD", "INV-1001", None, both)
    assert (part.allocations, part.discounts) == ((("1001", 11000),), ())


GRANTED = [
    ("all that is allowed", None, LAST, 240),
    ("less", 100, LAST, 100),
    ("more", 241, LAST, "discount-exceeds-terms"),
    ("nothing", 0, LAST, "discount-exceeds-terms"),
    ("late", None, LATE, "discount-expired"),
]


@pytest.mark.parametrize(("amount", "on", "verdict"), [row[1:] for row in GRANTED], ids=[row[0] for row in GRANTED])
def test_by_hand(amount: int | None, on: date, verdict: int | str) -> None:
    found = granted(EarlyPayment(TERMS, ISSUED), Amounts(12000), amount, on, USD)
    assert (found.code if isinstance(found, Rejection) else found) == verdict


def test_without_terms_and_with_impossible_ones() -> None:
    none = granted(None, Amounts(12000), None, LAST, USD)
    late = granted(EarlyPayment(TERMS, ISSUED), Amounts(12000), None, LATE, USD)
    assert isinstance(none, Rejection)
    assert isinstance(late, Rejection)
    assert (none.code, late.facts["until"], late.facts["paid_on"]) == ("no-discount-terms", "2026-03-11", "2026-03-12")
    assert as_terms(Decimal(0), 10) is None
    for percent in (Decimal(100), Decimal(-1)):
        refused = as_terms(percent, 10)
        assert isinstance(refused, Rejection)
        assert refused.code == "discount-terms-out-of-range"


PUT_BACK = [
    ("all of it fits", {"a": 100, "b": 50}, Kept(10, 20, (("a", 60), ("b", 40)))),
    ("one is settled", {"a": 100}, Kept(50, 20, (("a", 60),))),
    ("one is open in part", {"a": 25, "b": 50}, Kept(45, 20, (("a", 25), ("b", 40)))),
    ("all are settled", {}, Kept(110, 20, ())),
]


@pytest.mark.parametrize(("open_", "kept"), [row[1:] for row in PUT_BACK], ids=[row[0] for row in PUT_BACK])
def test_money_comes_back_where_it_was(open_: dict[str, int], kept: Kept) -> None:
    assert put_back(Kept(10, 20, (("a", 60), ("b", 40))), open_) == kept


def test_what_comes_back_twice_on_one_invoice_does_not_exceed_it() -> None:
    assert put_back(Kept(0, 0, (("a", 60), ("a", 40))), {"a": 70}) == Kept(30, 0, (("a", 60), ("a", 10)))
