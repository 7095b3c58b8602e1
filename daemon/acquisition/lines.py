"""The ways to meters that run now. A reload adds and removes some; whoever asks here sees those
that are left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from daemon import metrics
from daemon.acquisition.line import Line
from daemon.runtime.supervision import Supervisor
from storage.archive import SiteMeter


class Lines:
    """Lines and gateways by their names, each with a supervised task."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._routes: dict[str, Line] = {}
        self._of_meter: dict[int, Line] = {}

    def __iter__(self) -> Iterator[Line]:
        return iter(self._routes.values())

    def __len__(self) -> int:
        return len(self._routes)

    def get(self, name: str) -> Line | None:
        """The route of that name, if it runs."""
        return self._routes.get(name)

    def start(self, routes: Iterable[Line]) -> None:
        """These run from now on."""
        for route in routes:
            self._routes[route.name] = route
            self._of_meter.update((meter.meter_id, route) for meter in route.meters)
            self._supervisor.start(f"line {route.name}", route.run, kind="line")

    def wake(self, names: Iterable[str]) -> None:
        """Commands may be waiting for these."""
        for name in names:
            if (route := self._routes.get(name)) is not None:
                route.wake()

    async def stop(self, names: Iterable[str]) -> None:
        """Stop them as a stop of the daemon would: an exchange that is under way is left, its
        orders are kept."""
        stopped = [self._routes.pop(name) for name in names if name in self._routes]
        await self._supervisor.stop([f"line {route.name}" for route in stopped])
        for route in stopped:
            route.give_up("the line was stopped by a reload")
            for meter in route.meters:
                if self._of_meter.get(meter.meter_id) is route:
                    del self._of_meter[meter.meter_id]

    def forget_figures(self, shown: Iterable[str]) -> None:
        """Nothing runs under these names any more: their metrics go."""
        for name in set(shown) - {route.shown_as for route in self}:
            metrics.forget_line(name)

    def stored(self, slots: Iterable[tuple[int, date]]) -> None:
        """(meter id, day) of slots that have a value in the database now."""
        for meter_id, day in slots:
            route = self._of_meter.get(meter_id)
            if route is not None:
                route.stored(meter_id, day)

    def find(self, names: Iterable[str]) -> dict[str, list[tuple[Line, SiteMeter]]]:
        """The meters that are meant, by address or by point; a name that is nobody's has an empty
        list."""
        found: dict[str, list[tuple[Line, SiteMeter]]] = {name: [] for name in names}
        for route in self:
            for meter in route.meters:
                for name in {meter.address, meter.point_id}:
                    if name in found:
                        found[name].append((route, meter))
        return found
