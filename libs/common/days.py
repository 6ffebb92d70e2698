"""Days and instants in an address, which are texts: written as RFC 3339 has them, and not as numbers of seconds.

pydantic takes a number for a count of seconds since 1970, and a text that looks like one too: `?to=1e-280` would be a
day in 1970 without anybody having meant one. In JSON bodies the strict models refuse numbers already.
"""

import re
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(rf"{_DAY.pattern}[Tt ][0-9]{{2}}:.+")


def _written_day(value: Any) -> Any:
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise PydanticCustomError("date_parsing", "is no day")
    return value


def _written_instant(value: Any) -> Any:
    if isinstance(value, str) and not _INSTANT.fullmatch(value):
        raise PydanticCustomError("datetime_parsing", "is no instant")
    return value


WRITTEN_DAY: Final = BeforeValidator(_written_day)
WrittenDay = Annotated[date, WRITTEN_DAY]
WrittenInstant = Annotated[datetime, BeforeValidator(_written_instant)]
ZonedInstant = Annotated[AwareDatetime, BeforeValidator(_written_instant)]
"""An instant that says its zone."""
