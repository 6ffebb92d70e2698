"""The ageing of receivables over REST: `GET /receivables/ageing?ledger=&as_of=&known_at=&basis=&edges=`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated, Any

import orjson
from fastapi import Query

from libs.common.auth import Caller
from libs.common.days import WrittenDay, ZonedInstant
from libs.common.errors import Problem
from libs.common.http import App, requires, router
from libs.common.journal import SlugText
from services.invoicing import ageing, ageing_reads
from services.invoicing.ageing import Aged, Basis
from services.invoicing.customers import as_uuid, belongs_to
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rows import Row
from services.invoicing.words import amount_text
from services.invoicing.writing import PREFIX, Tools

Reads = Annotated[Caller, requires("invoice:read")]
EdgesText = Annotated[str, Query(pattern=r"^[0-9]{1,4}(,[0-9]{1,4}){0,11}$")]


@dataclass(frozen=True, slots=True)
class AgeingApi:
    """The route of the ageing."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts the route into the application."""
        routes = router(PREFIX, ["receivables"])
        routes.add_api_route("/receivables/ageing", self.ageing, summary="What is owed, in columns of days")
        app.include_router(routes)

    async def ageing(
        self,
        caller: Reads,
        ledger: SlugText = "main",
        as_of: WrittenDay | None = None,
        known_at: ZonedInstant | None = None,
        basis: Basis = "due",
        edges: EdgesText = "30,60,90",
    ) -> dict[str, Any]:
        """As of the end of a day, today unless said; as it was known at an instant, now unless said."""
        organization, now = caller.own_organization(), self.tools.clock()
        today = now.astimezone(UTC).date()
        day, instant = as_of or today, known_at or now
        columns = [int(edge) for edge in edges.split(",")]
        if (refused := ageing.check_edges(columns)) is not None:
            raise Problem(422, refused.code, refused.detail, facts=refused.facts, errors=refused.errors)
        async with as_reader(self.tools.reader, organization) as connection:
            if day >= today and known_at is None:
                open_rows = await ageing_reads.open_now(connection, organization, ledger)
            else:
                open_rows = await ageing_reads.open_as_of(connection, organization, ledger, day, instant)
            money = await ageing_reads.on_account(connection, organization, ledger, day, instant)
            rows = ageing.buckets(day, basis, open_rows, columns, money)
            customers = [known for row in rows if (known := as_uuid(row.party)) is not None]
            sealed = await ageing_reads.sealed_customers(connection, organization, customers)
        names = {str(row["id"]): self._name(row) for row in sealed}
        return {
            "ledger": ledger,
            "as_of": day,
            "known_at": instant,
            "basis": basis,
            "columns": ageing.labels(columns),
            "rows": [{"party": row.party, "name": names.get(row.party), **_words(row, columns)} for row in rows],
            "totals": [_words(row, columns) for row in ageing.summed(rows, columns)],
        }

    def _name(self, row: Row) -> str | None:
        plain = self.tools.sealer.open(row["key_id"], row["sealed"], belongs_to(row["organization"], row["id"]))
        name: str | None = orjson.loads(plain).get("name")
        return name


def _words(row: Aged, edges: Sequence[int]) -> dict[str, Any]:
    def told(amounts: Iterable[int]) -> list[str]:
        return [amount_text(amount, row.currency) for amount in amounts]

    open_, unapplied, credit, net = told((row.open, row.unapplied, row.credit, row.net))
    return {
        "currency": row.currency,
        "by_age": dict(zip(ageing.labels(edges), told(row.columns), strict=True)),
        "open": open_,
        "unapplied": unapplied,
        "credit": credit,
        "net": net,
    }
