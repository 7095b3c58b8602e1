"""Meters from the tables of a scenario.

What is a range in a table is one value in each meter, decided by the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from simulators.bench.tables import METER_TYPES, STUCK_RELAY, FaultTable, MeterTable, Range
from simulators.dlt645.access import AccessSpec
from simulators.lines.faults import KINDS, Fault
from simulators.state.clock import MeterClock
from simulators.state.load import MWH_PER_KWH, SHAPES, LoadCurve
from simulators.state.meter import MeterEvent, MeterState
from simulators.state.relay import Relay, RelayKind
from simulators.state.seeded import below, series
from simulators.state.spec import MeterSpec, Outages

MICRO: Final = 1_000_000

# Entries of a meter's series of random numbers: another order would make other meters.
_CLOCK_OFFSET: Final = 1
_KWH_PER_DAY: Final = 2
_INITIAL_KWH: Final = 3
_DRIFT: Final = 4


def build_state(
    table: MeterTable,
    address: str,
    seed: int,
    *,
    serial: str | None,
    faults: Iterable[FaultTable],
    now: Callable[[], datetime],
    journal: Callable[[MeterEvent], None] | None,
) -> MeterState:
    """The state of one meter, with those of the table's `faults` that are its own."""
    key = series(seed, address)
    spec = replace(_spec(table, key), serial=serial)
    is_stuck = any(fault.kind == STUCK_RELAY for fault in faults)
    return MeterState(
        address,
        now=now,
        spec=spec,
        clock=_clock(table, key, spec.installed_at),
        relay=_relay(table, is_stuck=is_stuck),
        journal=journal,
    )


def access_spec(table: MeterTable) -> AccessSpec:
    """How a DL/T 645 meter of this table is protected."""
    return AccessSpec(
        level=table.level,
        password=table.password,
        programming_key=table.programming_key,
        security_module=table.security_module,
    )


def wire_faults(tables: Iterable[FaultTable]) -> tuple[Fault, ...]:
    """Those that happen on the way to a meter."""
    faults = []
    for table in tables:
        for kind in KINDS:
            if kind == table.kind:
                permille = int(table.chance * 1000)
                faults.append(
                    Fault(
                        kind,
                        table.every_request,
                        permille,
                        table.delay_ms,
                    )
                )
    return tuple(faults)


def _spec(table: MeterTable, key: int) -> MeterSpec:
    curve = LoadCurve(
        mwh_per_day=_micro(table.kwh_per_day, key, _KWH_PER_DAY) * MWH_PER_KWH // MICRO,
        shape=SHAPES[table.shape],
        key=key,
        daily_spread_permille=int(table.daily_spread * 1000),
    )
    initial_digits = _micro(
        table.initial_kwh,
        key,
        _INITIAL_KWH,
    ) // (MICRO // 100)
    outages = Outages(
        dates=frozenset(table.skipped_freezes),
        permille=int(table.skipped_freeze_chance * 1000),
        key=series(key, "skipped freezes"),
    )
    return MeterSpec(
        curve=curve,
        initial_kwh=Decimal(initial_digits).scaleb(-2),
        installed=table.installed,
        tariffs=table.tariffs,
        phases=table.phases,
        voltage_v=table.voltage_v,
        meter_type=METER_TYPES.index(table.meter_type),
        remaining_yuan=table.remaining_yuan,
        remaining_kwh=table.remaining_kwh,
        empty_freeze=table.empty_freeze,
        outages=outages,
        wrong_freezes=table.wrong_freezes,
        refused=frozenset(table.refused),
    )


def _clock(
    table: MeterTable,
    key: int,
    installed_at: datetime,
) -> MeterClock:
    set_on = table.clock_set_on or table.installed
    set_at = installed_at.replace(
        set_on.year,
        set_on.month,
        set_on.day,
    )
    offset = timedelta(microseconds=_micro(table.clock_offset_s, key, _CLOCK_OFFSET))
    drift_us_per_day = _micro(table.drift_s_per_day, key, _DRIFT)
    return MeterClock(
        set_at,
        set_at + offset,
        drift_us_per_day,
        since=installed_at,
    )


def _relay(table: MeterTable, *, is_stuck: bool) -> Relay:
    return Relay(
        RelayKind(table.relay),
        has_button=table.button == "customer",
        trip_delay=timedelta(seconds=table.trip_delay_s),
        is_stuck=is_stuck,
        keeps_power=table.keep_power,
    )


def _micro(
    ends: Range,
    key: int,
    number: int,
) -> int:
    """A value between the ends, in millionths."""
    least, most = (int(end * MICRO) for end in ends)
    return least + below(key, number, most - least + 1)
