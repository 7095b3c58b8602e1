"""meterd supply trip: cut an account now, if the guard lets it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings import PolicySettings
from config.settings_file import SettingsFile
from daemon.cli.guarding import guarding, print_trips
from daemon.cli.on_site import on_database
from daemon.cli.output import print_json_rows
from daemon.cli.saying import said_by, speaking_options
from daemon.cli.typed import Text
from storage import supply


@click.command(short_help="Cut an account now, if nothing speaks against it.")
@click.argument("account_id", metavar="ACCOUNT", type=Text())
@speaking_options
def trip(account_id: str, **saying: Any) -> None:
    """Ask that all points of ACCOUNT be cut now.

    The guard is heard as for every other cut, and again when the frame leaves: money, notices,
    approvals, protection and holds count, whoever asks. Exit code 1 if it lets nothing be cut."""
    from daemon.control.trips import GuardedTrip
    from daemon.transactions.trip_by_hand import trip_by_hand

    settings = SettingsFile.read(saying["site_path"]).validated(PolicySettings)
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> tuple[list[GuardedTrip], datetime | None]:
        now = await supply.database_clock(connection)
        authority, starts_at = await guarding(connection, settings, now)
        return await trip_by_hand(connection, authority, account_id, said, now), starts_at

    trips, starts_at = on_database(settings, ask)
    if saying["as_json"]:
        print_json_rows(
            {
                "point": it.point.point,
                "decision": it.verdict.decision,
                "reasons": list(it.verdict.reasons),
            }
            for it in trips
        )
    else:
        print_trips(trips, starts_at)
    if not any(it.is_allowed for it in trips):
        raise SystemExit(1)
