"""Holds over Kafka on real parts: asked for, answered, and told as facts."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from libs.common.events import EVENT_TYPES, REQUEST_POSTED, REQUEST_REJECTED
from services.ledger.commands import Books
from tests.ledger.asking import account, open_accounts
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.test_consumer import consumer
from tests.ledger.wire import Wire, open_wire, running
from tests.support.kafka import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.database]

HOLD = str(UUID(int=7))
LINES = [
    {"account": "A", "side": "debit", "amount": "60.00"},
    {"account": "B", "side": "credit", "amount": "60.00"},
]


@pytest.fixture
async def wire(kafka: KafkaBroker, books: Books) -> AsyncIterator[Wire]:
    """Topics of the test's own, and accounts A and B in the books."""
    await open_accounts(books, account("A"), account("B"))
    async with open_wire(kafka) as opened:
        yield opened


def wanted(key: str, **more: Any) -> dict[str, Any]:
    """What a request says of itself, and what it wants."""
    return {"organization": "demo", "ledger": "main", "idempotency_key": key, "document": "order/7", **more}


async def test_a_hold_is_placed_captured_and_released_and_every_record_is_of_its_schema(
    books: Books, wire: Wire, database: LedgerDatabase
) -> None:
    requests = [
        ("hold", wanted("h", id=HOLD, lines=LINES, expires_at="2199-01-01T00:00:00Z")),
        ("capture", wanted("c1", hold_id=HOLD, amount="25.00", external_id="CAP")),
        ("capture", wanted("c1", hold_id=HOLD, amount="25.00", external_id="CAP")),
        ("capture", wanted("c2", hold_id=HOLD, amount="36.00")),
        ("capture", wanted("c3", hold_id=HOLD, amount="1.00", lines=[])),
        ("release", wanted("r", hold_id=HOLD, reason="out of stock")),
        ("capture", wanted("c4", hold_id=HOLD)),
    ]
    async with running(consumer(books, wire).run):
        for kind, body in requests:
            await wire.send(wire.request(body, type_=f"ledger.{kind}-wanted.v1"))
        told = await wire.answers(len(requests))
    placed, captured, again, exceeds, malformed, released, late = (value for _, _, value in told)
    assert (placed["hold"]["id"], placed["hold"]["status"], placed["sequence"]) == (HOLD, "pending", 4)
    assert captured["hold"]["lines"][0]["remaining"] == "35.00"
    assert captured["entry"]["hold"] == HOLD
    assert captured["entry"]["id"] == captured["hold"]["entry_id"]
    assert {**again, "replayed": False} == captured
    assert (exceeds["code"], malformed["code"], late["code"]) == (
        "capture-exceeds-hold", "malformed", "hold-not-pending"
    )  # fmt: skip
    assert malformed["errors"][0]["pointer"] == "/lines"
    assert (released["hold"]["status"], released["hold"]["reason"]) == ("released", "out of stock")
    for type_, _, value in told:
        adapter = REQUEST_POSTED.adapter if type_ == REQUEST_POSTED.name else REQUEST_REJECTED.adapter
        adapter.validate_json(orjson.dumps(value))
    connection = await asyncpg.connect(database.admin)
    try:
        payloads = [row[0] for row in await connection.fetch("select payload from log order by sequence")]
    finally:
        await connection.close()
    types = [orjson.loads(payload)["type"] for payload in payloads]
    assert types[3:] == ["hold-placed", "hold-captured", "entry-posted", "hold-released"]
    for type_, payload in zip(types, payloads, strict=True):
        EVENT_TYPES[f"ledger.{type_}.v1"].adapter.validate_json(payload)
