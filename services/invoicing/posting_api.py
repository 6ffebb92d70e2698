"""What the ledger was asked, over REST: seen with its answer, and asked again where it needs attention."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.http import App, requires, router
from services.invoicing import receivable_reads
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import EmptyBody
from services.invoicing.posting_requests import retry
from services.invoicing.receivable_reads import as_reader
from services.invoicing.redrafting import redraft
from services.invoicing.rejections import reject
from services.invoicing.words import posting_words
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("invoice:read")]
State = Literal["waiting", "requested", "posted", "needs-attention", "withdrawn"]


@dataclass(frozen=True, slots=True)
class PostingApi:
    """The routes of postings."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        empty = TypeAdapter(EmptyBody)
        add_write(
            app,
            self.tools,
            Write("/postings/{id}/retry", "invoice:write", empty, "A posting tried again", _retry, status=OK,
                  is_empty_allowed=True, tags=("postings",)),
        )  # fmt: skip
        routes = router(PREFIX, ["postings"])
        routes.add_api_route("/postings", self.list, summary="What the ledger was asked, oldest first")
        app.include_router(routes)

    async def list(
        self, caller: Reads, state: State | None = None, document: str | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """`document` is its kind, a slash and its id: invoice/..., payment/..., credit-note/..."""
        organization = caller.own_organization()
        filters: dict[str, Any] = {"state": state, "document": document}
        name, after = f"postings/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_postings(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([posting_words(row) for row in rows[:limit]], following)


async def _retry(connection: Connection, asked: Asked) -> Done | Rejection:
    state = await retry(connection, asked.organization, asked.ids["id"], asked.now, redraft)
    if state is None:
        return reject("unknown-posting", posting=str(asked.ids["id"]))
    return Done({"id": asked.ids["id"], "state": state}, OK)
