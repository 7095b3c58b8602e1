"""meterd supply restore: whoever is cut gets supply again, whatever is owed."""

from __future__ import annotations

from typing import Any

import click
from psycopg import AsyncConnection

from config.settings import PolicySettings
from config.settings_file import SettingsFile
from daemon.cli.marking import SCOPES, scope_of, scope_options
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, fail, print_json
from daemon.cli.saying import said_by, speaking_options
from storage import supply


@click.command(short_help="Restore whoever is cut, whatever is owed, and hold them so.")
@click.option("--all", "all_points", is_flag=True, help="Everybody of the site.")
@scope_options(*SCOPES)
@speaking_options
def restore(*, all_points: bool, **saying: Any) -> None:
    """Restore everybody who is cut at once, or those of an area, a line, an account, a point.

    A hold keeps them on until it is released. Where a transformer would not bear all of them in one
    minute, use meterd supply amnesty."""
    from daemon.transactions.restore_by_hand import Restored, restore_by_hand
    from daemon.transactions.supply_marks import Marked

    named = scope_of(saying)
    if len(named) + all_points != 1:
        raise click.UsageError("say one of --all, --area, --line, --account, --point")
    settings = SettingsFile.read(saying["site_path"]).validated(PolicySettings)
    if settings.control.mode == "shadow":
        raise fail("in shadow mode no frame leaves: set mode under [control] and start again first")
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> Restored:
        now = await supply.database_clock(connection)
        return await restore_by_hand(connection, Marked(**named), said, now)

    restored = on_database(settings, ask)
    if saying["as_json"]:
        print_json({**restored._asdict(), **named})
        return
    echo(f"{restored.points} points are being restored (meterd supply show tells how far they are)")
    if restored.left_dark:
        points = ", ".join(restored.left_dark)
        echo(
            "these stay dark, because somebody works there, two persons ordered it, or a reconnect"
        )
        echo(f"failed just now (meterd why tells which); ask again when that is over: {points}")
    echo(f"mark {restored.mark} holds them on until meterd supply release {restored.mark}")
