"""What commands of this machine may ask of the running daemon: parse, call, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

from config.lines import configured_lines
from config.problems import did_you_mean
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.acquisition.on_demand import OnDemand, Request
from daemon.acquisition.planning.reads import What
from daemon.acquisition.wire_line import WireLine
from daemon.site.listeners import Listener
from daemon.site.reload import Configuration
from protocols.errors import MeterdError

MOST_UNREAD = 1000
"""So many pieces of a trace wait for a slow reader; those after them are dropped and counted."""
LOOK_S = 1.0
"""A reload may have built a line anew: whoever traces it looks so often."""

ReadResult = AsyncGenerator[dict[str, Any], None]


class BadRequest(MeterdError):
    """A request that is not what it must be. Whoever wrote the program that asks acts."""


class NoMidnightYet(BadRequest):
    """A freeze of a day that is still to come."""


@dataclass(frozen=True)
class Requests:
    """The requests by their names, `do`."""

    routes: Lines
    on_demand: OnDemand
    configuration: Configuration
    listeners: Mapping[str, Listener]
    zone: ZoneInfo

    async def answer(self, request: Mapping[str, Any]) -> ReadResult:
        """The objects that answer it, as they come."""
        by_name = {
            "collect": self._collect,
            "trace": self._trace,
            "lines": self._lines,
            "terminals": self._terminals,
            "plan": self._plan,
            "reload": self._reload,
        }
        do = by_name.get(str(request.get("do")))
        if do is None:
            raise BadRequest(f"do must be one of {', '.join(by_name)}")
        async with aclosing(do(request)) as answers:
            async for told in answers:
                yield told

    async def _collect(self, request: Mapping[str, Any]) -> ReadResult:
        """First how many are asked, then the result of each."""
        wanted = _wanted(request)
        if wanted.line is not None:
            self._route(wanted.line)
        self._refuse_switched_off(wanted.meters)
        if wanted.day is not None and wanted.day > self.on_demand.today():
            raise NoMidnightYet("that day has no midnight yet")
        jobs = self.on_demand.jobs(wanted)
        yield {"asked": len(jobs)}
        async with aclosing(self.on_demand.results(jobs, wanted.within_s)) as results:
            async for result in results:
                yield asdict(result)

    async def _trace(self, request: Mapping[str, Any]) -> ReadResult:
        """First how the line is, then pieces of bytes with direction and time, for `seconds` or
        until the asker has enough. `dropped`: pieces that he missed."""
        name, seconds = str(request.get("line")), request.get("seconds")
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0
        ):
            raise BadRequest("seconds must be a number above 0")
        clock = asyncio.get_running_loop().time
        ends_at = float("inf") if seconds is None else clock() + seconds
        line = self._traceable(name)
        yield {
            "line": name,
            "up": line.up,
            "reason": "" if line.up else line.down_reason,
        }
        while clock() < ends_at:
            line = self._traceable(name)
            pieces: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue(MOST_UNREAD)
            dropped = 0

            def watch(direction: str, shown: str, pieces: asyncio.Queue[Any] = pieces) -> None:
                nonlocal dropped
                if pieces.full():
                    dropped += 1
                else:
                    pieces.put_nowait(
                        (
                            datetime.now(self.zone).isoformat(timespec="milliseconds"),
                            direction,
                            shown,
                        )
                    )

            line.trace.watchers.add(watch)
            try:
                while self.routes.get(name) is line and clock() < ends_at:
                    try:
                        async with asyncio.timeout(min(LOOK_S, ends_at - clock())):
                            at, direction, shown = await pieces.get()
                    except TimeoutError:
                        continue
                    yield {
                        "at": at,
                        "direction": direction,
                        "bytes": shown,
                    }
                    if dropped and pieces.empty():
                        yield {"dropped": dropped}
                        dropped = 0
            finally:
                line.trace.watchers.discard(watch)

    async def _lines(self, request: Mapping[str, Any]) -> ReadResult:
        """Every line that runs."""
        for route in self.routes:
            yield {
                "line": route.name,
                "up": route.up,
                "meters": len(route.meters),
                "backed_off": route.backed_off,
            }

    async def _terminals(self, request: Mapping[str, Any]) -> ReadResult:
        """First the names of the listeners, then the terminals of each and who called and is
        none."""
        yield {"listeners": [section.name for section in self.configuration.site.settings.listener]}
        now = asyncio.get_running_loop().time()
        for listener in self.listeners.values():
            for row in listener.rows(now, self.zone):
                yield row

    async def _plan(self, request: Mapping[str, Any]) -> ReadResult:
        """What a reload with the files of `path` would do."""
        path = request.get("path")
        if not isinstance(path, str):
            raise BadRequest("path must be the path of a meterd.toml")
        yield (await self.configuration.plan(Path(path))).as_dict()

    async def _reload(self, request: Mapping[str, Any]) -> ReadResult:
        """What a reload did. `path` must be the file that the daemon runs with."""
        runs_with = self.configuration.site.path.absolute()
        if (path := request.get("path")) != str(runs_with):
            raise BadRequest(
                f"the daemon runs with {runs_with}, not with {path}; `meterd plan` compares the two"
            )
        yield (await self.configuration.reload()).as_dict()

    def _traceable(self, name: str) -> WireLine:
        route = self._route(name)
        if not isinstance(route, WireLine):
            raise BadRequest(
                f"{name} is no line with bytes of its own: name it in log.trace_lines and reload"
            )
        return route

    def _route(self, name: str) -> Line:
        """BadRequest says why none of that name runs."""
        if (route := self.routes.get(name)) is not None:
            return route
        if name in self._switched_off():
            raise BadRequest(f"line {name} is switched off (enabled = false)")
        if any(it.name == name for it in self.configuration.site.settings.listener):
            raise BadRequest(
                f"{name} is a listener: name one of its terminals' lines (meterd terminals)"
            )
        raise BadRequest(
            f"no line {name} runs here{did_you_mean(name, [it.name for it in self.routes])}"
        )

    def _refuse_switched_off(self, names: Collection[str]) -> None:
        """BadRequest for a meter whose line does not run on purpose: no similar name is meant."""
        meant, off = set(names), self._switched_off()
        for meter in self.configuration.site.archive.meters if meant and off else ():
            if meter.line in off and (name := meant & {meter.address, meter.point}):
                raise BadRequest(
                    f"{name.pop()} is on line {meter.line}, which is switched off (enabled = false)"
                )

    def _switched_off(self) -> set[str]:
        lines = configured_lines(self.configuration.site)
        return {line.name for line in lines if not line.enabled}


def _wanted(request: Mapping[str, Any]) -> Request:
    what, meters, line = (
        request.get("what", "freeze"),
        request.get("meters", []),
        request.get("line"),
    )
    within_s, failed, day = (
        request.get("within_s", 60),
        request.get("failed", False),
        request.get("day"),
    )
    if what not in get_args(What):
        raise BadRequest(f"what must be one of {', '.join(get_args(What))}")
    if not isinstance(meters, list) or not all(isinstance(name, str) for name in meters):
        raise BadRequest("meters must be a list of addresses or points")
    if not (line is None or isinstance(line, str)) or not isinstance(failed, bool):
        raise BadRequest("line must be a name, failed true or false")
    if (
        isinstance(within_s, bool)
        or not isinstance(within_s, int | float)
        or not 0 < within_s <= 86_400
    ):
        raise BadRequest("within_s must be a number of seconds, at most a day")
    if (failed and meters) or not (failed or meters or line):
        raise BadRequest("name meters, a line, or those that failed")
    try:
        of = None if day is None else date.fromisoformat(day)
    except (TypeError, ValueError):
        raise BadRequest(f"day {day!r} is no date, write 2026-03-01") from None
    if of is not None and what != "freeze":
        raise BadRequest("a day belongs to a freeze")
    return Request(
        what,
        within_s,
        tuple(meters),
        line,
        failed,
        of,
    )
