"""What of a request is passed on, and what of an answer is passed back.

Headers that belong to one connection stay on it (RFC 9110, 7.6.1), as do those that the Connection header names. The
request's id, trace and deadline are the gateway's own word; where it came from is told in X-Forwarded-For.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from starlette.types import Scope

from libs.common.edge import Exchange
from libs.common.errors import Problem

HOP_BY_HOP: Final = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"expect", b"http2-settings",
})  # fmt: skip
_NOT_PASSED_ON: Final = HOP_BY_HOP | {
    b"host", b"content-length", b"x-request-id", b"traceparent", b"x-request-deadline-ms", b"cookie", b"forwarded",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"accept-encoding",
}  # fmt: skip
_NOT_PASSED_BACK: Final = HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"traceparent", b"set-cookie"}


class Incoming(NamedTuple):
    """The headers to pass on, and the two the gateway acts on itself."""

    headers: list[tuple[str, str]]
    authorization: str | None
    idempotency_key: str | None


def read_incoming(scope: Scope, exchange: Exchange) -> Incoming:
    """Sort the request's headers in one pass. Raises Problem for an Authorization or Idempotency-Key sent twice."""
    headers: list[tuple[str, str]] = []
    authorization: str | None = None
    key: str | None = None
    named = _named_by_connection(scope["headers"])
    for name, value in scope["headers"]:
        if name in _NOT_PASSED_ON or name in named:
            continue
        text = value.decode("latin-1")
        if name == b"authorization":
            if authorization is not None:
                raise Problem(401, "token-malformed", "The Authorization header was sent more than once.")
            authorization = text
        elif name == b"idempotency-key":
            if key is not None:
                raise Problem(400, "idempotency-key-invalid", "The Idempotency-Key header was sent more than once.")
            key = text
        headers.append((name.decode("latin-1"), text))
    headers.append(("x-request-id", exchange.request_id))
    headers.append(("traceparent", exchange.traceparent))
    client = scope.get("client")
    if client:
        headers.append(("x-forwarded-for", client[0]))
    return Incoming(headers, authorization, key)


def answer_headers(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The answer's headers in lower case, without those of its connection."""
    lowered = [(name.lower(), value) for name, value in raw]
    named = _named_by_connection(lowered)
    return [(name, value) for name, value in lowered if name not in _NOT_PASSED_BACK and name not in named]


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection" and value not in (b"keep-alive", b"close"):
            named |= frozenset(token.strip().lower() for token in value.split(b","))
    return named
