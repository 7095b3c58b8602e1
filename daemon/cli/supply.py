"""meterd supply: what is connected, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings import OnCallSettings
from config.settings_file import SettingsFile, load_settings
from daemon.cli.breaker import breaker
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, fail, print_columns, print_json, print_json_rows
from daemon.cli.site_option import site_option
from daemon.cli.supply_alarms import acknowledge, alarms, calls
from daemon.cli.supply_holds import amnesty, hold, holds, lock, release
from daemon.cli.supply_order import order
from daemon.cli.supply_plan import plan
from daemon.cli.supply_record import record
from daemon.cli.supply_restore import restore
from daemon.cli.supply_trip import trip
from daemon.cli.typed import Whole
from daemon.notices.on_call import answering
from storage import meter_orders
from storage import supply as storage

VERDICTS: Final = 20


@click.group()
def supply() -> None:
    """Look at supply states and commands; hold cuts, restore."""


for command in (
    *(trip, order, restore, hold, lock, amnesty, release, holds, plan),
    *(alarms, calls, acknowledge, breaker, record),
):
    supply.add_command(command)


@supply.command()
@click.option("--account", help="Only this account's points.")
@click.option("--point", help="Only this point, with the history of its commands.")
@site_option
@as_json
def show(account: str | None, point: str | None, site_path: Path, as_json: bool) -> None:
    """Supply state, relay as seen, last command and the guard's last word, and since when."""

    async def ask(connection: AsyncConnection[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        points = await storage.supply(connection, account=account, point=point)
        if not point:
            return points, [], []
        orders = await meter_orders.order_history(connection, point)
        return points, await storage.command_history(connection, point), orders

    settings = SettingsFile.read(site_path).validated(OnCallSettings)
    points, history, orders = on_database(settings, ask)
    if not points:
        raise fail(_nothing_found(account, point))
    for row in points:
        is_on = row["supply_state"] == "energised"
        row["answers_for_it"] = [] if is_on else answering(settings.on_call, row["area"])
    if as_json:
        for row in [*points, *history, *orders]:
            print_json(row)
        return
    print_columns(
        {
            "point": "point_id",
            "account": "account_id",
            "meter": "address",
            "supply": "supply",
            "relay": "relay_observed",
            "seen": "relay_observed_at",
            "evidence": "relay_evidence",
            "last command": "last_command",
            "guard": "guard",
            "said at": "verdict_at",
            "answers for it": "answers_for_it",
        },
        [_in_words(row) for row in points],
    )
    if history:
        print_columns(
            {
                "when": "at",
                "action": "action",
                "state": "state",
                "cause": "cause",
                "detail": "detail",
            },
            history,
            title="commands",
        )
    if orders:
        print_columns(
            {
                "when": "at",
                "order": "what",
                "to be": "to_be",
                "state": "state",
                "cause": "cause",
                "detail": "detail",
            },
            orders,
            title="orders to the meter",
        )


@supply.command()
@click.argument("point", metavar="POINT")
@click.option(
    "--limit",
    type=Whole(1),
    default=VERDICTS,
    show_default=True,
    help="How many, the newest.",
)
@site_option
@as_json
def history(point: str, limit: int, site_path: Path, as_json: bool) -> None:
    """When the guard changed its mind about a point, with every reason, newest first."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        if not await storage.supply(connection, point=point):
            raise fail(_nothing_found(None, point))
        return await storage.verdict_history(connection, point, limit)

    verdicts = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(verdicts)
        return
    print_columns(
        {"when": "at", "guard": "decision", "reasons": "reasons"},
        [{**row, "reasons": " ".join(row["reasons"])} for row in verdicts],
    )


def _nothing_found(account: str | None, point: str | None) -> str:
    if point:
        return f"no point {point}"
    return f"account {account} has no points" if account else "no points"


def _in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """With its last command and what the guard said of it, each in one cell."""
    last_command = None
    if row["action"]:
        last_command = f"{row['action']} {row['command_state']}"
    guard = None
    if row["decision"]:
        guard = " ".join([row["decision"], *row["reasons"]])
    answers = ", ".join(row["answers_for_it"]) or None
    told = {"last_command": last_command, "guard": guard, "answers_for_it": answers}
    return {**row, **told, "supply": _supply(row)}


def _supply(row: Mapping[str, Any]) -> str:
    """What is only ordered is not called so, and what was never seen is not known (I14)."""
    state: str = row["supply_state"]
    if state == "energised" and row["relay_observed"] == "unknown" and row["has_relay"]:
        return "unknown"
    if state == "disconnected" and row["relay_evidence"] == "C":
        return "disconnected (commanded, unproven)"
    return state
