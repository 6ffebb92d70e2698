"""Invoices as hypothesis draws them: currencies with 0 to 4 decimals, returns, discounts, several taxes, tax on tax."""

from decimal import Decimal

from hypothesis import strategies as st

from libs.common.money import ISO_4217
from services.invoicing.arithmetic import Totals, totals
from services.invoicing.drafts import Draft, LineDraft, TaxTerms

CURRENCIES = [ISO_4217[code] for code in ("EUR", "CLP", "KWD", "CLF")]

TERMS = [
    TaxTerms("S", Decimal(20)),
    TaxTerms("S", Decimal(5)),
    TaxTerms("S", Decimal("9.975")),
    TaxTerms("Z", Decimal(0)),
    TaxTerms("E", Decimal(0), "VATEX-EU-132-1I", "Education"),
    TaxTerms("L", Decimal(7)),
]
FURTHER = [TaxTerms("S", Decimal("2.5"), name="city"), TaxTerms("S", Decimal("9.5"), name="on tax", compound=True)]


@st.composite
def _line(draw: st.DrawFn, exponent: int) -> LineDraft:
    price = draw(st.integers(0, 20_000))
    quantity = draw(st.sampled_from([1, 1, 1, 2, 3, 7, -1, 12]))
    further = draw(st.sampled_from([(), (), (), (FURTHER[0],), (FURTHER[1],), tuple(FURTHER)]))
    return LineDraft(
        description="drawn",
        quantity=Decimal(quantity) * draw(st.sampled_from([Decimal(1), Decimal("0.5"), Decimal("1.333")])),
        unit_price=Decimal(price).scaleb(-exponent - draw(st.sampled_from([0, 0, 1, 3]))),
        base_quantity=draw(st.sampled_from([Decimal(1), Decimal(1), Decimal(6)])),
        discount_percent=draw(st.sampled_from([None, Decimal(4), Decimal("33.333"), Decimal(100)])),
        tax=draw(st.sampled_from(TERMS)),
        further_taxes=further,
    )


@st.composite
def invoices(draw: st.DrawFn, *, returns: bool = True) -> Totals:
    """An invoice that adds up; its discount is some part of what its lines are, unless returns at a higher rate make
    that less than nothing."""
    currency = draw(st.sampled_from(CURRENCIES))
    lines = draw(st.lists(_line(currency.exponent), min_size=1, max_size=8))
    if not returns:
        lines = [line for line in lines if line.quantity > 0]
    draft = Draft(
        currency=currency,
        lines=tuple(lines),
        prices_include_tax=draw(st.booleans()),
        cash_rounding=draw(st.sampled_from([0, 0, 5, 100])),
        withholding_percent=draw(st.sampled_from([None, Decimal(15)])),
    )
    plain = totals(draft)
    if not isinstance(plain, Totals):
        positive = tuple(line for line in lines if line.quantity > 0) or (
            LineDraft(description="one", quantity=Decimal(1), unit_price=Decimal(1), tax=TERMS[0]),
        )
        draft = Draft(currency=currency, lines=positive, prices_include_tax=draft.prices_include_tax)
        plain = totals(draft)
        assert isinstance(plain, Totals), plain
    part = draw(st.sampled_from([0, 0, 0, 7, 50, 100]))
    discount = sum(line.shown for line in plain.lines) * part // 100
    found = totals(
        Draft(
            currency=currency,
            lines=draft.lines,
            prices_include_tax=draft.prices_include_tax,
            discount=discount,
            cash_rounding=draft.cash_rounding,
            withholding_percent=draft.withholding_percent,
        )
    )
    return found if isinstance(found, Totals) else plain
