"""Many points at once: arrays prove which are clean; the others have to be judged one by one.

A point is clean when all its checks pass, each day has one candidate and each value follows the one
before it. All weights are positive, so the whole set is the chain (judgement.md section 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from daemon.quality.facts import MAX_AUTO_SPAN_DAYS
from daemon.quality.local_time import DAY_S
from daemon.quality.marks import UNCHANGED_DAYS

Integers = NDArray[np.int64]
Registers = NDArray[np.signedinteger[Any]]
"""Of a block, [days, points], in 32 or 64 bits; MISSING is all bits set."""
Flags = NDArray[np.bool_]

MISSING: Final = -1
UNSIGNED: Final[Mapping[np.dtype[Any], type[np.unsignedinteger[Any]]]] = {
    np.dtype(np.int32): np.uint32,
    np.dtype(np.int64): np.uint64,
}
BLOCK_POINTS: Final = 2048
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
    `max_auto_span_days`: as of facts.

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
    max_auto_span_days: int = MAX_AUTO_SPAN_DAYS


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
    """[points, days]: the link that ends there is too long and is held."""


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
    modulus = freezes.modulus[block]
    told = [freezes.totals[block]]
    if freezes.rates is not None:
        told += list(freezes.rates[:, block])
    clean = freezes.plain[block] & (modulus < MOST_STEPS)
    for registers in told:
        clean &= _in_range(registers, modulus)
    width = _narrowest(modulus[clean], len(told))
    totals, *rates = (_by_day(registers, width) for registers in told)
    if rates:
        clean &= _rates_add_up(totals, rates, freezes.wire_steps[block])
    for registers in (totals, *rates):
        clean &= _follow(registers, freezes, block)
    proved.clean[block] = clean
    proved.waits[block] = ((totals >= 0).sum(axis=0) == 1) & ~freezes.confirmed[block]
    _mark(totals, freezes, block, proved)


def _narrowest(modulus: Integers, registers: int) -> type[np.signedinteger[Any]]:
    """In which no sum of a day's registers overflows: half the width is half the time."""
    is_small = int(modulus.max(initial=0)) * registers < 2**31
    return np.int32 if is_small else np.int64


def _by_day(registers: Integers, width: type[np.signedinteger[Any]]) -> Registers:
    """[days, points]: all points of a day lie side by side."""
    turned = np.empty(registers.shape[::-1], dtype=width)
    # What does not fit is not in range, and its point not clean, whatever it becomes here.
    np.copyto(turned, registers.T, casting="same_kind")
    return turned


def _in_range(registers: Integers, modulus: Integers) -> Flags:
    """V06."""
    if registers.min(initial=0) >= MISSING and registers.max(initial=0) < modulus.min():
        return np.ones(len(modulus), dtype=bool)
    highest = registers.max(axis=1, initial=MISSING)
    lowest = registers.min(axis=1, initial=0)
    return np.asarray((highest < modulus) & (lowest >= MISSING))


def _rates_add_up(totals: Registers, rates: list[Registers], wire_steps: Integers) -> Flags:
    """V11; and a day has all rates or none.

    What is missing is negative, so signs tell what is there."""
    tolerance = len(rates) * wire_steps
    widest = np.zeros(totals.shape[1], dtype=totals.dtype)
    signs = np.zeros_like(widest)
    for day, total in enumerate(totals):
        first = rates[0][day]
        rest = total - first
        for rate in rates[1:]:
            signs |= rate[day] ^ first
            rest -= rate[day]
        is_there = first >= 0
        signs |= np.where(is_there, total, 0)
        np.maximum(widest, np.abs(rest) * is_there, out=widest)
    return np.asarray((signs >= 0) & (widest <= tolerance))


def _follow(registers: Registers, freezes: Freezes, block: slice) -> Flags:
    """Whether each value follows the one before it, by the time between them.

    What only grew, and less than the shortest day allows, needs no time; the few others are looked
    at again."""
    modulus = freezes.modulus[block]
    max_daily = np.minimum(freezes.max_daily[block], modulus)
    shortest_s = np.diff(freezes.midnight_s).min(initial=DAY_S)
    quarter = (modulus - 1) // 4
    at_once = np.minimum(max_daily * shortest_s // DAY_S, quarter)
    follow = _only_grow(registers, at_once)
    again = np.flatnonzero(~follow)
    if again.size:
        good = np.ones(again.size, dtype=bool)
        some = registers[:, again].astype(np.int64)
        for advance, elapsed_s in _advances(some, modulus[again], freezes.midnight_s):
            good &= (advance * DAY_S <= max_daily[again] * elapsed_s) & (advance <= quarter[again])
        follow[again] = good
    return follow


def _only_grow(registers: Registers, most: Integers) -> Flags:
    """Points whose register never stepped back, nor further than `most` from value to value.

    Read without a sign, what is missing is more than any register: it is never the least, and
    never less than what was reached."""
    unsigned = registers.view(UNSIGNED[registers.dtype])
    reached = unsigned.min(axis=0).view(registers.dtype)
    grows = np.ones(len(reached), dtype=bool)
    furthest = np.zeros_like(reached)
    for values, unsigned_values in zip(registers, unsigned, strict=True):
        before = reached
        reached = np.maximum(before, values)
        grows &= unsigned_values >= reached.view(unsigned.dtype)
        np.maximum(furthest, reached - before, out=furthest)
    return np.asarray(grows & (furthest <= most))


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


def _mark(totals: Registers, freezes: Freezes, block: slice, proved: CleanPoints) -> None:
    """V10 and held spans, in days of the calendar, of the few points that can have one."""
    unchanged_days = freezes.unchanged_days[block]
    span_days = freezes.max_auto_span_days
    some = np.flatnonzero(_has_long_gap(totals, span_days) | _may_rest(totals, unchanged_days))
    points = np.arange(len(proved.clean))[block][some]
    last = np.full(some.size, MISSING, dtype=np.int64)
    last_day = np.zeros(some.size, dtype=np.int64)
    since = np.zeros(some.size, dtype=np.int64)
    for day, values in enumerate(totals[:, some]):
        is_there = values >= 0
        had_one = last >= 0
        np.copyto(since, day - unchanged_days[some], where=~had_one)
        np.copyto(since, day, where=is_there & had_one & (values != last))
        proved.unchanged[points, day] = is_there & (since <= day - UNCHANGED_DAYS)
        proved.spans[points, day] = is_there & had_one & (last_day < day - span_days)
        np.copyto(last, values, where=is_there)
        np.copyto(last_day, day, where=is_there)


def _has_long_gap(totals: Registers, span_days: int) -> Flags:
    """Whether so many days lie between two values that the link could be held.

    Seven days without a value hold four that begin at a multiple of four."""
    highest = _pieces(totals, (span_days + 1) // 2).max(axis=1)
    return np.asarray((highest < 0).any(axis=0))


def _may_rest(totals: Registers, unchanged_days: Integers) -> Flags:
    """Whether the total may have stood still for 30 days; the same of fifteen."""
    pieces = _pieces(totals, UNCHANGED_DAYS // 2)
    lowest = pieces.view(UNSIGNED[totals.dtype]).min(axis=1).view(totals.dtype)
    is_level = (pieces.max(axis=1) == lowest).any(axis=0)
    has_rested = (unchanged_days > 0) & (unchanged_days + len(totals) > UNCHANGED_DAYS)
    return np.asarray(is_level | has_rested)


def _pieces(totals: Registers, days: int) -> Registers:
    """[pieces, days, points], without what is left over at the end."""
    whole = len(totals) // days
    return totals[: whole * days].reshape(whole, days, totals.shape[1])
