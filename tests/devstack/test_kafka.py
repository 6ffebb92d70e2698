"""The embedded Kafka: what survives, what is refused, what ends with whom."""

import asyncio
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from libs.devstack import topics
from libs.devstack.errors import FolderInUseError, StackError, StartError
from libs.devstack.kafka import Kafka, find_java
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).resolve().parents[2]
MARKS = topics.Topic("marks.v1", 1)

STARTER = """
import asyncio, sys
from pathlib import Path
from libs.devstack.kafka import Kafka

async def main():
    kafka = Kafka(Path(sys.argv[1]) / "kafka", Path(sys.argv[1]) / "kafka.log")
    await kafka.start()
    print(kafka.server.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kafka]:
    folder = tmp_path_factory.mktemp("kafka")
    broker = Kafka(folder / "kafka", folder / "kafka.log")
    await broker.start()
    await topics.ensure(broker.bootstrap, [MARKS])
    yield broker
    await broker.stop()


async def _write(bootstrap: str, value: bytes) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        return int((await producer.send_and_wait(MARKS.name, value)).offset)
    finally:
        await producer.stop()


async def _read_all(bootstrap: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(MARKS.name, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        await consumer.seek_to_beginning(partition)
        return [(await consumer.getone(partition)).value for _ in range(end)]
    finally:
        await consumer.stop()


async def test_what_was_acknowledged_survives_a_kill_and_a_stop(broker: Kafka) -> None:
    before = await _read_all(broker.bootstrap)
    await _write(broker.bootstrap, b"before the kill")
    port = broker.port
    broker.server.kill()
    assert await broker.server.wait() == -signal.SIGKILL
    assert await broker.start(port, broker.controller_port) == port
    await _write(broker.bootstrap, b"before the stop")
    await broker.stop()
    assert broker.server.exit_code == 128 + signal.SIGTERM
    await broker.start(port, broker.controller_port)
    assert await _read_all(broker.bootstrap) == [*before, b"before the kill", b"before the stop"]


async def test_a_taken_port_is_passed_over_and_the_records_stay(broker: Kafka) -> None:
    offset = await _write(broker.bootstrap, b"old port")
    await broker.stop()
    with socket.socket() as neighbour:
        neighbour.bind(("127.0.0.1", broker.port))
        neighbour.listen()
        assert await broker.start(broker.port, broker.controller_port) != neighbour.getsockname()[1]
    assert await _write(broker.bootstrap, b"new port") == offset + 1


async def test_topics_are_never_made_by_accident(broker: Kafka) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(producer.send("nobody.made.this", b"x"), 0.5)
    await producer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    assert "nobody.made.this" not in await admin.list_topics()
    await admin.close()


async def test_a_folder_at_work_is_refused_and_left_alone(broker: Kafka) -> None:
    offset = await _write(broker.bootstrap, b"before the intruder")
    other = Kafka(broker.folder, broker.log, leftover_time_limit_s=0.1)
    with pytest.raises(FolderInUseError, match=rf"process id {broker.server.pid}[\s\S]*LEDGERBUS_DATA"):
        await other.start()
    assert await _write(broker.bootstrap, b"after the intruder") == offset + 1


async def test_settings_are_brought_up_to_date_and_partitions_never_changed(broker: Kafka) -> None:
    name = "settings.v1"
    await topics.ensure(broker.bootstrap, [topics.Topic(name, 2, {"retention.ms": "1000"})])
    await topics.ensure(broker.bootstrap, [topics.Topic(name, 2, {"retention.ms": "2000"})])
    with pytest.raises(StartError, match="has 2 partitions, the list says 3"):
        await topics.ensure(broker.bootstrap, [topics.Topic(name, 3)])


async def test_a_setting_kafka_does_not_know_is_named(broker: Kafka) -> None:
    with pytest.raises(StartError, match=r"refused topic wrong\.v1: InvalidConfigurationError"):
        await topics.ensure(broker.bootstrap, [topics.Topic("wrong.v1", 1, {"retention.ms": "for ever"})])


async def test_clients_come_through_the_proxy_it_advertises(tmp_path: Path) -> None:
    broker = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    await broker.start()
    await broker.stop()
    async with TcpProxy("127.0.0.1", broker.port) as proxy:
        behind = Kafka(broker.folder, broker.log, advertise=("127.0.0.1", proxy.port))
        await behind.start(broker.port, broker.controller_port)
        assert behind.port == broker.port
        await topics.ensure(proxy.address, [MARKS])
        await _write(proxy.address, b"x" * 100_000)
        assert proxy.bytes_passed > 100_000
        await behind.stop()


async def test_it_ends_in_order_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    starter.kill()
    await starter.wait()
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert (tmp_path / "kafka" / "log" / ".kafka_cleanshutdown").exists()


@pytest.fixture
def java_setting() -> Iterator[None]:
    before = os.environ.get("LEDGERBUS_JAVA")
    yield
    if before is None:
        os.environ.pop("LEDGERBUS_JAVA", None)
    else:
        os.environ["LEDGERBUS_JAVA"] = before


@pytest.mark.usefixtures("java_setting")
class TestJava:
    def test_a_program_that_is_not_there_is_named(self) -> None:
        os.environ["LEDGERBUS_JAVA"] = "/nowhere/java"
        with pytest.raises(StackError, match="names /nowhere/java, which is no program"):
            find_java()

    def test_an_old_java_is_refused(self, tmp_path: Path) -> None:
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text("#!/bin/sh\n")
        java.chmod(java.stat().st_mode | stat.S_IXUSR)
        (tmp_path / "release").write_text('JAVA_VERSION="1.8.0_402"\n')
        os.environ["LEDGERBUS_JAVA"] = str(java)
        with pytest.raises(StackError, match="is Java 8; Kafka needs 17 or newer"):
            find_java()

    async def test_a_java_that_cannot_run_kafka_tells_its_last_lines(self, tmp_path: Path) -> None:
        java = tmp_path / "java"
        java.write_text("#!/bin/sh\necho no heap to be had\nexit 9\n")
        java.chmod(0o700)
        os.environ["LEDGERBUS_JAVA"] = str(java)
        with pytest.raises(StartError, match=r"code 9 while starting:\n    no heap to be had"):
            await Kafka(tmp_path / "kafka", tmp_path / "kafka.log").start()
