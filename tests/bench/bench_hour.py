"""An unattended hour at full load: does memory, the number of open files or a queue grow?

Run it: `python tests/bench/bench_hour.py`, `--minutes 5` for a shorter one. The meters are `meters.c` in another
process. Every 10 s a row goes into a CSV file; at the end the growth is printed as the slope of a line laid through the
samples, without the first ten minutes (or the first sixth of a shorter run). A wrong value ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import uvloop
from dlt645.common.transform import bcd_to_float
from dlt645.protocol.protocol import DLT645Protocol
from dlt645.transport.client.async_tcp_client import AsyncTcpClient

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.deadlines import Deadlines
from protocols.channels.tcp import TcpChannel
from tests.bench.contest import allow_files, headline
from tests.bench.meters import Meters, address_of, day_now, energies
from tests.bench.ours import OurLine
from tests.bench.wire import IDENTIFIER

HOST = "127.0.0.1"
SAMPLE_S = 10.0
SETTLING_MINUTES = 10.0
KIB = 1024
PAGE = resource.getpagesize()


class Load(Protocol):
    """Something that polls on and on."""

    pid: int
    """Whose memory and files are looked at."""

    def polls(self) -> int:
        """How many were answered so far."""

    def queue(self) -> int:
        """How many readings wait to be stored."""


class Sample(NamedTuple):
    """One row of the CSV file. `late_ms`: how much later than asked this process woke up."""

    second: float
    rss_kib: int
    files: int
    queue: int
    polls: int
    polls_per_s: float
    late_ms: float


def prove(number: int, registers: tuple[int | None, ...]) -> None:
    """That meter `number` shows the newest daily freeze it must show, in 0.01 kWh."""
    expected = [energies(address_of(number), day_now() - ago) for ago in (0, 1)]
    assert registers in expected, f"meter {number} showed {registers}, not {expected[0]}"


# --- loads ------------------------------------------------------------------------------------------------------------


class OurLoad:
    """Freezes read again and again and proven; nothing is stored, so nothing queues."""

    def __init__(self) -> None:
        self.pid, self.is_over, self._answered = os.getpid(), False, 0

    def take(self, number: int, registers: tuple[int | None, ...]) -> None:
        """One reading came."""
        prove(number, registers)
        self._answered += 1

    def polls(self) -> int:
        return self._answered

    def queue(self) -> int:
        return 0


@asynccontextmanager
async def meterd(ports: Sequence[int], meters: int) -> AsyncIterator[Load]:
    """PLUG: our side at full load until the context ends. One line to each port, behind it `meters` meters: those
    `address_of(number)` for number from line * meters to (line + 1) * meters - 1. Every reading has to pass `prove`."""
    load = OurLoad()
    deadlines = Deadlines()

    async def collect(line: int, port: int) -> None:
        polls = OurLine(deadlines, range(line * meters, (line + 1) * meters), load.take)
        async with TcpChannel(HOST, port) as channel:
            while not load.is_over:
                await polls.read_freezes(channel, depth=1)

    async with asyncio.TaskGroup() as group:
        for line, port in enumerate(ports):
            group.create_task(collect(line, port))
        yield load
        load.is_over = True


class PeerLoad:
    """PyPI `dlt645` as a load: its asyncio client on every line."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.answered = 0
        self.is_over = False

    def polls(self) -> int:
        return self.answered

    def queue(self) -> int:
        return 0

    async def run(self, line: int, port: int, meters: int) -> None:
        """Poll the meters of one line until all is over. Not cancelled: `wait_for` of Python 3.11 may swallow that."""
        client = AsyncTcpClient(HOST, port)
        identifier = bytes.fromhex(IDENTIFIER)[::-1]
        while not self.is_over:
            for number in range(line * meters, (line + 1) * meters):
                address = bytes.fromhex(address_of(number))[::-1]
                answer = await client.send_request(bytes(DLT645Protocol.build_frame(address, 0x11, identifier)))
                data = DLT645Protocol.deserialize(answer).data
                values = [bcd_to_float(data[at : at + 4], "XXXXXX.XX", "little") for at in range(4, 24, 4)]
                prove(number, tuple(round(100 * value) for value in values))
                self.answered += 1


@asynccontextmanager
async def dlt645(ports: Sequence[int], meters: int) -> AsyncIterator[Load]:
    load = PeerLoad()
    async with asyncio.TaskGroup() as group:
        for line, port in enumerate(ports):
            group.create_task(load.run(line, port, meters))
        yield load
        load.is_over = True


LOADS: dict[str, tuple[Callable[[Sequence[int], int], AbstractAsyncContextManager[Load]], Callable[..., Any]]] = {
    "meterd": (meterd, uvloop.run),
    "dlt645": (dlt645, asyncio.run),
}


# --- sampling ---------------------------------------------------------------------------------------------------------


async def samples(load: Load, minutes: float, sample_s: float) -> AsyncIterator[Sample]:
    """One every `sample_s`, until the time is over."""
    began, polls_before, number = time.monotonic(), load.polls(), 0
    folder = Path("/proc") / str(load.pid)
    while number * sample_s < 60 * minutes:
        number += 1
        due = began + number * sample_s
        await asyncio.sleep(due - time.monotonic())
        second = time.monotonic() - began
        polls = load.polls()
        yield Sample(
            second=round(second, 2),
            rss_kib=int((folder / "statm").read_text().split()[1]) * PAGE // KIB,
            files=len(list((folder / "fd").iterdir())),
            queue=load.queue(),
            polls=polls,
            polls_per_s=round((polls - polls_before) / sample_s, 1),
            late_ms=round(1000 * (second + began - due), 1),
        )
        polls_before = polls


def growth_an_hour(found: list[Sample], column: str) -> float:
    """Slope of a line through the samples."""
    seconds = [sample.second for sample in found]
    slope, _ = statistics.linear_regression(seconds, [getattr(sample, column) for sample in found])
    return 3600 * slope


async def watch(name: str, asked: argparse.Namespace) -> list[Sample]:
    """Let the load run and write down what it uses."""
    found: list[Sample] = []
    with Meters("tcp", ports=asked.lines, delay_ms=asked.delay_ms) as simulated, asked.csv.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(Sample._fields)
        async with LOADS[name][0](simulated.told["ports"], asked.meters) as load:
            async for sample in samples(load, asked.minutes, asked.sample_s):
                rows.writerow(sample)
                file.flush()
                found.append(sample)
    return found


def main() -> None:
    """Watch, and print what grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--sample-s", type=float, default=SAMPLE_S)
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--meters", type=int, default=10, help="behind each line")
    parser.add_argument("--delay-ms", type=int, default=0, help="how long a meter takes to answer")
    parser.add_argument("--load", default="meterd", choices=list(LOADS))
    parser.add_argument("--csv", type=Path, default=Path("bench_hour.csv"))
    asked = parser.parse_args()
    allow_files()
    found = LOADS[asked.load][1](watch(asked.load, asked))
    settled_s = 60 * min(SETTLING_MINUTES, asked.minutes / 6)
    settled = [sample for sample in found if sample.second > settled_s]
    first, last = settled[0], settled[-1]
    print(headline(f"{asked.load}: {asked.minutes:g} min, {asked.lines} lines of {asked.meters} meters, {asked.csv}"))
    print(f"without the first {settled_s / 60:.1f} min: {len(settled)} samples, {last.polls - first.polls:,} polls\n")
    print("| what | first | last | least | most | growth an hour |")
    print("|---|---:|---:|---:|---:|---:|")
    for column in ("rss_kib", "files", "queue", "polls_per_s", "late_ms"):
        values = [getattr(sample, column) for sample in settled]
        print(
            f"| {column} | {values[0]} | {values[-1]} | {min(values)} | {max(values)} "
            f"| {growth_an_hour(settled, column):+.1f} |"
        )


if __name__ == "__main__":
    main()
