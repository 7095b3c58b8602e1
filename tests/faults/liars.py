"""Every fourth meter of a line lies: what is left of the rate at which the honest ones are read.

Run it: `python -m tests.faults.liars`. One bus, behind a converter and at a serial port, so that
each answer takes its time; the same line once with honest meters only."""

from __future__ import annotations

import asyncio
import os
import time
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

from daemon.runtime.supervision import Supervisor
from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.frame import Decoder, Frame
from tests.wire.acquisition.test_failing_meters import (
    DAYS,
    LIARS,
    LIES,
    METERS,
    site_of_liars,
)
from tests.wire.acquisition.test_wire_line import Answer, Site

ANSWER_S: Final = 0.02
HONEST: Final = (METERS - LIARS) * DAYS
LEAST_SHARE: Final = 0.9
FAST_BAUD: Final = 115_200
"""So that the answers take the time, not their bytes."""

Bus = Callable[[Site], AbstractAsyncContextManager[Callable[[], StreamChannel]]]
"""The meters of a site, and what opens the way to them."""


async def _answer(site: Site, reader: asyncio.StreamReader, write: Callable[[bytes], None]) -> None:
    decoder = Decoder()
    while data := await reader.read(1000):
        for frame in decoder.feed(data):
            if isinstance(frame, Frame):
                for answer in site.hear(frame):
                    await asyncio.sleep(ANSWER_S)
                    write(answer)


@asynccontextmanager
async def behind_a_converter(site: Site) -> AsyncIterator[Callable[[], StreamChannel]]:
    """A port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # the end of the scene is none of its business
            await _answer(site, reader, writer.write)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield lambda: TcpChannel("127.0.0.1", port)


@asynccontextmanager
async def at_a_serial_port(site: Site) -> AsyncIterator[Callable[[], StreamChannel]]:
    """A pseudo-terminal."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
    )
    answering = asyncio.create_task(_answer(site, reader, lambda data: _write(ours, data)))
    try:
        yield lambda: SerialChannel(os.ttyname(theirs), FAST_BAUD)
    finally:
        answering.cancel()
        transport.close()
        os.close(theirs)


BUSES: Final[dict[str, Bus]] = {"TCP": behind_a_converter, "serial": at_a_serial_port}


def _write(terminal: int, data: bytes) -> None:
    os.write(terminal, data)


async def _honest_per_s(site: Site, slots: int, bus: Bus) -> float:
    """Slots a second until so many were read."""
    async with bus(site) as open_channel, Supervisor() as supervisor:
        line = site.line_over(open_channel)
        began = time.monotonic()
        supervisor.start("gate-3", line.run, kind="line")
        while len(site.arrived) < slots:  # noqa: ASYNC110  what is read makes it so
            await asyncio.sleep(0.005)
        return slots / (time.monotonic() - began)


def all_honest(bus: Bus) -> float:
    """Slots a second of a line of honest meters."""
    return asyncio.run(_honest_per_s(Site(meters=METERS, days=DAYS), METERS * DAYS, bus))


def share(begins: str, lie: Answer, bus: Bus) -> float:
    """Of the rate at which the honest are read beside honest ones, what is left beside liars."""
    beside_liars = asyncio.run(_honest_per_s(site_of_liars(begins, lie), HONEST, bus))
    return beside_liars / (all_honest(bus) * (METERS - LIARS) / METERS)


def main() -> list[str]:
    """Print the share of each lie; what is less than it may be, in words."""
    late = []
    print(f"| every fourth meter tells | {' | '.join(BUSES)} |")
    print("|---|" + "---|" * len(BUSES))
    for words, (begins, lie) in LIES.items():
        shares = {name: share(begins, lie, bus) for name, bus in BUSES.items()}
        print(f"| {words} | {' | '.join(f'{it:.2f}' for it in shares.values())} |", flush=True)
        late += [
            f"{words} over {name}: {found:.2f} of the honest rate is left, at least {LEAST_SHARE}"
            for name, found in shares.items()
            if found < LEAST_SHARE
        ]
    return late


if __name__ == "__main__":
    print("\n".join(main()))
