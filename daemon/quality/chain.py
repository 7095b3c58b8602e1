"""The choice of the chain: the heaviest permitted sequence (judgement.md 5.3 to 5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from daemon.quality.local_time import DAY_S
from daemon.quality.steps import Steps
from daemon.quality.values import Value
from daemon.quality.votes import Votes


def choose_chain(
    values: Sequence[Value],
    steps: Steps,
    votes: Votes,
    max_auto_span_days: int,
    pinned: int | None = None,
) -> list[int]:
    """The numbers of the values in the chain, in order of time; `pinned` is one of them.

    From the last value backwards: the best that can follow each. Among equals the first in order,
    which is the earlier day, the earlier read, the smaller registers."""
    graph = _Graph(values, steps, votes, max_auto_span_days)
    if pinned is not None:
        graph.pin(pinned)
    taking_part: list[int] = np.flatnonzero(votes.eligible).tolist()
    if steps.good[taking_part[:-1], taking_part[1:]].all():
        return taking_part  # all weights are positive
    best: dict[int, int] = {}
    following: dict[int, int] = {}
    for number in reversed(taking_part):
        best[number] = votes.weights[number]
        chosen = _heaviest(graph.permitted(number), best)
        if chosen is not None:
            following[number] = chosen
            best[number] += best[chosen]
    start = _heaviest(graph.starts(taking_part), best)
    chain = []
    while start is not None:
        chain.append(start)
        start = following.get(start)
    return chain


def exceeds_days(earlier: Value, later: Value, days: int) -> bool:
    """Whether more than `days` days lie between; parts of days where a document lies."""
    return later.wall_s - earlier.wall_s > days * DAY_S


def _heaviest(numbers: Iterable[int], best: dict[int, int]) -> int | None:
    """The first of the heaviest, of numbers in order."""
    return max(numbers, key=best.__getitem__, default=None)


class _Graph:
    """Which steps and which beginnings are permitted.

    Lists instead of arrays: each is looked at by the thousand, one element at a time."""

    def __init__(
        self, values: Sequence[Value], steps: Steps, votes: Votes, max_auto_span_days: int
    ) -> None:
        self._good = steps.good & votes.eligible
        self._places: list[int] = steps.places.tolist()
        self._wall_s = [value.wall_s for value in values]
        self._confirmed: list[int] = np.flatnonzero(votes.confirmed).tolist()
        self._outvoted: list[bool] = votes.outvoted.tolist()
        self._outvoted_at_start: list[bool] = votes.outvoted_at_start.tolist()
        self._late: list[bool] = votes.late.tolist()
        self._reach_s = max_auto_span_days * DAY_S

    def pin(self, number: int) -> None:
        """A window begins with it, so it is skipped as little as what is confirmed."""
        self._confirmed = sorted({*self._confirmed, number})

    def permitted(self, number: int) -> list[int]:
        """The values to which a step leads."""
        found: list[int] = []
        last_s = self._wall_s[number] + self._reach_s
        place = None
        may_skip = True
        for n in self._leads(number):
            if self._places[n] != place:
                is_far = bool(found) and self._wall_s[n] > last_s
                if is_far or not may_skip:
                    break
                place = self._places[n]
            found.append(n)
            may_skip = may_skip and self._outvoted[n]
        return found

    def starts(self, taking_part: Sequence[int]) -> list[int]:
        """The values with which the chain may begin."""
        found: list[int] = []
        passed: list[int] = []
        for same_day in self._by_place(taking_part):
            found += same_day
            is_fixed = any(n in self._confirmed for n in same_day)
            if is_fixed or not all(self._outvoted_at_start[n] for n in same_day):
                break
            passed += [n for n in same_day if not self._late[n]]
            if self._good[np.ix_(passed, passed)].any():
                break
        return found

    def _leads(self, number: int) -> list[int]:
        """What is good after it, up to the next confirmed value, which is never skipped."""
        place = self._places[number]
        confirmed = next((n for n in self._confirmed if self._places[n] > place), None)
        good = self._good[number, :confirmed]
        found: list[int] = good.nonzero()[0].tolist()
        if confirmed is None:
            return found
        # Two confirmed values follow one another whatever they say.
        is_confirmed = number in self._confirmed
        leads_there = self._good[number, confirmed] or is_confirmed or not found
        return [*found, confirmed] if leads_there else found

    def _by_place(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """In groups of one moment: of a day's candidates at most one is chosen."""
        for _, same_day in groupby(numbers, key=self._places.__getitem__):
            yield list(same_day)
