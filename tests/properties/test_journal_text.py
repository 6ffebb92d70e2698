"""Whatever a ledger can hold is written so that the same comes back, and names are told apart for ever."""

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from beancount import loader
from beancount.core.data import Transaction
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.exchange.beancount_text import BeancountReader, BeancountWriter
from services.ledger.exchange.found import FoundAccount, FoundEntry, Reader
from services.ledger.exchange.hledger_text import HledgerReader, HledgerWriter
from services.ledger.exchange.journal_lines import scaled
from services.ledger.exchange.labels import decoded, encoded
from services.ledger.exchange.names import account_code, account_name
from services.ledger.exchange.written import Extent, Writer

CODES = st.from_regex(r"\A\w[\w.:\-]{0,20}\Z") | st.text("X-0a5f:_2d.", min_size=1, max_size=14).filter(
    lambda code: re.fullmatch(r"\w[\w.:\-]*", code) is not None
)
TYPES: Any = st.sampled_from(["asset", "liability", "equity", "income", "expense"])
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
SHORT = TEXTS.filter(lambda text: len(text) > 0)
CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "VB.MPX", "X-1", "A9_B"])
METADATA = st.dictionaries(SHORT, TEXTS | st.integers(0, 9) | st.lists(TEXTS, max_size=2), max_size=3)
EXTENT = Extent(
    organization="demo", ledger="main", functional_currency="USD", sequence=7, hash="ab" * 32, to_on=date(2026, 1, 2)
)


@given(TYPES, CODES)
def test_a_name_is_legal_and_tells_its_code(type_: Any, code: str) -> None:
    name = account_name(type_, code)
    assert re.fullmatch(r"[A-Z][a-z]+(:[A-Z0-9][A-Za-z0-9-]*)+", name)
    assert account_code(name) == (type_, code)


@given(st.tuples(CODES, CODES))
def test_two_codes_have_two_names(codes: tuple[str, str]) -> None:
    first, second = (account_name("asset", code) for code in codes)
    assert (first == second) == (codes[0] == codes[1])


@given(TEXTS)
def test_a_label_keeps_any_text_on_one_line(text: str) -> None:
    label = encoded(text)
    assert decoded(label) == text
    assert label == label.strip()
    assert not set(label) & set(",;|[]\n\r")


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """An entry of the log with two lines."""
    minor, currency = draw(st.integers(1, 10**30)), draw(CURRENCIES)
    amount = f"{minor // 10**4}.{minor % 10**4:04d}"
    entry: dict[str, Any] = {
        "id": str(draw(st.uuids())),
        "kind": draw(st.sampled_from(["normal", "opening"])),
        "effective_on": draw(st.dates(date(1900, 1, 1), date(2100, 1, 1))).isoformat(),
        "value_on": draw(st.dates(date(1900, 1, 1), date(2100, 1, 1))).isoformat(),
        "description": draw(TEXTS),
    }
    for name, values in (("external_id", SHORT), ("reverses", st.uuids().map(str)), ("metadata", METADATA)):
        if (value := draw(st.none() | values)) not in (None, {}):
            entry[name] = value
    lines = []
    for code, side in zip(draw(st.tuples(CODES, CODES)), ("debit", "credit"), strict=True):
        line = {"account": code, "side": side, "amount": amount, "currency": currency}
        for name in ("party", "description"):
            if (value := draw(st.none() | SHORT)) is not None:
                line[name] = value
        lines.append(line)
    return {**entry, "lines": lines}


def account_of(code: str, currency: str, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": code, "name": name, "type": "asset", "normal_side": "debit", "currency": currency, "decimals": 4,
        "heading": None, "parent": None, "summary": False, "control_owner": None, "reconcilable": True, "cash": False,
        "cash_flow_class": None, "monetary": True, "translation": "closing",
        "overdraft": {"policy": "unlimited", "limit": None}, "external_id": None, "metadata": metadata,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("writer", "reader"),
    [(HledgerWriter, HledgerReader), (BeancountWriter, BeancountReader)],
    ids=["hledger", "beancount"],
)
@given(entry=entries(), name=SHORT, metadata=METADATA)
def test_what_was_written_is_read_back(
    writer: Callable[[Extent], Writer],
    reader: Callable[[], Reader],
    entry: dict[str, Any],
    name: str,
    metadata: dict[str, Any],
) -> None:
    writing = writer(EXTENT)
    codes = dict.fromkeys(line["account"] for line in entry["lines"])
    accounts = [account_of(code, entry["lines"][0]["currency"], name, metadata) for code in codes]
    text = "".join([writing.head(), *map(writing.account, accounts), writing.entry(7, entry), writing.tail()])
    reading = reader()
    found = [one for number, line in enumerate(text.split("\n"), 1) for one in reading.take(number, line)]
    found += reading.end()
    declared, posted = found[:-1], found[-1]
    names = {}
    for wanted, account in zip(accounts, declared, strict=True):
        assert isinstance(account, FoundAccount)
        assert account.body is not None
        assert {**wanted, **account.body} == wanted
        assert account.body.get("metadata", {}) == metadata
        names[account.name] = account.body["code"]
    assert isinstance(posted, FoundEntry)
    assert posted.reverses == entry.pop("reverses", None)
    lines = [{**line, "account": names[line["account"]]} for line in posted.body.pop("lines")]
    for line in [*lines, *entry["lines"]]:
        line["amount"] = str(scaled(line["amount"]))
    assert lines == entry.pop("lines")
    filled = {"kind": "normal", "value_on": posted.body["effective_on"], **posted.body}
    assert filled == entry


@given(entry=entries(), name=SHORT, metadata=METADATA)
def test_beancount_itself_reads_what_was_written(entry: dict[str, Any], name: str, metadata: dict[str, Any]) -> None:
    writing = BeancountWriter(EXTENT)
    codes = dict.fromkeys(line["account"] for line in entry["lines"])
    accounts = [account_of(code, entry["lines"][0]["currency"], name, metadata) for code in codes]
    text = "".join([writing.head(), *map(writing.account, accounts), writing.entry(7, entry), writing.tail()])
    directives, faults, _ = loader.load_string(text)
    assert not faults
    (transaction,) = [one for one in directives if isinstance(one, Transaction)]
    numbers: list[Any] = [posting.units and posting.units.number for posting in transaction.postings]
    amounts = [Decimal(line["amount"]) for line in entry["lines"]]
    kept = [(number.copy_abs(), amount) for number, amount in zip(numbers, amounts, strict=True)]
    assert all(found == amount for found, amount in kept if len(amount.as_tuple().digits) <= 28), "it keeps 28 digits"
    assert transaction.meta["id"] == entry["id"]
