"""On-demand reads: meters that are read now, over lines that have other things to do as well.

The reads of one request go to all lines at once; a line has few of them at a time, and keeps about
half of itself for what is due there. The same read soon after is answered from memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from weakref import WeakKeyDictionary

from config.problems import did_you_mean
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Found, Lines
from daemon.acquisition.meter_port import Registers
from daemon.acquisition.meter_reads import Key, MeterRead, Result, in_words
from daemon.acquisition.planning.reads import ReadRequest, ReadResult, What
from daemon.quality.arrival import Teller
from protocols.errors import MeterdError
from storage.archive import SiteMeter

REMEMBERED_S = 300.0
"""An answer is given again for this time without a read of the meter."""
MAX_REMEMBERED = 100_000
MAX_AT_ONCE = 4
"""Maximum number of reads that one line has at a time. Those of a request that come later wait as
long as the one before took."""
MAX_PER_MINUTE = 120
"""Maximum number of requests of a site."""
MAX_COMPARED = 5_000
"""Among more meters none of a similar name is looked for: the lines would have to wait for that."""
TOO_LATE = ReadResult("expired", reason="no answer")
FROM_THE_METER = ("ok", "no_data", "unsupported", "refused")
"""Outcomes that will be the same if the meter is read again."""
Slot = tuple[int, date]
"""(meter id, day)."""


class RequestRefused(MeterdError):
    """No meter is read. Who requested it acts: other meters, another line, later."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is read of which meters.

    `meters`: by address or point; or all of a `line`; or with `failed` all that lack a freeze; or
    with `withheld` the days whose values are withheld. `day`: of the freeze; None is the day that
    is due, of `failed` the newest day that each lacks. `within_s`: after this time the answers are
    of no use."""

    what: What
    within_s: float
    meters: tuple[str, ...] = ()
    line: str | None = None
    failed: bool = False
    withheld: bool = False
    day: date | None = None


@dataclass(eq=False, slots=True)
class _InFlight:
    """A request that is on its way, and how many wait for its answer."""

    request: ReadRequest
    waiting: int = 0

    @property
    def is_given_up(self) -> bool:
        return self.request.result.cancelled()


@dataclass(frozen=True, slots=True)
class CurrentRegisters:
    """The registers of a meter in kWh at the instant `at`, aware: raw, and of no day (R14)."""

    meter: SiteMeter
    registers: Registers
    at: datetime
    arrived_at: datetime
    told_by: Teller | None


Keep = Callable[[CurrentRegisters], Awaitable[str]]
"""Keeps what a meter told, once however often it is given; returns why not, or nothing."""


async def _kept_nowhere(current: CurrentRegisters) -> str:
    return ""


@dataclass
class OnDemand:
    """The site's on-demand reads. `today`: the day whose freeze is due."""

    lines: Lines
    today: Callable[[], date]
    keep: Keep = _kept_nowhere
    """Registers are kept before they are told."""
    remembered_s: float = REMEMBERED_S
    most_per_minute: int = MAX_PER_MINUTE
    _remembered: dict[Key, tuple[float, ReadResult]] = field(default_factory=dict)
    """Oldest first: (second of its arrival, what the meter answered)."""
    _in_flight: dict[Key, _InFlight] = field(default_factory=dict)
    _turns: WeakKeyDictionary[Line, asyncio.Semaphore] = field(default_factory=WeakKeyDictionary)
    _requested: deque[float] = field(default_factory=deque)
    """When the requests of the last minute came."""

    def jobs(self, request: Request, withheld: Iterable[Slot] = ()) -> list[MeterRead]:
        """What has to be read; `withheld`: all days of the site whose values are.

        RequestRefused when that is nothing, or there is no such meter or line."""
        self._keep_rate()
        if request.withheld:
            reads = self._withheld(request, withheld)
        else:
            reads = [
                MeterRead(
                    line,
                    meter,
                    request.what,
                    self._day(request, line, meter),
                )
                for line, meter in self._meant(request)
            ]
        if not reads and not (request.failed or request.withheld):
            raise RequestRefused(f"line {request.line} has no meters")
        # A request that was refused does not count.
        self._requested.append(time.monotonic())
        return reads

    async def results(
        self, reads: Sequence[MeterRead], within_s: float
    ) -> AsyncGenerator[Result, None]:
        """The result of each read as soon as it is there.

        To end this early takes back what was not begun yet."""
        until = time.monotonic() + within_s
        by_line: defaultdict[Line, list[MeterRead]] = defaultdict(list)
        for read in reads:
            by_line[read.line].append(read)
        results: asyncio.Queue[Result | None] = asyncio.Queue()
        lines = [
            self._read_line(
                some,
                until,
                results.put_nowait,
            )
            for some in by_line.values()
        ]
        asking = asyncio.gather(*lines)
        asking.add_done_callback(lambda _: results.put_nowait(None))
        try:
            while (result := await results.get()) is not None:
                if result.outcome == "expired":
                    reason = f"{result.reason} within {within_s:g} s (--within)"
                    result = replace(result, reason=reason)
                yield result
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _withheld(self, request: Request, slots: Iterable[Slot]) -> list[MeterRead]:
        reads = []
        for meter_id, day in slots:
            found = self.lines.with_meter(meter_id)
            if found is not None and request.line in (None, found[0].name):
                reads.append(MeterRead(*found, request.what, day))
        return reads

    def _meant(self, request: Request) -> list[tuple[Line, SiteMeter]]:
        """The meters of a request, each with its line."""
        if request.meters:
            return self._named(request)
        lines: Iterable[Line] = self.lines
        if request.line is not None:
            line = self.lines.get(request.line)
            if line is None:
                raise RequestRefused(f"no line {request.line} runs here")
            lines = [line]
        found: list[tuple[Line, SiteMeter]] = []
        for line in lines:
            meters = line.late_meters() if request.failed else line.meters
            found += [(line, meter) for meter in meters]
        return found

    def _named(self, request: Request) -> list[tuple[Line, SiteMeter]]:
        found = self.lines.find(request.meters)
        self._refuse_unknown(found)
        if request.line is not None:
            _refuse_elsewhere(found, request.line)
        by_id = {}
        for several in found.values():
            for line, meter in several:
                if request.line in (None, line.name):
                    by_id[meter.meter_id] = (line, meter)
        return list(by_id.values())

    def _refuse_unknown(self, found: Found) -> None:
        unknown = [name for name, meters in found.items() if not meters]
        if not unknown:
            return
        hint = ""
        if len(unknown) == 1:
            hint = self._similar(unknown[0])
        names = ", ".join(unknown)
        raise RequestRefused(f"no meter that is read here has the address or point {names}{hint}")

    def _similar(self, name: str) -> str:
        meters = [meter for line in self.lines for meter in line.meters]
        if len(meters) > MAX_COMPARED:
            return ""
        addresses = [meter.address for meter in meters]
        points = [meter.point for meter in meters]
        return did_you_mean(name, addresses + points)

    def _day(
        self,
        request: Request,
        line: Line,
        meter: SiteMeter,
    ) -> date | None:
        if request.what != "freeze":
            return None
        newest = line.newest_late(meter) if request.failed else None
        return request.day or newest or self.today()

    def _keep_rate(self) -> None:
        now = time.monotonic()
        while self._requested and self._requested[0] <= now - 60:
            self._requested.popleft()
        if len(self._requested) >= self.most_per_minute:
            oldest_ends_in_s = self._requested[0] + 60 - now
            wait_s = round(oldest_ends_in_s) + 1
            raise RequestRefused(
                f"{self.most_per_minute} requests within a minute are the most; "
                f"ask again in {wait_s} s"
            )

    async def _read_line(
        self,
        reads: Sequence[MeterRead],
        until: float,
        report: Callable[[Result], None],
    ) -> None:
        waiting = deque(reads)
        workers = [
            self._read_in_turn(
                waiting,
                until,
                report,
            )
            for _ in range(min(MAX_AT_ONCE, len(reads)))
        ]
        await asyncio.gather(*workers)

    async def _read_in_turn(
        self,
        waiting: deque[MeterRead],
        until: float,
        report: Callable[[Result], None],
    ) -> None:
        while waiting:
            read = waiting.popleft()
            began = time.monotonic()
            answer, age_s = await self._answer(read, until)
            not_kept = await self._keep_registers(read, answer)
            report(in_words(read, answer, age_s, not_kept))
            if waiting and age_s is None:
                # The line has as long for what is due there as it had for this.
                now = time.monotonic()
                pause_s = min(now - began, until - now)
                await asyncio.sleep(max(0.0, pause_s))

    async def _keep_registers(self, read: MeterRead, answer: ReadResult) -> str:
        """Why registers that the meter told are not kept; empty where nothing is to be kept."""
        # What is told again from memory is given again too: the first time may have failed.
        if answer.at is None or answer.arrived_at is None:
            return ""
        current = CurrentRegisters(
            read.meter, answer.value, answer.at, answer.arrived_at, read.line.told_by
        )
        return await self.keep(current)

    async def _answer(self, read: MeterRead, until: float) -> tuple[ReadResult, float | None]:
        """From memory, from an equal read that is in flight, or from the meter; and how old it
        is."""
        remembered = self._recall(read)
        if remembered is not None:
            return remembered
        left_s = until - time.monotonic()
        if left_s <= 0:
            return TOO_LATE, None
        try:
            async with asyncio.timeout(left_s):
                if not self._is_in_flight(read):
                    remembered = await self._begin_in_turn(read, until)
                return remembered or (await self._wait_for(read, until), None)
        except TimeoutError:
            return TOO_LATE, None

    def _recall(self, read: MeterRead) -> tuple[ReadResult, float] | None:
        remembered = self._remembered.get(read.key)
        if remembered is None:
            return None
        at, result = remembered
        age_s = time.monotonic() - at
        if age_s > self.remembered_s:
            return None
        return result, round(age_s, 1)

    def _is_in_flight(self, read: MeterRead) -> bool:
        in_flight = self._in_flight.get(read.key)
        return in_flight is not None and not in_flight.is_given_up

    async def _begin_in_turn(
        self, read: MeterRead, until: float
    ) -> tuple[ReadResult, float] | None:
        """Hand it to its line when it is its turn.

        An equal read may have had the turn before: then its answer is returned, or in flight."""
        turns = self._turns.setdefault(
            read.line,
            asyncio.Semaphore(MAX_AT_ONCE),
        )
        await turns.acquire()
        remembered = self._recall(read)
        if remembered is None and not self._is_in_flight(read):
            self._begin(read, until, turns)
        else:
            turns.release()
        return remembered

    def _begin(
        self,
        read: MeterRead,
        until: float,
        turns: asyncio.Semaphore,
    ) -> None:
        request = ReadRequest(
            read.meter.meter_id,
            read.what,
            until,
            read.day,
        )
        in_flight = _InFlight(request)
        self._in_flight[read.key] = in_flight

        def end(result: asyncio.Future[ReadResult]) -> None:
            turns.release()
            if self._in_flight.get(read.key) is in_flight:
                del self._in_flight[read.key]
            if result.cancelled():
                return
            answer = result.result()
            if answer.outcome in FROM_THE_METER:
                self._remember(read, answer)

        request.result.add_done_callback(end)
        read.line.ask(request)

    async def _wait_for(self, read: MeterRead, until: float) -> ReadResult:
        in_flight = self._in_flight[read.key]
        request = in_flight.request
        # The longest of those that wait is when the answer is of no use any more.
        request.expires_at = max(request.expires_at, until)
        in_flight.waiting += 1
        try:
            # Others may wait for the same answer.
            return await asyncio.shield(request.result)
        finally:
            in_flight.waiting -= 1
            # Nothing waits for it any more: a request that was not begun is taken back.
            if not in_flight.waiting:
                request.result.cancel()

    def _remember(self, read: MeterRead, result: ReadResult) -> None:
        now = time.monotonic()
        self._remembered.pop(read.key, None)
        self._remembered[read.key] = (now, result)
        while self._remembered:
            oldest = next(iter(self._remembered))
            is_fresh = self._remembered[oldest][0] > now - self.remembered_s
            if is_fresh and len(self._remembered) <= MAX_REMEMBERED:
                break
            del self._remembered[oldest]


def _refuse_elsewhere(found: Found, wanted: str) -> None:
    for name, meters in found.items():
        lines = [line.name for line, _ in meters]
        if wanted not in lines:
            elsewhere = f"{name} is on line {lines[0]}, not on {wanted}"
            raise RequestRefused(f"{elsewhere}; leave out --line")
