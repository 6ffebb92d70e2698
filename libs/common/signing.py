"""Signed chain heads: Ed25519 over a few lines of text, so that anybody can keep one and later prove what was there.

    head -> signed_bytes -> signature (base64) by the newest key; every key of the file is published as JWKS (RFC 8037)

A head says "the log of this ledger, up to this sequence, has this hash". The hash covers every record before, so one
kept head fixes the whole history up to it; the signature shows that the ledger itself said so. The bytes that are
signed are these lines, each ended by a line feed, with the values exactly as the head shows them:

    ledgerbus-chain-head-v1
    <organization>
    <ledger>
    <ledger_id>
    <epoch>
    <sequence>
    <hash>
    <recorded_at>

A key's id is its RFC 7638 thumbprint. Rotation: a new private key is put in front, the old one keeps only its public
half (`add_key`); what the old one signed can be checked for ever.
"""

import os
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from libs.common.errors import Misconfigured

ALGORITHM: Final = "Ed25519"
PURPOSE: Final = "ledgerbus-chain-head-v1"
"""The first signed line: a signature made for anything else is none for a head."""

SIGNATURE: Final = "signature"
KEY_ID: Final = "keyid"
"""CloudEvents extension attributes of a published head where the ledger has a key; its recorded_at is `ce_time`."""

_PEM = re.compile(rb"-----BEGIN (PRIVATE|PUBLIC) KEY-----.*?-----END \1 KEY-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where a ledger's log ends. `hash` is 64 hexadecimal digits, `recorded_at` the last record's own text."""

    organization: str
    ledger: str
    ledger_id: str
    epoch: int
    sequence: int
    hash: str
    recorded_at: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature in base64 and the key it can be checked with."""

    text: str
    key_id: str


def signed_bytes(head: ChainHead) -> bytes:
    """What is signed: see the module's head. Codes, ids, numbers and instants hold no line feed."""
    values = (head.organization, head.ledger, head.ledger_id, head.epoch, head.sequence, head.hash, head.recorded_at)
    return "".join(f"{value}\n" for value in (PURPOSE, *values)).encode()


class SigningKeys:
    """The keys of a file: the first private one signs, all are published. Without any nothing is signed."""

    def __init__(self, signer: Ed25519PrivateKey | None = None, public: Sequence[Ed25519PublicKey] = ()) -> None:
        self._signer = signer
        self._key_id = key_id(signer.public_key()) if signer is not None else ""
        self.public: dict[str, Ed25519PublicKey] = {key_id(key): key for key in public}

    def sign(self, head: ChainHead) -> Signature | None:
        """The head's signature, None where there is no key."""
        if self._signer is None:
            return None
        return Signature(b64encode(self._signer.sign(signed_bytes(head))).decode(), self._key_id)

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWKS document (RFC 7517), the newest first."""
        return {"keys": [_jwk(key) for key in self.public.values()]}


def read_keys(path: Path) -> SigningKeys:
    """The keys of a PEM file, PKCS #8 and SubjectPublicKeyInfo, the newest first. Raises Misconfigured."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"the signing keys {path} cannot be read: {type(error).__name__}") from error
    signer: Ed25519PrivateKey | None = None
    public: list[Ed25519PublicKey] = []
    for block in _PEM.finditer(text):
        private = _private(path, block[0]) if block[1] == b"PRIVATE" else None
        signer = signer or private
        public.append(private.public_key() if private is not None else _public(path, block[0]))
    if signer is None:
        raise Misconfigured(f"the signing keys {path} hold no Ed25519 private key in PEM (PKCS #8)")
    return SigningKeys(signer, public)


def add_key(path: Path) -> str:
    """Puts a new private key in front and leaves only the public halves of the others; returns the new key's id.

    The file is made where it is not there (mode 0600), and replaced as a whole.
    """
    older = read_keys(path).public.values() if path.exists() else ()
    new = Ed25519PrivateKey.generate()
    blocks = [new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    blocks += [key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in older]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(b"".join(blocks))
    part.replace(path)
    return key_id(new.public_key())


def is_signed_by(head: ChainHead, signature: str, key: Ed25519PublicKey) -> bool:
    """Whether this base64 text is the key's signature of the head."""
    try:
        key.verify(b64decode(signature, validate=True), signed_bytes(head))
    except (InvalidSignature, NotBase64, ValueError):
        return False
    return True


def key_id(key: Ed25519PublicKey) -> str:
    """The RFC 7638 thumbprint, base64url without padding."""
    return _base64url(sha256(orjson.dumps(_members(key))).digest())


def _members(key: Ed25519PublicKey) -> dict[str, str]:
    """The required members of an OKP key (RFC 8037) in the order that its thumbprint is of."""
    return {"crv": ALGORITHM, "kty": "OKP", "x": _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}


def _jwk(key: Ed25519PublicKey) -> dict[str, str]:
    return {**_members(key), "alg": "EdDSA", "use": "sig", "kid": key_id(key)}


def _private(path: Path, block: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(block, password=None)
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"a private key in {path} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"a private key in {path} is not an Ed25519 key")
    return key


def _public(path: Path, block: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block)
    except ValueError as error:
        raise Misconfigured(f"a public key in {path} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Misconfigured(f"a public key in {path} is not an Ed25519 key")
    return key


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
