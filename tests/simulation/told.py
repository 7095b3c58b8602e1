"""What a simulation found: counts, mistakes in words, and how long wrong values stood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

HONEST_DAYS = 3


@dataclass
class Told:
    """`stood`: (reason, honest days) -> so many wrong values were published until so many honest
    days had come behind them; 0 days where none had."""

    counts: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    stood: Counter[tuple[str, int]] = field(default_factory=Counter)

    def add(self, other: Told) -> None:
        self.counts += other.counts
        self.mistakes += other.mistakes
        self.stood += other.stood

    def three_days(self) -> Iterator[str]:
        """How many wrong values keep the line of three honest days, and why others do not."""
        read = self.counts["wrong values read"]
        published = self.stood.total()
        missed = {key: count for key, count in self.stood.items() if key[1] >= HONEST_DAYS}
        yield (
            f"{read} wrong values were read, {published} of them published; {sum(missed.values())}"
            f" still were when {HONEST_DAYS} honest days had come"
        )
        for reason in sorted({reason for reason, _ in missed}):
            days = {stood: count for (why, stood), count in missed.items() if why == reason}
            point_days = sum((stood - HONEST_DAYS + 1) * count for stood, count in days.items())
            yield (
                f"{sum(days.values()):9} values, {point_days} point-days over the line,"
                f" at most {max(days)} honest days: {reason}"
            )
