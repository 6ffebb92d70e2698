"""From what a file names to what the ledger has: account names become codes, accounts stand parents first.

In a journal of ours each account says its code; in NDJSON names are codes. In anybody else's journal the name itself
becomes the code (what a code cannot have becomes '_'), one account a currency: the currency an account held first keeps
the name, the others stand behind it (`Assets:Broker.VTI`).

An entry without an id gets one from its date and content, and from how many equal ones stand before it: a file that
grew posts only what is new, and the same file twice nothing. The counts are kept by the caller, on disk.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.journal import AccountType
from services.ledger.accounts import pair_currency
from services.ledger.exchange.found import FoundAccount, FoundEntry, Unreadable
from services.ledger.exchange.names import type_of

_ILLEGAL: Final = re.compile(r"[^\w.:\-]")
_NO_DAY: Final = "1970-01-01"

Derive = Callable[[datetime, str], UUID]
"""An id from an instant (for its order) and a text that names the document."""


@dataclass(slots=True)
class WantedAccount:
    """An account to open: the line that declares or first uses it, and its body."""

    line: int
    body: dict[str, Any]


@dataclass(slots=True)
class _Named:
    line: int
    type: AccountType | None
    body: dict[str, Any] | None
    codes: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class AccountPlan:
    """Every account of one file, gathered while it is read; `finish` makes codes of names, `code` tells them.

    Position accounts are not among those wanted: the ledger opens them itself.
    """

    names_are_codes: bool = False
    _named: dict[str, _Named] = field(default_factory=dict)
    _wanted: dict[str, WantedAccount] = field(default_factory=dict)

    def declare(self, found: FoundAccount) -> Unreadable | None:
        """One declaration; a name declared twice, or a code two names have, is refused."""
        before = self._named.get(found.name)
        if before is not None and (before.body is not None or found.body is not None):
            return _twice(found.line, found.name, before.line)
        named = self._named.setdefault(found.name, _Named(found.line, found.type, None))
        named.type = named.type or found.type
        for currency in found.currencies:
            named.lines.setdefault(currency, found.line)
        if found.body is None:
            return None
        named.body = found.body
        code = found.body.get("code")
        if not isinstance(code, str):
            return Unreadable(found.line, "malformed", f"The account {found.name[:80]!r} has no code.")
        if code in self._wanted:
            return _twice(found.line, code, self._wanted[code].line)
        if pair_currency(code) is None:
            self._wanted[code] = WantedAccount(found.line, found.body)
        named.codes[found.body.get("currency") or ""] = code
        return None

    def use(self, found: FoundEntry) -> None:
        """Notes which currencies the entry's lines hold their accounts in; names that are codes need nothing noted."""
        if self.names_are_codes:
            return
        for line in found.body["lines"]:
            named = self._named.get(line["account"])
            if named is None:
                named = self._named[line["account"]] = _Named(found.line, None, None)
            if line["currency"] not in named.lines:
                named.lines[line["currency"]] = found.line

    def finish(self) -> Iterator[Unreadable]:
        """Codes for names that have none, and what stands in the way."""
        for name, named in self._named.items():
            if named.body is not None:
                continue
            type_ = named.type or _inherited(self._named, name) or type_of(name)
            if type_ is None:
                detail = (
                    f"The type of {name[:80]!r} is unclear: its name does not begin with one, and nothing declares it."
                )
                yield Unreadable(named.line, "account-type-unclear", detail)
                continue
            for currency in named.lines:
                code = _ILLEGAL.sub("_", name) + (f".{currency}" if named.codes else "")
                if code in self._wanted:
                    yield _twice(named.line, code, self._wanted[code].line)
                    continue
                named.codes[currency] = code
                body = {"code": code, "name": name[:200], "type": type_, "currency": currency}
                self._wanted[code] = WantedAccount(named.lines[currency], body)

    def code(self, name: str, currency: str | None) -> str:
        """The code of an account's name in a currency; one that the file never declares is its own code."""
        named = self._named.get(name)
        if named is None:
            return name
        if named.body is not None:
            return str(named.body["code"])
        return named.codes.get(currency or "", name)

    def currency(self, name: str) -> str | None:
        """The currency the file says the account is kept in, where it does."""
        named = self._named.get(name)
        return named.body.get("currency") if named is not None and named.body is not None else None

    def in_order(self) -> Iterator[WantedAccount | Unreadable]:
        """Every account, parents before children; those whose parents go round in a circle are refused."""
        done: set[str] = set()
        for first in self._wanted:
            path: list[str] = []
            code = first
            while code in self._wanted and code not in done and code not in path:
                path.append(code)
                code = self._wanted[code].body.get("parent") or ""
            circle = path[path.index(code) :] if code in path else []
            if circle:
                detail = f"The parents go round in a circle: {' -> '.join([*circle[:20], code])}."
                yield Unreadable(self._wanted[code].line, "parents-go-round", detail, facts={"accounts": circle[:20]})
            for step in reversed(path):
                done.add(step)
                if step not in circle:
                    yield self._wanted[step]


def _inherited(named: dict[str, _Named], name: str) -> AccountType | None:
    """The type a declared account above it says."""
    above = name
    while ":" in above:
        above = above.rpartition(":")[0]
        found = named.get(above)
        if found is not None and found.type is not None:
            return found.type
    return None


def _twice(line: int, name: str, before: int) -> Unreadable:
    detail = f"The account {name[:80]!r} is there already, on line {before}."
    return Unreadable(line, "account-twice", detail, facts={"account": name[:128], "line_before": before})


@dataclass(slots=True)
class EntryIds:
    """Ids for entries that have none. `count` says how many of a content there are with this one."""

    derive: Derive
    count: Callable[[bytes], int]

    def complete(self, body: dict[str, Any]) -> None:
        """Gives the body an id unless it has one."""
        if body.get("id") is not None:
            return
        digest = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()[:16]
        times = self.count(digest)
        day = body.get("effective_on")
        midnight = datetime.combine(date.fromisoformat(day or _NO_DAY), time(), UTC)
        body["id"] = str(self.derive(midnight, f"{digest.hex()}/{times}"))
