"""Who asks: JSON Web Tokens in, a Caller with scopes out.

Shape: `Verifier.verify(header)` checks a bearer token against the keys of one issuer and gives a `Caller`; routes then
ask `caller.require(scope)`. Roles are bundles of scopes in one table; a token's roles and scopes count together.

Limits: RS256, ES256 and EdDSA only, chosen by the key and never by the token, so neither `alg=none` nor a public key
used as an HMAC secret gets through. A signature check costs 60 to 140 µs, a remembered token under 1 µs; tokens are
remembered by their exact text until they expire, and forgotten when the provider withdraws a key.

A provider that is down changes nothing for the keys already known. The issuer for development is in `dev_issuer.py`.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jwt

from libs.common.dev_issuer import DevIssuer, create_dev_issuer
from libs.common.errors import Problem
from libs.common.jwks import Jwks

__all__ = ["OPERATOR_SCOPES", "ROLES", "Caller", "DevIssuer", "Verifier", "caller_of", "create_dev_issuer"]

LEEWAY_S: Final = 30
TOKEN_BYTES_MAX: Final = 8192
CACHE_SIZE: Final = 10_000

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SCOPE = re.compile(r"[a-z][a-z0-9-]{0,40}:[a-z][a-z0-9-]{0,40}")
_SERVICE = re.compile(r"[a-z][a-z0-9-]{0,62}")

_VIEWER: Final = frozenset({
    "ledger:read", "ledger:verify", "invoice:read", "payment:read", "customer:read", "tax:read",
    "recon:read", "fx:read", "overview:read",
})  # fmt: skip
_ACCOUNTANT: Final = _VIEWER | frozenset({
    "ledger:post", "account:write", "hold:write", "ledger:import", "ledger:export",
    "invoice:write", "payment:write", "customer:write", "product:write", "recon:write", "fx:convert",
})  # fmt: skip
_CONTROLLER: Final = _ACCOUNTANT | frozenset({
    "ledger:create", "currency:write", "period:close", "period:reopen", "period:backdate", "period:adjust",
    "invoice:write-off", "tax:write", "mapping:write", "recon:approve", "recon:rules", "fx:write", "fx:revalue",
})  # fmt: skip
_OPERATOR: Final = frozenset({
    "organization:create", "organization:read", "rate:manage", "dead-letter:manage", "key:manage",
})  # fmt: skip
_SERVICE_ROLE: Final = frozenset({
    "ledger:read", "ledger:post", "account:write", "hold:write", "invoice:read", "payment:read", "payment:write",
    "customer:read", "recon:read", "fx:read", "fx:convert",
})  # fmt: skip

ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType({
    "viewer": _VIEWER,
    "accountant": _ACCOUNTANT,
    "controller": _CONTROLLER,
    "operator": _OPERATOR,
    "service": _SERVICE_ROLE,
})  # fmt: skip
"""Role -> scopes. Unknown roles of a token grant nothing."""

OPERATOR_SCOPES: Final = _OPERATOR
"""Scopes of routes above all organizations: only a token without an organization may use them, and only these."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the token says. `organization` is a slug, None for operators; `service` names a calling service."""

    subject: str
    organization: str | None
    service: str | None
    roles: frozenset[str]
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raise Problem 403 unless the token grants `scope` and is of the kind that may use it."""
        if scope not in self.scopes:
            raise Problem(
                403,
                "scope-missing",
                f"This needs the scope {scope!r}, which the token does not grant.",
                facts={"scope": scope},
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        if scope in OPERATOR_SCOPES:
            if self.organization is not None:
                raise Problem(403, "operator-only", "Only an operator's token, without an organization, may do this.")
        elif self.organization is None:
            raise _organization_missing()

    def own_organization(self) -> str:
        """The organization's slug. Raises Problem 403 for a token that names none."""
        if self.organization is None:
            raise _organization_missing()
        return self.organization


class Verifier:
    """Checks bearer tokens of one issuer for one audience.

    `jwks` holds the issuer's keys (a document, a file's path or an http address will do), `leeway_s` forgives
    clocks that differ, `now` gives the Unix time in seconds.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks: Jwks | Mapping[str, Any] | Path | str,
        *,
        leeway_s: int = LEEWAY_S,
        cache_size: int = CACHE_SIZE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._jwks = jwks if isinstance(jwks, Jwks) else Jwks(jwks)
        self._leeway_s = leeway_s
        self._cache_size = cache_size
        self._now = now
        self._known: OrderedDict[str, tuple[Caller, float]] = OrderedDict()
        self._generation = self._jwks.generation

    async def verify(self, authorization: str | None) -> Caller:
        """The caller of an `Authorization` header's value. Raises Problem 401 with a code for each way to be wrong."""
        if authorization is None:
            raise _unauthorized("token-missing", "No token was sent. Send the header 'Authorization: Bearer <token>'.")
        if self._generation != self._jwks.generation:
            self._known.clear()
            self._generation = self._jwks.generation
        known = self._known.get(authorization)
        if known is not None:
            caller, expires_s = known
            if self._now() < expires_s:
                self._known.move_to_end(authorization)
                return caller
            del self._known[authorization]
        caller, expires_s = await self._check(_bearer(authorization))
        if len(self._known) >= self._cache_size:
            self._known.popitem(last=False)
        self._known[authorization] = caller, expires_s
        return caller

    async def start(self) -> None:
        """Fetch the keys, so that the first request need not wait. A provider that is down delays nothing."""
        await self._jwks.start()

    async def close(self) -> None:
        """Stop fetching keys."""
        await self._jwks.close()

    async def _check(self, token: str) -> tuple[Caller, float]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _malformed("it is not a signed JSON Web Token") from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ("RS256", "ES256", "EdDSA"):
            raise _unauthorized("token-signature-invalid", "The token must be signed with RS256, ES256 or EdDSA.")
        if not isinstance(key_id, str) or not key_id:
            raise _malformed("its header names no key (kid)")
        if "crit" in header:
            raise _malformed("its header asks for an extension that is not understood (crit)")
        key = await self._jwks.key(key_id)
        if key is None:
            raise _unauthorized("token-key-unknown", "The token is signed with a key that the issuer does not publish.")
        if key.algorithm != algorithm:
            raise _unauthorized("token-signature-invalid", "The token names another algorithm than its key's.")
        try:
            claims = jwt.decode(token, key.public_key, algorithms=[key.algorithm], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError as error:
            raise _unauthorized("token-signature-invalid", "The token's signature is not the issuer's.") from error
        except jwt.PyJWTError as error:
            raise _malformed("its content cannot be read") from error
        return self._caller(claims)

    def _caller(self, claims: Mapping[str, Any]) -> tuple[Caller, float]:
        now_s = self._now()
        expires_s = _instant(claims, "exp", required=True) + self._leeway_s
        if now_s >= expires_s:
            raise _unauthorized("token-expired", "The token has expired. Get a new one.")
        for name in ("nbf", "iat"):
            if _instant(claims, name, required=False) > now_s + self._leeway_s:
                raise _unauthorized("token-not-yet-valid", f"The token is not valid yet ({name} is in the future).")
        if claims.get("iss") != self._issuer:
            raise _unauthorized("token-issuer-wrong", "The token is from an issuer that is not trusted here.")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise _unauthorized("token-audience-wrong", f"The token is not meant for {self._audience!r}.")
        return caller_of(claims), expires_s


_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
    "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False, "require": [],
}  # fmt: skip


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """The caller whom checked claims describe. Raises Problem 401 `token-malformed` for claims of a wrong shape."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 200 or not subject.isprintable():
        raise _malformed("its subject (sub) is missing or not a text of 1 to 200 printable characters")
    organization = _optional(claims, "organization", _SLUG)
    service = _optional(claims, "service", _SERVICE)
    roles = claims.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise _malformed("its roles are not a list of texts")
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise _malformed("its scope is not a text")
    granted = frozenset(name for name in scope.split(" ") if _SCOPE.fullmatch(name))
    held = frozenset(role for role in roles if role in ROLES)
    if "operator" in held and organization is not None:
        raise _malformed("an operator's token must not name an organization")
    if "service" in held and service is None:
        raise _malformed("a service's token must name the service")
    return Caller(subject, organization, service, held, granted.union(*(ROLES[role] for role in held)))


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorized("token-missing", "Only the Bearer scheme is understood: 'Authorization: Bearer <token>'.")
    token = token.strip(" ")
    if not token or len(token) > TOKEN_BYTES_MAX or not token.isascii():
        raise _malformed(f"it is empty, longer than {TOKEN_BYTES_MAX} characters or not ASCII")
    return token


def _instant(claims: Mapping[str, Any], name: str, *, required: bool) -> float:
    value = claims.get(name)
    if value is None and not required:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise _malformed(f"its claim {name} is missing or not a time")
    return value


def _optional(claims: Mapping[str, Any], name: str, shape: re.Pattern[str]) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise _malformed(f"its claim {name} is not a slug")
    return value


def _organization_missing() -> Problem:
    detail = "The token names no organization, so it reaches operator routes only."
    return Problem(403, "organization-missing", detail)


def _malformed(why: str) -> Problem:
    return _unauthorized("token-malformed", f"The token cannot be used: {why}.")


def _unauthorized(code: str, detail: str) -> Problem:
    challenge = "Bearer" if code == "token-missing" else f'Bearer error="invalid_token", error_description="{code}"'
    return Problem(401, code, detail, headers={"WWW-Authenticate": challenge})
