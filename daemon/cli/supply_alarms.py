"""meterd supply alarms, calls, acknowledge: what about supply a person has to know now, who of the
staff was told, and who has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.lines import configured_lines
from config.load import load_site
from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_json_rows
from daemon.cli.site_option import site_option
from daemon.cli.typed import Whole
from storage import staff_alarms
from storage.staff_alarms import CallMade
from storage.supply import database_clock


@click.command()
@site_option
@as_json
def alarms(site_path: Path, as_json: bool) -> None:
    """What about supply a person has to know now, each with its age.

    It is said from the tables, so also of lines that are disabled or down."""
    from daemon.control.alarms import ALARMS
    from daemon.transactions.supply_cases import supply_alarms

    site = load_site(site_path)
    lines = [line.name for line in configured_lines(site) if line.enabled]
    is_shadow = site.settings.control.mode == "shadow"

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        now = await database_clock(connection)
        return await supply_alarms(connection, lines, now, shadow_mode=is_shadow)

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
            "area": "area",
            "point": "point",
            "account": "account",
            "line": "line",
            "detail": "detail",
        },
        [{**row, "word": ALARMS[row["kind"]]} for row in rows],
    )


@click.command()
@click.option("--all", "all_times", is_flag=True, help="Also of what is over.")
@site_option
@as_json
def calls(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Who on call was told of what is still wrong, how far it went, and who has it."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await staff_alarms.calls(connection, all_times=all_times)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "call": "number",
            "made": "made_at",
            "level": "level",
            "who": "name",
            "channel": "channel",
            "state": "state",
            "what": "kind",
            "area": "area",
            "about": "about",
            "acknowledged by": "acknowledged_by",
        },
        rows,
    )


@click.command()
@click.argument("number", type=Whole(1))
@actor_option
@site_option
@as_json
def acknowledge(number: int, actor: str | None, site_path: Path, as_json: bool) -> None:
    """You have what was told by call NUMBER: nobody else is told of it.

    What comes later asks anew. Of a job whoever is given it has it: `meterd job assign`."""
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> tuple[CallMade | None, list[str]]:
        call = await staff_alarms.call_of(connection, number)
        return call, await staff_alarms.acknowledge(connection, number, who)

    call, taken = on_database(load_settings(site_path), ask)
    if call is None:
        raise fail(f"there is no call {number}")
    if not taken:
        from daemon.notices.on_call import is_to_be_assigned

        raise fail(
            f"call {number} is of jobs: meterd job assign says who has one"
            if is_to_be_assigned(call.kind)
            else f"all of call {number} is over, or somebody has it"
        )
    if as_json:
        print_json({"call": number, "about": taken, "acknowledged_by": who})
        return
    echo(f"{who} has {', '.join(taken)}")
