"""Terminals that dial in.

A DTU calls, registers, shows that it is alive, and carries the bytes of its meters."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, cast

from protocols.channels.tcp import keep_alive
from simulators.lines.bus import SimulatedBus
from simulators.lines.stream_lines import Cut, Talker

MERGE_S: Final = 0.05
"""A terminal that merges waits so long for more before it sends."""

Segments = Literal["as_said", "single_bytes", "merged"]
"""How its bytes come: each message as a segment, each byte, or merged what is sent within
MERGE_S."""


@dataclass(frozen=True, slots=True)
class TerminalSpec:
    """What a terminal says of itself, and how it keeps its call."""

    registration: bytes
    """Sent first; a wrong id is another one."""
    heartbeat: bytes = b""
    """Sent every `heartbeat_s` to show that it is alive; none when empty."""
    heartbeat_s: float = 30.0
    reconnect_s: float = 30.0
    """Before each call, the first one too, it waits at random up to this: terminals that lost their
    network together do not come back together."""
    hangs_up_after_s: float | None = None
    """For one that flaps."""
    segments: Segments = "as_said"


class SimulatedTerminal:
    """A terminal with the meters of `bus` behind it; `run` calls HOST:PORT again and again."""

    def __init__(
        self,
        bus: SimulatedBus,
        host: str,
        port: int,
        spec: TerminalSpec,
        *,
        baud: int | None = None,
        tls: ssl.SSLContext | None = None,
        random: Random | None = None,
    ) -> None:
        self.bus = bus
        self.host = host
        self.port = port
        self.spec = spec
        self.baud = baud
        self.tls = tls
        self.calls = 0
        """Number of times that it was connected."""
        self.is_half_open = False
        """Nothing leaves it any more and it receives nothing, but its connection stays; set it to
        True for that fault."""
        self.is_cut = False
        self._random = random or Random()
        self._calling: asyncio.Task[None] | None = None

    @property
    def place(self) -> str:
        """Where it calls."""
        return f"{self.host}:{self.port}"

    def whereabouts(self) -> dict[str, str | int]:
        """The same for a program."""
        return {
            "kind": "terminal",
            "host": self.host,
            "port": self.port,
        }

    async def open(self) -> None:
        """From now on it calls, whether its endpoint listens or not."""
        self._calling = asyncio.get_running_loop().create_task(self.run())

    async def close(self) -> None:
        """It hangs up and calls no more."""
        if self._calling is not None:
            self._calling.cancel()
            await asyncio.wait([self._calling])
            self._calling = None

    async def cut(self, how: Cut = "hang_up") -> None:
        """Take it away until `mend`. Without power it hangs up; silent, it is half open."""
        self.is_cut = True
        if how == "hang_up":
            await self.close()
        else:
            self.is_half_open = True

    async def mend(self) -> None:
        """It works again."""
        self.is_cut = False
        self.is_half_open = False
        if self._calling is None:
            await self.open()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._random.uniform(0, self.spec.reconnect_s))
            connection = _Connection(self)
            try:
                await loop.create_connection(
                    lambda made=connection: made, self.host, self.port, ssl=self.tls
                )
            except OSError:
                continue
            self.calls += 1
            try:
                async with asyncio.timeout(self.spec.hangs_up_after_s):
                    await self._stay(connection)
            except TimeoutError:
                pass
            finally:
                connection.transport.abort()

    async def _stay(self, connection: _Connection) -> None:
        """Show that we are alive until the other side hangs up."""
        while not connection.closed.done():
            await asyncio.wait([connection.closed], timeout=self.spec.heartbeat_s)
            if self.spec.heartbeat and not connection.closed.done():
                connection.send(self.spec.heartbeat)


class _Connection(asyncio.Protocol):
    """One call."""

    def __init__(self, terminal: SimulatedTerminal) -> None:
        self._terminal = terminal
        self._loop = asyncio.get_running_loop()
        self._unsent = b""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.transport: asyncio.Transport
        self.talker = Talker(
            terminal.bus,
            terminal.baud,
            self.send,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        keep_alive(transport.get_extra_info("socket"))
        self.send(self._terminal.spec.registration)

    def data_received(self, data: bytes) -> None:
        if not self._terminal.is_half_open:
            self.talker.received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.talker.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, data: bytes) -> None:
        if self._terminal.is_half_open or self.closed.done():
            return
        match self._terminal.spec.segments:
            case "as_said":
                self.transport.write(data)
            case "single_bytes":
                for number in range(len(data)):
                    self.transport.write(data[number : number + 1])
            case "merged":
                if not self._unsent:
                    self._loop.call_later(MERGE_S, self._send_merged)
                self._unsent += data

    def _send_merged(self) -> None:
        unsent = self._unsent
        self._unsent = b""
        if not self.transport.is_closing():
            self.transport.write(unsent)


@asynccontextmanager
async def dialling_in(terminals: Iterable[SimulatedTerminal]) -> AsyncIterator[None]:
    """These terminals call while the block runs."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(terminal.run()) for terminal in terminals]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
