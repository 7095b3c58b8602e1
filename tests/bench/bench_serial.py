"""What a serial line carries and what a poll costs: fractions of the wire limit, with and without
dead meters.

Run it: `python tests/bench/bench_serial.py`. Five pseudo-terminals side by side, paced in the
simulator (`meters.c`) as 2400 or 9600 Bd with 11 bits a character would be; 20 meters on each
answer after 20 ms. A poll is 60 characters: the request 4 x FE + 16, the answer 4 x FE + 36. Every
contender reads all meters of its line in turn, dead ones too, as it comes; each line counts as one
run and the median over the lines is printed. The wire limit counts the meters that live. A fraction
is good polls a second by that limit, in two phases: until a contender has backed off from the dead
meters, and from then on. What never backs off has one phase."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from dlt645.common.transform import bcd_to_float
from dlt645.protocol.protocol import DLT645Protocol
from dlt645.transport.client.async_rtu_client import AsyncRtuClient

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import FIRST_WAIT_ON_A_WIRE_S
from daemon.runtime.garbage import spare_what_is_there
from protocols.channels.serial import SerialChannel
from protocols.dlt645.prepared.steps import reads_of
from tests.bench.contest import headline, measure_in_turn, told
from tests.bench.meters import Meters, address_of, day_now, energies
from tests.bench.ours import OurLine
from tests.bench.wire import IDENTIFIER

METERS = 20
LINES = 5
CHARACTERS = 60
BITS_A_CHARACTER = 11
REPLY_DELAY_MS = 20
PASSES = {2400: 3, 9600: 6}
"""How often a run asks every meter: about 20 s at 2400 Bd and 10 s at 9600 Bd when all live."""


class LineResult(NamedTuple):
    """What one line did. `polls`: (moment of the answer by time.monotonic, number of the meter, its
    five registers in 0.01 kWh), answered ones only; `began` and `ended` by the same clock,
    `backed_off` when it had backed off from the dead; `odd`: answers that could not be used."""

    began: float
    ended: float
    backed_off: float | None
    polls: list[tuple[float, int, tuple[int, ...]]]
    odd: int


Contender = Callable[[str, int, range, int], Coroutine[Any, Any, LineResult]]
"""(device, baud, numbers of the meters, passes): one line."""


def wire_limit(baud: int) -> float:
    """Polls a second when nothing is lost."""
    return 1 / (CHARACTERS * BITS_A_CHARACTER / baud + REPLY_DELAY_MS / 1000)


# --- contenders -----------------------------------------------------------------------------------


async def meterd(device: str, baud: int, numbers: range, passes: int) -> LineResult:
    """Ours: prepared polls, a run for each pass; who stays silent is backed off after some, and
    then `passes` follow."""
    polls: list[tuple[float, int, Any]] = []
    line = OurLine(
        BatchPoller(Deadlines()), numbers, lambda *answer: polls.append((time.monotonic(), *answer))
    )
    line.reply_timeouts.first_wait_s = FIRST_WAIT_ON_A_WIRE_S
    backed_off = None
    async with SerialChannel(device, baud) as channel:
        began = time.monotonic()
        left = passes
        while left:
            await line.read_energies(channel, 1)
            left -= 1
            if line.reply_timeouts.backed_off and backed_off is None:
                left, backed_off = passes, time.monotonic()
    return LineResult(began, time.monotonic(), backed_off, polls, line.odd)


async def dlt645(device: str, baud: int, numbers: range, passes: int) -> LineResult:
    """PyPI `dlt645`: its asyncio client with its own timeout, retry and pause."""
    client = AsyncRtuClient(device, baud)
    assert await client.connect()
    identifier = bytes.fromhex(IDENTIFIER)[::-1]
    polls = []
    began = time.monotonic()
    for _ in range(passes):
        for number in numbers:
            address = bytes.fromhex(address_of(number))[::-1]
            answer = await client.send_request(
                bytes(DLT645Protocol.build_frame(address, 0x11, identifier))
            )
            if answer is not None:
                data = DLT645Protocol.deserialize(answer).data
                values = [
                    bcd_to_float(data[at : at + 4], "XXXXXX.XX", "little") for at in range(4, 24, 4)
                ]
                polls.append(
                    (time.monotonic(), number, tuple(round(100 * value) for value in values))
                )
    ended = time.monotonic()
    await client.disconnect()
    return LineResult(began, ended, None, polls, 0)


CONTENDERS: dict[str, tuple[Contender, Callable[..., Any]]] = {
    "meterd": (meterd, uvloop.run),
    "dlt645": (dlt645, asyncio.run),
}


# --- measuring ------------------------------------------------------------------------------------


async def contend(contender: Contender, devices: list[str], baud: int) -> None:
    """Be one contender on all lines at once, prove the values, tell."""
    days = [day_now()]
    reads_of(1)  # its table is loaded with it, like the others' modules
    spare_what_is_there()
    cpu = time.process_time()
    lines = await asyncio.gather(
        *(
            contender(device, baud, range(METERS * line, METERS * (line + 1)), PASSES[baud])
            for line, device in enumerate(devices)
        )
    )
    cpu = time.process_time() - cpu
    days.append(day_now())
    for line in lines:
        assert line.polls, "a line without one answer"
        for _, number, registers in line.polls:
            assert registers in [energies(address_of(number), day) for day in days], (
                number,
                registers,
            )
    told(
        cpu_ms=1000 * cpu / sum(len(line.polls) for line in lines),
        odd=sum(line.odd for line in lines),
        before=statistics.median(
            rate(line, line.began, line.backed_off or line.ended) for line in lines
        ),
        after=statistics.median(
            rate(line, line.backed_off, line.ended) if line.backed_off else 0.0 for line in lines
        ),
    )


def rate(line: LineResult, since: float, until: float) -> float:
    """Good polls a second between two moments."""
    return sum(since < moment <= until for moment, *_ in line.polls) / (until - since)


def main() -> None:
    """Measure, and print the table as it stands in docs/speed.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=LINES, help="pseudo-terminals side by side")
    parser.add_argument("--bauds", type=int, nargs="+", default=list(PASSES), choices=list(PASSES))
    parser.add_argument(
        "--dead", type=int, nargs="+", default=[0, 1, 4], help=f"dead meters among {METERS}"
    )
    parser.add_argument(
        "--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="CONTENDER"
    )
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--devices", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        contender, run = CONTENDERS[asked.contender]
        run(contend(contender, asked.devices, asked.bauds[0]))
        return
    print(headline(f"{asked.lines} lines side by side, {METERS} meters each"))
    print(
        "| baud | dead | contender | good polls/s | of the limit | after backing off | CPU ms a poll | odd answers |"
    )
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    for baud in asked.bauds:
        for dead in asked.dead:
            options = {
                "lines": asked.lines,
                "baud": baud,
                "dead": dead,
                "of": METERS,
                "delay_ms": REPLY_DELAY_MS,
            }
            with Meters("serial", **options) as meters:
                arguments = ["--bauds", str(baud), "--devices", *meters.told["devices"]]
                found = measure_in_turn(
                    __file__, asked.only, 1, dict.fromkeys(asked.only, arguments)
                )
            for name, (figures,) in found.items():
                before, after = figures["before"], figures["after"]
                backed_off = f"{after / wire_limit(baud):.3f}" if after else "-"
                print(
                    f"| {baud} | {dead} | {name} | {before:.2f} | {before / wire_limit(baud):.3f} | {backed_off} "
                    f"| {figures['cpu_ms']:.2f} | {figures['odd']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
