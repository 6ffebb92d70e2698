"""Heads that somebody kept, held against the log as it is now.

A file holds one head as GET /ledgers/{ledger}/head answers it, or several, one a line. The record that a head names has
to be in the log with the head's hash; since a hash covers all records before it, none of them can have changed where
the log's own chain is whole (`ledgerbus verify` proves that in the same run). The signature is checked with the keys of
a JWKS that was kept as well, else with those the ledger publishes now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from libs.cli.client import Client
from libs.cli.exits import Ended, Exit
from libs.common.errors import Misconfigured
from libs.common.jwks import VerifyingKey, parse_jwks
from libs.common.signing import ChainHead, is_signed_by

History = Literal["kept", "shorter", "rewritten", "other-ledger"]
Signed = Literal["valid", "absent", "wrong", "unknown-key"]

SENTENCES: Final = {
    "kept": "the log still goes through this head",
    "shorter": "history was rewritten: the log ends before this head",
    "rewritten": "history was rewritten: the record at this sequence has another hash",
    "other-ledger": "history was rewritten: the ledger of this name has another id",
    "valid": "signed by the ledger",
    "absent": "not signed",
    "wrong": "the signature is not of this head: it was altered, or signed by somebody else",
    "unknown-key": "the signing key is not among the known ones",
}


@dataclass(frozen=True, slots=True)
class SavedHead:
    """A head as it was kept."""

    head: ChainHead
    signature: str | None
    key_id: str | None


@dataclass(frozen=True, slots=True)
class HeadVerdict:
    """What a kept head proves now."""

    organization: str
    ledger: str
    sequence: int
    history: History
    signature: Signed

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the log or the head. A head without a signature is its keeper's word."""
        return self.history == "kept" and self.signature in {"valid", "absent"}

    def sentence(self) -> str:
        """Both findings."""
        return f"{SENTENCES[self.history]}; {SENTENCES[self.signature]}"


def read(path: Path) -> list[SavedHead]:
    """The heads of a file. Raises Ended (usage) where it holds none."""
    text = path.read_bytes().strip()
    try:
        rows = [orjson.loads(text)] if not text.count(b"}\n{") else [orjson.loads(row) for row in text.splitlines()]
        return [_saved(row) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise Ended(f"{path} holds no chain head: {error!r}.", Exit.USAGE) from error


def _saved(row: Mapping[str, Any]) -> SavedHead:
    head = ChainHead(**{field.name: row[field.name] for field in fields(ChainHead)})
    if head.sequence < 1:
        raise ValueError(f"{head.sequence} is no sequence")
    return SavedHead(head, row.get("signature"), row.get("key_id"))


def read_keys(path: Path) -> dict[str, VerifyingKey]:
    """The keys of a kept JWKS by kid. Raises Ended (usage)."""
    try:
        return parse_jwks(orjson.loads(path.read_bytes()))
    except (ValueError, Misconfigured) as error:
        raise Ended(f"{path} holds no keys (JWKS): {error}", Exit.USAGE) from error


async def check(client: Client, saved: SavedHead, kept_keys: Mapping[str, VerifyingKey] | None) -> HeadVerdict:
    """Holds a head against the ledger's log now; `client` is of the head's organization."""
    head = saved.head
    keys = parse_jwks(await client.get("/ledger-keys")) if kept_keys is None else kept_keys
    now = await client.get(f"/ledgers/{head.ledger}/head")
    answer = await client.get(f"/ledgers/{head.ledger}/log", after=str(head.sequence - 1), limit="1")
    return HeadVerdict(
        head.organization, head.ledger, head.sequence, _history(head, now, answer["items"]), _signature(saved, keys)
    )


def _history(head: ChainHead, now: Mapping[str, Any], records: list[Any]) -> History:
    if now["ledger_id"] != head.ledger_id:
        return "other-ledger"
    if not records:
        return "shorter"
    found = records[0]
    return "kept" if (found["sequence"], found["hash"]) == (head.sequence, head.hash) else "rewritten"


def _signature(saved: SavedHead, keys: Mapping[str, VerifyingKey]) -> Signed:
    if saved.signature is None:
        return "absent"
    known = keys.get(saved.key_id or "")
    if known is None or not isinstance(known.public_key, Ed25519PublicKey):
        return "unknown-key"
    return "valid" if is_signed_by(saved.head, saved.signature, known.public_key) else "wrong"
