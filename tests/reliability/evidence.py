"""What is there after a round: the ledger's log and sums as the database has them, and what Kafka has of them.

Read with the superuser straight from the tables, so that no code of the service stands between the books and the
judgement over them.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from aiokafka import ConsumerRecord

from libs.cli.session import Stack
from libs.common.events import FACTS, HEADS
from libs.common.journal import ledger_id
from libs.devstack.databases import with_database
from libs.devstack.stack import stack_status
from tests.reliability.wishes import LEDGER
from tests.support.topic_reader import read_whole

RELAY_TIME_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One row of the log; `body` is its payload as an object."""

    sequence: int
    payload: bytes
    hash: bytes
    body: dict[str, Any]

    @property
    def key(self) -> str | None:
        """The key of the request that it comes from; the opening of a ledger comes from none."""
        request: dict[str, str] | None = self.body.get("request")
        return None if request is None else request["key"]


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger's head, its log in the order of sequences, and debits and credits over all accounts in minor units."""

    epoch: int
    sequence: int
    hash: bytes
    log: Sequence[LogRecord]
    debits: int
    credits: int


@dataclass(frozen=True, slots=True)
class Published:
    """The ledger's records on `ledger.events.v1` in their order, and its last head on `ledger.heads.v1`."""

    facts: Sequence[ConsumerRecord]
    head: dict[str, Any]


async def read_books(stack: Stack, organization: str) -> Books:
    """The ledger as the database has it."""
    dsn = stack_status(stack.data_dir)["postgres"]["dsn"]
    connection = await asyncpg.connect(with_database(dsn, "ledger"))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            head = await connection.fetchrow(
                "select no, epoch, sequence, hash from ledgers where id = $1", ledger_id(organization, LEDGER)
            )
            assert head is not None, f"there is no ledger of {organization}"
            rows = await connection.fetch(
                "select sequence, payload, hash from log where ledger_no = $1 order by sequence", head["no"]
            )
            sums = await connection.fetchrow(
                "select coalesce(sum(debits), 0) as debits, coalesce(sum(credits), 0) as credits from balances"
                " where ledger_no = $1",
                head["no"],
            )
    finally:
        await connection.close()
    assert sums is not None
    log = [
        LogRecord(row["sequence"], row["payload"].encode(), bytes(row["hash"]), orjson.loads(row["payload"]))
        for row in rows
    ]
    return Books(head["epoch"], head["sequence"], bytes(head["hash"]), log, int(sums["debits"]), int(sums["credits"]))


async def read_published(stack: Stack, organization: str, through: int) -> Published:
    """What Kafka has, as soon as the head says that everything up to `through` is there, or after the time limit."""
    key = str(ledger_id(organization, LEDGER)).encode()
    give_up_s = time.monotonic() + RELAY_TIME_LIMIT_S
    while True:
        heads = [record for record in await read_whole(stack.bootstrap, HEADS) if record.key == key]
        head = orjson.loads(heads[-1].value) if heads else {"sequence": 0}
        if head["sequence"] >= through or time.monotonic() > give_up_s:
            break
        await asyncio.sleep(0.3)
    facts = [record for record in await read_whole(stack.bootstrap, FACTS) if record.key == key]
    return Published(facts, head)
