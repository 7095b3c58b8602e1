"""Why a day moved what it moved: X and R(X) of its months before and after it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from daemon.billing.posting import Stream
from daemon.billing.pricing import NOTHING, PricedUse, Terms, amounts, priced_uses, rounded_fen
from daemon.billing.use import Use


class DayUses(NamedTuple):
    """The use of the cycles that hold a day, by link: of those that end before it, of those that
    cover it from `first_day` to 00:00 of `end`, of both, and of all.

    The same objects in each, in the order in which settling takes them."""

    first_day: date
    end: date
    earlier: Sequence[Use]
    of_day: Sequence[Use]
    with_it: Sequence[Use]
    known: Sequence[Use]


@dataclass(frozen=True, slots=True)
class StreamChange:
    """A stream in order of days: X before the use and fees of a day and with them, and X of all
    that is known now."""

    stream: Stream
    before: Fraction
    after: Fraction
    now: Fraction

    @property
    def fen(self) -> int:
        """What is posted where everything comes in order of days: R(after) - R(before)."""
        return rounded_fen(self.after) - rounded_fen(self.before)


def day_priced(terms: Terms, uses: DayUses) -> list[PricedUse]:
    """The uses of a day, priced where their cycle stood then."""
    its_own = {id(use) for use in uses.of_day}
    priced = priced_uses(terms, uses.with_it)
    return [it for it in priced if id(it.use) in its_own]


def stream_changes(terms: Terms, uses: DayUses, closed: Collection[date]) -> list[StreamChange]:
    """What a day changes in each stream of the months that its use lies in."""
    closed_before = {it for it in closed if it < uses.first_day}
    closed_with_it = {it for it in closed if it < uses.end}
    before = amounts(terms, uses.earlier, closed_before).charged
    after = amounts(terms, uses.with_it, closed_with_it).charged
    changes = []
    for month in sorted({it.month for it in uses.of_day} or {uses.first_day.replace(day=1)}):
        now = month_now(terms, uses.known, closed, month)
        streams = {it for it in (*before, *after, *now) if it.period == month}
        for stream in sorted(streams):
            told = [it.get(stream, NOTHING) for it in (before, after, now)]
            changes.append(StreamChange(stream, *told))
    return changes


def month_now(
    terms: Terms, uses: Iterable[Use], closed: Iterable[date], month: date
) -> Mapping[Stream, Fraction]:
    """X of the streams of a month, with all that is known up to its end."""
    known = [it for it in uses if it.month <= month]
    ended = {it for it in closed if it.replace(day=1) <= month}
    charged = amounts(terms, known, ended).charged
    return {stream: yuan for stream, yuan in charged.items() if stream.period == month}


def slab_days(priced: Iterable[PricedUse], zone: ZoneInfo) -> dict[tuple[date, int], date]:
    """When the slab that prices a whole month was reached, by (month, number of the slab)."""
    reached = {}
    for it in priced:
        for line in it.lines:
            if not line.is_whole or not line.step:
                continue
            if it.before <= it.bounds[line.step - 1] < it.after:
                reached[line.month, line.step] = it.use.start.astimezone(zone).date()
    return reached
