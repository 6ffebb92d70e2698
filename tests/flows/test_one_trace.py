"""One trace id joins the client's request, the gateway, the ledger, the log record and the record on Kafka."""

import asyncio
import subprocess
import sys
from typing import Any

import orjson
import pytest

from libs.cli import spans
from libs.cli.session import Stack
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers, parse_headers
from libs.common.clock import new_id, now
from libs.common.events import ANSWERS, ENTRY_WANTED, FACTS, REQUESTS
from libs.common.journal import ledger_id
from libs.common.traces import new_traceparent
from tests.flows.shop import ENTRIES, LEDGER, Shop, sale
from tests.support.topic_reader import Follower, following

pytestmark = pytest.mark.stack

ARRIVES_WITHIN_S = 30.0


async def heard(topic: Follower, organization: str, sequence: int | None = None) -> tuple[Any, str | None]:
    """The next value of the organization on a topic, at a sequence where one is named, and its traceparent."""
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while True:
            for record in await topic.poll():
                value = orjson.loads(record.value)
                if value["organization"] == organization and value["sequence"] == (sequence or value["sequence"]):
                    return value, parse_headers(record.headers).traceparent


async def test_a_payment_is_one_trace_from_the_client_to_kafka(shop: Shop) -> None:
    traceparent = f"00-{new_id().hex}-00f067aa0ba902b7-01"
    trace_id = traceparent[3:35]
    async with following(shop.stack.bootstrap, FACTS) as facts:
        answer = await shop.send("POST", ENTRIES, sale(), {"traceparent": traceparent})
        assert answer.status == 201, answer.body
        fact, published_under = await heard(facts, shop.organization, answer.body["sequence"])
    assert fact["entry"]["id"] == answer.body["id"]
    log = await shop.send("GET", f"{LEDGER}/log?after={answer.body['sequence'] - 1}")
    record = orjson.loads(log.body["items"][0]["payload"])
    assert published_under is not None
    trail = [answer.headers["traceparent"], record["traceparent"], fact["traceparent"], published_under]
    assert [link[3:35] for link in trail] == [trace_id] * 4

    recorded = await spans.wait_for(shop.stack.data_dir / "spans", trace_id, 10.0)
    own = [span for span in recorded if span.trace_id == trace_id]
    parents = {span.span_id: span for span in own}
    (client_facing,) = [span for span in own if span.parent_id == traceparent[36:52]]
    (post,) = [span for span in own if span.name == "post_journal"]
    behind = parents[post.parent_id or ""]
    assert (client_facing.service, behind.service, post.service) == ("gateway", "ledger", "ledger")
    assert client_facing.attributes["request_id"] == answer.headers["X-Request-Id"]
    assert post.attributes["ledgerbus.sequence"] == answer.body["sequence"]


async def test_the_trace_command_shows_gateway_and_ledger(shop: Shop) -> None:
    answer = await shop.send("POST", ENTRIES, sale())
    trace_id = answer.headers["traceparent"][3:35]
    await spans.wait_for(shop.stack.data_dir / "spans", trace_id, 10.0)
    command = [sys.executable, "-m", "libs.cli.main", "--data", str(shop.stack.data_dir), "trace", trace_id]
    shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert trace_id in shown.stdout
    for part in ("gateway POST", "ledger POST", "ledger post_journal"):
        assert part in shown.stdout


async def test_a_request_over_kafka_and_its_answer_are_one_trace(shop: Shop, stack: Stack) -> None:
    traceparent = new_traceparent()
    key = f"trace-{new_id()}"
    names = {"organization": shop.organization, "ledger": "main", "idempotency_key": key, "document": f"pay/{key}"}
    headers = cloud_event_headers(ENTRY_WANTED.name, "shop", str(new_id()), now(), traceparent=traceparent)
    ledger_key = str(ledger_id(shop.organization, "main")).encode()
    publisher = Publisher(KafkaSettings(stack.bootstrap), name="test")
    await publisher.start()
    async with following(stack.bootstrap, ANSWERS) as answers, following(stack.bootstrap, FACTS) as facts:
        await publisher.publish([Message(REQUESTS, ledger_key, orjson.dumps(names | sale()), headers)])
        answer, answered_under = await heard(answers, shop.organization)
        fact, published_under = await heard(facts, shop.organization, answer["sequence"])
    await publisher.stop()
    assert fact["entry"]["id"] == answer["entry"]["id"]
    trail = [answered_under, fact["traceparent"], published_under]
    assert [link and link[3:35] for link in trail] == [traceparent[3:35]] * 3
