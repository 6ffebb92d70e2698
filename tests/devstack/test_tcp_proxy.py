"""The proxy of the fault tests, against a real echo server and a real PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.postgres import PostgresServer
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1024):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes) -> bytes:
    writer.write(word)
    return await reader.readexactly(len(word))


async def test_bytes_pass_in_order_and_the_end_too(echo_port: int) -> None:
    async with TcpProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        sent = bytes(range(256)) * 4096
        writer.write(sent)
        writer.write_eof()
        assert await reader.read(-1) == sent
        assert proxy.bytes_passed == 2 * len(sent)
        writer.close()


async def test_a_cut_resets_and_refuses_until_resumed(echo_port: int) -> None:
    async with TcpProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await _ask(reader, writer, b"one") == b"one"
        proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _ask(reader, writer, b"two")
        writer.close()
        late_reader, late_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _ask(late_reader, late_writer, b"three")
        late_writer.close()
        proxy.resume()
        new_reader, new_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await _ask(new_reader, new_writer, b"four") == b"four"
        new_writer.close()


async def test_a_stall_is_silent_and_what_was_sent_passes_after_it(echo_port: int) -> None:
    async with TcpProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await _ask(reader, writer, b"one") == b"one"
        proxy.stall()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(3), 0.2)
        proxy.resume()
        assert await asyncio.wait_for(reader.readexactly(3), 5) == b"two"
        writer.close()


async def test_a_delay_holds_each_direction_back(echo_port: int) -> None:
    async with TcpProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.delay(0.1)
        started = time.monotonic()
        assert await _ask(reader, writer, b"one") == b"one"
        assert time.monotonic() - started >= 0.19
        writer.close()


async def test_a_target_that_is_gone_resets_the_client() -> None:
    async with TcpProxy("127.0.0.1", 1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _ask(reader, writer, b"one")
        writer.close()


@pytest.mark.database
async def test_a_database_statement_fails_when_the_network_is_cut(postgres: PostgresServer) -> None:
    host, _, port = postgres.admin_dsn.partition("@")[2].partition("/")[0].partition(":")
    async with TcpProxy(host, int(port)) as proxy:
        connection = await asyncpg.connect(postgres.admin_dsn.replace(f"{host}:{port}", proxy.address))
        assert proxy.connections == 1
        running = asyncio.ensure_future(connection.execute("select pg_sleep(20)"))
        await asyncio.sleep(0.1)
        proxy.cut()
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError, asyncpg.InterfaceError)):
            await running
        assert connection.is_closed()
