"""A thousand histories of receivables, drawn: every cent stays in sight, in the documents and in the books."""

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from services.invoicing.entry_drafts import TaxBasis
from tests.properties.receivable_endings import STEPS, check_books, check_documents
from tests.properties.receivable_history import History

EXAMPLES = settings(max_examples=1_000, deadline=None)
OPENING = st.tuples(st.sampled_from(["issue", "pay"]), st.integers(0, 999), st.integers(0, 999), st.integers(1, 100))
STEP = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 999), st.integers(0, 999), st.integers(1, 100))


@EXAMPLES
@given(st.sampled_from(get_args(TaxBasis)), st.lists(OPENING, min_size=2, max_size=6), st.lists(STEP, max_size=25))
def test_every_cent_stays_in_sight(
    tax_basis: TaxBasis, opening: list[tuple[str, int, int, int]], steps: list[tuple[str, int, int, int]]
) -> None:
    history = History(tax_basis)
    for name, first, second, percent in [*opening, *steps]:
        history.step(name, STEPS[name], first, second, percent)
        check_documents(history)
    check_books(history)


def test_every_step_is_taken_by_some_history() -> None:
    """The same walk through all steps for each basis: what no history ever does would be proven of nothing."""
    taken = set()
    for tax_basis in get_args(TaxBasis):
        history = History(tax_basis)
        number = 7
        for round_ in range(400):
            number = (number * 1_103 + 12_345) % 65_537
            name = sorted(STEPS)[number % len(STEPS)] if round_ % 3 else ("issue", "pay")[round_ % 2]
            history.step(name, STEPS[name], number % 991, number % 983, 1 + number % 100)
            check_documents(history)
        check_books(history)
        taken |= set(history.taken)
    assert taken == set(STEPS)
