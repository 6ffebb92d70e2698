"""The accounting policy holds: each row of the table, the ledger's word that it stands, and what is refused.

Every entry goes through the ledger's own rules, so it is balanced, on control accounts with a party, and fits its rate.
"""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from libs.common.errors import Rejection
from libs.common.journal import Rate
from libs.common.money import to_text
from services.invoicing import posting_rules as rules
from services.invoicing.account_roles import CONTROLLED
from services.invoicing.cash_basis import TaxRow, TaxStanding
from services.invoicing.entry_drafts import (
    Books,
    EntryDraft,
    Part,
    RuleLine,
    crossed,
    drafted,
    entry_request,
    in_books,
    movements,
)
from services.invoicing.posting_rules import Place, Placed, Receipt, off_deferred
from tests.invoicing.books_in_memory import EUR, USD, Ledger, books
from tests.invoicing.posting_cases import (
    ABROAD,
    ACCRUAL,
    ACME,
    BANK,
    CASES,
    CASH,
    FOREIGN_RATES,
    LATER,
    PLAIN,
    S5,
    S20,
    TOLD,
    TOLD_EUR,
    TOLD_GBP,
    issued,
    note,
)  # fmt: skip


def said(line: RuleLine) -> str:
    """A line as the table writes it."""
    words = [line.role, line.side, to_text(line.amount, line.currency.exponent)]
    words += [line.currency.code] if line.currency != USD else []
    words += [f"@{line.party}"] if line.party else []
    words += [f"={line.account}"] if line.account else []
    words += [f"{line.tax.category}{line.tax.rate}"] if line.tax else []
    return " ".join(words)


@pytest.mark.parametrize("name", CASES)
def test_the_entry_is(name: str) -> None:
    draft, expected = CASES[name]
    assert isinstance(draft, EntryDraft), draft
    assert "; ".join(map(said, draft.lines)) == expected
    for line in draft.lines:
        assert (line.party is not None) == (line.role in CONTROLLED)


UNOPENED = ("=4020-SERVICES", "=1011-BANK", "EUR S20")
"""Accounts that the standard does not have."""


@pytest.mark.parametrize("name", [name for name in CASES if not any(code in CASES[name][1] for code in UNOPENED)])
def test_the_ledger_takes_it(name: str) -> None:
    draft, _ = CASES[name]
    assert isinstance(draft, EntryDraft)
    ledger = Ledger(ACCRUAL)
    record = ledger.post(draft)
    assert record.value_on == draft.effective_on
    for role, party, currency, amount in movements(draft):
        assert party is None or ledger.by_party(role, currency)[party] == amount
        assert party is not None or ledger.balance(role, currency) == amount


NO_RATES = books(rates={})
UNMAPPED = Books(functional=USD, mapping={("receivable", ""): "AR"}, rates=FOREIGN_RATES)
CROSSING = Receipt(place=BANK, amount=155100, placed=[Placed(ACME, 141000, EUR, paid=155100)])
REFUSED: dict[str, tuple[rules.Answer | None, str, dict[str, str]]] = {
    "no rate for the tax and revenue": (rules.issue(ABROAD, NO_RATES), "rate-missing", {"base": "EUR"}),
    "no rate for the fee": (
        rules.payment(TOLD_EUR, Receipt(place=BANK, amount=2, fee=1, placed=[Placed(ACME, 2, EUR)]), NO_RATES),
        "rate-missing",
        {"base": "EUR", "counter": "USD"},
    ),
    "no rate for the bad debt": (rules.write_off(TOLD_EUR, ACME, 1, NO_RATES), "rate-missing", {"base": "EUR"}),
    "no rate for what is neither's": (
        rules.payment(
            TOLD_GBP,
            Receipt(
                place=BANK, amount=120000, placed=[Placed(ACME, 141000, EUR, paid=120000)],
                stated=Rate("GBP", "EUR", "1.175"),
            ),
            NO_RATES,
        ),
        "rate-missing",
        {"base": "EUR", "counter": "USD"},
    ),
    "no rate for a credit note": (rules.credit_note(note(1, ABROAD), NO_RATES), "rate-missing", {}),
    "no rate for a discount": (rules.early_discount(note(1, ABROAD), NO_RATES), "rate-missing", {}),
    "a fee of more than was paid": (
        rules.payment(TOLD, Receipt(place=BANK, amount=100, fee=101, placed=[Placed(ACME, 100, USD)]), ACCRUAL),
        "fee-exceeds-amount",
        {"fee": "1.01", "amount": "1.00"},
    ),
    "another currency and no stated rate": (
        rules.payment(TOLD, CROSSING, ACCRUAL), "currency-mismatch", {"currency": "USD", "invoice": "EUR"},
    ),
    "another currency and the rate of a third": (
        rules.payment(TOLD, replace(CROSSING, stated=Rate("GBP", "USD", "1.1")), ACCRUAL), "currency-mismatch", {},
    ),
    "a stated rate that does not fit": (
        rules.payment(TOLD, replace(CROSSING, stated=Rate("EUR", "USD", "1.1001")), ACCRUAL),
        "rate-mismatch",
        {"amount": "1551.00", "at_rate": "1551.14"},
    ),
    "a stated rate of nothing": (
        rules.payment(TOLD, replace(CROSSING, stated=Rate("EUR", "USD", "0.0")), ACCRUAL), "rate-mismatch", {},
    ),
    "relief on cash basis": (
        rules.relief(TOLD, rules.tax_inside(PLAIN.totals, 1), CASH), "relief-on-cash-basis", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    refused, code, facts = REFUSED[name]
    assert isinstance(refused, Rejection), refused
    assert refused.code == code
    assert {fact: refused.facts[fact] for fact in facts} == facts


def test_without_an_account_nothing_is_asked_for() -> None:
    draft = rules.issue(PLAIN, UNMAPPED)
    assert isinstance(draft, EntryDraft)
    refused = entry_request(draft, UNMAPPED, organization="demo", ledger="main", document="invoice/1", id_=UUID(int=1))
    assert isinstance(refused, Rejection)
    assert (refused.code, refused.facts["role"], refused.facts["currency"]) == ("mapping-missing", "revenue", "USD")


def test_what_the_ledger_is_asked_for() -> None:
    draft = rules.issue(issued("EUR | 1 x 1000 S20"), ACCRUAL)
    assert isinstance(draft, EntryDraft)
    body = entry_request(
        draft, ACCRUAL, organization="demo", ledger="main", document="invoice/1", id_=UUID(int=1), attempt=2
    )
    assert body == {
        "organization": "demo",
        "ledger": "main",
        "idempotency_key": "00000000-0000-0000-0000-000000000001/2",
        "document": "invoice/1",
        "id": "00000000-0000-0000-0000-000000000001",
        "kind": "normal",
        "effective_on": "2026-03-01",
        "value_on": "2026-03-01",
        "if_closed": "next-open-day",
        "description": "Invoice 2026-000001",
        "origin": {"service": "invoicing", "document": "invoice/1"},
        "lines": [
            {"account": "1100-AR-EUR", "side": "debit", "amount": "1200.00", "currency": "EUR", "party": "c-acme"},
            {"account": "4010-SALES", "side": "credit", "amount": "1080.00", "currency": "USD"},
            {
                "account": "2100-OUTPUT-VAT", "side": "credit", "amount": "216.00", "currency": "USD",
                "description": "Tax S 20 %",
            },
        ],
        "rates": [{"base": "EUR", "counter": "USD", "rate": "1.08"}],
    }  # fmt: skip


def test_cents_of_conversion_go_to_the_largest_that_is_no_tax() -> None:
    """0.33 + 0.33 + 0.01 at 1.5 are each rounded to even; the sum is worth 1.00, and the pair has nothing left."""
    three = issued("EUR | 1 x 0.33 Z0; 1 x 0.33 Z0; 1 x 0.01 S20")
    draft = rules.issue(three, books(rates={"EUR": Decimal("1.5")}))
    assert isinstance(draft, EntryDraft)
    assert sum(line.amount for line in draft.lines if line.side == "credit") == 100


def test_tax_keeps_its_own_worth_though_it_is_the_largest() -> None:
    parts = [Part("revenue", -1, EUR), Part("tax-due", -6, EUR, tax=S20)]
    booked = in_books(parts, books(rates={"EUR": Decimal("1.4")}))
    assert isinstance(booked, list)
    assert [part.amount for part in booked] == [-2, -8]


def test_without_a_rate_nothing_says_what_a_note_takes_off_deferred_revenue() -> None:
    missing = off_deferred(note(1, ABROAD), NO_RATES)
    assert isinstance(missing, Rejection)
    assert missing.code == "rate-missing"


def test_what_two_currencies_leave_needs_a_rate() -> None:
    """Nothing is converted here; the receivable and the bank are in two currencies, and one has no rate."""
    parts = [Part("bank", 108, USD), Part("receivable", -100, EUR, party=ACME)]
    missing = drafted("payment", "told", LATER, parts, NO_RATES)
    assert isinstance(missing, Rejection)
    assert missing.facts == {"base": "EUR", "counter": "USD"}


def test_a_rate_may_be_stated_the_other_way_round() -> None:
    crossing = crossed(ACCRUAL, Rate("USD", "EUR", "0.8"))
    assert isinstance(crossing, Books)
    assert crossing.rates["EUR"] == Decimal("1.25")


def test_a_void_moves_the_mirror_of_the_issue() -> None:
    draft = rules.issue(PLAIN, ACCRUAL)
    assert isinstance(draft, EntryDraft)
    assert rules.movements(draft) == [("receivable", ACME, "USD", 141000), ("tax-due", None, "USD", -21000)]
    assert rules.mirrored(rules.movements(draft)) == [
        ("receivable", ACME, "USD", -141000),
        ("tax-due", None, "USD", 21000),
    ]


def test_a_document_of_nothing_asks_for_nothing() -> None:
    draft = rules.issue(issued("USD | 1 x 0 Z0"), ACCRUAL)
    assert isinstance(draft, EntryDraft)
    assert draft.lines == ()


def test_money_at_an_account_of_its_own_is_not_the_role_s() -> None:
    receipt = Receipt(place=Place("processor-clearing", "1031-OTHER"), amount=5, placed=[Placed(ACME, 5, USD)])
    draft = rules.payment(TOLD, receipt, ACCRUAL)
    assert isinstance(draft, EntryDraft)
    assert movements(draft) == [("receivable", ACME, "USD", -5)]


def test_cents_that_go_nowhere_are_a_defect() -> None:
    with pytest.raises(AssertionError, match="cents are missing"):
        rules.payment(TOLD, Receipt(place=BANK, amount=6, placed=[Placed(ACME, 5, USD)]), ACCRUAL)


def test_what_is_given_up_whole_leaves_no_tax_that_is_not_due() -> None:
    """Half of one cent of tax is due as a whole one; so nothing of it is in the other half."""
    standing = TaxStanding((TaxRow(S20, 1, USD),), 2, paid=1)
    assert standing.due(standing.rows[0]) == 1
    assert [row.amount for row in standing.not_due_in(1)] == [0]


def test_what_is_given_up_after_a_note_and_a_payment_that_is_taken_back_moves_no_tax_that_is_due() -> None:
    """120.00 with 20.00 tax, 60.00 paid; a note of 90.00 leaves 30.00 as credit; the payment bounces, 60.00 open."""
    before = TaxStanding((TaxRow(S20, 500, USD),), 3000, paid=-3000)
    assert [row.amount for row in before.not_due_in(6000)] == [1000]
    after = before.moved([TaxRow(S20, -1000, USD)], total=-6000)
    assert (before.due(before.rows[0]), after.due(after.rows[0])) == (-500, -500)


def test_the_parts_of_an_invoice_have_all_of_its_tax() -> None:
    parts = [rules.tax_inside(PLAIN.totals, 47000, before) for before in (0, 47000, 94000)]
    assert [sum(row.amount for part in parts for row in part if row.terms == terms) for terms in (S20, S5)] == [
        row.amount for row in PLAIN.totals.taxes
    ]
    assert [part[1].amount for part in parts] == [333, 334, 333]


def test_every_rule_has_a_row() -> None:
    asked = {draft.purpose for draft, _ in CASES.values() if isinstance(draft, EntryDraft)}
    stated = {line.split()[0] for line in (rules.__doc__ or "").splitlines() if line.startswith("    ")} - {"event"}
    assert asked | {"recognition"} == stated
