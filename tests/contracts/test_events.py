"""The event schemas as committed, and golden messages as they were published once: both must stay true."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord
from jsonschema import Draft202012Validator, ValidationError

from libs.cli import schemas
from libs.common.bus import CloudEvent, parse_headers
from libs.common.events import EVENT_TYPES, FACTS, LEDGER_HEAD, REQUEST_TYPES, REQUESTS, TOPICS
from libs.common.events_fx import FX
from libs.common.events_invoicing import INVOICING
from libs.common.events_payments import PAYMENTS
from libs.common.journal import ledger_id
from services.ledger.consumer import decode

GOLDEN = Path(__file__).with_name("golden")
TOPICS_OF = {
    "requests": REQUESTS,
    "answers": TOPICS.answers,
    "facts": FACTS,
    "heads": TOPICS.heads,
    "payments": PAYMENTS,
    "invoicing": INVOICING,
    "fx": FX,
}


LEDGERS = ("main", "escrow")


def golden(name: str, ledger: str | None = None) -> list[dict[str, Any]]:
    """Messages as {"key", "headers", "value"}, each value the text that was published; `escrow` has the holds."""
    found = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    of_holds = orjson.loads((GOLDEN / "holds.json").read_bytes()).get(name, [])
    assert isinstance(found, list)
    assert isinstance(of_holds, list)
    return {None: found + of_holds, "main": found, "escrow": of_holds}[ledger]


def event_of(message: dict[str, Any]) -> CloudEvent:
    return parse_headers((name, text.encode()) for name, text in message["headers"].items())


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        schemas.schema_of(EVENT_TYPES[name]), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def test_the_committed_documents_are_those_of_the_code(repository: Path) -> None:
    folder = repository / schemas.FOLDER
    made = schemas.documents()
    differing = [path for path, content in made.items() if (folder / path).read_bytes() != content]
    assert not differing, f"run python -m libs.cli.schemas: {differing}"
    assert {path.name for path in (folder / "schemas").iterdir()} == {f"{name}.json" for name in EVENT_TYPES}


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/ledger.tea-wanted.v1.json").write_text("{}")
    assert set(schemas.write(tmp_path)) == {*schemas.documents(), "schemas/ledger.tea-wanted.v1.json"}
    assert schemas.write(tmp_path) == []


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_a_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(schemas.schema_of(EVENT_TYPES[name]))


def test_every_reference_of_the_asyncapi_document_leads_somewhere(repository: Path) -> None:
    document = schemas.asyncapi()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [found for child in value.values() for found in references(child)]
        return []

    for reference in references(document):
        if not reference.startswith("#/"):
            assert (repository / schemas.FOLDER / reference).is_file(), reference
            continue
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    assert set(document["channels"]) == set(TOPICS_OF.values())


@pytest.mark.parametrize("kind", TOPICS_OF)
def test_golden_messages_are_of_their_schema(kind: str) -> None:
    for message in golden(kind):
        event = event_of(message)
        listed = EVENT_TYPES[event.type]
        assert listed.topic == TOPICS_OF[kind]
        if "colour" in message["value"] and kind == "requests":
            continue
        validator(event.type).validate(orjson.loads(message["value"]))
        listed.adapter.validate_json(message["value"])


def test_there_is_a_golden_message_of_every_type() -> None:
    assert {event_of(message).type for kind in TOPICS_OF for message in golden(kind)} == set(EVENT_TYPES)


def test_unknown_fields_are_refused_in_requests_and_ignored_elsewhere() -> None:
    for kind in TOPICS_OF:
        for message in golden(kind):
            name = event_of(message).type
            value = {**orjson.loads(message["value"]), "colour": "red"}
            if kind == "requests":
                with pytest.raises(ValidationError):
                    validator(name).validate(value)
            else:
                validator(name).validate(value)
                EVENT_TYPES[name].adapter.validate_json(orjson.dumps(value))


@pytest.mark.parametrize("ledger", LEDGERS)
def test_golden_facts_are_one_chain_to_the_head(ledger: str) -> None:
    previous = b""
    for sequence, message in enumerate(golden("facts", ledger), 1):
        event, value = event_of(message), orjson.loads(message["value"])
        assert event.extra["previoushash"] == previous.hex()
        previous = sha256(previous + message["value"].encode()).digest()
        assert event.extra["hash"] == previous.hex()
        assert event.id == f"{message['key']}:1:{sequence}"
        assert value["sequence"] == sequence
        assert message["key"] == value["ledger_id"] == str(ledger_id("demo", ledger))
    (head,) = golden("heads", ledger)
    assert LEDGER_HEAD.adapter.validate_json(head["value"]).hash == previous.hex()


def test_golden_requests_are_understood() -> None:
    codes = []
    for message in golden("requests"):
        key, value = message["key"].encode(), message["value"].encode()
        headers = tuple((name, text.encode()) for name, text in message["headers"].items())
        asked = decode(ConsumerRecord(REQUESTS, 0, 0, 0, 0, key, value, None, len(key), len(value), headers))
        assert asked.traceparent == message["headers"]["traceparent"]
        assert asked.document == orjson.loads(value)["document"]
        codes.append(asked.refused.code if asked.refused else asked.kind)
    assert codes[:6] == ["account", "account", "entry", "entry", "reversal", "malformed"]
    assert codes[6:] == ["account", "account", "hold", "capture", "capture", "release", "hold"]
    assert {event_of(message).type for message in golden("requests")} == set(REQUEST_TYPES)


def test_fingerprints_do_not_change() -> None:
    """A request sent again after an update of this code must still be the same request."""
    recorded = {
        value["request"]["key"]: value["request"]["fingerprint"]
        for value in (orjson.loads(message["value"]) for message in golden("facts"))
        if "request" in value and value["type"] != "hold-expired" and value["request"]["service"] != "api"
    }
    for message in golden("requests"):
        key, value = message["key"].encode(), message["value"].encode()
        headers = tuple((name, text.encode()) for name, text in message["headers"].items())
        asked = decode(ConsumerRecord(REQUESTS, 0, 0, 0, 0, key, value, None, len(key), len(value), headers))
        if asked.key in recorded:
            assert asked.fingerprint.hex() == recorded.pop(asked.key)
    assert not recorded
