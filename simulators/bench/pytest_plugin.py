"""Simulated meters in the tests of whoever reads meters: fixtures of pytest, nothing of a database.

`pip install meterd[pytest-meterd-bench]` is all; pytest finds it by itself."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from simulators.bench.remote import RemoteBench
    from simulators.bench.running import Bench
    from simulators.bench.scenario import Scenario

START: Final = datetime(2026, 3, 2, 10)  # noqa: DTZ001 - a site's wall clock
METER: Final = "000000000001"
NAME: Final = "[a-z0-9-]+"
"""Of a scenario; its text has more than that."""
USUAL: Final = f"""
[lines.line]
port = 0
reply_delay_ms = 0
[[meters]]
line = "line"
address = "{METER}"
count = 3
"""
START_S: Final = 30.0


@dataclass(slots=True)
class BenchTime:
    """The site's wall clock of a bench: it stands still until a test moves it."""

    now: datetime = START
    on_move: list[Callable[[], object]] = field(default_factory=list)

    def move(self, **by: float) -> datetime:
        """On by `days`, `hours`, `minutes` ...; what is due by then happens. Returns now."""
        return self.go_to(self.now + timedelta(**by))

    def go_to(self, at: datetime) -> datetime:
        """ValueError for a time that is past: a meter's true time never goes back."""
        if at < self.now:
            raise ValueError(f"{at} is before {self.now}; set the clock of a meter instead")
        self.now = at
        for told in self.on_move:
            told()
        return at


@dataclass(frozen=True, slots=True)
class MeterBench:
    """A bench that runs in a thread of its own, so that a test may wait for a reader.

    `control` lets everything happen (docs/simulators.md); `time` moves its clock."""

    control: RemoteBench
    time: BenchTime
    places: dict[str, dict[str, Any]]
    """By line: `host` and `port`, or `device`."""

    def address_of(self, line: str = "line") -> tuple[str, int]:
        """(host, port) of a line on TCP."""
        place = self.places[line]
        return str(place["host"]), int(place["port"])

    def register_kwh(self, address: str = METER) -> Decimal:
        """What the display of a meter shows now."""
        return Decimal(self.control.meter(address)["register"])

    @contextmanager
    def fault(self, kind: str, **what: Any) -> Iterator[None]:
        """Something goes wrong while the block runs, at `line` or `address`."""
        self.control.fault_on(kind, **what)
        try:
            yield
        finally:
            place = {key: what[key] for key in ("line", "address") if key in what}
            self.control.fault_off(kind, **place)

    def mistakes(self) -> list[str]:
        """The kinds of what the reader under test did wrong so far."""
        return [finding["kind"] for finding in self.control.diagnosis()]


OpenBench = Callable[..., MeterBench]


@pytest.fixture
def meterd_time() -> BenchTime:
    """The clock of the test's benches."""
    return BenchTime()


@pytest.fixture
def meterd_open(meterd_time: BenchTime) -> Iterator[OpenBench]:
    """Opens a bench: `meterd_open(SCENARIO)`, the text of one, the path of one, or the name of one
    that comes with the program; without any, three meters on a TCP line. It ends with the test."""
    with ExitStack() as opened:

        def open_bench(scenario: str | Path = USUAL) -> MeterBench:
            return opened.enter_context(_running(_loaded(scenario), meterd_time))

        yield open_bench


@pytest.fixture
def meterd_bench(meterd_open: OpenBench) -> MeterBench:
    """Three meters, 000000000001 to 3, on the TCP line `line`."""
    return meterd_open()


def _loaded(scenario: str | Path) -> Scenario:
    # Here and not above: pytest loads this module for every test of the environment.
    from config.problems import did_you_mean
    from simulators.bench.scenario import load_scenario, parse_scenario, shipped_scenarios

    if isinstance(scenario, Path):
        return load_scenario(scenario)
    shipped = shipped_scenarios()
    if scenario in shipped:
        return parse_scenario(shipped[scenario], f"{scenario}.toml")
    if re.fullmatch(NAME, scenario):
        hint = did_you_mean(scenario, shipped)
        raise ValueError(f"there is no scenario {scenario!r}{hint}; they are {', '.join(shipped)}")
    return parse_scenario(scenario)


@contextmanager
def _running(scenario: Scenario, time: BenchTime) -> Iterator[MeterBench]:
    from simulators.bench.control_port import CONTROL_HOST
    from simulators.bench.remote import RemoteBench
    from simulators.bench.running import Bench

    if scenario.start is not None:
        time.go_to(max(time.now, scenario.start))
    thread = _BenchThread(Bench(scenario, now=lambda: time.now))
    bench = thread.open()
    time.on_move.append(thread.clock_moved)
    try:
        with RemoteBench(CONTROL_HOST, bench.control_port) as control:
            places = {name: dict(line.whereabouts()) for name, line in bench.lines.items()}
            yield MeterBench(control, time, places)
    finally:
        time.on_move.remove(thread.clock_moved)
        thread.close()


class _BenchThread:
    """Runs a bench on an event loop of its own."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def open(self) -> Bench:
        """When it returns all lines are open. What opening raises."""
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(self._bench.__aenter__(), self._loop)
        try:
            return opening.result(START_S)
        except BaseException:
            self._end()
            raise

    def clock_moved(self) -> None:
        """When it returns what was due has happened."""

        async def happen() -> None:
            self._bench.clock_moved()
            await self._bench.caught_up()

        asyncio.run_coroutine_threadsafe(happen(), self._loop).result(START_S)

    def close(self) -> None:
        """When it returns nothing is left of it."""
        closing = self._bench.__aexit__(None, None, None)
        try:
            asyncio.run_coroutine_threadsafe(closing, self._loop).result(START_S)
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
