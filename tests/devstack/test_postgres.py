"""The embedded PostgreSQL: what survives, what is refused, what ends with whom."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from libs.devstack.errors import FolderInUseError, StartError, WrongVersionError
from libs.devstack.postgres import Postgres, running_on
from tests.support.waiting import until

pytestmark = pytest.mark.database

STARTER = """
import asyncio, sys
from pathlib import Path
from libs.devstack.postgres import Postgres

async def main():
    postgres = Postgres(Path(sys.argv[1]) / "postgres", Path(sys.argv[1]) / "postgres.log")
    await postgres.start()
    print(postgres.server.pid, postgres.dsn(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    server = Postgres(tmp_path / "postgres", tmp_path / "postgres.log", settings={"shared_buffers": "16MB"})
    await server.start()
    yield server
    await server.stop()


async def _count(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    count: int = await connection.fetchval("select count(*) from mark")
    await connection.close()
    return count


async def _put(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table if not exists mark (number int)")
    await connection.execute("insert into mark values (1)")
    await connection.close()


async def test_what_was_committed_survives_a_kill_and_a_stop(server: Postgres) -> None:
    await _put(server.dsn())
    port = server.port
    server.server.kill()
    assert await server.server.wait() == -signal.SIGKILL
    assert await server.start(port) == port
    await _put(server.dsn())
    await server.stop()
    assert server.server.exit_code == 0
    await server.start(port)
    assert await _count(server.dsn()) == 2


async def test_a_taken_port_is_passed_over(server: Postgres) -> None:
    await server.stop()
    with socket.socket() as neighbour:
        neighbour.bind(("127.0.0.1", server.port))
        neighbour.listen()
        assert await server.start(server.port) != neighbour.getsockname()[1]


async def test_it_is_durable_and_hears_only_loopback_with_a_password(server: Postgres) -> None:
    connection = await asyncpg.connect(server.dsn())
    wanted = {
        "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_compression": "off",
        "max_connections": "200", "max_wal_size": "4GB", "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "", "server_encoding": "UTF8", "data_checksums": "on", "TimeZone": "UTC",
    }  # fmt: skip
    assert {name: await connection.fetchval(f"show {name}") for name in wanted} == wanted
    await connection.close()
    assert (server.folder / "password").stat().st_mode & 0o777 == 0o600
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.dsn(password="guess"))


async def test_a_folder_at_work_is_refused_with_a_way_out(server: Postgres) -> None:
    other = Postgres(server.folder, server.log, leftover_time_limit_s=0.3)
    with pytest.raises(FolderInUseError, match=rf"process id {server.server.pid}[\s\S]*kill -INT"):
        await other.start()


async def test_a_stale_pid_file_of_a_living_stranger_is_no_obstacle(server: Postgres) -> None:
    data = server.folder / "data"
    lines = (data / "postmaster.pid").read_text().splitlines()
    server.server.kill()
    await server.server.wait()
    (data / "postmaster.pid").write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    assert running_on(data) is None
    await server.start(server.port)


async def test_another_major_version_is_refused_with_a_way_out(server: Postgres) -> None:
    await server.stop()
    (server.folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(WrongVersionError, match=r"written by PostgreSQL 16[\s\S]*make reset"):
        await server.start()


async def test_an_interrupted_first_start_leaves_nothing_half_made(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", tmp_path / "postgres.log", settings={"shared_buffers": "16MB"})
    starting = asyncio.ensure_future(server.start())
    await until((tmp_path / "postgres" / "data.new" / "PG_VERSION").exists)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not (tmp_path / "postgres" / "data").exists()
    await server.start()
    await _put(server.dsn())
    await server.stop()


async def test_a_start_that_cannot_work_tells_its_last_lines(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", tmp_path / "postgres.log", settings={"shared_buffers": "many"})
    with pytest.raises(StartError, match='invalid value for parameter "shared_buffers"'):
        await server.start()


async def test_it_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    dsn = (await starter.stdout.readline()).split()[1].decode()
    await _put(dsn)
    starter.kill()
    await starter.wait()
    await until(lambda: running_on(tmp_path / "postgres" / "data") is None)
    await until(lambda: "database system is shut down" in (tmp_path / "postgres.log").read_text())
