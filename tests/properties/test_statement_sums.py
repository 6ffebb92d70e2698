"""Statements of random histories: what must always add up does, translated or not, and brute force agrees.

Hypothesis makes a company's history over three fiscal years in three currencies: sales, costs, cash, exchanges through
the position pairs, non-monetary things, year-end closings of whole accounts and of parts. Each statement's own tie-outs
must hold, and a plain sum over the lines gives the same figures.
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.money import ISO_4217, from_text
from services.ledger.reports import balance_sheet, cash_flow, profit_and_loss
from services.ledger.reports.rates import AverageOver, PublishedRate, RateBook
from services.ledger.reports.sections import CurrencyAnswer, Layout, Period, fiscal_year_start
from services.ledger.reports.translation import Translator, days_of
from tests.ledger.journal_in_memory import Entry, Journal

FIRST = date(2023, 1, 1)
DAYS = 3 * 365
BEGINS = "04-01"
CURRENCIES = ("EUR", "USD", "JPY")
TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "BANK": ("asset", {"cash": True}),
    "TILL": ("asset", {"cash": True}),
    "THING": ("asset", {"monetary": False, "cash_flow_class": "investing"}),
    "OWED": ("liability", {}),
    "CAPITAL": ("equity", {}),
    "RETAINED": ("equity", {}),
    "SALES": ("income", {}),
    "COST": ("expense", {}),
}
NAMES = st.sampled_from(sorted(set(TYPES) - {"RETAINED"}))
AMOUNTS = st.integers(1, 100_000)

plain = st.tuples(
    st.just("plain"), st.sampled_from(CURRENCIES), st.lists(st.tuples(NAMES, AMOUNTS), min_size=1, max_size=4), NAMES
)
crossing = st.tuples(st.just("crossing"), st.sampled_from(CURRENCIES[1:]), st.tuples(NAMES, AMOUNTS, NAMES, AMOUNTS))
closing = st.tuples(st.just("closing"), st.sampled_from(CURRENCIES), st.sampled_from([100, 100, 100, 30]))
HISTORIES = st.lists(st.tuples(st.integers(0, DAYS - 1), plain | crossing | closing), max_size=25)
RATES = st.lists(st.integers(500, 2_000), min_size=8, max_size=8)
PLACES = st.tuples(st.integers(0, DAYS - 1), st.integers(0, DAYS - 1))


def company(history: list[tuple[int, Any]]) -> Journal:
    books = Journal()
    for currency in CURRENCIES:
        for name, (type_, more) in TYPES.items():
            books.open(f"{name}-{currency}", type_, currency, **more)
    for currency in CURRENCIES[1:]:
        books.pair(currency)
    for place, (kind, *told) in sorted(history, key=lambda each: each[0]):
        _post(books, FIRST + timedelta(days=place), kind, told)
    return books


def _post(books: Journal, day: date, kind: str, told: list[Any]) -> None:
    def no(code: str) -> int:
        return books.accounts[code].no

    nets: list[tuple[int, int]] = []
    if kind == "plain":
        currency, lines, other = told
        signed = [(name, amount if amount % 3 else -amount) for name, amount in lines]
        nets = [(no(f"{name}-{currency}"), amount) for name, amount in signed]
        left = -sum(amount for _, amount in signed)
        nets += [(no(f"{other}-{currency}"), left)] if left else []
    elif kind == "crossing":
        currency, (here, amount, there, worth) = told
        nets = [
            (no(f"{here}-{currency}"), amount), (no(f"FX-POSITION-{currency}"), -amount),
            (no(f"FX-EQUIVALENT-{currency}"), worth), (no(f"{there}-EUR"), -worth),
        ]  # fmt: skip
    else:
        currency, percent = told
        for name in ("SALES", "COST"):
            account = no(f"{name}-{currency}")
            open_ = sum(net for entry in books.entries for place, net in entry.lines if place == account)
            moved = -(open_ * percent // 100)
            nets += [(account, moved), (no(f"RETAINED-{currency}"), -moved)] if moved else []
    if nets:
        books.add(Entry(day, "closing" if kind == "closing" else "normal", tuple(nets)))


def book_of(rates: list[int]) -> RateBook:
    """A rate for every second day, by a rule that hypothesis chooses."""
    return RateBook(
        PublishedRate("ecb", "EUR", counter, FIRST + timedelta(days=place - 2), rate * scale, own=False)
        for place in range(0, DAYS + 4, 2)
        for counter, scale in (("USD", Decimal("0.001")), ("JPY", Decimal("0.137")))
        for rate in (Decimal(rates[place // 2 % len(rates)]),)
    )


def both_ends(places: tuple[int, int]) -> Period:
    first, last = (FIRST + timedelta(days=place) for place in sorted(places))
    return Period("range", first, last)


def figure(part: CurrencyAnswer, name: str) -> int:
    (found,) = [line["amounts"][0] for line in part["lines"] if line["name"] == name]
    return from_text(found, ISO_4217[part["currency"]].exponent)


def section_total(part: CurrencyAnswer, name: str) -> int:
    (found,) = [section["totals"][0] for section in part["sections"] if section["name"] == name]
    return from_text(found, ISO_4217[part["currency"]].exponent)


def must_hold(part: CurrencyAnswer) -> None:
    broken = [tie_out for tie_out in part["tie_outs"] if not tie_out["holds"]]
    assert part["tie_outs"]
    assert not broken, broken


def cash_column(books: Journal, period: Period) -> cash_flow.CashColumn:
    assert period.since is not None
    by_no = {account.no: account for account in books.accounts.values()}
    flows = cash_flow.flows_of(books.cash_lines(period.since, period.through), by_no)
    before = books.sums(None, period.since - timedelta(days=1))
    return cash_flow.CashColumn(period, flows, before, books.sums(None, period.through))


@settings(max_examples=150, deadline=None)
@given(history=HISTORIES, places=PLACES)
def test_untranslated_statements_add_up(history: list[tuple[int, Any]], places: tuple[int, int]) -> None:
    books, period = company(history), both_ends(places)
    assert period.since is not None
    layout = Layout({account.no: account for account in books.accounts.values()})
    year = fiscal_year_start(period.through, BEGINS)
    sums = books.sums(None, period.through)
    as_of = balance_sheet.AsOf(period, sums, books.sums(None, year - timedelta(days=1)))
    for part in balance_sheet.untranslated(layout, [as_of], None):
        must_hold(part)
        by_type = _brute(books, part["currency"], FIRST, period.through)
        assert section_total(part, "assets") == by_type.get("asset", 0)
        assert section_total(part, "liabilities") == -by_type.get("liability", 0)
        earned = figure(part, "current-earnings") + figure(part, "earlier-earnings-not-closed")
        assert earned == -by_type.get("income", 0) - by_type.get("expense", 0)
        this_year = _brute(books, part["currency"], year, period.through)
        assert figure(part, "current-earnings") == -this_year.get("income", 0) - this_year.get("expense", 0)
    ranged = profit_and_loss.Range(period, books.sums(period.since, period.through, closings=False))
    for part in profit_and_loss.untranslated(layout, [ranged], None):
        must_hold(part)
        by_type = _brute(books, part["currency"], period.since, period.through, closings=False)
        assert figure(part, "result") == -by_type.get("income", 0) - by_type.get("expense", 0)
    for part in cash_flow.untranslated(layout, [cash_column(books, period)], None):
        must_hold(part)


def _brute(books: Journal, currency: str, since: date, through: date, *, closings: bool = True) -> dict[str, int]:
    """Debits less credits by type, line by line."""
    by_no = {account.no: account for account in books.accounts.values()}
    found: dict[str, int] = {}
    for entry in books.entries:
        for no, net in entry.lines:
            wanted = since <= entry.day <= through and (closings or entry.kind != "closing")
            if wanted and by_no[no].currency == currency:
                found[by_no[no].type] = found.get(by_no[no].type, 0) + net
    return found


@settings(max_examples=150, deadline=None)
@given(
    history=HISTORIES,
    places=PLACES,
    rates=RATES,
    wanted=st.sampled_from([("EUR", None), ("USD", None), ("JPY", None), ("USD", "month"), ("JPY", "quarter")]),
)
def test_translated_statements_add_up(
    history: list[tuple[int, Any]], places: tuple[int, int], rates: list[int], wanted: tuple[str, AverageOver | None]
) -> None:
    to, over = wanted
    books, period = company(history), both_ends(places)
    assert period.since is not None
    layout = Layout({account.no: account for account in books.accounts.values()})
    days = days_of(books.accounts.values(), books.daily(period.through), books.daily(period.through, closings=False))
    translator = Translator(ISO_4217[to], ISO_4217["EUR"], BEGINS, book_of(rates), over)
    before, after = (
        balance_sheet.translated(layout, [Period("end", None, day)], days, translator)
        for day in (period.since - timedelta(days=1), period.through)
    )
    result = profit_and_loss.translated(layout, [period], days, translator)
    cash = cash_flow.translated(layout, [cash_column(books, period)], translator)
    for part in (before, after, result, cash):
        must_hold(part)
    own = earned_equity(after) - earned_equity(before)
    if to == "EUR":
        assert figure(result, "result") == own
    else:
        reserve = figure(after, "translation-reserve") - figure(before, "translation-reserve")
        assert figure(result, "result") == own - reserve


def earned_equity(part: CurrencyAnswer) -> int:
    """All equity less what owners put in: capital; that is, everything that results made."""
    exponent = ISO_4217[part["currency"]].exponent
    capital = sum(
        from_text(row["amounts"][0], exponent)
        for section in part["sections"]
        if section["name"] == "equity"
        for group in section["groups"]
        for row in group["rows"]
        if row["account"].startswith("CAPITAL")
    )
    return figure(part, "total-equity") - capital
