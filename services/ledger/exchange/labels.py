"""What a journal's text cannot say in its own words: each entry's id and origin, each account's flags, as labels.

A label is a name and a text on one line; beancount calls it metadata, hledger a tag. Values that are not plain texts
are JSON. `encoded` makes any text fit for both: what would end a tag or a line is written as %XX (UTF-8, as in URLs).
Labels are read back only from files whose first line is `MARK`: another program's tag `id` is not ours.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import orjson

MARK: Final = "; ledgerbus journal 1"

_UNSAFE: Final = re.compile(r"[%,;|\[\]\x00-\x1f\x7f-\x9f\u2028\u2029]|^\s|\s$")
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029;|]+")

_PLAIN: Final = ("id", "external_id", "reverses", "value_on")
_JSON: Final = ("origin", "rates", "metadata")

_ACCOUNT_DEFAULTS: Final[dict[str, Any]] = {
    "normal_side": None, "heading": None, "parent": None, "summary": False, "control_owner": None,
    "reconcilable": False, "cash": False, "cash_flow_class": None, "monetary": True, "translation": "closing",
    "overdraft": {"policy": "unlimited", "limit": None}, "external_id": None, "metadata": {},
}  # fmt: skip

Labels = Mapping[str, str]


def encoded(text: str) -> str:
    """The text on one line, safe in a tag.

    >>> encoded("a, b"), encoded(" x")
    ('a%2C b', '%20x')
    """
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def decoded(text: str) -> str:
    """What `encoded` was given. Raises UnicodeDecodeError."""
    return unquote(text, errors="strict")


def shown(description: str) -> str:
    """A description as a journal's first line shows it: on one line, without what begins a comment."""
    return " ".join(_BREAKS.sub(" ", description).split())


def entry_labels(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The labels of an entry of the log."""
    yield "id", entry["id"]
    if entry["kind"] != "normal":
        yield "kind", entry["kind"]
    if entry["value_on"] != entry["effective_on"]:
        yield "value_on", entry["value_on"]
    for name in ("external_id", "reverses"):
        if entry.get(name) is not None:
            yield name, encoded(entry[name])
    for name in _JSON:
        if entry.get(name):
            yield name, encoded(orjson.dumps(entry[name]).decode())
    if shown(entry["description"]) != entry["description"]:
        yield "description", encoded(entry["description"])


def entry_body(labels: Labels) -> dict[str, Any]:
    """The fields of an entry that its labels say. Raises ValueError."""
    body: dict[str, Any] = {name: decoded(labels[name]) for name in (*_PLAIN, "kind", "description") if name in labels}
    body |= {name: orjson.loads(decoded(labels[name])) for name in _JSON if name in labels}
    return body


def line_labels(line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The labels of an entry's line."""
    for name in ("party", "description"):
        if line.get(name) is not None:
            yield name, encoded(line[name])


def line_body(labels: Labels) -> dict[str, Any]:
    """The fields of a line that its labels say. Raises ValueError."""
    return {name: decoded(labels[name]) for name in ("party", "description") if name in labels}


def account_labels(account: Mapping[str, Any], normal_side: str) -> Iterator[tuple[str, str]]:
    """The labels of an account; `normal_side` is its type's."""
    yield "code", encoded(account["code"])
    yield "name", encoded(account["name"])
    kept = {name: account[name] for name, default in _ACCOUNT_DEFAULTS.items() if account[name] != default}
    if kept.get("normal_side") == normal_side:
        del kept["normal_side"]
    if kept:
        yield "properties", encoded(orjson.dumps(kept).decode())


def account_body(labels: Labels) -> dict[str, Any]:
    """The fields of an account that its labels say. Raises ValueError."""
    body = {name: decoded(labels[name]) for name in ("code", "name") if name in labels}
    properties = orjson.loads(decoded(labels["properties"])) if "properties" in labels else {}
    if not isinstance(properties, dict):
        raise ValueError("properties are no JSON object")
    return {**properties, **body}
