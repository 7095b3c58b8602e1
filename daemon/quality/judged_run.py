"""A run with its chain: what states, codes and links are read from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from daemon.quality.candidates import Candidate
from daemon.quality.runs import Run
from daemon.quality.steps import Steps
from daemon.quality.values import Value
from daemon.quality.votes import Votes


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """Values by their number, in order; `chain` are the numbers that were chosen."""

    run: Run
    candidates: Mapping[date, Sequence[Candidate]]
    values: Sequence[Value]
    steps: Steps
    votes: Votes
    chain: Sequence[int]
    max_auto_span_days: int
    pinned: int | None
    """The value with which a window begins."""

    @property
    def first_day(self) -> date:
        """The first day that is shown."""
        return date.min if self.pinned is None else self.values[self.pinned].day

    @property
    def is_published(self) -> bool:
        """V32: a chain of one value that nobody confirmed publishes nothing."""
        is_known = any(self.votes.confirmed[n] or n == self.pinned for n in self.chain)
        return is_known or len(self.chain) > 1

    @property
    def is_too_short(self) -> bool:
        """Whether a value stands against the one with which the window begins."""
        if self.pinned is None:
            return False
        return bool((self.steps.behind[self.pinned] & self.votes.eligible).any())

    def before(self, place: tuple[int, int]) -> int | None:
        """The chain's neighbour before a moment."""
        count = bisect_left(self.chain, place, key=self._place)
        return self.chain[count - 1] if count else None

    def behind(self, place: tuple[int, int]) -> int | None:
        """The chain's neighbour behind a moment."""
        count = bisect_right(self.chain, place, key=self._place)
        return self.chain[count] if count < len(self.chain) else None

    def _place(self, number: int) -> tuple[int, int]:
        return self.values[number].place
