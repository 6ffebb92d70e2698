"""What invoices are made with, over REST: account mapping and settings, products, tax rates."""

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.http import App, requires, router
from services.invoicing import catalog, receivable_reads
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import MappingBody, ProductBody, ProductPatchBody, TaxRateBody
from services.invoicing.catalog import MappingWish, mapping_words
from services.invoicing.catalog_store import Mapped, TaxRate, ledger_terms
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rejections import reject
from services.invoicing.words import product_words, tax_rate_words
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

ReadsInvoices = Annotated[Caller, requires("invoice:read")]
ReadsTaxes = Annotated[Caller, requires("tax:read")]


@dataclass(frozen=True, slots=True)
class CatalogApi:
    """The routes of mapping, products and tax rates."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags = ("catalog",)
        mapping, product = TypeAdapter(MappingBody), TypeAdapter(ProductBody)
        patch, rate = TypeAdapter(ProductPatchBody), TypeAdapter(TaxRateBody)
        for write in (
            Write("/ledgers/{ledger}/account-mapping", "mapping:write", mapping, "A ledger's account mapping", _map,
                  method="PUT", status=OK, tags=tags),
            Write("/products", "product:write", product, "A new product", _create_product, tags=tags),
            Write("/products/{id}", "product:write", patch, "A changed product", _patch_product, method="PATCH",
                  status=OK, tags=tags),
            Write("/tax-rates", "tax:write", rate, "What a tax code means from a day on", _create_rate, tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        add = routes.add_api_route
        add("/ledgers/{ledger}/account-mapping", self.mapping, summary="A ledger's account mapping and settings")
        add("/products", self.products, summary="Products, oldest first")
        add("/tax-rates", self.tax_rates, summary="Tax rates with their validity, oldest first")
        app.include_router(routes)

    async def mapping(self, ledger: str, caller: ReadsInvoices) -> dict[str, Any]:
        """Empty where nothing was set yet."""
        key = caller.own_organization(), ledger
        async with as_reader(self.tools.reader, key[0]) as connection:
            terms = (await ledger_terms(connection, [key]))[key]
        return mapping_words(ledger, terms)

    async def products(
        self, caller: ReadsInvoices, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT
    ) -> dict[str, Any]:
        organization = caller.own_organization()
        name, after = f"products/{organization}", None
        if cursor is not None:
            after = UUID(decode_cursor(cursor, name, {}).position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_products(connection, organization, after, limit + 1)
        following = encode_cursor(name, {}, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([product_words(row) for row in rows[:limit]], following)

    async def tax_rates(
        self, caller: ReadsTaxes, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT
    ) -> dict[str, Any]:
        organization = caller.own_organization()
        name, after = f"tax-rates/{organization}", None
        if cursor is not None:
            after = UUID(decode_cursor(cursor, name, {}).position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_tax_rates(connection, organization, after, limit + 1)
        following = encode_cursor(name, {}, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([tax_rate_words(row) for row in rows[:limit]], following)


async def _map(connection: Connection, asked: Asked) -> Done | Rejection:
    body = asked.body
    wish = MappingWish(
        rows=[Mapped(row.role, row.currency or "", row.account) for row in body.mapping],
        standard=body.standard,
        currencies=body.currencies,
        functional_currency=body.functional_currency,
        tax_basis=body.tax_basis,
        recognition=body.recognition,
        number_prefix=body.number_prefix,
        cash_rounding=body.cash_rounding,
        seller=None if body.seller is None else asdict(body.seller),
    )
    return await catalog.put_mapping(connection, asked.organization, asked.names["ledger"], wish, asked.now)


async def _create_product(connection: Connection, asked: Asked) -> Done | Rejection:
    price, base = Decimal(asked.body.unit_price), Decimal(asked.body.base_quantity)
    if price < 0:
        return reject("price-negative", errors=[Fault("/unit_price", f"is {price}")])
    if base <= 0:
        return reject("quantity-out-of-range", errors=[Fault("/base_quantity", f"is {base}")])
    wish = {**asdict(asked.body), "unit_price": price, "base_quantity": base}
    return await catalog.create_product(connection, asked.organization, wish, asked.now)


async def _patch_product(connection: Connection, asked: Asked) -> Done | Rejection:
    patch = {name: value for name, value in asdict(asked.body).items() if value is not None}
    if "unit_price" in patch:
        patch["unit_price"] = Decimal(patch["unit_price"])
        if patch["unit_price"] < 0:
            return reject("price-negative", errors=[Fault("/unit_price", f"is {patch['unit_price']}")])
    return await catalog.patch_product(connection, asked.organization, asked.ids["id"], patch)


async def _create_rate(connection: Connection, asked: Asked) -> Done | Rejection:
    body = asked.body
    rate = TaxRate(
        body.code,
        body.category,
        Decimal(body.rate),
        body.exemption_code,
        body.exemption_reason,
        body.valid_from,
        body.valid_to,
    )
    return await catalog.create_tax_rate(connection, asked.organization, rate, asked.now)
