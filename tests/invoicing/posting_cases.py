"""The accounting policy as a table: each business event, and the entry it asks for.

Lines are written `role debit|credit amount`, then the currency where it is not USD, `@party`, `=account` and the tax.
The guide to the postings shows its examples from here, so they are what the rules do.
"""

from datetime import date
from decimal import Decimal

from libs.common.journal import Rate
from services.invoicing import posting_rules as rules
from services.invoicing.arithmetic import Totals, totals
from services.invoicing.cash_basis import TaxRow, TaxStanding, tax_parts
from services.invoicing.crediting import CreditTotals, credit_amount
from services.invoicing.drafts import Draft, LineDraft, TaxTerms
from services.invoicing.entry_drafts import Books, Part
from services.invoicing.posting_rules import (
    CreditNote,
    IssuedInvoice,
    MoneyBack,
    Occasion,
    Owed,
    Place,
    Placed,
    Receipt,
)
from tests.invoicing.books_in_memory import EUR, GBP, USD, books
from tests.invoicing.written_invoices import invoice as written

ON, LATER = date(2026, 3, 1), date(2026, 3, 20)
BANK, CLEARING = Place("bank"), Place("processor-clearing")
ACME = "c-acme"
S20, S5 = TaxTerms("S", Decimal(20)), TaxTerms("S", Decimal(5))
TOLD, TOLD_EUR, TOLD_GBP = (Occasion("told", LATER, currency) for currency in (USD, EUR, GBP))


def added_up(draft: Draft) -> Totals:
    found = totals(draft)
    assert isinstance(found, Totals), found
    return found


def issued(row: str) -> IssuedInvoice:
    """An invoice of Acme's, written as in `written_invoices`."""
    return IssuedInvoice("2026-000001", ACME, ON, added_up(written(row)))


def of_service(service_to: date = date(2026, 12, 31), account: str | None = None) -> IssuedInvoice:
    """1,200.00 + 20 % for a service from the invoice's day on."""
    line = LineDraft(
        description="Support",
        quantity=Decimal(1),
        unit_price=Decimal(1200),
        tax=S20,
        revenue_account=account,
        service_from=date(2026, 1, 1),
        service_to=service_to,
    )
    return IssuedInvoice("2026-000001", ACME, ON, added_up(Draft(currency=USD, lines=(line,))))


PLAIN = issued("USD | 1 x 1000 S20; 1 x 200 S5")
ABROAD = issued("EUR | 1 x 1000 S20; 1 x 200 S5")
FOREIGN_RATES = {"EUR": Decimal("1.08"), "GBP": Decimal("1.25")}
STANDING = TaxStanding((TaxRow(S20, 20000, USD), TaxRow(S5, 1000, USD)), 141000)


def note(amount: int, of: IssuedInvoice = PLAIN, on_receivable: int | None = None, **more: object) -> CreditNote:
    """A credit note of so much; all of it off the receivable unless told otherwise."""
    credited = credit_amount(of.totals, [], amount)
    assert isinstance(credited, CreditTotals), credited
    off = amount if on_receivable is None else on_receivable
    return CreditNote(
        number="C-1",
        issued_on=LATER,
        invoice=of,
        totals=credited,
        on_receivable=off,
        **{"deferred_left": {}, **more},  # type: ignore[arg-type]
    )


def paid(before: int, after: int) -> list[Part]:
    """What paying the invoice of STANDING from the one to the other makes due."""
    at = STANDING.moved(paid=before)
    return tax_parts(at, at.moved(paid=after - before))


ACCRUAL, CASH = books(), books("cash")
CASES: dict[str, tuple[rules.Answer | None, str]] = {
    "issue": (
        rules.issue(PLAIN, ACCRUAL),
        "receivable debit 1410.00 @c-acme; revenue credit 1200.00; tax-due credit 200.00 S20; tax-due credit 10.00 S5",
    ),
    "issue, cash basis": (
        rules.issue(PLAIN, CASH),
        "receivable debit 1410.00 @c-acme; revenue credit 1200.00; tax-not-yet-due credit 200.00 S20; "
        "tax-not-yet-due credit 10.00 S5",
    ),
    "issue, reverse charge": (
        rules.issue(issued("USD | 1 x 1000 AE0"), ACCRUAL),
        "receivable debit 1000.00 @c-acme; revenue credit 1000.00",
    ),
    "issue with a return": (
        rules.issue(issued("USD | 3 x 100 S20; -1 x 100 S20"), ACCRUAL),
        "receivable debit 240.00 @c-acme; revenue credit 200.00; tax-due credit 40.00 S20",
    ),
    "issue with a discount on the whole": (
        rules.issue(issued("USD | 1 x 100 S20 | discount 10.00"), ACCRUAL),
        "receivable debit 108.00 @c-acme; revenue credit 90.00; tax-due credit 18.00 S20",
    ),
    "issue, rounded up to cash": (
        rules.issue(issued("USD | 1 x 10.03 Z0 | cash 0.05"), ACCRUAL),
        "receivable debit 10.05 @c-acme; revenue credit 10.03; rounding credit 0.02",
    ),
    "issue, rounded down to cash": (
        rules.issue(issued("USD | 1 x 10.02 Z0 | cash 0.05"), ACCRUAL),
        "receivable debit 10.00 @c-acme; rounding debit 0.02; revenue credit 10.02",
    ),
    "issue of a service to come": (
        rules.issue(of_service(), ACCRUAL),
        "receivable debit 1440.00 @c-acme; deferred-revenue credit 1200.00; tax-due credit 240.00 S20",
    ),
    "issue of a service that is rendered": (
        rules.issue(of_service(ON, "4020-SERVICES"), ACCRUAL),
        "receivable debit 1440.00 @c-acme; revenue credit 1200.00 =4020-SERVICES; tax-due credit 240.00 S20",
    ),
    "issue in a foreign currency": (
        rules.issue(ABROAD, ACCRUAL),
        "receivable debit 1410.00 EUR @c-acme; revenue credit 1296.00; tax-due credit 216.00 S20; "
        "tax-due credit 10.80 S5",
    ),
    "payment by bank": (
        rules.payment(TOLD, Receipt(place=BANK, amount=141000, placed=[Placed(ACME, 141000, USD)]), ACCRUAL),
        "bank debit 1410.00; receivable credit 1410.00 @c-acme",
    ),
    "payment by card, in part, with a fee": (
        rules.payment(
            TOLD, Receipt(place=CLEARING, amount=50000, fee=1480, placed=[Placed(ACME, 50000, USD)]), ACCRUAL
        ),
        "processor-clearing debit 485.20; fees debit 14.80; receivable credit 500.00 @c-acme",
    ),
    "payment of more than is open": (
        rules.payment(
            TOLD,
            Receipt(
                place=Place("bank", "1011-BANK"), amount=150000, placed=[Placed(ACME, 141000, USD)],
                to_credit=9000, credit_party=ACME,
            ),
            ACCRUAL,
        ),
        "bank debit 1500.00 =1011-BANK; receivable credit 1410.00 @c-acme; customer-credit credit 90.00 @c-acme",
    ),
    "payment that nobody knows": (
        rules.payment(
            TOLD, Receipt(place=BANK, amount=7700, unapplied=7700, unapplied_party="payment/p-1"), ACCRUAL
        ),
        "bank debit 77.00; unapplied-receipts credit 77.00 @payment/p-1",
    ),
    "payment of several invoices": (
        rules.payment(
            TOLD,
            Receipt(
                place=BANK,
                amount=3000,
                placed=[Placed(ACME, 1000, USD), Placed(ACME, 500, USD), Placed("b", 1500, USD)],
            ),
            ACCRUAL,
        ),
        "bank debit 30.00; receivable credit 15.00 @c-acme; receivable credit 15.00 @b",
    ),
    "payment that its fee eats up": (
        rules.payment(TOLD, Receipt(place=CLEARING, amount=30, fee=30, placed=[Placed(ACME, 30, USD)]), ACCRUAL),
        "fees debit 0.30; receivable credit 0.30 @c-acme",
    ),
    "payment, cash basis, half": (
        rules.payment(
            TOLD, Receipt(place=BANK, amount=70500, placed=[Placed(ACME, 70500, USD)], due=paid(0, 70500)), CASH
        ),
        "bank debit 705.00; tax-not-yet-due debit 100.00 S20; tax-not-yet-due debit 5.00 S5; "
        "receivable credit 705.00 @c-acme; tax-due credit 100.00 S20; tax-due credit 5.00 S5",
    ),
    "payment in the invoice's foreign currency": (
        rules.payment(
            TOLD_EUR, Receipt(place=CLEARING, amount=141000, fee=1000, placed=[Placed(ACME, 141000, EUR)]), ACCRUAL
        ),
        "processor-clearing debit 1400.00 EUR; fees debit 10.80; receivable credit 1410.00 EUR @c-acme",
    ),
    "payment in USD of an invoice in EUR": (
        rules.payment(
            TOLD,
            Receipt(
                place=BANK, amount=155100, placed=[Placed(ACME, 141000, EUR, paid=155100)],
                stated=Rate("EUR", "USD", "1.1"),
            ),
            ACCRUAL,
        ),
        "bank debit 1551.00; receivable credit 1410.00 EUR @c-acme",
    ),
    "payment in GBP of an invoice in EUR": (
        rules.payment(
            TOLD_GBP,
            Receipt(
                place=BANK, amount=120000, fee=1000, placed=[Placed(ACME, 141000, EUR, paid=120000)],
                stated=Rate("GBP", "EUR", "1.175"),
            ),
            ACCRUAL,
        ),
        "bank debit 1190.00 GBP; fees debit 12.69; receivable credit 1410.00 EUR @c-acme",
    ),
    "payout": (
        rules.payout(TOLD, 97000, 300, BANK, CLEARING, ACCRUAL),
        "bank debit 970.00; fees debit 3.00; processor-clearing credit 973.00",
    ),
    "payout that was collected": (
        rules.payout(TOLD, -5000, 0, BANK, CLEARING, ACCRUAL),
        "processor-clearing debit 50.00; bank credit 50.00",
    ),
    "tax withheld by the customer": (
        rules.withheld(TOLD, ACME, 18000, ACCRUAL),
        "withholding debit 180.00; receivable credit 180.00 @c-acme",
    ),
    "allocation by hand": (
        rules.allocation(TOLD, Owed("unapplied-receipts", "payment/p-1", 7700), ACME, ACCRUAL),
        "unapplied-receipts debit 77.00 @payment/p-1; receivable credit 77.00 @c-acme",
    ),
    "unallocation": (
        rules.unallocation(
            TOLD, Owed("receivable", ACME, 7700), Owed("unapplied-receipts", ACME, 7700), ACCRUAL
        ),
        "receivable debit 77.00 @c-acme; unapplied-receipts credit 77.00 @c-acme",
    ),
    "unallocation, cash basis": (
        rules.unallocation(
            TOLD, Owed("receivable", ACME, 70500), Owed("unapplied-receipts", ACME, 70500), CASH, paid(141000, 70500)
        ),
        "receivable debit 705.00 @c-acme; tax-due debit 100.00 S20; tax-due debit 5.00 S5; "
        "unapplied-receipts credit 705.00 @c-acme; tax-not-yet-due credit 100.00 S20; tax-not-yet-due credit 5.00 S5",
    ),
    "unapplied receipts become credit": (
        rules.kept_as_credit(TOLD, "payment/p-1", ACME, 7700, ACCRUAL),
        "unapplied-receipts debit 77.00 @payment/p-1; customer-credit credit 77.00 @c-acme",
    ),
    "credit applied": (
        rules.credit_applied(TOLD, ACME, 9000, ACCRUAL),
        "customer-credit debit 90.00 @c-acme; receivable credit 90.00 @c-acme",
    ),
    "credit note on an open invoice": (
        rules.credit_note(note(141000), ACCRUAL),
        "revenue debit 1200.00; tax-due debit 200.00 S20; tax-due debit 10.00 S5; receivable credit 1410.00 @c-acme",
    ),
    "credit note on a paid invoice": (
        rules.credit_note(note(141000, on_receivable=1000), ACCRUAL),
        "revenue debit 1200.00; tax-due debit 200.00 S20; tax-due debit 10.00 S5; receivable credit 10.00 @c-acme; "
        "customer-credit credit 1400.00 @c-acme",
    ),
    "credit note in a foreign currency": (
        rules.credit_note(note(141000, ABROAD), ACCRUAL),
        "revenue debit 1296.00; tax-due debit 216.00 S20; tax-due debit 10.80 S5; "
        "receivable credit 1410.00 EUR @c-acme",
    ),
    "credit note on a service half recognised": (
        rules.credit_note(note(144000, of_service(account="4020-SERVICES"), deferred_left={0: 90000}), ACCRUAL),
        "deferred-revenue debit 900.00; revenue debit 300.00 =4020-SERVICES; tax-due debit 240.00 S20; "
        "receivable credit 1440.00 @c-acme",
    ),
    "credit note on a service to come": (
        rules.credit_note(note(72000, of_service(), deferred_left={0: 90000}), ACCRUAL),
        "deferred-revenue debit 600.00; tax-due debit 120.00 S20; receivable credit 720.00 @c-acme",
    ),
    "credit note on a line whose deferral is a return's": (
        rules.credit_note(note(72000, of_service(), deferred_left={0: -90000}), ACCRUAL),
        "revenue debit 600.00; tax-due debit 120.00 S20; receivable credit 720.00 @c-acme",
    ),
    "credit note, cash basis, half paid": (
        rules.credit_note(note(70500, standing=STANDING.moved(paid=70500)), CASH),
        "revenue debit 600.00; tax-not-yet-due debit 100.00 S20; tax-not-yet-due debit 5.00 S5; "
        "receivable credit 705.00 @c-acme",
    ),
    "credit note, cash basis, paid": (
        rules.credit_note(note(70500, on_receivable=0, standing=STANDING.moved(paid=141000)), CASH),
        "revenue debit 600.00; tax-due debit 100.00 S20; tax-due debit 5.00 S5; customer-credit credit 705.00 @c-acme",
    ),
    "early-payment discount": (
        rules.early_discount(note(2820), ACCRUAL),
        "discounts debit 24.00; tax-due debit 4.00 S20; tax-due debit 0.20 S5; receivable credit 28.20 @c-acme",
    ),
    "the discount is lost": (
        rules.discount_taken_back(note(2820), ACCRUAL),
        "receivable debit 28.20 @c-acme; discounts credit 24.00; tax-due credit 4.00 S20; tax-due credit 0.20 S5",
    ),
    "the discount is lost, cash basis": (
        rules.discount_taken_back(
            note(2820, standing=TaxStanding((TaxRow(S20, 19600, USD), TaxRow(S5, 980, USD)), 138180, 69090)), CASH
        ),
        "receivable debit 28.20 @c-acme; discounts credit 24.00; tax-not-yet-due credit 4.00 S20; "
        "tax-not-yet-due credit 0.20 S5",
    ),
    "tax withheld is taken back": (
        rules.withheld_taken_back(TOLD, ACME, 18000, ACCRUAL, ()),
        "receivable debit 180.00 @c-acme; withholding credit 180.00",
    ),
    "a promised refund stays as credit": (
        rules.refund_payable_cancelled(TOLD, ACME, 9000, ACCRUAL),
        "refunds-payable debit 90.00 @c-acme; customer-credit credit 90.00 @c-acme",
    ),
    "refund of customer credit": (
        rules.refund(TOLD, MoneyBack(CLEARING, [Owed("customer-credit", ACME, 9000)], fee=25), ACCRUAL),
        "customer-credit debit 90.00 @c-acme; fees debit 0.25; processor-clearing credit 90.25",
    ),
    "a refund is promised": (
        rules.refund_payable(TOLD, ACME, 9000, ACCRUAL),
        "customer-credit debit 90.00 @c-acme; refunds-payable credit 90.00 @c-acme",
    ),
    "the promised refund is paid": (
        rules.refund(TOLD, MoneyBack(BANK, [Owed("refunds-payable", ACME, 9000)]), ACCRUAL),
        "refunds-payable debit 90.00 @c-acme; bank credit 90.00",
    ),
    "refund of a payment that is placed": (
        rules.refund(
            TOLD, MoneyBack(CLEARING, [Owed("unapplied-receipts", ACME, 500), Owed("receivable", ACME, 4500)]), ACCRUAL
        ),
        "unapplied-receipts debit 5.00 @c-acme; receivable debit 45.00 @c-acme; processor-clearing credit 50.00",
    ),
    "returned direct debit": (
        rules.returned(TOLD, MoneyBack(BANK, [Owed("receivable", ACME, 141000)], fee=500), ACCRUAL),
        "receivable debit 1410.00 @c-acme; fees debit 5.00; bank credit 1415.00",
    ),
    "returned, cash basis": (
        rules.returned(TOLD, MoneyBack(BANK, [Owed("receivable", ACME, 141000)], due=paid(141000, 0)), CASH),
        "receivable debit 1410.00 @c-acme; tax-due debit 200.00 S20; tax-due debit 10.00 S5; bank credit 1410.00; "
        "tax-not-yet-due credit 200.00 S20; tax-not-yet-due credit 10.00 S5",
    ),
    "dispute opened": (
        rules.dispute_opened(TOLD, MoneyBack(CLEARING, [Owed("receivable", ACME, 50000)], fee=1500), ACCRUAL),
        "receivable debit 500.00 @c-acme; fees debit 15.00; processor-clearing credit 515.00",
    ),
    "dispute won": (
        rules.dispute_won(TOLD, MoneyBack(CLEARING, [Owed("receivable", ACME, 50000)], fee=1500), ACCRUAL),
        "processor-clearing debit 515.00; receivable credit 500.00 @c-acme; fees credit 15.00",
    ),
    "dispute won, its fee kept": (
        rules.dispute_won(TOLD, MoneyBack(CLEARING, [Owed("receivable", ACME, 50000)]), ACCRUAL),
        "processor-clearing debit 500.00; receivable credit 500.00 @c-acme",
    ),
    "a refund that came back": (
        rules.refund_bounced(
            TOLD, MoneyBack(BANK, [Owed("receivable", ACME, 4500), Owed("customer-credit", ACME, 500)]), ACCRUAL
        ),
        "bank debit 50.00; receivable credit 45.00 @c-acme; customer-credit credit 5.00 @c-acme",
    ),
    "a return of a payment in another currency": (
        rules.returned(
            TOLD,
            MoneyBack(
                BANK, [Owed("receivable", ACME, 10000, EUR, 11000)], fee=500, stated=Rate("EUR", "USD", "1.1")
            ),
            ACCRUAL,
        ),
        "receivable debit 100.00 EUR @c-acme; fees debit 5.00; bank credit 115.00",
    ),
    "write-off": (
        rules.write_off(TOLD, ACME, 141000, ACCRUAL),
        "bad-debt debit 1410.00; receivable credit 1410.00 @c-acme",
    ),
    "write-off, cash basis": (
        rules.write_off(TOLD, ACME, 70500, CASH, STANDING.moved(paid=70500)),
        "bad-debt debit 600.00; tax-not-yet-due debit 100.00 S20; tax-not-yet-due debit 5.00 S5; "
        "receivable credit 705.00 @c-acme",
    ),
    "write-off in a foreign currency": (
        rules.write_off(TOLD_EUR, ACME, 141000, ACCRUAL),
        "bad-debt debit 1522.80; receivable credit 1410.00 EUR @c-acme",
    ),
    "write-off reversed": (
        rules.write_off_reversed(TOLD, ACME, 141000, ACCRUAL),
        "receivable debit 1410.00 @c-acme; bad-debt credit 1410.00",
    ),
    "write-off reversed, cash basis": (
        rules.write_off_reversed(
            TOLD, ACME, 70500, CASH,
            STANDING.moved([TaxRow(S20, -10000, USD), TaxRow(S5, -500, USD)], total=-70500, paid=70500),
            [TaxRow(S20, 10000, USD), TaxRow(S5, 500, USD)],
        ),
        "receivable debit 705.00 @c-acme; bad-debt credit 600.00; tax-not-yet-due credit 100.00 S20; "
        "tax-not-yet-due credit 5.00 S5",
    ),
    "relief": (
        rules.relief(TOLD, rules.tax_inside(PLAIN.totals, 141000), ACCRUAL),
        "tax-due debit 200.00 S20; tax-due debit 10.00 S5; bad-debt credit 210.00",
    ),
    "relief in a foreign currency": (
        rules.relief(TOLD_EUR, rules.tax_inside(ABROAD.totals, 70500), ACCRUAL),
        "tax-due debit 108.00 S20; tax-due debit 5.40 S5; bad-debt credit 113.40",
    ),
    "recovery": (
        rules.recovery(TOLD, 50000, BANK, ACCRUAL),
        "bank debit 500.00; bad-debt-recovery credit 500.00",
    ),
    "relief repaid": (
        rules.relief_repaid(TOLD, rules.tax_inside(PLAIN.totals, 70500), ACCRUAL),
        "bad-debt-recovery debit 105.00; tax-due credit 100.00 S20; tax-due credit 5.00 S5",
    ),
    "issue of what is worth nothing in USD": (
        rules.issue(issued("EUR | 1 x 0.02 Z0"), books(rates={"EUR": Decimal("0.1")})),
        "receivable debit 0.02 EUR @c-acme; rounding credit 0.02 EUR =FX-POSITION-EUR",
    ),
    "a foreign currency that the mapping keeps results in": (
        rules.issue(ABROAD, Books(functional=USD, mapping={**ACCRUAL.mapping, ("revenue", "EUR"): "4010-SALES-EUR",
                                                           ("tax-due", "EUR"): "2100-VAT-EUR"})),
        "receivable debit 1410.00 EUR @c-acme; revenue credit 1200.00 EUR; tax-due credit 200.00 EUR S20; "
        "tax-due credit 10.00 EUR S5",
    ),
}  # fmt: skip
