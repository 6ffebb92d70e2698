"""Holds over REST: placed, captured, released, and read. How each request becomes a wish is in writes.py."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Pool
from libs.common.errors import Problem
from libs.common.holds import CaptureBody, CaptureRequest, HoldRequest, ReleaseBody, ReleaseRequest, capture_faults
from libs.common.http import App, authenticate, requires, router
from libs.common.problems import malformed
from libs.common.traces import start_span
from services.ledger import hold_reads
from services.ledger.answers import CaptureAnswer, HoldMoved, HoldWithEntries
from services.ledger.commands import Books
from services.ledger.reads import as_reader, as_uuid
from services.ledger.writes import PREFIX, Write, answered, ask, check, is_dry_run, json_body

BOOKS = "/ledgers/{ledger}"
HOLD_BYTES_MAX = 1024 * 1024
NEWEST = 2**63 - 1

HOLD = TypeAdapter(HoldRequest)
CAPTURE = TypeAdapter(CaptureBody)
RELEASE = TypeAdapter(ReleaseBody)

Reads = Annotated[Caller, requires("ledger:read")]
HoldStatus = Literal["pending", "captured", "released", "expired"]


@dataclass(frozen=True, slots=True)
class HoldApi:
    """What the routes work on: books to write, the reader's pool to read."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        one = f"{BOOKS}/holds/{{id}}"
        for post in (
            Write(f"{BOOKS}/holds", "ledger:post", self.place, HOLD, "A hold", HoldMoved),
            Write(
                f"{one}/capture", "ledger:post", self.capture, CAPTURE, "A capture", CaptureAnswer, body_wanted=False
            ),
            Write(
                f"{one}/release", "ledger:post", self.release, RELEASE, "A release", HoldMoved, status=200,
                body_wanted=False,
            ),
        ):  # fmt: skip
            post.add_to(app)
        routes = router(PREFIX)
        routes.add_api_route(f"{BOOKS}/holds", self.holds, summary="Holds, newest first")
        routes.add_api_route(one, self.hold, summary="A hold, its lines, and the entries that captured it")
        app.include_router(routes)

    async def place(self, request: Request) -> Response:
        """Lines that are pending from now on."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await json_body(request, HOLD_BYTES_MAX)
        wanted = check(HOLD, raw, value)
        with start_span("place_hold"):
            answer = await ask(self.books, request, caller, wanted, raw, value, dry_run=is_dry_run(request))
        return answered(answer, request)

    async def capture(self, request: Request) -> Response:
        """Some or all of a hold becomes an entry."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await json_body(request, HOLD_BYTES_MAX, empty={})
        body = check(CAPTURE, raw, value)
        if faults := capture_faults(body):
            raise malformed(faults)
        words = {each.name: getattr(body, each.name) for each in fields(CaptureBody)}
        wanted = CaptureRequest(hold_id=hold_id_of(request.path_params["id"]), **words)
        with start_span("post_journal"):
            asked = {"hold": str(wanted.hold_id), "body": value}
            answer = await ask(self.books, request, caller, wanted, raw, asked, dry_run=is_dry_run(request))
        return answered(answer, request)

    async def release(self, request: Request) -> Response:
        """What is left of a hold is pending no more."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await json_body(request, empty={})
        body = check(RELEASE, raw, value)
        wanted = ReleaseRequest(hold_id=hold_id_of(request.path_params["id"]), reason=body.reason)
        asked = {"hold": str(wanted.hold_id), "body": value}
        answer = await ask(self.books, request, caller, wanted, raw, asked, dry_run=is_dry_run(request))
        return answered(answer, request, 200)

    async def holds(
        self, ledger: str, caller: Reads, status: HoldStatus | None = None, account: str | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        name = f"{caller.own_organization()}/{ledger}/holds"
        filters: dict[str, Any] = {"status": status, "account": account}
        before = NEWEST
        if cursor:
            begun = decode_cursor(cursor, name, filters)
            filters, before = begun.filters, begun.position[0]
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            items = await hold_reads.list_holds(connection, books, filters, before, limit)
        following = encode_cursor(name, filters, [items[-1]["sequence"]]) if len(items) == limit else None
        return page(items, following)

    async def hold(self, ledger: str, id: str, caller: Reads) -> HoldWithEntries:  # noqa: A002
        books = await self.books.get(caller.own_organization(), ledger)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            found = await hold_reads.read_hold(connection, books, hold_id_of(id))
        if found is None:
            raise Problem(404, "unknown-hold", f"The ledger has no hold {id}.")
        return found


def hold_id_of(text: str) -> UUID:
    """The id in a path; raises Problem 404 where the text is none."""
    found = as_uuid(text)
    if found is None:
        raise Problem(404, "unknown-hold", f"{text[:80]!r} is no hold's id.")
    return found
