"""One OpenAPI document for the whole platform, merged at run time from the services' own.

Only what the route table lets through is shown. Schemas that two services name alike but mean differently get the
service's name in front. A service that does not answer keeps its last known part; one never seen is named in
`x-upstreams-missing`, so that a partial document says that it is partial.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp
import orjson

from libs.common import clock
from libs.common.openapi import PROBLEM_SCHEMA
from libs.common.telemetry import get_logger
from services.gateway.examples import EXAMPLES
from services.gateway.routes import OPEN, SHORT_HEALTH, Passage
from services.gateway.upstreams import Upstream

FRESH_S: Final = 30.0
FETCH_TIMEOUT_S: Final = 3.0
REF_PREFIX: Final = "#/components/schemas/"

log = get_logger(__name__)

DESCRIPTION: Final = """The accounting back end of a payments platform.

Send `Authorization: Bearer <token>` with every request and an `Idempotency-Key` with every POST that makes something:
the same key again gives the same answer and never a second entry. Amounts are texts in major units, such as "12.50".
Every error is RFC 9457 problem+json with a stable `code`; `retryable` says whether the same request may succeed later.
Lists go on with `next_cursor`."""


class OpenApi:
    """The merged document, kept for `FRESH_S` seconds."""

    def __init__(self, version: str, passages: Iterable[Passage], upstreams: Mapping[str, Upstream]) -> None:
        self._version = version
        self._passages = tuple(passages)
        self._upstreams = upstreams
        self._parts: dict[str, dict[str, Any]] = {}
        self._fetched_at_s: float | None = None
        self._fetching = asyncio.Lock()

    async def document(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """The document as it is now."""
        async with self._fetching:
            now_s = clock.monotonic_s()
            complete = self._parts.keys() == self._upstreams.keys()
            if self._fetched_at_s is None or not complete or now_s - self._fetched_at_s > FRESH_S:
                await asyncio.gather(*(self._fetch(session, upstream) for upstream in self._upstreams.values()))
                self._fetched_at_s = now_s
        return merge(self._version, self._passages, self._parts, self._upstreams.keys() - self._parts.keys())

    async def _fetch(self, session: aiohttp.ClientSession, upstream: Upstream) -> None:
        for instance in upstream.instances:
            try:
                async with asyncio.timeout(FETCH_TIMEOUT_S):
                    async with session.get(f"{instance.url}/openapi.json") as answer:
                        answer.raise_for_status()
                        self._parts[upstream.name] = orjson.loads(await answer.read())
                        return
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                log.warning("openapi-part-not-read", upstream=upstream.name, url=instance.url, error=repr(error))


def merge(
    version: str, passages: Iterable[Passage], parts: Mapping[str, dict[str, Any]], missing: Iterable[str]
) -> dict[str, Any]:
    """The merged document of the parts, by upstream. Routes that no part describes are left out."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Problem": PROBLEM_SCHEMA}
    renamed = {name: _take_schemas(name, part, schemas) for name, part in sorted(parts.items())}
    for passage in passages:
        entry = parts.get(passage.upstream, {}).get("paths", {}).get(passage.path, {}).get(passage.method.lower())
        if entry is None:
            continue
        shown = _renamed(entry, renamed[passage.upstream])
        shown["tags"] = entry.get("tags") or [passage.upstream]
        shown["security"] = [] if passage.scope == OPEN else [{"bearer": [passage.scope]}]
        shown["responses"] = {**shown.get("responses", {}), "default": {"$ref": "#/components/responses/Problem"}}
        _add_example(passage, shown)
        paths.setdefault(passage.path, {})[passage.method.lower()] = shown
    paths.update({path: {"get": _health(version)} for path in SHORT_HEALTH})
    return {
        "openapi": "3.1.0",
        "info": {"title": "LedgerBus", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "responses": {
                "Problem": {
                    "description": "A problem, told as RFC 9457 says.",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
        },
        "x-upstreams-missing": sorted(missing),
    }


def _health(version: str) -> dict[str, Any]:
    told = {"application/json": {"schema": {"type": "object"}, "example": {"status": "ok", "version": version}}}
    return {
        "tags": ["Short paths"],
        "summary": "Whether the platform is ready, and its version",
        "security": [],
        "responses": {"200": {"description": "Ready.", "content": told}, "503": {"description": "Not ready."}},
    }


def _take_schemas(upstream: str, part: Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, str]:
    """Add a part's schemas. Gives old reference -> new reference for those that had to be renamed.

    A schema that refers to a renamed one means something else too, so renaming goes on until nothing changes.
    """
    own = part.get("components", {}).get("schemas", {})
    changed: dict[str, str] = {}
    while True:
        differing = {
            f"{REF_PREFIX}{name}": f"{REF_PREFIX}{upstream.capitalize()}{name}"
            for name, schema in own.items()
            if name in schemas and schemas[name] != _renamed(schema, changed)
        }
        if differing == changed:
            break
        changed = differing
    for name, schema in own.items():
        reference = f"{REF_PREFIX}{name}"
        schemas[changed.get(reference, reference).removeprefix(REF_PREFIX)] = _renamed(schema, changed)
    return changed


def _renamed(value: Any, references: Mapping[str, str]) -> Any:
    """A copy of a JSON value in which `$ref`s are changed."""
    if isinstance(value, dict):
        return {
            name: references.get(child, child)
            if name == "$ref" and isinstance(child, str)
            else _renamed(child, references)
            for name, child in value.items()
        }
    if isinstance(value, list):
        return [_renamed(child, references) for child in value]
    return value


def _add_example(passage: Passage, entry: dict[str, Any]) -> None:
    example = EXAMPLES.get((passage.method, passage.path))
    if example is None:
        return
    content = entry.get("requestBody", {}).get("content", {})
    for described in content.values():
        described.setdefault("example", example)
