"""Which of the new values of many points are clean, and what their days show then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from daemon.quality.fleet import MISSING, CleanPoints, Freezes, Integers, clean_points
from daemon.quality.freeze import HOST_FREEZE_LIMIT
from daemon.quality.local_time import midnight_s
from storage.judging import SlotRow, Tail
from storage.readings import RawReading

QUIET_SKEW_S: Final = 60
"""A clock that is further off is remarked on (V05)."""
FARTHEST: Final = timedelta(days=62)
"""Neighbours that lie further away are no matter for arrays."""
HOST_LIMIT_MS: Final = HOST_FREEZE_LIMIT // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a point on a day: what came, or a neighbour of it."""

    day: date
    steps: tuple[int, ...]
    reading_id: int
    is_new: bool


def clean_slots(
    arrived: Mapping[int, Sequence[RawReading]], tails: Mapping[int, Tail], zone: ZoneInfo
) -> dict[int, dict[date, SlotRow]]:
    """By point the days that show something new, of the points that are clean.

    Those that are not have to be judged by themselves."""
    chains = {
        point: _chain(readings, tails[point])
        for point, readings in arrived.items()
        if point in tails and _is_plain(readings, tails[point])
    }
    chains = {point: chain for point, chain in chains.items() if _is_even(chain)}
    if not chains:
        return {}
    first = min(chain[0].day for chain in chains.values())
    proved = clean_points(_freezes(chains, tails, zone, first))
    return {
        point: _rows(chain, tails[point], proved, number, first)
        for number, (point, chain) in enumerate(chains.items())
        if proved.clean[number]
    }


def _is_plain(readings: Sequence[RawReading], tail: Tail) -> bool:
    """Whether arrays can show all there is to know of these values."""
    days = {reading.day for reading in readings}
    if not tail.is_plain or len(days) < len(readings) or readings[0].day < tail.begins_on:
        return False
    if tail.source is not None and any(reading.source != tail.source for reading in readings):
        return False
    # What stood still behind the new values stood still for longer now: remarks of days change.
    if any(reading.total == tail.after_total for reading in readings):
        return False
    return all(_passes_by_itself(reading, tail) for reading in readings)


def _passes_by_itself(reading: RawReading, tail: Tail) -> bool:
    is_at_midnight = reading.stamp is None and abs(reading.host_offset_ms or 0) <= HOST_LIMIT_MS
    is_in_time = abs(reading.clock_skew_s or 0) <= QUIET_SKEW_S
    is_its_meter = reading.meter_id == tail.meter_id and reading.serial is None
    return reading.total is not None and is_at_midnight and is_in_time and is_its_meter


def _chain(readings: Sequence[RawReading], tail: Tail) -> list[_Value]:
    """The new values between their neighbours, in order of days."""
    chain = [
        _Value(reading.day, (reading.total or 0, *reading.rates), reading.id, is_new=True)
        for reading in readings
    ]
    before = _neighbour(tail.before_day, tail.before_total, tail.before_rates, tail.before_reading)
    after = _neighbour(tail.after_day, tail.after_total, tail.after_rates, tail.after_reading)
    return [*before, *chain, *after]


def _neighbour(
    day: date | None, total: int | None, rates: Sequence[int | None] | None, reading: int | None
) -> list[_Value]:
    if day is None or total is None or reading is None:
        return []
    known = [rate for rate in rates or () if rate is not None]
    return [_Value(day, (total, *known), reading, is_new=False)]


def _is_even(chain: Sequence[_Value]) -> bool:
    """Whether its values have equal registers and lie close together."""
    has_equal_registers = len({len(value.steps) for value in chain}) == 1
    return has_equal_registers and chain[-1].day - chain[0].day <= FARTHEST


def _freezes(
    chains: Mapping[int, Sequence[_Value]],
    tails: Mapping[int, Tail],
    zone: ZoneInfo,
    first: date,
) -> Freezes:
    last = max(chain[-1].day for chain in chains.values())
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    registers = max(len(value.steps) for chain in chains.values() for value in chain)
    steps = np.full((registers, len(chains), len(days)), MISSING, dtype=np.int64)
    for number, chain in enumerate(chains.values()):
        for value in chain:
            steps[: len(value.steps), number, (value.day - first).days] = value.steps
    of_points = [tails[point] for point in chains]
    return Freezes(
        totals=steps[0],
        modulus=_column(tail.modulus for tail in of_points),
        max_daily=_column(int(tail.max_daily_kwh.scaleb(tail.decimals)) for tail in of_points),
        wire_steps=_column(10 ** (tail.decimals - tail.wire_decimals) for tail in of_points),
        midnight_s=_column(midnight_s(zone, "zone", day) for day in days),
        plain=np.ones(len(chains), dtype=bool),
        confirmed=np.array([bool(tail.is_published) for tail in of_points]),
        unchanged_days=_column(tail.unchanged_days or 0 for tail in of_points),
        rates=steps[1:] if registers > 1 else None,
    )


def _column(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)


def _rows(
    chain: Sequence[_Value], tail: Tail, proved: CleanPoints, number: int, first: date
) -> dict[date, SlotRow]:
    rows = {}
    before: _Value | None = None
    for value in chain:
        column = (value.day - first).days
        row = SlotRow(
            point_id=tail.point_id,
            day=value.day,
            state="published",
            meter_id=tail.meter_id,
            total=value.steps[0],
            reading_id=value.reading_id,
            link_days=0 if before is None else (value.day - before.day).days,
            codes=("V10",) if proved.unchanged[number, column] else (),
        )
        if proved.waits[number]:
            row = replace(row, state="suspect", codes=("V32",), next_step="wait")
        elif proved.spans[number, column]:
            row = replace(row, link_days=-row.link_days, hold="span")
        # The value before shows what it showed, unless it waited for a second one.
        is_told = value.is_new or before is not None or not tail.is_published
        if is_told:
            rows[value.day] = row
        before = value
    return rows
