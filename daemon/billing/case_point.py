"""A metering point of a worked case: its readings and documents, and the links between them.

The rules are those of money.md sections 3, 4 and 12, one reading at a time: what is suspect when it
arrives moves nothing and is not looked at again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from typing import Any, Final, NamedTuple

from config.tariff_version import TOTAL
from daemon.billing.use import Span

ACCEPTED: Final = "accepted"
ROLLED_OVER: Final = "accepted:rollover"
DUPLICATE: Final = "duplicate"
BACKWARD: Final = "suspect:backward"
SPIKE: Final = "suspect:spike"
TOU_MISMATCH: Final = "suspect:tou_mismatch"
CONFLICT: Final = "suspect:conflict"
Registers = Mapping[str, Decimal]
HOUR: Final = Fraction(1, 24)


class Advance(NamedTuple):
    """How far a register moved, in its unit, and whether it may have."""

    amount: Decimal
    status: str

    @property
    def is_good(self) -> bool:
        """Whether it is billed."""
        return self.status in (ACCEPTED, ROLLED_OVER)


@dataclass(frozen=True, slots=True)
class Meter:
    """What turns a register into energy, from one document to the next.

    `modulus` and `max_daily` in the register's unit."""

    ratio: Decimal
    modulus: Decimal
    decimals: int
    max_daily: Decimal
    allow_rollover: bool = True

    def advance(self, before: Decimal, after: Decimal, days: Fraction) -> Advance:
        """The way from one value to the next (section 3)."""
        amount = after - before
        limit = Fraction(self.max_daily) * max(days, HOUR)
        if amount >= 0:
            return Advance(amount, ACCEPTED if amount <= limit else SPIKE)
        amount += self.modulus
        # With a limit near the modulus every step back would be a rollover (quality.md, A7).
        is_rollover = self.allow_rollover and amount <= limit and 4 * amount < self.modulus
        return Advance(amount, ROLLED_OVER if is_rollover else BACKWARD)

    def in_steps(self, amount: Decimal) -> int:
        """In the register's smallest step."""
        return int(amount.scaleb(self.decimals))


class Change(NamedTuple):
    """An exchange or a new ratio: what the old meter showed and what the new one.

    `new`: what is another from then on; the rest is as it was just before, whatever documents of
    earlier days are still to come."""

    at: datetime
    old_final: Registers
    new_initial: Registers
    new: Mapping[str, Any]

    def meter(self, before: Meter) -> Meter:
        """In force from its moment on."""
        return replace(before, **self.new)


@dataclass(frozen=True, slots=True)
class Link:
    """Two neighbours of the chain under one meter and one ratio."""

    start: datetime
    end: datetime
    before: Registers
    after: Registers
    meter: Meter

    def advances(self) -> dict[str, Advance]:
        """By register; the total first."""
        days = Fraction((self.end - self.start) // timedelta(seconds=1), 86400)
        names = [TOTAL, *(it for it in self.before if it != TOTAL and it in self.after)]
        return {it: self.meter.advance(self.before[it], self.after[it], days) for it in names}


@dataclass(frozen=True, slots=True)
class Point:
    """`rates`: its registers besides the total; every reading must tell them if `needs_rates`."""

    meter: Meter
    rates: tuple[str, ...]
    needs_rates: bool
    residual_rate: str | None
    tou_tolerance: Decimal | None
    phases: int
    readings: Mapping[datetime, Registers] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def read(self, at: datetime, registers: Registers) -> tuple[Point, str]:
        """With this reading, and its status; as it was if it is a duplicate or suspect."""
        known = self._values_at(at)
        if known:
            return self, DUPLICATE if registers in known else CONFLICT
        return self.corrected(at, registers)

    def corrected(self, at: datetime, registers: Registers) -> tuple[Point, str]:
        """With this reading in the place of the one of its moment."""
        if any(change.at == at for change in self.changes):
            return self, CONFLICT  # a document says what the meters showed then
        if not self._is_sum_right(registers, self._meter_at(at)):
            return self, TOU_MISMATCH
        return self._tried(replace(self, readings={**self.readings, at: registers}), at)

    def changed(self, change: Change) -> tuple[Point, str]:
        """With an exchange or a new ratio, which splits the chain by time (section 12)."""
        for other in self.changes:
            if other.at == change.at:
                return self, DUPLICATE if other == change else CONFLICT
        told = self.readings.get(change.at)
        if told is not None and told not in (change.old_final, change.new_initial):
            return self, CONFLICT
        old = self._meter_at(change.at)
        is_old_right = self._is_sum_right(change.old_final, old)
        if not (is_old_right and self._is_sum_right(change.new_initial, change.meter(old))):
            return self, TOU_MISMATCH
        changes = tuple(sorted((*self.changes, change)))  # no two of one moment
        return self._tried(replace(self, changes=changes), change.at)

    def meters_at(self, at: datetime) -> tuple[Meter, Meter]:
        """In force until that moment and from it on; two at the moment of a document."""
        return self._meter_at(at - timedelta.resolution), self._meter_at(at)

    def billed_through(self, closed_at: datetime | None) -> datetime | None:
        """The last moment of the chain, of an account that may have been closed before it."""
        moments = (*self.readings, *(it.at for it in self.changes))
        return max((it for it in moments if closed_at is None or it <= closed_at), default=None)

    def links(self) -> Iterator[Link]:
        """Of the chain, in order of time."""
        meter = self.meter
        chain: list[tuple[datetime, Registers]] = []
        for change in (*self.changes, None):
            chain += self._readings_before(chain, change)
            if change is not None:
                chain.append((change.at, change.old_final))
            for (start, before), (end, after) in pairwise(chain):
                yield Link(start, end, before, after, meter)
            if change is not None:
                meter = change.meter(meter)
                chain = [(change.at, change.new_initial)]

    def span_of(self, link: Link) -> Span:
        """What is billed of a link; all that are there are good."""
        return Span(
            link.start,
            link.end,
            {name: link.meter.in_steps(it.amount) for name, it in link.advances().items()},
            link.meter.decimals,
            link.meter.ratio,
            self.residual_rate,
        )

    def _readings_before(
        self, chain: list[tuple[datetime, Registers]], change: Change | None
    ) -> list[tuple[datetime, Registers]]:
        begin = chain[0][0] if chain else datetime.min.replace(tzinfo=UTC)
        return [
            (at, self.readings[at])
            for at in sorted(self.readings)
            if begin < at and (change is None or at < change.at)
        ]

    def _tried(self, changed: Point, at: datetime) -> tuple[Point, str]:
        """The point with a change that its neighbours do not contradict."""
        status = ACCEPTED
        for link in changed.links():
            if at not in (link.start, link.end):
                continue
            for name, advance in link.advances().items():
                if not advance.is_good:
                    return self, advance.status
                if name == TOTAL and advance.status == ROLLED_OVER:
                    status = ROLLED_OVER
        return changed, status

    def _values_at(self, at: datetime) -> list[Registers]:
        values = [self.readings[at]] if at in self.readings else []
        for change in self.changes:
            if change.at == at:
                values += [change.old_final, change.new_initial]
        return values

    def _meter_at(self, at: datetime) -> Meter:
        earlier = (change for change in self.changes if change.at <= at)
        return reduce(lambda meter, change: change.meter(meter), earlier, self.meter)

    def _is_sum_right(self, registers: Registers, meter: Meter) -> bool:
        """Section 4: the rates make the total, but for a digit each."""
        missing = [rate for rate in self.rates if rate not in registers]
        if missing or not self.rates:
            # The residual is never read, so a meter need not keep a register for it.
            return missing in ([], [self.residual_rate]) or not self.needs_rates
        # A meter that has rolled over shows less than its rates do.
        apart = (registers[TOTAL] - sum(registers[rate] for rate in self.rates)) % meter.modulus
        tolerance = self.tou_tolerance
        if tolerance is None:
            tolerance = Decimal(len(self.rates)).scaleb(-meter.decimals)
        return min(abs(apart), meter.modulus - abs(apart)) <= tolerance
