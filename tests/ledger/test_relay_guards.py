"""What keeps the relay from skipping a record or telling of another history, each thing where nothing else would."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from libs.common.db import Pool, create_pool
from libs.common.errors import Misconfigured
from services.ledger.commands import Books
from services.ledger.relay_store import LOCKS
from tests.ledger.asking import account, open_accounts
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.relaying import admin_of, assert_complete, behind, caught_up, post, relaying, sequences, violations
from tests.ledger.wire import LARGE, Wire, open_wire, running
from tests.support.kafka import KafkaBroker
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.database]


@pytest.fixture
async def wire(kafka: KafkaBroker) -> AsyncIterator[Wire]:
    """Topics of the test's own."""
    async with open_wire(kafka) as opened:
        yield opened


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """The pool of the role that relays."""
    async with await create_pool(database.dsns.auditor, name="test-auditor", max_size=6) as pool:
        yield pool


async def set_topic(wire: Wire, topic: str, config: dict[str, str]) -> None:
    """Gives a topic other settings, and waits until the broker says so."""
    wanted = int(config["max.message.bytes"])
    async with wire.kafka.admin() as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=config)])
    for _ in range(100):
        if (await wire.kafka.cluster([topic])).topics[topic].max_message_bytes == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{topic} keeps its settings")


async def test_a_cursor_moves_after_its_facts_are_published(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    """While no cursor can move, facts go out; were it the other way round, a crash in between would skip them."""
    await open_accounts(books, account("A"), account("B"))
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
        async with admin_of(database) as admin, admin.transaction():
            await admin.execute("lock table relay_cursors in share row exclusive mode")
            await post(books, 5)
            facts = await wire.read_until(wire.topics.facts, 8, 10)
            assert sequences(facts) == list(range(1, 9))
        await caught_up(auditor)


async def test_a_head_goes_out_after_its_facts_and_a_cursor_after_both(books: Books, wire: Wire, auditor: Pool) -> None:
    """Where facts are not taken, neither says that they were: the next relay begins with them."""
    await open_accounts(books, account("A"), account("B"))
    relay = asyncio.create_task(relaying(auditor, wire).run(asyncio.Event()))
    await caught_up(auditor)
    heads = await wire.read(wire.topics.heads)
    await set_topic(wire, wire.topics.facts, {"max.message.bytes": "300"})
    await post(books, 5)
    with pytest.raises(Misconfigured, match=r"max\.message\.bytes"):
        await asyncio.wait_for(relay, 20)
    assert await wire.read(wire.topics.heads) == heads
    assert await behind(auditor) == 5
    await set_topic(wire, wire.topics.facts, LARGE)
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    assert_complete(sequences(await wire.read(wire.topics.facts)), 8)


async def test_a_quiet_ledger_whose_log_is_another_is_found_at_the_start(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    """Head, log and cursor agree and nothing is behind; only what Kafka has says that it is another history."""
    await open_accounts(books, account("A"), account("B"))
    await post(books, 5)
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    async with admin_of(database) as admin:
        await admin.execute("alter table log disable trigger user")
        for table in ("log", "ledgers", "relay_cursors"):
            await admin.execute(f"update {table} set hash = sha256('another history') where sequence = 8")
    async with running(relaying(auditor, wire).run):
        await until(lambda: violations() == 1)


async def test_a_ledger_that_another_relay_works_on_is_left_alone(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    await open_accounts(books, account("A"), account("B"))
    async with admin_of(database) as other, running(relaying(auditor, wire).run):
        await other.execute("select pg_advisory_lock($1, 1)", LOCKS)
        await post(books, 5)
        await asyncio.sleep(0.5)
        published = len(await wire.read(wire.topics.facts))
        assert published == await auditor.fetchval("select coalesce(max(sequence), 0) from relay_cursors")
        assert published <= 3
        await other.execute("select pg_advisory_unlock_all()")
        await caught_up(auditor)
    assert_complete(sequences(await wire.read(wire.topics.facts)), 8)
