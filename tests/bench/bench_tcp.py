"""CPU of one poll over TCP: 1,000 connections with one question outstanding each, against other
programs.

Run it: `python tests/bench/bench_tcp.py`. The meters are `meters.c` in another process; each
contender has a process of its own and they take turns. Counted is the contender's process time,
user and system, from the first request to the last answer; connections and one poll to warm up come
before. Every answer is kept and proven afterwards. A poll of DL/T 645 is the request 4 x FE + 16
bytes and the answer 4 x FE + 36 bytes with five energies; a poll of Modbus TCP reads 20 registers.
Judge the ratios."""

from __future__ import annotations

import argparse
import asyncio
import gc
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from dlt645.common.transform import bcd_to_float
from dlt645.protocol.protocol import DLT645Protocol
from dlt645.transport.client.async_tcp_client import AsyncTcpClient
from pymodbus.client import AsyncModbusTcpClient

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.runtime.garbage import spare_what_is_there
from protocols.channels.tcp import TcpChannel
from tests.bench.contest import (
    Goal,
    allow_files,
    headline,
    measure_in_turn,
    median,
    print_verdicts,
    ratio,
    told,
)
from tests.bench.meters import Meters, address_of, day_now, energies, modbus_registers
from tests.bench.ours import OurLine, WholeLine
from tests.bench.wire import ANSWER, HEAD, IDENTIFIER, head_of, registers_in, request_of

REGISTERS = 20
DAYS = 62
EPOCH = date(1970, 1, 1)
DEPTH = 8
HOST = "127.0.0.1"

Polls = Callable[[int], Awaitable[list[tuple[int, Any]]]]
"""Polls every meter so many times, one question outstanding on each connection; (number of the
meter, what came)."""
Opened = AbstractAsyncContextManager[Polls]


# --- contenders -----------------------------------------------------------------------------------


@asynccontextmanager
async def meterd(port: int, meters: int) -> AsyncIterator[Polls]:
    """Ours: prepared polls of one meter on each line."""
    answers: list[tuple[int, Any]] = []
    batch_poller = BatchPoller(Deadlines())
    lines = [
        OurLine(batch_poller, [number], lambda *answer: answers.append(answer))
        for number in range(meters)
    ]
    async with AsyncExitStack() as stack:
        channels = [TcpChannel(HOST, port) for _ in lines]
        await asyncio.gather(*map(stack.enter_async_context, channels))

        async def polls(times: int) -> list[tuple[int, Any]]:
            answers.clear()
            await asyncio.gather(
                *(it.read_energies(on, times) for it, on in zip(lines, channels, strict=True))
            )
            return answers

        yield polls


@asynccontextmanager
async def whole_line(port: int, meters: int) -> AsyncIterator[Polls]:
    """Ours, all of it: the lines find what they want, 62 days of one meter each, and hand it on.
    Half of the questions are for stamps, one is for the clock."""
    arrived: list[Any] = []

    def hand_on(arrival: Arrival | PolledFreeze) -> bool:
        arrived.append(arrival)
        return True

    batch_poller = BatchPoller(Deadlines())
    lines = [WholeLine(batch_poller, [number], DAYS, hand_on) for number in range(meters)]
    async with AsyncExitStack() as stack:
        channels = [TcpChannel(HOST, port) for _ in lines]
        await asyncio.gather(*map(stack.enter_async_context, channels))

        async def polls(times: int) -> list[tuple[int, Any]]:
            if times == 1:
                return []  # a line that is warm has nothing left to want
            await asyncio.gather(*(it.collect(on) for it, on in zip(lines, channels, strict=True)))
            return [(it.meter.meter_id, it) for it in arrived]

        yield polls


@asynccontextmanager
async def raw(port: int, meters: int, depth: int = 1) -> AsyncIterator[Polls]:
    """The limit: a bare epoll loop, requests made before, the head of the answer compared, nothing
    decoded."""
    addresses = [address_of(number) for number in range(meters)]
    sockets = [socket.create_connection((HOST, port)) for _ in addresses]
    requests = [depth * request_of(address) for address in addresses]
    heads = [head_of(address) for address in addresses]
    number_of = {each.fileno(): number for number, each in enumerate(sockets)}
    send, receive = [each.send for each in sockets], [each.recv for each in sockets]
    ready = select.epoll()
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.register(each.fileno(), select.EPOLLIN)
    length = ANSWER * depth

    async def polls(times: int) -> list[tuple[int, Any]]:
        answers: list[tuple[int, Any]] = []
        rounds = max(1, times // depth)
        left = [rounds] * meters
        kept: dict[int, bytes] = {}
        for number in range(meters):
            send[number](requests[number])
        open_rounds = meters * rounds
        while open_rounds:
            for descriptor, _ in ready.poll():
                number = number_of[descriptor]
                answer = receive[number](4096)
                if len(answer) != length:
                    answer = kept.pop(number, b"") + answer
                    if len(answer) != length:
                        kept[number] = answer
                        continue
                head = heads[number]
                for start in range(4, length, ANSWER):
                    assert answer[start : start + HEAD] == head
                answers.append((number, answer))
                open_rounds -= 1
                left[number] -= 1
                if left[number]:
                    send[number](requests[number])
        if depth == 1:
            return answers
        return [
            (number, joined[at : at + ANSWER])
            for number, joined in answers
            for at in range(0, length, ANSWER)
        ]

    yield polls
    for each in sockets:
        each.close()


def raw_pipelined(port: int, meters: int) -> Opened:
    return raw(port, meters, DEPTH)


@asynccontextmanager
async def dlt645(port: int, meters: int) -> AsyncIterator[Polls]:
    """PyPI `dlt645`: its asyncio client, its frames, its values."""
    clients = [AsyncTcpClient(HOST, port) for _ in range(meters)]
    assert all(await asyncio.gather(*(client.connect() for client in clients)))
    identifier = bytes.fromhex(IDENTIFIER)[::-1]
    answers: list[tuple[int, Any]] = []

    async def poll(number: int, client: Any, times: int) -> None:
        address = bytes.fromhex(address_of(number))[::-1]
        for _ in range(times):
            answer = await client.send_request(
                bytes(DLT645Protocol.build_frame(address, 0x11, identifier))
            )
            data = DLT645Protocol.deserialize(answer).data
            values = [
                bcd_to_float(data[at : at + 4], "XXXXXX.XX", "little") for at in range(4, 24, 4)
            ]
            answers.append((number, values))

    async def polls(times: int) -> list[tuple[int, Any]]:
        answers.clear()
        await asyncio.gather(
            *(poll(number, client, times) for number, client in enumerate(clients))
        )
        return answers

    yield polls
    await asyncio.gather(*(client.disconnect() for client in clients))


@asynccontextmanager
async def pymodbus(port: int, meters: int) -> AsyncIterator[Polls]:
    """pymodbus: its asyncio client reads 20 registers."""
    clients = [AsyncModbusTcpClient(HOST, port=port) for _ in range(meters)]
    assert all(await asyncio.gather(*(client.connect() for client in clients)))
    answers: list[tuple[int, Any]] = []

    async def poll(number: int, client: AsyncModbusTcpClient, times: int) -> None:
        for _ in range(times):
            response = await client.read_holding_registers(
                0, count=REGISTERS, device_id=1 + number % 200
            )
            answers.append((number, response.registers))

    async def polls(times: int) -> list[tuple[int, Any]]:
        answers.clear()
        await asyncio.gather(
            *(poll(number, client, times) for number, client in enumerate(clients))
        )
        return answers

    yield polls
    for client in clients:
        client.close()


def in_hundredths(values: list[float]) -> tuple[int, ...]:
    return tuple(round(100 * value) for value in values)


class Contender(NamedTuple):
    """`times`: polls of each meter in one round, as many as the cost allows; `shown`: what came, as
    registers; `questions`: how many had to be asked for each of them."""

    opened: Callable[[int, int], Opened]
    run: Callable[..., Any]
    times: int
    shown: Callable[[Any], tuple[int, ...]]
    questions: float = 1.0


CONTENDERS = {
    "meterd": Contender(meterd, uvloop.run, 100, tuple),
    "meterd, whole line": Contender(
        whole_line, uvloop.run, DAYS, lambda it: it.registers, (1 + 2 * DAYS) / DAYS
    ),
    "raw epoll loop": Contender(raw, asyncio.run, 100, registers_in),
    "raw epoll loop, 8 deep": Contender(raw_pipelined, asyncio.run, 200, registers_in),
    "dlt645": Contender(dlt645, asyncio.run, 10, in_hundredths),
    "dlt645 on uvloop": Contender(dlt645, uvloop.run, 10, in_hundredths),
    "pymodbus": Contender(pymodbus, asyncio.run, 10, tuple),
    "pymodbus on uvloop": Contender(pymodbus, uvloop.run, 10, tuple),
}
OURS = "meterd"
GOALS = (Goal("raw epoll loop", 2.2), Goal("dlt645", 1 / 6), Goal("pymodbus", 1 / 3))


# --- measuring ------------------------------------------------------------------------------------


async def contend(contender: Contender, port: int, meters: int) -> None:
    """Be one contender: warm up, poll, prove, tell."""
    days = [day_now()]
    async with contender.opened(port, meters) as polls:
        spare_what_is_there()  # as the daemon does when it is ready; here for everyone
        await polls(1)
        gc.disable()  # the proof is kept here, by everyone; a daemon hands it on, and has nothing to be looked at
        wall, cpu = time.perf_counter(), time.process_time()
        answers = await polls(contender.times)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    days.append(day_now())
    assert len(answers) >= meters * contender.times
    for number, came in answers:
        shown = contender.shown(came)
        if contender.opened is pymodbus:
            expected = [tuple(modbus_registers(1 + number % 200, 0, REGISTERS))]
        else:
            dated = contender.opened is whole_line
            expected = [
                energies(address_of(number), day)
                for day in ([(came.day - EPOCH).days] if dated else days)
            ]
        assert shown in expected, f"meter {number} showed {shown}, not {expected[0]}"
    questions = len(answers) * contender.questions
    told(cpu_us=1e6 * cpu / questions, wall_us=1e6 * wall / questions)


def main() -> None:
    """Measure, and print the table as it stands in docs/speed.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--meters", type=int, default=1000, help="connections")
    parser.add_argument("--delay-ms", type=int, default=0, help="how long a meter takes to answer")
    parser.add_argument(
        "--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="CONTENDER"
    )
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    allow_files()
    if asked.contender:
        contender = CONTENDERS[asked.contender]
        contender.run(contend(contender, asked.port, asked.meters))
        return
    with (
        Meters("tcp", delay_ms=asked.delay_ms) as energy,
        Meters("tcp", "--modbus", delay_ms=asked.delay_ms) as modbus,
    ):
        arguments: dict[str, Sequence[str]] = {}
        for name in asked.only:
            (port,) = (modbus if "modbus" in name else energy).told["ports"]
            arguments[name] = ["--meters", str(asked.meters), "--port", str(port)]
        found = measure_in_turn(__file__, asked.only, asked.rounds, arguments)
    print(headline(f"{asked.meters} connections, {asked.rounds} rounds"))
    print("| contender | CPU us a poll | polls/s | times the raw loop |")
    print("|---|---:|---:|---:|")
    for name, rounds in found.items():
        times = (
            ratio(rounds, found["raw epoll loop"], "cpu_us")
            if "raw epoll loop" in found
            else float("nan")
        )
        print(
            f"| {name} | {median(rounds, 'cpu_us'):.1f} | {1e6 / median(rounds, 'wall_us'):,.0f} | {times:.2f} |"
        )
    print()
    sys.exit(not print_verdicts(found, OURS, GOALS, "cpu_us"))


if __name__ == "__main__":
    main()
