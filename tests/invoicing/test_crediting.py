"""Credit notes against an invoice, as a table: each step a note or its refusal, then what the notes add up to.

A step is `amount 10.00`, `lines 0 2` (all that is left of them), `line 0 net 5.00`, `line 0 units 2`, or `rest`; after
it stands the note's net, tax and rounding, or the code it is refused with.
"""

from decimal import Decimal

import pytest

from libs.common.errors import Rejection
from libs.common.money import from_text, to_text
from services.invoicing.arithmetic import Totals, totals
from services.invoicing.crediting import CreditTotals, CreditWish, credit_amount, credit_lines, credit_rest
from tests.invoicing.written_invoices import invoice

FOUR = "EUR | 1 x 68.33 S20; 1 x 68.33 S20; 1 x 57.50 S20; 1 x 85.00 S20"
SCREWS = "EUR | 3 x 3.335 S20"
CASH = "SEK | 1 x 841.40 S25 | cash 1.00"
DOWN = "CHF | 1 x 100.00 Z0; 1 x 0.02 Z0 | cash 0.05"
BOTH = "EUR | 1 x 100 S20; 1 x 50 Z0"
GROSS = "USD | 1 x 90 S5; 1 x 55 S5 | gross"
RETURN = "EUR | 3 x 100 S20; -1 x 50 S20"
TWICE = "CAD | 2 x 100 S5 S9.5*"
FREE = "EUR | 1 x 10 S20; 1 x 0 S20"

STEPS = [
    (
        FOUR,
        "lines 0 = 68.33 13.67 0.00; lines 1 = 68.33 13.66 0.00; lines 2 = 57.50 11.50 0.00; rest = 85.00 17.00 0.00",
    ),
    (FOUR, "amount 334.98 = 279.15 55.83 0.00; amount 0.01 = 0.01 0.00 0.00; amount 0.01 = credit-exceeds-invoice"),
    (
        FOUR,
        "amount 335.00 = credit-exceeds-invoice; amount 0.00 = amount-not-positive; amount -1.00 = amount-not-positive",
    ),
    (
        FOUR,
        "lines 4 = unknown-invoice-line; lines -1 = unknown-invoice-line; lines 1 1 = line-named-twice",
    ),
    (FOUR, "rest = 279.16 55.83 0.00; rest = credit-exceeds-invoice; lines 0 = credit-exceeds-invoice"),
    (FOUR, "lines = no-lines"),
    (
        FOUR,
        "line 0 net 68.34 = credit-exceeds-invoice; lines 0 = 68.33 13.67 0.00; lines 0 = credit-exceeds-invoice",
    ),
    (FOUR, "line 0 net -1.00 = amount-not-positive; line 0 units -1 = amount-not-positive"),
    (FOUR, "line 0 net 0.00 = credit-exceeds-invoice"),
    (FOUR, "lines 0 = 68.33 13.67 0.00; line 0 net 0.01 = credit-exceeds-invoice"),
    (SCREWS, "line 0 units 1 = 3.34 0.67 0.00; line 0 units 1 = 3.33 0.66 0.00; line 0 units 1 = 3.34 0.67 0.00"),
    (
        SCREWS,
        "line 0 units 1 = 3.34 0.67 0.00; line 0 units 3 = credit-exceeds-invoice; line 0 units 2 = 6.67 1.33 0.00",
    ),
    (SCREWS, "line 0 units 0.123456789 = too-many-decimals; line 0 units NaN = amount-out-of-range"),
    (SCREWS, "line 0 net 10.00 = 10.00 2.00 0.00; line 0 units 3 = 0.01 0.00 0.00"),
    (CASH, "amount 1051.75 = 841.40 210.35 0.00; amount 0.25 = 0.00 0.00 0.25; amount 0.01 = credit-exceeds-invoice"),
    (CASH, "amount 1051.90 = 841.40 210.35 0.15; amount 0.10 = 0.00 0.00 0.10"),
    (CASH, "amount 1052.00 = 841.40 210.35 0.25"),
    (CASH, "lines 0 = 841.40 210.35 0.25"),
    (DOWN, "lines 0 = 100.00 0.00 0.00; lines 1 = 0.02 0.00 -0.02"),
    (DOWN, "line 1 net 0.01 = 0.01 0.00 0.00; lines 0 = 100.00 0.00 -0.01; lines 1 = 0.01 0.00 -0.01"),
    (BOTH, "amount 17.00 = 15.00 2.00 0.00; amount 153.00 = 135.00 18.00 0.00"),
    (GROSS, "lines 0 = 85.72 4.28 0.00; lines 1 = 52.38 2.62 0.00"),
    (GROSS, "line 0 net 40.00 = 40.00 2.00 0.00; line 0 units 0.5 = 42.86 2.14 0.00; rest = 55.24 2.76 0.00"),
    (GROSS, "amount 144.99 = 138.09 6.90 0.00; amount 0.01 = 0.01 0.00 0.00"),
    (RETURN, "lines 0 = credit-exceeds-invoice; lines 0 1 = 250.00 50.00 0.00"),
    (RETURN, "line 0 net 200.00 = 200.00 40.00 0.00; lines 0 1 = 50.00 10.00 0.00"),
    (RETURN, "lines 1 = total-negative; amount 299.99 = 249.99 50.00 0.00; amount 0.01 = 0.01 0.00 0.00"),
    (TWICE, "line 0 units 1 = 100.00 14.98 0.00; line 0 units 1 = 100.00 14.97 0.00"),
    (TWICE, "amount 114.97 = 100.00 14.97 0.00; rest = 100.00 14.98 0.00"),
    (FREE, "lines 0 1 = 10.00 2.00 0.00; lines 1 = credit-exceeds-invoice"),
]


@pytest.mark.parametrize(("row", "steps"), STEPS)
def test_credit_notes_follow_one_another(row: str, steps: str) -> None:
    found = totals(invoice(row))
    assert isinstance(found, Totals)
    notes: list[CreditTotals] = []
    said = []
    for step in steps.split("; "):
        wish = step.partition(" = ")[0] if " = " in step else step.partition("= ")[0]
        note = credited(found, notes, wish.split())
        if isinstance(note, Rejection):
            said.append(f"{wish} = {note.code}")
            continue
        notes.append(note)
        sums = [to_text(amount, found.currency.exponent) for amount in (note.net, note.tax, note.rounding)]
        said.append(f"{wish} = {' '.join(sums)}")
    assert said == steps.split("; ")


def credited(found: Totals, notes: list[CreditTotals], words: list[str]) -> CreditTotals | Rejection:
    match words:
        case ["rest"]:
            return credit_rest(found, notes)
        case ["amount", amount]:
            return credit_amount(found, notes, from_text(amount, found.currency.exponent))
        case ["line", place, "net", net]:
            return credit_lines(found, notes, [CreditWish(int(place), net=from_text(net, found.currency.exponent))])
        case ["line", place, "units", units]:
            return credit_lines(found, notes, [CreditWish(int(place), quantity=Decimal(units))])
        case ["lines", *places]:
            return credit_lines(found, notes, [CreditWish(int(place)) for place in places])
    raise AssertionError(words)


def test_a_refusal_names_the_place_and_what_is_left() -> None:
    found = totals(invoice(BOTH))
    assert isinstance(found, Totals)
    refused = credit_lines(found, [], [CreditWish(0), CreditWish(1, net=5_001)])
    assert isinstance(refused, Rejection)
    assert refused.facts == {"currency": "EUR", "wished": "50.01", "left": "50.00"}
    assert [fault.pointer for fault in refused.errors] == ["/lines/1"]
    refused = credit_amount(found, [], 17_001)
    assert isinstance(refused, Rejection)
    assert [fault.pointer for fault in refused.errors] == ["/amount"]


def test_a_note_by_amount_goes_over_the_rows_by_what_is_left_of_them() -> None:
    found = totals(invoice("EUR | 1 x 100 S20; 1 x 100 Z0; 1 x 200 S20"))
    assert isinstance(found, Totals)
    note = credit_amount(found, [], 4_600)
    assert isinstance(note, CreditTotals)
    assert [(row.terms.category, row.base, row.amount) for row in note.taxes] == [("S", 3_000, 600), ("Z", 1_000, 0)]
    assert [(line.line, line.net, line.tax) for line in note.lines] == [(0, 1_000, 200), (1, 1_000, 0), (2, 2_000, 400)]
