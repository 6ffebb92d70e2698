"""Deferred revenue by days: every way to ask adds up to the amount, and the entry moves it."""

from datetime import date, timedelta

import pytest

from libs.common.money import ISO_4217
from services.invoicing import posting_rules as rules
from services.invoicing.entry_drafts import EntryDraft
from services.invoicing.recognition import Deferral, earned, left, to_recognise, to_take_back
from tests.invoicing.books_in_memory import Ledger, books
from tests.invoicing.posting_cases import ABROAD, PLAIN, of_service

USD = ISO_4217["USD"]
YEAR = Deferral(0, 120000, USD, None, date(2026, 1, 1), date(2026, 12, 31))
MONTH_ENDS = [date(2026, month, 1) - timedelta(days=1) for month in range(2, 13)] + [date(2026, 12, 31)]


@pytest.mark.parametrize(
    ("through", "credited", "amount"),
    [
        (date(2025, 12, 31), 0, 0),
        (date(2026, 1, 1), 0, 329),
        (date(2026, 1, 31), 0, 10192),
        (date(2026, 12, 30), 0, 119671),
        (date(2026, 12, 31), 0, 120000),
        (date(2030, 1, 1), 0, 120000),
        (date(2026, 12, 31), 20000, 100000),
        (date(2026, 1, 31), 20000, 8493),
    ],
)
def test_earned_by_the_end_of_a_day(through: date, credited: int, amount: int) -> None:
    assert earned(YEAR, through, credited) == amount


def test_month_by_month_is_the_year() -> None:
    recognised = 0
    amounts = []
    for ends_on in MONTH_ENDS:
        ((_, amount),) = to_recognise([(YEAR, 0, recognised)], ends_on)
        recognised += amount
        amounts.append(amount)
    assert recognised == YEAR.amount
    assert amounts == [10192, 9205, 10192, 9863, 10192, 9863, 10192, 10191, 9863, 10192, 9863, 10192]
    assert to_recognise([(YEAR, 0, recognised)], MONTH_ENDS[-1]) == []


def test_a_day_s_revenue_is_recognised_once() -> None:
    assert to_recognise([(YEAR, 0, 10192)], date(2026, 1, 31)) == []


def test_after_a_credit_note_recognition_pauses_and_takes_nothing_back() -> None:
    """Half the year is recognised when the note takes two thirds of the rest: the days catch up in August."""
    recognised = earned(YEAR, date(2026, 6, 30))
    credited = left(YEAR, 0, recognised) * 2 // 3
    for ends_on in MONTH_ENDS[6:]:
        moved = to_recognise([(YEAR, credited, recognised)], ends_on)
        assert all(amount > 0 for _, amount in moved)
        recognised += sum(amount for _, amount in moved)
        assert left(YEAR, credited, recognised) >= 0
    assert left(YEAR, credited, recognised) == 0


def test_a_return_s_deferral_is_negative_all_the_way() -> None:
    returned = Deferral(1, -1000, USD, None, YEAR.service_from, YEAR.service_to)
    assert to_recognise([(returned, 0, 0)], date(2026, 6, 30)) == [(returned, -496)]
    assert to_recognise([(returned, -900, -496)], date(2026, 6, 30)) == []


def test_the_entries_of_a_service() -> None:
    ledger = Ledger(books())
    invoice = of_service(account="4010-SALES")
    ledger.post(rules.issue(invoice, ledger.books))
    found = rules.deferrals(invoice, ledger.books)
    assert isinstance(found, tuple)
    (deferral,) = found
    assert (deferral.amount, deferral.account, deferral.line) == (120000, "4010-SALES", 0)
    draft = rules.recognition(
        invoice.number, MONTH_ENDS[2], to_recognise([(deferral, 0, 0)], MONTH_ENDS[2]), ledger.books
    )
    assert isinstance(draft, EntryDraft)
    assert (draft.purpose, draft.kind, draft.effective_on) == ("recognition/2026-03-31", "recognition", MONTH_ENDS[2])
    ledger.post(draft)
    assert (ledger.balance("revenue"), ledger.balance("deferred-revenue")) == (-29589, 29589 - 120000)
    assert rules.recognition(invoice.number, MONTH_ENDS[2], [], ledger.books) is None
    assert rules.recognition(invoice.number, MONTH_ENDS[2], [(deferral, 0)], ledger.books) is None
    taken_back = rules.recognition(invoice.number, MONTH_ENDS[3], to_take_back([(deferral, 29589)]), ledger.books)
    assert isinstance(taken_back, EntryDraft)
    ledger.post(taken_back)
    assert (ledger.balance("revenue"), ledger.balance("deferred-revenue")) == (0, -120000)


def test_nothing_is_deferred_of_goods_or_without_a_rate() -> None:
    assert rules.deferrals(PLAIN, books()) == ()
    assert rules.deferrals(ABROAD, books(rates={})) == rules.issue(ABROAD, books(rates={}))
