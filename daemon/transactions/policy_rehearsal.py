"""Who would have been a candidate for a cut under policies: the guard over mornings of the past.

Nothing is written; some accounts at a time are read in a transaction of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.control.guard import Policy
from daemon.control.rehearsal import Customer, Morning, candidates
from storage.rehearsal import CustomerRow, MorningRow, customers, mornings, reading

ACCOUNTS_AT_ONCE: Final = 100
DAY: Final = timedelta(days=1)
Candidates = dict[str, list[Morning]]
"""By policy the mornings on which a point could first have been cut."""


async def rehearse_policies(
    connection: AsyncConnection[Any],
    policies: Mapping[str, Policy],
    since: date,
    zone: ZoneInfo,
    now: datetime,
) -> AsyncIterator[tuple[Customer, Candidates]]:
    """Every point of an active account, with when it could have been cut from a day on."""
    async with reading(connection):
        of_account = [
            list(rows) for _, rows in groupby(await customers(connection), attrgetter("account_id"))
        ]
    for start in range(0, len(of_account), ACCOUNTS_AT_ONCE):
        rows = [row for some in of_account[start : start + ACCOUNTS_AT_ONCE] for row in some]
        async with reading(connection):
            found = {
                name: await _by_point(
                    connection, rows, _moments(policy.window_start, since, zone, now), zone
                )
                for name, policy in policies.items()
            }
        for row in rows:
            customer = Customer(*row[2:])
            yield (
                customer,
                {
                    name: [*candidates(policy, customer, found[name].get(row.point_id, ()))]
                    for name, policy in policies.items()
                },
            )


async def _by_point(
    connection: AsyncConnection[Any],
    rows: Sequence[CustomerRow],
    moments: Sequence[datetime],
    zone: ZoneInfo,
) -> dict[int, list[Morning]]:
    accounts = {row.account_id for row in rows}
    found = await mornings(connection, accounts, moments, zone)
    return {
        point: [_morning(it, zone) for it in of_point]
        for point, of_point in groupby(found, attrgetter("point_id"))
    }


def _moments(start: time, since: date, zone: ZoneInfo, now: datetime) -> list[datetime]:
    """When the window opened, each day until now."""
    days = (now.astimezone(zone).date() - since).days + 1
    opened = [datetime.combine(since + n * DAY, start, zone) for n in range(days)]
    return [at for at in opened if at <= now]


def _morning(row: MorningRow, zone: ZoneInfo) -> Morning:
    day = row.published_day
    read_at = None if day is None else datetime.combine(day, time())
    return Morning(row.at.astimezone(zone).replace(tzinfo=None), row.balance_fen, read_at)
