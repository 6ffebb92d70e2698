"""What is owed on an invoice: attempts as a table, every pair of states, and a small world walked through whole."""

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from services.invoicing import domain
from services.invoicing.domain import STATUSES, TRANSITIONS, Amounts, Standing, Status, may_follow, status_of
from services.invoicing.rejections import REJECTIONS

USD = ISO_4217["USD"]
Rule = Callable[..., Amounts | Rejection]
RULES: dict[str, Rule] = {
    "issue": domain.issue,
    "redraw": domain.redraw,
    "void": domain.void,
    "allocate": domain.allocate,
    "unallocate": domain.unallocate,
    "credit": domain.credit,
    "take-back-discount": domain.take_back_discount,
    "write-off": domain.write_off,
    "reverse-write-off": domain.reverse_write_off,
}

TABLE = """
# total paid credited written-off | rule                    | verdict
draft  100   0   0   0            | issue                   | issued      0   0   0
draft    0   0   0   0            | issue                   | paid        0   0   0
draft  100   0   0   0            | void                    | not-issued
draft  100   0   0   0            | allocate 10             | not-issued
draft  100   0   0   0            | credit 10               | not-issued
draft  100   0   0   0            | write-off 10            | not-issued
void   100   0   0   0            | issue                   | not-a-draft status=void
void   100   0   0   0            | redraw                  | not-a-draft status=void
void   100   0   0   0            | void                    | invoice-void
void   100   0   0   0            | allocate 10             | invoice-void
void   100   0   0   0            | write-off               | invoice-void
owed   100   0   0   0            | issue                   | not-a-draft status=issued
owed   100   0   0   0            | redraw                  | not-a-draft status=issued
owed   100 100   0   0            | redraw                  | not-a-draft status=paid
owed   100   0   0   0            | void                    | void        0   0   0
owed   100  10   0   0            | void                    | void-not-allowed paid=0.10
owed   100   0  10   0            | void                    | void-not-allowed credited=0.10
owed   100   0   0  10            | void                    | void-not-allowed written_off=0.10
owed     0   0   0   0            | void                    | void-not-allowed status=paid
owed   100   0   0   0            | allocate 40             | part-paid  40   0   0
owed   100  40   0   0            | allocate 60             | paid      100   0   0
owed   100   0  60   0            | allocate 40             | paid       40  60   0
owed   100  40   0   0            | allocate 61             | allocation-exceeds-open open=0.60 amount=0.61
owed   100   0   0   0            | allocate 0              | amount-not-positive amount=0.00
owed   100   0   0   0            | allocate -1             | amount-not-positive amount=-0.01
owed   100 100   0   0            | allocate 1              | allocation-exceeds-open open=0.00
owed   100 100   0   0            | unallocate 100          | issued      0   0   0
owed   100 100   0   0            | unallocate 30           | part-paid  70   0   0
owed   100  40   0   0            | unallocate 41           | unallocation-exceeds-paid paid=0.40 amount=0.41
owed   100   0   0   0            | credit 100              | credited    0 100   0
owed   100   0   0   0            | credit 40               | part-paid   0  40   0
owed   100  60   0   0            | credit 40               | paid       60  40   0
owed   100  60   0   0            | credit 41               | credit-exceeds-invoice open=0.40
owed   100  98   2   0            | take-back-discount 2    | part-paid  98   0   0
owed   100  98   2   0            | take-back-discount 3    | unallocation-exceeds-discount credited=0.02
owed   100   0 100   0            | take-back-discount 1    | unallocation-exceeds-discount credited=1.00
owed   100   0   0   0            | write-off               | written-off 0   0 100
owed   100  70   0   0            | write-off               | written-off 70  0  30
owed   100  70   0   0            | write-off 10            | part-paid  70   0  10
owed   100  70   0   0            | write-off 31            | write-off-exceeds-open open=0.30
owed   100 100   0   0            | write-off               | amount-not-positive
owed   100  70   0  10            | allocate 20             | written-off 90  0  10
owed   100   0   0 100            | reverse-write-off       | issued      0   0   0
owed   100   0   0 100            | reverse-write-off 1     | part-paid   0   0  99
owed   100  70   0  30            | unallocate 70           | part-paid   0   0  30
owed   100  70   0  30            | reverse-write-off 31    | reversal-exceeds-write-off written_off=0.30
"""


def standing(kind: str, amounts: Amounts) -> Standing:
    """Of a draft, a void invoice, or one that is owed."""
    return Standing(status_of(amounts, kind == "draft", kind == "void"), amounts, USD)


def rows() -> Iterator[str]:
    """The table's rows; what begins with # says nothing."""
    return (row for row in TABLE.strip().splitlines() if not row.startswith("#"))


@pytest.mark.parametrize("row", list(rows()))
def test_rules(row: str) -> None:
    (kind, *numbers), (rule, *amount), (verdict, *rest) = (column.split() for column in row.split("|"))
    before = standing(kind, Amounts(*map(int, numbers)))
    after = RULES[rule](before, *map(int, amount))
    if verdict in REJECTIONS:
        assert isinstance(after, Rejection)
        assert after.code == verdict
        words = dict(word.split("=") for word in rest)
        assert {word: after.facts[word] for word in words} == words
    else:
        assert isinstance(after, Amounts), after
        assert status_of(after, is_draft=False, is_void=rule == "void") == verdict
        assert [after.paid, after.credited, after.written_off] == list(map(int, rest))
        assert may_follow(before.status, status_of(after, is_draft=False, is_void=rule == "void"))


def test_a_refusal_says_where_and_how_much() -> None:
    refused = domain.allocate(standing("owed", Amounts(100, 40)), 61, "/allocations/2/amount")
    assert isinstance(refused, Rejection)
    assert refused.errors[0].pointer == "/allocations/2/amount"
    assert "0.61 USD is more than the 0.60 open" in refused.detail


PAIRS = """
            draft issued part-paid paid credited void written-off
draft         x     x        -      x       -     -        -
issued        -     x        x      x       x     x        x
part-paid     -     x        x      x       x     -        x
paid          -     x        x      x       -     -        -
credited      -     -        -      -       x     -        -
void          -     -        -      -       -     x        -
written-off   -     x        x      -       -     -        x
"""


def test_every_pair_of_states() -> None:
    columns, *lines = (line.split() for line in PAIRS.strip().splitlines())
    marked = {(row[0], column): mark == "x" for row in lines for column, mark in zip(columns, row[1:], strict=True)}
    assert marked == {pair: reason is not None for pair, reason in TRANSITIONS.items()}
    assert len(marked) == len(STATUSES) ** 2


def _worlds(total: int) -> Iterator[Amounts]:
    for paid, credited, written_off in product(range(total + 1), repeat=3):
        if paid + credited + written_off <= total:
            yield Amounts(total, paid, credited, written_off)


def test_the_rules_lead_exactly_where_the_table_says() -> None:
    """All amounts of totals up to 4, all rules, all amounts moved: the pairs met are the pairs of the table."""
    met: set[tuple[Status, Status]] = {(status, status) for status in STATUSES}
    for total in range(5):
        starts = [standing("draft", Amounts(total)), standing("void", Amounts(total))]
        starts += [standing("owed", amounts) for amounts in _worlds(total)]
        for start, rule, amount in product(starts, RULES, range(total + 2)):
            arguments = () if rule in ("issue", "redraw", "void") else (amount,)
            after = RULES[rule](start, *arguments)
            if isinstance(after, Amounts):
                assert after.total == after.paid + after.credited + after.written_off + after.open
                met.add((start.status, status_of(after, is_draft=rule == "redraw", is_void=rule == "void")))
    assert met == {pair for pair, reason in TRANSITIONS.items() if reason is not None}


def test_what_is_owed() -> None:
    assert domain.receivable("issued", Amounts(100)) == 100
    assert domain.receivable("part-paid", Amounts(100, 30)) == 70
    assert domain.receivable("draft", Amounts(100)) == 0
    assert domain.receivable("void", Amounts(100)) == 0


@pytest.mark.parametrize("numbers", [(100, 101), (100, 60, 41), (100, -1), (-1,), (100, 50, 51, -1)])
def test_amounts_that_cannot_be_are_a_defect(numbers: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match="cannot be"):
        Amounts(*numbers)


@pytest.mark.parametrize(
    ("states", "says"),
    [
        ([], "none"),
        (["withdrawn"], "none"),
        (["posted", "withdrawn"], "posted"),
        (["posted", "waiting"], "requested"),
        (["posted", "requested"], "requested"),
        (["posted", "requested", "needs-attention"], "needs-attention"),
    ],
)
def test_a_document_s_posting_is_the_worst_of_its_postings(states: list[str], says: str) -> None:
    assert domain.posting_of(states) == says
