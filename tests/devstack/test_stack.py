"""The whole stack: PostgreSQL, Kafka and two tiny real services under the supervisor, each run a process of its own."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from libs.devstack import topics
from libs.devstack.errors import FolderInUseError, StartError
from libs.devstack.services import ServiceSpec
from libs.devstack.stack import (
    dev_issuer_path,
    log_path,
    reset_stack,
    run_stack,
    stack_status,
    start_detached,
    stop_stack,
)
from tests.support.waiting import until

pytestmark = [pytest.mark.database, pytest.mark.kafka, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
START_TIME_LIMIT_S = 90.0


class RunningStack:
    """A stack in a process of its own."""

    def __init__(self, folder: Path, supervisor: asyncio.subprocess.Process, output: Path) -> None:
        self.folder = folder
        self.supervisor = supervisor
        self.output = output

    def status(self) -> dict[str, Any]:
        """What the command line would show."""
        return stack_status(self.folder)

    def ask(self, service: str, path: str) -> Any:
        """The JSON a service answers."""
        with urllib.request.urlopen(self.status()[service]["url"] + path, timeout=10) as answer:
            return json.load(answer)

    def restarted(self, name: str, old_pid: int) -> Callable[[], bool]:
        """Whether a part runs again with another process id, and is ready where that can be asked."""

        def look() -> bool:
            entry = self.status().get(name, {})
            return bool(entry.get("pid", old_pid) != old_pid and entry.get("ready", True))

        return look


def _pids(status: dict[str, Any]) -> dict[str, int]:
    return {name: entry["pid"] for name, entry in status.items() if isinstance(entry, dict)}


def _is_alive(pid: int) -> bool:
    """False also for an orphan that ended and that nobody has collected yet."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def told(folder: Path, output: Path) -> str:
    """What the stack said so far, its state, and the last lines of its logs."""
    logs = {log.name: log.read_text(errors="replace").splitlines()[-15:] for log in sorted(folder.rglob("*.log"))}
    tails = [f"--- {name}\n" + "\n".join(lines) for name, lines in logs.items()]
    return "\n".join([output.read_text(), str(stack_status(folder)), *tails])


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[RunningStack]:
    output = folder.with_name(f"{folder.name}.out")
    with output.open("ab") as sink:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.child_stack", str(folder), cwd=ROOT, stdout=sink, stderr=sink
        )
    stack = RunningStack(folder, supervisor, output)
    try:
        await until(
            lambda: stack_status(folder)["phase"] == "ready" or supervisor.returncode is not None,
            START_TIME_LIMIT_S,
            lambda: told(folder, output),
        )
        assert supervisor.returncode is None, output.read_text()
        yield stack
    finally:
        if supervisor.returncode is None:
            supervisor.terminate()
            await supervisor.wait()


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    async with running(tmp_path_factory.mktemp("stack") / "books") as stack:
        yield stack


async def test_status_names_every_address(stack: RunningStack) -> None:
    status = stack.status()
    assert status["running"]
    assert {"dsn", "pid"} <= status["postgres"].keys()
    assert {"bootstrap", "pid"} <= status["kafka"].keys()
    for service in ("ledger", "gateway"):
        assert status[service]["ready"]
        assert status[service]["url"].startswith("http://127.0.0.1:")
    assert (stack.folder / "status.json").stat().st_mode & 0o777 == 0o600
    assert dev_issuer_path(stack.folder).stat().st_mode & 0o777 == 0o600


async def test_services_get_their_settings_and_the_roles_work(stack: RunningStack) -> None:
    ledger, gateway = stack.ask("ledger", "/settings"), stack.ask("gateway", "/settings")
    assert gateway["LEDGERBUS_LEDGER_URL"] == stack.status()["ledger"]["url"]
    assert not [name for name in gateway if "POSTGRES" in name]
    assert ledger["LEDGERBUS_KAFKA_BOOTSTRAP"] == stack.status()["kafka"]["bootstrap"]
    assert ledger["LEDGERBUS_JWKS_FILE"] == str(stack.folder / "keys" / "jwks.json")
    for role in ("migrator", "writer", "reader", "auditor"):
        connection = await asyncpg.connect(ledger[f"LEDGERBUS_POSTGRES_{role.upper()}_DSN"])
        row = await connection.fetchrow("select current_user::text, current_database()::text")
        assert row is not None
        assert tuple(row) == (f"ledger_{role}", "ledger")
        await connection.close()


async def test_the_listed_topics_are_there(stack: RunningStack) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=stack.status()["kafka"]["bootstrap"])
    await admin.start()
    assert {topic.name for topic in topics.listed()} <= set(await admin.list_topics())
    await admin.close()


@pytest.mark.parametrize("name", ["postgres", "kafka", "ledger", "gateway"])
async def test_a_killed_part_is_started_again_at_its_address(stack: RunningStack, name: str) -> None:
    before = stack.status()
    os.kill(before[name]["pid"], signal.SIGKILL)
    await until(stack.restarted(name, before[name]["pid"]), 40)
    after = stack.status()
    assert {key: value for key, value in after[name].items() if key != "pid"} == {
        key: value for key, value in before[name].items() if key != "pid"
    }


async def test_a_crash_prints_the_last_lines(stack: RunningStack) -> None:
    before = stack.status()
    with pytest.raises(ConnectionError):
        stack.ask("gateway", "/crash")
    await until(stack.restarted("gateway", before["gateway"]["pid"]), 40)
    assert "gateway ended with code 3; its last lines:" in stack.output.read_text()
    assert "crashing as asked" in stack.output.read_text()


async def test_a_second_stack_on_the_folder_is_refused_with_a_way_out(stack: RunningStack) -> None:
    with pytest.raises(FolderInUseError, match=rf"process id {stack.supervisor.pid}[\s\S]*LEDGERBUS_DATA"):
        await run_stack(stack.folder, quiet=True)


async def test_two_stacks_live_side_by_side_and_a_stop_keeps_data_and_ports(
    stack: RunningStack, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    async with running(folder) as other:
        first = other.status()
        assert first["gateway"]["port"] != stack.status()["gateway"]["port"]
        connection = await asyncpg.connect(first["postgres"]["dsn"])
        await connection.execute("create table mark as select 7 as number")
        await connection.close()
        assert await asyncio.to_thread(stop_stack, folder)
        assert await other.supervisor.wait() == 0
    stopped = [line.partition(":")[0] for line in other.output.read_text().splitlines() if ": stopped (" in line]
    assert stopped == ["gateway", "ledger", "Kafka", "PostgreSQL"]
    assert "gateway ends in order" in log_path(folder, "gateway").read_text()
    assert not stack_status(folder)["running"]
    async with running(folder) as again:
        second = again.status()
        assert [second[name]["port"] for name in ("gateway", "ledger")] == [
            first[name]["port"] for name in ("gateway", "ledger")
        ]
        assert second["postgres"]["dsn"] == first["postgres"]["dsn"]
        connection = await asyncpg.connect(second["postgres"]["dsn"])
        assert await connection.fetchval("select number from mark") == 7
        await connection.close()
        (folder / "mine.txt").write_text("keep me")
        await asyncio.to_thread(reset_stack, folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


async def test_a_killed_supervisor_leaves_nothing_and_its_folder_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    async with running(folder) as stack:
        pids = _pids(stack.status()).values()
        stack.supervisor.kill()
        await stack.supervisor.wait()
    async with running(folder) as again:
        assert again.status()["running"]
    await until(lambda: not [pid for pid in pids if _is_alive(pid)], 5)


async def test_a_stop_while_starting_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    output = tmp_path / "out"
    with output.open("wb") as sink:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.child_stack", str(folder), cwd=ROOT, stdout=sink, stderr=sink
        )
    await until(lambda: "Kafka 4.3.1: starting" in output.read_text())
    supervisor.send_signal(signal.SIGINT)
    assert await supervisor.wait() == 0, output.read_text()
    assert not stack_status(folder)["running"]


async def test_a_service_that_dies_at_start_is_told_and_everything_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [ServiceSpec("ledger", ("-m", "tests.support.child_service", "ledger", "--dies"), database=True)]
    with pytest.raises(StartError, match=r"ledger ended with code 7[\s\S]*no sun today[\s\S]*ledger\.log"):
        await run_stack(tmp_path / "books", specs=specs)
    assert "PostgreSQL: stopped" in capsys.readouterr().out
    assert not stack_status(tmp_path / "books")["running"]


async def test_what_runs_when_ready_ends_the_stack_with_its_failure(tmp_path: Path) -> None:
    seen: list[str] = []

    async def play(status: Any) -> None:
        seen.append(status["kafka"]["bootstrap"])
        raise ValueError("the demo failed")

    with pytest.raises(ValueError, match="the demo failed"):
        await run_stack(tmp_path / "books", ready=play, quiet=True, specs=[])
    assert seen
    assert not stack_status(tmp_path / "books")["running"]


async def test_a_detached_stack_outlives_its_starter_until_it_is_stopped(tmp_path: Path) -> None:
    program = ("-m", "tests.support.child_stack")
    status = await asyncio.to_thread(start_detached, tmp_path / "books", quiet=True, program=program)
    assert status["running"]
    assert status["gateway"]["ready"]
    with pytest.raises(FolderInUseError):
        await asyncio.to_thread(start_detached, tmp_path / "books", quiet=True, program=program)
    assert await asyncio.to_thread(stop_stack, tmp_path / "books")
    assert not [pid for name, pid in _pids(status).items() if _is_alive(pid) and name != "supervisor"]


async def test_a_detached_start_that_fails_shows_why(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("16")
    with pytest.raises(StartError, match=r"written by PostgreSQL 16[\s\S]*make reset"):
        await asyncio.to_thread(start_detached, tmp_path, quiet=True)


def test_a_folder_without_a_stack_is_stopped_and_can_be_emptied(tmp_path: Path) -> None:
    assert stack_status(tmp_path / "nothing")["running"] is False
    assert stop_stack(tmp_path / "nothing") is False
    reset_stack(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
