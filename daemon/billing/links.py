"""Links: the use of a point between the published freezes of its chain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from daemon.quality.meter import Meter, register_of
from daemon.quality.register import ChainPoint, Register

MAX_AUTO_SPAN_DAYS = 7
"""Money, missing day: a longer span without a reading is not billed by itself; an operator releases
it, or the missing days arrive."""
END_OF_TIME = date(9999, 12, 31)


@dataclass(frozen=True, slots=True)
class BilledPoint:
    """What settlement must know of a metering point."""

    point_id: str
    ratio: Decimal
    register: Register


class Span(NamedTuple):
    """The days of a point from 00:00 of the first to 00:00 of the last."""

    point_id: str
    from_day: date
    to_day: date


@dataclass(frozen=True, slots=True)
class Link:
    """The use of one point between two published freezes.

    `delta` in the register's smallest step."""

    point_id: str
    from_day: date
    to_day: date
    delta: int
    rolled_over: bool = False

    @property
    def span(self) -> Span:
        """What identifies the link among those in force: M1, links never overlap."""
        return Span(self.point_id, self.from_day, self.to_day)

    @property
    def days(self) -> int:
        """Local days between the two freezes."""
        return (self.to_day - self.from_day).days

    @property
    def is_held(self) -> bool:
        """True for a span that waits for its missing days or for an operator."""
        return self.days > MAX_AUTO_SPAN_DAYS


@dataclass(frozen=True, slots=True)
class LinkInForce:
    """A link that is stored, with its number and how often its span had been linked before."""

    number: int
    revision: int
    link: Link


def billed_point(meter: Meter) -> BilledPoint:
    """The point that a meter serves, as settlement knows it."""
    return BilledPoint(meter.point_id, meter.ratio, register_of(meter))


def chain_links(
    point_id: str,
    chain: Sequence[ChainPoint],
    modulus: int,
) -> list[Link]:
    """The links between neighbours of a published chain in order of time."""
    links = []
    # What was published passed the limits of its day. They are not applied again, so that a later
    # change of a limit does not undo what was billed.
    for before, after in pairwise(chain):
        rolled_over = after.total < before.total
        delta = after.total - before.total
        if rolled_over:
            # R22: O07, 999999.50 -> 12.25 is a use of 12.75 kWh.
            delta += modulus
        links.append(
            Link(
                point_id,
                before.day,
                after.day,
                delta,
                rolled_over,
            )
        )
    return links


def spans_to_link(
    published: Mapping[str, tuple[date, date]], openings: Mapping[str, tuple[date, date | None]]
) -> list[Span]:
    """The spans whose links may change, by point.

    `published`: first and last day that was newly published. `openings`, of the points whose
    opening freeze is there: the opening day, and the end of the last link before the first of
    those days. Others have no span, because the first link starts with the opening freeze (R41)."""
    spans = []
    for point, (_, last) in sorted(published.items()):
        if point not in openings:
            continue
        opening, linked_to = openings[point]
        if last < opening:
            continue  # use before the opening day is on no bill of this account
        # A span begins where the links before it end; without any, the whole chain is linked.
        if linked_to is None:
            spans.append(Span(point, opening, END_OF_TIME))
        else:
            spans.append(Span(point, linked_to, last))
    return spans


def changed_links(
    links: Iterable[Link], in_force: Iterable[LinkInForce]
) -> tuple[list[LinkInForce], list[Link]]:
    """(the links in force that fall away, the links that come) so that `links` are in force.

    Links of equal span are taken as equal: what was billed stays as it was billed (R35: a late
    reading replaces the link around it, and no other)."""
    leaving = {old.link.span: old for old in in_force}
    coming = [link for link in links if leaving.pop(link.span, None) is None]
    return list(leaving.values()), coming
