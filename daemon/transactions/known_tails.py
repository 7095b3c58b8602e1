"""The last values of chains as this process stored them, for as long as nobody changed anything.

A memory, not a second truth: every batch first asks, under the lock on the chains, what was changed
since (storage/chains.py) and forgets whatever that speaks of. Where it cannot be sure it
forgets everything, and the database is asked as if nothing had been known."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, TypeGuard, cast
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from daemon.quality.arrival import Arrival, PolledFreeze, number_of
from daemon.quality.fleet import Freezes, Integers, clean_points
from daemon.quality.freeze import is_in_service
from daemon.quality.local_time import midnight_s
from daemon.transactions.clean_values import QUIET_SKEW_S
from storage import chains
from storage.binary import SINCE
from storage.chains import NAMED, Change
from storage.columns import Column
from storage.columns import rows as made_rows
from storage.judging import NEW_SLOT, Tail
from storage.readings import (
    COPIED,
    DAILY_FREEZE,
    EPOCH,
    MICROSECOND,
    STORED_VERSION,
    RawReading,
    Source,
    freeze_id,
)
from storage.settling import NEW_MARK

POLLED_DECIMALS: Final = 2
"""Of what a line polls by the thousand."""
QUIET_SKEW: Final = timedelta(seconds=QUIET_SKEW_S)
SECOND: Final = timedelta(seconds=1)
METER: Final = int(Source.METER)
SINCE_US: Final = 946_684_800_000_000
"""SINCE in microseconds since 1970."""
MOST_CHANGES: Final = 50_000
"""Behind more nothing is known: under the lock of all a site that is taken in is not read."""
MOST_REGISTERS: Final = 5
"""A total and four rates: what a raw reading has columns for."""
RATE_COLUMNS: Final = ("total", "rate_1", "rate_2", "rate_3", "rate_4")


class _Column:
    """Columns of what is known of a point."""

    POINT = 0
    METER = 1
    DAY = 2
    """Days since SINCE."""
    MODULUS = 3
    MAX_DAILY = 4
    WIRE_STEPS = 5
    READING = 6
    """The id of the reading that told the value."""
    ACCOUNT = 7
    """Who is billed for it; 0: nobody."""
    REGISTERS = 8
    """How many there are, total included."""
    STEPS = 9
    COUNT = STEPS + MOST_REGISTERS


@dataclass(frozen=True, slots=True)
class _Told:
    """Values of as many registers each, all next ones of points that are known.

    `steps` [values, registers]; the others [values]. `rows`: where the points are known."""

    rows: Integers
    positions: Integers
    """In the batch."""
    days: Integers
    steps: Integers
    meters: Integers
    ids: Integers
    """Of the readings."""
    arrived_us: Integers
    skew_s: Integers
    """NO_SKEW where none is known."""
    tellers: Integers

    def only(self, which: NDArray[Any]) -> _Told:
        """Some of them."""
        return _Told(
            self.rows[which],
            self.positions[which],
            self.days[which],
            self.steps[which],
            self.meters[which],
            self.ids[which],
            self.arrived_us[which],
            self.skew_s[which],
            self.tellers[which],
        )


NO_SKEW: Final = np.iinfo(np.int64).min


@dataclass(slots=True)
class NextValues:
    """Clean next values of known points, proved without a look at the database.

    `positions`: of their arrivals in the batch, and of those that are the last values themselves,
    told again; `present`: (meter id, day) of both. `readings`, `slots`, `marks`: rows for binary
    COPY, of whoever is billed the latter."""

    positions: set[int] = field(default_factory=set)
    present: list[tuple[int, date]] = field(default_factory=list)
    readings: bytes = b""
    slots: bytes = b""
    marks: bytes = b""
    told: list[_Told] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many are new."""
        return sum(len(it.rows) for it in self.told)


class KnownTails:
    """By point the last value of its chain, where nothing is open and nothing lies behind it."""

    def __init__(self, most_changes: int = MOST_CHANGES) -> None:
        """`most_changes`: behind more nothing is known."""
        self._most_changes = most_changes
        self.writer = secrets.randbelow(2**31 - 2) + 1
        self.turn = asyncio.Lock()
        """Whoever stores a batch holds it until what came of the batch is remembered."""
        self._rows: dict[int, int] = {}
        self._free: list[int] = []
        self._facts: Integers = np.zeros((1, _Column.COUNT), dtype=np.int64)
        self._seen: int | None = None
        """The last change that was looked at."""
        self._has_put_slots = False
        """Since then; so a change by this writer must lie behind it."""
        self._rule_set = 0
        self._max_auto_span_days = 0
        """What all that is known was learned under: a new rule set is a change of everything."""

    def forget(self) -> None:
        """Everything: what a transaction came to, or which database this is, is not known."""
        self._rows.clear()
        self._free.clear()
        self._seen = None
        self._has_put_slots = False

    async def begin(self, connection: AsyncConnection[Any], days: Iterable[date]) -> None:
        """Begin a batch of these days, and forget what was changed since the last one."""
        changes = await chains.begin(connection, days, self.writer, self._seen, self._most_changes)
        if len(changes) == self._most_changes:
            self.forget()
            return
        is_there = bool(changes) and (self._seen is None or changes[0].id == self._seen)
        news = changes[1:] if self._seen is not None else []
        own = [it for it in news if it.writer == self.writer]
        others = [it for it in news if it.writer not in (self.writer, NAMED)]
        # Somebody's slots that are not named; or a database that does not have what was stored.
        if not is_there or bool(own) != self._has_put_slots or _are_unnamed(others):
            self.forget()
        self._drop(
            {it.point_id for it in news if it.point_id is not None},
            {it.meter_id for it in others if it.meter_id is not None},
        )
        self._seen = changes[-1].id if changes else None
        self._has_put_slots = False

    def _drop(self, points: Iterable[int], meters: Collection[int] = ()) -> None:
        dropped = [point for point in points if point in self._rows]
        if meters and self._rows:
            rows = np.fromiter(self._rows.values(), dtype=np.int64)
            of_meters = np.isin(self._facts[rows, _Column.METER], list(meters))
            dropped += self._facts[rows[of_meters], _Column.POINT].tolist()
        self._free += [self._rows.pop(point) for point in set(dropped)]

    def next_values(self, batch: Sequence[Arrival | PolledFreeze], zone: ZoneInfo) -> NextValues:
        """What of a batch is a clean next value of a known point. Nothing is remembered of it."""
        found = NextValues()
        if not self._rows:
            return found
        for told in self._told(batch):
            _are_present(found, told.only(self._are_there(told)))
            clean = told.only(self._are_clean(told, zone))
            if len(clean.rows):
                self._take(found, clean)
        return found

    def _told(self, batch: Sequence[Arrival | PolledFreeze]) -> list[_Told]:
        """What may be next values, by number of registers."""
        rows = self._rows
        alike: defaultdict[int, list[tuple[int, int, PolledFreeze]]] = defaultdict(list)
        points = set()
        again = set()
        for position, arrival in enumerate(batch):
            point = arrival.meter.point_id
            if point in points:
                again.add(point)
            points.add(point)
            row = rows.get(point)
            if row is not None and _is_plain(arrival):
                alike[len(arrival.registers)].append((row, position, arrival))
        found = []
        for told in alike.values():
            usual = [it for it in told if it[2].meter.point_id not in again] if again else told
            if usual:
                found.append(_columns(usual))
        return found

    def _are_there(self, told: _Told) -> NDArray[np.bool_]:
        facts = self._facts[told.rows]
        is_same = (facts[:, _Column.DAY] == told.days) & (facts[:, _Column.METER] == told.meters)
        return np.asarray(is_same & (facts[:, _Column.READING] == told.ids))

    def _are_clean(self, told: _Told, zone: ZoneInfo) -> NDArray[np.bool_]:
        facts = self._facts[told.rows]
        registers = told.steps.shape[1]
        before = facts[:, _Column.DAY]
        link_days = told.days - before
        before_steps = facts[:, _Column.STEPS : _Column.STEPS + registers]
        may_be = (
            (facts[:, _Column.REGISTERS] == registers)
            & (facts[:, _Column.METER] == told.meters)
            & (link_days > 0)
            & (link_days <= self._max_auto_span_days)
            & (told.steps[:, 0] != before_steps[:, 0])
            # V06, here because in arrays a register below 0 is one that is missing.
            & (told.steps.min(axis=1) >= 0)
        )
        clean = np.zeros(len(may_be), dtype=bool)
        steps_of_days = zip(before[may_be].tolist(), told.days[may_be].tolist(), strict=True)
        for day_before, day in set(steps_of_days):
            which = np.flatnonzero(may_be & (before == day_before) & (told.days == day))
            # [points, days, registers]
            steps = np.stack([before_steps[which], told.steps[which]], axis=1)
            days = (SINCE + timedelta(days=day_before), SINCE + timedelta(days=day))
            proved = clean_points(
                Freezes(
                    totals=steps[:, :, 0],
                    modulus=facts[which, _Column.MODULUS],
                    max_daily=facts[which, _Column.MAX_DAILY],
                    wire_steps=facts[which, _Column.WIRE_STEPS],
                    midnight_s=np.array([midnight_s(zone, "zone", it) for it in days]),
                    plain=np.ones(len(which), dtype=bool),
                    confirmed=np.ones(len(which), dtype=bool),
                    unchanged_days=np.zeros(len(which), dtype=np.int64),
                    rates=np.moveaxis(steps[:, :, 1:], 2, 0) if registers > 1 else None,
                )
            )
            clean[which] = proved.clean
        return clean

    def _take(self, found: NextValues, told: _Told) -> None:
        facts = self._facts[told.rows]
        points = facts[:, _Column.POINT]
        order = np.argsort(points, kind="stable")
        columns: dict[str, Column] = {
            "day": told.days[order],
            "meter_id": told.meters[order],
            "id": told.ids[order],
            "kind": DAILY_FREEZE,
            "source": METER,
            "decode_version": STORED_VERSION,
            "arrived_at": told.arrived_us[order] - SINCE_US,
            "told_by": told.tellers[order],
        }
        for number, steps in enumerate(told.steps.T):
            columns[RATE_COLUMNS[number]] = steps[order]
        found.readings += _rows_of_readings(columns, told.skew_s[order])
        columns |= {
            "reading_id": told.ids[order],
            "point_id": points[order],
            "rule_set": self._rule_set,
            "link_days": (told.days - facts[:, _Column.DAY])[order],
        }
        found.slots += made_rows(NEW_SLOT, columns, len(points))
        is_billed = facts[order, _Column.ACCOUNT] != 0
        marks: dict[str, Column] = {
            "account_id": facts[order, _Column.ACCOUNT][is_billed],
            "from_day": told.days[order][is_billed],
            "to_day": told.days[order][is_billed],
        }
        found.marks += made_rows(NEW_MARK, marks, int(is_billed.sum()))
        _are_present(found, told)
        found.told.append(told)

    def remember(
        self,
        proved: NextValues,
        others: Collection[int],
        clean: Iterable[tuple[Tail, RawReading]],
        *,
        has_put_slots: bool,
    ) -> None:
        """What was stored, now that it is committed.

        `others`: the points that were not proved here. `clean`: of some of them, whose values are
        published, the tail as it was and the last of them."""
        self._drop(others)
        self._has_put_slots = has_put_slots
        for told in proved.told:
            end = _Column.STEPS + told.steps.shape[1]
            self._facts[told.rows, _Column.DAY] = told.days
            self._facts[told.rows, _Column.READING] = told.ids
            self._facts[told.rows, _Column.STEPS : end] = told.steps
        # Without a change that was seen nobody can tell what comes behind it.
        if self._seen is None:
            return
        for tail, reading in clean:
            if _can_be_known(tail, reading):
                self._learn(tail, reading)

    def _learn(self, tail: Tail, reading: RawReading) -> None:
        self._rule_set = tail.rule_set
        self._max_auto_span_days = tail.max_auto_span_days
        steps = reading.steps
        row = self._free.pop() if self._free else len(self._rows)
        if row == len(self._facts):
            self._facts = np.concatenate([self._facts, np.zeros_like(self._facts)])
        self._rows[tail.point_id] = row
        self._facts[row, : _Column.STEPS + len(steps)] = (
            tail.point_id,
            tail.meter_id,
            (reading.day - SINCE).days,
            tail.modulus,
            tail.max_daily,
            10 ** (tail.decimals - tail.wire_decimals),
            reading.id,
            tail.account_id or 0,
            len(steps),
            *steps,
        )


def _are_present(found: NextValues, told: _Told) -> None:
    ordinals = told.days.tolist()
    days_by_ordinal = {it: SINCE + timedelta(days=it) for it in set(ordinals)}
    days = [days_by_ordinal[it] for it in ordinals]
    found.positions.update(told.positions.tolist())
    found.present += zip(told.meters.tolist(), days, strict=True)


def _are_unnamed(changes: Iterable[Change]) -> bool:
    return any(it.point_id is None and it.meter_id is None for it in changes)


def _is_plain(arrival: Arrival | PolledFreeze) -> TypeGuard[PolledFreeze]:
    """Whether it is what a line polls by the thousand, and nothing is to be said of it."""
    if not isinstance(arrival, PolledFreeze):
        return False
    meter, day, registers, _, skew, _ = arrival
    return (
        None not in registers
        and (skew is None or abs(skew) <= QUIET_SKEW)
        and meter.decimals == POLLED_DECIMALS
        and len(registers) <= MOST_REGISTERS
        and is_in_service(day, meter.installed_on)
    )


def _can_be_known(tail: Tail, reading: RawReading) -> bool:
    is_last = tail.after_day is None
    return is_last and tail.is_quiet and reading.source == METER and reading.more_rates is None


def _columns(told: Sequence[tuple[int, int, PolledFreeze]]) -> _Told:
    arrivals = [arrival for _, _, arrival in told]
    ordinals = {day: (day - SINCE).days for day in {arrival.day for arrival in arrivals}}
    arrived_us = [(arrival.arrived_at - EPOCH) // MICROSECOND for arrival in arrivals]
    return _Told(
        rows=_integers([row for row, _, _ in told]),
        positions=_integers([position for _, position, _ in told]),
        days=_integers([ordinals[arrival.day] for arrival in arrivals]),
        steps=_integers([arrival.registers for arrival in arrivals]),
        meters=_integers([arrival.meter.meter_id for arrival in arrivals]),
        ids=_integers(
            [
                freeze_id(METER, at, cast("tuple[int, ...]", arrival.registers))
                for at, arrival in zip(arrived_us, arrivals, strict=True)
            ]
        ),
        arrived_us=_integers(arrived_us),
        skew_s=_integers(
            [NO_SKEW if it.clock_skew is None else round(it.clock_skew / SECOND) for it in arrivals]
        ),
        tellers=_integers([number_of(arrival.told_by) for arrival in arrivals]),
    )


def _integers(values: Sequence[Any]) -> Integers:
    return np.array(values, dtype=np.int64)


def _rows_of_readings(columns: Mapping[str, Column], skew_s: Integers) -> bytes:
    is_known = skew_s != NO_SKEW
    rows = b""
    for which in (~is_known, is_known):
        some: dict[str, Column] = {
            name: column[which] if isinstance(column, np.ndarray) else column
            for name, column in columns.items()
        }
        if which is is_known:
            some["clock_skew_s"] = skew_s[which]
        rows += made_rows(COPIED, some, int(which.sum()))
    return rows
