"""Real lines with a scripted meter at the other end: a TCP connection and a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.frame import Decoder, Frame

Answer = Callable[[Frame], Iterable[bytes | asyncio.Event]]
"""What the far end sends when a frame has come, piece by piece; on TCP it waits for an event among
the pieces."""
Line = Callable[[Answer], AbstractAsyncContextManager[StreamChannel]]


@asynccontextmanager
async def tcp_server(answer: Answer) -> AsyncIterator[int]:
    """The port of a server that answers by the script."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.extend(filter(None, [asyncio.current_task()]))
        decoder = Decoder()
        while data := await reader.read(1000):
            for frame in decoder.feed(data):
                if isinstance(frame, Frame):
                    for piece in answer(frame):
                        if isinstance(piece, asyncio.Event):
                            await piece.wait()
                        else:
                            writer.write(piece)
                            await asyncio.sleep(0)  # the pieces leave one by one
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def pseudo_terminal(answer: Answer) -> AsyncIterator[str]:
    """The device of a pseudo-terminal at whose other end the script answers."""
    master, slave = os.openpty()
    tty.setraw(slave)
    decoder = Decoder()
    loop = asyncio.get_running_loop()

    def read_ready() -> None:
        for frame in decoder.feed(os.read(master, 1000)):
            if isinstance(frame, Frame):
                for piece in answer(frame):
                    assert isinstance(piece, bytes), "nobody waits at the end of a pseudo-terminal"
                    os.write(master, piece)

    loop.add_reader(master, read_ready)
    try:
        yield os.ttyname(slave)
    finally:
        loop.remove_reader(master)
        os.close(master)
        os.close(slave)


@asynccontextmanager
async def tcp_line(answer: Answer) -> AsyncIterator[StreamChannel]:
    async with tcp_server(answer) as port, TcpChannel("127.0.0.1", port) as channel:
        yield channel


@asynccontextmanager
async def serial_line(answer: Answer) -> AsyncIterator[StreamChannel]:
    async with pseudo_terminal(answer) as device, SerialChannel(device) as channel:
        yield channel


@pytest.fixture(params=[tcp_line, serial_line], ids=["tcp", "serial"])
def line(request: pytest.FixtureRequest) -> Line:
    """`async with line(answer) as channel`: an open channel to the scripted meter."""
    opened: Line = request.param
    return opened


@pytest.fixture
def tcp() -> Line:
    """Like `line`, where the test needs what only TCP can do."""
    return tcp_line


@pytest.fixture
def server() -> Callable[[Answer], AbstractAsyncContextManager[int]]:
    """`async with server(answer) as port`."""
    return tcp_server


@pytest.fixture
def terminal() -> Callable[[Answer], AbstractAsyncContextManager[str]]:
    """`async with terminal(answer) as device`."""
    return pseudo_terminal
