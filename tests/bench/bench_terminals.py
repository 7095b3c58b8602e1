"""Terminals that dial in: CPU of a poll and memory of a line at 1,000, 3,000 and 9,000 of them; ten
minutes with all.

Run it: `python tests/bench/bench_terminals.py`, with `--hold-s 600` for the ten minutes, `--svg
FILE` for a picture. The terminals are `meters.c` in another process: each dials from an address of
127.0.0.x, registers itself with `TERM`, 8 digits, CR LF, says `BEAT`, 8 digits, CR LF every 30 s
and answers reads. Counted is the process time of the side that listens; memory is what its resident
set grew from before the first call until every terminal was polled once. Judge the ratio to the
bare epoll loop, and whether the cost of a poll stays the same as they become more."""

from __future__ import annotations

import argparse
import asyncio
import gc
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.runtime.garbage import spare_what_is_there
from protocols.channels.dial_in.endpoint import Limits
from protocols.channels.dial_in.session import TerminalChannel
from protocols.channels.dial_in.terminals import Terminals
from protocols.dial_in.callers import ANYONE
from protocols.dial_in.registration import RegistrationSettings, heartbeat, registration
from tests.bench.contest import allow_files, headline, measure_in_turn, median, rss, told
from tests.bench.meters import Meters, address_of, day_now, energies
from tests.bench.ours import OurLine
from tests.bench.wire import ANSWER, HEAD, head_of, registers_in, request_of

HOST = "127.0.0.1"
SIZES = (1000, 3000, 9000)
POLLS = 60_000
"""In one round, divided among the terminals."""
HEARTBEAT_S = 30
ACCEPT_PER_S = 3000.0
"""What our listener lets in; more than its default, so that 9,000 are there soon."""
HOLD_PERIOD_S = 15.0
REGISTRATION_TIMEOUT_S = 60


class Hall(Protocol):
    """Where terminals dial in. The meter behind terminal `number` is `address_of(number)`."""

    port: int

    async def registered(self, count: int) -> None:
        """Until so many terminals are registered."""

    async def polls(self, times: int) -> list[tuple[int, Any]]:
        """Polls every terminal so many times, one question outstanding each; (number of the
        terminal, what came)."""

    def connected(self) -> int:
        """How many terminals are registered and not lost."""


# --- contenders -----------------------------------------------------------------------------------


class OurHall:
    """Ours: a listener, a line for each terminal, prepared polls."""

    def __init__(self, terminals: Terminals, stack: AsyncExitStack) -> None:
        self.port = terminals.endpoint.port
        self._terminals, self._stack = terminals, stack
        self._lines: list[tuple[OurLine, TerminalChannel]] = []
        self._batch_poller = BatchPoller(Deadlines())
        self._answers: list[tuple[int, Any]] = []

    async def registered(self, count: int) -> None:
        for number in range(count):
            line = OurLine(
                self._batch_poller, [number], lambda *answer: self._answers.append(answer)
            )
            self._lines.append((line, self._terminals.channel(f"{number:08d}")))
        await asyncio.gather(
            *(self._stack.enter_async_context(channel) for _, channel in self._lines)
        )

    async def polls(self, times: int) -> list[tuple[int, Any]]:
        self._answers.clear()
        await asyncio.gather(*(line.read_energies(channel, times) for line, channel in self._lines))
        return self._answers

    def connected(self) -> int:
        return len(self._terminals.sessions)


@asynccontextmanager
async def meterd(count: int) -> AsyncIterator[Hall]:
    greetings = RegistrationSettings(
        registration("text", "TERM{id:8}\r\n"), heartbeat("regex", "BEAT[0-9]{8}\r\n")
    )
    known = [f"{number:08d}" for number in range(count)]
    limits = Limits(accept_per_s=ACCEPT_PER_S)
    async with (
        Terminals(
            "bench", (HOST, 0), greetings, known=dict.fromkeys(known, ANYONE), limits=limits
        ) as terminals,
        AsyncExitStack() as stack,
    ):
        yield OurHall(terminals, stack)


class RawHall:
    """The limit: a bare epoll loop, requests made before, the head of the answer compared, nothing
    decoded."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0), backlog=4096)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._ready = select.epoll()
        self._ready.register(self._listener.fileno(), select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._number: dict[int, int] = {}
        self._request: dict[int, bytes] = {}
        self._head: dict[int, bytes] = {}

    async def registered(self, count: int) -> None:
        while len(self._number) < count:
            for descriptor, _ in self._ready.poll(1):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor not in self._number:
                    self._register(descriptor, self._sockets[descriptor].recv(4096))

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[connection.fileno()] = connection
        self._ready.register(connection.fileno(), select.EPOLLIN)

    def _register(self, descriptor: int, said: bytes) -> None:
        assert said[:4] == b"TERM", said
        number = int(said[4:12])
        self._number[descriptor] = number
        self._request[descriptor] = request_of(address_of(number))
        self._head[descriptor] = head_of(address_of(number))

    async def polls(self, times: int) -> list[tuple[int, Any]]:
        answers: list[tuple[int, Any]] = []
        left = dict.fromkeys(self._number, times)
        kept: dict[int, bytes] = {}
        for descriptor, connection in self._sockets.items():
            connection.send(self._request[descriptor])
        while left:
            for descriptor, _ in self._ready.poll():
                answer = self._sockets[descriptor].recv(4096)
                assert answer, f"terminal {self._number[descriptor]} hung up"
                if len(answer) != ANSWER:  # a heartbeat alone, or with it
                    answer = kept.pop(descriptor, b"") + answer
                    start = answer.find(b"\xfe\xfe\xfe\xfe")
                    if start < 0 or len(answer) < start + ANSWER:
                        kept[descriptor] = answer
                        continue
                    answer = answer[start : start + ANSWER]
                assert answer[4 : 4 + HEAD] == self._head[descriptor]
                answers.append((self._number[descriptor], answer))
                if left[descriptor] > 1:
                    left[descriptor] -= 1
                    self._sockets[descriptor].send(self._request[descriptor])
                else:
                    del left[descriptor]
        return answers

    def connected(self) -> int:
        return len(self._number)

    def close(self) -> None:
        for connection in (self._listener, *self._sockets.values()):
            connection.close()


@asynccontextmanager
async def raw(count: int) -> AsyncIterator[Hall]:
    hall = RawHall()
    yield hall
    hall.close()


class Contender(NamedTuple):
    """`shown`: what came, as registers."""

    opened: Callable[[int], AbstractAsyncContextManager[Hall]]
    run: Callable[..., Any]
    shown: Callable[[Any], tuple[int, ...]]


CONTENDERS = {
    "meterd": Contender(meterd, uvloop.run, tuple),
    "raw epoll loop": Contender(raw, asyncio.run, registers_in),
}


# --- measuring ------------------------------------------------------------------------------------


async def contend(contender: Contender, count: int, hold_s: float) -> None:
    """Be one contender: let them in, poll, hold, prove, tell."""
    async with contender.opened(count) as hall:
        gc.collect()
        before = rss()
        terminals = Meters("terminals", port=hall.port, count=count, heartbeat_s=HEARTBEAT_S)
        began = time.perf_counter()
        terminals.start()
        async with asyncio.timeout(REGISTRATION_TIMEOUT_S):
            await hall.registered(count)
        arrival_s = time.perf_counter() - began
        prove(await hall.polls(1), contender.shown, count)
        spare_what_is_there()
        memory = rss() - before
        cpu = time.process_time()
        answers = await hall.polls(POLLS // count)
        cpu = time.process_time() - cpu
        prove(answers, contender.shown, count * (POLLS // count))
        held = await hold(hall, contender, count, hold_s) if hold_s else {}
        assert hall.connected() == count, f"{hall.connected()} of {count} terminals are still there"
        terminals.stop()
        assert terminals.counted["dropped"] == 0, (
            f"terminals lost their connection: {terminals.counted}"
        )
    told(
        cpu_us=1e6 * cpu / len(answers), line_kib=memory / count / 1024, arrival_s=arrival_s, **held
    )


async def hold(hall: Hall, contender: Contender, count: int, hold_s: float) -> dict[str, float]:
    """Poll every terminal each HOLD_PERIOD_S, until the time is over."""
    polls, cpu, start = 0, time.process_time(), time.monotonic()
    memory = rss()
    while (passed := time.monotonic() - start) < hold_s:
        await asyncio.sleep(max(0.0, start + polls * HOLD_PERIOD_S - start - passed))
        prove(await hall.polls(1), contender.shown, count)
        polls += 1
    gc.collect()
    return {
        "held_s": time.monotonic() - start,
        "held_polls": polls * count,
        "held_cpu_share": (time.process_time() - cpu) / (time.monotonic() - start),
        "held_growth_kib": (rss() - memory) / 1024,
    }


def prove(
    answers: list[tuple[int, Any]], shown: Callable[[Any], tuple[int, ...]], count: int
) -> None:
    """That every answer came and shows what its meter shows."""
    assert len(answers) == count, f"{len(answers)} answers to {count} questions"
    today = day_now()
    for number, came in answers:
        registers = shown(came)
        assert registers in [energies(address_of(number), day) for day in (today, today - 1)], (
            number,
            registers,
        )


def picture(found: dict[tuple[str, int], list[dict[str, float]]], sizes: list[int]) -> str:
    """CPU of a poll and memory of a line by the number of terminals, as SVG."""
    colours = ("#1b6ca8", "#888888")
    style = 'width="720" height="300" font-family="sans-serif" font-size="12"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {style}>']
    for panel, (figure, title) in enumerate(
        (("cpu_us", "CPU µs a poll"), ("line_kib", "KiB a line"))
    ):
        left = 50 + 350 * panel
        top = 1.2 * max(median(rounds, figure) for rounds in found.values())
        parts += [
            f'<text x="{left}" y="20" font-weight="bold">{title}</text>',
            f'<path d="M{left} 40V240H{left + 280}" fill="none" stroke="black"/>',
        ]
        for size in sizes:
            parts.append(
                f'<text x="{left + 280 * size / max(sizes):.0f}" y="256" text-anchor="middle">{size}</text>'
            )
        for line, (name, colour) in enumerate(zip(CONTENDERS, colours, strict=True)):
            values = [
                (size, median(found[name, size], figure)) for size in sizes if (name, size) in found
            ]
            spots = [
                (left + 280 * size / max(sizes), 240 - 200 * value / top, value)
                for size, value in values
            ]
            if not spots:
                continue
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            for x, y, value in spots:
                parts.append(
                    f'<text x="{x:.1f}" y="{y - 6:.1f}" text-anchor="end">{value:.1f}</text>'
                )
            parts.append(f'<text x="{left + 120 * line}" y="280" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    """Measure, and print the table as it stands in docs/speed.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--hold-s", type=float, default=0.0, help="then keep the greatest number for so long, once"
    )
    parser.add_argument("--svg", type=Path, help="where to draw the picture")
    parser.add_argument(
        "--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="CONTENDER"
    )
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    allow_files()
    if asked.contender:
        contender = CONTENDERS[asked.contender]
        contender.run(contend(contender, asked.sizes[0], asked.hold_s))
        return
    print(headline(f"{asked.rounds} rounds"))
    print("| terminals | contender | CPU us a poll | KiB a line | s until all are registered |")
    print("|---:|---|---:|---:|---:|")
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for size in asked.sizes:
        arguments: dict[str, Sequence[str]] = {name: ("--sizes", str(size)) for name in asked.only}
        for name, rounds in measure_in_turn(__file__, asked.only, asked.rounds, arguments).items():
            found[name, size] = rounds
            figures = [median(rounds, figure) for figure in ("cpu_us", "line_kib", "arrival_s")]
            bar = "#" * round(figures[0] / 2)
            print(
                f"| {size} | {name} | {figures[0]:.1f} {bar} | {figures[1]:.1f} | {figures[2]:.2f} |",
                flush=True,
            )
    if asked.svg:
        asked.svg.write_text(picture(found, asked.sizes))
    if asked.hold_s:
        held_at: Sequence[str] = ("--sizes", str(max(asked.sizes)), "--hold-s", str(asked.hold_s))
        arguments = dict.fromkeys(asked.only, held_at)
        for name, (held,) in measure_in_turn(__file__, asked.only, 1, arguments).items():
            print(
                f"\n{name}: {max(asked.sizes)} terminals for {held['held_s']:.0f} s, {held['held_polls']:.0f} polls, "
                f"all answered, none lost; {100 * held['held_cpu_share']:.1f} % of a core, "
                f"memory grew by {held['held_growth_kib']:.0f} KiB"
            )


if __name__ == "__main__":
    main()
