"""Guards of what is issued: drafts that alone may change or go, parties and hashes that stay, batches that gather."""

from tests.removals.removal import Removal

DOCUMENTS = "services/invoicing/migrations/0003_issued_documents.sql"
NOTES = "services/invoicing/migrations/0011_periods_and_notes.sql"
CHANGES, ISSUED = "services/invoicing/draft_changes.py", "services/invoicing/issued_parties.py"
REFUSED = "tests/invoicing/test_guards.py::test_the_database_refuses"
DRAFTS, PARTIES = "tests/invoicing/test_draft_changes.py::", "tests/invoicing/test_issued_parties.py::"

ISSUING = [
    Removal(
        "sql-only-drafts-go",
        "The database deletes drafts alone.",
        DOCUMENTS,
        "if old.status <> 'draft' then",
        "if false then",
        (f"{REFUSED}[an issued invoice gone]",),
    ),
    Removal(
        "sql-document-hash-stays",
        "A document's hash is given once.",
        DOCUMENTS,
        "or (old.document_hash is not null and",
        "or (false and",
        (f"{REFUSED}[another hash of a document that has one]",),
    ),
    Removal(
        "sql-erased-stays-erased",
        "A buyer who was erased does not come back.",
        DOCUMENTS,
        "or (old.buyer is null and",
        "or (false and",
        (f"{REFUSED}[a buyer back that was erased]",),
    ),
    Removal(
        "sql-parties-stay",
        "Under one key the parties stay what they are.",
        DOCUMENTS,
        "or (new.key_id = old.key_id and",
        "or (false and",
        (f"{REFUSED}[another seller under the same key]", f"{REFUSED}[another buyer under the same key]"),
    ),
    Removal(
        "draft-version",
        "A draft changes and goes by the version that was read.",
        CHANGES,
        'if version is not None and version != row["version"]:',
        "if False:",
        (f"{DRAFTS}test_what_cannot_be_changed_stays_and_says_why", f"{DRAFTS}test_a_draft_goes_and_leaves_no_gap"),
    ),
    Removal(
        "draft-ledger",
        "A draft stays in its ledger.",
        CHANGES,
        'if wish.ledger != row["ledger"]:',
        "if False:",
        (f"{DRAFTS}test_what_cannot_be_changed_stays_and_says_why",),
    ),
    Removal(
        "draft-only",
        "What is issued neither changes nor goes.",
        "services/invoicing/domain.py",
        'def redraw(standing: Standing) -> Amounts | Rejection:\n'
        '    """A draft may become another one, or go; what is issued stays as it is."""\n'
        '    if standing.status != "draft":',
        'def redraw(standing: Standing) -> Amounts | Rejection:\n'
        '    """A draft may become another one, or go; what is issued stays as it is."""\n'
        "    if False:",
        (f"{DRAFTS}test_what_cannot_be_changed_stays_and_says_why", f"{DRAFTS}test_a_draft_goes_and_leaves_no_gap"),
    ),
    Removal(
        "document-checked",
        "A document is printed only where it has the hash that it had.",
        "services/invoicing/document_api.py",
        'if kept["document_form"] == html.FORM and document_hash(printed) != kept["document_hash"]:',
        "if False:",
        (
            f"{PARTIES}test_a_document_that_was_changed_behind_us_is_not_printed",
            f"{PARTIES}test_a_credit_note_that_was_changed_behind_us_is_not_printed",
        ),
    ),
    Removal(
        "credit-note-checked",
        "A credit note is printed only where it has the hash that it had.",
        "services/invoicing/document_api.py",
        "            _compare(printed, row)\n",
        "            pass\n",
        (f"{PARTIES}test_a_credit_note_that_was_changed_behind_us_is_not_printed",),
    ),
    Removal(
        "sql-credit-note-fixed",
        "An issued credit note is what it is.",
        NOTES,
        "    if (to_jsonb(new) - array['posting', 'document_hash', 'document_form'])\n",
        "    if false and (to_jsonb(new) - array['posting', 'document_hash', 'document_form'])\n",
        (f"{PARTIES}test_the_database_keeps_a_credit_note_as_it_is",),
    ),
    Removal(
        "sql-credit-note-hash-stays",
        "A credit note's hash is given once.",
        NOTES,
        "or (old.document_hash is not null and",
        "or (false and",
        (f"{PARTIES}test_the_database_keeps_a_credit_note_as_it_is",),
    ),
    Removal(
        "erased-in-documents",
        "An erasure reaches what was issued.",
        "services/invoicing/customers.py",
        "        await party_store.erase_buyer(connection, organization, customer, now)\n",
        "",
        (f"{PARTIES}test_erased_is_erased_from_what_was_issued",),
    ),
    Removal(
        "erased-gets-no-invoice",
        "Nothing is issued to a customer who was erased since the draft.",
        "services/invoicing/invoices.py",
        "if each.is_issued and _customer(each) not in buyers:",
        "if False:",
        (f"{PARTIES}test_erased_is_erased_from_what_was_issued",),
    ),
    Removal(
        "party-seal-owner",
        "A party's seal is of its invoice and part alone.",
        ISSUED,
        'return f"issued/{organization}/{invoice}/{part}".encode()',
        'return f"issued/{organization}".encode()',
        (f"{PARTIES}test_a_seal_opens_for_its_own_invoice_and_part_alone",),
    ),
    Removal(
        "issue-gathers",
        "Who is answered and asks again joins the next batch.",
        "services/invoicing/issuing.py",
        "            await self._gather()\n",
        "",
        ("tests/invoicing/test_numbers.py::test_who_asks_again_after_an_answer_joins_the_next_batch",),
    ),
    Removal(
        "outbox-paced",
        "While commits follow one another the outbox begins a round now and then.",
        "libs/common/outbox.py",
        "if 0 < relayed < self._batch:",
        "if False:",
        ("tests/common/test_outbox.py::test_while_commits_follow_one_another_rounds_are_paced",),
    ),
]  # fmt: skip
