"""meterd supply alarms: what about supply a person has to know now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.lines import configured_lines
from config.load import load_site
from config.settings_file import load_settings
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json_rows
from daemon.cli.site_option import site_option
from storage.supply import database_clock


@click.command()
@site_option
@as_json
def alarms(site_path: Path, as_json: bool) -> None:
    """What about supply a person has to know now, each with its age.

    It is said from the tables, so also of lines that are disabled or down."""
    from daemon.control.alarms import ALARMS
    from daemon.transactions.supply_cases import supply_alarm_rows

    site = load_site(site_path)
    lines = [line.name for line in configured_lines(site) if line.enabled]
    is_shadow = site.settings.control.mode == "shadow"

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        now = await database_clock(connection)
        return await supply_alarm_rows(connection, lines, now, shadow_mode=is_shadow)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    if not rows:
        echo("nothing is wrong with supply")
        return
    print_columns(
        {
            "since": "since",
            "what": "word",
            "point": "point",
            "account": "account",
            "line": "line",
            "detail": "detail",
        },
        [{**row, "word": ALARMS[row["kind"]]} for row in rows],
    )
