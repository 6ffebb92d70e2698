"""A service that asks over Kafka: it sends the same bytes again, later and later, until the answer is there.

The first answers to one wish in ten are taken as lost on the way: they are written down and not counted, so that the
request goes out again and is answered from what the ledger has stored. All answers are kept, to be held against each
other and against the books.
"""

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers, parse_headers
from libs.common.clock import monotonic_s, new_id, now
from libs.common.errors import Transient
from libs.common.events import ANSWERS, ENTRY_WANTED, REQUESTS
from libs.common.journal import ledger_id
from tests.reliability.wishes import LEDGER, Wish, draw
from tests.support.topic_reader import Follower, following

SOURCE = "reliability"
ASK_EVERY_S = 0.05
WISHES_AT_ONCE = 5
RESEND_S_MIN, RESEND_S_MAX = 1.0, 8.0
ANSWER_TIME_LIMIT_S = 150.0
LOST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer as it came: the event's id and type, and its value."""

    event_id: str
    type: str
    value: dict[str, Any]


@dataclass(slots=True)
class _Open:
    """A request without an answer: when it is sent again, and how many answers get lost before one counts."""

    message: Message
    due_s: float
    pause_s: float
    to_lose: int


@dataclass(slots=True)
class KafkaRequester:
    """One requesting service; `asked` and `heard` are by key, `resent` counts requests that went out once more."""

    bootstrap: str
    organization: str
    name: str
    chosen: random.Random
    asked: dict[str, Wish] = field(default_factory=dict)
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    resent: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    _open: dict[str, _Open] = field(default_factory=dict)

    async def run(self, over: asyncio.Event) -> None:
        """Asks until it is over and every request is answered; after the time limit those open stay unanswered."""
        publisher = Publisher(KafkaSettings(self.bootstrap), name=SOURCE)
        await publisher.start()
        try:
            async with following(self.bootstrap, ANSWERS) as answers:
                await self._ask_and_hear(publisher, answers, over)
        finally:
            await publisher.stop()

    async def _ask_and_hear(self, publisher: Publisher, answers: Follower, over: asyncio.Event) -> None:
        asking = asyncio.create_task(self._ask_on(publisher, over))
        give_up_s = None
        try:
            while not (asking.done() and not self._open):
                for record in await answers.poll():
                    self._hear(record.value, parse_headers(record.headers))
                if asking.done():
                    asking.result()
                    await self._send(publisher, self._due())
                    give_up_s = give_up_s or monotonic_s() + ANSWER_TIME_LIMIT_S
                    if monotonic_s() > give_up_s:
                        return
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    async def _ask_on(self, publisher: Publisher, over: asyncio.Event) -> None:
        numbers = itertools.count()
        while not over.is_set():
            fresh = [self._request(next(numbers)) for _ in range(WISHES_AT_ONCE)]
            await self._send(publisher, fresh + self._due())
            await asyncio.sleep(ASK_EVERY_S)

    def _request(self, no: int) -> Message:
        wish = draw(f"{self.name}-{no}", self.chosen)
        body = {
            "organization": self.organization,
            "ledger": LEDGER,
            "idempotency_key": wish.key,
            "document": f"payment/{wish.key}",
            **wish.entry,
        }
        headers = cloud_event_headers(ENTRY_WANTED.name, SOURCE, str(new_id()), now())
        key = str(ledger_id(self.organization, LEDGER)).encode()
        message = Message(REQUESTS, key, orjson.dumps(body), headers)
        to_lose = 1 if self.chosen.random() < LOST_SHARE else 0
        self.asked[wish.key] = wish
        self._open[wish.key] = _Open(message, monotonic_s() + RESEND_S_MIN, RESEND_S_MIN, to_lose)
        return message

    def _due(self) -> list[Message]:
        """Requests whose answer should have come by now; the next time they wait twice as long."""
        due = [request for request in self._open.values() if request.due_s <= monotonic_s()]
        for request in due:
            request.pause_s = min(RESEND_S_MAX, request.pause_s * 2)
            request.due_s = monotonic_s() + request.pause_s
        self.resent += len(due)
        return [request.message for request in due]

    async def _send(self, publisher: Publisher, messages: list[Message]) -> None:
        try:
            await publisher.publish(messages)
        except Transient as lost:
            self.troubles[type(lost).__name__] += 1  # what did not arrive is sent again when it is due

    def _hear(self, raw: bytes, event: Any) -> None:
        value = orjson.loads(raw)
        key = value["request"]["idempotency_key"]
        if value["organization"] != self.organization or key not in self.asked:
            return
        self.heard.setdefault(key, []).append(Heard(event.id, event.type, value))
        request = self._open.get(key)
        if request is None:
            return
        if request.to_lose > 0:
            request.to_lose -= 1
        else:
            del self._open[key]
