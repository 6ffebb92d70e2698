"""What a row of the list of event types is; `libs.common.events.EVENT_TYPES` is the list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventType(Generic[T]):
    """One row of the list. `adapter.validate_json(value)` checks and reads a record's value."""

    name: str
    topic: str
    adapter: TypeAdapter[T]
    meaning: str
