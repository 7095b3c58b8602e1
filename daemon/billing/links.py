"""Links: the use of a point between the published freezes of its chain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from daemon.quality.chain import MAX_AUTO_SPAN_DAYS
from daemon.quality.register import ChainPoint

END_OF_TIME = date(9999, 12, 31)


class ChainValue(NamedTuple):
    """A published value of a point, and the use that ends with it, as it was judged.

    `total` in the smallest step of the meter that told it. `link_days`: so many days before lies
    the value that it is linked to (negative where it was held), 0: to none. `kwh`: the use where
    these two do not show it, over an exchange. `hold`: why it is not billed by itself."""

    day: date
    meter_id: int
    total: int
    link_days: int = 0
    kwh: Decimal | None = None
    hold: str | None = None


class MeterRegister(NamedTuple):
    """Where a meter's register rolls over, in its smallest step, and the decimals of that."""

    modulus: int
    decimals: int


@dataclass(frozen=True, slots=True)
class PointHistory:
    """What turns registers of a point into energy: its ratios in order of days, its meters."""

    ratios: tuple[tuple[date, Decimal], ...]
    registers: Mapping[int, MeterRegister]

    def ratio_on(self, day: date) -> Decimal:
        """The ratio in force from 00:00 of this day (R06)."""
        return [ratio for from_day, ratio in self.ratios if from_day <= day][-1]


class Span(NamedTuple):
    """The days of a point from 00:00 of the first to 00:00 of the last."""

    point_id: int
    from_day: date
    to_day: date


@dataclass(frozen=True, slots=True)
class Link:
    """The use of one point between two published freezes.

    `delta`, `begins` and `modulus` in the register's smallest step."""

    point_id: int
    from_day: date
    to_day: date
    delta: int
    rolled_over: bool = False
    begins: int = 0
    meter_id: int = 0
    modulus: int = 0
    decimals: int = 2
    ratio: Decimal = Decimal(1)
    hold: str | None = None
    """Why it is not billed by itself: it waits for its missing days, or for an operator."""

    @property
    def span(self) -> Span:
        """What identifies the link among those in force: M1, links never overlap."""
        return Span(self.point_id, self.from_day, self.to_day)

    @property
    def days(self) -> int:
        """Local days between the two freezes."""
        return (self.to_day - self.from_day).days

    @property
    def ends(self) -> int:
        """The register at its end."""
        end = self.begins + self.delta
        return end - self.modulus if self.rolled_over else end

    @property
    def is_held(self) -> bool:
        """True for one that is not billed by itself."""
        return self.hold is not None


@dataclass(frozen=True, slots=True)
class LinkInForce:
    """A link that is stored, with its number and how often its span had been linked before."""

    number: int
    revision: int
    link: Link


def dated_links(point_id: int, values: Sequence[ChainValue], history: PointHistory) -> list[Link]:
    """The links between the values of a published chain, each with the facts of its days.

    Which values are linked was judged: each tells how far back its own begins."""
    links = []
    for before, after in pairwise(values):
        if abs(after.link_days) != (after.day - before.day).days:
            continue  # no register shows what was used between them
        if after.kwh is None:
            links.append(_shown_link(point_id, before, after, history))
        else:
            links.append(_told_link(point_id, before, after))
    return links


def _shown_link(
    point_id: int, before: ChainValue, after: ChainValue, history: PointHistory
) -> Link:
    register = history.registers[after.meter_id]
    chain = [ChainPoint(before.day, before.total), ChainPoint(after.day, after.total)]
    (link,) = chain_links(point_id, chain, register.modulus)
    return replace(
        link,
        meter_id=after.meter_id,
        decimals=register.decimals,
        ratio=history.ratio_on(before.day),
        hold=after.hold,
    )


def _told_link(point_id: int, before: ChainValue, after: ChainValue) -> Link:
    """A use that documents told: in steps that write it exactly, with its ratios in it."""
    kwh = after.kwh or Decimal(0)
    exponent = kwh.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "energy is a number"
    decimals = max(0, -exponent)
    return Link(
        point_id,
        before.day,
        after.day,
        int(kwh.scaleb(decimals)),
        meter_id=after.meter_id,
        decimals=decimals,
        hold=after.hold,
    )


def chain_links(
    point_id: int,
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
                begins=before.total,
                modulus=modulus,
                hold="span" if (after.day - before.day).days > MAX_AUTO_SPAN_DAYS else None,
            )
        )
    return links


def span_to_link(
    point_id: int,
    changed: tuple[date, date],
    opens_on: date,
    linked_to: date | None,
) -> Span | None:
    """The span whose links may change.

    `changed`: first and last day whose value did. `opens_on`: the day of the opening freeze, which
    is there: the first link starts with it (R41). `linked_to`: the end of the last link before the
    first of those days."""
    _, last = changed
    if last < opens_on:
        return None  # use before the opening day is on no bill of this account
    # A span begins where the links before it end; without any, the whole chain is linked.
    if linked_to is None:
        return Span(point_id, opens_on, END_OF_TIME)
    return Span(point_id, linked_to, last)


def changed_links(
    links: Iterable[Link], in_force: Iterable[LinkInForce]
) -> tuple[list[LinkInForce], list[Link]]:
    """(the links in force that fall away, the links that come) so that `links` are in force.

    An equal one stays as it was billed (R35: a late reading replaces the link around it, and no
    other)."""
    leaving = {old.link: old for old in in_force}
    coming = [link for link in links if leaving.pop(link, None) is None]
    return list(leaving.values()), coming
