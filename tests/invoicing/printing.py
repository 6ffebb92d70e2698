"""Documents to print: one of each tax category and policy, with sellers and buyers who have what it needs."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from libs.common.money import ISO_4217
from services.invoicing.arithmetic import Totals, totals
from services.invoicing.crediting import CreditTotals, CreditWish, credit_amount, credit_lines, credit_rest
from services.invoicing.creditor_reference import make
from services.invoicing.documents.printed import (
    Address,
    Party,
    PayTo,
    Preceding,
    PrintedInvoice,
    TaxInCurrency,
    note_totals,
)
from services.invoicing.drafts import Draft
from tests.invoicing.written_invoices import invoice

SELLER = Party(
    name="Ledger & Sons GmbH",
    address=Address(lines=("Hauptstraße 1", "Hinterhof"), postcode="10115", city="Berlin", country="DE"),
    vat_id="DE123456789",
    tax_id="27/123/45678",
    legal_id="HRB 12345",
    endpoint="invoices@ledger.example",
    endpoint_scheme="EM",
    contact="Ada Byron",
    phone="+49 30 1234567",
    email="ada@ledger.example",
)
BUYER = Party(
    name="Acme <Corp>",
    address=Address(lines=("Rue 2",), postcode="1000", city="Brussels", region="BRU", country="BE"),
    vat_id="BE0123456789",
    legal_id="0123.456.789",
)


def added_up(draft: Draft | str) -> Totals:
    found = totals(invoice(draft) if isinstance(draft, str) else draft)
    assert isinstance(found, Totals), found
    return found


def printed(draft: Draft | str | Totals) -> PrintedInvoice:
    return PrintedInvoice(
        number="2026-000001",
        issued_on=date(2026, 11, 26),
        tax_point_on=date(2026, 11, 25),
        due_on=date(2026, 12, 26),
        delivered_on=date(2026, 11, 25),
        deliver_to=Address(city="Brussels", country="BE"),
        seller=SELLER,
        buyer=BUYER,
        totals=draft if isinstance(draft, Totals) else added_up(draft),
        buyer_reference="PO 7",
        order="4711",
        note="Thank you",
        terms="30 days net",
        creditor_reference=make("2026-000001"),
        pay_to=PayTo(iban="DE89370400440532013000", bic="COBADEFFXXX", name="Ledger & Sons"),
    )


def credit_note(sold: Totals, note: object) -> PrintedInvoice:
    assert isinstance(note, CreditTotals), note
    document = printed(note_totals(sold, note))
    return replace(
        document, kind="credit-note", number="C-2026-000001", preceding=Preceding("2026-000001", date(2026, 11, 26))
    )


SEVERAL = "EUR | 16 x 348.35 less 4% S22; 2 x 10.00 off 1.00 S7; 1 x 50.00 E0; -1 x 20.00 S22; 3 x 1.00 Z0"
IN_GROSS = "EUR | 1 x 90 S5; 3 x 18.33 less 10% S20; 1 x 55 S5 | gross"


SOME = [CreditWish(0), CreditWish(1, quantity=Decimal(1))]


def documents() -> dict[str, PrintedInvoice]:
    """Each accepted by the official rules."""
    several, gross = added_up(SEVERAL), added_up(IN_GROSS)
    period = replace(several.draft.lines[0], service_from=date(2026, 1, 1), service_to=date(2026, 12, 31), product="X1")
    return {
        "standard": printed("EUR | 1 x 68.33 S20; 1 x 68.33 S20; 1 x 57.50 S20; 1 x 85.00 S20"),
        "several": printed(several),
        "period": printed(replace(several.draft, lines=(period,))),
        "discount": printed(SEVERAL + " | discount 100.01"),
        "gross": printed(gross),
        "gross-discount": printed(IN_GROSS + ", discount 10.01"),
        "reverse-charge": printed("EUR | 1 x 100 AE0"),
        "within": printed("EUR | 1 x 100 K0"),
        "export": printed("EUR | 1 x 100 G0"),
        "not-subject": printed("EUR | 1 x 100 O0"),
        "canaries": printed("EUR | 1 x 100 L7"),
        "ceuta": printed("EUR | 1 x 100 M4"),
        "pesos": printed("CLP | 3 x 333.4 S19"),
        "cash": printed("SEK | 1 x 841.40 S25 | cash 1.00"),
        "prepaid": replace(printed("EUR | 1 x 100 S19"), prepaid=5_000),
        "dollars": replace(printed("USD | 1 x 100 S19"), tax_in_currency=TaxInCurrency(ISO_4217["EUR"], 1_760)),
        "plain": replace(printed("EUR | 1 x 100 S19"), pay_to=None, note="", delivered_on=None, deliver_to=None),
        "note-lines": credit_note(several, credit_lines(several, [], SOME)),
        "note-amount": credit_note(several, credit_amount(several, [], 12_345)),
        "note-rest": credit_note(several, credit_rest(several, [])),
        "note-gross": credit_note(gross, credit_lines(gross, [], [CreditWish(1)])),
    }
