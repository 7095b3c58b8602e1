"""Publication: which new values of one point's chain bill, and which are withheld. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from daemon.quality.judgement import failing_rules
from daemon.quality.register import ChainPoint, Register

SlotState = Literal["published", "suspect"]


@dataclass(frozen=True, slots=True)
class NewValue:
    """A freeze of `day` 00:00 that arrived.

    Registers in their smallest step, `rates` may be empty."""

    day: date
    meter_id: int
    total: int
    rates: tuple[int, ...] = ()
    clock_skew: timedelta | None = None
    reading_id: int | None = None
    is_of_another: bool = False
    """V03: the meter behind the address is another one than that of the point."""


@dataclass(frozen=True, slots=True)
class DecidedSlot:
    """The value that a day has: published, or suspect with the rules that it breaks."""

    day: date
    meter_id: int
    total: int
    state: SlotState
    reasons: tuple[str, ...] = ()
    reading_id: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another value for a day that has one. Both are kept raw, and the slot stays as decided."""

    kept: DecidedSlot
    total: int


@dataclass(frozen=True, slots=True)
class Publication:
    """What a window of new values came to, in order of days."""

    decided: tuple[DecidedSlot, ...]
    conflicts: tuple[Conflict, ...]

    @property
    def published_span(self) -> tuple[date, date] | None:
        """First and last day that was newly published."""
        days = [slot.day for slot in self.decided if slot.state == "published"]
        return (days[0], days[-1]) if days else None


def publish(
    known: Iterable[DecidedSlot], values: Iterable[NewValue], register: Register
) -> Publication:
    """Decide the new values of a window in order of days.

    `known` are the slots inside the window and the nearest published one on either side. Each
    value is judged against its published neighbours, those of the same window included."""
    slots = {slot.day: slot for slot in known}
    chain = sorted(
        (_chain_point(slot) for slot in slots.values() if slot.state == "published"),
        key=_day,
    )
    decided: list[DecidedSlot] = []
    conflicts: list[Conflict] = []
    for value in sorted(values, key=_day):
        kept = slots.get(value.day)
        if kept is not None:
            # Two equal values are no conflict; of two different ones none replaces the other.
            if kept.total != value.total:
                conflicts.append(Conflict(kept, value.total))
            continue
        # The chain stays sorted, so the neighbours are found without a look at the rest of it.
        place = bisect_left(chain, value.day, key=_day)
        before = chain[place - 1] if place > 0 else None
        after = chain[place] if place < len(chain) else None
        slot = _judged(value, register, before, after)
        slots[slot.day] = slot
        decided.append(slot)
        # A withheld value is no neighbour: it must not make a true one suspect.
        if slot.state == "published":
            chain.insert(place, _chain_point(slot))
    return Publication(tuple(decided), tuple(conflicts))


def _judged(
    value: NewValue,
    register: Register,
    before: ChainPoint | None,
    after: ChainPoint | None,
) -> DecidedSlot:
    reasons = failing_rules(
        ChainPoint(value.day, value.total),
        value.rates,
        register,
        before=before,
        after=after,
        clock_skew=value.clock_skew,
    )
    if value.is_of_another:
        reasons = ["V03 address", *reasons]
    return DecidedSlot(
        day=value.day,
        meter_id=value.meter_id,
        total=value.total,
        state="suspect" if reasons else "published",
        reasons=tuple(reasons),
        reading_id=value.reading_id,
    )


def _chain_point(slot: DecidedSlot) -> ChainPoint:
    return ChainPoint(slot.day, slot.total)


def _day(dated: ChainPoint | NewValue) -> date:
    return dated.day
