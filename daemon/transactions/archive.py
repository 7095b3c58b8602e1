"""The archive of the configuration becomes the database's.

R26: what was billed cannot be changed by an edit; exchange and ratio change are documents."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from config.archive import Account, Point
from config.load import LoadedSite
from config.meters import DLT645, LEAST_DECIMALS, Meter
from config.tariffs import TariffVersion
from storage import archive
from storage.archive import ArchiveRows, SiteMeter
from storage.owner import claim

log = structlog.get_logger("daemon")


async def take_over_site(connection: AsyncConnection[Any], site: LoadedSite) -> list[SiteMeter]:
    """Take over all that is configured; returns the meters that are read.

    One transaction: ArchiveConflict, naming every case, changes nothing. What it changes of
    accounts is settled afterwards."""
    async with connection.transaction():
        await take_over_archive(connection, site)
        meters = await archive.site_meters(connection)
    return configured(meters, site)


async def take_over_archive(connection: AsyncConnection[Any], site: LoadedSite) -> None:
    """Bring points, meters, tariffs and new accounts of the configuration into the database.

    ForeignSite where that is another site's."""
    zone = site.settings.site.zone
    await claim(connection, site.settings.site.name, zone)
    rows = archive_rows(site, zone)
    today = datetime.now(zone).date()
    found = await archive.take_over(connection, rows, today, f" -c {shlex.quote(str(site.path))}")
    if found.differing_accounts:
        log.warning(
            "accounts differ from the files and stay as they are: `meterd account import` takes "
            "the files over",
            count=len(found.differing_accounts),
            first=found.differing_accounts[0],
        )
    if found.stale:
        log.warning(
            "the files do not know yet what documents say; the documents count",
            count=len(found.stale),
            first=found.stale[0],
        )


def archive_rows(site: LoadedSite, zone: ZoneInfo) -> ArchiveRows:
    """The files in the columns of the staged tables; days begin in this zone."""
    versions = [version for tariff in site.tariffs.values() for version in tariff]
    midnights: dict[date, datetime] = {}
    for meter in site.archive.meters:
        midnights.setdefault(meter.installed_on, datetime.combine(meter.installed_on, time(), zone))
    return ArchiveRows(
        tariffs=[_tariff_row(version) for version in versions],
        accounts=[account_row(account) for account in site.archive.accounts],
        points=[_point_row(point) for point in site.archive.points],
        meters=[_meter_row(meter, midnights[meter.installed_on]) for meter in site.archive.meters],
    )


def configured(meters: Sequence[SiteMeter], site: LoadedSite) -> list[SiteMeter]:
    """The meters that the archive still names.

    Taking one out ends its polling, not what it was billed for."""
    named = {meter.address for meter in site.archive.meters}
    # Taken out of the files, kept in the database: readings and money refer to them.
    left_out = [meter.address for meter in meters if meter.address not in named]
    if left_out:
        log.warning(
            "meters not in the archive are not polled", count=len(left_out), first=left_out[0]
        )
    return [meter for meter in meters if meter.address in named]


# The columns of the staged tables, in their order.


def _tariff_row(version: TariffVersion) -> tuple[Any, ...]:
    return version.tariff, version.effective_from, version.price_yuan_per_kwh


def account_row(account: Account) -> tuple[Any, ...]:
    """An account of the files in the columns of the staged table."""
    return (
        account.account,
        account.name,
        account.tariff,
        account.agreement,
        account.open_from,
        account.warn_fen,
        account.trip_fen,
        account.reconnect_fen,
        account.credit_limit_fen,
    )


def _point_row(point: Point) -> tuple[Any, ...]:
    return (
        point.point,
        point.account,
        point.area,
        point.ratio,
        point.max_daily_kwh,
        point.reconnect,
        point.protected,
        point.life_support,
    )


def _meter_row(meter: Meter, installed_at: datetime) -> tuple[Any, ...]:
    is_dlt645 = meter.protocol in DLT645
    return (
        meter.address,
        meter.line,
        meter.protocol,
        int(meter.modulus_kwh.scaleb(meter.decimals)),
        meter.decimals,
        # Whatever resolution is kept: these meters send steps of 0.01 kWh (V11).
        min(meter.decimals, LEAST_DECIMALS) if is_dlt645 else meter.decimals,
        meter.point,
        meter.installed_on,
        installed_at,
        meter.profile,
        meter.serial,
    )
