"""Once a day the use of every point is looked at, and what is unusual is kept as a finding."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.quality.gap import gap_day
from daemon.quality.soft_reports import soft_reports
from daemon.quality.use_checks import daily_uses
from daemon.quality.verdict import Link
from storage import findings, identity
from storage.findings import Months, UsedRow
from storage.identity import FindingRow

LOOKED_BACK: Final = timedelta(days=36)
"""Five weeks and a day: V09 compares a week with four."""
POINTS_AT_ONCE: Final = 500


async def look_at_uses(connection: AsyncConnection[Any], zone: ZoneInfo, now: datetime) -> None:
    """Write down what began or ended to be unusual on the newest closed day (V09, V14, V15).

    Three statements for each portion of points, whatever is found; the same again changes
    nothing."""
    day = gap_day(now.astimezone(zone)) - timedelta(days=1)
    months = Months.before(day)
    behind = 0
    while points := await findings.points_behind(connection, behind, POINTS_AT_ONCE):
        behind = points[-1]
        rows = await findings.uses(connection, points, day - LOOKED_BACK, months)
        told = [finding for row in rows for finding in _findings(row, day, months, zone)]
        async with connection.transaction():
            await identity.add_findings(connection, told)


def _findings(row: UsedRow, day: date, months: Months, zone: ZoneInfo) -> list[FindingRow]:
    spans = zip(row.from_days or (), row.to_days or (), row.kwhs or (), strict=True)
    uses = daily_uses((Link(start, end, kwh) for start, end, kwh in spans), zone)
    is_whole = row.month_days == (months.month_end - months.month).days
    was_whole = row.last_year_days == (months.last_year_end - months.last_year).days
    reports = soft_reports(
        {it: kwh for it, kwh in uses.items() if it <= day},
        day,
        row.month_kwh if is_whole else None,
        row.last_year_kwh if was_whole else None,
    )
    return [
        FindingRow(row.point_id, code, day, active=is_so, detail={})
        for code, is_so in reports.items()
    ]
