"""The guards of what invoices come to: the rules of drafts, each rounding and each remainder, what documents show."""

from tests.removals.removal import Removal

DRAFTS, SUMS = "services/invoicing/drafts.py", "services/invoicing/arithmetic.py"
CREDITS, CENTS = "services/invoicing/crediting.py", "services/invoicing/documents/cents.py"
EN16931, AGEING = "services/invoicing/documents/en16931.py", "services/invoicing/ageing.py"

TABLE, CREDITING = "tests/invoicing/test_arithmetic.py::", "tests/invoicing/test_crediting.py::"
DRAWN, WRITTEN = "tests/properties/test_invoice_sums.py::", "tests/invoicing/test_einvoices.py::"
PAGES = "tests/invoicing/test_documents.py::"
REFUSED, ADDED = TABLE + "test_a_draft_is_refused_with_code_and_place", TABLE + "test_an_invoice_adds_up_to_the_cent"
FOLLOWS, SPLIT = (
    CREDITING + "test_credit_notes_follow_one_another",
    DRAWN + "test_any_split_into_credit_notes_totals_the_invoice",
)

SUMMING = [
    Removal(
        "tax-rate-of-standard",
        "Category S has a rate above zero.",
        DRAFTS,
        'elif category == "S" and rate == 0:',
        'elif category == "S" and rate == -1:',
        (REFUSED,),
    ),
    Removal(
        "exemption-reason",
        "What is exempt says why.",
        DRAFTS,
        "if category in _WITH_REASON and not reason:",
        "if category == reason and not reason:",
        (TABLE + "test_what_no_row_can_say_is_refused_too",),
    ),
    Removal(
        "not-subject-alone",
        "What is not subject to tax stands on an invoice of its own.",
        DRAFTS,
        'if "O" in categories and len(categories) > 1:',
        'if "O" in categories and len(categories) > 9:',
        (REFUSED,),
    ),
    Removal(
        "negative-price",
        "A price is not negative.",
        DRAFTS,
        "if line.unit_price < 0:",
        "if line.unit_price < -1_000_000:",
        (REFUSED,),
    ),
    Removal(
        "number-of-any-length",
        "A number is judged by its digits before anything is computed with it.",
        DRAFTS,
        "or value.adjusted() > AMOUNT_DIGITS_MAX or",
        "or value.adjusted() > 10**9 or",
        (REFUSED,),
    ),
    Removal(
        "negative-total",
        "Returns at a higher rate than sales do not make a negative invoice.",
        SUMS,
        "    if net + tax < 0:\n",
        "    if net + tax < -(10**30):\n",
        (REFUSED,),
    ),
    Removal(
        "discount-above-line",
        "No more is taken off a line than it is.",
        SUMS,
        "if abs(discount) > abs(before):",
        "if abs(discount) > abs(before) + 10**9:",
        (REFUSED,),
    ),
    Removal(
        "tax-by-line",
        "A row's tax is rounded once, on the sum of its lines, and their shares add up to it.",
        SUMS,
        "amount = round_ratio(sum(bases) * up, down * 100, _HALF_UP)",
        "amount = sum(base * up // (down * 100) for base in bases)",
        (ADDED, DRAWN + "test_a_row_s_tax_is_its_base_times_its_rate"),
    ),
    Removal(
        "tax-inside-on-top",
        "Where prices include tax, it is taken out of them.",
        SUMS,
        "return round_ratio(gross * (up - down), up, _HALF_UP)",
        "return round_ratio(gross * (up - down), down, _HALF_UP)",
        (ADDED,),
    ),
    Removal(
        "stated-total",
        "A stated total is what the lines come to.",
        SUMS,
        "if stated == found.total:",
        "if stated >= found.total:",
        (TABLE + "test_a_stated_total_is_the_lines_or_the_difference_is_named",),
    ),
    Removal(
        "credit-tax-note-by-note",
        "The tax of a note is the cumulative one less what earlier notes took.",
        CREDITS,
        "so_far = round_ratio((base_before + base) * up, down * 100, _HALF_UP)",
        "so_far = amount_before + round_ratio(base * up, down * 100, _HALF_UP)",
        (FOLLOWS, DRAWN + "test_the_cumulative_tax_is_of_the_cumulative_base"),
    ),
    Removal(
        "credit-last-takes-the-rest",
        "The note that takes the last of a row takes what is left of its tax.",
        CREDITS,
        "        return whole.amount - amount_before\n",
        "        return whole.amount - amount_before - (amount_before > 0)\n",
        (FOLLOWS,),
    ),
    Removal(
        "credit-above-line",
        "No more of a line is credited than is left of it.",
        CREDITS,
        "if abs(net) > abs(open_net):",
        "if abs(net) > abs(open_net) + 10**9:",
        (FOLLOWS, CREDITING + "test_a_refusal_names_the_place_and_what_is_left"),
    ),
    Removal(
        "credit-above-invoice",
        "No more is credited than is left of the invoice.",
        CREDITS,
        "if amount > left.goods + left.rounding:",
        "if amount > left.goods + left.rounding + 10**9:",
        (FOLLOWS,),
    ),
    Removal(
        "credit-rounding",
        "The last note takes the invoice's cash rounding too.",
        CREDITS,
        "rounding = left.rounding if is_last else -max(over, 0)",
        "rounding = 0 if is_last else -max(over, 0)",
        (FOLLOWS, SPLIT),
    ),
    Removal(
        "ageing-day",
        "What is due today is not past due; the thirtieth day stands before the thirty-first.",
        AGEING,
        "return [1, *(edge + 1 for edge in edges)]",
        "return [0, *(edge for edge in edges)]",
        ("tests/invoicing/test_ageing.py::test_a_day_stands_in_its_column",),
    ),
    Removal(
        "reference-check-digits",
        "A creditor reference is right only with its check digits.",
        "services/invoicing/creditor_reference.py",
        "_remainder(plain[4:] + plain[:4]) == 1",
        "_remainder(plain[4:] + plain[:4]) >= 0",
        (
            "tests/invoicing/test_creditor_reference.py::test_one_changed_character_is_noticed",
            "tests/invoicing/test_creditor_reference.py::test_references_are_found_in_free_text",
        ),
    ),
    Removal(
        "cents-of-a-row",
        "A row's tax is what its policy makes of its base, to the minor unit.",
        CENTS,
        "if policy == NET_POLICY:",
        'if policy == "other":',
        (WRITTEN + "test_a_fault_names_its_place_and_both_figures",),
    ),
    Removal(
        "document-type-declared",
        "A document that declares entities is not read.",
        CENTS,
        'if "<!" in text:',
        'if "<!--" in text:',
        (WRITTEN + "test_what_is_no_document_of_ours_is_not_read",),
    ),
    Removal(
        "delivery-within",
        "A delivery within the EU says where to.",
        EN16931,
        "if printed.deliver_to is None:",
        "if printed.deliver_to is None and printed.delivered_on:",
        (WRITTEN + "test_every_gap_is_named_at_once",),
    ),
    Removal(
        "xml-escape",
        "Texts are escaped in e-invoices.",
        "services/invoicing/documents/xml_text.py",
        '.replace("<", "&lt;")',
        '.replace("<", "<")',
        (WRITTEN + "test_texts_are_escaped",),
    ),
    Removal(
        "page-escape",
        "Texts are escaped on pages.",
        "services/invoicing/documents/html.py",
        "autoescape=True,",
        "autoescape=False,",
        (PAGES + "test_a_page_stands_alone_and_runs_nothing",),
    ),
    Removal(
        "pdf-fetches",
        "Nothing is fetched while a page is laid out.",
        "services/invoicing/documents/pdf.py",
        "URLFetcher(allowed_protocols=())",
        "URLFetcher()",
        (PAGES + "test_nothing_is_fetched_while_a_page_is_laid_out",),
    ),
]
