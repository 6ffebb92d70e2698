"""What all event types are made of: the topics, and what every fact says.

The list itself is `events.EVENT_TYPES`; the shapes of single types are in events.py and events_*.py.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from annotated_types import Ge

from libs.common.journal import Pattern, SlugText

REQUESTS: Final = "ledger.requests.v1"
ANSWERS: Final = "ledger.answers.v1"
FACTS: Final = "ledger.events.v1"
HEADS: Final = "ledger.heads.v1"


@dataclass(frozen=True, slots=True)
class LedgerTopics:
    """The ledger's topics by what they carry, where several stacks share one cluster under other names."""

    requests: str = REQUESTS
    answers: str = ANSWERS
    facts: str = FACTS
    heads: str = HEADS


TOPICS: Final = LedgerTopics()
"""The ledger's topics by their own names."""


LEDGER_SOURCE: Final = "ledger"
"""The `ce_source` of everything the ledger publishes."""

HASH: Final = "hash"
PREVIOUS_HASH: Final = "previoushash"
"""Extension attributes of facts (`ce_hash`, `ce_previoushash`): hash = SHA-256(previous hash + payload), in hex."""

KeyText = Annotated[str, Pattern(r"^[!-~]{1,200}$")]
HashText = Annotated[str, Pattern(r"^[0-9a-f]{64}$")]
Ordinal = Annotated[int, Ge(1)]


class Open:
    """What the ledger says: fields that a reader does not know are ignored."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "ignore"}


@dataclass(slots=True, kw_only=True)
class EntryOrigin(Open):
    """The service and document an entry comes from."""

    service: str
    document: str


@dataclass(slots=True, kw_only=True)
class RecordedRequest(Open):
    """The request a record comes from; `fingerprint` is the SHA-256 of its canonical body, in hex."""

    service: str
    scope: str
    key: str
    fingerprint: HashText


@dataclass(slots=True, kw_only=True)
class Fact(Open):
    """What every record says: which ledger, its place in the log, when it was recorded and by whom."""

    type: str
    organization: SlugText
    ledger: SlugText
    ledger_id: UUID
    epoch: Ordinal
    sequence: Ordinal
    recorded_at: datetime
    actor: str
    traceparent: str | None = None
