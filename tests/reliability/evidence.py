"""What is there after a round: the ledger's log and sums as the database has them, and what Kafka has of them.

Read with the superuser straight from the tables, so that no code of the service stands between the books and the
judgement over them.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class KeptInvoice:
    """An invoice as invoicing has it; amounts in cents."""

    number: str
    serial: int
    status: str
    posting: str
    total: int
    paid: int
    open: int


@dataclass(frozen=True, slots=True)
class KeptPayment:
    """A payment as invoicing has it, with the entry it asked for; amounts in cents."""

    payment_id: str
    amount: int
    allocated: int
    unapplied: int
    to_credit: int
    entry: str


@dataclass(frozen=True, slots=True)
class Receivables:
    """What an organization is owed and was paid; `unposted`: postings by state that are not posted; `last_serial`: the
    last number drawn; `waiting`: messages that wait for a person or for Kafka."""

    invoices: Sequence[KeptInvoice]
    payments: Sequence[KeptPayment]
    unposted: Mapping[str, int]
    last_serial: int
    waiting: int


async def read_receivables(stack: Stack, organization: str) -> Receivables:
    """Invoicing as its database has it."""
    dsn = stack_status(stack.data_dir)["postgres"]["dsn"]
    connection = await asyncpg.connect(with_database(dsn, "invoicing"))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            invoices = await connection.fetch(
                "select number, serial, status, posting, total::bigint, paid::bigint, open::bigint from invoices"
                " where organization = $1 and number is not null order by serial",
                organization,
            )
            payments = await connection.fetch(
                "select p.payment_id, p.amount::bigint, p.allocated::bigint, p.unapplied::bigint, p.to_credit::bigint,"
                " coalesce(q.id::text, '') as entry from payments p left join postings q"
                " on q.organization = p.organization and q.document = 'payment/' || p.id and q.purpose = 'payment'"
                " where p.organization = $1",
                organization,
            )
            unposted = await connection.fetch(
                "select state, count(*) from postings where organization = $1 and state <> 'posted' group by state",
                organization,
            )
            last = await connection.fetchval(
                "select coalesce(max(last), 0) from number_series where organization = $1 and series = 'invoices'",
                organization,
            )
            waiting = await connection.fetchval(
                "select (select count(*) from parked where organization = $1 and state = 'waiting')"
                " + (select coalesce(sum(count), 0) from outbox)",
                organization,
            )
    finally:
        await connection.close()
    return Receivables(
        [KeptInvoice(*row.values()) for row in invoices],
        [KeptPayment(*row.values()) for row in payments],
        {row["state"]: row["count"] for row in unposted},
        last,
        waiting,
    )
