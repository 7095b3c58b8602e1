"""A scenario that runs: its lines are open, and a control port answers and changes what goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import datetime
from typing import Any

from protocols.errors import MeterdError
from simulators.bench.change_tables import Change, change_of
from simulators.bench.changes import apply
from simulators.bench.clock import bench_clock
from simulators.bench.control_port import ControlPort
from simulators.bench.recording import Recording
from simulators.bench.scenario import Clock, Scenario
from simulators.bench.stage import BadRequest, Stage

Facts = dict[str, Any]


class BenchNotOpened(MeterdError):
    """A port or a link of the bench is taken, or may not be used. The one who starts it acts."""


class Bench:
    """All lines of a scenario, and what happened on them. Use as an async context manager.

    What the scenario says is to be done is done at its time; what is done through `do` is told to
    `recording`."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        control_port: int = 0,
        now: Clock | None = None,
        recording: Recording | None = None,
    ) -> None:
        self.now = now or bench_clock(scenario.zone, scenario.start, scenario.speed)
        self.control_port = control_port
        """0 becomes the port that was taken."""
        self.stage = Stage(scenario, self.now)
        self.lines = self.stage.lines
        self.meters = self.stage.meters
        """By the address that each had when it came."""
        self.log = self.stage.log
        self._scenario = scenario
        self._recording = recording
        self._started_at = self.now()
        self._moved = asyncio.Event()
        self._next_at: datetime | None = min(self.action_times(), default=None)
        """When the scenario does the next thing; None when it does no more."""
        self._open = AsyncExitStack()

    def action_times(self) -> list[datetime]:
        """When the scenario does something."""
        return [self._started_at + action.after for action in self._scenario.actions]

    def clock_moved(self) -> None:
        """Whoever handed in `now` made it jump: what is due by it happens."""
        self._moved.set()

    async def caught_up(self) -> None:
        """Return when what was due by now has been done."""
        while self._next_at is not None and self._next_at <= self.now():  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def __aenter__(self) -> Bench:
        try:
            for name, line in self.lines.items():
                with _naming(f"line {name}", line.place):
                    await line.open()
                self._open.push_async_callback(line.close)
            control = ControlPort(self.stage, self.do)
            with _naming("the control port", self.control_port):
                self.control_port = await control.open(self.control_port)
            self._open.push_async_callback(control.close)
            if self._scenario.actions:
                self._open.push_async_callback(_end, asyncio.create_task(self._play()))
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def do(self, name: str, keys: Mapping[str, Any]) -> Facts:
        """Change something, as the control port does. BadRequest; OSError of a line."""
        keys = {key: value for key, value in keys.items() if value is not None}
        try:
            change = change_of(name, keys)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        at = self.now()
        facts = await self._apply(name, change, keys)
        if self._recording is not None:
            self._recording.change(at - self._started_at, {"do": name, **keys})
        return facts

    async def _apply(self, name: str, change: Change, keys: Mapping[str, Any]) -> Facts:
        facts = await apply(self.stage, change)
        told = json.dumps(dict(keys), default=str)
        self.stage.note(_subject(change), "bench", {"do": name, "keys": told})
        return facts

    async def _play(self) -> None:
        """Do what the scenario says, each at its time."""
        for action in self._scenario.actions:
            self._next_at = self._started_at + action.after
            await self._until(self._next_at)
            try:
                await self._apply(action.do, action.change, action.keys)
            except (BadRequest, OSError) as error:
                detail = {"do": action.do, "failed": str(error)}
                self.stage.note(_subject(action.change), "bench", detail)
        self._next_at = None

    async def _until(self, at: datetime) -> None:
        while self.now() < at:
            left_s = (at - self.now()).total_seconds() / float(self._scenario.speed)
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), max(left_s, 0))


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel it; what ended it before is raised."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _subject(change: Change) -> str:
    """The meter that is changed, or the line."""
    subject = getattr(change, "address", None) or getattr(change, "line", None)
    return str(subject)


@contextmanager
def _naming(what: str, where: object) -> Iterator[None]:
    """A place that is taken is an error with its name."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise BenchNotOpened(f"{what} cannot be opened at {where}: {reason}") from error
