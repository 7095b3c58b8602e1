"""What stands on a bench now: its lines, its meters, its time, and what happened to them."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import partial
from typing import Final

from config.profiles import load_profile
from protocols.errors import MeterdError
from protocols.modbus.profile import Profile
from simulators.bench.diagnosis import Diagnosis
from simulators.bench.line_building import AnyLine, build_line
from simulators.bench.scenario import Clock, Fleet, Scenario
from simulators.bench.tables import ModbusFleetTable
from simulators.lines.bus import SimulatedBus
from simulators.lines.master_watch import MasterWatch, Mistake
from simulators.lines.mqtt_gateway import SimulatedGateway
from simulators.lines.stream_lines import BITS_PER_CHARACTER
from simulators.state.meter import MeterEvent, MeterState

EVENTS_KEPT: Final = 100_000


class BadRequest(Exception):
    """The bench was asked for something that there is not, or that cannot be."""


class EventLog:
    """What happened to the meters of a bench, numbered from 1; the newest are kept."""

    def __init__(self) -> None:
        self.count = 0
        self._events: deque[tuple[int, MeterEvent]] = deque(maxlen=EVENTS_KEPT)

    def remember(self, event: MeterEvent) -> None:
        """One more event."""
        self.count += 1
        self._events.append((self.count, event))

    def since(self, number: int) -> list[tuple[int, MeterEvent]]:
        """Those after that number, oldest first."""
        return [(own, event) for own, event in self._events if own > number]


class Stage:
    """Lines and meters by name. `now` is the site's wall clock.

    Meters are called by the address that each had when it came."""

    def __init__(self, scenario: Scenario, now: Clock) -> None:
        self.now = now
        self.log = EventLog()
        self.lines: dict[str, AnyLine] = {}
        self.meters: dict[str, MeterState] = {}
        self.diagnosis = Diagnosis(now, self._tell_mistake)
        """Of the masters that read the lines."""
        self._scenario = scenario
        for name, bus in scenario.build(now, self.log.remember).items():
            self._watch(name, bus)
            self.lines[name] = build_line(name, scenario.lines[name], bus)
            for address, meter in bus.meters.items():
                self.meters[address] = meter.state

    def finish_diagnosis(self) -> None:
        """What the watches still waited with is told."""
        for line in self.lines.values():
            line.bus.watch.finish()

    def _watch(self, name: str, bus: SimulatedBus) -> None:
        baud = self._scenario.lines[name].baud
        bus.watch = MasterWatch(
            partial(self.diagnosis.note, name),
            character_s=BITS_PER_CHARACTER / baud if baud else 0.0,
        )

    def _tell_mistake(self, line: str, mistake: Mistake) -> None:
        self.note(line, "master", {"mistake": mistake.kind, "detail": mistake.detail})

    def line(self, name: str) -> AnyLine:
        """BadRequest when there is none of this name."""
        try:
            return self.lines[name]
        except KeyError:
            raise BadRequest(f"line must be one of {', '.join(self.lines)}") from None

    def meter(self, address: str) -> MeterState:
        """BadRequest when there is none with this address."""
        try:
            return self.meters[address]
        except KeyError:
            raise BadRequest("there is no meter with this address") from None

    def wired_bus(self, name: str) -> SimulatedBus:
        """The meters of a line that carries bytes.

        BadRequest for a gateway, which keeps its own."""
        line = self.line(name)
        if isinstance(line, SimulatedGateway):
            raise BadRequest(f"line {name} is a gateway over mqtt: it speaks for its meters")
        return line.bus

    def line_of(self, address: str) -> str:
        """The name of the line that a meter is on."""
        state = self.meter(address)
        for name, line in self.lines.items():
            if state.address in line.bus.meters:
                return name
        raise BadRequest("there is no meter with this address")

    def add(self, fleet: Fleet) -> None:
        """Meters that were not there, on a line that is. BadRequest."""
        bus = self.wired_bus(fleet.line)
        taken = self.meters.keys() & set(fleet.addresses())
        if taken:
            raise BadRequest(f"meter {min(taken)} is there already")
        scenario = self._scenario
        if isinstance(fleet, ModbusFleetTable):
            if not bus.units:
                raise BadRequest(f"line {fleet.line} began without Modbus: it hears no request")
            scenario = replace(scenario, profiles={fleet.profile: _profile(fleet.profile)})
        for built in scenario.meters_of(fleet, self.now, self.log.remember):
            self.meters[built.meter.address] = built.meter.state
            built.add_to(bus)

    def remove(self, address: str) -> None:
        """Take a meter away; its address is free. BadRequest."""
        bus = self.wired_bus(self.line_of(address))
        bus.remove(self.meters.pop(address).address)

    def note(self, subject: str, kind: str, detail: dict[str, str]) -> None:
        """Something that happened to a line or a meter now."""
        self.log.remember(MeterEvent(self.now(), subject, kind, detail))


def _profile(name: str) -> Profile:
    try:
        return load_profile(name)
    except MeterdError as error:
        raise BadRequest(str(error).splitlines()[0]) from None
