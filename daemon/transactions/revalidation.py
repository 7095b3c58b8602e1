"""Judge points anew, because the rules changed with the program; or see what that would change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.document_effect import Effect
from daemon.transactions.documents.revalidated import Revalidation
from daemon.transactions.judging import rejudge
from daemon.transactions.trial import foresee
from storage import documents
from storage.chains import act_as, lock_chains
from storage.documents import Said
from storage.settling import mark_points

POINTS_AT_ONCE: Final = 50
"""So many in one transaction: nobody else judges meanwhile."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which points are judged anew, by their ids with what persons call them; from which day on.

    `limits`, `thresholds`: of a trial, by point the most kWh a day, and what the site says of how
    readings are judged, that hold as if they had been taken over."""

    points: Mapping[int, str]
    since: date
    limits: Mapping[int, Decimal] = field(default_factory=dict)
    thresholds: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Portion:
    """What some of the points show otherwise: by point, and by account in fen.

    `documents`: by point whose billed days move, the document that waits for a second person."""

    effects: Mapping[str, Effect]
    fen: Mapping[str, int]
    documents: Mapping[str, int]


async def revalidate(
    connection: AsyncConnection[Any],
    wanted: Wanted,
    zone: ZoneInfo,
    now: datetime,
    said: Said | None,
) -> AsyncIterator[Portion]:
    """Judge points anew, some at a time; without `said` it is only tried.

    What moves no billed day shows at once. What does waits for a second person."""
    asked = list(wanted.points)
    for start in range(0, len(asked), POINTS_AT_ONCE):
        portion = await _portion(
            connection, asked[start : start + POINTS_AT_ONCE], wanted, zone, now, said
        )
        if portion.effects:
            yield portion


async def _portion(
    connection: AsyncConnection[Any],
    points: Sequence[int],
    wanted: Wanted,
    zone: ZoneInfo,
    now: datetime,
    said: Said | None,
) -> Portion:
    async with connection.transaction():
        await lock_chains(connection)
        limits = {point: wanted.limits[point] for point in points if point in wanted.limits}
        sinces = dict.fromkeys(points, wanted.since)
        found = await foresee(connection, sinces, zone, now, limits, wanted.thresholds)
        waiting: dict[str, int] = {}
        if said is not None:
            for point, effect in found.effects.items():
                if effect.moved:
                    number = wanted.points[point]
                    waiting[number] = await _document(connection, number, said)
            free = {it: wanted.since for it, effect in found.effects.items() if not effect.moved}
            await act_as(connection, said.actor)
            judged = await rejudge(connection, free, zone)
            await mark_points(connection, judged.changed, "revalidation")
    effects = {wanted.points[point]: effect for point, effect in found.effects.items()}
    return Portion(effects, found.fen, waiting)


async def _document(connection: AsyncConnection[Any], point: str, said: Said) -> int:
    """The one that waits already, or a new one."""
    kind = Revalidation(point).kind
    for it in await documents.documents(connection, point=point, only_waiting=True):
        if it.kind == kind:
            return it.number
    return await documents.add_document(connection, kind, point, said, {}, waits=True)
