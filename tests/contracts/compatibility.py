"""Whether one JSON Schema takes everything another one allows, as far as event schemas go.

    requests             the new schema must take whatever the old one allowed:  not_taken(wide=new, narrow=old)
    answers and facts    old readers must take whatever the new one allows:      not_taken(wide=old, narrow=new)

It compares by structure and is strict: a changed pattern counts as a break, and a keyword it does not know is an error.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default", "examples", "$comment"}
_KNOWN = _ANNOTATIONS | {
    "$ref", "anyOf", "enum", "const", "type", "pattern", "format", "minLength", "maxLength", "minimum", "maximum",
    "items", "properties", "required", "additionalProperties", "propertyNames",
}  # fmt: skip
_LOWER = ("minLength", "minimum")
_UPPER = ("maxLength", "maximum")


def breaks(old: Schema, new: Schema, *, request: bool) -> list[str]:
    """Why `new` cannot follow `old`; empty where it can."""
    wide, narrow = (new, old) if request else (old, new)
    return list(_Comparison(wide, narrow).not_taken(wide, narrow, ""))


class _Comparison:
    def __init__(self, wide: Schema, narrow: Schema) -> None:
        self._wide, self._narrow = wide, narrow
        self._seen: set[tuple[str, str]] = set()

    def not_taken(self, wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
        for schema in (wide, narrow):
            assert schema.keys() <= _KNOWN, f"{where}: {schema.keys() - _KNOWN} cannot be compared"
        if "$ref" in wide and "$ref" in narrow:
            pair = wide["$ref"], narrow["$ref"]
            if pair in self._seen:
                return
            self._seen.add(pair)
        wide, narrow = _resolved(wide, self._wide), _resolved(narrow, self._narrow)
        if "anyOf" in wide or "anyOf" in narrow:
            yield from self._alternatives(wide.get("anyOf", [wide]), narrow.get("anyOf", [narrow]), where)
            return
        yield from _value(wide, narrow, where)
        if wide.get("type") == narrow.get("type") == "object":
            yield from self._object(wide, narrow, where)
        if wide.get("type") == narrow.get("type") == "array" and "items" in wide:
            yield from self.not_taken(wide["items"], narrow.get("items", {}), f"{where}/*")

    def _alternatives(self, wide: list[Schema], narrow: list[Schema], where: str) -> Iterator[str]:
        for one in narrow:
            if all(list(self.not_taken(other, one, where)) for other in wide):
                yield f"{where}: {_named(one)} is taken by none of {', '.join(map(_named, wide))}"

    def _object(self, wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
        for name in set(wide.get("required", ())) - set(narrow.get("required", ())):
            yield f"{where}/{name}: is required, and may be absent"
        named, rest = wide.get("properties", {}), wide.get("additionalProperties", True)
        for name, schema in narrow.get("properties", {}).items():
            if name in named:
                yield from self.not_taken(named[name], schema, f"{where}/{name}")
            elif rest is False:
                yield f"{where}/{name}: is no known field"
            elif rest is not True:
                yield from self.not_taken(rest, schema, f"{where}/{name}")
        more = narrow.get("additionalProperties", True)
        if rest is False and more is not False and not narrow.get("properties"):
            yield f"{where}: other fields are not known"
        if isinstance(rest, Mapping) and isinstance(more, Mapping):
            yield from self.not_taken(rest, more, f"{where}/*")


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _named(schema: Schema) -> str:
    return str(schema.get("$ref") or schema.get("const") or schema.get("enum") or schema.get("type") or "anything")


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _value(wide: Schema, narrow: Schema, where: str) -> Iterator[str]:
    """Type, fixed values, pattern, format and bounds."""
    wide_type, narrow_type = wide.get("type"), narrow.get("type")
    if wide_type is not None and wide_type != narrow_type and (wide_type, narrow_type) != ("number", "integer"):
        yield f"{where}: {narrow_type or 'anything'} where {wide_type} is taken"
        return
    fixed, allowed = _values(narrow), _values(wide)
    if allowed is not None and (fixed is None or not set(fixed) <= set(allowed)):
        yield f"{where}: {fixed or 'anything'} where only {allowed} are taken"
    if fixed is not None:
        return
    for keyword in ("pattern", "format"):
        if keyword in wide and wide[keyword] != narrow.get(keyword):
            yield f"{where}: {keyword} {narrow.get(keyword)!r} where {wide[keyword]!r} is taken"
    for keyword in _LOWER:
        if keyword in wide and narrow.get(keyword, float("-inf")) < wide[keyword]:
            yield f"{where}: {keyword} {narrow.get(keyword)} where {wide[keyword]} is taken"
    for keyword in _UPPER:
        if keyword in wide and narrow.get(keyword, float("inf")) > wide[keyword]:
            yield f"{where}: {keyword} {narrow.get(keyword)} where {wide[keyword]} is taken"
