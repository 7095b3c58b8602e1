"""A TCP way to a server that delays, swallows, resets, half-closes and refuses when a test wants it.

with proxy_to(("127.0.0.1", 5432)) as way:
    psycopg.connect(f"postgresql://meterd@127.0.0.1:{way.port}/test")
    way.hang()
    way.mend()
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

Upstream = tuple[str, int] | Path
"""Host and port, or a Unix socket."""
CHUNK_BYTES: Final = 2**16
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, 0 s."""


class Proxy:
    """Both ways of all connections to one server. Its methods may be called from any thread, and
    what they do is done when they return."""

    def __init__(
        self, upstream: Upstream, loop: asyncio.AbstractEventLoop, source: str | None
    ) -> None:
        self._upstream = upstream
        self._source = None if source is None else (source, 0)
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._crossings: dict[_Crossing, asyncio.Task[Any] | None] = {}
        self._flows = True
        """Whether a new connection carries anything."""
        self.port = 0
        self.delay_s = 0.0
        """Of what is sent on, each way."""
        self.accepted = 0

    def hang(self) -> None:
        """Nothing arrives any more on old and new connections, and nobody is told. What is sent
        meanwhile arrives after `mend`, as TCP does it."""
        self._do(self._hang)

    def strand(self) -> None:
        """What is connected now is silent for ever, as after a fail-over without RST; new
        connections work."""
        self._do(self._strand)

    def reset(self) -> None:
        """What is connected now ends with RST, at both ends; new connections work."""
        self._do(self._reset)

    def half_close(self) -> None:
        """The client of each connection is told that the server says no more, and the server
        nothing."""
        self._do(self._half_close)

    def refuse(self) -> None:
        """What is connected ends, and new connections are refused."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self._loop).result()

    def say(self, words: bytes) -> None:
        """Every client hears these, as what another talker says on a bus that the server is on."""
        self._do(lambda: self._say(words))

    def mend(self) -> None:
        """All that is not stranded works again."""
        asyncio.run_coroutine_threadsafe(self._mend(), self._loop).result()

    async def listen(self) -> None:
        """At the same port each time."""
        self._server = await asyncio.start_server(self._cross, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End every connection."""
        await self._refuse()

    def _do(self, act: Callable[[], None]) -> None:
        async def do() -> None:
            act()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result()

    async def _cross(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        crossing = _Crossing(self, writer)
        self._crossings[crossing] = asyncio.current_task()
        if not self._flows:
            crossing.flows.clear()
        try:
            await crossing.run(reader, self._upstream, self._source)
        finally:
            del self._crossings[crossing]

    def _hang(self) -> None:
        self._flows = False
        for crossing in self._crossings:
            crossing.flows.clear()

    def _strand(self) -> None:
        for crossing in self._crossings:
            crossing.flows.clear()
            crossing.is_stranded = True

    def _reset(self) -> None:
        for crossing in self._crossings:
            crossing.reset()

    def _half_close(self) -> None:
        for crossing in self._crossings:
            crossing.half_close()

    def _say(self, words: bytes) -> None:
        for crossing in self._crossings:
            crossing.say(words)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        ending = [task for task in self._crossings.values() if task is not None]
        self._reset()
        if ending:
            await asyncio.wait(ending)

    async def _mend(self) -> None:
        self._flows = True
        for crossing in self._crossings:
            if not crossing.is_stranded:
                crossing.flows.set()
        if self._server is None:
            await self.listen()


class _Crossing:
    """One connection."""

    def __init__(self, way: Proxy, client: asyncio.StreamWriter) -> None:
        self.flows = asyncio.Event()
        self.flows.set()
        self.is_stranded = False
        self._way = way
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._is_reset = False

    async def run(
        self, from_client: asyncio.StreamReader, upstream: Upstream, source: tuple[str, int] | None
    ) -> None:
        try:
            if isinstance(upstream, Path):
                from_server, self._server = await asyncio.open_unix_connection(upstream)
            else:
                from_server, self._server = await asyncio.open_connection(
                    *upstream, local_addr=source
                )
            self._pumps = [
                asyncio.create_task(self._pump(from_client, self._server)),
                asyncio.create_task(self._pump(from_server, self._client)),
            ]
            if self._is_reset:
                self.reset()
            await asyncio.wait(self._pumps)
        except OSError:
            self.reset()  # nobody is there: the client learns so
        finally:
            for end in self._ends():
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self._carry()
                writer.write(chunk)
                await writer.drain()
            await self._carry()
            writer.write_eof()
        except OSError:
            self.reset()  # one end did so: the other learns it

    async def _carry(self) -> None:
        await self.flows.wait()
        if self._way.delay_s:
            await asyncio.sleep(self._way.delay_s)

    def say(self, words: bytes) -> None:
        self._client.write(words)

    def half_close(self) -> None:
        if self._pumps:
            self._pumps[1].cancel()
        with suppress(OSError):
            self._client.write_eof()

    def reset(self) -> None:
        self._is_reset = True
        for pump in self._pumps:
            pump.cancel()
        for end in self._ends():
            with suppress(OSError):  # it has ended
                end.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
                )
            end.transport.abort()

    def _ends(self) -> list[asyncio.StreamWriter]:
        return [self._client] if self._server is None else [self._client, self._server]


@contextmanager
def proxy_to(upstream: Upstream, source: str | None = None) -> Iterator[Proxy]:
    """A way to this server, on a thread and a port of its own. `source`: the address of this
    machine from which it calls."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    way = Proxy(upstream, loop, source)
    asyncio.run_coroutine_threadsafe(way.listen(), loop).result()
    try:
        yield way
    finally:
        asyncio.run_coroutine_threadsafe(way.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
