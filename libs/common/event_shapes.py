"""What events of all kinds are made of: identifiers, what every fact says, and how much a reader has to know."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from annotated_types import Ge

from libs.common.journal import Pattern, SlugText

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
