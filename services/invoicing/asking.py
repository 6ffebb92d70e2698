"""One wish, one answer, however often it is asked: the key claimed, the work done and the answer kept in one commit.

    answer(pool, wish, act) -> begin -> claim the key -> known? the answer that was given
                                                      -> new?   act(connection) -> a body or a Rejection, kept

`act` decides before it writes: where it gives a Rejection it has written nothing. What the database refuses by one of
its guards, because somebody was faster, is that guard's rejection; nothing of it is kept. Rejections are kept like any
answer, except those that may be another answer tomorrow because something is missing today.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from libs.common.db import Connection, Pool, is_connection_error, transaction, transient
from libs.common.errors import Fault, Rejection, Transient
from services.invoicing import request_store
from services.invoicing.rejections import CONFLICTS, NOT_FOUND, REJECTIONS, reject
from services.invoicing.request_store import Claim, Kept

OK: Final = 200
CREATED: Final = 201
TRIES: Final = 3
"""Of a wish that met somebody else's transaction head on."""

NOT_KEPT: Final = frozenset({"key-reused-with-other-content", "mapping-missing", "rate-missing"}) | NOT_FOUND
"""Answers that something added tomorrow makes another."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose books, and whose keys: the calling service and the token's subject."""

    organization: str
    scope: str


class Wish(NamedTuple):
    """A key and the SHA-256 of what it stands for."""

    asker: Asker
    key: str
    fingerprint: bytes

    @property
    def claim(self) -> Claim:
        return Claim(self.asker.organization, self.asker.scope, self.key, self.fingerprint)


class Done(NamedTuple):
    """What was done, as the caller is told."""

    body: Mapping[str, Any]
    status: int = CREATED


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer: a body, or why not; `replayed` where it was given before."""

    status: int
    body: bytes
    rejection: Rejection | None = None
    replayed: bool = False


Act = Callable[[Connection], Awaitable[Done | Rejection]]


def fingerprint_of(content: Any) -> bytes:
    """Which wish this is: equal for bodies that say the same, however they are written."""
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS, default=str)).digest()


async def answer(pool: Pool, wish: Wish, now: datetime, act: Act) -> Outcome:
    """The one answer to a wish. Raises Transient where the database cannot give one now."""
    for tried in range(1, TRIES + 1):
        try:
            return await _answer(pool, wish, now, act)
        except (asyncpg.CheckViolationError, asyncpg.UniqueViolationError) as error:
            return outcome_of(refused_by_guard(error))
        except Exception as error:
            if not transient(error):
                raise
            if isinstance(error, Transient) or is_connection_error(error) or tried == TRIES:
                raise Transient("the database could not do it now; ask again with the same key") from error
    raise AssertionError("the last try answers or raises")


async def _answer(pool: Pool, wish: Wish, now: datetime, act: Act) -> Outcome:
    async with transaction(pool) as connection:
        known = (await request_store.claim(connection, [wish.claim], now))[wish.claim]
        if known is not None:
            return recall(known, wish)
        outcome = outcome_of(await act(connection))
        await keep(connection, [(wish, outcome)])
        return outcome


def outcome_of(done: Done | Rejection) -> Outcome:
    """An answer that is given the first time."""
    if isinstance(done, Rejection):
        return Outcome(status_of(done), _rejection_body(done), done)
    return Outcome(done.status, orjson.dumps(done.body, default=str))


async def keep(connection: Connection, answers: list[tuple[Wish, Outcome]]) -> None:
    """Keeps answers under the keys that were claimed for them, and lets go of keys whose answer is not kept."""
    gone = [wish.claim for wish, outcome in answers if _not_kept(outcome)]
    kept = [(wish.claim, outcome.status, outcome.body) for wish, outcome in answers if not _not_kept(outcome)]
    await request_store.store(connection, kept)
    await request_store.unclaim(connection, gone)


def recall(known: Kept, wish: Wish) -> Outcome:
    """What was answered under a key, or that the key stands for something else."""
    if known.fingerprint != wish.fingerprint:
        return outcome_of(reject("key-reused-with-other-content", key=wish.key))
    if known.status < 300:
        return Outcome(known.status, known.body, None, replayed=True)
    said = orjson.loads(known.body)
    faults = [Fault(*fault) for fault in said["errors"]]
    return Outcome(
        known.status, known.body, Rejection(said["code"], said["detail"], said["facts"], faults), replayed=True
    )  # fmt: skip


def status_of(rejection: Rejection) -> int:
    """The HTTP status: what the body names wrongly has a place there and is 422, what the address does 404."""
    if rejection.code in NOT_FOUND and not rejection.errors:
        return 404
    return 409 if rejection.code in CONFLICTS else 422


def refused_by_guard(error: asyncpg.CheckViolationError | asyncpg.UniqueViolationError) -> Rejection:
    """The rejection that a guard of the database stands for. Raises `error` where it is none: that is a defect."""
    code = (error.constraint_name or "").replace("_", "-")
    if code not in REJECTIONS:
        raise error
    return reject(code)


def _not_kept(outcome: Outcome) -> bool:
    return outcome.rejection is not None and outcome.rejection.code in NOT_KEPT


def _rejection_body(rejection: Rejection) -> bytes:
    return orjson.dumps(
        {
            "code": rejection.code,
            "detail": rejection.detail,
            "facts": rejection.facts,
            "errors": [list(fault) for fault in rejection.errors],
        },
        default=str,
    )
