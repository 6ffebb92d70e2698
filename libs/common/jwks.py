"""The issuer's public keys, from memory, a file or an address.

`key(kid)` answers from what is known. Only a kid that is not known, or keys older than `REFRESH_S`, make it read again:
at most once in `THROTTLE_S`, by one task at a time, so that made-up kids cannot drive the provider. What is known stays
known while the provider is down; that it never answered is Transient. `generation` rises when a key goes or changes.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import aiohttp
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from libs.common.errors import Misconfigured, Transient
from libs.common.telemetry import get_logger

REFRESH_S: Final = 300.0
THROTTLE_S: Final = 10.0
FETCH_TIMEOUT_S: Final = 5.0
DOCUMENT_BYTES_MAX: Final = 262_144
RSA_BITS_MIN: Final = 2048

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

log = get_logger(__name__)


class VerifyingKey(NamedTuple):
    """A public key and the one algorithm it may be used with: RS256, ES256 or EdDSA."""

    algorithm: str
    public_key: PublicKey


class Jwks:
    """A set of keys. `source` is a JWKS document as a mapping, a file's path, or an http(s) address."""

    def __init__(
        self,
        source: Mapping[str, Any] | Path | str,
        *,
        refresh_s: float = REFRESH_S,
        throttle_s: float = THROTTLE_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generation = 0
        self._source = source
        self._refresh_s = refresh_s
        self._throttle_s = throttle_s
        self._monotonic_s = monotonic_s
        self._keys: dict[str, VerifyingKey] = parse_jwks(source) if isinstance(source, Mapping) else {}
        self._read_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._reading: asyncio.Task[None] | None = None
        if isinstance(source, str) and not source.startswith(("http://", "https://")):
            raise Misconfigured(f"the JWKS address {source!r} must begin with http:// or https://")

    async def start(self) -> None:
        """Read the keys for the first time; a source that does not answer is logged and asked again later."""
        await self._read()

    async def close(self) -> None:
        """End a read that is under way."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def key(self, key_id: str) -> VerifyingKey | None:
        """The key of that id, None where the source does not list it. Raises Transient where no key was ever read."""
        key = self._keys.get(key_id)
        if isinstance(self._source, Mapping):
            return key
        if key is not None:
            if self._read_at_s is None or self._monotonic_s() - self._read_at_s > self._refresh_s:
                self._begin_reading()
            return key
        await self._read()
        if not self._keys:
            raise Transient("The identity provider's keys cannot be read just now.", max(1, int(self._throttle_s)))
        return self._keys.get(key_id)

    async def _read(self) -> None:
        self._begin_reading()
        if self._reading is not None:
            await asyncio.shield(self._reading)

    def _begin_reading(self) -> None:
        if isinstance(self._source, Mapping) or (self._reading is not None and not self._reading.done()):
            return
        now_s = self._monotonic_s()
        if self._tried_at_s is not None and now_s - self._tried_at_s < self._throttle_s:
            return
        self._tried_at_s = now_s
        self._reading = asyncio.create_task(self._refresh(), name="jwks")

    async def _refresh(self) -> None:
        try:
            keys = parse_jwks(orjson.loads(await self._load()))
        except (OSError, aiohttp.ClientError, TimeoutError, Misconfigured, orjson.JSONDecodeError) as error:
            log.warning("jwks-not-read", source=str(self._source), error=repr(error), keys_kept=len(self._keys))
            return
        if any(not same_key(keys.get(key_id), key) for key_id, key in self._keys.items()):
            self.generation += 1
        self._keys = keys
        self._read_at_s = self._monotonic_s()

    async def _load(self) -> bytes:
        if isinstance(self._source, Path):
            return await asyncio.to_thread(self._source.read_bytes)
        assert isinstance(self._source, str)
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._source) as answer:
            answer.raise_for_status()
            document = await answer.content.read(DOCUMENT_BYTES_MAX + 1)
            while len(document) <= DOCUMENT_BYTES_MAX and (more := await answer.content.read(DOCUMENT_BYTES_MAX)):
                document += more
        if len(document) > DOCUMENT_BYTES_MAX:
            raise Misconfigured(f"the JWKS at {self._source} is longer than {DOCUMENT_BYTES_MAX} bytes")
        return document


def same_key(one: VerifyingKey | None, other: VerifyingKey) -> bool:
    """Whether both are the same key for the same algorithm."""
    return one is not None and one.algorithm == other.algorithm and one.public_key == other.public_key


def parse_jwks(document: Any) -> dict[str, VerifyingKey]:
    """The usable keys of a JWKS document (RFC 7517) by kid. Keys for other uses or algorithms are left out.

    Raises Misconfigured where the document is no JWKS.
    """
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise Misconfigured("a JWKS document must have a list named 'keys'")
    keys: dict[str, VerifyingKey] = {}
    for jwk in listed:
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not isinstance(jwk.get("kid"), str):
            continue
        key = _verifying_key(jwk)
        if key is not None:
            keys[jwk["kid"]] = key
    return keys


def _verifying_key(jwk: dict[str, Any]) -> VerifyingKey | None:
    algorithm = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}.get(
        (jwk.get("kty", ""), jwk.get("crv"))
    )
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        public_key = jwt.PyJWK({name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}, algorithm).key
    except (jwt.PyJWTError, ValueError) as error:
        raise Misconfigured(f"the JWKS key {jwk['kid']!r} cannot be read") from error
    if isinstance(public_key, RSAPublicKey) and public_key.key_size < RSA_BITS_MIN:
        return None
    assert isinstance(public_key, (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey))
    return VerifyingKey(algorithm, public_key)


_PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e")
