"""Personal data at rest: AES-256-GCM with a key's id beside it and what it belongs to as associated data.

    key file -> read_sealer -> seal(plain, belongs_to) = (key id, 0x01 + 12 bytes nonce + ciphertext + 16 bytes tag)

The file has one key a line, each 32 random bytes in base64 behind a word that says what it is for:

    seal <base64>     the first one seals; those below still open what they sealed before they were replaced
    index <base64>    the one key of `keyed_hash`, by which a sealed value is found again without being opened

A sealed value opens only with the same associated data, so a row's cannot be put into another row or organization.
Rotation (`add_sealing_key`) puts a new key in front; whoever keeps sealed values seals again those whose id `is_old`,
and then the old keys are dropped (`drop_old_keys`). The index key stays: hashes by another one find nothing. Nonces are
random; 2**32 values a key is NIST's limit (SP 800-38D, 8.3), which is far above what a key sees between rotations.
"""

import os
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from libs.common.errors import Failure, Misconfigured

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORM: Final = b"\x01"
_KEY_ID_PURPOSE: Final = b"ledgerbus-sealing-key-id-v1"


class BrokenSeal(Failure):
    """A sealed value was altered, cut, or belongs to something else than what it was opened for."""


class Sealed(NamedTuple):
    """A sealed value and the id of the key that opens it: both are stored."""

    key_id: str
    value: bytes


class Sealer:
    """Seals with the first of `keys`, opens with any. `index` is the key of `keyed_hash`."""

    def __init__(self, keys: Sequence[bytes], index: bytes) -> None:
        assert keys, "a sealer has a key"
        assert all(len(key) == KEY_BYTES for key in (*keys, index)), "keys have 32 bytes"
        self._ciphers = {sealing_key_id(key): AESGCM(key) for key in keys}
        self._index = index
        self.key_id = sealing_key_id(keys[0])

    def seal(self, plain: bytes, belongs_to: bytes) -> Sealed:
        """`plain` sealed with the newest key; `belongs_to` is the associated data, which is not stored."""
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(self.key_id, _FORM + nonce + self._ciphers[self.key_id].encrypt(nonce, plain, belongs_to))

    def open(self, key_id: str, value: bytes, belongs_to: bytes) -> bytes:
        """What was sealed. Raises Misconfigured where the file has no key of this id, BrokenSeal where it differs."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise Misconfigured(f"the sealing keys hold no key {key_id}, which sealed what is stored; put it back")
        if value[:1] != _FORM:
            raise BrokenSeal("a sealed value does not begin with the form that is known")
        nonce, sealed = value[1 : 1 + _NONCE_BYTES], value[1 + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, sealed, belongs_to)
        except (InvalidTag, ValueError):
            raise BrokenSeal("a sealed value was altered, or is another one's") from None

    def is_old(self, key_id: str) -> bool:
        """Whether what this key sealed is to be sealed again."""
        return key_id != self.key_id

    def keyed_hash(self, value: bytes) -> bytes:
        """32 bytes (HMAC-SHA-256) that are the same for the same value, and tell nothing to one without the key."""
        return hmac_digest(self._index, value, "sha256")


def sealing_key_id(key: bytes) -> str:
    """16 hexadecimal digits that name a key and do not tell it."""
    return sha256(_KEY_ID_PURPOSE + key).hexdigest()[:16]


def read_sealer(path: Path) -> Sealer:
    """The sealer of a key file. Raises Misconfigured, which names the line that is wrong and never what is in it."""
    keys, index = _read(path)
    return Sealer(keys, index)


def add_sealing_key(path: Path) -> str:
    """Puts a new key in front and returns its id; the older ones stay to open what they sealed.

    The file is made where it is not there, with an index key (mode 0600), and replaced as a whole.
    """
    keys, index = _read(path) if path.exists() else ([], os.urandom(KEY_BYTES))
    new = os.urandom(KEY_BYTES)
    _write(path, [new, *keys], index)
    return sealing_key_id(new)


def drop_old_keys(path: Path) -> list[str]:
    """Leaves the newest key alone; returns the ids of those that are gone, by which nothing may be sealed any more."""
    keys, index = _read(path)
    _write(path, keys[:1], index)
    return [sealing_key_id(key) for key in keys[1:]]


def _read(path: Path) -> tuple[list[bytes], bytes]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the sealing keys {path} cannot be read: {type(error).__name__}") from error
    found: dict[str, list[bytes]] = {"seal": [], "index": []}
    for number, line in enumerate(lines, 1):
        purpose, _, text = line.strip().partition(" ")
        if not purpose or purpose.startswith("#"):
            continue
        if purpose not in found:
            raise Misconfigured(f"the sealing keys {path} say in line {number} neither `seal` nor `index`")
        found[purpose].append(_key(path, number, text.strip()))
    if not found["seal"]:
        raise Misconfigured(f"the sealing keys {path} hold no key to seal with (`seal <32 bytes in base64>`)")
    if len(found["index"]) != 1:
        raise Misconfigured(f"the sealing keys {path} hold {len(found['index'])} index keys; there is one")
    return found["seal"], found["index"][0]


def _key(path: Path, number: int, text: str) -> bytes:
    try:
        key = b64decode(text, validate=True)
    except (NotBase64, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Misconfigured(f"the sealing keys {path} have no 32 bytes in base64 in line {number}")
    return key


def _write(path: Path, keys: Sequence[bytes], index: bytes) -> None:
    lines = [*(f"seal {b64encode(key).decode()}" for key in keys), f"index {b64encode(index).decode()}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
    part.replace(path)
