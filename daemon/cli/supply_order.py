"""meterd supply order: two persons have a supply cut for another reason than money."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings import PolicySettings
from config.settings_file import SettingsFile, load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.guarding import guarding, print_trips
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json, print_json_rows
from daemon.cli.saying import said_by, speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text, Whole
from daemon.control.guard import Cause
from storage import cut_orders, supply

CAUSES: Final[Mapping[str, Cause]] = {
    "safety": "safety",
    "theft": "theft",
    "customer-request": "customer_request",
}


@click.group()
def order() -> None:
    """Have a supply cut for another reason than money, and kept off until that is over."""


@order.command()
@click.argument("point", type=Text())
@click.option("--cause", type=click.Choice([*CAUSES]), required=True)
@speaking_options
def ask(point: str, cause: str, **saying: Any) -> None:
    """Ask that POINT be cut; another person agrees within four hours."""
    from daemon.transactions.cut_orders import ask_for_order

    said = said_by(saying)

    async def noted(connection: AsyncConnection[Any]) -> int:
        return await ask_for_order(connection, point, CAUSES[cause], said)

    number = on_database(load_settings(saying["site_path"]), noted)
    if saying["as_json"]:
        print_json({"order": number, "point": point, "cause": CAUSES[cause], "state": "waits"})
        return
    at = "" if saying["site_path"] == Path("meterd.toml") else f" -c {saying['site_path']}"
    echo(f"order {number} waits; another person has to agree:")
    echo(f"  meterd supply order agree {number} --actor NAME{at}")


@order.command()
@click.argument("number", type=Whole(1))
@actor_option
@site_option
@as_json
def agree(number: int, actor: str | None, site_path: Path, as_json: bool) -> None:
    """Agree, as the second person, to order NUMBER: its point is cut, and stays off.

    The guard is heard about all but money. While it denies it is asked again for four hours; exit
    code 1."""
    from daemon.control.trips import GuardedTrip
    from daemon.transactions.cut_orders import agree_to_order

    who = acting(actor)
    settings = SettingsFile.read(site_path).validated(PolicySettings)

    async def noted(connection: AsyncConnection[Any]) -> tuple[list[GuardedTrip], datetime | None]:
        now = await supply.database_clock(connection)
        authority, starts_at = await guarding(connection, settings, now)
        return await agree_to_order(connection, authority, number, who), starts_at

    trips, starts_at = on_database(settings, noted)
    if as_json:
        reasons = [reason for it in trips for reason in it.verdict.reasons]
        is_being_cut = any(it.is_allowed for it in trips)
        print_json({"order": number, "is_being_cut": is_being_cut, "reasons": reasons})
    else:
        print_trips(trips, starts_at)
    if not trips and not as_json:
        echo(f"order {number} is in force; its point is off already, or was tried a moment ago")
    if any(not it.is_allowed for it in trips):
        raise SystemExit(1)


@order.command()
@click.argument("number", type=Whole(1))
@speaking_options
def end(number: int, **saying: Any) -> None:
    """End order NUMBER: its point comes back, whatever is owed, unless money had cut it before."""
    from daemon.transactions.cut_orders import end_order

    said = said_by(saying)

    async def noted(connection: AsyncConnection[Any]) -> None:
        await end_order(connection, number, said)

    on_database(load_settings(saying["site_path"]), noted)
    if saying["as_json"]:
        print_json({"order": number, "state": "ended"})
        return
    echo(f"order {number} is ended")


@order.command("list")
@click.option("--all", "all_times", is_flag=True, help="Also those that ended.")
@site_option
@as_json
def list_orders(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Orders that have not ended, who gave them, whether they are in force, and the supply."""

    async def found(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await cut_orders.orders(connection, all_times=all_times)

    rows = on_database(load_settings(site_path), found)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "order": "number",
            "point": "point",
            "account": "account",
            "cause": "cause",
            "asked by": "actor",
            "why": "reason",
            "agreed by": "second",
            "since": "agreed_at",
            "in force": "is_in_force",
            "supply": "supply_state",
            "ended": "ended_at",
        },
        rows,
    )
