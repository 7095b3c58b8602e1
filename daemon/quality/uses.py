"""Which use ends with which day: the links of a verdict, as far as days are billed by them.

Links that touch inside a day, over a document, are drawn together; a substitute splits the link
that it lies in, leads to the first value and goes on behind the last (judgement.md 7, quality.md
7). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise, zip_longest
from zoneinfo import ZoneInfo

from daemon.quality.chain import MAX_AUTO_SPAN_DAYS
from daemon.quality.codes import NOT_SHOWN
from daemon.quality.links import EXACT
from daemon.quality.verdict import Held, Link, Verdict


@dataclass(frozen=True, slots=True)
class Use:
    """The use that ends with a day: since how many days, and why it is held.

    `kwh`: where the two values do not show it."""

    days: int = 0
    hold: Held | None = None
    kwh: Decimal | None = None


def uses_of(verdict: Verdict, zone: ZoneInfo, begun: Collection[datetime] = ()) -> dict[date, Use]:
    """By the published or substituted day with which each use ends.

    `begun`: when each meter of the point began; over that no substitute leads."""
    substitutes = sorted(_days(verdict, "substituted"))
    uses: dict[date, Use] = {}
    for links, end in _drawn(verdict, zone):
        start = _day(links[0].start, zone)
        inside = [it for it in substitutes if start < it < end]
        uses |= _split_behind_document(verdict, zone, links, start, end, inside) or _split(
            links, start, end, inside
        )
    for days in _outside(verdict, substitutes):
        for last, use in _pieces(days, "span"):
            first = last - timedelta(days=use.days)
            if not any(_is_between(first, it, last, zone) for it in begun):
                is_jump = use.hold is None and last in verdict.jumps
                uses[last] = Use(use.days, "spike") if is_jump else use
    return uses


def _outside(verdict: Verdict, substitutes: Sequence[date]) -> Iterator[list[date]]:
    """The substitutes before the first value of the chain, and that; the last value, and those
    behind it."""
    if not verdict.chain:
        return
    first = verdict.chain[0].at
    last = verdict.chain[-1].at
    # At a document no register leads to the first value, or on from the last.
    if not isinstance(first, datetime):
        yield [*(it for it in substitutes if it < first), first]
    if not isinstance(last, datetime):
        yield [last, *(it for it in substitutes if it > last)]


def _is_between(first: date, at: datetime, last: date, zone: ZoneInfo) -> bool:
    midnights = (datetime.combine(day, time(), zone) for day in (first, last))
    return next(midnights) < at <= next(midnights)


def _drawn(verdict: Verdict, zone: ZoneInfo) -> Iterator[tuple[list[Link], date]]:
    """The links that lead from one published day to the next, and that day."""
    published = _days(verdict, "published")
    waiting: list[Link] = []
    for link, behind in zip_longest(verdict.links, verdict.links[1:]):
        waiting.append(link)
        end = link.end
        if isinstance(end, datetime):
            # At a midnight the register of a document may be the freeze of that day.
            day = _midnight(end, zone)
            if day is None or (behind is not None and behind.start != day):
                continue
            end = day
        if end in published:
            yield waiting, end
            waiting = []


def _split(
    links: Sequence[Link], start: date, end: date, inside: Sequence[date]
) -> dict[date, Use]:
    link = links[0]
    hold = _first_hold(links)
    is_shown = len(links) == 1 and (link.start, link.end) == (start, end)
    if is_shown and link.kwh is not None:
        return dict(_pieces([start, *inside, end], hold))
    kwh = sum((it.kwh or Decimal(0) for it in links), Decimal(0))
    return {end: Use(max(1, (end - start).days), hold, kwh)}


def _split_behind_document(
    verdict: Verdict,
    zone: ZoneInfo,
    links: Sequence[Link],
    start: date,
    end: date,
    inside: Sequence[date],
) -> dict[date, Use]:
    """Substitutes between the first register of a meter, which a document tells, and the day that
    it leads to; nothing where there are none, or the way from there to them cannot be told."""
    last = links[-1]
    if len(links) > 1 or not isinstance(last.start, datetime):
        return {}
    behind = [it for it in inside if datetime.combine(it, time(), zone) >= last.start]
    begun = [it.total for it in verdict.chain if it.at == last.start]
    if not behind or not begun or last.kwh is None:
        return {}
    advance = verdict.days[end].total - begun[-1]
    if advance <= 0:
        return {}
    first, *others = behind
    ratio = EXACT.divide(last.kwh, advance)
    kwh = EXACT.multiply(verdict.days[first].total - begun[-1], ratio)
    ((_, use),) = _pieces([start, first], _first_hold(links))
    return {first: replace(use, kwh=kwh), **dict(_pieces([first, *others, end], last.held))}


def _first_hold(links: Sequence[Link]) -> Held | None:
    """What no register shows comes first: whoever releases the rest must not forget it."""
    holds = [it.held for it in links if it.held is not None]
    return min(holds, key=lambda it: it not in NOT_SHOWN, default=None)


def _pieces(days: Sequence[date], hold: Held | None) -> Iterator[tuple[date, Use]]:
    """A span is held for its length alone: what is shorter is not."""
    for first, last in pairwise(days):
        length = (last - first).days
        is_short = hold == "span" and length <= MAX_AUTO_SPAN_DAYS
        yield last, Use(length, None if is_short else hold)


def _days(verdict: Verdict, state: str) -> set[date]:
    return {day for day, it in verdict.days.items() if it.state == state}


def _midnight(at: datetime, zone: ZoneInfo) -> date | None:
    local = at.astimezone(zone)
    return local.date() if local.time() == time() else None


def _day(at: date | datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date() if isinstance(at, datetime) else at
