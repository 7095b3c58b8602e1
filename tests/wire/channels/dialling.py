"""A listener and its callers, every byte of which is a test's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from protocols.channels.dial_in.endpoint import Limits
from protocols.channels.dial_in.events import DialInEvent
from protocols.channels.dial_in.session import TerminalChannel
from protocols.channels.dial_in.terminals import Terminals
from protocols.dial_in.callers import ANYONE, PermittedCallers
from protocols.dial_in.registration import RegistrationSettings, heartbeat, registration

Run = Callable[[Coroutine[Any, Any, None]], None]
PATIENCE_S = 10
ADDRESS = "000000000006"
ANSWER = bytes.fromhex("FEFEFEFE 68 060000000000 68 93 06 39 33 33 33 33 33 A7 16")
BEAT = b"PING"
GREETINGS = RegistrationSettings(
    registration("text", "REG:{id}\r\n"), heartbeat("text", "PING"), b"OK\r\n", b"PONG"
)
ALL_FROM_HERE = Limits(most_per_address=5000, accept_per_s=5000, challenge_s=0.1)


def reg(terminal: str = "T1") -> bytes:
    return b"REG:%s\r\n" % terminal.encode()


class Listener(Terminals):
    """A listener with the events that it told."""

    told: list[tuple[DialInEvent, str, str]]


@asynccontextmanager
async def listening(
    greetings: RegistrationSettings = GREETINGS,
    known: Iterable[str] | Mapping[str, PermittedCallers] = ("T1",),
    limits: Limits = ALL_FROM_HERE,
    **how: Any,
) -> AsyncIterator[Listener]:
    told: list[tuple[DialInEvent, str, str]] = []
    terminals = Listener(
        "gprs",
        ("127.0.0.1", 0),
        greetings,
        known=known if isinstance(known, Mapping) else dict.fromkeys(known, ANYONE),
        limits=limits,
        on_event=lambda *event: told.append(event),
        **how,
    )
    async with terminals:
        terminals.told = told
        yield terminals


class Caller:
    """The other end: a terminal of which every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hears(self, data: bytes) -> None:
        assert await asyncio.wait_for(self.reader.readexactly(len(data)), PATIENCE_S) == data

    async def hears_the_end(self) -> bytes:
        """What came before it."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), PATIENCE_S)
        return b""

    def hang_up(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def calling(terminals: Terminals, *said: bytes, **how: Any) -> AsyncIterator[Caller]:
    caller = Caller(*await asyncio.open_connection("127.0.0.1", terminals.endpoint.port, **how))
    caller.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for data in said:
            caller.say(data)
        yield caller
    finally:
        caller.hang_up()
        with contextlib.suppress(OSError):
            await caller.writer.wait_closed()


async def until(condition: Callable[..., object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 what happens in the listener has no event here
            await asyncio.sleep(0.001)


async def received(channel: TerminalChannel, count: int) -> bytes:
    data = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(data) < count:
            data += await channel.receive()
    return data


async def until_the_end(
    channel: TerminalChannel, meanwhile: Callable[[], None] = lambda: None
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            meanwhile()
            await channel.receive()


def client_tls(certificates: Path, who: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    if who:
        context.load_cert_chain(certificates / f"{who}.pem", certificates / f"{who}.key")
    return context
