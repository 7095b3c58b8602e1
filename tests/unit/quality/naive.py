"""The choice of the chain once more, as naively as the text of the rule reads: every sequence is
tried. For a few days of one run, without a thought of speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Naive:
    """A value: registers in steps, total first; `read_at` and `reads` are None for a document."""

    day: int
    registers: tuple[int, ...]
    read_at: int | None = None
    reads: int | None = None
    is_confirmed: bool = False
    has_rolled_over: bool = False


@dataclass(frozen=True)
class NaiveRun:
    values: Sequence[Naive]
    limits: Sequence[Fraction]
    """By day, in steps."""
    modulus: int
    span_days: int = 7

    # --- section 3 --------------------------------------------------------------------------------

    def limit(self, u: Naive, v: Naive) -> Fraction:
        over_days = sum(self.limits[u.day : v.day], Fraction(0))
        return max(over_days, self.limits[u.day] / 24)

    def is_before(self, u: Naive, v: Naive) -> bool:
        # a document of that midnight stands before the freeze
        return (u.day, u.read_at is not None) < (v.day, v.read_at is not None)

    def step(self, u: Naive, v: Naive) -> str:
        pairs = list(zip(u.registers, v.registers, strict=False))
        if len(u.registers) != len(v.registers):
            pairs = pairs[:1]
        found = [self.step_of_register(u, v, *pair) for pair in pairs]
        return next((it for it in ("backward", "spike") if it in found), "good")

    def step_of_register(self, u: Naive, v: Naive, before: int, after: int) -> str:
        most = self.limit(u, v)
        delta = after - before
        if delta >= 0:
            if v.is_confirmed or (delta <= most and delta < Fraction(self.modulus, 4)):
                return "good"
            return "spike"
        turned = delta + self.modulus
        if turned <= most and turned < Fraction(self.modulus, 4):
            return "good"
        return "good" if v.has_rolled_over else "backward"

    def is_good(self, u: Naive, v: Naive) -> bool:
        return self.is_before(u, v) and self.step(u, v) == "good"

    # --- section 4.1 ------------------------------------------------------------------------------

    def eligible(self) -> list[Naive]:
        return [value for value in self.values if self.takes_part(value)]

    def takes_part(self, value: Naive) -> bool:
        if value.is_confirmed:
            return True
        confirmed = [it for it in self.values if it.is_confirmed]
        if any(it.day == value.day and it.read_at is not None for it in confirmed):
            return False
        before = [it for it in confirmed if self.is_before(it, value)]
        behind = [it for it in confirmed if self.is_before(value, it)]
        last = max(before, key=lambda it: (it.day, it.read_at is not None), default=None)
        first = min(behind, key=lambda it: (it.day, it.read_at is not None), default=None)
        follows = last is None or self.leads(last, value)
        return follows and (first is None or self.leads(value, first))

    def leads(self, u: Naive, v: Naive) -> bool:
        """Directly, or by what lies between where the register may have moved a quarter turn."""
        if self.is_good(u, v):
            return True
        if self.limit(u, v) < Fraction(self.modulus, 4):
            return False
        between = [it for it in self.values if self.is_before(u, it) and self.is_before(it, v)]
        return any(self.walks(u, it, v) for it in between)

    def walks(self, u: Naive, w: Naive, v: Naive) -> bool:
        if not self.is_good(u, w):
            return False
        between = [it for it in self.values if self.is_before(w, it) and self.is_before(it, v)]
        return self.is_good(w, v) or any(self.walks(w, it, v) for it in between)

    # --- section 5 --------------------------------------------------------------------------------

    def is_behind(self, x: Naive, a: Naive) -> bool:
        """x, of a later day, is behind a."""
        if not self.is_before(a, x) or self.is_good(a, x):
            return False
        pairs = list(zip(a.registers, x.registers, strict=False))
        if len(a.registers) != len(x.registers):
            pairs = pairs[:1]
        return any(
            0 < (of_a - of_x) % self.modulus < Fraction(self.modulus, 2) for of_a, of_x in pairs
        )

    def is_late(self, a: Naive) -> bool:
        return a.read_at is not None and any(
            x.read_at is not None and x.read_at < a.read_at and self.is_behind(x, a)
            for x in self.eligible()
        )

    def weight(self, value: Naive) -> int:
        if value.read_at is None:
            return 0
        weight = 1 if self.is_late(value) else 3
        return weight * 2 if (value.reads or 0) > 1 else weight

    def is_outvoted(self, a: Naive, *, at_start: bool = False) -> bool:
        eligible = self.eligible()
        same_day = [it for it in eligible if it is not a and self.share_a_day(it, a)]
        if self.is_late(a) or same_day:
            return True
        votes = [x for x in eligible if self.is_behind(x, a)]
        return any(
            self.is_good(first, second) and self.is_good(second, third)
            for first in votes
            for second in votes
            for third in votes
            if at_start or any(self.is_good(u, a) and self.is_good(u, first) for u in eligible)
        )

    def share_a_day(self, u: Naive, v: Naive) -> bool:
        return (u.day, u.read_at is None) == (v.day, v.read_at is None)

    def is_permitted(self, u: Naive, v: Naive) -> bool:
        both_confirmed = u.is_confirmed and v.is_confirmed
        if not self.is_good(u, v) and not both_confirmed:
            return False
        skipped = [it for it in self.eligible() if self.is_before(u, it) and self.is_before(it, v)]
        if any(it.is_confirmed for it in skipped):
            return False
        good = [it for it in skipped if self.is_good(u, it)]
        if good and v.day - u.day > self.span_days:
            return False
        return all(self.is_outvoted(it) for it in good)

    def may_start(self, start: Naive) -> bool:
        passed = [it for it in self.eligible() if self.is_before(it, start)]
        if any(it.is_confirmed for it in passed):
            return False
        if not all(self.is_outvoted(it, at_start=True) for it in passed):
            return False
        in_time = [it for it in passed if not self.is_late(it)]
        return not any(self.is_good(p, q) for p in in_time for q in in_time)

    def sequences(self) -> Iterator[list[Naive]]:
        eligible = self.eligible()
        confirmed = [it for it in eligible if it.is_confirmed]

        def grow(sequence: list[Naive]) -> Iterator[list[Naive]]:
            if all(it in sequence for it in confirmed):
                yield sequence
            for it in eligible:
                if self.is_before(sequence[-1], it) and self.is_permitted(sequence[-1], it):
                    yield from grow([*sequence, it])

        for start in eligible:
            if self.may_start(start):
                yield from grow([start])

    def chain(self) -> list[Naive]:
        def order(value: Naive) -> tuple[int, bool, int, tuple[int, ...]]:
            return (value.day, value.read_at is not None, value.read_at or 0, value.registers)

        def rank(sequence: list[Naive]) -> tuple[int, list[object]]:
            return (-sum(map(self.weight, sequence)), [order(it) for it in sequence])

        return min(self.sequences(), key=rank, default=[])
