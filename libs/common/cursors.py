"""Opaque keyset cursors: where a list goes on, with the filter and order it was begun with.

A cursor carries the list's name (with organization and ledger in it, so that it fits no other's list), the filters, and
the position: the sort key of the last item seen. New items do not shift what follows. A keyed checksum makes a changed
or invented cursor fail; it guards against accidents and guessing, not access, which the token alone decides.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import orjson
from fastapi import Query

from libs.common.errors import Fault, Problem

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
CURSOR_LENGTH_MAX: Final = 2048

_CHECKSUM_BYTES: Final = 9
_DEFAULT_KEY: Final = b"ledgerbus cursor v1"


class Cursor(NamedTuple):
    """Where to go on: the filters the list was begun with and the sort key of the last item seen, as JSON values."""

    filters: dict[str, Any]
    position: list[Any]


def encode_cursor(name: str, filters: Mapping[str, Any], position: Sequence[Any], key: bytes = _DEFAULT_KEY) -> str:
    """The cursor after the item whose sort key is `position`. Values are JSON values; dates and UUIDs become texts."""
    given = {field: value for field, value in filters.items() if value is not None}
    content = orjson.dumps([name, given, list(position)], option=orjson.OPT_SORT_KEYS)
    return urlsafe_b64encode(_checksum(content, key) + content).rstrip(b"=").decode()


def decode_cursor(text: str, name: str, filters: Mapping[str, Any], key: bytes = _DEFAULT_KEY) -> Cursor:
    """What `encode_cursor` put in. Filters may be left out when going on; those given must be the same.

    Raises Problem 422 `cursor-invalid` for a changed cursor, another list's, or other filters.
    """
    if len(text) > CURSOR_LENGTH_MAX or not text.isascii():
        raise _invalid("The cursor is not one of ours.")
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError) as error:
        raise _invalid("The cursor is not one of ours.") from error
    checksum, content = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(content, key)):
        raise _invalid("The cursor is not one of ours, or was changed.")
    listed, begun_with, position = orjson.loads(content)
    if listed != name:
        raise _invalid("The cursor belongs to another list.")
    given = orjson.loads(orjson.dumps({field: value for field, value in filters.items() if value is not None}))
    if any(begun_with.get(field, _ABSENT) != value for field, value in given.items()):
        raise _invalid("The cursor was begun with other filters. Start again without a cursor.")
    return Cursor(begun_with, position)


def parse_limit(text: str | None) -> int:
    """A list's `limit`, 1 to 500, 100 where absent. Raises Problem 422."""
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        detail = f"must be a whole number from 1 to {LIMIT_MAX}"
        raise Problem(422, "malformed", f"/limit {detail}.", errors=[Fault("/limit", detail)])
    return int(text)


def page(items: Sequence[Any], next_cursor: str | None) -> dict[str, Any]:
    """The body of every list."""
    return {"items": items, "next_cursor": next_cursor}


Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most.")]
"""A FastAPI route's parameter; give it the default LIMIT_DEFAULT."""

_ABSENT: Final = object()


def _checksum(content: bytes, key: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_CHECKSUM_BYTES]


def _invalid(detail: str) -> Problem:
    return Problem(422, "cursor-invalid", detail, errors=[Fault("/cursor", "is not usable here")])
