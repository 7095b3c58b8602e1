"""The lines that run now. A reload adds and removes some; each look sees those that are left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date

import numpy as np
from numpy.typing import NDArray

from daemon import metrics
from daemon.acquisition.line import Line
from daemon.runtime.supervision import Supervisor
from storage.archive import SiteMeter
from storage.gaps import Failures

Found = dict[str, list[tuple[Line, SiteMeter]]]
"""By name, an address or a point: the meters that are meant."""


class Lines:
    """Lines of any kind by their names, each with a supervised task."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._lines: dict[str, Line] = {}
        self._of_meter: dict[int, Line] = {}
        """By meter id."""
        self._of_address: dict[str, SiteMeter] = {}

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)

    def get(self, name: str) -> Line | None:
        """The line of that name, if it runs."""
        return self._lines.get(name)

    def start(self, lines: Iterable[Line]) -> None:
        """These run from now on."""
        for line in lines:
            self._lines[line.name] = line
            for meter in line.meters:
                self._of_meter[meter.meter_id] = line
                self._of_address[meter.address] = meter
            self._supervisor.start(_task_of(line), line.run, kind="line")

    def wake(self, names: Iterable[str]) -> None:
        """Commands may be waiting for these."""
        for name in names:
            line = self._lines.get(name)
            if line is not None:
                line.wake()

    def look_at_relay(self, meter_id: int) -> None:
        """Somebody wants to know where this meter's relay is."""
        line = self._of_meter.get(meter_id)
        if line is not None:
            line.look_at_relay(meter_id)

    def challenge(self, name: str) -> None:
        """Somebody else says to be at the far end of this line."""
        line = self._lines.get(name)
        if line is not None and line.meters:
            line.challenge()

    async def stop(self, names: Iterable[str]) -> None:
        """Stop them as a stop of the daemon would.

        An exchange that is under way is left, its commands are kept."""
        stopped = []
        for name in names:
            line = self._lines.pop(name, None)
            if line is not None:
                stopped.append(line)
        tasks = [_task_of(line) for line in stopped]
        await self._supervisor.stop(tasks)
        for line in stopped:
            line.give_up("the line was stopped by a reload")
            for meter in line.meters:
                # A reload may have moved the meter to a line that was started meanwhile.
                if self._of_meter.get(meter.meter_id) is line:
                    del self._of_meter[meter.meter_id]
                    self._of_address.pop(meter.address, None)

    def forget_figures(self, shown: Iterable[str]) -> None:
        """Nothing runs under these names any more: their metrics go."""
        in_use = {line.shown_as for line in self}
        for name in set(shown) - in_use:
            metrics.forget_line(name)

    def stored(self, slots: Iterable[tuple[int, date]]) -> None:
        """(meter id, day) of slots that have a value in the database now."""
        now = time.time()
        for meter_id, day in slots:
            line = self._of_meter.get(meter_id)
            if line is not None:
                line.stored(meter_id, day)
                line.stored_at = now

    def doubt(self, doubts: Iterable[tuple[int, date, int, float]]) -> None:
        """What is to be read again, of all meters: see Line.doubt."""
        by_line: defaultdict[Line, list[tuple[int, date, int, float]]] = defaultdict(list)
        for doubt in doubts:
            line = self._of_meter.get(doubt[0])
            if line is not None:
                by_line[line].append(doubt)
        for line in self:
            line.doubt(by_line.get(line, ()))

    def kept(self, slots: Iterable[tuple[int, date]]) -> None:
        """(meter id, day) of slots whose values are safe on disk."""
        for meter_id, day in slots:
            line = self._of_meter.get(meter_id)
            if line is not None:
                line.kept(meter_id, day)

    def meter(self, address: str) -> SiteMeter | None:
        """The meter with this address, if a line that runs has it."""
        return self._of_address.get(address)

    def with_meter(self, meter_id: int) -> tuple[Line, SiteMeter] | None:
        """The line that has a meter, and the meter; None when none that runs has it."""
        line = self._of_meter.get(meter_id)
        return None if line is None else (line, line.meter(meter_id))

    def clock_skews_s(self) -> NDArray[np.int32]:
        """How far the meters' clocks that were read today are ahead of the host's."""
        read = [line.clocks.skews_s() for line in self if line.clocks is not None]
        return np.concatenate([np.empty(0, np.int32), *read])

    def clock_stepped(self) -> None:
        """What was planned by the host's clock, or measured with it, is void."""
        for line in self:
            if line.clocks is not None:
                line.clocks.forget_all()
            line.look_again()

    def drain_failures(self) -> Failures:
        """What failed on any line since the last time, for somebody who writes it down."""
        failures = Failures()
        for line in self:
            line.drain_failures(failures)
        return failures

    def put_back(self, failures: Failures) -> None:
        """These could not be written down: they count with the next."""
        for attempt in failures.attempts:
            line = self._of_meter.get(attempt.meter_id)
            if line is not None:
                line.put_back(attempt)
        for name in (*failures.ended, *(outage.line for outage in failures.outages)):
            line = self._lines.get(name)
            if line is not None:
                line.outage.write_again()

    def find(self, names: Iterable[str]) -> Found:
        """The meters that are meant, by address or by point.

        A name that no meter has gets an empty list."""
        found: Found = {name: [] for name in names}
        for line in self:
            for meter in line.meters:
                for name in {meter.address, meter.point}:
                    if name in found:
                        found[name].append((line, meter))
        return found


def _task_of(line: Line) -> str:
    return f"line {line.name}"
