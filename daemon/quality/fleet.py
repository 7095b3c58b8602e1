"""Many points at once: arrays prove which are clean, the others are judged one by one.

A point is clean when all its checks pass, each day has one candidate and each value follows the one
before it. All weights are positive, so the whole set is the chain (judgement.md section 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.quality.chain import MAX_AUTO_SPAN_DAYS
from daemon.quality.facts import Facts
from daemon.quality.judge import judge
from daemon.quality.local_time import DAY_S
from daemon.quality.marks import UNCHANGED_DAYS
from daemon.quality.verdict import Verdict

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

MISSING: Final = -1
BLOCK_POINTS: Final = 8192
"""So many points of two months lie in a processor's cache."""
MOST_STEPS: Final = 2**40
"""Of a modulus: what is multiplied with the seconds of two months stays within 64 bits."""


@dataclass(frozen=True, slots=True)
class Freezes:
    """Freezes of many points on the same days, in steps of each point's register.

    `totals` [points, days], MISSING where there is none. `rates` [rates, points, days] or None; a
    point has all rates of a day or none. By point: `modulus`; `max_daily`, the least limit of 24
    hours inside, rounded down; `wire_steps`, one step of the wire. By day: `midnight_s`.

    `plain` [points]: False where there is a fact that these arrays do not show: a second candidate
    of a day, a failed check, a finding, a document, another ratio or source, a decision other than
    a closing. `confirmed` [points]: a closing named a value of it, or it is known to be published.
    `unchanged_days` [points]: for how long the total had stood still on the first day.

    Where nothing is open before it, the first day may be that of any value of the chain."""

    totals: Integers
    modulus: Integers
    max_daily: Integers
    wire_steps: Integers
    midnight_s: Integers
    plain: Flags
    confirmed: Flags
    unchanged_days: Integers
    rates: Integers | None = None


@dataclass(frozen=True, slots=True)
class CleanPoints:
    """What the arrays proved. All values of a clean point that does not wait are published."""

    clean: Flags
    """[points]"""
    waits: Flags
    """[points]: V32, a single value that nobody confirmed."""
    unchanged: Flags
    """[points, days]: V10."""
    spans: Flags
    """[points, days]: the link that ends there is longer than 7 days and is held."""


def judge_many(
    freezes: Freezes, facts_of: Callable[[int], Facts]
) -> tuple[CleanPoints, dict[int, Verdict]]:
    """Clean points as arrays; the verdicts of all others by their number."""
    proved = clean_points(freezes)
    return proved, {int(n): judge(facts_of(int(n))) for n in np.flatnonzero(~proved.clean)}


def clean_points(freezes: Freezes) -> CleanPoints:
    """One pass over points x days; what it cannot prove is not clean."""
    points, days = freezes.totals.shape
    proved = CleanPoints(
        clean=np.zeros(points, dtype=bool),
        waits=np.zeros(points, dtype=bool),
        unchanged=np.zeros((points, days), dtype=bool),
        spans=np.zeros((points, days), dtype=bool),
    )
    for first in range(0, points, BLOCK_POINTS):
        _prove_block(freezes, slice(first, first + BLOCK_POINTS), proved)
    return proved


def _prove_block(freezes: Freezes, block: slice, proved: CleanPoints) -> None:
    totals = np.ascontiguousarray(freezes.totals[block].T)
    told = [] if freezes.rates is None else list(freezes.rates[:, block])
    rates = [np.ascontiguousarray(registers.T) for registers in told]
    modulus = freezes.modulus[block]
    clean = freezes.plain[block] & (modulus < MOST_STEPS)
    if rates:
        clean &= _rates_add_up(totals, rates, freezes.wire_steps[block])
    for registers in (totals, *rates):
        clean &= _in_range(registers, modulus)
        clean &= _follow(registers, freezes, block)
    proved.clean[block] = clean
    proved.waits[block] = ((totals >= 0).sum(axis=0) == 1) & ~freezes.confirmed[block]
    _mark(totals, freezes, block, proved)


def _in_range(registers: Integers, modulus: Integers) -> Flags:
    """V06."""
    return np.asarray((registers.max(axis=0) < modulus) & (registers.min(axis=0) >= MISSING))


def _rates_add_up(totals: Integers, rates: list[Integers], wire_steps: Integers) -> Flags:
    """V11; and a day has all rates or none."""
    has_rates = rates[0] >= 0
    rest = totals - rates[0]
    is_whole = has_rates <= (totals >= 0)
    for rate in rates[1:]:
        is_whole &= (rate >= 0) == has_rates
        rest -= rate
    is_whole &= (np.abs(rest) <= len(rates) * wire_steps) | ~has_rates
    return np.asarray(is_whole.all(axis=0))


def _follow(registers: Integers, freezes: Freezes, block: slice) -> Flags:
    """Whether each value follows the one before it, by the time between them.

    What moved less than the shortest day allows needs no time; the few others are looked at
    again."""
    modulus = freezes.modulus[block]
    max_daily = np.minimum(freezes.max_daily[block], modulus)
    shortest_s = np.diff(freezes.midnight_s).min(initial=DAY_S)
    quarter = (modulus - 1) // 4
    at_once = np.minimum(max_daily * shortest_s // DAY_S, quarter)
    follow = np.ones(len(modulus), dtype=bool)
    for advance, _ in _advances(registers, modulus, freezes.midnight_s):
        follow &= advance <= at_once
    again = np.flatnonzero(~follow)
    if again.size:
        good = np.ones(again.size, dtype=bool)
        some = np.ascontiguousarray(registers[:, again])
        for advance, elapsed_s in _advances(some, modulus[again], freezes.midnight_s):
            good &= (advance * DAY_S <= max_daily[again] * elapsed_s) & (advance <= quarter[again])
        follow[again] = good
    return follow


def _advances(
    registers: Integers, modulus: Integers, midnight_s: Integers
) -> Iterator[tuple[Integers, Integers]]:
    """By day: how far the register went since the value before, and in which time.

    0 where there is no value, or none before it."""
    last = np.full(registers.shape[1], MISSING, dtype=np.int64)
    last_s = np.zeros(registers.shape[1], dtype=np.int64)
    for values, at_s in zip(registers, midnight_s, strict=True):
        is_there = values >= 0
        advance = values - last
        np.add(advance, modulus, out=advance, where=advance < 0)
        advance *= is_there & (last >= 0)
        yield advance, at_s - last_s
        np.copyto(last, values, where=is_there)
        np.copyto(last_s, at_s, where=is_there)


def _mark(totals: Integers, freezes: Freezes, block: slice, proved: CleanPoints) -> None:
    """V10 and held spans, in days of the calendar."""
    points = totals.shape[1]
    last = np.full(points, MISSING, dtype=np.int64)
    last_day = np.zeros(points, dtype=np.int64)
    since = np.zeros(points, dtype=np.int64)
    for day, values in enumerate(totals):
        is_there = values >= 0
        had_one = last >= 0
        np.copyto(since, day - freezes.unchanged_days[block], where=~had_one)
        np.copyto(since, day, where=is_there & had_one & (values != last))
        proved.unchanged[block, day] = is_there & (since <= day - UNCHANGED_DAYS)
        proved.spans[block, day] = is_there & had_one & (last_day < day - MAX_AUTO_SPAN_DAYS)
        np.copyto(last, values, where=is_there)
        np.copyto(last_day, day, where=is_there)
