"""What a journal's writer is given and what all of them say: the ledger's head at the start, the chain's at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What an export covers: a ledger up to a sequence, and of its entries those between two dates."""

    organization: str
    ledger: str
    functional_currency: str
    sequence: int
    hash: str
    from_on: date | None = None
    to_on: date | None = None

    def sentence(self) -> str:
        """The trailer: where the log stood."""
        return f"ledgerbus sequence={self.sequence} hash={self.hash}"


class Writer(Protocol):
    """One journal format's writer. Accounts come before the entries; both are JSON values as the API answers them."""

    def head(self) -> str:
        """What the file begins with."""
        ...

    def account(self, account: Mapping[str, Any]) -> str:
        """One account, and its currency where it is the first in it."""
        ...

    def entry(self, sequence: int, entry: Mapping[str, Any]) -> str:
        """One entry of the log."""
        ...

    def tail(self) -> str:
        """What the file ends with."""
        ...
