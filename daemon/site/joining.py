"""How a daemon comes to its database, at its start or, when that is away, later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from config.load import LoadedSite
from daemon.control.authority import Authority
from daemon.ownership.hold import take_site
from daemon.runtime.supervision import in_thread
from daemon.transactions.archive import take_over_site
from daemon.transactions.disputes import judge_waiting
from daemon.transactions.release import resume
from protocols.errors import MeterdError
from storage import is_guarded, migrate, supply
from storage.archive import SiteMeter
from storage.database import LONG_USE_S, Database, Pool
from storage.supply_cases import cut_points

log = structlog.get_logger("daemon")

AGAIN_S = 2.0


class ShadowRefused(MeterdError):
    """Shadow mode would leave those dark who are cut. The operator acts."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The site is ours: the connection that holds it, and the meters as the database knows them."""

    holder: AsyncConnection[Any]
    meters: list[SiteMeter]


async def join(
    site: LoadedSite,
    database: Database,
    pool: Pool,
    authority: Authority,
) -> Joined:
    """Take the site, bring the schema up to date and take over the archive.

    psycopg.Error when the database cannot be used now; AnotherDaemon, SchemaError, ShadowRefused or
    ArchiveConflict when somebody has to act. Either leaves nothing held."""
    hold = authority.hold
    assert hold is not None
    holder = await take_site(database.url, hold)
    try:
        schema = await in_thread(partial(migrate, database.url, database.owner_url))
        log.info("database ready", schema=schema, embedded=site.settings.database.url is None)
        await in_thread(partial(_warn_of_a_role_too_strong, database.url))
        async with pool.connection(lasts_s=LONG_USE_S) as connection:
            if authority.shadow_mode and site.settings.control.left_dark_by is None:
                await _refuse_to_leave_dark(connection)
            meters = await take_over_site(connection, site)
            # What a kill left behind, too: what is not judged looks as if it were missing.
            await judge_waiting(connection, authority.zone)
            now = await supply.database_clock(connection)
            await resume(connection, now, shadow_mode=authority.shadow_mode)
    except BaseException:
        hold.token = 0
        await holder.close()
        raise
    return Joined(holder, meters)


async def _refuse_to_leave_dark(connection: AsyncConnection[Any]) -> None:
    """In shadow mode nobody is restored: who is cut then stays so, whatever is paid."""
    if cut := await cut_points(connection):
        named = ", ".join([*cut[:3], *(["..."] if len(cut) > 3 else [])])
        raise ShadowRefused(
            f"{len(cut)} points are cut ({named}), and in shadow mode nobody is restored: start in "
            "the mode of before and type meterd supply restore --all, or say who leaves them dark: "
            'left_dark_by = "NAME" under [control]'
        )


def _warn_of_a_role_too_strong(url: str) -> None:
    with psycopg.connect(url) as connection:
        if not is_guarded(connection):
            log.warning(
                "the daemon's database role owns the tables and could switch off what guards them; "
                "give it one of its own: database.migration_url"
            )


async def join_later(database: Database, join_now: Callable[[], Awaitable[Joined]]) -> Joined:
    """Try until it is done."""
    while True:
        try:
            await in_thread(database.revive)
            return await join_now()
        except (psycopg.Error, OSError) as error:
            log.debug("database still away", error=str(error).strip())
            await asyncio.sleep(AGAIN_S)


def unjoined_meters(site: LoadedSite) -> list[SiteMeter]:
    """The meters of the files, with negative ids, which are no row's: nothing is stored by them."""
    points = {point.point: point for point in site.archive.points}
    return [
        SiteMeter(
            meter_id=-number,
            address=meter.address,
            line=meter.line,
            protocol=meter.protocol,
            modulus=int(meter.modulus_kwh.scaleb(meter.decimals)),
            decimals=meter.decimals,
            installed_on=meter.installed_on,
            point_id=-number,
            point=meter.point,
            max_daily_kwh=points[meter.point].max_daily_kwh,
            profile=meter.profile,
            # Nothing is known of what is there, so nothing is said of what is about to be lost.
            taken_in_on=date.max,
        )
        for number, meter in enumerate(site.archive.meters, 1)
    ]
