"""What commands on a site share: its configuration and its database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from psycopg import AsyncConnection

from config.load import LoadedSite, load_site
from daemon.runtime import logs
from protocols.errors import MeterdError
from storage import check_version
from storage.database import open_database

T = TypeVar("T")

site_option = click.option(
    "-c",
    "--config",
    "site_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("meterd.toml"),
    envvar="METERD_CONFIG",
    show_default=True,
    help="The site's meterd.toml.",
)


def on_database(
    site_path: Path, ask: Callable[[AsyncConnection[Any], LoadedSite], Awaitable[T]]
) -> T:
    """Load the site, connect to its database and return what `ask` answers. The daemon may be
    running or not."""
    logs.configure(level="warning")
    site = load_site(site_path)
    configured = site.settings.database.url.reveal() if site.settings.database.url else None
    with open_database(configured, site.settings.site.data_directory, create=False) as database:
        try:
            with psycopg.connect(database.url, autocommit=True) as connection:
                check_version(connection)
        except psycopg.OperationalError as error:
            raise MeterdError(f"the database cannot be reached: {str(error).strip()}") from None

        async def connect_and_ask() -> T:
            async with await AsyncConnection.connect(database.url, autocommit=True) as connection:
                # What is printed is the site's local time; a zone that the server does not know
                # stays the server's.
                with suppress(psycopg.errors.InvalidParameterValue):
                    await connection.execute(
                        "SELECT set_config('TimeZone', %s, false)", (site.settings.site.zone.key,)
                    )
                return await ask(connection, site)

        return asyncio.run(connect_and_ask())
