"""meterd supply: what is connected, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database, site_option
from daemon.cli.output import as_json, fail, print_json, print_table
from storage import supply as storage


@click.group()
def supply() -> None:
    """Look at supply states and commands."""


@supply.command()
@click.option("--account", help="Only this account's points.")
@click.option("--point", help="Only this point, with the history of its commands.")
@site_option
@as_json
def show(account: str | None, point: str | None, site_path: Path, as_json: bool) -> None:
    """Supply state, observed relay, last command and the guard's last word of each point."""

    async def ask(connection: AsyncConnection[Any]) -> tuple[list[Any], list[Any]]:
        points = await storage.supply(connection, account=account, point=point)
        return points, await storage.command_history(connection, point) if point else []

    points, history = on_database(load_settings(site_path), ask)
    if not points:
        raise fail(
            f"no point {point}"
            if point
            else f"account {account} has no points"
            if account
            else "no points"
        )
    if as_json:
        for row in points:
            print_json(row)
        for row in history:
            print_json(row)
        return
    print_table(
        ("point", "account", "meter", "supply", "relay", "last command", "guard"),
        [
            (
                *(
                    row["point_id"],
                    row["account_id"],
                    row["address"],
                    row["supply_state"],
                    row["relay_observed"],
                ),
                f"{row['action']} {row['command_state']}" if row["action"] else None,
                " ".join([row["decision"], *row["reasons"]]) if row["decision"] else None,
            )
            for row in points
        ],
    )
    if history:
        print_table(
            ("when", "action", "state", "cause", "detail"),
            [
                (row["at"], row["action"], row["state"], row["cause"], row["detail"])
                for row in history
            ],
            title="commands",
        )
