"""The REST entrance for changing accounts: described otherwise, frozen, unfrozen, closed; and what one was before.

An account is found by its code or its id; what happens to it goes through the ledger's writer like a posting, under the
row lock, and is a record of the log: an account's history is those records.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.account_changes import (
    AccountChangeRequest,
    AccountPatch,
    FreezeBody,
    Frozen,
    ReasonBody,
    StandingRequest,
)
from libs.common.auth import Caller
from libs.common.days import WrittenInstant
from libs.common.db import Pool
from libs.common.errors import Fault, Problem
from libs.common.http import App, authenticate, requires, router
from libs.common.problems import malformed
from services.ledger import commands, reads
from services.ledger.account_changes import patch_faults
from services.ledger.answers import AccountAnswer
from services.ledger.commands import Books
from services.ledger.writes import Write, answered, ask, check, json_body

ACCOUNT = "/ledgers/{ledger}/accounts/{code}"
PATCH: TypeAdapter[AccountPatch] = TypeAdapter(AccountPatch)
FREEZE: TypeAdapter[FreezeBody] = TypeAdapter(FreezeBody)
REASON: TypeAdapter[ReasonBody] = TypeAdapter(ReasonBody)


@dataclass(frozen=True, slots=True)
class AccountApi:
    """What the routes work on: the books to write, the reader's pool to find accounts by id and to look back."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        for path, respond, body, summary, method, body_wanted in (
            (ACCOUNT, self.patch, PATCH, "A changed account", "PATCH", True),
            (f"{ACCOUNT}/freeze", self.freeze, FREEZE, "A frozen account", "POST", True),
            (f"{ACCOUNT}/unfreeze", self.unfreeze, REASON, "An unfrozen account", "POST", False),
            (f"{ACCOUNT}/close", self.close, REASON, "A closed account", "POST", False),
        ):
            write = Write(path, "account:write", respond, body, summary, AccountAnswer, method, 200, body_wanted)
            write.add_to(app)
        routes = router("")
        routes.add_api_route(f"/api/v1{ACCOUNT}/history", self.history, summary="What an account was, change by change")
        app.include_router(routes)

    async def patch(self, request: Request) -> Response:
        """Changes what is given and leaves the rest."""
        caller = await authenticate(request, "account:write")
        raw, value = await json_body(request)
        patch = check(PATCH, raw, value)
        if faults := patch_faults(patch):
            raise malformed(faults)
        code = await self._code(request, caller)
        wanted = AccountChangeRequest(code=code, patch=patch)
        answer = await ask(self.books, request, caller, wanted, raw, {"account": code, "patch": value})
        return answered(answer, request, 200)

    async def freeze(self, request: Request) -> Response:
        """From now on the account refuses lines on its normal side (in), on the other (out), or all."""
        caller = await authenticate(request, "account:write")
        raw, value = await json_body(request)
        body = check(FREEZE, raw, value)
        return await self._stand(request, caller, raw, value, body, "frozen", body.direction)

    async def unfreeze(self, request: Request) -> Response:
        """The account takes lines again."""
        caller = await authenticate(request, "account:write")
        raw, value = await json_body(request, empty={})
        return await self._stand(request, caller, raw, value, check(REASON, raw, value), "unfrozen", None)

    async def close(self, request: Request) -> Response:
        """The account takes no lines any more; it needs a balance of zero and no holds."""
        caller = await authenticate(request, "account:write")
        raw, value = await json_body(request, empty={})
        return await self._stand(request, caller, raw, value, check(REASON, raw, value), "closed", None)

    async def _stand(
        self, request: Request, caller: Caller, raw: bytes, value: Any, body: FreezeBody | ReasonBody,
        change: Literal["frozen", "unfrozen", "closed"], direction: Frozen | None,
    ) -> Response:  # fmt: skip
        code = await self._code(request, caller)
        wanted = StandingRequest(
            code=code,
            change=change,
            direction=direction,
            reason=body.reason,
            expected_version=body.expected_version,
        )
        answer = await ask(self.books, request, caller, wanted, raw, {"account": code, change: value})
        return answered(answer, request, 200)

    async def _code(self, request: Request, caller: Caller) -> str:
        """The account's code, which the path gives itself or by its id. Raises Problem 404."""
        given: str = request.path_params["code"]
        ledger = await self.books.get(caller.own_organization(), request.path_params["ledger"])
        async with reads.as_reader(self.reader, caller.own_organization(), ledger) as connection:
            account = await reads.read_account(connection, ledger, given)
        if account is None:
            raise Problem(404, "unknown-account", f"The ledger has no account {given!r}.", facts={"account": given})
        return account["code"]

    async def history(
        self, ledger: str, code: str, caller: Annotated[Caller, requires("ledger:read")],
        at: WrittenInstant | None = None,
        sequence: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Every version of the account, oldest first; with `at` or `sequence` the one that was true then."""
        if at is not None and at.tzinfo is None:
            raise malformed([Fault("/at", "is an instant with its offset from UTC")])
        books = await self.books.get(caller.own_organization(), ledger)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            records = await reads.list_account_versions(connection, books, code, sequence)
        if not records:
            raise Problem(404, "unknown-account", f"The ledger has no account {code!r}{' then' if sequence else ''}.")
        versions = [_version(record) for record in records]
        if at is not None:
            versions = [version for version in versions if datetime.fromisoformat(version["recorded_at"]) <= at]
        if (at is not None or sequence is not None) and versions:
            versions = versions[-1:]
        return {"items": versions, "next_cursor": None}


def _version(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "sequence": record["sequence"],
        "recorded_at": record["recorded_at"],
        "actor": record["actor"],
        "change": record.get("change", "opened"),
        "reason": record.get("reason"),
        "account": commands.account_answer(record),
    }
