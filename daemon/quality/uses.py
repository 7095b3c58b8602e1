"""Which use ends with which day: the links of a verdict, as far as days are billed by them.

Every link is cut at the substitutes that lie in it; what touches inside a day, over a document, is
drawn together to the next day that shows a value. Substitutes lead to the first value too, and on
from the last (judgement.md 7, quality.md 7). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise, zip_longest
from zoneinfo import ZoneInfo

from daemon.quality.codes import NOT_SHOWN
from daemon.quality.facts import LinkRelease
from daemon.quality.links import EXACT, moment
from daemon.quality.verdict import Held, Link, Verdict


@dataclass(frozen=True, slots=True)
class Use:
    """The use that ends with a day: since how many days, and why it is held.

    `kwh`: where the two values do not show it; `is_agreed` where persons told it. `shown_kwh`: what
    registers show of it in all."""

    days: int = 0
    hold: Held | None = None
    kwh: Decimal | None = None
    is_agreed: bool = False
    shown_kwh: Decimal = field(default=Decimal(0), compare=False)


def uses_of(verdict: Verdict, zone: ZoneInfo) -> dict[date, Use]:
    """By the published or substituted day with which each use ends."""
    substitutes = sorted(_days(verdict, "substituted"))
    links = sorted(
        (
            *(it for it in _cut(verdict, substitutes, zone) if not _is_told(it, verdict, zone)),
            *verdict.beside,
        ),
        key=lambda it: (moment(it.start, zone), moment(it.end, zone)),
    )
    uses = {end: _use(pieces, end, zone) for pieces, end in _drawn(verdict, links, zone)}
    return uses | dict(_released(verdict.link_releases, uses))


def _released(
    releases: Iterable[LinkRelease], uses: Mapping[date, Use]
) -> Iterator[tuple[date, Use]]:
    """The held uses that persons released: these very ones, as they were seen."""
    for it in sorted(releases, key=lambda it: it.number):
        use = uses.get(it.end)
        if (
            use is None
            or use.hold is None
            or use.days != (it.end - it.start).days
            or use.shown_kwh != it.kwh
            or (use.hold in NOT_SHOWN) != (it.agreed_kwh is not None)
        ):
            continue
        if it.agreed_kwh is None:
            yield it.end, replace(use, hold=None)
        else:
            yield it.end, replace(use, hold=None, kwh=it.agreed_kwh, is_agreed=True)


def _cut(verdict: Verdict, substitutes: Sequence[date], zone: ZoneInfo) -> Iterator[Link]:
    """The links in pieces between registers that are shown, be they read, told or put there.

    Of a piece between two days the values say how much it is. A span is held for its length alone:
    a piece that is short enough is not. Where no register shows the use there is nothing to cut."""
    if not substitutes:
        yield from verdict.links
        return
    # Of the two registers of an exchange the first ends a link, and the other one begins one.
    begins = {it.at: it.total for it in verdict.chain}
    ends = {it.at: it.total for it in reversed(verdict.chain)}
    for link in verdict.links:
        start = moment(link.start, zone)
        end = moment(link.end, zone)
        # The midnight at which a meter began is its own already.
        inside = [
            it for it in substitutes if start <= _midnight(it, zone) < end and it != link.start
        ]
        if not inside or link.kwh is None:
            yield link
            continue
        totals = [begins[link.start], *(verdict.days[it].total for it in inside), ends[link.end]]
        moments = [link.start, *inside, link.end]
        shares = _shares(link, totals, link.kwh)
        for (begin, until), kwh in zip(pairwise(moments), shares, strict=True):
            is_long = _length(begin, until, zone) > timedelta(days=verdict.max_auto_span_days)
            whole = link if is_long or link.held != "span" else replace(link, held=None)
            yield Link(begin, until, kwh, whole.hold, link.ratio)


def _is_told(link: Link, verdict: Verdict, zone: ZoneInfo) -> bool:
    """Whether substitutes inside say of a lost use what there is to say.

    From the first register of a meter to the substitute of the same midnight it is no time: what
    was lost until then is not told by it."""
    start, end = moment(link.start, zone), moment(link.end, zone)
    return link.kwh is None and any(
        start <= moment(it.start, zone) < moment(it.end, zone) <= end for it in verdict.beside
    )


def _shares(link: Link, totals: Sequence[Decimal], whole: Decimal) -> Iterator[Decimal]:
    """The energy between neighbours of these registers; where they turned over, what is left."""
    kwh = [EXACT.multiply(after - before, link.ratio) for before, after in pairwise(totals)]
    forward = sum(it for it in kwh if it >= 0)
    return (it if it >= 0 else whole - forward for it in kwh)


def _drawn(
    verdict: Verdict, links: Sequence[Link], zone: ZoneInfo
) -> Iterator[tuple[list[Link], date]]:
    """The links that lead from one day that shows a value to the next, and that one."""
    shown = _days(verdict, "published") | _days(verdict, "substituted")
    waiting: list[Link] = []
    for link, behind in zip_longest(links, links[1:]):
        if waiting and moment(waiting[-1].end, zone) != moment(link.start, zone):
            waiting = []  # what was lost there no value ends
        waiting.append(link)
        end = link.end
        if isinstance(end, datetime):
            # At a midnight the register of a document may be the freeze of that day.
            day = _day(end, zone)
            is_freeze = _midnight(day, zone) == end and day in shown
            if not is_freeze or (behind is not None and behind.start != day):
                continue
            end = day
        yield waiting, end
        waiting = []


def _use(links: Sequence[Link], end: date, zone: ZoneInfo) -> Use:
    link = links[0]
    hold = _first_hold(links)
    start = _day(link.start, zone)
    days = max(1, (end - start).days)
    shown_kwh = sum((it.kwh or Decimal(0) for it in links), Decimal(0))
    is_shown = len(links) == 1 and (link.start, link.end) == (start, end)
    kwh = None if is_shown and link.kwh is not None else shown_kwh
    return Use(days, hold, kwh, shown_kwh=shown_kwh)


def _first_hold(links: Sequence[Link]) -> Held | None:
    """What no register shows comes first: whoever releases the rest must not forget it."""
    holds = [it.hold for it in links if it.hold is not None]
    return min(holds, key=lambda it: it not in NOT_SHOWN, default=None)


def _length(start: date | datetime, end: date | datetime, zone: ZoneInfo) -> timedelta:
    """By the clock on the wall, as a link is judged."""
    first, last = (moment(it, zone).astimezone(zone).replace(tzinfo=None) for it in (start, end))
    return last - first


def _days(verdict: Verdict, state: str) -> set[date]:
    return {day for day, it in verdict.days.items() if it.state == state}


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)


def _day(at: date | datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date() if isinstance(at, datetime) else at
