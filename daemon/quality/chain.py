"""The choice of the chain: the heaviest permitted sequence (judgement.md 5.3 to 5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from daemon.quality.local_time import DAY_S
from daemon.quality.steps import Steps
from daemon.quality.values import Value
from daemon.quality.votes import Votes

MAX_AUTO_SPAN_DAYS: Final = 7
"""An outlier is outvoted at short range; what stood for longer is a matter for a person."""


def choose_chain(
    values: Sequence[Value], steps: Steps, votes: Votes, max_auto_span_days: int
) -> list[int]:
    """The numbers of the values in the chain, in order of time.

    From the last value backwards: the best that can follow each. Among equals the first in order,
    which is the earlier day, the earlier read, the smaller registers."""
    taking_part = [int(n) for n in np.flatnonzero(votes.eligible)]
    best: dict[int, int] = {}
    following: dict[int, int] = {}
    for number in reversed(taking_part):
        best[number] = votes.weights[number]
        chosen = _heaviest(_permitted(number, values, steps, votes, max_auto_span_days), best)
        if chosen is not None:
            following[number] = chosen
            best[number] += best[chosen]
    start = _heaviest(_starts(taking_part, values, steps, votes), best)
    chain = []
    while start is not None:
        chain.append(start)
        start = following.get(start)
    return chain


def exceeds_days(earlier: Value, later: Value, days: int) -> bool:
    """Whether more than `days` days lie between; parts of days where a document lies."""
    return later.wall_s - earlier.wall_s > days * DAY_S


def _heaviest(numbers: Iterable[int], best: dict[int, int]) -> int | None:
    return min(numbers, key=lambda n: (-best[n], n), default=None)


def _permitted(
    number: int, values: Sequence[Value], steps: Steps, votes: Votes, max_auto_span_days: int
) -> Iterator[int]:
    """The values to which a step leads."""
    skips_a_good_one = False
    for same_day in _by_place(_leads(number, values, steps, votes), steps):
        too_far = exceeds_days(values[number], values[same_day[0]], max_auto_span_days)
        if skips_a_good_one and too_far:
            return
        yield from same_day
        if not votes.outvoted[same_day].all():
            return
        skips_a_good_one = True


def _leads(number: int, values: Sequence[Value], steps: Steps, votes: Votes) -> list[int]:
    """What is good after it, up to the next confirmed value, which is never skipped."""
    behind = np.flatnonzero(votes.confirmed & steps.precedes[number])
    if not behind.size:
        return np.flatnonzero(steps.good[number] & votes.eligible).tolist()
    confirmed = int(behind[0])
    found: list[int] = np.flatnonzero((steps.good[number] & votes.eligible)[:confirmed]).tolist()
    # Two confirmed values follow one another whatever they say.
    leads_there = steps.good[number, confirmed] or values[number].is_confirmed or not found
    return [*found, confirmed] if leads_there else found


def _starts(
    taking_part: Sequence[int], values: Sequence[Value], steps: Steps, votes: Votes
) -> Iterator[int]:
    """The values with which the chain may begin."""
    passed: list[int] = []
    for same_day in _by_place(taking_part, steps):
        yield from same_day
        if votes.confirmed[same_day].any() or not votes.outvoted_at_start[same_day].all():
            return
        passed += [n for n in same_day if not votes.late[n]]
        if steps.good[np.ix_(passed, passed)].any():
            return


def _by_place(numbers: Sequence[int], steps: Steps) -> Iterator[list[int]]:
    """In groups of one moment: of a day's candidates at most one is chosen."""
    for _, same_day in groupby(numbers, key=lambda n: steps.places[n]):
        yield list(same_day)
