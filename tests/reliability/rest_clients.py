"""Platform clients under faults: each asks, and asks again under the same key until it has an answer.

A lost connection, a timeout and every 5xx leave open what happened; the same wish goes out again with
`Idempotency-Retry: true`. Everything else is the answer. What a client was told is kept, to be held against the books.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.reliability.wishes import LEDGER, Wish, draw

ANSWER_TIME_LIMIT_S = 120.0
TRY_TIME_LIMIT_S = 20.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.05, 0.5
PATH = f"/api/v1/ledgers/{LEDGER}/entries"


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: `tries` counts the requests it took."""

    status: int
    body: dict[str, Any]
    replayed: bool
    tries: int


@dataclass(slots=True)
class RestClients:
    """Clients of one organization at `urls`; a client whose request got lost tries the next address.

    `asked` and `told` are by key; `troubles` counts what came in place of an answer.
    """

    urls: Sequence[str]
    token: str
    name: str
    chosen: random.Random
    asked: dict[str, Wish] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    troubles: Counter[str] = field(default_factory=Counter)

    async def run(self, clients: int, over: asyncio.Event) -> None:
        """Asks with that many clients until it is over and each has the answer to its last wish."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=TRY_TIME_LIMIT_S)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for no in range(clients):
                group.create_task(self._ask_on(session, no, over))

    async def ask_again(self, keys: Sequence[str]) -> dict[str, Told]:
        """The answers to wishes that were answered before."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:
            return {key: await self._ask(session, self.asked[key], 0, is_known=True) for key in keys}

    async def _ask_on(self, session: aiohttp.ClientSession, client: int, over: asyncio.Event) -> None:
        for no in itertools.count():
            if over.is_set():
                return
            wish = draw(f"{self.name}-{client}-{no}", self.chosen)
            self.asked[wish.key] = wish
            self.told[wish.key] = await self._ask(session, wish, client, is_known=False)

    async def _ask(self, session: aiohttp.ClientSession, wish: Wish, client: int, *, is_known: bool) -> Told:
        body = orjson.dumps(wish.entry)
        pause_s = PAUSE_S_MIN
        async with asyncio.timeout(ANSWER_TIME_LIMIT_S):
            for tried in itertools.count(1):
                headers = {"Idempotency-Key": wish.key}
                if is_known or tried > 1:
                    headers["Idempotency-Retry"] = "true"
                url = self.urls[(client + tried - 1) % len(self.urls)]
                try:
                    async with session.post(url + PATH, data=body, headers=headers) as answer:
                        content = await answer.read()
                        if answer.status < 500:
                            replayed = answer.headers.get("Idempotency-Replayed") == "true"
                            return Told(answer.status, orjson.loads(content), replayed, tried)
                        self.troubles[f"{answer.status} {orjson.loads(content)['code']}"] += 1
                except (aiohttp.ClientError, TimeoutError) as lost:
                    self.troubles[type(lost).__name__] += 1
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_S_MAX, pause_s * 2)
        raise AssertionError("the time limit ends this loop")
