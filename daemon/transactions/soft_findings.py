"""Once a day all points are looked at, and what is unusual is kept as a finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.quality.duplicates import DUPLICATE_DAYS, LEAST_STEPS, duplicates
from daemon.quality.gap import gap_day
from daemon.quality.month_end import fits_month_end
from daemon.quality.parameters import differs_rates, differs_ratio
from daemon.quality.soft_reports import soft_reports
from daemon.quality.use_checks import USUAL, WEEKS, Thresholds, daily_uses, takes_one_rate
from daemon.quality.verdict import Link
from daemon.transactions.judging import rejudge
from storage import findings, identity
from storage.chains import lock_chains
from storage.findings import EqualRow, Months, RatesRow, SettingsRow, SettledRow, UsedRow
from storage.identity import FindingRow
from storage.settling import mark_points

POINTS_AT_ONCE: Final = 500


async def look_at_uses(
    connection: AsyncConnection[Any], zone: ZoneInfo, now: datetime, than: Thresholds = USUAL
) -> None:
    """Write down what began or ended to be unusual on the newest closed day (V09, V12, V14, V15).

    At most six statements for each portion of points, whatever is found; the same again changes
    nothing."""
    closed_at = gap_day(now.astimezone(zone))
    day = closed_at - timedelta(days=1)
    months = Months.before(day)
    share_began = closed_at - timedelta(days=than.share_days)
    behind = 0
    while points := await findings.points_behind(connection, behind, POINTS_AT_ONCE):
        behind = points[-1]
        rows = await findings.uses(connection, points, day - than.looked_back, months)
        told = [finding for row in rows for finding in _findings(row, day, months, zone, than)]
        rates = await findings.rates(
            connection, points, closed_at, share_began, share_began - timedelta(weeks=WEEKS)
        )
        told += [_share(row, day) for row in rates]
        async with connection.transaction():
            await lock_chains(connection)
            await identity.add_findings(connection, told)


async def look_at_equal_registers(
    connection: AsyncConnection[Any], zone: ZoneInfo, now: datetime
) -> None:
    """Write down which meters show the registers of others for three days, or do no more (V25).

    Their days are judged anew, which withholds nothing."""
    day = gap_day(now.astimezone(zone))
    async with connection.transaction():
        await lock_chains(connection)
        rows = await findings.equal(connection, day, LEAST_STEPS)
        told = {it.point_id: it for it in _crossed(rows, day)}
        over = await findings.told_equal(connection) - told.keys()
        rows_over = [FindingRow(it, "V25", day, active=False, detail={}) for it in sorted(over)]
        found = [*told.values(), *rows_over]
        await identity.add_findings(connection, found)
        judged = await rejudge(connection, {it.point_id: day for it in found}, zone)
        await mark_points(connection, judged.changed, "finding")


async def look_at_settings(connection: AsyncConnection[Any], zone: ZoneInfo, now: datetime) -> None:
    """Write down which month-end freezes do not fit the daily ones (V26), and which meters tell
    another ratio or another number of rates than they are billed with (V28); or do so no more.

    A few statements for each portion of points. They withhold nothing; of the day of a V28 that is
    said with its value."""
    day = gap_day(now.astimezone(zone))
    behind = 0
    while points := await findings.points_behind(connection, behind, POINTS_AT_ONCE):
        behind = points[-1]
        settled = [_settled(row) for row in await findings.settled(connection, points)]
        await identity.add_findings(connection, settled)
        others = [_settings(row, day) for row in await findings.settings(connection, points, day)]
        # Nearly all meters are set as they should be: few portions wait for whoever judges.
        if others:
            async with connection.transaction():
                await lock_chains(connection)
                new = await identity.add_findings(connection, others)
                judged = await rejudge(connection, {it.point_id: it.day for it in new}, zone)
                await mark_points(connection, judged.changed, "finding")


def _settled(row: SettledRow) -> FindingRow:
    fits = fits_month_end(
        row.total, row.modulus, same=row.same, before=row.before, behind=row.behind
    )
    if fits:
        return FindingRow(row.point_id, "V26", row.day, active=False, detail={})
    beside = [it for it in (row.same, row.before, row.behind) if it is not None]
    words = " and ".join(f"{Decimal(it).scaleb(-row.decimals)}" for it in beside)
    of_when = "that day's freeze" if row.same is not None else "the days around it"
    total = Decimal(row.total).scaleb(-row.decimals)
    return FindingRow(
        point_id=row.point_id,
        code="V26",
        day=row.day,
        active=True,
        detail={
            "text": f"the meter settled {total} at 00:00 of {row.day}, and {of_when} shows {words}",
            "command": f"meterd quality show {row.point} {row.day}",
        },
    )


def _settings(row: SettingsRow, day: date) -> FindingRow:
    told: list[tuple[str, str]] = []
    if differs_ratio(row.told_ratio, row.ratio):
        told.append(
            (
                f"is set to a ratio of {row.told_ratio}, and {row.point} is billed with "
                f"{row.ratio:f}",
                f"meterd meter ratio {row.point} --from DAY --ratio {row.told_ratio} "
                "--register TOTAL --reason WHY",
            )
        )
    if differs_rates(row.told_rates, row.rates):
        told.append(
            (
                f"cuts the day into {row.told_rates} rates, and {row.point} is billed by "
                f"{row.rates}",
                "rates of the point in points.csv, then meterd reload; or set the meter",
            )
        )
    if not told:
        return FindingRow(row.point_id, "V28", day, active=False, detail={})
    return FindingRow(
        point_id=row.point_id,
        code="V28",
        day=day,
        active=True,
        detail={
            "text": f"meter {row.address} {'; it '.join(text for text, _ in told)}",
            "command": "; or ".join(command for _, command in told),
        },
    )


def _findings(
    row: UsedRow, day: date, months: Months, zone: ZoneInfo, than: Thresholds
) -> list[FindingRow]:
    spans = zip(row.from_days or (), row.to_days or (), row.kwhs or (), strict=True)
    uses = daily_uses((Link(start, end, kwh) for start, end, kwh in spans), zone)
    is_whole = row.month_days == (months.month_end - months.month).days
    was_whole = row.last_year_days == (months.last_year_end - months.last_year).days
    reports = soft_reports(
        {it: kwh for it, kwh in uses.items() if it <= day},
        day,
        row.month_kwh if is_whole else None,
        row.last_year_kwh if was_whole else None,
        than,
    )
    return [
        FindingRow(row.point_id, code, day, active=is_so, detail={})
        for code, is_so in reports.items()
    ]


def _share(row: RatesRow, day: date) -> FindingRow:
    lately = _advances(row.begins, row.ends, row.modulus)
    earlier = _advances(row.earlier, row.begins, row.modulus)
    is_so = takes_one_rate(lately, earlier)
    return FindingRow(row.point_id, "V12", day, active=is_so, detail={})


def _advances(begins: Sequence[int], ends: Sequence[int], modulus: int) -> list[int]:
    # Published registers of one meter step back only where they turn over.
    return [(end - begin) % modulus for begin, end in zip(begins, ends, strict=False)]


def _crossed(rows: Sequence[EqualRow], day: date) -> Iterable[FindingRow]:
    by_address = {row.address: row for row in rows}
    days = [
        {row.address: Decimal(row.totals[n]).scaleb(-row.decimals) for row in rows}
        for n in range(DUPLICATE_DAYS)
    ]
    for addresses in duplicates(days):
        for address in addresses:
            row = by_address[address]
            others = [it for it in addresses if it != address]
            total = days[-1][address]
            yield FindingRow(
                point_id=row.point_id,
                code="V25",
                day=day,
                active=True,
                detail={
                    "text": f"meter {address} shows {total}, as {', '.join(others)} does, and so on"
                    f" the {DUPLICATE_DAYS - 1} days before: crossed meters, or one that is read"
                    " twice",
                    "command": f"meterd meter crossed {row.point} {by_address[others[0]].point}"
                    " --reason WHY",
                    "totals": [str(it[address]) for it in days],
                },
            )
