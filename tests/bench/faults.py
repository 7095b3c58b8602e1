"""Lines against meters that do everything wrong that meters and carriers do, by a seed.

Whole lines (prepared polls, general way, reply timeouts, recovery) read simulated meters over real
connections. Each answer may be late by the time-out and a moment, lost, doubled, another meter's,
another day's, cut, damaged, split, merged with the next one or lie among noise; connections are
closed or go deaf; tasks are killed. Whatever a line hands on is compared with the truth of its
meter and day.

    python -m tests.bench.faults --seed 7 --exchanges 100000
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import structlog
import uvloop

from daemon.acquisition.drivers import driver_of
from daemon.acquisition.parts import Pace
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.runtime.supervision import Supervisor
from protocols.channels.conversation import Timing
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.frame import Decoder, Frame, encode
from storage.archive import SiteMeter
from tests.line_parts import line_parts

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 16, 12, tzinfo=ZONE)
TIMING = Timing(reply_timeout_s=0.15, byte_gap_s=0.1, longest_answer_s=0.5, quiet_s=0.02, retries=1)
PACE = Pace(retry_s=1.0, reconnect_s=0.1)
LATE_S = (0.01, 0.1)
"""So much later than the time-out a late answer comes."""
FAULTS = (
    *(
        "late",
        "lost",
        "twice",
        "other_meter",
        "other_meter_before",
        "other_index",
        "other_index_before",
    ),
    *(
        "noise_before",
        "noise_behind",
        "noise_inside",
        "cut",
        "damaged",
        "split",
        "merged",
        "late_twice",
    ),
)
DAYS = 20
ONE_DAY = timedelta(days=1)


def truth(address: str, day: date) -> tuple[int, ...]:
    """Five registers in 0.01 kWh, of every meter and day others."""
    seed = int(address) % 99_991 * 911 + day.toordinal() * 13
    return tuple((seed * (tariff + 3)) % 10**8 for tariff in range(5))


def bcd(value: int, width: int) -> bytes:
    return bytes.fromhex(f"{value:0{2 * width}d}")[::-1]


@dataclass(frozen=True, slots=True)
class Plan:
    """How often what happens, of a thousand answers."""

    faulty: int = 120
    hang_up: int = 2
    deaf: int = 1
    killed: int = 1


class FaultyMeters:
    """The far end of one line. Its faults depend on the seed and on how many questions came, not on
    the time."""

    def __init__(
        self, number: int, addresses: list[str], seed: int, plan: Plan, dead: frozenset[str]
    ) -> None:
        self.number, self.addresses, self.plan, self.dead = number, addresses, plan, dead
        self.chance = random.Random(f"{seed}/{number}")
        self.today = NOON.date()
        self.exchanges = 0
        self.asked: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self._held = b""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers.add(writer)
        self._tasks.add(task)
        decoder, is_deaf = Decoder(), False
        self._held = b""
        try:
            while data := await reader.read(4096):
                for frame in decoder.feed(data):
                    if not isinstance(frame, Frame) or is_deaf:
                        continue
                    throw = self.chance.randrange(1000)
                    self.exchanges += 1
                    self.asked[frame.address] += 1
                    if throw < self.plan.hang_up:
                        self.happened["hang_up"] += 1
                        return
                    if throw < self.plan.hang_up + self.plan.deaf:
                        self.happened["deaf"] += 1
                        is_deaf = True
                    elif frame.address not in self.dead:
                        self._answer(writer, frame, throw >= 1000 - self.plan.faulty)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answer(self, writer: asyncio.StreamWriter, frame: Frame, is_faulty: bool) -> None:
        what = self.chance.choice(FAULTS) if is_faulty else "good"
        self.happened[what] += 1
        held, self._held = self._held, b""
        for after_s, data in self._pieces(what, frame):
            self._send(writer, held + data, after_s)
            held = b""
        if held:
            self._send(writer, held, 0.0)

    def _send(self, writer: asyncio.StreamWriter, data: bytes, after_s: float) -> None:
        if not after_s:
            writer.write(data)
            return
        asked_on = self.today

        def later() -> None:
            if not writer.is_closing() and self.today == asked_on:
                writer.write(data)

        asyncio.get_running_loop().call_later(after_s, later)

    def _pieces(self, what: str, frame: Frame) -> Iterator[tuple[float, bytes]]:
        answer = b"\xfe" * self.chance.randrange(5) + self._good(frame)
        at = self.chance.randrange(1, len(answer))
        noise = bytes(
            self.chance.choice(b"\x68\x16\xfe\x00\xff\x91\x55")
            for _ in range(self.chance.randrange(1, 20))
        )
        other = self.chance.choice([it for it in self.addresses if it != frame.address])
        index = f"05060{self.chance.randrange(2)}{self.chance.randrange(1, DAYS):02X}"
        late_s = TIMING.reply_timeout_s + self.chance.uniform(*LATE_S)
        match what:
            case "late":
                yield late_s, answer
            case "late_twice":
                yield late_s, answer
                yield late_s + LATE_S[1], answer
            case "twice":
                yield 0.0, answer * 2
            case "other_meter":
                yield 0.0, self._good(frame._replace(address=other))
            case "other_meter_before":
                yield 0.0, self._good(frame._replace(address=other)) + answer
            case "other_index":
                yield 0.0, self._good(frame._replace(data=bytes.fromhex(index)[::-1]))
            case "other_index_before":
                yield 0.0, self._good(frame._replace(data=bytes.fromhex(index)[::-1])) + answer
            case "noise_before":
                yield 0.0, noise + answer
            case "noise_behind":
                yield 0.0, answer + noise
            case "noise_inside":
                yield 0.0, answer[:at] + noise + answer[at:]
            case "cut":
                yield 0.0, answer[:at]
            case "damaged":
                yield (
                    0.0,
                    answer[:at]
                    + bytes((answer[at] ^ 1 << self.chance.randrange(8),))
                    + answer[at + 1 :],
                )
            case "split":
                yield 0.0, answer[:at]
                yield self.chance.uniform(0.001, 0.05), answer[at:]
            case "merged":
                self._held = answer
            case "good":
                yield 0.0, answer

    def _good(self, frame: Frame) -> bytes:
        """The true answer to a question."""
        identifier = frame.data[3::-1].hex().upper()
        day = self.today - (frame.data[0] - 1) * ONE_DAY
        match identifier[:6]:
            case "040001":
                data = (
                    bytes.fromhex("01160326")
                    if identifier == "04000101"
                    else bytes.fromhex("000012")
                )
                if identifier == "04000101":
                    data = bytes((self.today.isoweekday() % 7,)) + bytes.fromhex(
                        f"{self.today:%d%m%y}"
                    )
            case "050600":
                data = bytes.fromhex(f"0000{day:%d%m%y}")
            case "050601":
                data = b"".join(bcd(register, 4) for register in truth(frame.address, day))
            case _:
                return encode(Frame(frame.address, 0xD1, b"\x02"))
        return encode(Frame(frame.address, 0x91, frame.data[:4] + data))


@dataclass
class Figures:
    """What a run found. `wrong`: values that are not those of their meter and day, which must stay
    empty."""

    exchanges: int = 0
    values: int = 0
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    longest_gap_s: float = 0.0
    """The longest that a line handed on nothing although something was wanted."""


class Faulty:
    """One line and its meters: reads all days of all meters, again and again, each round a day
    later."""

    def __init__(
        self,
        number: int,
        seed: int,
        batch_poller: BatchPoller,
        figures: Figures,
        *,
        plan: Plan,
        meters: int = 6,
        depth: int = 1,
        dead: int = 0,
        days: int = DAYS,
        pace: Pace = PACE,
    ) -> None:
        addresses = [
            f"{(1 + number * 100 + it) * 68_166_816_671 % 10**12:012d}" for it in range(meters)
        ]
        self.dead = frozenset(addresses[::4][:dead])
        self.far_end = FaultyMeters(number, addresses, seed, plan, self.dead)
        self.name, self._figures, self._plan = f"line-{number}", figures, plan
        self._days, self._pace = days, pace
        self._batch_poller, self._depth = batch_poller, depth
        self._chance = random.Random(f"{seed}/{number}/tasks")
        self._got: set[tuple[str, date]] = set()
        self.is_full = asyncio.Event()
        self._last_at = time.monotonic()
        self._meters = [
            _meter(number * 100 + it, address, self.name) for it, address in enumerate(addresses)
        ]

    async def open(self, stack: AsyncExitStack, supervisor: Supervisor) -> None:
        """Begin to read."""
        server = await asyncio.start_server(self.far_end.serve, "127.0.0.1", 0)
        stack.push_async_callback(self.far_end.close)
        stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        self.line = WireLine(
            line_parts(
                self.name,
                self._meters,
                self._take,
                now=self._now,
                pace=self._pace,
                backfill_days=self._days,
            ),
            WireParts(
                driver_of=lambda meter: driver_of(meter, {}, has_relay=False),
                open_channel=lambda: TcpChannel("127.0.0.1", port),
                timing=TIMING,
                batch_poller=self._batch_poller,
                pipelined=self._depth,
            ),
        )
        supervisor.start(self.name, self.line.run, kind="line")

    def _now(self) -> datetime:
        return datetime.combine(self.far_end.today, NOON.timetz()).astimezone(UTC)

    def _take(self, arrival: Arrival | PolledFreeze) -> bool:
        if self._chance.randrange(1000) < self._plan.killed:
            self.far_end.happened["killed"] += 1
            raise RuntimeError("killed")
        freeze, day = arrival.freeze, arrival.freeze.frozen_at.date()
        expected = tuple(Decimal(it).scaleb(-2) for it in truth(arrival.meter.address, day))
        if (
            freeze.registers != expected
            or freeze.address != arrival.meter.address
            or freeze.frozen_at.hour
        ):
            self._figures.wrong.append(f"{freeze.address} {freeze.frozen_at}: {freeze.registers}")
        now = time.monotonic()
        self._figures.values += 1
        self._figures.longest_gap_s = max(self._figures.longest_gap_s, now - self._last_at)
        self._last_at = now
        self._got.add((arrival.meter.address, day))
        if len(self._got) >= (len(self._meters) - len(self.dead)) * self._days:
            self.is_full.set()
        return True

    async def run(self) -> None:
        """Round after round. What is late of one day does not reach the next."""
        while True:
            await self.is_full.wait()
            await asyncio.sleep(2 * LATE_S[1])
            self._figures.rounds += 1
            self.begin_anew()

    def begin_anew(self) -> None:
        """A day later everything is wanted again."""
        self._got.clear()
        self.is_full.clear()
        self._last_at = time.monotonic()
        self.far_end.today += ONE_DAY
        self.line.rebuild({}, date.min)
        self.line.wake()


def _meter(number: int, address: str, line: str) -> SiteMeter:
    return SiteMeter(
        meter_id=number,
        address=address,
        line=line,
        protocol="dlt645-2007",
        modulus=10**8,
        decimals=2,
        profile=None,
        installed_on=date(2020, 1, 1),
        point_id=1,
        point=f"P{number}",
        max_daily_kwh=Decimal(1000),
    )


async def fault_run(
    seed: int, exchanges: int, *, lines: int, within_s: float, plan: Plan = Plan()
) -> Figures:
    """Until so many questions were asked, on so many lines at once. TimeoutError when it takes too
    long."""
    figures, batch_poller = (
        Figures(),
        BatchPoller(Deadlines(), least=2),
    )  # most answers are judged together with others
    async with AsyncExitStack() as stack, asyncio.timeout(within_s):
        all_lines = [
            Faulty(it, seed, batch_poller, figures, plan=plan, depth=1 + it % 4)
            for it in range(lines)
        ]
        supervisor = Supervisor()
        stack.push_async_callback(stop_all, supervisor, all_lines)
        for faulty in all_lines:
            await faulty.open(stack, supervisor)
        rounds = [asyncio.create_task(faulty.run()) for faulty in all_lines]
        try:
            while sum(it.far_end.exchanges for it in all_lines) < exchanges and not figures.wrong:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        finally:
            for task in rounds:
                task.cancel()
            await asyncio.gather(*rounds, return_exceptions=True)
        figures.exchanges = sum(it.far_end.exchanges for it in all_lines)
        for faulty in all_lines:
            figures.happened += faulty.far_end.happened
    return figures


async def stop_all(supervisor: Supervisor, lines: list[Faulty]) -> None:
    await supervisor.stop([it.name for it in lines])


async def dead_meters(
    seed: int = 1, *, meters: int = 32, dead: int = 8, rounds: int = 4
) -> list[tuple[float, int, int]]:
    """Of each round of one line: seconds until all that live are read, questions to the living and
    to the dead."""
    figures, found = Figures(), []
    quiet = Plan(faulty=0, hang_up=0, deaf=0, killed=0)
    async with AsyncExitStack() as stack:
        pace = Pace(retry_s=1800.0, reconnect_s=1.0)
        faulty = Faulty(
            0,
            seed,
            BatchPoller(Deadlines()),
            figures,
            plan=quiet,
            meters=meters,
            dead=dead,
            pace=pace,
        )
        supervisor = Supervisor()
        stack.push_async_callback(stop_all, supervisor, [faulty])
        began = time.monotonic()
        await faulty.open(stack, supervisor)
        for _ in range(rounds):
            async with asyncio.timeout(60):
                await faulty.is_full.wait()
            asked = faulty.far_end.asked
            to_dead = sum(count for address, count in asked.items() if address in faulty.dead)
            found.append((time.monotonic() - began, asked.total() - to_dead, to_dead))
            asked.clear()
            began = time.monotonic()
            faulty.begin_anew()
    assert not figures.wrong
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A seeded fault run.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exchanges", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=128)
    how = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(fault_run(how.seed, how.exchanges, lines=how.lines, within_s=1800))
        took_s = time.monotonic() - began
        for what, count in sorted(figures.happened.items()):
            print(f"{what:20} {count:8}")
        print(
            f"seed {how.seed}: {figures.exchanges} exchanges, {figures.values} values in {took_s:.0f} s,"
        )
        print(
            f"{figures.rounds} rounds of {how.lines} lines, longest without a value {figures.longest_gap_s:.1f} s"
        )
        print(
            f"on a wrong meter, identifier or day: {len(figures.wrong)}",
            *figures.wrong[:5],
            sep="\n",
        )
        alone = runner.run(dead_meters(meters=24, dead=0))
        some_dead = runner.run(dead_meters())
        for name, rounds in (("24 alive", alone), ("32, 8 dead", some_dead)):
            print(
                name,
                *(f"{s:.3f} s ({living} + {lost} questions)" for s, living, lost in rounds),
                sep="; ",
            )
    raise SystemExit(bool(figures.wrong))


if __name__ == "__main__":
    main()
