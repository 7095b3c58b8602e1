"""Which of the new values of many points are clean, and what their days show then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from daemon.quality.fleet import MISSING, CleanPoints, Freezes, Integers, clean_points
from daemon.quality.freeze import HOST_FREEZE_LIMIT
from daemon.quality.local_time import midnight_s
from storage.judging import MOST_DAYS, NewSlot, Relinked, SlotRow, Tail
from storage.readings import RawReading
from storage.settling import Days

QUIET_SKEW_S: Final = 60
"""A clock that is further off is remarked on (V05)."""
FEW_ALIKE: Final = 8
"""Fewer values with the same neighbours are proved with the others: an array costs as much."""
HOST_LIMIT_MS: Final = HOST_FREEZE_LIMIT // timedelta(milliseconds=1)


@dataclass
class CleanValues:
    """What the days of clean points show. Those of other points have to be judged by themselves.

    `slots`: published values of days that showed nothing, of points of which nothing else is to be
    said; `relinked`: the published value behind them; `begun`: by point the first of them, where
    its chain begins with it; `changed`: the days of these points. `told`: what all days of the
    other clean points show, that show something new."""

    slots: list[NewSlot] = field(default_factory=list)
    relinked: list[Relinked] = field(default_factory=list)
    begun: dict[int, date] = field(default_factory=dict)
    changed: dict[int, Days] = field(default_factory=dict)
    told: dict[int, dict[date, SlotRow]] = field(default_factory=dict)


class _Value(NamedTuple):
    """A value of a point on a day: what came, or a neighbour of it."""

    day: date
    steps: Sequence[int]
    reading_id: int
    is_new: bool


class _Step(NamedTuple):
    """From which day to which, and on to which if there is a value behind it; with how many
    registers."""

    before: date
    day: date
    after: date | None
    registers: int


def clean_values(
    arrived: Mapping[int, Sequence[RawReading]], tails: Mapping[int, Tail], zone: ZoneInfo
) -> CleanValues:
    """What is new on the days of the points that are clean. `arrived`: in order of days."""
    found = CleanValues()
    plain = {
        point: told
        for point, told in arrived.items()
        if point in tails and _is_plain(told, tails[point])
    }
    others = _prove_single_values(plain, tails, zone, found)
    chains = {point: _chain(told, tails[point]) for point, told in others.items()}
    chains = {point: chain for point, chain in chains.items() if _is_even(chain)}
    if not chains:
        return found
    first = min([chain[0].day for chain in chains.values()])
    proved = clean_points(_freezes(chains, tails, zone, first))
    remarks = proved.waits | proved.unchanged.any(axis=1)
    facts = zip(chains.items(), proved.clean.tolist(), remarks.tolist(), strict=True)
    for number, ((point, chain), is_clean, is_remarked) in enumerate(facts):
        tail = tails[point]
        if not is_clean:
            continue
        columns = [(value.day - first).days for value in chain if value.is_new]
        is_held = bool(proved.spans[number, columns].any())
        if is_remarked or is_held or tail.is_published is False:
            found.told[point] = _rows(chain, tail, proved, number, first)
        else:
            _take(found, chain, tail)
    return found


def _prove_single_values(
    plain: Mapping[int, Sequence[RawReading]],
    tails: Mapping[int, Tail],
    zone: ZoneInfo,
    found: CleanValues,
) -> dict[int, Sequence[RawReading]]:
    """Prove what nearly all is: one more value near the one before it; returns the other points."""
    others: dict[int, Sequence[RawReading]] = {}
    alike: defaultdict[_Step, list[tuple[RawReading, Tail]]] = defaultdict(list)
    for point, told in plain.items():
        step = _single_step(told, tails[point])
        if step is None:
            others[point] = told
        else:
            alike[step].append((told[0], tails[point]))
    for step, pairs in alike.items():
        if len(pairs) < FEW_ALIKE:
            others |= {tail.point_id: (reading,) for reading, tail in pairs}
            continue
        link_days = (step.day - step.before).days
        days = Days(step.day, step.after or step.day)
        clean = clean_points(_single_freezes(pairs, step, zone)).clean
        for (reading, tail), is_clean in zip(pairs, clean.tolist(), strict=True):
            if is_clean:
                found.slots.append(
                    NewSlot(
                        reading.id,
                        reading.steps[0],
                        tail.point_id,
                        step.day,
                        tail.meter_id,
                        1,
                        tail.rule_set,
                        link_days,
                    )
                )
                found.changed[tail.point_id] = days
                if step.after is not None:
                    found.relinked.append(_relinked(tail, step.day, step.after))
    return others


def _single_step(told: Sequence[RawReading], tail: Tail) -> _Step | None:
    """If it is one value with another total near a published one before it, and not too far from
    the one behind it."""
    before = tail.before_steps
    after = tail.after_steps
    if tail.before_day is None or not before:
        return None
    reading = told[0]
    steps = reading.steps
    is_alone = len(told) == 1 and tail.is_published
    is_near = (reading.day - tail.before_day).days <= tail.max_auto_span_days
    if not is_alone or not is_near or steps[0] == before[0] or len(steps) != len(before):
        return None
    if tail.after_day is None:
        return _Step(tail.before_day, reading.day, None, len(steps))
    is_even = after is not None and len(after) == len(steps)
    if is_even and (tail.after_day - tail.before_day).days <= MOST_DAYS:
        return _Step(tail.before_day, reading.day, tail.after_day, len(steps))
    return None


def _single_freezes(
    pairs: Sequence[tuple[RawReading, Tail]], step: _Step, zone: ZoneInfo
) -> Freezes:
    """Of each point the value, the one before it, and the one behind it if there is any."""
    days = [step.before, step.day] if step.after is None else [step.before, step.day, step.after]
    rows = [
        (
            tail.modulus,
            tail.max_daily,
            tail.decimals - tail.wire_decimals,
            *(tail.before_steps or ()),
            *reading.steps,
            *(tail.after_steps or ()),
        )
        for reading, tail in pairs
    ]
    columns = np.array(rows, dtype=np.int64).T
    # [points, days] of each register.
    told = columns[3:].reshape(len(days), step.registers, len(rows)).transpose(1, 2, 0)
    return Freezes(
        totals=told[0],
        modulus=columns[0],
        max_daily=columns[1],
        wire_steps=10 ** columns[2],
        midnight_s=_column([midnight_s(zone, "zone", it) for it in days]),
        plain=np.ones(len(rows), dtype=bool),
        confirmed=np.ones(len(rows), dtype=bool),
        unchanged_days=np.zeros(len(rows), dtype=np.int64),
        rates=told[1:] if step.registers > 1 else None,
    )


def _take(found: CleanValues, chain: Sequence[_Value], tail: Tail) -> None:
    """Published values between published ones, or at an end of a chain."""
    before: date | None = None
    for day, steps, reading_id, is_new in chain:
        if is_new:
            link_days = 0 if before is None else (day - before).days
            found.slots.append(
                NewSlot(
                    reading_id,
                    steps[0],
                    tail.point_id,
                    day,
                    tail.meter_id,
                    1,
                    tail.rule_set,
                    link_days,
                )
            )
        elif before is not None:
            found.relinked.append(_relinked(tail, before, day))
        before = day
    first = chain[0] if chain[0].is_new else chain[1]
    if tail.chain_begins_on is None or first.day < tail.chain_begins_on:
        found.begun[tail.point_id] = first.day
    found.changed[tail.point_id] = Days(first.day, chain[-1].day)


def _relinked(tail: Tail, before: date, day: date) -> Relinked:
    """What lies behind new values, of which `before` is the last."""
    link_days = (day - before).days
    if link_days > tail.max_auto_span_days:
        link_days = -link_days
    (total, *_) = tail.after_steps or (0,)
    return Relinked(tail.point_id, day, tail.meter_id, total, tail.after_reading, link_days)


def _is_plain(readings: Sequence[RawReading], tail: Tail) -> bool:
    """Whether arrays can show all there is to know of these values."""
    if not tail.is_plain or tail.is_told or readings[0].day < tail.begins_on:
        return False
    if len(readings) > 1 and len({reading.day for reading in readings}) < len(readings):
        return False
    after_total = None if tail.after_steps is None else tail.after_steps[0]
    for reading in readings:
        # What stood still behind the new values stood still for longer now: remarks of days change.
        if reading.total is None or reading.total == after_total:
            return False
        if tail.source is not None and reading.source != tail.source:
            return False
        if not _passes_by_itself(reading, tail):
            return False
    return True


def _passes_by_itself(reading: RawReading, tail: Tail) -> bool:
    is_at_midnight = reading.stamp is None and abs(reading.host_offset_ms or 0) <= HOST_LIMIT_MS
    is_in_time = abs(reading.clock_skew_s or 0) <= QUIET_SKEW_S
    is_its_meter = reading.meter_id == tail.meter_id and reading.serial is None
    # V06, here because in arrays a register below 0 is one that is missing.
    return is_at_midnight and is_in_time and is_its_meter and min(reading.steps) >= 0


def _chain(readings: Sequence[RawReading], tail: Tail) -> list[_Value]:
    """The new values between their neighbours, in order of days."""
    chain = []
    if tail.before_day is not None:
        chain += _neighbour(tail.before_day, tail.before_steps, tail.before_reading)
    for reading in readings:
        chain.append(_Value(reading.day, reading.steps, reading.id, True))
    if tail.after_day is not None:
        chain += _neighbour(tail.after_day, tail.after_steps, tail.after_reading)
    return chain


def _neighbour(day: date, steps: Sequence[int] | None, reading: int | None) -> list[_Value]:
    if not steps or reading is None:
        return []
    return [_Value(day, tuple(steps), reading, False)]


def _is_even(chain: Sequence[_Value]) -> bool:
    """Whether its values have equal registers and lie close together."""
    registers = len(chain[0].steps)
    has_equal_registers = all(len(value.steps) == registers for value in chain)
    return has_equal_registers and (chain[-1].day - chain[0].day).days <= MOST_DAYS


def _freezes(
    chains: Mapping[int, Sequence[_Value]],
    tails: Mapping[int, Tail],
    zone: ZoneInfo,
    first: date,
) -> Freezes:
    last = max([chain[-1].day for chain in chains.values()])
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    begin = first.toordinal()
    registers = max([len(chain[0].steps) for chain in chains.values()])
    missing = [(MISSING,) * n for n in range(registers + 1)]
    values = np.array(
        [
            (number, day.toordinal() - begin, *steps, *missing[registers - len(steps)])
            for number, chain in enumerate(chains.values())
            for day, steps, _, _ in chain
        ],
        dtype=np.int64,
    ).T
    steps = np.full((registers, len(chains), len(days)), MISSING, dtype=np.int64)
    steps[:, values[0], values[1]] = values[2:]
    of_points = [tails[point] for point in chains]
    return Freezes(
        totals=steps[0],
        modulus=_column([tail.modulus for tail in of_points]),
        max_daily=_column([tail.max_daily for tail in of_points]),
        wire_steps=_column([10 ** (tail.decimals - tail.wire_decimals) for tail in of_points]),
        midnight_s=_column([midnight_s(zone, "zone", day) for day in days]),
        plain=np.ones(len(chains), dtype=bool),
        confirmed=np.array([bool(tail.is_published) for tail in of_points]),
        unchanged_days=_column([tail.unchanged_days or 0 for tail in of_points]),
        rates=steps[1:] if registers > 1 else None,
        max_auto_span_days=of_points[0].max_auto_span_days,
    )


def _column(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)


def _rows(
    chain: Sequence[_Value], tail: Tail, proved: CleanPoints, number: int, first: date
) -> dict[date, SlotRow]:
    rows = {}
    is_waiting = proved.waits[number]
    before: _Value | None = None
    for value in chain:
        column = (value.day - first).days
        is_span = not is_waiting and bool(proved.spans[number, column])
        link_days = 0 if before is None else (value.day - before.day).days
        codes: tuple[str, ...] = ("V10",) if proved.unchanged[number, column] else ()
        # The value before shows what it showed, unless it waited for a second one.
        is_told = value.is_new or before is not None or not tail.is_published
        if is_told:
            rows[value.day] = SlotRow(
                point_id=tail.point_id,
                day=value.day,
                state="suspect" if is_waiting else "published",
                meter_id=tail.meter_id,
                total=value.steps[0],
                reading_id=value.reading_id,
                link_days=-link_days if is_span else link_days,
                codes=("V32",) if is_waiting else codes,
                next_step="wait" if is_waiting else None,
                hold="span" if is_span else None,
            )
        before = value
    return rows
