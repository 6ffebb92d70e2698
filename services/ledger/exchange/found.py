"""What a reader of any format finds in a file: accounts, entries, what it cannot read, what it leaves out.

Readers take a file line by line (`take`) and give these values as soon as one is whole; `end` gives what is left.
Bodies are JSON values in the words of the API (`POST /accounts`, `POST /entries`), checked where they are used. In a
journal's entry, `account` is the account's *name* there; `takeover.py` knows its code.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from libs.common.journal import AccountType


@dataclass(slots=True)
class FoundAccount:
    """An account that the file declares. `body` is None where the file only names it; then `type` may be known."""

    line: int
    name: str
    body: dict[str, Any] | None = None
    type: AccountType | None = None
    currencies: tuple[str, ...] = ()


@dataclass(slots=True)
class FoundEntry:
    """An entry. `reverses` is the id of the entry it takes back, whose lines it has on the other sides."""

    line: int
    body: dict[str, Any]
    reverses: str | None = None


@dataclass(slots=True)
class Unreadable:
    """A line that cannot be taken. `code` is stable; `final` where nothing behind it can be read either."""

    line: int
    code: str
    detail: str
    final: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LeftOut:
    """Something an import does not take over, by what it is called in the file."""

    line: int
    what: str


Found = FoundAccount | FoundEntry | Unreadable | LeftOut


class Reader(Protocol):
    """One format's reader; it keeps state from line to line, so a file is read by one reader from its first line on."""

    def take(self, number: int, text: str) -> Iterator[Found]:
        """What the line completes. `number` counts from 1; `text` is without its end."""
        ...

    def end(self) -> Iterator[Found]:
        """What the file's end completes."""
        ...
