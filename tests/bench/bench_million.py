"""One day's freezes of 1,000,000 meters behind 1,000 concentrators, against a bare echo of as many
answers.

Run it: `python tests/bench/bench_million.py`. The concentrators are `meters.c` in another process,
a port for each; one question is outstanding on each connection. The echo is a bare epoll loop that
sends the same prepared question again and compares the head of the answer. Judge the ratio of the
rates and where the CPU time went."""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.runtime.garbage import spare_what_is_there
from protocols.channels.tcp import TcpChannel
from tests.bench.contest import allow_files, headline, measure_in_turn, median, ratio, told
from tests.bench.meters import Meters, address_of, day_now, energies
from tests.bench.ours import Take, WholeLine
from tests.bench.wire import HEAD, head_of, registers_in, request_of

HOST = "127.0.0.1"

PIPELINED = 8
Contender = Callable[[Sequence[int], int, Take], Coroutine[Any, Any, tuple[int, int]]]
"""(port of each concentrator, meters behind each, take) -> questions answered, questions not.
Concentrator `c` has the meters `address_of(number)` for number from c * meters to (c + 1) * meters
- 1."""


# --- contenders -----------------------------------------------------------------------------------


async def meterd_pipelined(ports: Sequence[int], meters: int, take: Take) -> tuple[int, int]:
    """The same where the concentrators permit it: several meters are asked at a time."""
    return await meterd(ports, meters, take, PIPELINED)


async def meterd(
    ports: Sequence[int], meters: int, take: Take, pipelined: int = 1
) -> tuple[int, int]:
    """Ours: one line for each concentrator collects today's freezes; the clock, the stamp and the
    energies of each meter, one question at a time."""

    came = 0

    def hand_on(arrival: Arrival | PolledFreeze) -> bool:
        nonlocal came
        assert isinstance(arrival, PolledFreeze)
        came += 1
        take(arrival.meter.meter_id, arrival.registers)
        return True

    batch_poller = BatchPoller(Deadlines())
    lines = [
        WholeLine(
            batch_poller, range(meters * number, meters * (number + 1)), 1, hand_on, pipelined
        )
        for number in range(len(ports))
    ]
    spare_what_is_there()

    async def collect(line: WholeLine, port: int) -> None:
        async with TcpChannel(HOST, port) as channel:
            await line.collect(channel)

    await asyncio.gather(*map(collect, lines, ports))
    return 3 * came, meters * len(ports) - came


async def raw(ports: Sequence[int], meters: int, take: Take) -> tuple[int, int]:
    """The limit: an epoll loop that reads one meter of each concentrator again and again."""
    sockets = [socket.create_connection((HOST, port)) for port in ports]
    firsts = [address_of(concentrator * meters) for concentrator in range(len(ports))]
    requests, heads = (
        [request_of(address) for address in firsts],
        [head_of(address) for address in firsts],
    )
    number_of = {each.fileno(): number for number, each in enumerate(sockets)}
    left, ready = [meters] * len(sockets), select.epoll()
    for number, each in enumerate(sockets):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.register(each.fileno(), select.EPOLLIN)
        each.send(requests[number])
    answered = 0
    while answered < meters * len(ports):
        for descriptor, _ in ready.poll():
            number = number_of[descriptor]
            answer = sockets[number].recv(4096)
            assert answer[4 : 4 + HEAD] == heads[number]
            answered += 1
            left[number] -= 1
            if left[number]:
                sockets[number].send(requests[number])
            else:
                take(number * meters, registers_in(answer))
    for each in sockets:
        each.close()
    return answered, 0


CONTENDERS: dict[str, tuple[Contender, Callable[..., Any]]] = {
    "meterd": (meterd, uvloop.run),
    "meterd, pipelined": (meterd_pipelined, uvloop.run),
    "raw echo": (raw, asyncio.run),
}
EVERY_METER = ("meterd", "meterd, pipelined")
"""Those that must have read each meter, not one behind each concentrator."""


# --- measuring ------------------------------------------------------------------------------------


async def contend(name: str, concentrators: int, meters: int) -> None:
    """Be one contender: collect, prove, tell."""
    days = [day_now()]
    found: list[tuple[int | None, ...] | None] = [None] * (concentrators * meters)
    with Meters("tcp", ports=concentrators) as simulated:
        before, wall = os.times(), time.perf_counter()
        questions, lost = await CONTENDERS[name][0](
            simulated.told["ports"], meters, found.__setitem__
        )
        after, wall = os.times(), time.perf_counter() - wall
    days.append(day_now())
    for number in range(0, len(found), 1 if name in EVERY_METER else meters):
        expected = [energies(address_of(number), day) for day in days]
        assert found[number] in expected, (
            f"meter {number} showed {found[number]}, not {expected[0]}"
        )
    told(
        questions=questions,
        lost=lost,
        wall_us=1e6 * wall / questions,
        user_us=1e6 * (after.user - before.user) / questions,
        system_us=1e6 * (after.system - before.system) / questions,
        cpu_us=1e6 * (after.user + after.system - before.user - before.system) / questions,
        wall_s=wall,
    )


def main() -> None:
    """Measure, and print the table as it stands in docs/speed.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concentrators", type=int, default=1000)
    parser.add_argument("--meters", type=int, default=1000, help="behind each concentrator")
    parser.add_argument(
        "--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="CONTENDER"
    )
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    allow_files()
    if asked.contender:
        CONTENDERS[asked.contender][1](contend(asked.contender, asked.concentrators, asked.meters))
        return
    arguments = ["--concentrators", str(asked.concentrators), "--meters", str(asked.meters)]
    found = measure_in_turn(
        __file__, asked.only, asked.rounds, dict.fromkeys(asked.only, arguments)
    )
    print(
        headline(
            f"{asked.concentrators} concentrators, {asked.meters} meters each, {asked.rounds} rounds"
        )
    )
    print(
        "| contender | s | questions | not answered | questions/s | CPU us each: user + system | rate by the echo's |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, rounds in found.items():
        user, system, wall_s, wall_us = (
            median(rounds, key) for key in ("user_us", "system_us", "wall_s", "wall_us")
        )
        questions, lost = median(rounds, "questions"), median(rounds, "lost")
        rate = (
            1 / ratio(rounds, found["raw echo"], "wall_us") if "raw echo" in found else float("nan")
        )
        print(
            f"| {name} | {wall_s:.1f} | {questions:,.0f} | {lost:,.0f} | {1e6 / wall_us:,.0f} "
            f"| {user:.1f} + {system:.1f} | {rate:.2f} |"
        )


if __name__ == "__main__":
    main()
