"""A test bench in one TOML file.

Lines, fleets of meters on them, and what is wrong with some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from config.problems import ConfigError
from config.toml_lines import locate, parse_toml, toml_text
from protocols.modbus.profile import Profile
from simulators.bench.building import access_spec, build_state, wire_faults
from simulators.bench.change_tables import Action
from simulators.bench.check import Checker
from simulators.bench.tables import (
    DLT645_1997,
    FleetTable,
    LineTable,
    MeterTable,
    ModbusFleetTable,
    TruthTable,
)
from simulators.dlt645.deviating import DeviatingMeter2007
from simulators.dlt645.meter import SimulatedMeter
from simulators.dlt645.meter_1997 import SimulatedMeter1997
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import AnyMeter, DelayMs, SimulatedBus
from simulators.lines.faults import Fault
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.meter import MeterEvent, MeterState

EXAMPLE: Final = "bench"
"""What `--example` prints: a scenario to begin with, and none that shows something."""
Journal = Callable[[MeterEvent], None]
Clock = Callable[[], datetime]
Fleet = FleetTable | ModbusFleetTable


class BuiltMeter(NamedTuple):
    """A meter, and what is true of the way to it."""

    meter: AnyMeter
    delay_ms: DelayMs | None
    faults: tuple[Fault, ...]

    def add_to(self, bus: SimulatedBus) -> None:
        """Put it on a line."""
        address = self.meter.address
        bus.add(self.meter)
        if self.delay_ms is not None:
            bus.meter_delays_ms[address] = self.delay_ms
        if self.faults:
            bus.meter_faults[address] = self.faults


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole test bench, ready to be built."""

    zone: ZoneInfo
    seed: int
    lines: Mapping[str, LineTable]
    fleets: tuple[Fleet, ...]
    overrides: Mapping[str, MeterTable]
    profiles: Mapping[str, Profile]
    """Of the Modbus meters, by the names in the file."""
    start: datetime | None = None
    """Site time at which the bench begins; None for now."""
    speed: Decimal = Decimal(1)
    """How many seconds its clock makes of one."""
    actions: tuple[Action, ...] = ()
    """What is done to it, in the order of time."""
    truth: tuple[TruthTable, ...] = ()
    about: str = ""
    """What it shows, in a sentence."""
    text: str = ""
    """As it was written."""

    @property
    def meter_count(self) -> int:
        """Number of meters on all lines."""
        return sum(fleet.count for fleet in self.fleets)

    def build(self, now: Clock, journal: Journal | None = None) -> dict[str, SimulatedBus]:
        """The meters of each line.

        `now` is the site's wall clock (`site_clock`), `journal` hears of what happens."""
        buses = {name: self._bus(line) for name, line in self.lines.items()}
        for fleet in self.fleets:
            for built in self.meters_of(fleet, now, journal):
                built.add_to(buses[fleet.line])
        return buses

    def meters_of(
        self, fleet: Fleet, now: Clock, journal: Journal | None = None
    ) -> Iterator[BuiltMeter]:
        """The meters of one table, in the order of their addresses."""
        for number, address in enumerate(fleet.addresses(), 1):
            table = self._overridden(fleet, address)
            faults = [fault for fault in table.faults if number % fault.every_meter == 0]
            state = build_state(
                table,
                address,
                self.seed,
                serial=self._serial(table, address, number),
                faults=faults,
                now=now,
                journal=journal,
            )
            meter = self._meter(fleet, number, table, state)
            yield BuiltMeter(meter, table.reply_delay_ms, wire_faults(faults))

    def _meter(
        self,
        fleet: Fleet,
        number: int,
        table: MeterTable,
        state: MeterState,
    ) -> AnyMeter:
        if isinstance(fleet, ModbusFleetTable):
            profile = self.profiles[fleet.profile]
            return SimulatedModbusMeter(state, fleet.unit + number - 1, profile)
        is_1997 = fleet.protocol == DLT645_1997
        if table.deviations and not is_1997:
            return DeviatingMeter2007(
                state,
                access_spec(table),
                deviations=table.deviations,
                frame_limit=table.frame_limit,
                wake_up=table.wake_up,
            )
        kind: type[SimulatedMeter] = SimulatedMeter1997 if is_1997 else SimulatedMeter2007
        return kind(
            state,
            access_spec(table),
            frame_limit=table.frame_limit,
            wake_up=table.wake_up,
        )

    def _bus(self, line: LineTable) -> SimulatedBus:
        return SimulatedBus(
            (),
            reply_delay_ms=line.reply_delay_ms,
            faults=wire_faults(line.faults),
            modbus_form=line.modbus,
            seed=self.seed,
        )

    def _serial(
        self,
        table: MeterTable,
        address: str,
        number: int,
    ) -> str | None:
        """That of the fleet counts up with its meters."""
        if table.serial is None:
            return None
        override = self.overrides.get(address)
        is_its_own = override is not None and override.serial is not None
        ahead = 0 if is_its_own else number - 1
        return f"{int(table.serial) + ahead:012d}"

    def _overridden(self, fleet: MeterTable, address: str) -> MeterTable:
        override = self.overrides.get(address)
        if override is None:
            return fleet
        changes = {name: getattr(override, name) for name in override.model_fields_set}
        return fleet.model_copy(update=changes)


def utc_now() -> datetime:
    """The host's time."""
    return datetime.now(UTC)


def site_clock(zone: ZoneInfo, now: Clock = utc_now) -> Clock:
    """The site's wall clock without zone.

    It keeps standard time all year, as meters do, and never goes back."""
    latest = datetime(1, 1, 1)  # noqa: DTZ001

    def site_time() -> datetime:
        nonlocal latest
        local = now().astimezone(zone)
        summer_time = local.dst() or timedelta(0)
        latest = max(latest, local.replace(tzinfo=None) - summer_time)
        return latest

    return site_time


def load_scenario(path: Path | str) -> Scenario:
    """A scenario from its file. ConfigError names every mistake in it."""
    text = toml_text(Path(path), str(path))
    return parse_scenario(text, str(path))


def shipped_scenarios() -> dict[str, str]:
    """The text of each scenario that comes with the program and says what it shows, by name."""
    found = {}
    for file in files("simulators.scenarios").iterdir():
        name, _, kind = file.name.rpartition(".")
        if kind == "toml" and name != EXAMPLE:
            found[name] = file.read_text(encoding="utf-8")
    return dict(sorted(found.items()))


def parse_scenario(text: str, file: str = "scenario.toml") -> Scenario:
    """A scenario from its text; `file` is how mistakes name it."""
    content = parse_toml(text, file, Decimal)
    found = Checker(file, locate(text))
    found.read(content)
    if found.mistakes:
        raise ConfigError(found.mistakes)
    return Scenario(
        zone=found.zone,
        seed=found.seed,
        lines=found.lines,
        fleets=tuple(found.fleets.values()),
        overrides=found.overrides,
        profiles=found.profiles,
        start=found.start,
        speed=found.speed,
        actions=tuple(sorted(found.actions, key=lambda action: action.after)),
        truth=tuple(found.truth),
        about=found.about,
        text=text,
    )
