"""Guards of tax: what is filed is frozen, returns follow one another; what is reported, and its tie to the books."""

from tests.removals.removal import Removal

FOLLOW_UP = "services/invoicing/migrations/0007_following_up.sql"
REFUSED = "tests/invoicing/test_tax_returns.py::test_the_database_refuses"
READS, TAX = "services/invoicing/tax_reads.py", "tests/invoicing/test_tax.py::"
ABROAD = "tests/invoicing/test_tax_abroad.py::"


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
        "services/invoicing/migrations/0012_allocation_days.sql",
        "before insert on allocations for each row execute",
        "before insert on allocations for each row when (new.invoice_issued_on is null) execute",
        ("tests/invoicing/test_guards.py::test_an_allocation_keeps_the_day_of_its_invoice_whatever_it_says",),
    ),
    Removal(
        "ageing-of-later-invoices",
        "What came since on invoices of then is put back, to the last day.",
        "services/invoicing/ageing_reads.py",
        "and invoice_issued_on <= $8",
        "and invoice_issued_on < $8",
        ("tests/invoicing/test_ageing_past.py::test_any_day_as_it_was_known_at_any_time",),
    ),
    Removal(
        "ageing-columns-touch",
        "A column of an ageing ends before the next begins.",
        "services/invoicing/ageing_reads.py",
        "days = [asked.as_of - timedelta(days=threshold) for threshold in asked.thresholds]",
        "days = [asked.as_of - timedelta(days=threshold - 1) for threshold in asked.thresholds]",
        ("tests/invoicing/test_ageing_past.py::test_any_day_as_it_was_known_at_any_time",),
    ),
    Removal(
        "discounts-reported",
        "On accrual a discount lowers what is reported, and its loss raises it again.",
        READS,
        "        where d.organization = $1 and d.ledger = $2 and d.on_date between $3 and $4\n",
        "        where false and d.ledger = $2 and d.on_date between $3 and $4\n",
        (
            f"{TAX}test_discounts_and_tax_withheld_day_by_day[accrual]",
            f"{TAX}test_any_days_on_accrual_are_their_documents",
        ),
    ),
    Removal(
        "discounts-reported-on-cash",
        "On cash basis a discount moves what is due.",
        READS,
        "and a.invoice = any($2) and a.source = 'discount'\n",
        "and a.invoice = any($2) and false\n",
        (f"{TAX}test_discounts_and_tax_withheld_day_by_day[cash]",),
    ),
    Removal(
        "unexplained-cent",
        "What no document explains is a difference, also where there is foreign currency.",
        "services/invoicing/tax_report.py",
        "return self.reported - self.not_booked + self.at_other_rates - self.not_posted - self.books",
        "return 0 if self.at_other_rates else self.reported - self.not_booked - self.not_posted - self.books",
        (f"{ABROAD}test_a_cent_that_no_document_explains_is_seen", f"{ABROAD}test_tax_that_an_entry_has_not_is_seen"),
    ),
    Removal(
        "rate-of-the-entry",
        "A document's tax in the books is at its entry's own rate.",
        "services/invoicing/tax_gathering.py",
        "    if own.code != functional:\n",
        "    if False:\n",
        (f"{ABROAD}test_any_days_tie_to_the_cent_in_two_currencies[0-cash]",),
    ),
    Removal(
        "entry-without-tax",
        "An entry that has no tax where its document has some is seen.",
        READS,
        "        left join movements m on m.organization",
        "        join movements m on m.organization",
        (f"{ABROAD}test_tax_that_an_entry_has_not_is_seen[accrual]",),
    ),
    Removal(
        "tax-alone-crosses",
        "Where tax alone crosses to the books' currency its rows are worth what their sum is.",
        "services/invoicing/tax_entries.py",
        "    if worths and not any(",
        "    if False and not any(",
        (f"{ABROAD}test_where_tax_alone_is_booked_in_dollars_it_ties_too",),
    ),
]
