"""Guards of tax returns (what is filed is frozen, every line is on one return) and of what an ageing puts back."""

from tests.removals.removal import Removal

FOLLOW_UP = "services/invoicing/migrations/0007_following_up.sql"
REFUSED = "tests/invoicing/test_tax_returns.py::test_the_database_refuses"


def _row(name: str, guard: str, old: str, new: str, *cases: str) -> Removal:
    return Removal(name, guard, FOLLOW_UP, old, new, tuple(f"{REFUSED}[{case}]" for case in cases))


FOLLOWING = [
    _row(
        "sql-filed-is-frozen",
        "A filed return does not change.",
        "if old.state = 'filed' then",
        "if false then",
        "a filed return changed",
        "a filed return opened",
    ),
    _row(
        "sql-no-lines-after-filing",
        "Nothing is put into a filed return.",
        "where r.state <> 'open'",
        "where false",
        "a line put into a filed return",
    ),
    _row(
        "sql-reported-once",
        "A line of a document is on one return.",
        "constraint reported_once unique (source, part, organization)",
        "constraint reported_once unique (source, part, organization, place)",
        "a line reported twice",
    ),
    _row(
        "sql-line-in-its-period",
        "A line is of the period of its return, or marked as a correction.",
        "where a.tax_point_on > r.to_on or a.is_correction <> (a.tax_point_on < r.from_on)",
        "where false",
        "a line after its period",
        "a correction that is not marked",
    ),
    _row(
        "sql-returns-do-not-overlap",
        "The returns of a number do not overlap.",
        "if new.from_on <= last then",
        "if false then",
        "a return that overlaps",
    ),
    _row(
        "sql-no-gap-without-a-reason",
        "Between the returns of a number is no day, unless it is said why.",
        "if new.from_on > last + 1 and new.gap_reason is null then",
        "if false then",
        "a gap without a reason",
    ),
    _row(
        "sql-filed-in-order",
        "Returns are filed one after another.",
        "if new.state = 'filed' and exists (",
        "if false and exists (",
        "filed before an earlier one",
    ),
    Removal(
        "sql-allocation-day",
        "An allocation keeps the day of its invoice's issue, whatever is said.",
        "services/invoicing/migrations/0010_allocation_days.sql",
        "before insert on allocations for each row execute",
        "before insert on allocations for each row when (new.invoice_issued_on is null) execute",
        ("tests/invoicing/test_guards.py::test_an_allocation_keeps_the_day_of_its_invoice_whatever_it_says",),
    ),
    Removal(
        "ageing-of-later-invoices",
        "What came since on invoices of then is put back, to the last day.",
        "services/invoicing/ageing_reads.py",
        "and invoice_issued_on <= $3",
        "and invoice_issued_on < $3",
        ("tests/invoicing/test_ageing_past.py::test_any_day_as_it_was_known_at_any_time",),
    ),
]
