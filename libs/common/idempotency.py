"""The Idempotency-Key header: the caller's name for one wish, so that asking twice has the effect of once."""

import re
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request

from libs.common.errors import Problem

KEY_LENGTH_MAX: Final = 200

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_DESCRIPTION: Final = "Your name for this wish, 1 to 200 visible ASCII characters; sent again it gives the same answer."


def parse_key(value: str | None, *, required: bool) -> str | None:
    """The key as sent. Raises Problem 400 `idempotency-key-missing` or `idempotency-key-invalid`."""
    if value is None:
        if required:
            raise Problem(
                400, "idempotency-key-missing", "This needs an Idempotency-Key header, so that a retry is safe."
            )
        return None
    if not _KEY.fullmatch(value):
        raise Problem(
            400,
            "idempotency-key-invalid",
            f"The Idempotency-Key must be 1 to {KEY_LENGTH_MAX} visible ASCII characters without spaces.",
        )
    return value


def key_of(request: Request, *, required: bool) -> str | None:
    """The key of a plain Starlette request. A header sent twice is refused, as nobody knows which one is meant."""
    values = request.headers.getlist("idempotency-key")
    if len(values) > 1:
        raise Problem(400, "idempotency-key-invalid", "The Idempotency-Key header was sent more than once.")
    return parse_key(values[0] if values else None, required=required)


def is_retry(request: Request) -> bool:
    """Whether the sender says that it sends this again (Idempotency-Retry: true), so the key may be known already."""
    return request.headers.get("idempotency-retry") == "true"


def _required(request: Request) -> str:
    key = key_of(request, required=True)
    assert key is not None
    return key


RequiredKey = Annotated[str, Depends(_required)]
"""A FastAPI route's parameter for a key that must be there; the route says so by `openapi_extra=KEY_NEEDED`."""

KEY_NEEDED: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": _DESCRIPTION,
            "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
        }
    ]
}
"""What such a route's entry in the OpenAPI document has more."""
