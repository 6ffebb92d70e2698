"""What invoices add up to, as a table: each row an invoice, its net, tax, rounding and total, and its rows of tax."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from libs.common.errors import Rejection
from libs.common.money import from_text, to_text
from services.invoicing.arithmetic import GROSS_POLICY, NET_POLICY, Totals, total_matches, totals
from services.invoicing.drafts import Draft, TaxTerms
from services.invoicing.rejections import PRECEDENCE, REJECTIONS
from tests.invoicing.written_invoices import invoice

GOLDEN = """
EUR | 1 x 68.33 S20; 1 x 68.33 S20; 1 x 57.50 S20; 1 x 85.00 S20 | | 279.16 55.83 0.00 334.99 | S20 279.16 55.83
EUR | 16 x 348.35 less 4% S22 | | 5350.66 1177.15 0.00 6527.81 | S22 5350.66 1177.15
CAD | 1 x 8180.00 S9.975 | | 8180.00 815.96 0.00 8995.96 | S9.975 8180.00 815.96
USD | 1 x 90 S5; 1 x 55 S5 | gross | 138.10 6.90 0.00 145.00 | S5 138.10 6.90
EUR | 1 x 8500 S19 | discount 7500.00 | 1000.00 190.00 0.00 1190.00 | S19 1000.00 190.00
CLP | 3 x 333.4 S19 | | 1000 190 0 1190 | S19 1000 190
CLP | 1 x 997 S19 | gross | 838 159 0 997 | S19 838 159
KWD | 3 x 0.3335 S5 | | 1.001 0.050 0.000 1.051 | S5 1.001 0.050
CLF | 1 x 10.00005 S19 | | 10.0001 1.9000 0.0000 11.9001 | S19 10.0001 1.9000
SEK | 1 x 841.40 S25 | cash 1.00 | 841.40 210.35 0.25 1052.00 | S25 841.40 210.35
CHF | 1 x 99.99 S8.1 | cash 0.05 | 99.99 8.10 0.01 108.10 | S8.1 99.99 8.10
CHF | 1 x 99.98 Z0 | cash 0.05 | 99.98 0.00 0.02 100.00 | Z0 99.98 0.00
EUR | 1 x 0.00 Z0 | | 0.00 0.00 0.00 0.00 | Z0 0.00 0.00
EUR | -2 x 10.00 S20; 5 x 10.00 S20 | | 30.00 6.00 0.00 36.00 | S20 30.00 6.00
EUR | -1 x 0.05 S10; 1 x 1.00 S10 | | 0.95 0.10 0.00 1.05 | S10 0.95 0.10
EUR | 1 x 10.00 S20; 1 x 20.00 S10; 1 x 5.00 S20.0 | | 35.00 5.00 0.00 40.00 | S20 15.00 3.00, S10 20.00 2.00
EUR | 7 x 9.99 per 6 S0.1 | | 11.66 0.01 0.00 11.67 | S0.1 11.66 0.01
EUR | 10 x 1.00 less 10% off 0.50 S20 | | 8.50 1.70 0.00 10.20 | S20 8.50 1.70
EUR | -10 x 1.00 less 10% off 0.50 S20; 20 x 1 S20 | | 11.50 2.30 0.00 13.80 | S20 11.50 2.30
EUR | 1 x 100 E0; 1 x 50 E0; 1 x 10 S7 | | 160.00 0.70 0.00 160.70 | E0 150.00 0.00, S7 10.00 0.70
EUR | 1 x 100 AE0 | | 100.00 0.00 0.00 100.00 | AE0 100.00 0.00
EUR | 1 x 100 O0 | | 100.00 0.00 0.00 100.00 | O0 100.00 0.00
EUR | 1 x 100 L7; 1 x 100 M0 | | 200.00 7.00 0.00 207.00 | L7 100.00 7.00, M0 100.00 0.00
CAD | 1 x 100 S5 S9.975 | | 100.00 14.98 0.00 114.98 | S5 100.00 5.00, S9.975 100.00 9.98
CAD | 1 x 100 S5 S9.5* | | 100.00 14.98 0.00 114.98 | S5 100.00 5.00, S9.5 105.00 9.98
CAD | 1 x 114.98 S5 S9.5* | gross | 100.00 14.98 0.00 114.98 | S5 100.00 5.00, S9.5 105.00 9.98
CAD | 1 x 115 S10 S5; 1 x 105 S5 | gross | 200.00 20.00 0.00 220.00 | S10 100.00 10.00, S5 200.00 10.00
EUR | 1 x 120 S20; 1 x 110 S10 | gross, discount 23.00 | 180.00 27.00 0.00 207.00 | S20 90.00 18.00, S10 90.00 9.00
EUR | 3 x 0.015 S20; 3 x 0.025 S20 | | 0.13 0.03 0.00 0.16 | S20 0.13 0.03
"""

REFUSED = """
EUR | 1 x 10 S0 | | tax-rate-not-allowed /lines/0/tax/rate
EUR | 1 x 10 S1001 | | tax-rate-not-allowed /lines/0/tax/rate
EUR | 1 x 10 Z20; 1 x 1 E5 | | tax-rate-not-allowed /lines/0/tax/rate /lines/1/tax/rate
EUR | 1 x 10 Q20 | | tax-category-unknown /lines/0/tax/category
EUR | 1 x 10 S5 Q1 | | tax-category-unknown /lines/0/further_taxes/0/category
EUR | 1 x 10 O0; 1 x 1 S20 | | tax-categories-mixed /lines
EUR | 1 x 10 S5* | | compound-tax-not-last /lines/0/tax
EUR | 1 x 10 S5 S6* S7 | | compound-tax-not-last /lines/0/further_taxes/0
EUR | 1 x 10 S1 S2 S3 S4 S5 S6 S7 S8 S9 | | too-many-taxes /lines/0/further_taxes
EUR | 1 x -10 S20 | | price-negative /lines/0/unit_price
EUR | -1 x 10 S20 | | total-negative /lines
EUR | 1 x 10 Z0; -1 x 9.99 S20 | | total-negative /lines
EUR | 1 x 1.123456789 S20 | | too-many-decimals /lines/0/unit_price
EUR | 1.000000001 x 1 S20 | | too-many-decimals /lines/0/quantity
EUR | 1 x 1 S20.0000001 | | too-many-decimals /lines/0/tax/rate
EUR | 1 x 1 less 1.0000001% S20 | | too-many-decimals /lines/0/discount_percent
EUR | 1 x 1 per 0.000000001 S20 | | too-many-decimals /lines/0/base_quantity
EUR | 1 x 1 S20 | withheld 1.0000001% | too-many-decimals /withholding_percent
EUR | 1 x 1 per 0 S20 | | quantity-out-of-range /lines/0/base_quantity
EUR | 1 x 1 per -1 S20 | | quantity-out-of-range /lines/0/base_quantity
EUR | 1 x 1 less 100.1% S20 | | discount-out-of-range /lines/0/discount_percent
EUR | 1 x 1 off 1.01 S20 | | discount-out-of-range /lines/0/allowance
EUR | 1 x 1 off -0.01 S20 | | discount-out-of-range /lines/0/allowance
EUR | -1 x 1 off 1.01 S20; 2 x 1 S20 | | discount-out-of-range /lines/0/allowance
EUR | 1 x 1 S20 | discount 1.01 | discount-out-of-range /discount
EUR | 1 x 1 S20 | discount -0.01 | discount-out-of-range /discount
EUR | 1 x 1 S20 | cash -0.01 | cash-rounding-negative /cash_rounding
EUR | 1 x 1 S20 | withheld 100.5% | withholding-out-of-range /withholding_percent
EUR | 9999999999999999 x 9999999999999999 S20 | | amount-out-of-range /lines
EUR | 1 x 10000000000000000000000000000000 S20 | | amount-out-of-range /lines/0/unit_price
EUR | 1 x -1 S0; 1 x 1 Z5 | | tax-rate-not-allowed /lines/0/tax/rate /lines/1/tax/rate
"""


def rows(table: str) -> list[tuple[str, ...]]:
    return [tuple(cell.strip() for cell in row.split("|")) for row in table.strip().splitlines()]


def added_up(draft: Draft) -> Totals:
    found = totals(draft)
    assert isinstance(found, Totals), found
    return found


@pytest.mark.parametrize("cells", rows(GOLDEN), ids=lambda cells: " ".join(cells[:3]))
def test_an_invoice_adds_up_to_the_cent(cells: tuple[str, ...]) -> None:
    found = added_up(invoice(" | ".join(cells[:3])))
    exponent = found.currency.exponent
    sums = [to_text(amount, exponent) for amount in (found.net, found.tax, found.rounding, found.total)]
    taxes = [
        f"{row.terms.category}{row.terms.rate:f} {to_text(row.base, exponent)} {to_text(row.amount, exponent)}"
        for row in found.taxes
    ]
    assert (" ".join(sums), ", ".join(taxes)) == (cells[3], cells[4])


@pytest.mark.parametrize("cells", rows(REFUSED), ids=lambda cells: " ".join(cells[:3]))
def test_a_draft_is_refused_with_code_and_place(cells: tuple[str, ...]) -> None:
    refused = totals(invoice(" | ".join(cells[:3])))
    assert isinstance(refused, Rejection), refused
    assert " ".join([refused.code, *(fault.pointer for fault in refused.errors)]) == cells[3]


PLAIN = invoice("EUR | 1 x 10.00 S20")


def of_line(**changes: object) -> Draft:
    return replace(PLAIN, lines=(replace(PLAIN.lines[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("draft", "code", "pointer"),
    [
        (replace(PLAIN, lines=()), "no-lines", "/lines"),
        (replace(PLAIN, lines=PLAIN.lines * 1_001), "too-many-lines", "/lines"),
        (of_line(quantity=Decimal("NaN")), "amount-out-of-range", "/lines/0/quantity"),
        (of_line(unit_price=Decimal("Infinity")), "amount-out-of-range", "/lines/0/unit_price"),
        (of_line(unit_price=Decimal("1E+99999")), "amount-out-of-range", "/lines/0/unit_price"),
        (of_line(unit_price=Decimal("1E-99999")), "too-many-decimals", "/lines/0/unit_price"),
        (of_line(tax=TaxTerms("E", Decimal(0))), "exemption-reason-missing", "/lines/0/tax/exemption_reason"),
        (of_line(tax=TaxTerms("AE", Decimal(0))), "exemption-reason-missing", "/lines/0/tax/exemption_reason"),
        (of_line(tax=TaxTerms("K", Decimal(0))), "exemption-reason-missing", "/lines/0/tax/exemption_reason"),
        (of_line(tax=TaxTerms("G", Decimal(0))), "exemption-reason-missing", "/lines/0/tax/exemption_reason"),
        (of_line(tax=TaxTerms("O", Decimal(0))), "exemption-reason-missing", "/lines/0/tax/exemption_reason"),
        (
            of_line(tax=TaxTerms("S", Decimal(5), "VATEX-EU-O")),
            "exemption-reason-not-allowed",
            "/lines/0/tax/exemption_reason",
        ),
        (of_line(service_from=date(2026, 1, 1)), "service-period-invalid", "/lines/0"),
        (
            of_line(service_from=date(2026, 1, 2), service_to=date(2026, 1, 1)),
            "service-period-invalid",
            "/lines/0/service_to",
        ),
        (replace(PLAIN, discount=10**31), "amount-out-of-range", "/discount"),
        (replace(PLAIN, cash_rounding=10**31), "amount-out-of-range", "/cash_rounding"),
    ],
)
def test_what_no_row_can_say_is_refused_too(draft: Draft, code: str, pointer: str) -> None:
    refused = totals(draft)
    assert isinstance(refused, Rejection)
    assert (refused.code, refused.errors[0].pointer) == (code, pointer)


def test_a_thousand_lines_are_an_invoice() -> None:
    assert added_up(replace(PLAIN, lines=PLAIN.lines * 1_000)).total == 1_200_000


def test_exempt_for_several_reasons_is_one_row_that_names_them_all() -> None:
    def exempt(code: str | None, reason: str | None) -> Draft:
        return of_line(tax=TaxTerms("E", Decimal(0), code, reason))

    def of(*drafts: Draft) -> TaxTerms:
        found = added_up(replace(PLAIN, lines=tuple(line for draft in drafts for line in draft.lines)))
        (row,) = found.taxes
        return row.terms

    education, health = exempt("VATEX-EU-132-1I", "Education"), exempt("VATEX-EU-132-1B", "Health")
    assert of(education, education) == education.lines[0].tax
    assert of(education, exempt("VATEX-EU-132-1I", "School")) == TaxTerms(
        "E", Decimal(0), "VATEX-EU-132-1I", "Education; School"
    )
    joined = "VATEX-EU-132-1I; VATEX-EU-132-1B; Education; Health"
    assert of(education, health) == TaxTerms("E", Decimal(0), None, joined)


def test_tax_withheld_is_of_the_net_and_leaves_the_total() -> None:
    found = added_up(invoice("EUR | 1 x 1000 S21 | withheld 15%"))
    assert (found.withheld, found.total) == (15_000, 121_000)


def test_the_policy_is_recorded() -> None:
    assert added_up(PLAIN).policy == NET_POLICY
    assert added_up(replace(PLAIN, prices_include_tax=True)).policy == GROSS_POLICY


def test_a_stated_total_is_the_lines_or_the_difference_is_named() -> None:
    found = added_up(PLAIN)
    assert total_matches(found, from_text("12.00", 2)) is None
    refused = total_matches(found, from_text("12.01", 2))
    assert refused is not None
    assert (refused.code, refused.errors[0].pointer) == ("total-differs", "/total")
    assert refused.facts == {"currency": "EUR", "total": "12.00", "stated": "12.01", "difference": "0.01"}


def test_codes_are_known_once() -> None:
    assert list(PRECEDENCE) == list(REJECTIONS)
