"""Invoices and credit notes as JSON values, and back: what is frozen at issue is read as it was, never added up again.

Amounts are texts in major units and numbers exact texts, so that no reader's number type can change them. What is kept
carries its own currency exponent and policy, so a later version of the rules reads an old document unchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from libs.common.money import Currency, from_text, to_text
from services.invoicing.arithmetic import LineTotal, TaxTotal, Totals
from services.invoicing.crediting import CreditLine, CreditTotals
from services.invoicing.drafts import Draft, LineDraft, TaxTerms

Kept = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Amounts of one currency as text and back."""

    currency: Currency

    def out(self, minor: int) -> str:
        return to_text(minor, self.currency.exponent)

    def back(self, text: str) -> int:
        return from_text(text, self.currency.exponent)


def kept_invoice(found: Totals) -> Kept:
    """The totals with the draft they are of, as JSON values."""
    unit, draft = _Unit(found.currency), found.draft
    return {
        "currency": draft.currency.code,
        "decimals": draft.currency.exponent,
        "prices_include_tax": draft.prices_include_tax,
        "given_discount": unit.out(draft.discount),
        "cash_rounding": unit.out(draft.cash_rounding),
        "withholding_percent": _number(draft.withholding_percent),
        "lines": [_kept_line(unit, line) for line in found.lines],
        "discount": unit.out(found.discount),
        "taxes": [_kept_row(unit, row) for row in found.taxes],
        "net": unit.out(found.net),
        "tax": unit.out(found.tax),
        "rounding": unit.out(found.rounding),
        "total": unit.out(found.total),
        "withheld": unit.out(found.withheld),
        "policy": found.policy,
    }


def invoice_of(kept: Mapping[str, Any]) -> Totals:
    """The totals that were kept."""
    unit = _Unit(Currency(kept["currency"], kept["decimals"]))
    lines = tuple(_line_of(unit, line) for line in kept["lines"])
    draft = Draft(
        currency=unit.currency,
        lines=tuple(line.draft for line in lines),
        prices_include_tax=kept["prices_include_tax"],
        discount=unit.back(kept["given_discount"]),
        cash_rounding=unit.back(kept["cash_rounding"]),
        withholding_percent=_number_of(kept["withholding_percent"]),
    )
    return Totals(
        draft=draft,
        lines=lines,
        discount=unit.back(kept["discount"]),
        taxes=tuple(_row_of(unit, row) for row in kept["taxes"]),
        net=unit.back(kept["net"]),
        tax=unit.back(kept["tax"]),
        rounding=unit.back(kept["rounding"]),
        total=unit.back(kept["total"]),
        withheld=unit.back(kept["withheld"]),
        policy=kept["policy"],
    )


def kept_note(note: CreditTotals, currency: Currency) -> Kept:
    """A credit note's totals as JSON values; its currency is its invoice's."""
    unit = _Unit(currency)
    return {
        "currency": currency.code,
        "decimals": currency.exponent,
        "lines": [
            {
                "line": line.line,
                "net": unit.out(line.net),
                "taxes": [unit.out(amount) for amount in line.taxes],
                "quantity": _number(line.quantity),
            }
            for line in note.lines
        ],
        "taxes": [_kept_row(unit, row) for row in note.taxes],
        "net": unit.out(note.net),
        "tax": unit.out(note.tax),
        "rounding": unit.out(note.rounding),
        "total": unit.out(note.total),
    }


def note_of(kept: Mapping[str, Any]) -> CreditTotals:
    """The credit note's totals that were kept."""
    unit = _Unit(Currency(kept["currency"], kept["decimals"]))
    return CreditTotals(
        lines=tuple(
            CreditLine(
                line["line"],
                unit.back(line["net"]),
                tuple(unit.back(amount) for amount in line["taxes"]),
                _number_of(line["quantity"]),
            )
            for line in kept["lines"]
        ),
        taxes=tuple(_row_of(unit, row) for row in kept["taxes"]),
        net=unit.back(kept["net"]),
        tax=unit.back(kept["tax"]),
        rounding=unit.back(kept["rounding"]),
        total=unit.back(kept["total"]),
    )


def tax_rows_of(kept: Sequence[Mapping[str, Any]], currency: Currency) -> tuple[TaxTotal, ...]:
    """The tax rows that were kept, of an invoice or a credit note in this currency."""
    unit = _Unit(currency)
    return tuple(_row_of(unit, row) for row in kept)


def _kept_line(unit: _Unit, line: LineTotal) -> Kept:
    draft = line.draft
    return {
        "description": draft.description,
        "quantity": _number(draft.quantity),
        "unit": draft.unit,
        "unit_price": _number(draft.unit_price),
        "base_quantity": _number(draft.base_quantity),
        "discount_percent": _number(draft.discount_percent),
        "allowance": unit.out(draft.allowance),
        "taxes": [
            _kept_terms(terms) | {"amount": unit.out(amount)}
            for terms, amount in zip(draft.taxes, line.taxes, strict=True)
        ],
        "revenue_account": draft.revenue_account,
        "service_from": _day(draft.service_from),
        "service_to": _day(draft.service_to),
        "product": draft.product,
        "before_discount": unit.out(line.before_discount),
        "discount": unit.out(line.discount),
        "net": unit.out(line.net),
        "document_discount": unit.out(line.document_discount),
    }


def _line_of(unit: _Unit, kept: Mapping[str, Any]) -> LineTotal:
    first, *further = [_terms_of(each) for each in kept["taxes"]]
    draft = LineDraft(
        description=kept["description"],
        quantity=Decimal(kept["quantity"]),
        unit=kept["unit"],
        unit_price=Decimal(kept["unit_price"]),
        base_quantity=Decimal(kept["base_quantity"]),
        discount_percent=_number_of(kept["discount_percent"]),
        allowance=unit.back(kept["allowance"]),
        tax=first,
        further_taxes=tuple(further),
        revenue_account=kept["revenue_account"],
        service_from=_day_of(kept["service_from"]),
        service_to=_day_of(kept["service_to"]),
        product=kept["product"],
    )
    return LineTotal(
        draft=draft,
        before_discount=unit.back(kept["before_discount"]),
        discount=unit.back(kept["discount"]),
        net=unit.back(kept["net"]),
        document_discount=unit.back(kept["document_discount"]),
        taxes=tuple(unit.back(each["amount"]) for each in kept["taxes"]),
    )


def _kept_row(unit: _Unit, row: TaxTotal) -> Kept:
    return _kept_terms(row.terms) | {"base": unit.out(row.base), "amount": unit.out(row.amount)}


def _row_of(unit: _Unit, kept: Mapping[str, Any]) -> TaxTotal:
    return TaxTotal(_terms_of(kept), unit.back(kept["base"]), unit.back(kept["amount"]))


def _kept_terms(terms: TaxTerms) -> Kept:
    return {
        "category": terms.category,
        "rate": _number(terms.rate),
        "exemption_code": terms.exemption_code,
        "exemption_reason": terms.exemption_reason,
        "name": terms.name,
        "compound": terms.compound,
    }


def _terms_of(kept: Mapping[str, Any]) -> TaxTerms:
    return TaxTerms(
        kept["category"],
        Decimal(kept["rate"]),
        kept["exemption_code"],
        kept["exemption_reason"],
        kept["name"],
        kept["compound"],
    )


def _number(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _number_of(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _day(value: date | None) -> str | None:
    return None if value is None else value.isoformat()


def _day_of(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
