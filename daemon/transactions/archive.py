"""The archive of the configuration becomes the database's: what was billed cannot be changed by an
edit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from config.load import LoadedSite
from daemon.billing.links import billed_point
from daemon.transactions.opening import open_accounts
from storage import archive
from storage.archive import SiteMeter

log = structlog.get_logger("daemon")


async def take_over_site(
    connection: AsyncConnection[Any], site: LoadedSite, zone: ZoneInfo
) -> list[SiteMeter]:
    """The meters that are read from now on, after all that is configured was taken over and
    accounts were opened.

    One transaction: ArchiveConflict, naming every case, changes nothing."""
    async with connection.transaction():
        await take_over_archive(connection, site)
        meters = await archive.site_meters(connection)
        points = {meter.point_id: billed_point(meter) for meter in meters}
        await open_accounts(connection, points, zone, datetime.now(UTC))
    return configured(meters, site)


async def take_over_archive(connection: AsyncConnection[Any], site: LoadedSite) -> None:
    """Bring accounts, points, meters and tariffs of the configuration into the database."""
    await archive.take_over(
        connection,
        tariffs=[
            (v.tariff, v.effective_from, v.price)
            for versions in site.tariffs.values()
            for v in versions
        ],
        accounts=[
            (
                *(a.account, a.name, a.tariff, a.agreement, a.open_from),
                *(a.warn_fen, a.trip_fen, a.reconnect_fen, a.credit_limit_fen),
            )
            for a in site.archive.accounts
        ],
        points=[
            (
                p.point,
                p.account,
                p.area,
                p.ratio,
                p.max_daily_kwh,
                p.reconnect,
                p.protected,
                p.life_support,
            )
            for p in site.archive.points
        ],
        meters=[
            (
                *(m.address, m.line, m.protocol, int(m.modulus_kwh.scaleb(m.decimals)), m.decimals),
                *(m.point, m.installed_on, m.profile),
            )
            for m in site.archive.meters
        ],
    )


def configured(meters: Sequence[SiteMeter], site: LoadedSite) -> list[SiteMeter]:
    """The meters that the archive still names. Taking one out ends its polling, not what it was
    billed for."""
    named = {meter.address for meter in site.archive.meters}
    left_out = [meter.address for meter in meters if meter.address not in named]
    if left_out:
        log.warning(
            "meters not in the archive are not polled", count=len(left_out), first=left_out[0]
        )
    return [meter for meter in meters if meter.address in named]
