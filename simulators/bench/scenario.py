"""A test bench in one TOML file: lines, fleets of meters on them, and what is wrong with some of
them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from config.problems import ConfigError, Problem
from config.toml_lines import locate
from protocols.modbus.profile import Profile
from simulators.bench.check import Checker
from simulators.bench.tables import (
    DLT645_1997,
    METER_TYPES,
    STUCK_RELAY,
    FaultTable,
    FleetTable,
    LineTable,
    MeterTable,
    ModbusFleetTable,
)
from simulators.dlt645.meter_1997 import SimulatedMeter1997
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import KINDS, Fault
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.clock import MeterClock
from simulators.state.load import MWH_PER_KWH, SHAPES, LoadCurve
from simulators.state.meter import MeterEvent, SimulatedMeter
from simulators.state.relay import Relay, RelayKind
from simulators.state.seeded import below, series

MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole test bench, ready to be built."""

    zone: ZoneInfo
    seed: int
    lines: Mapping[str, LineTable]
    fleets: tuple[FleetTable | ModbusFleetTable, ...]
    overrides: Mapping[str, MeterTable]
    profiles: Mapping[str, Profile]
    """Of the Modbus meters, by the names in the file."""

    @property
    def meter_count(self) -> int:
        """How many meters there are on all lines."""
        return sum(fleet.count for fleet in self.fleets)

    def build(
        self, now: Callable[[], datetime], journal: Callable[[MeterEvent], None] | None = None
    ) -> dict[str, SimulatedBus]:
        """The meters of each line. `now` is the site's wall clock (`site_clock`), `journal` hears
        of what happens."""
        meters: dict[str, list[SimulatedMeter]] = {name: [] for name in self.lines}
        delays: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in self.lines}
        faults: dict[str, dict[str, tuple[Fault, ...]]] = {name: {} for name in self.lines}
        for fleet in self.fleets:
            for number, address in enumerate(fleet.addresses(), 1):
                table = self._overridden(fleet, address)
                here = [fault for fault in table.faults if number % fault.every_meter == 0]
                stuck = any(fault.kind == STUCK_RELAY for fault in here)
                make: Callable[..., SimulatedMeter] = partial(SimulatedMeter, address)
                if isinstance(fleet, FleetTable) and fleet.protocol == DLT645_1997:
                    make = partial(SimulatedMeter1997, address)
                if isinstance(fleet, ModbusFleetTable):
                    unit, profile = fleet.unit + number - 1, self.profiles[fleet.profile]
                    make = partial(SimulatedModbusMeter, address, unit, profile)
                meters[fleet.line].append(
                    _meter(
                        table,
                        make,
                        address,
                        self.seed,
                        stuck=stuck,
                        now=now,
                        journal=journal,
                    )
                )
                if table.reply_delay_ms:
                    delays[fleet.line][address] = table.reply_delay_ms
                if wire_faults := _faults(here):
                    faults[fleet.line][address] = wire_faults
        return {
            name: SimulatedBus(
                meters[name],
                reply_delay_ms=line.reply_delay_ms,
                faults=_faults(line.faults),
                meter_delays_ms=delays[name],
                meter_faults=faults[name],
                modbus_form=line.modbus,
                seed=self.seed,
            )
            for name, line in self.lines.items()
        }

    def _overridden(self, fleet: MeterTable, address: str) -> MeterTable:
        override = self.overrides.get(address)
        if override is None:
            return fleet
        return fleet.model_copy(
            update={name: getattr(override, name) for name in override.model_fields_set}
        )


def utc_now() -> datetime:
    """The host's time."""
    return datetime.now(UTC)


def site_clock(zone: ZoneInfo, now: Callable[[], datetime] = utc_now) -> Callable[[], datetime]:
    """The site's wall clock without zone. It keeps standard time all year, as meters do, and never
    goes back."""
    latest = datetime(1, 1, 1)  # noqa: DTZ001

    def site_time() -> datetime:
        nonlocal latest
        local = now().astimezone(zone)
        latest = max(latest, local.replace(tzinfo=None) - (local.dst() or timedelta(0)))
        return latest

    return site_time


def load_scenario(path: Path | str) -> Scenario:
    """A scenario from its file. ConfigError names every mistake in it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([Problem(str(path), 1, "file", f"cannot be read: {reason}")]) from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, file: str = "scenario.toml") -> Scenario:
    """A scenario from its text; `file` is how mistakes name it."""
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        number = int(line[1]) if line else text.count("\n") + 1
        raise ConfigError([Problem(file, number, "TOML", str(error))]) from None
    found = Checker(file, locate(text))
    found.read(content)
    if found.mistakes:
        raise ConfigError(found.mistakes)
    return Scenario(
        found.zone,
        found.seed,
        found.lines,
        tuple(found.fleets.values()),
        found.overrides,
        found.profiles,
    )


def _meter(
    table: MeterTable,
    make: Callable[..., SimulatedMeter],
    address: str,
    seed: int,
    *,
    stuck: bool,
    now: Callable[[], datetime],
    journal: Callable[[MeterEvent], None] | None,
) -> SimulatedMeter:
    """One meter of a fleet; what is a range in the table is one value in the meter, by chance."""
    key = series(seed, address)
    installed = datetime(table.installed.year, table.installed.month, table.installed.day)  # noqa: DTZ001
    set_on = table.clock_set_on or table.installed
    set_at = installed.replace(set_on.year, set_on.month, set_on.day)
    offset = timedelta(microseconds=_micro(table.clock_offset_s, key, 1))
    return make(
        now=now,
        curve=LoadCurve(
            _micro(table.kwh_per_day, key, 2) * MWH_PER_KWH // MICRO,
            SHAPES[table.shape],
            key,
            int(table.daily_spread * 1000),
        ),
        initial_kwh=Decimal(_micro(table.initial_kwh, key, 3) // (MICRO // 100)).scaleb(-2),
        installed=table.installed,
        tariffs=table.tariffs,
        phases=table.phases,
        voltage_v=table.voltage_v,
        clock=MeterClock(
            set_at, set_at + offset, _micro(table.drift_s_per_day, key, 4), since=installed
        ),
        relay=Relay(
            RelayKind(table.relay),
            has_button=table.button == "customer",
            trip_delay=timedelta(seconds=table.trip_delay_s),
            is_stuck=stuck,
            keeps_power=table.keep_power,
        ),
        meter_type=METER_TYPES.index(table.meter_type),
        level=table.level,
        password=table.password,
        programming_key=table.programming_key,
        security_module=table.security_module,
        remaining_yuan=table.remaining_yuan,
        remaining_kwh=table.remaining_kwh,
        skipped_freezes=frozenset(table.skipped_freezes),
        skipped_freeze_permille=int(table.skipped_freeze_chance * 1000),
        empty_freeze=table.empty_freeze,
        frame_limit=table.frame_limit,
        wake_up=table.wake_up,
        journal=journal,
    )


def _micro(ends: tuple[Decimal, Decimal], key: int, number: int) -> int:
    """A value between the ends, in millionths."""
    least, most = (int(end * MICRO) for end in ends)
    return least + below(key, number, most - least + 1)


def _faults(tables: Iterable[FaultTable]) -> tuple[Fault, ...]:
    return tuple(
        Fault(kind, fault.every_request, int(fault.chance * 1000), fault.delay_ms)
        for fault in tables
        for kind in KINDS
        if kind == fault.kind
    )
