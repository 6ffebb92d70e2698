"""Where payments go: a table of references, and what is left over."""

from datetime import date, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing.allocating import Kept, OpenInvoice, Placement, allocate, named, numbers_in, plain, unwind

DAY = date(2026, 3, 1)


def invoice(
    number: str, customer: str = "acme", open_: int = 100, currency: str = "USD", due: int = 0, rf: str | None = None
) -> OpenInvoice:
    return OpenInvoice(number, number, rf, customer, currency, open_, DAY + timedelta(days=due), DAY)


OPEN = [
    invoice("2026-000001", due=30),
    invoice("2026-000002", due=10, rf="RF18539007547034"),
    invoice("2026-000003", "globex", due=0),
    invoice("INV-2026-000001", "globex", due=5),
    invoice("2026-000004", "initech", currency="EUR"),
    invoice("7", "initech"),
]

TABLE = """
# reference                                | customer | amount | allocations                       | unapplied credit
2026-000001                                | acme     |  100   | 2026-000001 100                   | 0   0
invoice 2026-000001, thank you             | acme     |  100   | 2026-000001 100                   | 0   0
inv.no.2026/000001                         | acme     |   40   | 2026-000001 40                    | 0   0
2026 000001                                | -        |  100   | 2026-000001 100                   | 0   0
INV-2026-000001                            | -        |  100   | INV-2026-000001 100               | 0   0
inv 2026 000001                            | -        |  100   | INV-2026-000001 100               | 0   0
RF18 5390 0754 7034                        | -        |  100   | 2026-000002 100                   | 0   0
payment rf18539007547034 ty                | -        |  100   | 2026-000002 100                   | 0   0
2026-000002 and 2026-000001                | -        |  150   | 2026-000002 100, 2026-000001 50   | 0   0
2026-000001 2026-000003                    | -        |  250   | 2026-000001 100, 2026-000003 100  | 50  0
2026-000001                                | acme     |  150   | 2026-000001 100, 2026-000002 50   | 0   0
2026-000001                                | acme     |  230   | 2026-000001 100, 2026-000002 100  | 0   30
2026-000001                                | -        |  230   | 2026-000001 100, 2026-000002 100  | 0   30
2026-000001           | globex   |  330   | 2026-000001 100, 2026-000003 100, INV-2026-000001 100| 30 0
2026-0000011                               | -        |  100   |                                   | 100 0
12026-000001                               | -        |  100   |                                   | 100 0
paid 7 things                              | -        |  100   |                                   | 100 0
7                                          | -        |  100   | 7 100                             | 0   0
2026-000004                                | initech  |  100   | 7 100                             | 0   0
2026-000004                                | -        |  100   |                                   | 100 0
thanks                                     | acme     |  150   | 2026-000002 100, 2026-000001 50   | 0   0
thanks                                     | acme     |  250   | 2026-000002 100, 2026-000001 100  | 50  0
thanks                                     | hooli    |  100   |                                   | 100 0
-                                          | acme     |  100   | 2026-000002 100                   | 0   0
-                                          | -        |  100   |                                   | 100 0
"""


@pytest.mark.parametrize("row", [row for row in TABLE.strip().splitlines() if not row.startswith("#")])
def test_a_payment_goes_to(row: str) -> None:
    reference, customer, amount, allocations, rest = (cell.strip() for cell in row.split("|"))
    placement = allocate(
        int(amount), "USD", None if reference == "-" else reference, None if customer == "-" else customer, OPEN
    )
    expected = [part.split() for part in allocations.split(",") if part.strip()]
    unapplied, to_credit = map(int, rest.split())
    assert placement.allocations == tuple((number, int(part)) for number, part in expected)
    assert (placement.unapplied, placement.to_credit) == (unapplied, to_credit)
    assert bool(placement.reason) == bool(unapplied)
    assert not placement.to_credit or placement.customer is not None
    assert int(amount) == sum(part for _, part in placement.allocations) + placement.unapplied + placement.to_credit


@pytest.mark.parametrize(
    ("reference", "customer", "currency", "reason"),
    [
        (None, None, "USD", "nothing says what it is for"),
        ("thanks", None, "USD", "the reference names no open invoice, and the payer is not known"),
        ("thanks", "hooli", "USD", "the customer has no more open invoices in USD"),
        ("2026-000004", None, "USD", "the reference names an invoice in EUR, the payment is in USD"),
        ("2026-000001", "hooli", "USD", "more was paid than the invoices that are named have open, and they are not "
         "the payer's alone"),
    ],
)  # fmt: skip
def test_the_reason_says_why(reference: str | None, customer: str | None, currency: str, reason: str) -> None:
    assert allocate(1000, currency, reference, customer, OPEN).reason == reason


def test_the_order_of_the_invoices_does_not_matter() -> None:
    first = allocate(250, "USD", "2026-000003", "acme", OPEN[:4])
    assert {allocate(250, "USD", "2026-000003", "acme", list(order)) for order in permutations(OPEN[:4])} == {first}


def test_settled_invoices_get_nothing() -> None:
    assert allocate(100, "USD", "2026-000001", "acme", [invoice("2026-000001", open_=0)]) == Placement(
        (), 0, 100, None, "acme"
    )


@pytest.mark.parametrize("numbers", [("AB-2026", "2026-000001"), ("2026", "2026-000001"), ("000001", "2026-000001")])
def test_the_longest_name_wins(numbers: tuple[str, str]) -> None:
    found = named("for AB 2026 000001", [invoice(number) for number in numbers])
    assert [each.number for each in found] == ["2026-000001"]


def test_what_to_look_up() -> None:
    assert numbers_in("inv-2026/000001 of march") == {"2026000001", "INV2026000001"}
    assert plain("INV-2026-000001") in numbers_in("inv-2026/000001 of march")
    assert plain("RF18539007547034") in numbers_in("RF18 5390 0754 7034")
    assert numbers_in("7 of 9, thank you") == numbers_in("") == frozenset()


WORDS = st.lists(st.sampled_from(["2026", "000001", "0", "00", "inv", "INV1", "a"]), min_size=1, max_size=6)


@given(WORDS, st.lists(WORDS, max_size=4))
def test_a_name_stands_in_the_reference_as_words_of_its_own(words: list[str], numbers: list[list[str]]) -> None:
    invoices = [invoice("-".join(number)) for number in numbers]
    upper = [word.upper() for word in words]
    stretches = {
        "".join(upper[start:end])
        for start in range(len(upper))
        for end in range(start + 1, len(upper) + 1)
        if end - start == len(upper) or len("".join(upper[start:end])) >= 4
    }
    found = {plain(each.number) for each in named(" ".join(words), invoices)}
    there = {plain(each.number) for each in invoices} & stretches
    assert found <= there
    longest = max(map(len, there), default=0)
    assert {name for name in there if len(name) == longest} & found or not there


def test_a_reference_without_end_is_read_in_bounds() -> None:
    assert len(numbers_in("12345 " * 100_000)) <= 1_200
    assert named("x " * 200 + "2026-000001", OPEN) == []


@pytest.mark.parametrize(
    ("amount", "taken"),
    [
        (5, Kept(5)),
        (10, Kept(10)),
        (15, Kept(10, 5)),
        (35, Kept(10, 20, (("a3", 5),))),
        (60, Kept(10, 20, (("a3", 30),))),
        (75, Kept(10, 20, (("a3", 30), ("a2", 15)))),
        (100, Kept(10, 20, (("a3", 30), ("a2", 25), ("a1", 15)))),
    ],
)
def test_money_goes_back_from_where_it_still_is(amount: int, taken: Kept) -> None:
    kept = Kept(10, 20, (("a1", 15), ("a2", 25), ("a3", 30)))
    assert unwind(kept, amount, ISO_4217["USD"]) == taken
    assert taken.amount == amount


@pytest.mark.parametrize(
    ("amount", "code"), [(0, "amount-not-positive"), (-1, "amount-not-positive"), (101, "refund-exceeds-payment")]
)
def test_no_more_goes_back_than_there_is(amount: int, code: str) -> None:
    refused = unwind(Kept(10, 20, (("a1", 70),)), amount, ISO_4217["USD"])
    assert isinstance(refused, Rejection)
    assert refused.code == code
