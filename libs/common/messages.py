"""What goes over Kafka: a message, and the CloudEvents 1.0 attributes in its headers (Kafka binary mode).

    ce_specversion ce_type ce_source ce_id [ce_time] [ce_subject] [ce_<extension>]   content-type   traceparent

The value is the event's JSON, untouched. `ce_source` says which service speaks; the broker's access rules vouch for it.
Source: CloudEvents 1.0.2, Kafka Protocol Binding; W3C Trace Context for `traceparent`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from libs.common.errors import Poison

Headers = list[tuple[str, bytes]]

JSON: Final = b"application/json"
_HEAD: Final = [("ce_specversion", b"1.0"), ("content-type", JSON)]
_REQUIRED: Final = ("ce_specversion", "ce_type", "ce_source", "ce_id")
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,64}")
_KNOWN: Final = frozenset({*_REQUIRED, "ce_time", "ce_subject", "ce_datacontenttype", "content-type", "traceparent"})
_ATTRIBUTE_BYTES_MAX: Final = 1024


@dataclass(slots=True)
class Message:
    """One record to publish. Messages with the same key stay in order."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)


class CloudEvent(NamedTuple):
    """The attributes of a received record. `extra` holds extensions by their name without `ce_`."""

    type: str
    source: str
    id: str
    time: datetime | None
    subject: str | None
    traceparent: str | None
    extra: Mapping[str, str]


def cloud_event_headers(
    type: str,  # noqa: A002 - CloudEvents' own names
    source: str,
    id: str,  # noqa: A002
    time: datetime,
    *,
    subject: str | None = None,
    traceparent: str | None = None,
    extra: Mapping[str, str] = {},
) -> Headers:
    """Headers of an event. `time` carries its zone; `extra` are extension attributes ([a-z0-9], without `ce_`)."""
    headers = [
        *_HEAD,
        ("ce_type", type.encode()),
        ("ce_source", source.encode()),
        ("ce_id", id.encode()),
        ("ce_time", rfc3339(time).encode()),
    ]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    for name, value in extra.items():
        assert _EXTENSION.fullmatch(name), "an extension attribute is called by lower-case letters and digits"
        headers.append((f"ce_{name}", value.encode()))
    return headers


@lru_cache(maxsize=64)
def rfc3339(time: datetime) -> str:
    """An instant in UTC with microseconds and `Z`."""
    assert time.tzinfo is not None, "an instant carries its zone"
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_headers(headers: Iterable[tuple[str, bytes | None]]) -> CloudEvent:
    """The attributes. Raises Poison that names the header which is missing, repeated or wrong.

    Headers that are neither `ce_`, `content-type` nor `traceparent` belong to somebody else and are passed over; a
    `traceparent` is not checked here, since a broken one only begins a new trace.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name in _KNOWN or name.startswith("ce_"):
            if name in found:
                raise Poison("header-repeated", f"header {name} is there twice", name)
            if value is not None and len(value) > _ATTRIBUTE_BYTES_MAX:
                raise Poison("header-wrong", f"header {name} is longer than {_ATTRIBUTE_BYTES_MAX} bytes", name)
            try:
                found[name] = value.decode() if value is not None else ""
            except UnicodeDecodeError:
                raise Poison("header-wrong", f"header {name} is not UTF-8", name) from None
    for name in _REQUIRED:
        if not found.get(name):
            raise Poison("header-missing", f"header {name} is missing or empty", name)
    if found["ce_specversion"] != "1.0":
        raise Poison("header-wrong", "header ce_specversion is not 1.0", "ce_specversion")
    content_type = found.get("content-type", "application/json")
    if content_type != "application/json" and content_type.partition(";")[0].strip().lower() != "application/json":
        raise Poison("header-wrong", "header content-type is not application/json", "content-type")
    return CloudEvent(
        found["ce_type"],
        found["ce_source"],
        found["ce_id"],
        _time(found.get("ce_time")),
        found.get("ce_subject"),
        found.get("traceparent"),
        {name[3:]: found[name] for name in found.keys() - _KNOWN},
    )


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Poison("header-wrong", "header ce_time is not an RFC 3339 time", "ce_time") from None
    if time.tzinfo is None:
        raise Poison("header-wrong", "header ce_time has no zone", "ce_time")
    return time
