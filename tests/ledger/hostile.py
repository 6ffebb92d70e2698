"""Requests made from an OpenAPI document: a good one for every operation, and everything that can be wrong with it.

Deterministic: nothing is drawn. From a good request come others with one thing changed each: every value of `TEXTS` in
every parameter, every value of `VALUES` and `BARE` in every place of a body, a parameter sent twice, other content
types. Where there are too many for a test's time, every n-th one is taken. Members left out, members nobody knows and
values of other types are drawn from the document by Schemathesis (test_schemathesis.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import orjson

from libs.common.cursors import encode_cursor
from tests.flows.test_short_paths_bad_input import changed, places

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

TEXTS: Final = (
    "", " ", "x", "-1", "0", "1.5", "1e3", "NaN", "Infinity", "null", "true", "١٢",
    str(2**31), str(2**63 - 1), str(2**63), str(2**64), "9" * 400, "1" + "0" * 400,
    "0000-00-00", "0001-01-01", "9999-12-31", "2026-02-30", "2026-W01-1", "20260131", "2026-01-15T00:00:00",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-15T00:00:00Z", "99999999999999999999",
    "0001-01-01..9999-12-31", "0000-01", "0001-01", "9999-12", "2026-13", "0000", "0001", "9999", "10000",
    "00000000-0000-0000-0000-000000000000", "urn:uuid:5e0f7a52-8d1c-4b76-9d6f-0d0b6f0d8c11", "5e0f7a52", "g" * 36,
    "bm9uZQ", "!!!!", "A" * 3_000, "é\U0001f600", "a\0b", "a\nb", "..", "../..", "a/b", "%", "%25", "'; drop table log",
    '{"a": "\\u0000"}', '{"a": 1e400}', '{"a": "\\ud800"}', "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900,
    encode_cursor("another/list", {}, ["x"]),
)  # fmt: skip
RAW_TEXTS: Final = ("%00", "%ff", "%ED%A0%80", "%C0%80", "a%0d%0ab")
"""As they stand in an address: NUL, bytes that are no UTF-8, a lone surrogate, a line's end."""

VALUES: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1.5, 2**63 - 1, 2**63, 2**64 - 1, "", "x" * 3_000, "é\U0001f600", "a\0b", "-1.00", "NaN", "1e3",
    "9" * 400, "0000-00-00", "0001-01-01", "9999-12-31", "2026-02-30", "00000000-0000-0000-0000-000000000000",
    [], [[]], [None] * 1_100, {}, {"a": {"a": {"a": {}}}},
)  # fmt: skip
BARE: Final = (
    b"1" + b"0" * 400, b"-1" + b"0" * 70, b"1e400", b"-1e-400", b"NaN", b"Infinity", b'"\\ud800"', b'"\\u0000"', b"'x'",
    b"[" * 2_000 + b"]" * 2_000, b'{"a":' * 40 + b"1" + b"}" * 40, b'{"a":1,"a":2}', b'"\xff"', b"",
)  # fmt: skip
CONTENT_TYPES: Final = ("", "text/plain", "application/xml", "application/json; charset=latin-1", "json", 'a/b;c="d')


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. Parameters are encoded already; `path` has its parameters still in braces."""

    method: str
    path: str
    places: Mapping[str, str]
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = JSON
    accept: str = "*/*"
    key: str | None = None

    @property
    def address(self) -> str:
        """Path and query."""
        address = self.path
        for name, value in self.places.items():
            address = address.replace(f"{{{name}}}", value)
        return address + ("?" + "&".join(f"{name}={value}" for name, value in self.query) if self.query else "")


def broken(good: Sent, entry: Mapping[str, Any]) -> Iterator[Sent]:
    """Everything that may be wrong with a good request to an operation of the document, one thing each."""
    yield from _broken_parameters(good, entry)
    yield replace(good, query=(*good.query, ("colour", "red")))
    yield replace(good, query=(*good.query, ("%00", "%ff")))
    for key in ("", "a" * 201, "two words", "k"):
        yield replace(good, key=key)
    if good.body is None:
        yield replace(good, body=b'{"a": 1}')
        return
    for content_type in CONTENT_TYPES:
        yield replace(good, content_type=content_type)
    for raw in BARE:
        yield replace(good, body=raw)
    if good.content_type in (JSON, NDJSON):
        yield from _broken_bodies(good)


def _broken_parameters(good: Sent, entry: Mapping[str, Any]) -> Iterator[Sent]:
    texts = (*(quote(text, safe="") for text in TEXTS), *RAW_TEXTS)
    for parameter in entry.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "path":
            for text in texts:
                yield replace(good, places={**good.places, name: text})
        elif parameter["in"] == "query":
            others = tuple(pair for pair in good.query if pair[0] != name)
            for text in texts:
                yield replace(good, query=(*others, (name, text)))
            yield replace(good, query=(*others, (name, "1"), (name, "2026-01-01"), (name, "USD")))


def _broken_bodies(good: Sent) -> Iterator[Sent]:
    assert good.body is not None
    whole = orjson.loads(good.body)
    for place in places(whole):
        for value in VALUES:
            yield replace(good, body=orjson.dumps(changed(whole, place, value)))
        marked = orjson.dumps(changed(whole, place, "HERE"))
        for raw in BARE:
            yield replace(good, body=marked.replace(b'"HERE"', raw))
