"""The ageing of receivables over REST: `GET /receivables/ageing?ledger=&as_of=&known_at=&basis=&edges=`.

Whole, with its totals; or, with `limit`, as pages of so many customers, which have no totals of their own.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import orjson
from fastapi import Query
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_MAX, decode_cursor, encode_cursor
from libs.common.days import WrittenDay, ZonedInstant
from libs.common.db import Connection
from libs.common.errors import Problem
from libs.common.http import App, json_response, requires, router
from libs.common.journal import SlugText
from libs.common.money import ISO_4217, to_text
from services.invoicing import ageing, ageing_reads
from services.invoicing.ageing import Aged, Basis
from services.invoicing.ageing_reads import LAST_PARTY, NO_PARTY, Asked
from services.invoicing.customers import as_uuid, belongs_to
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rows import Row
from services.invoicing.writing import PREFIX, Tools

T = TypeVar("T")
Made = TypeVar("Made")

MADE_AT_ONCE: Final = 1_000

Reads = Annotated[Caller, requires("invoice:read")]
EdgesText = Annotated[str, Query(pattern=r"^[0-9]{1,4}(,[0-9]{1,4}){0,11}$")]
PageLimit = Annotated[int | None, Query(ge=1, le=LIMIT_MAX, description="Customers on a page; all where it is absent.")]


@dataclass(frozen=True, slots=True)
class AgeingApi:
    """The route of the ageing."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts the route into the application."""
        routes = router(PREFIX, ["receivables"])
        routes.add_api_route(
            "/receivables/ageing", self.ageing, summary="What is owed, in columns of days",
            response_model=dict[str, Any],
        )  # fmt: skip
        app.include_router(routes)

    async def ageing(
        self,
        caller: Reads,
        ledger: SlugText = "main",
        as_of: WrittenDay | None = None,
        known_at: ZonedInstant | None = None,
        basis: Basis = "due",
        edges: EdgesText = "30,60,90",
        limit: PageLimit = None,
        cursor: str | None = None,
    ) -> Response:
        """As of the end of a day, today unless said; as it was known at an instant, now unless said."""
        organization, now = caller.own_organization(), self.tools.clock()
        columns = [int(edge) for edge in edges.split(",")]
        if (refused := ageing.check_edges(columns)) is not None:
            raise Problem(422, refused.code, refused.detail, facts=refused.facts, errors=refused.errors)
        day, instant = as_of or now.astimezone(UTC).date(), known_at or now
        asked = Asked(organization, ledger, day, basis, ageing.thresholds(columns))
        listed = f"ageing/{organization}"
        filters = {"ledger": ledger, "as_of": day, "known_at": known_at, "basis": basis, "edges": edges}
        after = NO_PARTY if cursor is None else UUID(decode_cursor(cursor, listed, filters).position[0])
        is_paged = limit is not None or cursor is not None
        async with as_reader(self.tools.reader, organization) as connection:
            if is_paged:
                parties = await ageing_reads.page_of_customers(connection, organization, after, limit or LIMIT_MAX)
                asked = asked._replace(parties=parties)
            is_past = day < now.astimezone(UTC).date() or known_at is not None
            rows, sealed = await _read(connection, asked, columns, instant, is_past)
        names = dict(await _in_turns(lambda row: (str(row["id"]), self._name(row)), sealed))
        labels = ageing.labels(columns)
        told = await _in_turns(
            lambda row: {"party": row.party, "name": names.get(row.party), **_words(row, labels)}, rows
        )
        is_last = asked.parties.through == LAST_PARTY
        return json_response(
            {
                "ledger": ledger,
                "as_of": day,
                "known_at": instant,
                "basis": basis,
                "columns": labels,
                "rows": told,
                "totals": None if is_paged else [_words(row, labels) for row in ageing.summed(rows)],
                "next_cursor": None if is_last else encode_cursor(listed, filters, [str(asked.parties.through)]),
            }
        )

    def _name(self, row: Row) -> str | None:
        plain = self.tools.sealer.open(row["key_id"], row["sealed"], belongs_to(row["organization"], row["id"]))
        name: str | None = orjson.loads(plain).get("name")
        return name


async def _read(
    connection: Connection, asked: Asked, columns: Sequence[int], instant: datetime, is_past: bool
) -> tuple[list[Aged], list[Row]]:
    """The ageing's rows, and what is sealed of their customers."""
    await ageing_reads.plan_for_values(connection)
    if is_past:
        amounts = await ageing_reads.still_open(connection, asked, asked.as_of, instant)
        amounts += await ageing_reads.put_back(connection, asked, instant)
    else:
        amounts = await ageing_reads.still_open(connection, asked)
    money = await ageing_reads.on_account(connection, asked, instant)
    rows = ageing.aged(amounts, columns, money)
    customers = {known for row in rows if (known := as_uuid(row.party)) is not None}
    return rows, [*await ageing_reads.sealed_customers(connection, asked.organization, customers)]


async def _in_turns(make: Callable[[T], Made], rows: Sequence[T]) -> list[Made]:
    """Made some at a time: there may be tens of thousands, and others wait for this loop."""
    made: list[Made] = []
    for start in range(0, len(rows), MADE_AT_ONCE):
        made += map(make, rows[start : start + MADE_AT_ONCE])
        await asyncio.sleep(0)
    return made


def _words(row: Aged, labels: Sequence[str]) -> dict[str, Any]:
    """A row as callers are told; there may be tens of thousands."""
    exponent, columns, open_ = ISO_4217[row.currency].exponent, row.columns, row.open
    nothing = to_text(0, exponent)
    return {
        "currency": row.currency,
        "by_age": dict(
            zip(labels, [to_text(amount, exponent) if amount else nothing for amount in columns], strict=True)
        ),
        "open": to_text(open_, exponent),
        "unapplied": to_text(row.unapplied, exponent) if row.unapplied else nothing,
        "credit": to_text(row.credit, exponent) if row.credit else nothing,
        "net": to_text(open_ - row.unapplied - row.credit, exponent),
    }
