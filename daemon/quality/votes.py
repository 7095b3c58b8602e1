"""Who takes part in the choice of the chain, who weighs what, who is outvoted (4.1, 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from daemon.quality.capacity import Integers
from daemon.quality.local_time import EPOCH
from daemon.quality.steps import Flags, Steps
from daemon.quality.values import Value

MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Votes:
    """By number of the value. Lateness and outvoting look at who takes part, never at a chain."""

    confirmed: Flags
    eligible: Flags
    against_person: Flags
    """V35."""
    late: Flags
    is_sole: Flags
    """Its day has no other value that takes part."""
    outvoted: Flags
    outvoted_at_start: Flags
    """The same without a value before it."""
    weights: tuple[int, ...]


def votes_of(values: Sequence[Value], steps: Steps) -> Votes:
    """Count the votes."""
    confirmed = np.array([value.is_confirmed for value in values], dtype=bool)
    eligible, against_person = _takes_part(confirmed, steps)
    late = _late(values, steps, eligible)
    is_sole = _sole(steps, eligible)
    good = steps.good & eligible[:, None] & eligible[None, :]
    behind = steps.behind & eligible[:, None] & eligible[None, :]
    without_votes = late | ~is_sole
    outvoted = without_votes.copy()
    outvoted_at_start = without_votes.copy()
    suspects = np.flatnonzero(behind.any(axis=1) & ~without_votes)
    against = behind[suspects]
    # Both follow from one value before: the outlier, and what stands against it.
    from_one_before = _any_between(good.T[suspects], good)
    outvoted[suspects] |= _has_three(against & from_one_before, against, good)
    outvoted_at_start[suspects] |= _has_three(against, against, good)
    return Votes(
        confirmed=confirmed,
        eligible=eligible,
        against_person=against_person,
        late=late,
        is_sole=is_sole,
        outvoted=outvoted,
        outvoted_at_start=outvoted_at_start,
        weights=tuple(_weight(value, is_late) for value, is_late in zip(values, late, strict=True)),
    )


def _takes_part(is_confirmed: Flags, steps: Steps) -> tuple[Flags, Flags]:
    """Who does not contradict the confirmed values beside it, and who goes back against one."""
    confirmed = np.flatnonzero(is_confirmed)
    first_behind = np.searchsorted(steps.places[confirmed], steps.places, side="right")
    first_not_before = np.searchsorted(steps.places[confirmed], steps.places, side="left")
    # Other candidates of a confirmed day take no part.
    eligible: Flags = is_confirmed | (first_behind == first_not_before)
    against_person = np.zeros(len(is_confirmed), dtype=bool)
    numbers = np.arange(len(is_confirmed))
    has_before = ~is_confirmed & (first_not_before > 0)
    has_behind = ~is_confirmed & (first_behind < len(confirmed))
    way = _Way(steps)
    for earlier, later, others in (
        (confirmed[first_not_before[has_before] - 1], numbers[has_before], has_before),
        (numbers[has_behind], confirmed[first_behind[has_behind]], has_behind),
    ):
        contradicts = ~way.leads(earlier, later)
        eligible[others] &= ~contradicts
        against_person[others] |= contradicts & steps.backward[earlier, later]
    return eligible, against_person


class _Way:
    """Whether one value follows another, by what lies between where the register moved far.

    Two values that may be a quarter turn apart cannot be compared: a register that has moved on
    since the last closing would contradict it for ever."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._reached: dict[int, Flags] = {}

    def leads(self, earlier: Integers, later: Integers) -> Flags:
        """From each of `earlier` to the same of `later`, good step by good step."""
        steps = self._steps
        found: Flags = steps.good[earlier, later]
        for place in np.flatnonzero(~found & steps.is_far[earlier, later]):
            start = int(earlier[place])
            if start not in self._reached:
                self._reached[start] = self._from(start)
            found[place] = self._reached[start][later[place]]
        return found

    def _from(self, start: int) -> Flags:
        reached = np.zeros(len(self._steps.places), dtype=bool)
        reached[start] = True
        for number in range(start + 1, len(reached)):
            reached[number] = self._steps.good[reached, number].any()
        return reached


def _late(values: Sequence[Value], steps: Steps, eligible: Flags) -> Flags:
    """A value of a later day was read before it, and stands against it."""
    against = steps.behind & eligible[None, :]
    if not against.any():
        return np.zeros(len(values), dtype=bool)
    is_read = np.array([value.candidate is not None for value in values], dtype=bool)
    # Whole microseconds: exact, and cheaper to compare than moments of a zone.
    read = np.array(
        [
            0 if it.candidate is None else (it.candidate.read_at - EPOCH) // MICROSECOND
            for it in values
        ],
        dtype=np.int64,
    )
    was_before = (read[None, :] < read[:, None]) & is_read[None, :] & is_read[:, None]
    return np.asarray((against & was_before).any(axis=1))


def _sole(steps: Steps, eligible: Flags) -> Flags:
    counts = np.bincount(steps.places[eligible], minlength=len(steps.places))
    return np.asarray(counts[steps.places] <= 1)


def _has_three(first: Flags, behind: Flags, good: Flags) -> Flags:
    """Against whom three later values stand, each good after the one before it."""
    second = behind & _any_between(first, good)
    third = behind & _any_between(second, good)
    return np.asarray(third.any(axis=1))


def _any_between(left: Flags, right: Flags) -> Flags:
    """[a, c]: whether there is a b with left[a, b] and right[b, c]."""
    product: Flags = (left.astype(np.float32) @ right.astype(np.float32)) > 0
    return product


def _weight(value: Value, is_late: bool) -> int:
    """3, late 1; twice that for what a second read confirmed. A document is in every chain."""
    if value.candidate is None:
        return 0
    weight = 1 if is_late else 3
    return 2 * weight if value.candidate.reads > 1 else weight
