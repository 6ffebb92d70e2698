"""The present event schemas against every released version, and the comparison against changes it must see."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.cli.schemas import schema_of
from libs.common.events import ENTRY_POSTED, ENTRY_WANTED, EVENT_TYPES, REQUESTS
from tests.contracts.compatibility import breaks

Schema = dict[str, Any]
Change = Callable[[Schema], None]


def test_every_released_schema_is_kept(repository: Path) -> None:
    found = []
    for path in sorted((repository / "docs/events/released").glob("*/*.json")):
        released = orjson.loads(path.read_bytes())
        event = EVENT_TYPES.get(path.stem)
        if event is None:
            found.append(f"{path.parent.name}: {path.stem} is no more")
        else:
            found += breaks(released, schema_of(event), request=event.topic == REQUESTS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_a_schema_is_compatible_with_itself(name: str) -> None:
    schema = schema_of(EVENT_TYPES[name])
    assert breaks(schema, schema, request=True) == []
    assert breaks(schema, schema, request=False) == []


def _line(schema: Schema) -> Schema:
    found = schema["$defs"].get("LineRequest") or schema["$defs"]["PostedLine"]
    assert isinstance(found, dict)
    return found


def _drop(schema: Schema, name: str) -> None:
    schema["properties"].pop(name)
    if name in schema["required"]:
        schema["required"].remove(name)


def optional_field(schema: Schema) -> None:
    schema["properties"]["colour"] = {"type": "string"}


def required_field(schema: Schema) -> None:
    optional_field(schema)
    schema["required"].append("colour")


def removed_field(schema: Schema) -> None:
    _drop(_line(schema), "party")


def removed_required_field(schema: Schema) -> None:
    _drop(_line(schema), "amount")


def side_more(schema: Schema) -> None:
    _line(schema)["properties"]["side"]["enum"].append("both")


def side_less(schema: Schema) -> None:
    _line(schema)["properties"]["side"]["enum"].remove("debit")


def other_type(schema: Schema) -> None:
    _line(schema)["properties"]["amount"] = {"type": "number"}


def other_pattern(schema: Schema) -> None:
    _line(schema)["properties"]["amount"]["pattern"] = "^[0-9]+$"


def nullable(schema: Schema) -> None:
    properties = _line(schema)["properties"]
    properties["amount"] = {"anyOf": [properties["amount"], {"type": "null"}]}


def not_nullable(schema: Schema) -> None:
    _line(schema)["properties"]["party"] = {"type": "string"}


def shorter(schema: Schema) -> None:
    _line(schema)["properties"]["account"]["maxLength"] = 10


CHANGES: list[tuple[Change, bool, bool]] = [
    # the change, whether it breaks a request, whether it breaks a fact
    (optional_field, False, False),
    (required_field, True, False),
    (removed_field, True, False),
    (removed_required_field, True, True),
    (side_more, False, True),
    (side_less, True, False),
    (other_type, True, True),
    (other_pattern, True, True),
    (nullable, False, True),
    (not_nullable, True, False),
]


@pytest.mark.parametrize(("change", "request_", "fact"), CHANGES, ids=[change.__name__ for change, _, _ in CHANGES])
def test_a_change_is_judged_by_who_reads_it(change: Change, request_: bool, fact: bool) -> None:
    for event, expected in ((ENTRY_WANTED, request_), (ENTRY_POSTED, fact)):
        old = schema_of(event)
        new = copy.deepcopy(old)
        change(new)
        found = breaks(old, new, request=event is ENTRY_WANTED)
        assert bool(found) is expected, found


def test_a_bound_may_be_widened_for_requests_only() -> None:
    old = schema_of(ENTRY_WANTED)
    new = copy.deepcopy(old)
    shorter(new)
    assert breaks(old, new, request=True)
    assert not breaks(new, old, request=True)


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(AssertionError, match="cannot be compared"):
        breaks({"oneOf": []}, {"type": "string"}, request=True)
