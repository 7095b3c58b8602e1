"""Which use ends with which day: the links of a verdict, as far as days are billed by them.

Links that touch inside a day, over a document, are drawn together; a substitute splits the link
that it lies in, and goes on behind the last value (judgement.md 7, quality.md 7). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import pairwise, zip_longest
from zoneinfo import ZoneInfo

from daemon.quality.chain import MAX_AUTO_SPAN_DAYS
from daemon.quality.codes import NOT_SHOWN
from daemon.quality.verdict import Held, Link, Verdict


@dataclass(frozen=True, slots=True)
class Use:
    """The use that ends with a day: since how many days, and why it is held.

    `kwh`: where the two values do not show it."""

    days: int = 0
    hold: Held | None = None
    kwh: Decimal | None = None


def uses_of(verdict: Verdict, zone: ZoneInfo) -> dict[date, Use]:
    """By the published or substituted day with which each use ends."""
    substitutes = sorted(_days(verdict, "substituted"))
    uses: dict[date, Use] = {}
    for links, end in _drawn(verdict, zone):
        start = _day(links[0].start, zone)
        uses |= _split(links, start, end, [it for it in substitutes if start < it < end])
    last = verdict.chain[-1].at if verdict.chain else None
    # Behind a document no register leads on from the last value.
    if last is not None and not isinstance(last, datetime):
        behind = [last, *(it for it in substitutes if it > last)]
        uses |= dict(_pieces(behind, "span"))
    return uses


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
    holds = [it.held for it in links if it.held is not None]
    # What no register shows comes first: whoever releases the rest must not forget it.
    holds.sort(key=lambda it: it not in NOT_SHOWN)
    hold = holds[0] if holds else None
    is_shown = len(links) == 1 and (link.start, link.end) == (start, end)
    if is_shown and link.kwh is not None:
        return dict(_pieces([start, *inside, end], hold))
    kwh = sum((it.kwh or Decimal(0) for it in links), Decimal(0))
    return {end: Use(max(1, (end - start).days), hold, kwh)}


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
