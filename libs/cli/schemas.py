"""The contracts other people's code is written against: docs/events, made from the list of event types.

    docs/events/schemas/<type>.json    JSON Schema 2020-12 of an event's value
    docs/events/asyncapi.json          AsyncAPI 3: topics, messages, headers, who sends and who receives
    docs/events/released/<version>/    the schemas as they were released; what is new must be compatible with them

`python -m libs.cli.schemas` writes them; a test compares, so that a change of an event is seen in review.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic.json_schema import GenerateJsonSchema

from libs.common.event_type import EventType
from libs.common.events import ANSWERS, EVENT_TYPES, FACTS, HASH, HEADS, PREVIOUS_HASH, REQUESTS
from libs.common.events_fx import FX
from libs.common.events_invoicing import INVOICING
from libs.common.events_payments import PAYMENTS
from libs.common.signing import KEY_ID, SIGNATURE

FOLDER: Final = Path("docs/events")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TOPICS: Final[Mapping[str, tuple[str, str, str]]] = {
    REQUESTS: (
        "receive",
        "The ledger's id as text",
        "What services want of the ledger. Every request whose address can be read is answered.",
    ),
    ANSWERS: (
        "send",
        "The document that asked",
        "The answer to each request, repeated ones too, with the same event id each time.",
    ),
    FACTS: (
        "send",
        "The ledger's id as text",
        "The log of every ledger: one event per record, in order, without gaps, kept for ever. A lower sequence is a "
        "repetition; a gap or a previous hash that is not the last one means stop and ask.",
    ),
    HEADS: (
        "send",
        "The ledger's id as text",
        "How far each ledger's log is on ledger.events.v1. Compacted.",
    ),
    PAYMENTS: (
        "receive",
        "Organization and payment id with a slash between; of a payout organization and payout id",
        "What payment services say happened: received, refunded, returned, disputed, paid out. Invoicing places them.",
    ),
    INVOICING: (
        "send",
        "The id of the invoice, or of the payment, as text",
        "What invoicing tells of invoices, credit notes and payments. A lower version of an invoice is old news.",
    ),
    FX: (
        "receive",
        "Base and counter currency with a slash between, before them the organization where the rate is its own",
        "What fx knows of exchange rates. The ledger keeps them for translating reports; unknown types are ignored.",
    ),
}
"""Topic -> what LedgerBus' own services do with it first, its key, what it is."""

_CHAIN: Final = {
    f"ce_{HASH}": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of previous hash + value"},
    f"ce_{PREVIOUS_HASH}": {"type": "string", "pattern": "^([0-9a-f]{64})?$", "description": "empty at sequence 1"},
}

_SIGNED: Final = {
    f"ce_{SIGNATURE}": {"type": "string", "description": "base64 of the Ed25519 signature, where the ledger has a key"},
    f"ce_{KEY_ID}": {"type": "string", "description": "the key's kid in GET /api/v1/ledger-keys"},
}


class _Untitled(GenerateJsonSchema):
    """A field's name says it; a title made of it says nothing more."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def schema_of(event: EventType[Any]) -> dict[str, Any]:
    """The JSON Schema of an event's value."""
    schema = event.adapter.json_schema(mode="validation", schema_generator=_Untitled)
    return {"$schema": DIALECT, "$id": event.name, **schema, "title": event.name, "description": event.meaning}


def documents() -> dict[str, bytes]:
    """Every generated file: its path below docs/events and its bytes."""
    found = {f"schemas/{event.name}.json": _bytes(schema_of(event)) for event in EVENT_TYPES.values()}
    return {**found, "asyncapi.json": _bytes(asyncapi())}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document of all topics."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic, (action, _, meaning) in _TOPICS.items():
        names = [event.name for event in EVENT_TYPES.values() if event.topic == topic]
        channels[topic] = {
            "address": topic,
            "description": meaning,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        }
        operations[f"{action}-{topic.replace('.', '-')}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic}"},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "LedgerBus events",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in Kafka's binary mode: attributes in ce_ headers, JSON in the value.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": {event.name: _message(event) for event in EVENT_TYPES.values()}},
    }


def _message(event: EventType[Any]) -> dict[str, Any]:
    headers: dict[str, Any] = {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"const": event.name},
        "ce_source": {"type": "string", "description": "the service that speaks"},
        "ce_id": {"type": "string", "description": "the same when the event is published again"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"const": "application/json"},
        "traceparent": {"type": "string", "description": "W3C Trace Context"},
    }
    required = ["ce_specversion", "ce_type", "ce_source", "ce_id"]
    if event.topic == FACTS:
        headers |= _CHAIN
        required += list(_CHAIN)
    if event.topic == HEADS:
        headers |= _SIGNED
    return {
        "name": event.name,
        "summary": event.meaning,
        "headers": {"type": "object", "required": required, "properties": headers},
        "payload": {
            "schemaFormat": f"application/schema+json;version={DIALECT.split('/')[-2]}",
            "schema": {"$ref": f"schemas/{event.name}.json"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": _TOPICS[event.topic][1]}}},
    }


def _bytes(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write(folder: Path) -> list[str]:
    """Writes what differs and removes schemas of types that are no more; returns their paths."""
    made = documents()
    changed = []
    for path, content in made.items():
        target = folder / path
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            changed.append(path)
    for target in sorted((folder / "schemas").glob("*.json")):
        if f"schemas/{target.name}" not in made:
            target.unlink()
            changed.append(f"schemas/{target.name}")
    return changed


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(f"{FOLDER}/{written}\n")
