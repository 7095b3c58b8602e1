"""meterd gaps: what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings import GapSettings
from config.settings_file import SettingsFile
from daemon.acquisition.planning.wanted import MEMORY_DAYS, due_day, first_day
from daemon.cli.on_site import on_database, site_option
from daemon.cli.output import as_json, print_columns, print_json
from storage import readings

Rows = list[dict[str, Any]]


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
    """Owed daily freezes without a value, as runs of days.

    Exit code 0 if there is none, 1 if there are gaps."""
    settings = SettingsFile.read(site_path).validated(GapSettings)

    async def ask(connection: AsyncConnection[Any]) -> tuple[Rows, Rows]:
        today = due_day(datetime.now(settings.site.zone))
        since = first_day(today, days or settings.collection.backfill_days)
        found = await readings.gaps(connection, since, today)
        if not withheld:
            return found, []
        return found, await readings.withheld(connection, since, today)

    found, held = on_database(settings, ask)
    if as_json:
        for row in [*found, *held]:
            print_json(row)
    else:
        _print(found, held)
    raise SystemExit(1 if found else 0)


def _print(found: Rows, held: Rows) -> None:
    if found:
        print_columns(
            {
                "point": "point_id",
                "meter": "address",
                "line": "line",
                "from": "first_day",
                "to": "last_day",
                "days": "days",
            },
            found,
        )
    if held:
        print_columns(
            {
                "point": "point_id",
                "meter": "address",
                "day": "day",
                "register": "register",
                "reasons": "reasons",
            },
            [_withheld_in_words(row) for row in held],
            title="withheld",
        )
    click.echo(f"{sum(row['days'] for row in found)} missing", err=True)


def _withheld_in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    decimals = row["decimals"]
    return {
        **row,
        "register": f"{row['total'] / 10**decimals:.{decimals}f}",
        "reasons": ", ".join(row["reasons"]),
    }
