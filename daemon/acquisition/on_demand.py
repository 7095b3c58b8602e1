"""On-demand reads: meters that somebody asks for now, over lines that have other things to do as
well.

The reads of one request go to all lines at once; a line has few of them at a time, and keeps about
half of itself for what is due there. What a meter told is told again to whoever asks the same soon
after."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

from config.problems import did_you_mean
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.acquisition.planning.reads import ReadRequest, ReadResult, What
from protocols.errors import MeterdError
from protocols.reading import RelayState
from storage.archive import SiteMeter

REMEMBERED_S = 300.0
"""So long an answer is given again without asking the meter."""
MOST_REMEMBERED = 100_000
MOST_AT_ONCE = 4
"""ReadRequests that one line has at a time. Those of a request that come later wait as long as the
one before took."""
MOST_PER_MINUTE = 120
"""Requests that a site takes."""
MOST_COMPARED = 5_000
"""Among more meters none of a similar name is looked for: the lines would have to wait for that."""
TOO_LATE = ReadResult("expired", reason="no answer")
FROM_THE_METER = ("ok", "no_data", "unsupported", "refused")


class RequestRefused(MeterdError):
    """Nobody is asked. Whoever asks acts: other meters, another line, later."""


@dataclass(frozen=True, slots=True)
class Request:
    """Which meters (by address or point), all of a line, or all that lack a freeze; and what they
    are to tell.

    `day`: of the freeze; None is the day that is due, of `failed` the newest day that each lacks.
    `within_s`: then nobody waits any more."""

    what: What
    within_s: float
    meters: tuple[str, ...] = ()
    line: str | None = None
    failed: bool = False
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one meter's question. `values` by name, for ok; `age_s`: how old a remembered
    answer is."""

    meter: str
    point: str
    line: str
    outcome: str
    day: date | None
    values: dict[str, str | None]
    reason: str
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One meter's question, and the line that it goes to."""

    route: Line
    meter: SiteMeter
    what: What
    day: date | None

    @property
    def key(self) -> tuple[int, What, date | None]:
        return self.meter.meter_id, self.what, self.day


@dataclass(eq=False, slots=True)
class _UnderWay:
    """A question that is on its way, and how many wait for its answer."""

    question: ReadRequest
    waiting: int = 0


@dataclass
class OnDemand:
    """The site's on-demand reads. `today`: the day whose freeze is due."""

    routes: Lines
    today: Callable[[], date]
    _remembered: dict[tuple[int, What, date | None], tuple[float, ReadResult]] = field(
        default_factory=dict
    )
    _under_way: dict[tuple[int, What, date | None], _UnderWay] = field(default_factory=dict)
    _turns: WeakKeyDictionary[Line, asyncio.Semaphore] = field(default_factory=WeakKeyDictionary)
    _requested: deque[float] = field(default_factory=deque)

    def jobs(self, request: Request) -> list[Asked]:
        """What has to be asked. RequestRefused when that is nobody, or there is no such meter or
        line."""
        self._keep_rate()
        jobs = [
            Asked(route, meter, request.what, self._day(request, route, meter))
            for route, meter in self._who(request)
        ]
        if not jobs and not request.failed:
            raise RequestRefused(f"line {request.line} has no meters")
        self._requested.append(time.monotonic())
        return jobs

    async def results(self, jobs: Sequence[Asked], within_s: float) -> AsyncGenerator[Result, None]:
        """The result of each job as soon as it is there. Whoever ends this early takes back what
        was not asked yet."""
        until = time.monotonic() + within_s
        by_route: defaultdict[Line, list[Asked]] = defaultdict(list)
        for job in jobs:
            by_route[job.route].append(job)
        told: asyncio.Queue[Result | None] = asyncio.Queue()
        asking = asyncio.gather(
            *(self._ask_line(asked, until, told.put_nowait) for asked in by_route.values())
        )
        asking.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (result := await told.get()) is not None:
                if result.outcome == "expired":
                    result = replace(
                        result, reason=f"{result.reason} within {within_s:g} s (--within)"
                    )
                yield result
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _who(self, request: Request) -> list[tuple[Line, SiteMeter]]:
        if request.meters:
            found = self.routes.find(request.meters)
            if unknown := [name for name, meters in found.items() if not meters]:
                hint = self._similar(unknown[0]) if len(unknown) == 1 else ""
                raise RequestRefused(
                    f"no meter that is read here has the address or point {', '.join(unknown)}{hint}"
                )
            for name, meters in found.items():
                if request.line not in (None, *(route.name for route, _ in meters)):
                    elsewhere = f"{name} is on line {meters[0][0].name}, not on {request.line}"
                    raise RequestRefused(f"{elsewhere}; leave out --line")
            there = list(
                {
                    meter.meter_id: (route, meter)
                    for all_ in found.values()
                    for route, meter in all_
                }.values()
            )
            return [(route, meter) for route, meter in there if request.line in (None, route.name)]
        routes: Iterable[Line] = self.routes
        if request.line is not None:
            route = self.routes.get(request.line)
            if route is None:
                raise RequestRefused(f"no line {request.line} runs here")
            routes = [route]
        return [
            (it, meter)
            for it in routes
            for meter in (it.late_meters() if request.failed else it.meters)
        ]

    def _similar(self, name: str) -> str:
        meters = [meter for route in self.routes for meter in route.meters]
        if len(meters) > MOST_COMPARED:
            return ""
        return did_you_mean(
            name, [known for meter in meters for known in (meter.address, meter.point_id)]
        )

    def _day(self, request: Request, route: Line, meter: SiteMeter) -> date | None:
        if request.what != "freeze":
            return None
        newest = route.newest_late(meter) if request.failed else None
        return request.day or newest or self.today()

    def _keep_rate(self) -> None:
        now = time.monotonic()
        while self._requested and self._requested[0] <= now - 60:
            self._requested.popleft()
        if len(self._requested) >= MOST_PER_MINUTE:
            wait_s = round(self._requested[0] + 60 - now) + 1
            raise RequestRefused(
                f"{MOST_PER_MINUTE} requests within a minute are the most; ask again in {wait_s} s"
            )

    async def _ask_line(
        self, jobs: Sequence[Asked], until: float, tell: Callable[[Result], None]
    ) -> None:
        waiting = deque(jobs)
        await asyncio.gather(
            *(self._ask_in_turn(waiting, until, tell) for _ in range(min(MOST_AT_ONCE, len(jobs))))
        )

    async def _ask_in_turn(
        self, waiting: deque[Asked], until: float, tell: Callable[[Result], None]
    ) -> None:
        while waiting:
            asked = waiting.popleft()
            began = time.monotonic()
            result = await self._result(asked, until)
            tell(result)
            if waiting and result.age_s is None:
                took_s = time.monotonic() - began
                await asyncio.sleep(max(0.0, min(took_s, until - time.monotonic())))

    async def _result(self, asked: Asked, until: float) -> Result:
        """From memory, from a question that is under way already, or from the meter."""
        remembered, left_s = self._recall(asked), until - time.monotonic()
        if remembered is not None or left_s <= 0:
            return remembered or _in_words(asked, TOO_LATE)
        try:
            async with asyncio.timeout(left_s):
                if not self._is_under_way(asked):
                    turns = self._turns.setdefault(asked.route, asyncio.Semaphore(MOST_AT_ONCE))
                    await turns.acquire()
                    remembered = self._recall(asked)  # by somebody who had the turn before
                    if remembered is None and not self._is_under_way(asked):
                        self._ask(asked, until, turns)
                    else:
                        turns.release()
                return remembered or _in_words(asked, await self._hear(asked, until))
        except TimeoutError:
            return _in_words(asked, TOO_LATE)

    def _recall(self, asked: Asked) -> Result | None:
        at, told = self._remembered.get(asked.key, (0.0, None))
        age_s = time.monotonic() - at
        return (
            None
            if told is None or age_s > REMEMBERED_S
            else _in_words(asked, told, round(age_s, 1))
        )

    def _is_under_way(self, asked: Asked) -> bool:
        under_way = self._under_way.get(asked.key)
        return under_way is not None and not under_way.question.result.cancelled()

    def _ask(self, asked: Asked, until: float, turns: asyncio.Semaphore) -> None:
        question = ReadRequest(asked.meter.meter_id, asked.what, until, asked.day)
        under_way = self._under_way[asked.key] = _UnderWay(question)

        def settle(told: asyncio.Future[ReadResult]) -> None:
            turns.release()
            if self._under_way.get(asked.key) is under_way:
                del self._under_way[asked.key]
            if not told.cancelled() and told.result().outcome in FROM_THE_METER:
                self._remember(asked, told.result())

        question.result.add_done_callback(settle)
        asked.route.ask(question)

    async def _hear(self, asked: Asked, until: float) -> ReadResult:
        under_way = self._under_way[asked.key]
        question = under_way.question
        question.expires_at = max(question.expires_at, until)
        under_way.waiting += 1
        try:
            return await asyncio.shield(question.result)
        finally:
            under_way.waiting -= 1
            if not under_way.waiting:
                question.result.cancel()

    def _remember(self, asked: Asked, told: ReadResult) -> None:
        now = time.monotonic()
        self._remembered.pop(asked.key, None)
        self._remembered[asked.key] = (now, told)
        while self._remembered:
            oldest = next(iter(self._remembered))
            if (
                len(self._remembered) <= MOST_REMEMBERED
                and self._remembered[oldest][0] > now - REMEMBERED_S
            ):
                break
            del self._remembered[oldest]


def _in_words(asked: Asked, told: ReadResult, age_s: float | None = None) -> Result:
    meter, values = asked.meter, {}
    if told.outcome == "ok":
        values = _values(asked, told.value)
    return Result(
        meter.address,
        meter.point_id,
        asked.route.name,
        told.outcome,
        asked.day,
        values,
        told.reason,
        age_s,
    )


def _values(asked: Asked, value: Any) -> dict[str, str | None]:
    """As words: registers in kWh, the clock as the meter shows it, the relay as it is and as it is
    ordered to be."""
    match value:
        case datetime():
            return {"clock": value.isoformat(sep=" ", timespec="seconds")}
        case RelayState():
            ordered = "open" if value.command_open else "closed"
            return {"relay": "open" if value.relay_open else "closed", "ordered": ordered}
        case tuple():
            names = ["total_kwh", *(f"tariff_{number}_kwh" for number in range(1, len(value)))]
            return {
                name: None if kwh is None else _kwh(asked, kwh)
                for name, kwh in zip(names, value, strict=True)
            }
    raise AssertionError(f"{value!r} is no answer of a meter")


def _kwh(asked: Asked, kwh: Decimal) -> str:
    return f"{kwh:.{asked.meter.decimals}f}"
