"""Which links of accounts leave and come, when their published chains or facts changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.links import (
    END_OF_TIME,
    ChainValue,
    Link,
    LinkInForce,
    Meter,
    Piece,
    PointHistory,
    Ratio,
    Span,
    changed_links,
    dated_links,
    midnight,
    span_to_link,
    with_rates,
)
from daemon.billing.month_use import PointRegisters, rates_needed
from daemon.billing.stored_tariff import StoredTariff
from storage import links as stored
from storage import readings
from storage.archive import BEGINNING
from storage.links import BilledPoint, LinkRow
from storage.readings import Published
from storage.settling import Days


@dataclass(slots=True)
class Relinked:
    """The links of an account that leave and come."""

    leaving: list[LinkInForce] = field(default_factory=list)
    coming: list[Link] = field(default_factory=list)


class _Ground(NamedTuple):
    """Where the links of one holding of a point begin: from one day to another."""

    begins: date
    ends: date


def spans_to_link(
    points: Iterable[BilledPoint], marks: Mapping[int, Days]
) -> list[tuple[BilledPoint, Span]]:
    """What is to be linked anew of each point, as far as it is the account's."""
    spans = []
    for point in points:
        if not (point.is_open or point.was_open):
            continue
        changed = marks[point.account_id]
        if point.to_day is not None and changed.first > point.to_day:
            continue  # what happened after it was given away is another's
        # R41: without the opening freeze all links of the holding leave, until it is there again.
        linked_to = point.linked_to if point.is_open else None
        days = (changed.first, changed.last)
        span = span_to_link(point.point_id, days, point.opens_on, linked_to)
        # Up to the last change, even where the point was given away before: what was billed of
        # those days is given back.
        if span is not None:
            spans.append((point, span))
    return spans


async def relinked(
    connection: AsyncConnection[Any],
    points: Sequence[BilledPoint],
    marks: Mapping[int, Days],
    tariffs: Mapping[int, StoredTariff],
    registers: Mapping[int, PointRegisters],
    zone: ZoneInfo,
) -> dict[int, Relinked]:
    """By account what leaves and comes. `tariffs`: by account; `registers`: by point."""
    spans = spans_to_link(points, marks)
    if not spans:
        return {}
    grounds = _grounds(points)
    chains, in_force = await _around(connection, spans)
    histories = await _histories(connection, {span.point_id for _, span in spans}, zone)
    changes: defaultdict[int, Relinked] = defaultdict(Relinked)
    for point, span in spans:
        end = point.to_day or END_OF_TIME
        chain = [
            ChainValue(it.day, it.meter_id, it.registers, *it[3:6], it.hold)
            for it in chains[span.point_id]
            if point.is_open and span.from_day <= it.day <= end
        ]
        links = dated_links(span.point_id, chain, histories[span.point_id], zone)
        tariff = tariffs.get(point.account_id)
        if tariff is not None:
            links = _with_rates(links, tariff, registers[span.point_id], zone)
        ground = grounds[point]
        there = [
            old
            for old in in_force[point.account_id, span.point_id]
            if ground.begins <= old.link.from_day < ground.ends
            and (old.link.to_day > span.from_day or old.link.from_day < point.opens_on)
        ]
        leaving, coming = changed_links(links, there)
        change = changes[point.account_id]
        change.leaving += leaving
        change.coming += coming
    return {account: it for account, it in changes.items() if it.leaving or it.coming}


async def _around(
    connection: AsyncConnection[Any], spans: Sequence[tuple[BilledPoint, Span]]
) -> tuple[Mapping[int, Sequence[Published]], Mapping[tuple[int, int], Sequence[LinkInForce]]]:
    """By point its chain in these spans, by account and point the links in force there."""
    ends = [point.to_day or END_OF_TIME for point, _ in spans]
    asked = [
        span._replace(to_day=min(span.to_day, end))
        for (_, span), end in zip(spans, ends, strict=True)
    ]
    while True:
        chains = await readings.published_chains(connection, asked)
        # The chain may reach further than the span: to the next value, whose link may be there
        # already.
        reached = [
            span._replace(
                # Where it opens later than it was billed from, the days before are given back.
                from_day=BEGINNING if span.from_day == point.opens_on else span.from_day,
                to_day=max([span.to_day, *(value.day for value in chains[span.point_id])]),
            )
            for point, span in spans
        ]
        in_force: defaultdict[tuple[int, int], list[LinkInForce]] = defaultdict(list)
        for row in await stored.in_force(connection, reached):
            in_force[row.account_id, row.point_id].append(link_in_force(row))
        # A link that goes on behind that chain leaves: its days are linked anew, up to its end.
        further = [
            span._replace(to_day=max(span.to_day, min(end, _end_over(theirs, it.to_day))))
            for span, end, theirs, it in zip(
                asked,
                ends,
                [in_force[point.account_id, point.point_id] for point, _ in spans],
                reached,
                strict=True,
            )
        ]
        if further == asked:
            return chains, in_force
        asked = further


def _end_over(links: Iterable[LinkInForce], day: date) -> date:
    """Where the link over this day ends; without one, before every day."""
    over = (it.link.to_day for it in links if it.link.from_day < day < it.link.to_day)
    return next(over, date.min)


def link_in_force(row: LinkRow) -> LinkInForce:
    """A stored link as rules take it."""
    link = Link(
        row.point_id,
        row.from_day,
        row.to_day,
        row.meter_id,
        tuple(row.begins),
        tuple(row.ends),
        row.modulus,
        row.decimals,
        row.ratio,
        row.hold,
        tuple(map(_piece, row.pieces or ())),
    )
    return LinkInForce(row.account_id, link, row.billed_by)


def link_row(account_id: int, link: Link, billed_by: int | None) -> LinkRow:
    """A link as it is stored."""
    return LinkRow(
        link.point_id,
        account_id,
        link.from_day,
        link.to_day,
        *link[3:9],
        link.hold,
        [_told_piece(piece) for piece in link.pieces],
        billed_by,
    )


def _told_piece(piece: Piece) -> list[Any]:
    start, end, meter, begins, ends, modulus, decimals, ratio = piece
    moments = [start.isoformat(), end.isoformat()]
    return [*moments, meter, list(begins), list(ends), modulus, decimals, str(ratio)]


def _piece(told: Sequence[Any]) -> Piece:
    start, end, meter, begins, ends, modulus, decimals, ratio = told
    return Piece(
        datetime.fromisoformat(start),
        datetime.fromisoformat(end),
        meter,
        tuple(begins),
        tuple(ends),
        modulus,
        decimals,
        Decimal(ratio),
    )


def _with_rates(
    links: Sequence[Link], tariff: StoredTariff, registers: PointRegisters, zone: ZoneInfo
) -> list[Link]:
    # Mostly no day of a tariff needs any: then it is not asked link by link.
    if not links or not rates_needed(
        tariff.versions, registers, links[0].from_day, links[-1].to_day
    ):
        return list(links)
    return with_rates(links, partial(rates_needed, tariff.versions, registers), zone)


def _grounds(points: Iterable[BilledPoint]) -> dict[BilledPoint, _Ground]:
    """By holding; an account may have had a point before, and has what is of that time."""
    held: defaultdict[tuple[int, int], list[BilledPoint]] = defaultdict(list)
    for point in points:
        held[point.account_id, point.point_id].append(point)
    grounds = {}
    for holdings in held.values():
        for before, point, behind in zip(
            [None, *holdings], holdings, [*holdings[1:], None], strict=False
        ):
            begins = BEGINNING if before is None or before.to_day is None else before.to_day
            grounds[point] = _Ground(begins, behind.opens_on if behind else END_OF_TIME)
    return grounds


async def _histories(
    connection: AsyncConnection[Any], points: Collection[int], zone: ZoneInfo
) -> dict[int, PointHistory]:
    """The ratios and meters of each point, as they are known now: not as a reading came in."""
    ratios: defaultdict[int, list[Ratio]] = defaultdict(list)
    for it in await stored.ratios(connection, points):
        since = it.from_at or midnight(it.from_day, zone)
        ratios[it.point_id].append(Ratio(it.from_day, since, it.ratio, _registers(it.registers)))
    meters: defaultdict[int, list[Meter]] = defaultdict(list)
    for row in await stored.meters(connection, points):
        facts = (row.modulus, row.decimals, _registers(row.initial), _registers(row.final))
        meters[row.point_id].append(Meter(row.meter_id, row.from_at, *facts))
    return {point: PointHistory(tuple(ratios[point]), tuple(meters[point])) for point in points}


def _registers(told: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if told is None else tuple(told)
