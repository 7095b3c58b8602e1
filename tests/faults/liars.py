"""Every fourth meter of a line lies: what is left of the rate at which the honest ones are read.

Run it: `python -m tests.faults.liars`. A converter behind TCP with one bus, so that each answer
takes its time; the same line once with honest meters only."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from daemon.runtime.supervision import Supervisor
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


async def _honest_per_s(site: Site, slots: int) -> float:
    """Slots a second until so many were read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        with suppress(asyncio.CancelledError):  # the end of the scene is none of its business
            while data := await reader.read(1000):
                for frame in decoder.feed(data):
                    if isinstance(frame, Frame):
                        for answer in site.hear(frame):
                            await asyncio.sleep(ANSWER_S)
                            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Supervisor() as supervisor:
        line = site.line_over(lambda: TcpChannel("127.0.0.1", port))
        began = time.monotonic()
        supervisor.start("gate-3", line.run, kind="line")
        while len(site.arrived) < slots:  # noqa: ASYNC110  what is read makes it so
            await asyncio.sleep(0.005)
        return slots / (time.monotonic() - began)


def share(begins: str, lie: Answer) -> float:
    """Of the rate at which the honest are read beside honest ones, what is left beside liars."""
    all_honest = asyncio.run(_honest_per_s(Site(meters=METERS, days=DAYS), METERS * DAYS))
    beside_liars = asyncio.run(_honest_per_s(site_of_liars(begins, lie), HONEST))
    return beside_liars / (all_honest * (METERS - LIARS) / METERS)


def main() -> None:
    """Print the share of each lie."""
    print(f"{'every fourth meter tells':36}honest rate left")
    for words, (begins, lie) in LIES.items():
        print(f"{words:36}{share(begins, lie):16.2f}", flush=True)


if __name__ == "__main__":
    main()
