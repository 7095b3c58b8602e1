"""Links: the use of a point between the published freezes of its chain. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

END_OF_TIME = date(9999, 12, 31)
Registers = tuple[int, ...]
"""The total and the rates that are known, in the smallest step of the register."""


class ChainValue(NamedTuple):
    """A published value of a point, and the use that ends with it, as it was judged.

    `link_days`: so many days before lies the value that it is linked to (negative where it was
    held), 0: to none. `kwh`: the use where these two do not show it, over a document; `is_agreed`
    where a person told it. `hold`: why it is not billed by itself."""

    day: date
    meter_id: int
    registers: Registers
    link_days: int = 0
    kwh: Decimal | None = None
    is_agreed: bool = False
    hold: str | None = None


class Ratio(NamedTuple):
    """CT x PT from a moment on, and the registers at that moment if they were read.

    `from_day`: the first midnight at which it counts for a whole day (R06)."""

    from_day: date
    from_at: datetime
    ratio: Decimal
    registers: Registers | None = None


class Meter(NamedTuple):
    """A meter from a moment on, with its first and last registers if they are known.

    `modulus`: where a register rolls over, in its smallest step, which has `decimals`."""

    meter_id: int
    from_at: datetime
    modulus: int
    decimals: int
    initial: Registers | None = None
    final: Registers | None = None


@dataclass(frozen=True, slots=True)
class PointHistory:
    """What turns registers of a point into energy: its ratios and meters in order of time."""

    ratios: tuple[Ratio, ...]
    meters: tuple[Meter, ...]

    def ratio_on(self, day: date) -> Decimal:
        """The ratio in force from 00:00 of this day (R06)."""
        return [it.ratio for it in self.ratios if it.from_day <= day][-1]

    def register_of(self, meter_id: int) -> Meter:
        """The register of a meter, as it was installed last."""
        return [it for it in self.meters if it.meter_id == meter_id][-1]


class Piece(NamedTuple):
    """What one meter shows under one ratio between two instants."""

    start: datetime
    end: datetime
    meter_id: int
    begins: Registers
    ends: Registers
    modulus: int
    decimals: int
    ratio: Decimal

    @property
    def advanced(self) -> Registers:
        """How far each register that both ends show went on, rollovers counted (R22)."""
        return advance(self.begins, self.ends, self.modulus)


class Span(NamedTuple):
    """The days of a point from 00:00 of the first to 00:00 of the last."""

    point_id: int
    from_day: date
    to_day: date


class Link(NamedTuple):
    """The use of one point between two published freezes.

    `pieces`: where a document lies inside it, each by itself; else there is one, of the whole link.
    `hold`: why it is not billed by itself."""

    point_id: int
    from_day: date
    to_day: date
    meter_id: int
    begins: Registers
    ends: Registers
    modulus: int
    decimals: int
    ratio: Decimal
    hold: str | None = None
    pieces: tuple[Piece, ...] = ()

    @property
    def span(self) -> Span:
        """What identifies the link among those in force: M1, links never overlap."""
        return Span(self.point_id, self.from_day, self.to_day)

    @property
    def days(self) -> int:
        """Local days between the two freezes."""
        return (self.to_day - self.from_day).days

    def in_pieces(self, zone: ZoneInfo) -> tuple[Piece, ...]:
        """Its pieces, also where it is a single one."""
        return self.pieces or (
            Piece(
                midnight(self.from_day, zone),
                midnight(self.to_day, zone),
                self.meter_id,
                *self[4:9],
            ),
        )


class LinkInForce(NamedTuple):
    """A link that is stored. `billed_by`: the number of the transaction that billed it."""

    account_id: int
    link: Link
    billed_by: int | None


def advance(begins: Registers, ends: Registers, modulus: int) -> Registers:
    """How far registers went on, as far as both ends show them.

    R22: O07, 999999.50 -> 12.25 is a use of 12.75 kWh."""
    return tuple(
        after - before if after >= before else after - before + modulus
        for before, after in zip(begins, ends, strict=False)
    )


@lru_cache(maxsize=4096)
def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a local day begins: a day has 23 or 25 hours where the clocks change."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def dated_links(
    point_id: int, values: Sequence[ChainValue], history: PointHistory, zone: ZoneInfo
) -> list[Link]:
    """The links between the values of a published chain, each with the facts of its days.

    Which values are linked was judged: each tells how far back its own begins."""
    links = []
    by_day = {value.day: value for value in values}
    for after in values:
        before = by_day.get(after.day - timedelta(days=abs(after.link_days)))
        if before is None or before is after:
            continue  # no register shows what was used before it
        if after.kwh is None:
            # What was published passed the limits of its day. They are not applied again, so that
            # a later change of a limit does not undo what was billed.
            register = history.register_of(after.meter_id)
            ratio = history.ratio_on(before.day)
            shown = (after.meter_id, before.registers, after.registers)
            facts = (register.modulus, register.decimals, ratio)
            links.append(Link(point_id, before.day, after.day, *shown, *facts, after.hold))
            continue
        pieces = None if after.is_agreed else _pieces(before, after, history, zone)
        if pieces is None:
            links.append(_told_link(point_id, before.day, after, after.kwh))
        else:
            links.append(_pieced_link(point_id, before.day, after.day, pieces, after.hold))
    return links


def with_rates(
    links: Iterable[Link], needed: Callable[[date, date], int], zone: ZoneInfo
) -> list[Link]:
    """The links where rates are needed for the price: `needed` tells how many, of which days.

    A value that does not tell them (a substitute) is no end of a link that needs them: the use goes
    on to the next one that does. Where none follows the link is held.
    Each link is asked by its own days: those that others are looked at with change nothing."""
    whole: list[Link] = []
    for link in links:
        before = whole[-1] if whole else None
        if (
            before is not None
            and before.to_day == link.from_day
            and len(before.ends) <= needed(before.from_day, before.to_day)
            and _is_joined(before, link)
        ):
            whole[-1] = _joined(before, link, zone)
        else:
            whole.append(link)
    return [_held_for_rates(link, needed(link.from_day, link.to_day)) for link in whole]


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


def _pieces(
    before: ChainValue, after: ChainValue, history: PointHistory, zone: ZoneInfo
) -> tuple[Piece, ...] | None:
    """What each meter and ratio shows between two values; None where some register is not known.

    O08: (old final - before) x old ratio, and (after - new initial) x new ratio."""
    start = midnight(before.day, zone)
    end = midnight(after.day, zone)
    meters = {it.from_at: it for it in history.meters if start < it.from_at <= end}
    ratios = {it.from_at: it for it in history.ratios if start < it.from_at < end}
    served = [it for it in history.meters if it.from_at <= start]
    if not served:
        return None
    meter = served[-1]
    begins: Registers | None = before.registers
    pieces = []
    moments = sorted({*meters, *ratios})
    for since, until in zip([start, *moments], [*moments, None], strict=True):
        ends: Registers | None = after.registers
        follows: Registers | None = None
        behind = None
        if until is not None:
            behind = meters.get(until)
            ends = ratios[until].registers if behind is None else meter.final
            follows = ends if behind is None else behind.initial
        if not begins or not ends:
            return None
        ratio = [it.ratio for it in history.ratios if it.from_at <= since][-1]
        facts = (meter.modulus, meter.decimals, ratio)
        piece = Piece(since, until or end, meter.meter_id, begins, ends, *facts)
        if since == end and any(piece.advanced):
            return None  # no register shows both what was told and what was read of one midnight
        pieces.append(piece)
        begins, meter = follows, behind or meter
    is_as_judged = sum(map(_kwh, pieces)) == after.kwh
    return tuple(pieces) if is_as_judged else None


def _kwh(piece: Piece) -> Decimal:
    return Decimal(piece.advanced[0]).scaleb(-piece.decimals) * piece.ratio


def _pieced_link(
    point_id: int, from_day: date, to_day: date, pieces: tuple[Piece, ...], hold: str | None
) -> Link:
    newest = pieces[-1]
    return Link(
        point_id,
        from_day,
        to_day,
        newest.meter_id,
        pieces[0].begins,
        newest.ends,
        newest.modulus,
        newest.decimals,
        newest.ratio,
        hold,
        pieces,
    )


def _told_link(point_id: int, from_day: date, after: ChainValue, kwh: Decimal) -> Link:
    """A use that documents or persons told: in steps that write it exactly, ratios in it."""
    exponent = kwh.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "energy is a number"
    decimals = max(0, -exponent)
    told = (int(kwh.scaleb(decimals)),)
    facts = (0, decimals, Decimal(1))
    return Link(point_id, from_day, after.day, after.meter_id, (0,), told, *facts, after.hold)


def is_told(link: Link) -> bool:
    """Whether no register shows it: somebody told so many kWh."""
    return link.modulus == 0


def _is_joined(before: Link, after: Link) -> bool:
    """Whether the same meter shows both sides of the value between them, under one ratio."""
    if before.hold or after.hold or is_told(before) or is_told(after):
        return False
    first = after.pieces[0] if after.pieces else after
    return _facts(before) == _facts(first)


def _facts(shown: Link | Piece) -> tuple[int, int, int, Decimal]:
    return shown.meter_id, shown.modulus, shown.decimals, shown.ratio


def _joined(before: Link, after: Link, zone: ZoneInfo) -> Link:
    if not before.pieces and not after.pieces:
        return before._replace(to_day=after.to_day, ends=after.ends)
    *earlier, last = before.in_pieces(zone)
    first, *later = after.in_pieces(zone)
    pieces = (*earlier, last._replace(end=first.end, ends=first.ends), *later)
    return _pieced_link(before.point_id, before.from_day, after.to_day, pieces, None)


def _held_for_rates(link: Link, count: int) -> Link:
    if not count or link.hold is not None or is_told(link):
        return link
    shown = [len(link.begins), len(link.ends)]
    shown += [len(registers) for piece in link.pieces for registers in (piece.begins, piece.ends)]
    return link if min(shown) > count else link._replace(hold="rates")
