"""What commands of this machine may ask of the running daemon: parse, call, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from config.lines import configured_lines
from config.problems import did_you_mean
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.acquisition.on_demand import OnDemand, Slot
from daemon.acquisition.wire_line import WireLine
from daemon.api.bad_request import BadRequest, is_number
from daemon.api.collect_request import collect_request
from daemon.api.live_trace import LiveTrace
from daemon.api.payment_request import UnknownAccount, as_told, payment_request
from daemon.site.listeners import Listener
from daemon.site.reload import Configuration
from daemon.transactions.payment import Payment, TopUp

LOOK_S: Final = 1.0
"""A reload may have built a line anew: a trace looks for it so often."""

Answers = AsyncGenerator[dict[str, Any], None]
"""Objects ready for JSON, as they come."""


class NoMidnightYet(BadRequest):
    """A freeze of a day that is still to come."""


@dataclass(frozen=True)
class Requests:
    """The requests by their names, `do`."""

    lines: Lines
    on_demand: OnDemand
    configuration: Configuration
    listeners: Mapping[str, Listener]
    zone: ZoneInfo
    withheld: Callable[[], Awaitable[Sequence[Slot]]]
    """Every day whose value is withheld and can be asked for again."""
    take_in: Callable[[Payment], Awaitable[TopUp | None]]
    """A payment, beside others that come at the same time."""

    async def answer(self, request: Mapping[str, Any]) -> Answers:
        """The objects that answer it, as they come."""
        by_name = {
            "collect": self._collect,
            "trace": self._trace,
            "lines": self._lines,
            "terminals": self._terminals,
            "plan": self._plan,
            "reload": self._reload,
            "topup": self._top_up,
        }
        do = by_name.get(str(request.get("do")))
        if do is None:
            raise BadRequest(f"do must be one of {', '.join(by_name)}")
        async with aclosing(do(request)) as answers:
            async for answer in answers:
                yield answer

    async def _collect(self, request: Mapping[str, Any]) -> Answers:
        """First how many are asked, then the result of each."""
        wanted = collect_request(request)
        if wanted.line is not None:
            self._line(wanted.line)
        self._refuse_switched_off(wanted.meters)
        if wanted.day is not None and wanted.day > self.on_demand.today():
            raise NoMidnightYet("that day has no midnight yet")
        withheld = await self.withheld() if wanted.withheld else ()
        jobs = self.on_demand.jobs(wanted, withheld)
        yield {"asked": len(jobs)}
        async with aclosing(self.on_demand.results(jobs, wanted.within_s)) as results:
            async for result in results:
                yield asdict(result)

    async def _trace(self, request: Mapping[str, Any]) -> Answers:
        """First how the line is, then pieces of bytes with direction and time.

        For `seconds` or until the asker has enough. `dropped`: pieces that were missed."""
        name = str(request.get("line"))
        clock = asyncio.get_running_loop().time
        ends_at = clock() + _duration_s(request.get("seconds"))
        line = self._traceable(name)
        yield {
            "line": name,
            "up": line.up,
            "reason": "" if line.up else line.down_reason,
        }
        while clock() < ends_at:
            line = self._traceable(name)  # a reload may have built another one
            pieces = LiveTrace(self.zone)
            with pieces.watches(line.trace):
                while self.lines.get(name) is line and clock() < ends_at:
                    for piece in await pieces.next(min(LOOK_S, ends_at - clock())):
                        yield piece

    async def _lines(self, request: Mapping[str, Any]) -> Answers:
        """Every line that runs."""
        for line in self.lines:
            yield {
                "line": line.name,
                "up": line.up,
                "meters": len(line.meters),
                "backed_off": line.backed_off,
            }

    async def _terminals(self, request: Mapping[str, Any]) -> Answers:
        """First the names of the listeners, then of each its terminals and unknown callers."""
        yield {"listeners": [section.name for section in self.configuration.site.settings.listener]}
        now = asyncio.get_running_loop().time()
        for listener in self.listeners.values():
            for row in listener.rows(now, self.zone):
                yield row

    async def _plan(self, request: Mapping[str, Any]) -> Answers:
        """What a reload with the files of `path` would do."""
        path = request.get("path")
        if not isinstance(path, str):
            raise BadRequest("path must be the path of a meterd.toml")
        leave_dark = _lines_to_leave_dark(request)
        yield (await self.configuration.plan(Path(path), leave_dark)).as_dict()

    async def _reload(self, request: Mapping[str, Any]) -> Answers:
        """What a reload did that `actor` asks for. `path`: the file that the daemon runs with."""
        # Two sites on one machine: a reload meant for the other must not be taken for one of this.
        runs_with = self.configuration.site.path.absolute()
        path = request.get("path")
        if path != str(runs_with):
            raise BadRequest(
                f"the daemon runs with {runs_with}, not with {path}; `meterd plan` compares the two"
            )
        actor, by_way_of = request.get("actor"), request.get("by_way_of")
        if not isinstance(actor, str) or not actor:
            raise BadRequest("actor must be the name of who asks")
        if not isinstance(by_way_of, str) or not by_way_of:
            raise BadRequest("by_way_of must be the user and the terminal where it was typed")
        leave_dark = _lines_to_leave_dark(request)
        done = await self.configuration.reload(actor, leave_dark, by_way_of=by_way_of)
        yield done.as_dict()

    async def _top_up(self, request: Mapping[str, Any]) -> Answers:
        """What became of a payment: `as_told` of daemon/api/payment_request.py."""
        payment = payment_request(request)
        done = await self.take_in(payment)
        if done is None:
            raise UnknownAccount(payment.account)
        is_shadow = self.configuration.site.settings.control.mode == "shadow"
        yield {**as_told(done), "is_shadow": is_shadow}

    def _traceable(self, name: str) -> WireLine:
        line = self._line(name)
        if not isinstance(line, WireLine):
            raise BadRequest(
                f"{name} is no line with bytes of its own: name it in log.trace_lines and reload"
            )
        return line

    def _line(self, name: str) -> Line:
        """The line of that name. BadRequest says why none runs."""
        line = self.lines.get(name)
        if line is not None:
            return line
        if name in self._switched_off():
            raise BadRequest(f"line {name} is switched off (enabled = false)")
        listeners = self.configuration.site.settings.listener
        if name in [listener.name for listener in listeners]:
            raise BadRequest(
                f"{name} is a listener: name one of its terminals' lines (meterd terminals)"
            )
        names = [line.name for line in self.lines]
        raise BadRequest(f"no line {name} runs here{did_you_mean(name, names)}")

    def _refuse_switched_off(self, names: Collection[str]) -> None:
        """BadRequest for a meter whose line does not run on purpose: no similar name is meant."""
        off = self._switched_off()
        if not names or not off:
            return
        for meter in self.configuration.site.archive.meters:
            if meter.line not in off:
                continue
            for name in {meter.address, meter.point}.intersection(names):
                raise BadRequest(
                    f"{name} is on line {meter.line}, which is switched off (enabled = false)"
                )

    def _switched_off(self) -> set[str]:
        lines = configured_lines(self.configuration.site)
        return {line.name for line in lines if not line.enabled}


def _duration_s(seconds: Any) -> float:
    if seconds is None:
        return float("inf")
    if not is_number(seconds) or seconds <= 0:
        raise BadRequest("seconds must be a number above 0")
    return float(seconds)


def _lines_to_leave_dark(request: Mapping[str, Any]) -> frozenset[str]:
    named = request.get("leave_dark", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise BadRequest("leave_dark must be a list of lines")
    return frozenset(named)
