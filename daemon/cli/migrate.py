"""meterd migrate: the database's schema, without the daemon."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import click
import psycopg

from config.secret import revealed
from config.settings import MigrationSettings
from config.settings_file import SettingsFile
from daemon.cli.actor import Typed, act_of, acting, actor_option
from daemon.cli.output import echo, fail
from daemon.cli.site_option import site_option
from daemon.control.authority import SiteHold
from daemon.ownership.hold import take_site
from daemon.runtime import logs
from daemon.runtime.supervision import in_thread
from storage import is_guarded
from storage import migrate as bring_up_to_date
from storage.acts import Act, note_acts
from storage.database import Database, connect, open_database


@click.command()
@actor_option
@site_option
def migrate(actor: str | None, site_path: Path) -> None:
    """Bring the database's schema to this program's version, and grant the daemon what it needs.

    `meterd run` does the same at its start where database.migration_url is set; this is for a
    daemon that must not know the password of the role that the tables belong to. Refused while a
    daemon acts on the database.
    """
    logs.configure(level="warning")
    settings = SettingsFile.read(site_path).validated(MigrationSettings)
    place = open_database(
        revealed(settings.database.url),
        settings.site.data_directory,
        owner=revealed(settings.database.migration_url),
    )
    acting(actor)
    with place as database:
        try:
            version = asyncio.run(_migrate(database, act_of(click.get_current_context())))
            with psycopg.connect(database.url) as connection:
                guarded = is_guarded(connection)
        except psycopg.Error as error:
            raise fail(f"the database cannot be used: {str(error).strip()}") from None
    echo(
        f"schema {version}; the daemon's role "
        + ("cannot change it" if guarded else "can change it: set database.migration_url")
    )


async def _migrate(database: Database, act: Typed | None) -> int:
    async with await take_site(database.url, SiteHold()):
        version = await in_thread(partial(bring_up_to_date, database.url, database.owner_url))
        # Before, there may be no table for it.
        if act is not None:
            async with await connect(database.url) as connection:
                await note_acts(connection, [Act(*act)])
    return version
