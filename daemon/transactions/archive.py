"""The archive of the configuration becomes the database's.

R26: what was billed cannot be changed by an edit; exchange and ratio change are documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from config.archive import Account, Point
from config.load import LoadedSite
from config.meters import Meter
from config.tariffs import TariffVersion
from daemon.billing.links import billed_point
from daemon.transactions.opening import open_accounts
from storage import archive
from storage.archive import SiteMeter

log = structlog.get_logger("daemon")


async def take_over_site(
    connection: AsyncConnection[Any], site: LoadedSite, zone: ZoneInfo
) -> list[SiteMeter]:
    """Take over all that is configured and open accounts; returns the meters that are read.

    One transaction: ArchiveConflict, naming every case, changes nothing."""
    async with connection.transaction():
        await take_over_archive(connection, site)
        meters = await archive.site_meters(connection)
        points = {meter.point_id: billed_point(meter) for meter in meters}
        await open_accounts(connection, points, zone, datetime.now(UTC))
    return configured(meters, site)


async def take_over_archive(connection: AsyncConnection[Any], site: LoadedSite) -> None:
    """Bring accounts, points, meters and tariffs of the configuration into the database."""
    versions = [version for tariff in site.tariffs.values() for version in tariff]
    await archive.take_over(
        connection,
        tariffs=[_tariff_row(version) for version in versions],
        accounts=[_account_row(account) for account in site.archive.accounts],
        points=[_point_row(point) for point in site.archive.points],
        meters=[_meter_row(meter) for meter in site.archive.meters],
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


def _account_row(account: Account) -> tuple[Any, ...]:
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


def _meter_row(meter: Meter) -> tuple[Any, ...]:
    return (
        meter.address,
        meter.line,
        meter.protocol,
        int(meter.modulus_kwh.scaleb(meter.decimals)),
        meter.decimals,
        meter.point,
        meter.installed_on,
        meter.profile,
    )
