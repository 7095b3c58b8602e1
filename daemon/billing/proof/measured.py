"""What a bill says of use: links of the ledger's books -> meters, what they showed, links. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from config.tariff_version import TOTAL
from daemon.billing.links import Link, Piece, Registers, is_told
from daemon.billing.proof.bill import (
    AgreedFact,
    LinkFact,
    Measured,
    MeterFact,
    PointFact,
    ReadingFact,
)
from protocols.errors import MeterdError


class NotSettled(MeterdError):
    """What counts is not what was billed: the account is yet to be settled."""


class Shown(NamedTuple):
    """A value that counts: total and rates in steps, and how it is known (see ReadingFact)."""

    registers: Registers
    source: str
    stamp: datetime | None = None
    arrived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of points and meters besides links.

    `shown`: by point and day. `documents`: by point and moment."""

    points: Mapping[int, PointFact]
    addresses: Mapping[int, str]
    shown: Mapping[tuple[int, date], Shown]
    documents: Mapping[tuple[int, datetime], int]


@dataclass(slots=True)
class _Told:
    """The facts of a bill while they are gathered."""

    known: Known
    meters: dict[tuple[int, int, Decimal, int, int, int], MeterFact] = field(default_factory=dict)
    changes: Counter[int] = field(default_factory=Counter)
    """How often the registers of a point began anew: at one moment they show two values."""
    readings: dict[tuple[int, datetime], ReadingFact] = field(default_factory=dict)
    links: list[LinkFact | AgreedFact] = field(default_factory=list)

    def meter(self, point: int, piece: Piece) -> MeterFact:
        """The meter with its ratio, by a number of the bill's own."""
        facts = (piece.meter_id, piece.ratio, piece.modulus, piece.decimals)
        key = (point, *facts, self.changes[point])
        if key not in self.meters:
            self.meters[key] = MeterFact(
                len(self.meters) + 1,
                self.known.points[point].number,
                self.known.addresses[piece.meter_id],
                piece.ratio,
                piece.modulus,
                piece.decimals,
            )
        return self.meters[key]

    def add(self, link: Link, piece: Piece) -> None:
        """A piece, and what the meter showed at both ends of it."""
        meter = self.meter(link.point_id, piece)
        names = (TOTAL, *self.known.points[link.point_id].rates)
        count = min(len(piece.begins), len(piece.ends))
        begins = dict(zip(names[:count], piece.begins, strict=False))
        ends = dict(zip(names[:count], piece.ends, strict=False))
        pieces = link.pieces or (piece,)
        days = (
            link.from_day if piece is pieces[0] else None,
            link.to_day if piece is pieces[-1] else None,
        )
        moments = zip((piece.start, piece.end), days, (piece.begins, piece.ends), strict=True)
        for at, day, registers in moments:
            shown = self._shown(link.point_id, at, day, registers)
            named = dict(zip(names, shown.registers, strict=False))
            self.readings[meter.number, at] = ReadingFact(meter.number, at, named, *shown[1:])
        self.links.append(LinkFact(meter.number, piece.start, piece.end, begins, ends, link.hold))

    def _shown(self, point: int, at: datetime, day: date | None, registers: Registers) -> Shown:
        """Of a midnight what is published, inside a link what a document says."""
        if day is None:
            document = self.known.documents.get((point, at))
            source = "document" if document is None else f"document {document}"
            return Shown(registers, source)
        shown = self.known.shown.get((point, day))
        if shown is None or shown.registers[: len(registers)] != registers:
            number = self.known.points[point].number
            raise NotSettled(
                f"point {number}, {day}: what is published is not what was billed; it is settled "
                "soon, then ask again"
            )
        return shown


def measured(links: Iterable[Link], known: Known, zone: ZoneInfo) -> Measured:
    """Of the links of an account in order of time. NotSettled: a value was changed since."""
    told = _Told(known)
    points: dict[int, PointFact] = {}
    for link in links:
        points[link.point_id] = known.points[link.point_id]
        pieces = link.in_pieces(zone)
        if is_told(link):
            kwh = Decimal(link.ends[0]).scaleb(-link.decimals)
            span = (pieces[0].start, pieces[-1].end)
            told.links.append(AgreedFact(points[link.point_id].number, *span, kwh, link.hold))
            continue
        for before, piece in zip((None, *pieces), pieces, strict=False):
            told.changes[link.point_id] += before is not None and before.ends != piece.begins
            told.add(link, piece)
    return Measured(
        list(points.values()), list(told.meters.values()), list(told.readings.values()), told.links
    )
