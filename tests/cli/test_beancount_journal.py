"""A converted journal balances per currency, line by line exact, and sums up to what beancount computes."""

from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from pydantic import TypeAdapter

from libs.cli.beancount_journal import ConvertedJournal, Unconvertible, entry_line, read
from libs.common.journal import (
    NORMAL_SIDE,
    AccountRequest,
    CurrencyRequest,
    EntryRequest,
    position_codes,
)
from libs.common.money import ISO_4217, from_text, to_minor, to_text
from tests.cli.conftest import MakeJournal

SEEDS = [1, 7, 23, 4711]

OPENS = """
option "operating_currency" "USD"
2020-01-01 open Assets:Cash
2020-01-01 open Assets:Broker
2020-01-01 open Assets:Bank EUR
2020-01-01 open Assets:Unused
2020-01-01 open Income:Work
2020-01-01 open Income:Gains
2020-01-01 open Expenses:Food
2020-01-01 open Equity:Opening
"""


def convert_text(folder: Path, text: str) -> ConvertedJournal:
    path = folder / "journal.beancount"
    path.write_text(OPENS + text, encoding="utf-8")
    return read(path, "demo")


def lines_of(entry: EntryRequest) -> list[tuple[str, str, str, str | None]]:
    return [(line.account, line.side, line.amount, line.currency) for line in entry.lines]


def exponents_of(journal: ConvertedJournal) -> dict[str, int]:
    own = {currency.code: currency.decimals for currency in journal.currencies}
    return {code: currency.exponent for code, currency in ISO_4217.items()} | own


def open_per_currency(entry: EntryRequest, exponents: dict[str, int]) -> dict[str, int]:
    left: Counter[str] = Counter()
    for line in entry.lines:
        assert line.currency is not None
        minor = to_minor(line.amount, exponents[line.currency])
        assert isinstance(minor, int), minor
        left[line.currency] += minor if line.side == "debit" else -minor
    return {currency: minor for currency, minor in left.items() if minor}


def assert_balances_are_beancounts(journal: ConvertedJournal) -> None:
    exponents = exponents_of(journal)
    types = {account.code: account.type for account in journal.accounts}
    posted: defaultdict[str, int] = defaultdict(int)
    for entry in journal.entries:
        for line in entry.lines:
            assert line.currency is not None
            minor = from_text(line.amount, exponents[line.currency])
            posted[line.account] += minor if line.side == "debit" else -minor
    for expected in journal.balances:
        signed = posted[expected.code] * (1 if NORMAL_SIDE[types[expected.code]] == "debit" else -1)
        assert to_text(signed, exponents[expected.currency]) == expected.balance, expected.code
    assert {expected.code for expected in journal.balances} == set(types)


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_journal_balances_per_currency_and_like_beancount(example: MakeJournal, seed: int) -> None:
    journal = read(example(seed), "demo")
    exponents = exponents_of(journal)
    assert len(journal.entries) > 500
    assert {entry.id for entry in journal.entries if open_per_currency(entry, exponents)} == set()
    assert_balances_are_beancounts(journal)


@pytest.mark.parametrize("seed", SEEDS)
def test_position_pair_holds_the_whole_commodity_at_cost(example: MakeJournal, seed: int) -> None:
    """FX-POSITION-C is the mirror of all units held; only what is traded has a pair."""
    journal = read(example(seed), "demo")
    exponents = exponents_of(journal)
    units: Counter[str] = Counter()
    positions: Counter[str] = Counter()
    for entry in journal.entries:
        for line in entry.lines:
            assert line.currency is not None
            minor = from_text(line.amount, exponents[line.currency])
            signed = minor if line.side == "debit" else -minor
            if line.account == position_codes(line.currency)[0]:
                positions[line.currency] += signed
            elif not line.account.startswith("FX-"):
                units[line.currency] += signed
    assert {"VBMPX", "RGAGX"} <= set(positions)
    assert "IRAUSD" not in positions
    for currency, signed in positions.items():
        assert signed == -units[currency], currency


def test_ids_are_unique_stable_and_in_time_order(example: MakeJournal) -> None:
    first, again = read(example(7), "demo"), read(example(7), "demo")
    ids = [entry.id for entry in first.entries]
    assert ids == [entry.id for entry in again.entries]
    assert first.digest == again.digest
    assert len(set(ids)) == len(ids) == len({entry.external_id for entry in first.entries})
    assert [entry.effective_on for entry in sorted(first.entries, key=lambda entry: str(entry.id))] == [
        entry.effective_on for entry in first.entries
    ]
    assert set(ids).isdisjoint(entry.id for entry in read(example(7), "other").entries)


def test_every_word_is_accepted_by_the_vocabulary(example: MakeJournal) -> None:
    journal = read(example(7), "demo")
    entries = TypeAdapter(EntryRequest)
    for entry in journal.entries:
        line = entry_line(entry)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert entries.validate_json(line) == entry
    for account in journal.accounts:
        assert TypeAdapter(AccountRequest).validate_json(orjson.dumps(account, default=str)) == account
    for currency in journal.currencies:
        assert TypeAdapter(CurrencyRequest).validate_json(orjson.dumps(currency)) == currency


def test_a_grown_file_keeps_the_ids_of_what_was_there(tmp_path: Path) -> None:
    lunch = '2020-02-03 * "Lunch"\n  Expenses:Food  5.00 USD\n  Assets:Cash\n'
    coffee = '2020-02-01 * "Coffee"\n  Expenses:Food  2.00 USD\n  Assets:Cash\n'
    before = convert_text(tmp_path, lunch + lunch)
    after = convert_text(tmp_path, coffee + lunch + lunch)
    assert [entry.id for entry in after.entries[1:]] == [entry.id for entry in before.entries]
    assert before.entries[0].id != before.entries[1].id
    assert before.digest != after.digest


def test_account_with_several_commodities_becomes_one_each(tmp_path: Path) -> None:
    journal = convert_text(
        tmp_path,
        '2020-02-01 * "Deposit"\n  Assets:Broker  1000.00 USD\n  Income:Work\n'
        '2020-02-02 * "Buy"\n  Assets:Broker  3.214 VTIXX {104.37 USD}\n  Assets:Broker  -335.45 USD\n',
    )
    codes = {account.code: account.currency for account in journal.accounts}
    assert codes["Assets:Broker"] == "USD"
    assert codes["Assets:Broker.VTIXX"] == "VTIXX"
    assert codes["Assets:Unused"] == "USD"
    assert [(currency.code, currency.decimals) for currency in journal.currencies] == [("VTIXX", 3)]
    assert lines_of(journal.entries[1]) == [
        ("Assets:Broker.VTIXX", "debit", "3.214", "VTIXX"),
        ("Assets:Broker", "credit", "335.45", "USD"),
        ("FX-POSITION-VTIXX", "credit", "3.214", "VTIXX"),
        ("FX-EQUIVALENT-VTIXX", "debit", "335.45", "USD"),  # the weight is 335.44518
    ]
    assert_balances_are_beancounts(journal)


def test_sale_at_cost_with_gain_takes_the_cost_out_of_the_pair(tmp_path: Path) -> None:
    journal = convert_text(
        tmp_path,
        '2020-02-01 * "Buy"\n  Assets:Broker  10 VTIXX {100.00 USD}\n  Assets:Cash\n'
        '2020-03-01 * "Sell"\n  Assets:Broker  -4 VTIXX {100.00 USD} @ 130.00 USD\n'
        "  Assets:Cash  520.00 USD\n  Income:Gains\n",
    )
    assert lines_of(journal.entries[1]) == [
        ("Assets:Broker", "credit", "4", "VTIXX"),
        ("Assets:Cash", "debit", "520.00", "USD"),
        ("Income:Gains", "credit", "120.00", "USD"),
        ("FX-POSITION-VTIXX", "debit", "4", "VTIXX"),
        ("FX-EQUIVALENT-VTIXX", "credit", "400.00", "USD"),
    ]
    assert_balances_are_beancounts(journal)


@pytest.mark.parametrize(
    ("postings", "pair"),
    [
        (
            "  Assets:Bank  100.00 EUR @ 1.0765 USD\n  Assets:Cash  -107.65 USD\n",
            [("FX-POSITION-EUR", "credit", "100.00", "EUR"), ("FX-EQUIVALENT-EUR", "debit", "107.65", "USD")],
        ),
        (
            "  Assets:Cash  107.65 USD @ 0.928936 EUR\n  Assets:Bank  -100.00 EUR\n",
            [("FX-POSITION-EUR", "debit", "100.00", "EUR"), ("FX-EQUIVALENT-EUR", "credit", "107.65", "USD")],
        ),
        (
            "  Assets:Broker  2 SAPXX {50.00 EUR}\n  Assets:Bank  -100.00 EUR\n",
            [
                ("FX-POSITION-SAPXX", "credit", "2", "SAPXX"),
                ("FX-EQUIVALENT-SAPXX", "debit", "110.00", "USD"),
                ("FX-POSITION-EUR", "debit", "100.00", "EUR"),
                ("FX-EQUIVALENT-EUR", "credit", "110.00", "USD"),
            ],
        ),
    ],
    ids=["foreign bought at a price", "functional sold at a price", "paid in a third currency"],
)
def test_crossing_goes_through_the_pair(
    tmp_path: Path, postings: str, pair: list[tuple[str, str, str, str | None]]
) -> None:
    price = "2020-01-15 price EUR 1.10 USD\n"
    journal = convert_text(tmp_path, f'{price}2020-02-01 * "Exchange"\n{postings}')
    (entry,) = journal.entries
    assert sorted(lines_of(entry)[2:]) == sorted(pair)
    assert not open_per_currency(entry, exponents_of(journal))
    assert_balances_are_beancounts(journal)


def test_zero_amounts_are_dropped_and_counted(tmp_path: Path) -> None:
    journal = convert_text(
        tmp_path,
        '2020-02-01 * "Opening"\n  Assets:Cash  0.00 USD\n  Equity:Opening\n'
        '2020-02-02 * "Work"\n  Assets:Cash  1.00 USD\n  Income:Work  -1.00 USD\n  Expenses:Food  0.00 USD\n',
    )
    assert journal.zero_lines_dropped == 2  # beancount itself left out the one it had to fill in
    assert journal.empty_entries_dropped == 1
    assert [len(entry.lines) for entry in journal.entries] == [2]


def test_padding_is_an_entry_and_payees_stay_out(tmp_path: Path) -> None:
    journal = convert_text(
        tmp_path,
        "2020-02-01 pad Assets:Cash Equity:Opening\n2020-02-02 balance Assets:Cash  12.34 USD\n"
        '2020-02-03 ! "Jane Doe" "Lunch" #team ^inv-7\n  Expenses:Food  5.00 USD\n  Assets:Cash\n',
    )
    padding, lunch = journal.entries
    assert lines_of(padding)[0] == ("Assets:Cash", "debit", "12.34", "USD")
    assert lunch.metadata == {"flag": "!", "tags": ["team"], "links": ["inv-7"]}
    assert b"Jane" not in entry_line(lunch)
    assert_balances_are_beancounts(journal)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '2020-02-01 * "Off"\n  Assets:Cash  1.00 USD\n  Income:Work  -2.00 USD\n',
            "beancount refuses journal.beancount .1 found.",
        ),
        ('2020-02-01 * "Third"\n  Assets:Cash  1.005 USD\n  Income:Work\n', "more than the 2 decimals of USD"),
        ('2020-02-01 * "Short"\n  Assets:Cash  1 AB\n  Income:Work\n', "commodity AB has no name we can take"),
        (
            '2020-02-01 * "No price"\n  Assets:Broker  2 SAPXX {50.00 EUR}\n  Assets:Bank  -100.00 EUR\n',
            "the file has no price of EUR in USD up to 2020-02-01",
        ),
        (
            'option "inferred_tolerance_default" "USD:0.02"\n'
            '2020-02-01 * "Loose"\n  Assets:Cash  1.00 USD\n  Income:Work  -1.01 USD\n',
            "books balance exactly",
        ),
        (
            '2020-02-01 * "Long"\n' + "  Assets:Cash  1.00 USD\n" * 1_000 + "  Income:Work\n",
            "1001 lines, an entry has 1000 at most",
        ),
    ],
    ids=["against beancount", "decimals", "name", "no price", "tolerance", "too many lines"],
)
def test_what_cannot_be_exact_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Unconvertible, match=reason):
        convert_text(tmp_path, text)


def test_amount_text_has_all_decimals(tmp_path: Path) -> None:
    journal = convert_text(tmp_path, '2020-02-01 * "Work"\n  Assets:Cash  1000 USD\n  Income:Work  -1000.0 USD\n')
    assert {line.amount for line in journal.entries[0].lines} == {"1000.00"}
    assert Decimal(journal.balances[0].balance) == 1000
