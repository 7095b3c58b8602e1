"""meterd gaps: what is missing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings import GapSettings
from config.settings_file import SettingsFile
from daemon.acquisition.planning.wanted import MEMORY_DAYS, due_day, first_day
from daemon.cli.on_site import on_database, site_option
from daemon.cli.output import as_json, print_json, print_table
from storage import readings


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1, MEMORY_DAYS),
    help="How many midnights back.  [default: backfill_days]",
)
@click.option("--withheld", is_flag=True, help="Also values that were collected but not published.")
@site_option
@as_json
def gaps(days: int | None, withheld: bool, site_path: Path, as_json: bool) -> None:
    """Owed daily freezes without a value, as runs of days. Exit code 0 if there is none, 1 if there
    are gaps."""

    settings = SettingsFile.read(site_path).validated(GapSettings)

    async def ask(connection: AsyncConnection[Any]) -> tuple[list[Any], list[Any]]:
        today = due_day(datetime.now(settings.site.zone))
        since = first_day(today, days or settings.collection.backfill_days)
        found = await readings.gaps(connection, since, today)
        return found, await readings.withheld(connection, since, today) if withheld else []

    found, held = on_database(settings, ask)
    if as_json:
        for row in [*found, *held]:
            print_json(row)
    else:
        missing = sum(row["days"] for row in found)
        if found:
            print_table(
                ("point", "meter", "line", "from", "to", "days"),
                [
                    (
                        row["point_id"],
                        row["address"],
                        row["line"],
                        row["first_day"],
                        row["last_day"],
                        row["days"],
                    )
                    for row in found
                ],
            )
        if held:
            print_table(
                ("point", "meter", "day", "register", "reasons"),
                [
                    (
                        *(row["point_id"], row["address"], row["day"]),
                        f"{row['total'] / 10 ** row['decimals']:.{row['decimals']}f}",
                        ", ".join(row["reasons"]),
                    )
                    for row in held
                ],
                title="withheld",
            )
        click.echo(f"{missing} missing", err=True)
    raise SystemExit(1 if found else 0)
