"""The balance as it would be if what is not posted yet were (R65): for display, nothing is written.

Not posted is what who is settled by months used since the last one, and what the registers of this
moment show behind the last freeze. The guard never asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.estimated_use import DAY, Current, NoEstimate, estimated_link
from daemon.billing.links import Link, with_rates
from daemon.billing.month_use import rates_needed
from daemon.transactions.books import Ground, ground_of
from daemon.transactions.owed import owed
from daemon.transactions.relinking import Relinked, link_in_force
from storage import ledger, links
from storage.estimates import SinceBilled
from storage.settling import ALL_DAYS


class PointEstimate(NamedTuple):
    """To when the use of a point is estimated, None: it is not, for a reason."""

    point: str
    at: datetime | None
    reason: NoEstimate | None


class Estimate(NamedTuple):
    """What would be charged besides, negative: given back, and what it is made of."""

    charge_fen: int
    points: list[PointEstimate]


async def estimate(
    connection: AsyncConnection[Any],
    account_id: int,
    since: Sequence[SinceBilled],
    zone: ZoneInfo,
    today: date,
) -> Estimate:
    """Of an account, of the points that it has. Inside a transaction of one moment. NoPrice."""
    first = (today.replace(day=1) - DAY).replace(day=1)
    marks = {account_id: ALL_DAYS._replace(first=first)}
    account = (await ledger.account_rows(connection, [account_id]))[account_id]
    points = await links.billed_points(connection, marks)
    ground = await ground_of(connection, {account_id: account.tariff_id}, points)
    coming, told = [], []
    for it in since:
        found = _link(it, ground, account_id, zone)
        if isinstance(found, Link):
            coming.append(found)
            told.append(PointEstimate(it.point, it.current and it.current.at, None))
        else:
            told.append(PointEstimate(it.point, None, found))
    changes = {account_id: Relinked([], coming)}
    moved = (await owed(connection, marks, changes, ground, zone, today)).moved_fen
    return Estimate(sum(moved.get(account_id, {}).values()), told)


def _link(since: SinceBilled, ground: Ground, account_id: int, zone: ZoneInfo) -> Link | NoEstimate:
    found = estimated_link(
        None if since.last is None else link_in_force(since.last).link,
        None if since.current is None else Current(*since.current),
        is_documented=since.is_documented,
        max_daily_kwh=since.max_daily_kwh,
        zone=zone,
    )
    tariff = ground.tariffs.get(account_id)
    if not isinstance(found, Link) or tariff is None:
        return found
    needed = partial(rates_needed, tariff.versions, ground.registers[since.point_id])
    (link,) = with_rates([found], needed, zone)
    return "no_rates" if link.hold is not None else link
