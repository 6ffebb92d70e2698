"""Guards of what settles invoices beside payments, of promised refunds, and of tax that waits for a rate."""

from tests.removals.removal import Removal

SQL = "services/invoicing/migrations/0005_settling.sql"
SETTLING_TESTS, PAYMENTS = "tests/invoicing/test_settling.py::", "tests/invoicing/test_payments.py::"
ABROAD = "tests/invoicing/test_discounts_abroad.py::"
CASH = "tests/invoicing/test_cash_basis_books.py::"
REFUSED = SETTLING_TESTS + "test_the_database_refuses"


def _row(name: str, guard: str, old: str, new: str, *cases: str) -> Removal:
    return Removal(name, guard, SQL, old, new, tuple(f"{REFUSED}[{case}]" for case in cases))


SETTLING = [
    _row("sql-discount-terms", "No discount without terms.", "    if not found then\n", "    if false then\n",
         "a discount without terms"),
    _row("sql-discount-in-time", "No discount after its last day.", "new.paid_on > terms.until", "false",
         "a discount outside its time"),
    _row("sql-discount-within-terms", "No more is taken off than the terms allow.",
         "> round(terms.total * terms.percent / 100)", "> terms.total * 2", "a discount above its terms"),
    _row("sql-discount-undone-whole", "A discount is taken back whole.",
         "if new.kind = 'taken-back' and not exists (", "if false and not exists (", "a discount taken back in part"),
    _row("sql-terms-of-issued", "Terms of what is issued stay.",
         "create trigger guard_changed_terms after update on discount_terms referencing old table as touched\n"
         "    for each statement execute function guard_invoice_lines();\n", "", "terms of what is issued"),
    _row("sql-terms-removed", "Terms of what is issued are not removed.",
         "create trigger guard_removed_terms after delete on discount_terms referencing old table as touched\n"
         "    for each statement execute function guard_invoice_lines();\n", "", "terms gone"),
    _row("sql-discount-stands", "A discount stands on its invoice.",
         "create constraint trigger guard_settled after insert on discounts\n"
         "    deferrable initially deferred for each row execute function guard_settled();\n", "",
         "a discount that stands nowhere"),
    _row("sql-withholding-stands", "Tax withheld stands on its invoice.",
         "create constraint trigger guard_settled after insert on withholdings\n"
         "    deferrable initially deferred for each row execute function guard_settled();\n", "",
         "tax withheld that stands nowhere"),
    _row("sql-settled-by-document", "What settles an invoice is a document's.",
         "select 1 from added a where a.source = 'withholding' and not exists (",
         "select 1 from added a where false and not exists (", "an allocation that no withholding knows"),
    _row("sql-refund-promised", "No more of a promise is paid than it is.",
         "check (paid + cancelled <= amount)", "check (true)", "a promised refund is paid beyond itself"),
    _row("sql-refund-payments", "What is paid of a promise is the sum of its payments.",
         "create constraint trigger guard_refund_payable after insert or update of paid, cancelled on refunds_payable\n"
         "    deferrable initially deferred for each row execute function guard_refund_payable();\n", "",
         "paid without a payment"),
    _row("sql-refund-moves", "A payment of a promise is in the promise.",
         "create constraint trigger guard_refund_payable_move after insert on refund_payable_moves\n"
         "    deferrable initially deferred for each row execute function guard_refund_payable_move();\n", "",
         "a payment that the promise does not know"),
    Removal(
        "sql-discount-stays",
        "A discount is never removed.",
        SQL,
        "foreach name in array array['discounts', 'withholdings', 'refunds_payable']",
        "foreach name in array array['withholdings', 'refunds_payable']",
        (SETTLING_TESTS + "test_a_discount_is_kept_as_it_is[a discount gone]",),
    ),
    Removal(
        "sql-discount-taxes-stay",
        "A discount's tax is what it is.",
        SQL,
        "foreach name in array array['discount_taxes', 'refund_payable_moves', 'dispute_allocations']",
        "foreach name in array array['refund_payable_moves', 'dispute_allocations']",
        (
            SETTLING_TESTS + "test_a_discount_is_kept_as_it_is[a discount's tax changed]",
            SETTLING_TESTS + "test_a_discount_is_kept_as_it_is[a discount's tax gone]",
        ),
    ),
    Removal(
        "discount-at-its-issue-s-rate",
        "A discount is booked, and lost, at the rate of its invoice's issue.",
        "services/invoicing/discounting.py",
        "entries.discount_entry(purpose, note, await issue_books(connection, books, invoice))",
        "entries.discount_entry(purpose, note, books.books(key))",
        (
            ABROAD + "test_early_payment_takes_its_share_of_tax_at_the_issue_s_rate",
            ABROAD + "test_by_hand_in_parts_and_one_taken_back",
        ),
    ),
    Removal(
        "discount-lost-with-payment",
        "A discount goes with its payment.",
        "services/invoicing/discounting.py",
        "        for taken in await settlement_store.discounts_of(connection, key[0], [key[1]]):\n",
        "        for taken in []:\n",
        (SETTLING_TESTS + "test_a_discount_is_lost_with_its_payment_and_comes_back_with_it",),
    ),
    Removal(
        "put-back-where-open",
        "What a won dispute brings back goes no further than its invoices are open.",
        "services/invoicing/allocating.py",
        "        part = min(amount, left.get(invoice, 0))\n",
        "        part = min(amount, open_.get(invoice, 0))\n",
        ("tests/invoicing/test_early_payment.py::test_what_comes_back_twice_on_one_invoice_does_not_exceed_it",),
    ),
    Removal(
        "tax-not-booked-yet",
        "What settles an invoice whose tax is not booked yet waits.",
        "services/invoicing/cash_standing.py",
        '            found.waiting[key] = invoice["number"]\n            continue\n',
        "            rows = []\n",
        (CASH + "test_a_payment_that_waited_for_a_rate_moves_the_tax_it_would_have_moved_in_time[nothing]",),
    ),
    Removal(
        "tax-of-a-late-payment",
        "A payment that is made again late moves its tax.",
        "services/invoicing/redrafting.py",
        "    return entries.payment_entry(at_receipt, placed, known.books(key), due)\n",
        "    return entries.payment_entry(at_receipt, placed, known.books(key), [])\n",
        (CASH + "test_a_payment_that_waited_for_a_rate_moves_the_tax_it_would_have_moved_in_time",),
    ),
]  # fmt: skip
