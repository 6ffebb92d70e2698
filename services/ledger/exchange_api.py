"""The ledger's REST entrance for whole books: export as a file, import of a journal, a log or a chart of accounts.

Both are streams: a file of any length passes in constant memory. What is wrong with the request itself (an unknown
format, a sequence the log has not come to) is a problem; what is wrong with a file is told in its results, by line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common.db import Pool
from libs.common.errors import Fault, Problem
from libs.common.http import App, Operation, add_hot_route, allow_body, authenticate, exchange_of
from libs.common.idempotency import key_of
from libs.common.problems import malformed
from services.ledger.commands import Asker, Books
from services.ledger.exporting import EXPORTS, begin_export
from services.ledger.import_check import IMPORTS
from services.ledger.importing import JournalImport

PREFIX: Final = "/api/v1/ledgers/{ledger}"

_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SEQUENCE: Final = re.compile(r"[0-9]{1,18}")
_LEDGER: Final = {"name": "ledger", "in": "path", "required": True, "schema": {"type": "string"}}
_NDJSON: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class ExchangeApi:
    """What the routes work on; `asker_of` gives the asker that a caller's token speaks for."""

    books: Books
    reader: Pool
    asker_of: Callable[[Any], Asker]

    def add_to(self, app: App) -> None:
        """Puts both routes into the application."""
        for method, path, scope, respond, entry in (
            ("GET", f"{PREFIX}/export/{{format}}", "ledger:export", self.export, _export_entry()),
            ("POST", f"{PREFIX}/import/{{format}}", "ledger:import", self.take, _import_entry()),
        ):
            add_hot_route(app, path, respond, Operation(method, path, scope, entry))

    async def export(self, request: Request) -> Response:
        """The books up to a sequence as a file."""
        caller = await authenticate(request, "ledger:export")
        format_ = _format(request, EXPORTS)
        query = request.query_params
        from_on, to_on = _day(query, "from"), _day(query, "to")
        if (from_on or to_on) and not EXPORTS[format_].by_day:
            place = "from" if from_on else "to"
            raise malformed([Fault(f"/{place}", f"chooses among entries, and {format_} is not made of them")])
        sequence = _sequence(query.get("sequence"))
        ledger = await self.books.get(caller.own_organization(), request.path_params["ledger"])
        export = await begin_export(self.reader, ledger, sequence, from_on, to_on, lambda: self.books.busy)
        if export is None:
            detail = f"The log has not come to sequence {sequence}."
            raise Problem(422, "sequence-not-reached", detail, errors=[Fault("/sequence", "is ahead of the log")])
        exchange_of(request).lift_deadline()
        extent, kind = export.extent, EXPORTS[format_]
        name = f"{extent.organization}-{extent.ledger}-{extent.sequence}.{kind.suffix}"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Ledger-Sequence": str(extent.sequence),
            "Ledger-Hash": extent.hash,
        }
        return StreamingResponse(export.pieces(format_), headers=headers, media_type=kind.media_type)

    async def take(self, request: Request) -> Response:
        """A file taken over: one result line an account and entry, and one that sums up."""
        caller = await authenticate(request, "ledger:import")
        caller.require("account:write")
        format_ = _format(request, IMPORTS)
        chosen = IMPORTS[format_]
        query = request.query_params
        dry_run, head = query.get("dry_run", "false"), query.get("head")
        if dry_run not in ("true", "false"):
            raise malformed([Fault("/dry_run", "is true or false")])
        if head is not None and (format_ != "ndjson" or not _HASH.fullmatch(head)):
            raise malformed([Fault("/head", "is the hash of a log's last record, 64 hexadecimal digits, for ndjson")])
        if dry_run == "false" and not chosen.is_chart:
            caller.require("ledger:post")
        _require_media_type(request, chosen.media_types)
        ledger = await self.books.get(caller.own_organization(), request.path_params["ledger"])
        allow_body(request, None)
        taking = JournalImport(
            self.books, self.reader, ledger, self.asker_of(caller), chosen, key_of(request, required=False),
            exchange_of(request).traceparent, dry_run == "true", head,
        )  # fmt: skip
        return StreamingResponse(taking.results(request.stream()), media_type=_NDJSON)


def _format(request: Request, known: Mapping[str, Any]) -> str:
    format_: str = request.path_params["format"]
    if format_ not in known:
        detail = f"There is no format {format_[:40]!r} here; there are {', '.join(known)}."
        raise Problem(404, "format-unknown", detail, facts={"formats": list(known)})
    return format_


def _day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        if not _DAY.fullmatch(text):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise malformed([Fault(f"/{name}", "is a date such as 2026-11-21")]) from wrong


def _sequence(text: str | None) -> int | None:
    if text is None:
        return None
    if not _SEQUENCE.fullmatch(text) or not int(text):
        raise malformed([Fault("/sequence", "is a whole number from 1")])
    return int(text)


def _require_media_type(request: Request, allowed: frozenset[str]) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        said = ", ".join(sorted(allowed))
        raise Problem(415, "content-type-not-supported", f"The content type must be one of {said}.")


# --- the OpenAPI entries ----------------------------------------------------------------------------------------------


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _path_format(known: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": "format", "in": "path", "required": True, "schema": {"type": "string", "enum": list(known)}}


def _export_entry() -> dict[str, Any]:
    day = {"type": "string", "format": "date"}
    content = {kind.media_type: {"schema": {"type": "string"}} for kind in EXPORTS.values()}
    headers = {
        "Content-Disposition": {"schema": {"type": "string"}},
        "Ledger-Sequence": {"schema": {"type": "integer"}, "description": "The last record the file covers."},
        "Ledger-Hash": {"schema": {"type": "string"}, "description": "That record's hash."},
    }
    return {
        "summary": "The books as a file: the log, a journal, or the accounts",
        "parameters": [
            _LEDGER,
            _path_format(EXPORTS),
            _query("sequence", {"type": "integer", "minimum": 1}, "The books as they were then; now where absent."),
            _query("from", day, "Entries from this effective date on (journals and entries-csv)."),
            _query("to", day, "Entries up to this effective date (journals and entries-csv)."),
        ],
        "responses": {"200": {"description": "The file.", "headers": headers, "content": content}},
    }


def _import_entry() -> dict[str, Any]:
    media_types = sorted({media_type for kind in IMPORTS.values() for media_type in kind.media_types})
    key = {"type": "string", "pattern": "^[!-~]{1,200}$"}
    return {
        "summary": "A journal, a log or a chart of accounts taken over",
        "parameters": [
            _LEDGER,
            _path_format(IMPORTS),
            {"name": "Idempotency-Key", "in": "header", "required": False, "schema": key},
            _query("dry_run", {"type": "boolean"}, "Only read the file and check its shape and balance."),
            _query("head", {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}, "The hash a log is due to end with."),
        ],
        "requestBody": {
            "required": True,
            "content": {media_type: {"schema": {"type": "string"}} for media_type in media_types},
        },
        "responses": {
            "200": {
                "description": "One result a line for each account and entry, and a last line that sums up.",
                "content": {_NDJSON: {"schema": {"type": "string"}}},
            }
        },
    }
