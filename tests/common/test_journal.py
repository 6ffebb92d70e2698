"""The vocabulary: ids every service derives alike, and the shapes of codes, amounts and rates."""

import re
from typing import Any, get_args

import pytest

from libs.common import journal
from libs.common.journal import Pattern, ledger_id, organization_id, position_codes


def regex(annotated: Any) -> str:
    """The regular expression of an annotated text."""
    return next(part.regex for part in get_args(annotated) if isinstance(part, Pattern))


def test_ids_are_the_same_for_ever() -> None:
    """Written down: another value would be other books."""
    assert str(organization_id("demo")) == "2db7f576-de4a-5f50-958a-b41e7c8d92da"
    assert str(ledger_id("demo", "main")) == "82aebb8c-2336-5546-a4e1-b06bee84aa35"
    assert ledger_id("demo", "main") != ledger_id("demo", "second") != ledger_id("other", "second")


def test_every_type_has_a_normal_side_and_every_side_another() -> None:
    assert set(journal.NORMAL_SIDE) == set(get_args(journal.AccountType))
    assert {journal.OTHER_SIDE[side] for side in journal.NORMAL_SIDE.values()} == {"debit", "credit"}


@pytest.mark.parametrize(
    ("annotated", "good", "bad"),
    [
        (journal.SlugText, ["a", "demo", "a-1", "x" * 63], ["", "-a", "a-", "Demo", "a_b", "x" * 64, "a\n"]),
        (journal.CodeText, ["1010-CASH", "Assets:Bank", "Übertrag", "a.b", "_"], ["", "-a", "a b", "a/b", "x" * 129]),
        (journal.CurrencyText, ["USD", "POINT-X", "A.1", "X" * 24], ["", "US", "usd", "1US", "US-", "X" * 25]),
        (
            journal.AmountText,
            ["0", "1.5", "-1", "007", "9" * 60],
            ["", ".5", "5.", "1,5", "1e3", "+1", "٣", " 1", "NaN"],
        ),
        (journal.RateText, ["1", "0.5", "9" * 20], ["", "-1", "1e3", ".5", "9" * 21]),
    ],
)
def test_what_a_text_may_be(annotated: Any, good: list[str], bad: list[str]) -> None:
    """`$` of the edges' regular expressions is the very end of the text, as `\\Z` here."""
    pattern = re.compile(regex(annotated).removesuffix("$") + r"\Z")
    assert [text for text in good if not pattern.match(text)] == []
    assert [text for text in bad if pattern.match(text)] == []


def test_a_position_pair_is_named_after_its_currency() -> None:
    assert position_codes("EUR") == ("FX-POSITION-EUR", "FX-EQUIVALENT-EUR")
