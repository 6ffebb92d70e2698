"""A record that cannot be decoded, kept beside its topic with the reason; and the limits to doing so.

A dead letter has the record's key, value and headers, and headers of its own that say where it came from and why. A
bad deployment must not drain a topic into dead letters, so there are two limits, and beyond either the consumer stops:
so many in a row, and so many of the last so many records.
"""

from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiokafka import ConsumerRecord

from libs.common.errors import Failure, Poison
from libs.common.messages import Headers, Message
from libs.common.telemetry import current_traceparent

DEAD_LETTER_SUFFIX: Final = ".dead-letter"
PREFIX: Final = "dead_letter_"

VALUE_BYTES_MAX: Final = 1_000_000
HEADER_BYTES_MAX: Final = 16 * 1024
KEY_BYTES_MAX: Final = 4 * 1024
DETAIL_CHARACTERS_MAX: Final = 500


class TooManyDeadLetters(Failure):
    """More records than allowed cannot be decoded: a person decides before the topic goes on."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """At most `consecutive` in a row, and at most `most` of the last `window` records."""

    consecutive: int = 20
    most: int = 100
    window: int = 1000


DEFAULT_LIMITS: Final = DeadLetterLimits()


class DeadLetterCount:
    """Counts records as they are decoded, in order."""

    def __init__(self, limits: DeadLetterLimits) -> None:
        self._limits = limits
        self._in_a_row = 0
        self._seen = 0
        self._places: deque[int] = deque()

    def decoded(self, records: int = 1) -> None:
        """Some records were fine."""
        self._seen += records
        self._in_a_row = 0

    def poisoned(self, topic: str, poison: Poison) -> None:
        """One was not. Raises TooManyDeadLetters beyond a limit."""
        self._seen += 1
        self._in_a_row += 1
        self._places.append(self._seen)
        while self._places and self._places[0] <= self._seen - self._limits.window:
            self._places.popleft()
        if self._in_a_row > self._limits.consecutive or len(self._places) > self._limits.most:
            raise TooManyDeadLetters(
                f"Topic {topic}: {self._in_a_row} records in a row and {len(self._places)} of the last "
                f"{self._limits.window} cannot be decoded, the last because of {poison}. Fix the producer or this "
                "service, then start it again; nothing of this batch was skipped."
            )


def dead_letter(record: ConsumerRecord, poison: Poison, *, group: str) -> Message:
    """The message for `<topic>.dead-letter`; whatever is oversize is cut and marked, with the whole's SHA-256."""
    about: dict[str, str] = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp_ms": str(record.timestamp),
        "group": group,
        "code": poison.code,
        "pointer": poison.pointer[:DETAIL_CHARACTERS_MAX],
        "detail": poison.detail[:DETAIL_CHARACTERS_MAX],
    }
    if (traceparent := current_traceparent()) is not None:
        about["traceparent"] = traceparent
    key, value = record.key, record.value
    if key is not None and len(key) > KEY_BYTES_MAX:
        about |= {"key_bytes": str(len(key)), "key_sha256": sha256(key).hexdigest()}
        key = key[:KEY_BYTES_MAX]
    if value is None:
        about["value_was_null"] = "true"
    elif len(value) > VALUE_BYTES_MAX:
        about |= {"value_bytes": str(len(value)), "value_sha256": sha256(value).hexdigest()}
        value = value[:VALUE_BYTES_MAX]
    headers: Headers = [(name, content or b"") for name, content in record.headers if not name.startswith(PREFIX)]
    if sum(len(name) + len(content) for name, content in headers) > HEADER_BYTES_MAX:
        about["headers_dropped"] = str(len(headers))
        headers = []
    headers += [(PREFIX + name, text.encode()) for name, text in about.items()]
    return Message(record.topic + DEAD_LETTER_SUFFIX, key, value, headers)
