"""NDJSON: a ledger's exported log with its chain checked, or plain entry requests; the first line says which.

A line of a log has `sequence`, `hash` and `payload`, the text exactly as it was hashed: hash = SHA-256(hash before +
payload), beginning with nothing at sequence 1. A line that breaks the chain ends the reading, because nothing behind it
can be told from a forgery. Entries and accounts are taken over; every other record is left out and counted by its type.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from libs.common.errors import Problem
from libs.common.json_text import parse_json
from services.ledger.exchange.found import Found, FoundAccount, FoundEntry, LeftOut, Unreadable

_ACCOUNT: Final = (
    "code", "name", "type", "currency", "normal_side", "heading", "parent", "summary", "control_owner", "reconcilable",
    "cash", "cash_flow_class", "monetary", "translation", "overdraft", "external_id", "metadata",
)  # fmt: skip
_ENTRY: Final = (
    "id", "kind", "effective_on", "value_on", "description", "external_id", "origin", "rates", "metadata",
)  # fmt: skip
_LINE: Final = ("account", "side", "amount", "currency", "party", "description")


class NdjsonReader:
    """Reads one file; `found.Reader` says how it is used. `is_log` is known after the first line."""

    def __init__(self) -> None:
        self.is_log: bool | None = None
        self.sequence = 0
        self.hash = b""

    def take(self, number: int, text: str) -> Iterator[Found]:
        if not text.strip():
            return
        try:
            value = parse_json(text.encode())
        except Problem as problem:
            yield Unreadable(number, problem.code, problem.detail, final=bool(self.is_log))
            return
        if not isinstance(value, dict):
            yield Unreadable(number, "malformed", "A line is a JSON object.", final=bool(self.is_log))
            return
        if self.is_log is None:
            self.is_log = "payload" in value
        if self.is_log:
            yield from self._record(number, value)
        elif "payload" in value:
            yield Unreadable(number, "malformed", "A record of a log among entries.", final=True)
        else:
            yield from self._request(number, value)

    def end(self) -> Iterator[Found]:
        return iter(())

    def _request(self, number: int, value: dict[str, Any]) -> Iterator[Found]:
        yield FoundEntry(number, value)

    def _record(self, number: int, value: dict[str, Any]) -> Iterator[Found]:
        sequence, hash_, payload = value.get("sequence"), value.get("hash"), value.get("payload")
        if not isinstance(sequence, int) or not isinstance(hash_, str) or not isinstance(payload, str):
            yield Unreadable(number, "malformed", "A record has sequence, hash and payload.", final=True)
            return
        if sequence != self.sequence + 1:
            detail = f"Record {self.sequence + 1} is due here, not {sequence}: the log begins at its first record."
            yield Unreadable(number, "chain-broken", detail, final=True, facts={"sequence": sequence})
            return
        self.sequence, self.hash = sequence, sha256(self.hash + payload.encode()).digest()
        if self.hash.hex() != hash_:
            detail = f"Record {sequence} does not fit its hash: it, or one before it, was altered."
            yield Unreadable(number, "chain-broken", detail, final=True, facts={"sequence": sequence})
            return
        yield from self._taken_over(number, payload)

    def _taken_over(self, number: int, payload: str) -> Iterator[Found]:
        try:
            record = parse_json(payload.encode())
        except Problem as problem:
            yield Unreadable(number, problem.code, f"The payload: {problem.detail}", final=True)
            return
        if not isinstance(record, dict) or record.get("sequence") != self.sequence:
            yield Unreadable(number, "malformed", "The payload is no record of that sequence.", final=True)
            return
        type_, entry, account = record.get("type"), record.get("entry"), record.get("account")
        if type_ == "entry-posted" and isinstance(entry, dict):
            body = {name: entry[name] for name in _ENTRY if name in entry}
            lines = entry.get("lines")
            body["lines"] = [_line(line) for line in lines] if isinstance(lines, list) else lines
            yield FoundEntry(number, body, entry.get("reverses"))
        elif type_ == "account-opened" and isinstance(account, dict):
            body = {name: account[name] for name in _ACCOUNT if name in account}
            yield FoundAccount(number, str(body.get("code")), body, body.get("type"))
        else:
            yield LeftOut(number, str(type_)[:60])


def _line(line: Any) -> Any:
    return {name: line[name] for name in _LINE if name in line} if isinstance(line, dict) else line
