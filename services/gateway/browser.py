"""What browsers need: security headers on every answer, and CORS for the origins on a list."""

from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
METHODS: Final = b"GET, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS: Final = (
    b"authorization, content-type, idempotency-key, idempotency-retry, x-request-id, x-request-deadline-ms, traceparent"
)
EXPOSED_HEADERS: Final = (
    b"x-request-id, traceparent, location, retry-after, idempotency-replayed, ratelimit, ratelimit-policy"
)
PREFLIGHT_AGE_S: Final = 600


class Cors:
    """Answers preflights and marks answers for the listed origins; for others the browser gets no permission.

    Wraps the application, so that its errors are readable for a listed origin too.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = None if scope["type"] != "http" else _header(scope, b"origin")
        if origin is None:
            await self._app(scope, receive, send)
            return
        known = origin in self._origins
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
            await _preflight(origin if known else None, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                marks = [(b"vary", b"Origin")]
                if known:
                    marks += [
                        (b"access-control-allow-origin", origin),
                        (b"access-control-expose-headers", EXPOSED_HEADERS),
                    ]
                message["headers"] = [*message.get("headers", ()), *marks]
            await send(message)

        await self._app(scope, receive, send_marked)


async def _preflight(origin: bytes | None, send: Send) -> None:
    headers = [(b"vary", b"Origin"), *SECURITY_HEADERS]
    if origin is not None:
        headers += [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-max-age", str(PREFLIGHT_AGE_S).encode()),
        ]
    await send({"type": "http.response.start", "status": 204 if origin else 403, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    for name, value in scope["headers"]:
        if name == wanted:
            found: bytes = value
            return found
    return None
