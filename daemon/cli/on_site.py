"""The database of a site, for a command.

Each command loads only what it needs: `load_settings` where the database knows the rest, so that a
mistake in the archive or in a line stops no payment; `load_site` where lines are run or checked."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
import psycopg
from psycopg import AsyncConnection

from config.secret import revealed
from config.settings import DatabaseSettings
from daemon.cli.actor import act_of
from protocols.errors import MeterdError
from storage import confirm_version, supply
from storage.acts import Act, note_acts
from storage.blame import is_of_the_whole
from storage.database import LONG_USE_S, bounded, connect, open_database

T = TypeVar("T")


def on_database(
    settings: DatabaseSettings,
    ask: Callable[[AsyncConnection[Any]], Awaitable[T]],
    *,
    lasts_s: float = LONG_USE_S,
) -> T:
    """Connect to the site's database and return what `ask` answers within `lasts_s`.

    The daemon may be running or not. MeterdError when the database cannot be used."""
    _quiet_logs()
    configured = revealed(settings.database.url)
    with open_database(configured, settings.site.data_directory, create=False) as database:
        return asyncio.run(_asked(database.url, settings.site.zone, ask, lasts_s))


async def site_day(connection: AsyncConnection[Any], zone: ZoneInfo) -> date:
    """The day of the site by the database's clock, by which the daemon's postings are dated too."""
    return (await supply.database_clock(connection)).astimezone(zone).date()


async def _asked(
    url: str, zone: ZoneInfo, ask: Callable[[AsyncConnection[Any]], Awaitable[T]], lasts_s: float
) -> T:
    try:
        connection = await connect(url)
    except psycopg.Error as error:
        raise MeterdError(f"the database cannot be reached: {str(error).strip()}") from None
    context = click.get_current_context(silent=True)
    act = None if context is None else act_of(context)
    try:
        async with connection:
            with bounded(connection, lasts_s):
                await confirm_version(connection)
                # What is printed is the site's local time; a zone that the server does not know
                # stays the server's.
                with suppress(psycopg.errors.InvalidParameterValue):
                    await connection.execute(
                        "SELECT set_config('TimeZone', %s, false)", (zone.key,)
                    )
                if act is not None:
                    await note_acts(connection, [Act(*act)])
                return await ask(connection)
    except psycopg.Error as error:
        if not is_of_the_whole(error):
            raise
        why = " ".join(str(error).split())
        if connection.broken and act is not None:
            # It may have been amid its commit.
            raise MeterdError(
                f"the connection to the database broke ({why}): look whether it was done before "
                "you say it again"
            ) from None
        raise MeterdError(f"the database cannot do it now: {why}") from None


def _quiet_logs() -> None:
    """Warnings alone, where the command has loaded what logs: what only asks has not."""
    if "structlog" in sys.modules:
        from daemon.runtime import logs

        logs.configure(level="warning")
    else:
        # It tells of a database that is away; that it is, is told once by us.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
