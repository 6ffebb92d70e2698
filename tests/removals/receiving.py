"""Invoicing's guards: the database's as they stand in the migration, and those that keep one answer to one wish."""

from tests.removals.removal import Removal

RECEIVABLES = "services/invoicing/migrations/0001_receivables.sql"
PAYING = "services/invoicing/migrations/0004_paying.sql"
WHAT_IS_OPEN = "services/invoicing/migrations/0009_what_is_open.sql"
REFUSED = "tests/invoicing/test_guards.py::test_the_database_refuses"
ROLES, NUMBERS = "tests/invoicing/test_roles.py::", "tests/invoicing/test_numbers.py::"
POSTINGS, API = "tests/invoicing/test_postings.py::", "tests/invoicing/test_api.py::"


def _row(name: str, guard: str, old: str, new: str, *cases: str, file: str = RECEIVABLES) -> Removal:
    return Removal(name, guard, file, old, new, tuple(f"{REFUSED}[{case}]" for case in cases))


RECEIVING = [
    _row(
        "sql-issued-is-fixed",
        "What is issued does not change.",
        "or (old.status <> 'draft' and (",
        "or (false and (",
        "its content",
        "its day",
    ),
    _row(
        "sql-status-steps",
        "A status comes from one it may come from.",
        "if new.status <> old.status and not (",
        "if false and not (",
        "back to a draft",
        "void of what is paid in part",
    ),
    _row(
        "sql-status-fits-amounts",
        "A status is what the amounts say.",
        "constraint status_fits_amounts check (case status",
        "constraint status_fits_amounts check (true or case status",
        "paid that is open",
    ),
    _row(
        "sql-not-above-total",
        "No more is on an invoice than its total.",
        "check (paid + credited + written_off <= total)",
        "check (true)",
        "more on it than its total",
    ),
    _row(
        "sql-invoice-sums-are-proved",
        "What stands on an invoice or is placed of a payment is the sum of allocations and write-offs.",
        "having sum(d.difference) <> 0",
        "having false",
        "paid without an allocation",
        "credited without a credit note",
        "written off without a write-off",
        "an allocation that nothing shows",
        "a payment placed where no allocation is",
        "a write-off that nothing shows",
        file=WHAT_IS_OPEN,
    ),
    _row(
        "sql-payment-placed",
        "What a payment placed is the sum of its allocations.",
        "when (old.allocated <> new.allocated)",
        "when (false)",
        "a payment placed where no allocation is",
        file=WHAT_IS_OPEN,
    ),
    _row(
        "sql-write-offs-are-noted",
        "A write-off stands on its invoice.",
        "from added where kind in ('write-off', 'reversal')",
        "from added where false",
        "a write-off that nothing shows",
        file=WHAT_IS_OPEN,
    ),
    Removal(
        "sql-settled-is-not-open",
        "What is settled is not among what is open.",
        WHAT_IS_OPEN,
        "if changed.closed is not null then",
        "if false then",
        ("tests/invoicing/test_guards.py::test_what_is_open_stands_beside_the_invoices",),
    ),
    Removal(
        "sql-open-by-so-much",
        "What is open says how much.",
        WHAT_IS_OPEN,
        "do update set open = excluded.open;",
        "do nothing;",
        ("tests/invoicing/test_guards.py::test_what_is_open_stands_beside_the_invoices",),
    ),
    _row(
        "sql-invoice-version",
        "Every change of an invoice raises its version.",
        "if new.version <= old.version then",
        "if false then",
        "a change without a version",
    ),
    _row("sql-numbers-fall", "A series never falls.", "if new.last < old.last then", "if false then",
         "numbers taken back"),
    _row(
        "sql-lines-of-issued",
        "Lines and taxes of an issued invoice stay.",
        "where i.status <> 'draft' and i.xmin <> pg_current_xact_id()::xid",
        "where false",
        "a line added to what is issued",
        "a line of it changed",
        "a line of it gone",
        "a tax row added",
    ),
    _row(
        "sql-undoing",
        "An undoing is of the allocation it names.",
        "where a.undoes is not null",
        "where false and a.undoes is not null",
        "an undoing of another amount",
        file=WHAT_IS_OPEN,
    ),
    _row(
        "sql-payment-is-fixed",
        "What was received stays what it is.",
        "if (new.organization, new.id, new.ledger, new.provider, new.payment_id, new.currency, new.amount, new.fee, "
        "new.received_on, new.created_at)\n       is distinct from",
        "if false and (new.organization, new.id, new.ledger, new.provider, new.payment_id, new.currency, new.amount, "
        "new.fee, new.received_on, new.created_at)\n       is distinct from",
        "a payment's amount",
    ),
    _row(
        "sql-payment-is-looked-at",
        "The guard of payments is called where one of its columns changes.",
        "when ((new.organization, new.id, new.ledger, new.provider, new.payment_id, new.currency, new.amount, new.fee,",
        "when (false and (new.organization, new.id, new.ledger, new.provider, new.payment_id, new.currency, "
        "new.amount, new.fee,",
        "a payment's amount",
        file=PAYING,
    ),
    _row(
        "sql-posting-is-looked-at",
        "The guard of postings is called where one was posted.",
        "          or old.state = 'posted' or",
        "          or",
        "a posted entry asked for again",
        "a posted entry under another sequence",
        file=PAYING,
    ),
    _row(
        "sql-movement-is-looked-at",
        "The guard of movements is called where a sequence is known.",
        "          or old.sequence is not null)",
        "          )",
        "a movement's sequence",
        file=PAYING,
    ),
    _row(
        "sql-movement-of-a-posting",
        "A movement is of a posting.",
        "where not exists (select 1 from postings p where p.organization = a.organization and p.id = a.posting)",
        "where false",
        "a movement of no posting",
        file=PAYING,
    ),
    _row(
        "sql-payment-adds-up",
        "Every cent of a payment is somewhere.",
        "check (allocated + unapplied + to_credit + refunded = amount)",
        "check (true)",
        "money of a payment lost",
    ),
    _row(
        "sql-duplicate-payment",
        "A provider's payment is recorded once.",
        "    constraint duplicate_payment unique (payment_id, provider, organization),\n",
        "",
        "another payment of the same name",
    ),
    _row("sql-credit-exceeded", "Customer credit is never negative.",
         " constraint credit_exceeded check (balance >= 0)", "", "credit below zero"),
    _row(
        "sql-posted-stays",
        "A posted entry stays posted.",
        "if old.state = 'posted' and (new.state, new.sequence) is distinct from (old.state, old.sequence)",
        "if false",
        "a posted entry asked for again",
        "a posted entry under another sequence",
    ),
    _row(
        "sql-movement-is-fixed",
        "A movement's sequence is the ledger's, once.",
        "or (old.sequence is not null and new.sequence is distinct from old.sequence)",
        "or false",
        "a movement's sequence",
    ),
    _row(
        "sql-one-posting",
        "A document asks once for each purpose.",
        "    constraint one_posting_per_purpose unique (document, purpose, organization),\n",
        "",
        "a second entry of one purpose",
    ),
    Removal(
        "sql-receivables-by-organization",
        "The reader sees one organization's rows.",
        RECEIVABLES,
        "using (organization = current_setting(''ledgerbus.organization'', true))",
        "using (true)",
        (ROLES + "test_the_reader_sees_its_organization_alone",),
    ),
    Removal(
        "key-of-another-wish",
        "A key that stands for something else is refused.",
        "services/invoicing/asking.py",
        "if known.fingerprint != wish.fingerprint:",
        "if False:",
        (NUMBERS + "test_50_copies_of_one_wish_are_one_invoice", API + "test_50_copies_of_one_payment_are_one"),
    ),
    Removal(
        "answer-of-an-old-attempt",
        "The answer to an earlier attempt is old news.",
        "services/invoicing/posting_store.py",
        "           and p.attempt = answer.attempt\n",
        "",
        (POSTINGS + "test_a_refused_posting_needs_attention_and_is_tried_again_under_the_next_attempt",),
    ),
    Removal(
        "dependent-posting",
        "A posting waits for the one it depends on.",
        "services/invoicing/posting_requests.py",
        'if self.value is None or depends_on_state not in (None, "posted"):',
        "if self.value is None:",
        (POSTINGS + "test_a_payment_waits_for_its_invoice_to_be_posted",),
    ),
    Removal(
        "refused-before-a-number",
        "What is refused draws no number.",
        "services/invoicing/invoices.py",
        "    making, refused = _that_can_be(planned, books, buyers)\n    answers.update(refused)\n",
        "    making = planned\n",
        (API + "test_a_bad_invoice_is_refused_with_its_place[a ledger without a mapping]",),
    ),
]  # fmt: skip
"""A guard, how it is taken away, and the tests that must fail then."""
