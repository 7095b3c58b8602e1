"""What a document changes of one point: its days, its use, and who is billed for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from daemon.quality.links import moment
from daemon.quality.verdict import DayState, Held, Link, Verdict

DAY: Final = timedelta(days=1)
MOMENT: Final = timedelta(microseconds=1)
Change = Literal["published", "withdrawn", "withheld", "remark", "dropped"]
"""Of a day: now published, no longer published, not published, published with other remarks; or no
day of this point any more."""


class Holding(NamedTuple):
    """An account is billed for the point from 00:00 of `first` to 00:00 of `end`; None: still."""

    account: str
    first: date
    end: date | None


class Use(NamedTuple):
    """Use between two neighbours of the chain. `kwh` None: no register shows it.

    `account` None: nobody is billed for it."""

    start: date | datetime
    end: date | datetime
    kwh: Decimal | None
    held: Held | None
    account: str | None


class Beyond(NamedTuple):
    """More use than the limit allows, to a register that only a person stands behind."""

    kwh: Decimal
    allowed_kwh: Decimal
    days: float
    until: date


class Multiplied(NamedTuple):
    """What the advance of the register is multiplied with from a moment on."""

    since: datetime
    ratio: Decimal


class ChangedDay(NamedTuple):
    """A day that is shown otherwise than before; None where it is not shown at all."""

    day: date
    change: Change
    before: DayState | None
    after: DayState | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A point as the facts of a moment show it. `ratios`: in order, each other than the one before
    it."""

    verdict: Verdict
    holdings: tuple[Holding, ...]
    zone: ZoneInfo
    ratios: tuple[Multiplied, ...] = ()

    def uses(self) -> tuple[Use, ...]:
        """The use of the point, each with who is billed for it."""
        return tuple(
            Use(link.start, link.end, link.kwh, link.hold, self._account_of(link))
            for link in self.verdict.links
        )

    def _account_of(self, link: Link) -> str | None:
        """Who has the point for all of it: M1, no use is cut between two accounts."""
        *_, last = touched = [*_days_of(link.start, link.end, self.zone)]
        for holding in self.holdings:
            has_begun = holding.first <= touched[0]
            if has_begun and (holding.end is None or last < holding.end):
                return holding.account
        return None


@dataclass(frozen=True, slots=True)
class Effect:
    """The difference of two pictures of a point.

    `gone` and `come`: use that is no longer so, and what is instead of it. `moved`: billed days
    whose use or account changes. `given_back`: those of them for which nobody is billed any more,
    or somebody else. `beyond`: what was not so before of more use than the limit allows. `ratios`:
    what the register is multiplied with that it was not before: no limit sees it, because limits
    are of registers."""

    days: tuple[ChangedDay, ...]
    gone: tuple[Use, ...]
    come: tuple[Use, ...]
    holdings: tuple[Holding, ...]
    openings: Mapping[date, Decimal]
    ended: tuple[Holding, ...]
    moved: frozenset[date]
    given_back: frozenset[date]
    beyond: tuple[Beyond, ...] = ()
    ratios: tuple[Multiplied, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing is otherwise."""
        return not (
            self.days or self.gone or self.come or self.holdings or self.ended or self.ratios
        )


NOTHING: Final = Effect((), (), (), (), {}, (), frozenset(), frozenset())


def effect(before: Picture, after: Picture, billed: Iterable[tuple[date, date]]) -> Effect:
    """What is otherwise. `billed`: the spans that are billed now."""
    was = before.uses()
    becomes = after.uses()
    gone = tuple(use for use in was if use not in becomes)
    come = tuple(use for use in becomes if use not in was)
    billed_days = {day for first, last in billed for day in _days(first, last)}
    zone = before.zone
    moved = billed_days & {day for use in gone for day in _days_of(use.start, use.end, zone)}
    accounts = {day: use.account for use in becomes for day in _days_of(use.start, use.end, zone)}
    given_back = {
        day
        for use in gone
        if use.account is not None
        for day in _days_of(use.start, use.end, zone)
        if day in moved and accounts.get(day) != use.account
    }
    days = tuple(changed_days(before.verdict.days, after.verdict.days))
    holdings = tuple(it for it in after.holdings if it not in before.holdings)
    shown = after.verdict.days
    return Effect(
        days=days,
        gone=gone,
        come=come,
        holdings=holdings,
        openings={
            it.first: shown[it.first].total
            for it in holdings
            if it.first in shown and shown[it.first].state == "published"
        },
        ended=tuple(it for it in before.holdings if it not in after.holdings),
        moved=frozenset(moved),
        given_back=frozenset(given_back),
        beyond=tuple(_beyond(before, after)),
        ratios=tuple(_other_ratios(before.ratios, after.ratios)),
    )


def _other_ratios(
    before: Sequence[Multiplied], after: Sequence[Multiplied]
) -> Iterator[Multiplied]:
    """From which moments on it is another one: also where what was told is taken back."""
    for since in sorted({it.since for it in (*before, *after)}):
        becomes = _ratio_at(after, since)
        if becomes is not None and becomes != _ratio_at(before, since):
            yield Multiplied(since, becomes)


def _ratio_at(told: Sequence[Multiplied], moment: datetime) -> Decimal | None:
    return next((it.ratio for it in reversed(told) if it.since <= moment), None)


def _beyond(before: Picture, after: Picture) -> Iterator[Beyond]:
    for link in after.verdict.links:
        if link.kwh is None or link.allowed_kwh is None or link in before.verdict.links:
            continue
        start, end = (moment(it, after.zone) for it in (link.start, link.end))
        length = end.astimezone(UTC) - start.astimezone(UTC)
        yield Beyond(link.kwh, link.allowed_kwh, length / DAY, _day(link.end, after.zone))


def in_words(point: str, found: Effect) -> list[str]:
    """What a person has to know of it, in days."""
    sentences = [*_of_holdings(point, found), *_of_days(point, found)]
    sentences += _of_use(point, found)
    for it in found.ratios:
        begins = f"{it.since:%Y-%m-%d %H:%M}"
        sentences.append(f"{point}: from {begins} on the register counts {it.ratio:f} times")
    return sentences or [f"{point}: nothing changes for any day so far"]


def _of_holdings(point: str, found: Effect) -> Iterator[str]:
    back = f"; {_are(len(found.given_back))} given back" if found.given_back else ""
    begun = [it for it in found.holdings if it.end is None]
    for it in begun:
        opening = found.openings.get(it.first)
        register = (
            f"opening register {opening}"
            if opening is not None
            else f"the freeze of {it.first}, its opening register, is not published yet"
        )
        yield f"{point}: from {it.first} on billed to {it.account}{back}; {register}"
    until = {(it.account, it.first): it.end for it in found.holdings}
    for it in found.ended:
        if it.end is None and not begun:
            end = until.get((it.account, it.first)) or it.first
            yield f"{point}: from {end} on billed to nobody, until then to {it.account}{back}"


def _of_use(point: str, found: Effect) -> Iterator[str]:
    gone = _sum(found.gone)
    come = _sum(found.come)
    if not found.gone and come:
        yield f"{point}: {come} kWh of use come to light"
    elif gone != come:
        yield f"{point}: use of {gone} kWh becomes {come} kWh"
    for it in found.beyond:
        yield (
            f"{point}: {it.kwh:f} kWh in {it.days:.1f} days, up to {it.until}, are more than the "
            f"{it.allowed_kwh:f} kWh that its limit allows; they are billed when two persons "
            "released them"
        )


def _of_days(point: str, found: Effect) -> Iterator[str]:
    words: Mapping[Change, str] = {
        "published": "published",
        "withdrawn": "withdrawn",
        "withheld": "withheld",
        "dropped": "of no use, since another meter serves then or none yet",
    }
    for change, word in words.items():
        days = [it.day for it in found.days if it.change == change]
        if days:
            span = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
            yield f"{point}: {_are(len(days))} {word} ({span})"


def changed_days(
    before: Mapping[date, DayState], after: Mapping[date, DayState]
) -> Iterator[ChangedDay]:
    """The days that are shown otherwise, in order."""
    for day in sorted({*before, *after}):
        was = before.get(day)
        becomes = after.get(day)
        if was != becomes:
            yield ChangedDay(day, _change(was, becomes), was, becomes)


def _change(was: DayState | None, becomes: DayState | None) -> Change:
    was_published = was is not None and was.state in ("published", "substituted")
    if becomes is None:
        return "dropped"
    if becomes.state in ("published", "substituted"):
        is_same = was_published and was is not None and was.total == becomes.total
        return "remark" if is_same else "published"
    return "withdrawn" if was_published else "withheld"


def _days_of(start: date | datetime, end: date | datetime, zone: ZoneInfo) -> Iterator[date]:
    """The days that a span of time touches; at least one."""
    first = _day(start, zone)
    last = _day(end - MOMENT, zone) + DAY if isinstance(end, datetime) else end
    return _days(first, max(last, first + DAY))


def _days(first: date, end: date) -> Iterator[date]:
    return (first + n * DAY for n in range((end - first).days))


def _day(at: date | datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date() if isinstance(at, datetime) else at


def _sum(uses: Iterable[Use]) -> Decimal:
    return sum((use.kwh for use in uses if use.kwh is not None), Decimal())


def _are(days: int) -> str:
    return "1 day is" if days == 1 else f"{days} days are"
