"""Invoices and credit notes as drawn: what is shown adds up, and any split into notes totals the invoice exactly.

`make explore` draws others than the suite does, and 10,000 splits.
"""

import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import Rejection
from services.invoicing.arithmetic import NET_POLICY, Totals, row_of
from services.invoicing.crediting import CreditTotals, CreditWish, credit_amount, credit_lines, credit_rest
from services.invoicing.kept_totals import invoice_of, kept_invoice, kept_note, note_of
from tests.properties.drawn_invoices import invoices

_EXPLORES = settings.get_current_profile_name() == "explore"
EXAMPLES = settings(max_examples=1_000 if _EXPLORES else 300, deadline=None)
SPLITS = settings(max_examples=10_000 if _EXPLORES else 300, deadline=None)


@EXAMPLES
@given(invoices())
def test_what_is_shown_adds_up(found: Totals) -> None:
    assert sum(line.net for line in found.lines) - found.discount == found.net
    assert sum(line.taxable for line in found.lines) == found.net
    assert sum(line.tax for line in found.lines) == sum(row.amount for row in found.taxes) == found.tax
    assert found.net + found.tax + found.rounding == found.total >= 0
    assert sum(line.document_discount for line in found.lines) == found.discount
    for line in found.lines:
        assert line.before_discount - line.discount == line.shown
        assert abs(line.discount) <= abs(line.before_discount)
    if found.draft.prices_include_tax:
        assert sum(line.shown for line in found.lines) - found.draft.discount == found.net + found.tax
    else:
        assert [line.shown for line in found.lines] == [line.net for line in found.lines]
        assert found.discount == found.draft.discount
    if found.draft.cash_rounding:
        assert found.total % found.draft.cash_rounding == 0
        assert 2 * abs(found.rounding) <= found.draft.cash_rounding


@EXAMPLES
@given(invoices())
def test_a_row_s_tax_is_its_base_times_its_rate(found: Totals) -> None:
    """On net sums to half a minor unit; where prices include tax, within what taking it out of the gross can move."""
    groups = len({tuple(map(row_of, line.draft.taxes)) for line in found.lines})
    for row in found.taxes:
        off = abs(row.amount - row.base * Fraction(row.terms.rate) / 100)
        assert off <= (Fraction(1, 2) if found.policy == NET_POLICY else 2 * groups)


@EXAMPLES
@given(invoices(returns=False))
def test_without_returns_nothing_is_negative(found: Totals) -> None:
    for line in found.lines:
        assert min(line.before_discount, line.discount, line.net, line.taxable, line.document_discount) >= 0
        assert min(line.taxes) >= 0
    assert all(row.base >= 0 and row.amount >= 0 for row in found.taxes)


@st.composite
def _wishes(draw: st.DrawFn, found: Totals, notes: list[CreditTotals]) -> list[CreditWish]:
    """Lines with something left, each by a part of its net, by units, or whole."""
    left = [
        line.taxable - sum(each.net for note in notes for each in note.lines if each.line == place)
        for place, line in enumerate(found.lines)
    ]
    places = draw(st.lists(st.sampled_from(range(len(left))), min_size=1, unique=True))
    wishes = []
    for place in places:
        kind = draw(st.sampled_from(["net", "net", "quantity", "rest"]))
        if kind == "net":
            sign = 1 if left[place] >= 0 else -1
            wishes.append(CreditWish(place, net=sign * draw(st.integers(0, abs(left[place])))))
        elif kind == "quantity":
            wishes.append(CreditWish(place, quantity=found.lines[place].draft.quantity / draw(st.sampled_from([2, 4]))))
        else:
            wishes.append(CreditWish(place))
    return wishes


@pytest.mark.timeout(900)
@SPLITS
@given(invoices(), st.data())
def test_any_split_into_credit_notes_totals_the_invoice(found: Totals, draws: st.DataObject) -> None:
    """By lines, units and amounts in any order; the last takes what is left, and then nothing is left."""
    notes: list[CreditTotals] = []
    for _ in range(draws.draw(st.integers(0, 6))):
        open_total = found.total - sum(note.total for note in notes)
        if draws.draw(st.booleans()) and open_total > 1:
            amount = draws.draw(st.integers(1, open_total))
            note = credit_amount(found, notes, amount)
            assert isinstance(note, CreditTotals)
            assert note.total == amount
        else:
            note = credit_lines(found, notes, draws.draw(_wishes(found, notes)))
        if isinstance(note, CreditTotals):
            notes.append(note)
    if isinstance(last := credit_rest(found, notes), CreditTotals):
        notes.append(last)
    _totals_the_invoice(found, notes)
    assert isinstance(credit_rest(found, notes), Rejection)
    assert isinstance(credit_amount(found, notes, 1), Rejection)


def _totals_the_invoice(found: Totals, notes: list[CreditTotals]) -> None:
    for note in notes:
        assert note.net + note.tax + note.rounding == note.total >= 0
        assert sum(line.net for line in note.lines) == note.net
        assert sum(line.tax for line in note.lines) == sum(row.amount for row in note.taxes) == note.tax
    assert sum(note.total for note in notes) == found.total
    assert sum(note.net for note in notes) == found.net
    assert sum(note.tax for note in notes) == found.tax
    for row in found.taxes:
        of_row = [each for note in notes for each in note.taxes if row_of(each.terms) == row_of(row.terms)]
        assert sum(each.amount for each in of_row) == row.amount
        assert sum(each.base for each in of_row) == row.base
    for place, line in enumerate(found.lines):
        of_line = [each for note in notes for each in note.lines if each.line == place]
        assert sum(each.net for each in of_line) == line.taxable


@EXAMPLES
@given(invoices(returns=False), st.data())
def test_without_returns_no_note_gives_less_than_nothing(found: Totals, draws: st.DataObject) -> None:
    notes: list[CreditTotals] = []
    for _ in range(4):
        note = credit_lines(found, notes, draws.draw(_wishes(found, notes)))
        if isinstance(note, CreditTotals):
            notes.append(note)
            assert all(line.net >= 0 for line in note.lines)
            assert all(row.base >= 0 and row.amount >= 0 for row in note.taxes)
    for row in found.taxes:
        credited = [each for note in notes for each in note.taxes if row_of(each.terms) == row_of(row.terms)]
        assert sum(each.amount for each in credited) <= row.amount


@EXAMPLES
@given(invoices(returns=False), st.data())
def test_the_cumulative_tax_is_of_the_cumulative_base(found: Totals, draws: st.DataObject) -> None:
    """On net sums each row of taxes is right to half a minor unit after every note, not only after the last."""
    notes: list[CreditTotals] = []
    for _ in range(4):
        note = credit_lines(found, notes, draws.draw(_wishes(found, notes)))
        if isinstance(note, CreditTotals):
            notes.append(note)
        for row in found.taxes:
            of_row = [each for every in notes for each in every.taxes if row_of(each.terms) == row_of(row.terms)]
            base, amount = sum(each.base for each in of_row), sum(each.amount for each in of_row)
            off = abs(amount - base * Fraction(row.terms.rate) / 100)
            if found.policy == NET_POLICY and not row.terms.compound:
                assert off <= Fraction(1, 2), (base, amount)


@EXAMPLES
@given(invoices(), st.data())
def test_what_is_kept_is_read_as_it_was(found: Totals, draws: st.DataObject) -> None:
    assert invoice_of(json.loads(json.dumps(kept_invoice(found)))) == found
    note = credit_lines(found, [], draws.draw(_wishes(found, [])))
    if isinstance(note, CreditTotals):
        assert note_of(json.loads(json.dumps(kept_note(note, found.currency)))) == note
