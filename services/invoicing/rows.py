"""A stored row, whether it comes from the database or was made a moment ago."""

from collections.abc import Iterable
from typing import Any, Protocol


class Row(Protocol):
    """Columns by name."""

    def __getitem__(self, name: str, /) -> Any: ...

    def keys(self) -> Iterable[str]: ...
