"""The form of a dead letter: bounded whatever the record was."""

from hashlib import sha256

from aiokafka import ConsumerRecord

from libs.common.dead_letters import DEAD_LETTER_SUFFIX, dead_letter
from libs.common.errors import Poison
from libs.common.telemetry import start_span


def record(
    key: bytes | None = b"k", value: bytes | None = b"v", headers: tuple[tuple[str, bytes], ...] = ()
) -> ConsumerRecord:
    return ConsumerRecord("t", 3, 42, 1_700_000_000_000, 0, key, value, None, -1, -1, headers)


def test_an_oversize_record_is_cut_and_marked() -> None:
    key, value = b"k" * 5_000, b"v" * 1_100_000
    letter = dead_letter(record(key, value, (("ce_id", b"x" * 20_000),)), Poison("c", "d" * 9_000, "/p"), group="g")
    about = dict(letter.headers)
    assert letter.topic == "t" + DEAD_LETTER_SUFFIX
    assert letter.key == key[:4096]
    assert letter.value == value[:1_000_000]
    assert about["dead_letter_value_bytes"] == b"1100000"
    assert about["dead_letter_value_sha256"] == sha256(value).hexdigest().encode()
    assert about["dead_letter_key_sha256"] == sha256(key).hexdigest().encode()
    assert about["dead_letter_headers_dropped"] == b"1"
    assert "ce_id" not in about
    assert sum(len(name) + len(content) for name, content in letter.headers) < 2_000


def test_the_reason_of_an_older_dead_letter_is_not_carried_on() -> None:
    again = dead_letter(record(headers=(("dead_letter_code", b"old"), ("ce_id", b"1"))), Poison("new", "d"), group="g")
    assert [content for name, content in again.headers if name == "dead_letter_code"] == [b"new"]
    assert ("ce_id", b"1") in again.headers


def test_the_trace_that_met_it_is_named() -> None:
    with start_span("consume") as span:
        letter = dead_letter(record(), Poison("c", "d"), group="g")
    assert dict(letter.headers)["dead_letter_traceparent"] == span.traceparent.encode()
