"""What wishes for invoices come to: their words looked up set by set, then planned one by one.

wishes -> customers, products, tax rates at their tax points -> Planned, or the rejection, at each one's place
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.sealing import Sealer
from services.invoicing import catalog_store
from services.invoicing.catalog_store import LedgerKey, LedgerTerms, ledger_terms
from services.invoicing.customers import find_customers, found_or_made
from services.invoicing.drafts import TaxTerms
from services.invoicing.early_payment import some_terms
from services.invoicing.invoice_plans import Found, InvoiceWish, Planned, plan, tax_point_of
from services.invoicing.rejections import reject
from services.invoicing.rows import Row


async def plans(
    connection: Connection,
    sealer: Sealer,
    wishes: Sequence[InvoiceWish],
    terms: Mapping[LedgerKey, LedgerTerms],
    now: datetime,
) -> list[Planned | Rejection]:
    """What each wish comes to, at its place; `terms` are those of their ledgers."""
    found = await _found(connection, sealer, wishes, terms, now)
    return [
        known if isinstance(known, Rejection) else plan(wish, known)
        for wish, known in zip(wishes, found, strict=True)
    ]  # fmt: skip


async def plan_invoices(
    connection: Connection, sealer: Sealer, wishes: Sequence[InvoiceWish], now: datetime
) -> list[Planned | Rejection]:
    """The same of wishes alone; nothing is made of them."""
    terms = await ledger_terms(connection, [(wish.organization, wish.ledger) for wish in wishes])
    return await plans(connection, sealer, wishes, terms, now)


async def _found(
    connection: Connection,
    sealer: Sealer,
    wishes: Sequence[InvoiceWish],
    terms: Mapping[LedgerKey, LedgerTerms],
    now: datetime,
) -> list[Found | Rejection]:
    """What each wish's words mean; customers are made where the short form says so."""
    made = [(wish.organization, wish.customer) for wish in wishes if wish.make_customer]
    named = [(wish.organization, wish.customer) for wish in wishes if not wish.make_customer]
    customers = await find_customers(connection, sealer, named) if named else {}
    if made:
        customers |= await found_or_made(connection, sealer, made, now)
    products = await _products(connection, wishes)
    rates = await _tax_rates(connection, wishes, products, now)
    found: list[Found | Rejection] = []
    for wish in wishes:
        customer = customers.get((wish.organization, wish.customer))
        if customer is None:
            fault = Fault("/customer", f"is {wish.customer[:60]}")
            found.append(reject("unknown-customer", errors=[fault]))
            continue
        of_ledger = terms[wish.organization, wish.ledger]
        found.append(
            Found(
                customer["id"],
                customer["currency"],
                customer["payment_terms_days"],
                of_ledger.functional_currency,
                of_ledger.cash_rounding,
                products.get(wish.organization, {}),
                rates.get((wish.organization, tax_point_of(wish, now.date())), {}),
                now.date(),
                some_terms(customer["discount_percent"], customer["discount_days"]),
            )
        )
    return found


async def _products(connection: Connection, wishes: Sequence[InvoiceWish]) -> dict[str, dict[str, Row]]:
    wanted: dict[str, set[str]] = {}
    for wish in wishes:
        if codes := wish.product_codes:
            wanted.setdefault(wish.organization, set()).update(codes)
    return {
        organization: dict(await catalog_store.products_by_code(connection, organization, sorted(codes)))
        for organization, codes in wanted.items()
    }


async def _tax_rates(
    connection: Connection,
    wishes: Sequence[InvoiceWish],
    products: Mapping[str, Mapping[str, Row]],
    now: datetime,
) -> dict[tuple[str, date], dict[str, TaxTerms]]:
    """Tax codes of lines and products by organization and tax point."""
    wanted: dict[tuple[str, date], set[str]] = {}
    for wish in wishes:
        known = products.get(wish.organization, {})
        codes = {known[code]["tax_rate"] for code in wish.product_codes if code in known} - {None}
        codes |= set(wish.tax_codes)
        if codes:
            wanted.setdefault((wish.organization, tax_point_of(wish, now.date())), set()).update(codes)
    rates: dict[tuple[str, date], dict[str, TaxTerms]] = {}
    for (organization, on), codes in wanted.items():
        rows = await catalog_store.tax_rates_on(connection, organization, sorted(codes), on)
        rates[organization, on] = {
            code: TaxTerms(row.category, row.rate, row.exemption_code, row.exemption_reason)  # type: ignore[arg-type] # the table's check holds it
            for code, row in rows.items()
        }
    return rates
