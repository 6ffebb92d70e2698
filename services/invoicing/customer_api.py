"""Customers over REST: made, changed, read, listed, erased; their credit used."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Problem, Rejection
from libs.common.http import App, requires, router
from services.invoicing import customers, dunning_store, receivable_reads
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import CustomerBody, CustomerPatchBody, EmptyBody
from services.invoicing.customers import CustomerWish
from services.invoicing.receivable_reads import as_reader
from services.invoicing.words import amount_text
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("customer:read")]


@dataclass(frozen=True, slots=True)
class CustomerApi:
    """The routes of customers."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags = ("customers",)
        body, patch, empty = TypeAdapter(CustomerBody), TypeAdapter(CustomerPatchBody), TypeAdapter(EmptyBody)
        for write in (
            Write("/customers", "customer:write", body, "A new customer", _create, tags=tags),
            Write("/customers/{id}", "customer:write", patch, "A changed customer", _patch, method="PATCH", status=OK,
                  tags=tags),
            Write("/customers/{id}/erase", "customer:write", empty, "A customer without personal data", _erase,
                  status=OK, is_empty_allowed=True, tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        routes.add_api_route("/customers", self.list, summary="Customers, oldest first; of one name with `name`")
        routes.add_api_route("/customers/{id}", self.get, summary="One customer")
        app.include_router(routes)

    async def get(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        """With its credit by ledger and currency, and the highest dunning level of what it owes."""
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_customer(connection, organization, id)
            credits_ = await receivable_reads.read_credits(connection, organization, id)
            level = await dunning_store.customer_level(connection, organization, id)
        if row is None:
            raise Problem(404, "unknown-customer", "There is no such customer.", facts={"customer": str(id)})
        told = [
            {"ledger": each["ledger"], "currency": each["currency"],
             "balance": amount_text(each["balance"], each["currency"])}
            for each in credits_
        ]  # fmt: skip
        return {**customers.opened(self.tools.sealer, row), "credit": told, "dunning_level": level}

    async def list(
        self, caller: Reads, name: str | None = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT
    ) -> dict[str, Any]:
        organization = caller.own_organization()
        filters, after = {"name": name}, None
        if cursor is not None:
            begun = decode_cursor(cursor, f"customers/{organization}", filters)
            filters, after = {"name": begun.filters.get("name")}, UUID(begun.position[0])
        sealer = self.tools.sealer
        wanted = filters["name"]
        hashed = customers.name_hash(sealer, organization, wanted) if wanted is not None else None
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_customers(connection, organization, hashed, after, limit + 1)
        following = None
        if len(rows) > limit:
            following = encode_cursor(f"customers/{organization}", filters, [str(rows[limit - 1]["id"])])
        return page([customers.opened(sealer, row) for row in rows[:limit]], following)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """A body's members, its address as an object without what is not said."""
    if values.get("address") is not None:
        values["address"] = {name: text for name, text in values["address"].items() if text is not None}
    return values


async def _create(connection: Connection, asked: Asked) -> Done | Rejection:
    wish = CustomerWish(**_plain(asdict(asked.body)))
    return await customers.create_customer(connection, asked.tools.sealer, asked.organization, wish, asked.now)


async def _patch(connection: Connection, asked: Asked) -> Done | Rejection:
    patch = {name: value for name, value in _plain(asdict(asked.body)).items() if value is not None}
    return await customers.patch_customer(
        connection, asked.tools.sealer, asked.organization, asked.ids["id"], patch
    )  # fmt: skip


async def _erase(connection: Connection, asked: Asked) -> Done | Rejection:
    return await customers.erase_customer(
        connection, asked.tools.sealer, asked.organization, asked.ids["id"], asked.now
    )  # fmt: skip
