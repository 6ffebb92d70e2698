"""A TCP proxy for fault tests: what stands between a client and PostgreSQL or Kafka, and can break.

    flowing   bytes pass, each chunk held back by the delay in seconds (0.0 at first)
    stalled   half-open: connections stand and are accepted, no byte passes; nobody is told
    cut       every connection is reset, new ones are reset at once

For Kafka the broker must advertise the proxy's address (`Kafka(advertise=...)`), or clients go around it. Chunks keep
their order; a chunk read before a stall is held and passes after `resume`.
"""

import asyncio
from types import TracebackType

from libs.devstack import ports

_CHUNK_BYTES = 65_536


class TcpProxy:
    """`async with TcpProxy("127.0.0.1", 5432) as proxy:` then connect to 127.0.0.1:proxy.port."""

    def __init__(self, target_host: str, target_port: int, *, port: int | None = None) -> None:
        self.port = port if port is not None else ports.free_port()
        self.bytes_passed = 0
        self._target = (target_host, target_port)
        self._delay_s = 0.0
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """host:port to connect to."""
        return f"{ports.LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected through it."""
        return len(self._connections)

    def cut(self) -> None:
        """Resets every connection, and new ones at once."""
        self._is_cut = True
        self._flowing.set()
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Lets nothing pass in either direction and tells nobody."""
        self._flowing.clear()

    def delay(self, seconds: float) -> None:
        """Holds every chunk back in each direction; 0.0 ends it."""
        self._delay_s = seconds

    def resume(self) -> None:
        """Ends a cut or a stall; the delay stays."""
        self._is_cut = False
        self._flowing.set()

    async def __aenter__(self) -> "TcpProxy":
        self._server = await asyncio.start_server(self._accept, ports.LOOPBACK, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        connection = asyncio.ensure_future(self._join(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        await connection

    async def _join(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            client_writer.transport.abort()
            return
        both = {client_writer, target_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass(client_reader, target_writer))
                directions.create_task(self._pass(target_reader, client_writer))
        except* ConnectionError:
            for writer in both:
                writer.transport.abort()
        finally:
            for writer in both:
                writer.close()
            self._writers -= both

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flowing.wait()
            if self._is_cut:
                raise ConnectionResetError
            writer.write(chunk)
            await writer.drain()
            self.bytes_passed += len(chunk)
        writer.write_eof()
