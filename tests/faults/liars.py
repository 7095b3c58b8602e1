"""Every fourth meter of a line lies: what is left of the rate at which the honest ones are read.

Run it: `python -m tests.faults.liars`, or with some words of the lies that are wanted. One bus,
behind a converter and at a serial port, so that each answer takes its time; the same line once with
honest meters only. Two kinds of liars: what they tell is not true, or it is and comes so that it
costs the others their time."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
import tty
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
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
from tests.wire.acquisition.test_wire_line import QUICK, Site, address_of

ANSWER_S: Final = 0.02
LEAST_SHARE: Final = 0.9
FAST_BAUD: Final = 115_200
"""So that the answers take the time, not their bytes."""
LONGEST_S: Final = 120.0
"""Between two freezes, of whatever meters."""
WAIT_S: Final = QUICK.reply_timeout_s
EVERY: Final = frozenset(map(address_of, range(METERS)))
LYING: Final = frozenset(map(address_of, range(0, METERS, METERS // LIARS)))

Manner = Callable[[bytes], Iterable[tuple[float, bytes]]]
"""How an answer is sent: (seconds after the bytes before, bytes), one after the other."""
Bus = Callable[[Site, Manner], AbstractAsyncContextManager[Callable[[], StreamChannel]]]
"""The meters of a site, how liars send their answers, and what opens the way to them."""


def at_once(answer: bytes) -> Iterable[tuple[float, bytes]]:
    """As honest meters do."""
    return [(ANSWER_S, answer)]


def after(seconds: float) -> Manner:
    """Whole, and so late."""
    return lambda answer: [(seconds, answer)]


def byte_by_byte(gap_s: float) -> Manner:
    """With a gap before each."""
    return lambda answer: [(gap_s, bytes((it,))) for it in answer]


def half(answer: bytes) -> Iterable[tuple[float, bytes]]:
    """And never the rest."""
    return [(ANSWER_S, answer[: len(answer) // 2])]


def twice(answer: bytes) -> Iterable[tuple[float, bytes]]:
    """The second one while somebody else is asked."""
    return [(ANSWER_S, answer), (ANSWER_S / 2, answer)]


def with_noise(answer: bytes) -> Iterable[tuple[float, bytes]]:
    """Behind it."""
    return [(ANSWER_S, answer), (ANSWER_S / 2, bytes(20))]


def never(answer: bytes) -> Iterable[tuple[float, bytes]]:
    """Silence."""
    return []


def but_once_in(times: int, manner: Manner) -> Manner:
    """Honest that once."""
    count = itertools.count()
    return lambda answer: (manner if next(count) % times else at_once)(answer)


MANNERS: Final[dict[str, Manner]] = {
    "the truth, three times as slowly": after(3 * ANSWER_S),
    "the truth, close to the time-out": after(0.9 * WAIT_S),
    "the truth, at the time-out": after(WAIT_S),
    "the truth, too late": after(1.3 * WAIT_S),
    "the truth, too late every second time": but_once_in(2, after(1.3 * WAIT_S)),
    "the truth byte by byte": byte_by_byte(0.005),
    "the truth byte by byte, slowly": byte_by_byte(0.02),
    "half of each answer": half,
    "the truth twice": twice,
    "the truth, with noise behind it": with_noise,
    "nothing every second time": but_once_in(2, never),
    "nothing two of three times": but_once_in(3, never),
    "nothing": never,
}
"""What they tell is true, and comes so."""


async def _answer(
    site: Site, manner: Manner, reader: asyncio.StreamReader, write: Callable[[bytes], None]
) -> None:
    """Each meter for itself: what comes late falls into another's answer."""
    decoder = Decoder()

    async def send(parts: Iterable[tuple[float, bytes]]) -> None:
        for pause_s, part in parts:
            await asyncio.sleep(pause_s)
            write(part)

    async with asyncio.TaskGroup() as sending:
        while data := await reader.read(1000):
            for frame in decoder.feed(data):
                if isinstance(frame, Frame):
                    chosen = manner if frame.address in LYING else at_once
                    for answer in site.hear(frame):
                        sending.create_task(send(chosen(answer)))


@asynccontextmanager
async def behind_a_converter(
    site: Site, manner: Manner
) -> AsyncIterator[Callable[[], StreamChannel]]:
    """A port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # the end of the scene is none of its business
            await _answer(site, manner, reader, writer.write)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield lambda: TcpChannel("127.0.0.1", port)


@asynccontextmanager
async def at_a_serial_port(
    site: Site, manner: Manner
) -> AsyncIterator[Callable[[], StreamChannel]]:
    """A pseudo-terminal."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
    )
    answering = asyncio.create_task(_answer(site, manner, reader, lambda it: _write(ours, it)))
    try:
        yield lambda: SerialChannel(os.ttyname(theirs), FAST_BAUD)
    finally:
        answering.cancel()
        await asyncio.wait([answering])
        transport.close()
        os.close(theirs)


BUSES: Final[dict[str, Bus]] = {"TCP": behind_a_converter, "serial": at_a_serial_port}


def _write(terminal: int, data: bytes) -> None:
    os.write(terminal, data)


async def _each_per_s(site: Site, of: Set[str], bus: Bus, manner: Manner) -> float:
    """Slots a second of one of these meters, from the first of each on: what nobody knows of a
    meter is found out once. Until nine of ten were read: one that was not heard because this
    machine stood still is not waited for."""
    async with bus(site, manner) as open_channel, Supervisor() as supervisor:
        supervisor.start("gate-3", site.line_over(open_channel).run, kind="line")
        await _until(site, lambda: {it.meter.address for it in site.arrived} >= of)
        before, began = _told(site, of), time.monotonic()
        await _until(site, lambda: _told(site, of) >= 0.9 * len(of) * DAYS)
        return (_told(site, of) - before) / len(of) / (time.monotonic() - began)


def _told(site: Site, of: Collection[str]) -> int:
    return sum(it.meter.address in of for it in site.arrived)


async def _until(site: Site, is_so: Callable[[], bool]) -> None:
    while not is_so():
        site.came.clear()
        async with asyncio.timeout(LONGEST_S):
            await site.came.wait()


async def _shares(lying: Callable[[], Site], manner: Manner) -> list[float]:
    """Of the rate of an honest meter among honest ones, what is left beside liars; by bus. All at
    the same time, so that whatever else the machine does is the same for each."""
    rates = []
    for bus in BUSES.values():
        rates.append(_each_per_s(lying(), EVERY - LYING, bus, manner))
        rates.append(_each_per_s(honest_site(), EVERY, bus, at_once))
    found = await asyncio.gather(*rates)
    return [beside / among for beside, among in zip(found[::2], found[1::2], strict=True)]


def honest_site() -> Site:
    """Its liars, if any, tell the truth in a manner of theirs."""
    return Site(meters=METERS, days=DAYS)


def main(*wanted: str) -> list[str]:
    """Print the share that each lie leaves, or those whose words hold one of these; what is less
    than it may be, in words."""
    lies: dict[str, tuple[Callable[[], Site], Manner]] = {
        words: (partial(site_of_liars, *lie), at_once) for words, lie in LIES.items()
    }
    lies |= {words: (honest_site, it) for words, it in MANNERS.items()}
    late = []
    print(f"| every fourth meter tells | {' | '.join(BUSES)} |")
    print("|---|" + "---|" * len(BUSES))
    for words, (make, manner) in lies.items():
        if wanted and not any(it in words for it in wanted):
            continue
        shares = asyncio.run(_shares(make, manner))
        print(f"| {words} | {' | '.join(f'{it:.2f}' for it in shares)} |", flush=True)
        late += [
            f"{words} over {name}: {found:.2f} of the honest rate is left, at least {LEAST_SHARE}"
            for name, found in zip(BUSES, shares, strict=True)
            if found < LEAST_SHARE
        ]
    return late


if __name__ == "__main__":
    print("\n".join(main(*sys.argv[1:])))
