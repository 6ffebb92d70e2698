"""The relay on real parts: everything once at least and in order, whatever is lost or restarted; lies are noticed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from libs.common import metrics
from libs.common.bus import KafkaSettings, Message, parse_headers
from libs.common.db import Pool, create_pool, transaction
from libs.common.events import EVENT_TYPES, LEDGER_HEAD
from libs.common.journal import LedgerRequest, ledger_id
from libs.common.messages import rfc3339
from libs.common.signing import ChainHead, add_key, is_signed_by, read_keys
from services.ledger import relay_store
from services.ledger.commands import Asker, Books, open_ledger
from services.ledger.consumer import RequestsConsumer
from services.ledger.published import Place
from services.ledger.relay import Relay
from tests.ledger.asking import account, entry, open_accounts, tell
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.relaying import admin_of, assert_complete, behind, caught_up, post, relaying, sequences, violations
from tests.ledger.wire import Wire, entry_body, eventually, open_wire, running
from tests.support.kafka import KafkaBroker
from tests.support.postgres import end_connections
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.database]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASKER = Asker("demo", "api", "alice", "api/alice")


@pytest.fixture
async def wire(kafka: KafkaBroker) -> AsyncIterator[Wire]:
    """Topics of the test's own."""
    async with open_wire(kafka, partitions=3) as opened:
        yield opened


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """The pool of the role that relays."""
    async with await create_pool(database.dsns.auditor, name="test-auditor", max_size=6) as pool:
        yield pool


async def test_every_record_goes_out_with_its_own_bytes(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    async with running(relaying(auditor, wire).run):
        await post(books, 20)
        await caught_up(auditor)
        records = await wire.read(wire.topics.facts)
        heads = await wire.read(wire.topics.heads)
    assert sequences(records) == list(range(1, 24))
    stored = await auditor.fetch("select sequence, payload, hash from log order by sequence")
    previous = b""
    for record, row in zip(records, stored, strict=True):
        event = parse_headers(record.headers)
        payload = orjson.loads(record.value)
        assert record.value == row["payload"].encode()
        assert sha256(previous + record.value).hexdigest() == event.extra["hash"] == row["hash"].hex()
        assert event.extra["previoushash"] == previous.hex()
        assert event.id == f"{ledger_id('demo', 'main')}:1:{row['sequence']}"
        assert event.type == f"ledger.{payload['type']}.v1"
        assert (event.source, event.time and event.time.isoformat()) == (
            "ledger", payload["recorded_at"].replace("Z", "+00:00"))  # fmt: skip
        EVENT_TYPES[event.type].adapter.validate_json(record.value)
        previous = bytes.fromhex(event.extra["hash"])
    last = LEDGER_HEAD.adapter.validate_json(heads[-1].value)
    assert (last.sequence, last.hash, last.ledger) == (23, previous.hex(), "main")
    assert heads[-1].key == str(ledger_id("demo", "main")).encode()


async def test_a_commit_wakes_the_relay(books: Books, wire: Wire, auditor: Pool) -> None:
    relay = Relay(auditor, wire.kafka, topics=wire.topics, poll_s=600.0)
    books.committed = relay.wake
    async with running(relay.run):
        await caught_up(auditor)
        await open_accounts(books, account("A"), account("B"))
        await post(books, 3)
        await caught_up(auditor, 5.0)
    assert_complete(sequences(await wire.read(wire.topics.facts)), 6)


async def test_commits_that_follow_one_another_share_rounds(books: Books, wire: Wire, auditor: Pool) -> None:
    relay = Relay(auditor, wire.kafka, topics=wire.topics, poll_s=600.0, pace_s=0.5)
    books.committed = relay.wake
    await open_accounts(books, account("A"), account("B"))
    async with running(relay.run):
        for _ in range(30):
            await post(books, 1)
        await caught_up(auditor)
    assert sequences(await wire.read(wire.topics.facts)) == list(range(1, 34))
    assert len(await wire.read(wire.topics.heads)) < 15, "a head is published for each round"


async def test_a_cursor_waits_for_no_disk(books: Books, auditor: Pool) -> None:
    """Kafka has what the cursor says, and is asked after a crash; the ledger's commits are not to wait behind it."""
    ledger = await books.get("demo", "main")
    before = await auditor.fetchval("show synchronous_commit")
    async with transaction(auditor) as connection:
        await relay_store.move_cursors(connection, {ledger.no: Place(1, 1, b"x" * 32)})
        assert await connection.fetchval("show synchronous_commit") == "off"
    assert await auditor.fetchval("show synchronous_commit") == before
    assert await auditor.fetchval("select sequence from relay_cursors") == 1


async def test_many_ledgers_in_few_rounds(books: Books, wire: Wire, auditor: Pool) -> None:
    codes = [f"l{number}" for number in range(40)]
    for code in codes:
        await open_ledger(books, LedgerRequest(code=code, name=code), ASKER, None)
    for code in codes:
        for one in (account("A"), account("B")):
            await tell(books, one, ledger=code)
    await asyncio.gather(*(post(books, 2, code) for code in codes))
    async with running(relaying(auditor, wire, round_records=30).run):
        await caught_up(auditor)
    records = await wire.read(wire.topics.facts)
    for code in codes:
        assert sequences(records, code) == [1, 2, 3, 4, 5]
    heads = {record.key: orjson.loads(record.value)["sequence"] for record in await wire.read(wire.topics.heads)}
    assert [heads[str(ledger_id("demo", code)).encode()] for code in codes] == [5] * 40


async def test_rounds_are_bounded_by_bytes_and_still_get_on(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    for _ in range(6):
        await tell(books, entry("A debit 1.00", "B credit 1.00", description="x" * 2_000))
    async with running(relaying(auditor, wire, round_bytes=1).run):
        await caught_up(auditor)
    assert sequences(await wire.read(wire.topics.facts)) == list(range(1, 10))
    assert len(await wire.read(wire.topics.heads)) == 9


async def test_a_relay_that_dies_in_the_middle(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    for left in (140, 90, 60, 20):
        await post(books, 40)
        dying = asyncio.create_task(relaying(auditor, wire, round_records=9).run(asyncio.Event()))

        async def half_way(left: int = left) -> bool:
            return await behind(auditor) <= left

        await eventually(half_way)
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    assert_complete(sequences(await wire.read(wire.topics.facts)), 3 + 160)


async def test_a_stop_finishes_what_is_pending(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    await post(books, 100)

    async def begun() -> bool:
        return await behind(auditor) < 103

    async with running(relaying(auditor, wire, round_records=9).run):
        await eventually(begun)
    assert await behind(auditor) == 0


async def test_killed_between_publishing_and_the_cursor(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    """Facts without head and cursor: the next relay finds them behind the newest head and does not need to repeat."""
    await open_accounts(books, account("A"), account("B"))
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    await post(books, 5)
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    facts = await wire.read(wire.topics.facts)
    heads = await wire.read(wire.topics.heads)
    older = next(record for record in heads if orjson.loads(record.value)["sequence"] == 3)
    await wire.send(Message(wire.topics.heads, older.key, older.value, list(older.headers)))
    async with admin_of(database) as admin:
        await admin.execute("update relay_cursors set sequence = 3, hash = (select hash from log where sequence = 3)")
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    assert await wire.read(wire.topics.facts) == facts
    assert violations() == 0


@pytest.mark.parametrize("lost", ["delete from relay_cursors", "update relay_cursors set sequence = 2, hash = 'x'"])
async def test_the_cursor_is_only_a_hint(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase, lost: str
) -> None:
    await open_accounts(books, account("A"), account("B"))
    await post(books, 10)
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    facts = await wire.read(wire.topics.facts)
    async with admin_of(database) as admin:
        await admin.execute(lost)
    await post(books, 2)
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    records = await wire.read(wire.topics.facts)
    assert sequences(records) == list(range(1, 16)), "Kafka's own heads say where to go on"
    assert len(records) == len(facts) + 2
    assert violations() == 0


async def test_a_new_cluster_gets_everything_again(books: Books, wire: Wire, auditor: Pool, kafka: KafkaBroker) -> None:
    """What the cursor says was published is not there: it is published again, from the first record."""
    await open_accounts(books, account("A"), account("B"))
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    async with open_wire(kafka) as empty:
        await post(books, 1)
        async with running(relaying(auditor, empty).run):
            await caught_up(auditor)
        assert sequences(await empty.read(empty.topics.facts)) == [1, 2, 3, 4]


async def truncate_log(database: LedgerDatabase, last: int) -> None:
    """The database as a failover without a synchronous standby leaves it: the end of the log is not there."""
    async with admin_of(database) as admin:
        for table in ("log", "entries", "lines", "requests", "account_changes", "ledgers"):
            await admin.execute(f"alter table {table} disable trigger user")
        for table in ("log", "entries", "lines", "requests"):
            await admin.execute(f"delete from {table} where sequence > {last}")
        await admin.execute(
            "update ledgers set sequence = g.sequence, hash = g.hash from log g "
            "where g.ledger_no = no and g.sequence = $1",
            last,
        )
        await admin.execute(
            "update relay_cursors c set sequence = g.sequence, hash = g.hash from log g "
            "where g.ledger_no = c.ledger_no and g.sequence = $1",
            last,
        )
        await admin.execute("update balances set debits = 0, credits = 0, version = 2")
        for table in ("log", "entries", "lines", "requests", "account_changes", "ledgers"):
            await admin.execute(f"alter table {table} enable trigger user")


async def test_a_log_that_lost_its_end_is_not_relayed(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    await open_accounts(books, account("A"), account("B"))
    await open_ledger(books, LedgerRequest(code="other", name="Other"), ASKER, None)
    await post(books, 5)
    async with running(relaying(auditor, wire).run):
        await caught_up(auditor)
    facts = await wire.read(wire.topics.facts)
    await truncate_log(database, 6)
    async with running(relaying(auditor, wire).run):
        await until(lambda: violations() == 1)
        async with admin_of(database) as admin:
            writer = await create_pool(database.dsns.writer, name="other-writer")
            restored = Books(writer, books.clock, books.limits)
            await post(restored, 4)
            await tell(restored, account("A"), ledger="other")
            assert await admin.fetchval("select sequence from ledgers where code = 'main'") == 10
            await writer.close()
        await wire.read_until(wire.topics.facts, len(facts) + 1)
        await asyncio.sleep(0.3)
        records = await wire.read(wire.topics.facts)
        assert sequences(records) == sequences(facts), "another history under numbers that are taken must not go out"
        assert sequences(records, "other") == [1, 2], "the ledgers beside it go on"
        async with admin_of(database) as admin:
            await admin.execute("update ledgers set epoch = 2 where code = 'main'")
        await until(lambda: violations() == 0)
        await post(books, 1)
        await caught_up(auditor)
    assert sequences(await wire.read(wire.topics.facts))[-5:] == [7, 8, 9, 10, 11]


async def test_a_log_that_was_changed_is_not_relayed(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    await open_accounts(books, account("A"), account("B"))
    await post(books, 5)
    async with admin_of(database) as admin:
        await admin.execute("alter table log disable trigger user")
        await admin.execute("update log set payload = replace(payload, '\"1.00\"', '\"9.00\"') where sequence = 6")
    async with running(relaying(auditor, wire).run):
        await until(lambda: violations() == 1)
        await asyncio.sleep(0.3)
    assert sequences(await wire.read(wire.topics.facts)) == [1, 2, 3, 4, 5]


async def test_two_relays_at_once(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    one, two = relaying(auditor, wire, round_records=7), relaying(auditor, wire, round_records=11)

    def wake(ledger: object) -> None:
        one.wake(ledger)  # type: ignore[arg-type]
        two.wake(ledger)  # type: ignore[arg-type]

    books.committed = wake
    async with running(one.run):
        await post(books, 50)
        async with running(two.run):
            for _ in range(10):
                await post(books, 30)
        await post(books, 50)
        await caught_up(auditor)
    published = sequences(await wire.read(wire.topics.facts))
    assert_complete(published, 3 + 400)
    assert violations() == 0


async def test_a_connection_that_breaks_is_replaced(
    books: Books, wire: Wire, auditor: Pool, database: LedgerDatabase
) -> None:
    await open_accounts(books, account("A"), account("B"))
    async with running(relaying(auditor, wire).run):
        for _ in range(3):
            await post(books, 10)
            await end_connections(database.admin, "test-auditor")
            await post(books, 10)
            await caught_up(auditor)
    assert_complete(sequences(await wire.read(wire.topics.facts)), 63)


async def test_without_kafka_posting_goes_on_and_the_lag_is_told(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    nowhere = KafkaSettings("127.0.0.1:1")
    relay = Relay(auditor, nowhere, topics=wire.topics, poll_s=0.1)
    books.committed = relay.wake
    async with running(relay.run):
        await post(books, 5)
        await until(lambda: metrics.LEDGER_RELAY_LAG_RECORDS._value.get() == 8)
    await relay.flush()
    assert await behind(auditor) == 8


async def test_what_is_committed_during_the_stop_is_flushed(books: Books, wire: Wire, auditor: Pool) -> None:
    relay = relaying(auditor, wire)
    books.committed = relay.wake
    await open_accounts(books, account("A"), account("B"))
    async with running(relay.run):
        await caught_up(auditor)
    await post(books, 7)
    await relay.flush()
    assert sequences(await wire.read(wire.topics.facts)) == list(range(1, 11))
    assert await auditor.fetchval("select count(*) from pg_locks where locktype = 'advisory' and database = "
                                  "(select oid from pg_database where datname = current_database())") == 0  # fmt: skip


async def test_one_trace_joins_request_record_and_event(books: Books, wire: Wire, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B"))
    relay = relaying(auditor, wire)
    books.committed = relay.wake
    consumer = RequestsConsumer(books, wire.kafka, group=wire.topics.requests, topics=wire.topics)
    async with running(relay.run), running(consumer.run):
        await wire.send(wire.request(entry_body("t"), traceparent=TRACE))
        await wire.answers(1)
        await caught_up(auditor)
        records = await wire.read(wire.topics.facts)
    assert dict(records[-1].headers)["traceparent"] == TRACE.encode()
    assert orjson.loads(records[-1].value)["request"]["key"] == "t"


async def test_heads_are_signed(books: Books, wire: Wire, auditor: Pool, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.pem")
    keys = read_keys(tmp_path / "keys.pem")
    await open_accounts(books, account("A"), account("B"))
    async with running(Relay(auditor, wire.kafka, topics=wire.topics, keys=keys, poll_s=0.1).run):
        await caught_up(auditor)
    record = (await wire.read(wire.topics.heads))[-1]
    event, value = parse_headers(record.headers), orjson.loads(record.value)
    assert event.time is not None
    head = ChainHead(
        value["organization"],
        value["ledger"],
        value["ledger_id"],
        value["epoch"],
        value["sequence"],
        value["hash"],
        rfc3339(event.time),
    )
    assert is_signed_by(head, event.extra["signature"], keys.public[event.extra["keyid"]])
    assert not is_signed_by(replace(head, sequence=head.sequence + 1), event.extra["signature"], *keys.public.values())
