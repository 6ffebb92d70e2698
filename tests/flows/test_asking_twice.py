"""Asked twice, done once: copies of a request through the gateway and over Kafka, at once and one after the other."""

import asyncio
from collections import Counter

import orjson
import pytest

from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers, parse_headers
from libs.common.clock import new_id, now
from libs.common.events import ANSWERS, ENTRY_WANTED, FACTS, REQUEST_POSTED, REQUEST_REJECTED, REQUESTS
from libs.common.journal import ledger_id
from tests.flows.shop import ENTRIES, LEDGER, Shop, sale
from tests.support.topic_reader import Follower, following, read_whole

pytestmark = pytest.mark.stack

COPIES = 50
ARRIVES_WITHIN_S = 30.0


async def test_fifty_copies_at_once_are_one_entry_and_fifty_equal_answers(shop: Shop) -> None:
    headers = {"Idempotency-Key": "copies"}
    before = await shop.sequence()
    answers = await asyncio.gather(*(shop.send("POST", ENTRIES, sale(), headers) for _ in range(COPIES)))
    assert Counter(answer.status for answer in answers) == {201: COPIES}
    assert len({orjson.dumps(answer.body) for answer in answers}) == 1
    marks = Counter(answer.headers.get("Idempotency-Replayed") for answer in answers)
    assert marks == {None: 1, "true": COPIES - 1}
    assert await shop.sequence() == before + 1
    assert await shop.posted("1010-CASH") == "10.00"


async def test_a_key_is_for_one_content_and_one_asker(shop: Shop) -> None:
    headers = {"Idempotency-Key": "reused"}
    first = await shop.send("POST", ENTRIES, sale("10.00"), headers)
    other = await shop.send("POST", ENTRIES, sale("10.01"), headers)
    assert (other.status, other.body["code"]) == (422, "key-reused-with-other-content")
    assert {fault["pointer"] for fault in other.body["errors"]} == {"/lines/0/amount", "/lines/1/amount"}
    assert other.body["facts"]["posted"] == first.body["id"]
    stranger = await shop.send("POST", ENTRIES, sale("10.01"), headers | shop.bearer(subject="somebody else"))
    assert (stranger.status, stranger.headers.get("Idempotency-Replayed")) == (201, None)
    again = await shop.send("POST", ENTRIES, sale("10.00"), headers)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.body == first.body


async def test_a_rejection_stays_what_it_was(shop: Shop) -> None:
    headers = {"Idempotency-Key": "poor-alice"}
    path, wanted = f"{LEDGER}/transfers", {"from": "2001-ALICE", "to": "2002-BOB", "amount": "5.00"}
    first = await shop.send("POST", path, wanted, headers)
    assert (first.status, first.body["code"]) == (422, "insufficient-funds")
    top_up = {"from": "2000-FLOAT", "to": "2001-ALICE", "amount": "20.00"}
    assert (await shop.send("POST", path, top_up)).status == 201
    again = await shop.send("POST", path, wanted, headers)
    assert (again.status, again.body["code"]) == (422, "insufficient-funds")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await shop.send("POST", path, wanted)).status == 201


class Requester:
    """Another service: it sends the very same bytes as often as it is told to, and hears its answers."""

    def __init__(self, shop: Shop, publisher: Publisher, answers: Follower) -> None:
        self._shop = shop
        self._publisher = publisher
        self._answers = answers

    def request(self, key: str, amount: str) -> Message:
        """An entry wanted under a key."""
        organization = self._shop.organization
        names = {"organization": organization, "ledger": "main", "idempotency_key": key, "document": f"payment/{key}"}
        headers = cloud_event_headers(ENTRY_WANTED.name, "shop", str(new_id()), now())
        ledger_key = str(ledger_id(organization, "main")).encode()
        return Message(REQUESTS, ledger_key, orjson.dumps(names | sale(amount)), headers)

    async def ask(self, *requests: Message) -> list[tuple[str, str, bytes, dict[str, object]]]:
        """Sends requests and gives an answer to each: event id, type, Kafka key and value."""
        await self._publisher.publish(requests)
        heard: list[tuple[str, str, bytes, dict[str, object]]] = []
        async with asyncio.timeout(ARRIVES_WITHIN_S):
            while len(heard) < len(requests):
                for record in await self._answers.poll():
                    value = orjson.loads(record.value)
                    if value["organization"] == self._shop.organization:
                        event = parse_headers(record.headers)
                        heard.append((event.id, event.type, record.key, value))
        return heard


async def test_a_request_over_kafka_is_answered_again_when_its_answer_was_lost(shop: Shop) -> None:
    publisher = Publisher(KafkaSettings(shop.stack.bootstrap), name="test")
    await publisher.start()
    async with following(shop.stack.bootstrap, ANSWERS) as answers:
        service = Requester(shop, publisher, answers)
        good, bad = service.request("good", "7.00"), service.request("bad", "-7.00")
        (first,) = await service.ask(good)
        (refused,) = await service.ask(bad)
        again = await service.ask(good, good, bad)
    await publisher.stop()
    assert first[1:3] == (REQUEST_POSTED.name, b"payment/good")
    assert refused[1:3] == (REQUEST_REJECTED.name, b"payment/bad")
    assert refused[3]["code"] == "amount-not-positive"
    assert [first[3]["replayed"], refused[3]["replayed"]] == [False, False]
    for event_id, kind, _, value in again:
        original = first if kind == REQUEST_POSTED.name else refused
        assert event_id == original[0]
        assert value == original[3] | {"replayed": True}
    assert Counter(kind for _, kind, _, _ in again) == {REQUEST_POSTED.name: 2, REQUEST_REJECTED.name: 1}
    assert await shop.posted("1010-CASH") == "7.00"
    facts = [orjson.loads(record.value) for record in await read_whole(shop.stack.bootstrap, FACTS)]
    entries = [fact["entry"]["id"] for fact in facts if fact["organization"] == shop.organization and "entry" in fact]
    assert entries == [first[3]["entry"]["id"]]  # type: ignore[index]
