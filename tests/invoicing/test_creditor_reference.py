"""ISO 11649 references: the standard's sample, made and checked, one changed character noticed, found in free text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.invoicing.creditor_reference import REFERENCE_MAX, check, found_in, make, printed

TEXTS = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=REFERENCE_MAX)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("539007547034", "RF18539007547034"),
        ("2348231", "RF712348231"),
        ("2026-000001", "RF422026000001"),
        ("inv/2026-1", "RF85INV20261"),
        ("", None),
        ("---", None),
        ("A" * 22, None),
    ],
)
def test_a_reference_is_made_of_a_number(text: str, reference: str | None) -> None:
    assert make(text) == reference


@given(TEXTS)
def test_what_is_made_is_right(text: str) -> None:
    reference = make(text)
    assert reference is not None
    assert check(reference)
    assert check(printed(reference).lower())
    assert found_in(f"Payment of {printed(reference)}, thank you") == [reference]


@given(TEXTS, st.data())
def test_one_changed_character_is_noticed(text: str, draws: st.DataObject) -> None:
    reference = make(text)
    assert reference is not None
    place = draws.draw(st.integers(2, len(reference) - 1))
    kind = "0123456789" if reference[place].isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    other = draws.draw(st.sampled_from(kind.replace(reference[place], "")))
    assert not check(reference[:place] + other + reference[place + 1 :])


@pytest.mark.parametrize(
    "text", ["", "RF", "RF18", "RF1٨53", "RF19539007547034", "XX18539007547034", "RF18" + "1" * 22]
)
def test_what_is_none_is_refused(text: str) -> None:
    assert not check(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RF18539007547034", ["RF18539007547034"]),
        ("/ROC/RF18 5390 0754 7034//", ["RF18539007547034"]),
        ("rf18 5390 0754 7034 and RF71 2348 231 too", ["RF18539007547034", "RF712348231"]),
        ("RF18 5390 0754 7034 INVOICE 7", ["RF18539007547034"]),
        ("RF18 5390 0754 7034 RF18 5390 0754 7034", ["RF18539007547034"]),
        ("XRF18539007547034", []),
        ("RF19 5390 0754 7034", []),
        ("nothing of the kind, RF 7", []),
    ],
)
def test_references_are_found_in_free_text(text: str, found: list[str]) -> None:
    assert found_in(text) == found
