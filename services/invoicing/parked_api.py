"""Parked messages over REST: looked at, fixed, released, dismissed.

    GET  /parked, /parked/{id}            in the order in which they were parked, with the reason
    PUT  /parked/{id}/value               other words in the place of what came, about the same document
    POST /parked/{id}/release             its document's messages are tried in their order, until one is refused
    POST /parked/{id}/dismiss             it shall have no effect; those behind it are tried
    POST /parked/{id}/replay              a dismissed one waits again and is tried

Each of these done twice has the effect of once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import asyncpg
import orjson
from annotated_types import Len
from fastapi import Path
from pydantic import BaseModel, ConfigDict

from libs.common.auth import Caller
from libs.common.clock import Clock
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Pool, transaction
from libs.common.errors import Problem, Rejection
from libs.common.http import App, requires, router
from libs.common.problems import rejection_problem
from services.invoicing import parked_reads, parked_store, parking
from services.invoicing.asking import status_of
from services.invoicing.parking import Apply
from services.invoicing.rejections import reject

PREFIX: Final = "/api/v1"

Reads = Annotated[Caller, requires("payment:read")]
Writes = Annotated[Caller, requires("payment:write")]
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
State = Literal["waiting", "released", "dismissed"]
NoteText = Annotated[str, Len(1, 2_000)]


class FixBody(BaseModel):
    """The event's value as it should have been, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)
    value: dict[str, Any]
    note: NoteText


class DismissBody(BaseModel):
    """Why it shall have no effect."""

    model_config = ConfigDict(extra="forbid", strict=True)
    note: NoteText


@dataclass(frozen=True, slots=True)
class ParkedApi:
    """What the routes work on: the writer's pool, the reader's pool, and how an event has its effect."""

    pool: Pool
    reader: Pool
    clock: Clock
    apply: Apply

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX, ["parked messages"])
        add = routes.add_api_route
        add("/parked", self.parked, summary="Messages that wait, with their reasons")
        add("/parked/{id}", self.one, summary="A parked message")
        add("/parked/{id}/value", self.fix, methods=["PUT"], summary="A parked message put right")
        add("/parked/{id}/release", self.release, methods=["POST"], summary="A document's messages tried again")
        add("/parked/{id}/dismiss", self.dismiss, methods=["POST"], summary="A parked message without effect")
        add("/parked/{id}/replay", self.replay, methods=["POST"], summary="A dismissed message tried after all")
        app.include_router(routes)

    async def parked(
        self, caller: Reads, state: State | None = None, document: str | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        organization = caller.own_organization()
        name, after = f"{organization}/parked", 0
        filters: dict[str, Any] = {"state": state, "document": document}
        if cursor:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {"state": None, "document": None, **begun.filters}, begun.position[0]
        async with transaction(self.reader, readonly=True, settings=_seen_by(organization)) as connection:
            rows = await parked_reads.list_parked(
                connection, organization, filters["state"], filters["document"], after, limit
            )
        following = encode_cursor(name, filters, [rows[-1]["id"]]) if len(rows) == limit else None
        return page([parked_words(row) for row in rows], following)

    async def one(self, id: Id, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with transaction(self.reader, readonly=True, settings=_seen_by(organization)) as connection:
            row = await parked_reads.read_parked(connection, organization, id)
        return parked_words(_found(row, id))

    async def fix(self, id: Id, body: FixBody, caller: Writes) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with transaction(self.pool) as connection:
            refused = await parking.fix(connection, organization, id, orjson.dumps(body.value), body.note)
            if refused is not None:
                raise _problem(refused)
            return parked_words(_found(await parked_store.lock_one(connection, organization, id), id))

    async def release(self, id: Id, caller: Writes) -> dict[str, Any]:  # noqa: A002
        """Tells how the message stands afterwards; where it still waits, the reason says why."""
        return await self._try(id, caller, "waiting")

    async def replay(self, id: Id, caller: Writes) -> dict[str, Any]:  # noqa: A002
        """A released message had its effect and is left alone."""
        return await self._try(id, caller, "dismissed")

    async def dismiss(self, id: Id, body: DismissBody, caller: Writes) -> dict[str, Any]:  # noqa: A002
        organization, at = caller.own_organization(), self.clock()
        async with transaction(self.pool) as connection:
            row = _found(await parked_store.lock_one(connection, organization, id), id)
            if row["state"] == "released":
                raise _problem(parking.not_waiting("released"))
            if row["state"] == "waiting":
                await parked_store.settle(connection, [id], "dismissed", at, caller.subject, body.note)
                await parking.release(connection, (organization, row["document"]), at, self.apply, caller.subject)
            return parked_words(_found(await parked_store.lock_one(connection, organization, id), id))

    async def _try(self, id_: int, caller: Caller, expected: State) -> dict[str, Any]:
        organization, at = caller.own_organization(), self.clock()
        async with transaction(self.pool) as connection:
            row = _found(await parked_store.lock_one(connection, organization, id_), id_)
            if row["state"] == "dismissed" and expected == "waiting":
                raise _problem(parking.not_waiting("dismissed"))
            if row["state"] == "dismissed":
                await parked_store.wait_again(connection, id_)
            await parking.release(connection, (organization, row["document"]), at, self.apply, caller.subject)
            return parked_words(_found(await parked_store.lock_one(connection, organization, id_), id_))


def parked_words(row: asyncpg.Record) -> dict[str, Any]:
    """A parked message as it is told; `value` is what counts, `fixed` whether a person put it there."""
    return {
        "id": row["id"],
        "document": row["document"],
        "type": row["type"],
        "source": row["event_source"],
        "event_id": row["event_id"],
        "state": row["state"],
        "reason": row["reason"],
        "facts": orjson.loads(row["facts"]),
        "value": orjson.loads(row["value"]),
        "fixed": row["fixed"],
        "note": row["note"],
        "came_in": {"topic": row["topic"], "partition": row["partition"], "offset": row["offset_"]},
        "parked_at": row["parked_at"],
        "settled_at": row["settled_at"],
        "settled_by": row["settled_by"],
    }


def _found(row: asyncpg.Record | None, id_: int) -> asyncpg.Record:
    if row is None:
        raise _problem(reject("unknown-parked-message", id=id_))
    return row


def _problem(rejection: Rejection) -> Problem:
    return rejection_problem(rejection, status_of(rejection))


def _seen_by(organization: str) -> Mapping[str, str]:
    return {"ledgerbus.organization": organization}
