"""meterd account: look at accounts and open them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.billing.links import billed_point
from daemon.cli.on_site import on_database, site_option
from daemon.cli.output import as_json, fail, print_json, print_table, yuan
from daemon.transactions.opening import open_accounts
from storage import archive, ledger

MOVEMENTS = 20


@click.group()
def account() -> None:
    """Look at prepaid accounts, open them."""


@account.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--movements",
    type=click.IntRange(0, 10_000),
    default=MOVEMENTS,
    show_default=True,
    help="How many.",
)
@site_option
@as_json
def show(account_id: str, movements: int, site_path: Path, as_json: bool) -> None:
    """Balance, state, points and the newest movements of an account."""

    async def ask(connection: AsyncConnection[Any]) -> dict[str, Any] | None:
        found = await archive.account(connection, account_id)
        if found is None:
            return None
        return {
            **found,
            "points": await archive.points_of_account(connection, account_id),
            "held_spans": await ledger.held_spans(connection, account_id),
            "movements": await ledger.statement(connection, account_id, movements),
        }

    found = on_database(load_settings(site_path), ask)
    if found is None:
        raise fail(
            f"no account {account_id}; accounts come from accounts.csv when the daemon starts"
        )
    if as_json:
        print_json(found)
        return
    print_table(
        ("account", "name", "state", "balance yuan", "credit", "tariff", "open from"),
        [
            (
                *(found["id"], found["name"], found["state"], yuan(found["balance_fen"])),
                *(found["credit_state"], found["tariff_id"], found["open_from"]),
            )
        ],
    )
    print_table(
        ("point", "meter", "line", "supply", "relay", "last freeze"),
        [
            (
                p["id"],
                p["address"],
                p["line"],
                p["supply_state"],
                p["relay_observed"],
                p["last_day"],
            )
            for p in found["points"]
        ],
        title="points",
    )
    if found["held_spans"]:
        print_table(
            ("point", "from", "to"),
            [(span["point_id"], span["from_day"], span["to_day"]) for span in found["held_spans"]],
            title="not billed yet: the days between are missing",
        )
    print_table(
        ("when", "kind", "yuan", "key"),
        [
            (m["recorded_at"], m["kind"], yuan(m["amount_fen"]), m["key"])
            for m in found["movements"]
        ],
        title="movements",
    )


@account.command("open")
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--from",
    "open_from",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    help="First billed day.",
)
@click.option("--agreement", required=True, help="Reference of the signed agreement.")
@click.option(
    "--point",
    "points",
    multiple=True,
    help="Metering point to give to the account; may be repeated.",
)
@site_option
def open_account(
    account_id: str,
    open_from: datetime,
    agreement: str,
    points: tuple[str, ...],
    site_path: Path,
) -> None:
    """Open a pending account: it is billed from 00:00 of that day, whose freeze is its opening
    register.

    It stays pending until that freeze has been collected."""

    settings = load_settings(site_path)

    async def ask(connection: AsyncConnection[Any]) -> Any:
        tariff = await archive.first_version(connection, account_id)
        if tariff is not None and open_from.date() < tariff.starts_on:
            raise fail(f"tariff {tariff.id} starts on {tariff.starts_on}; nothing was opened")
        await archive.open_account(
            connection,
            account_id,
            points=points,
            open_from=open_from.date(),
            agreement=agreement,
        )
        meters = await archive.site_meters(connection)
        billed = {meter.point_id: billed_point(meter) for meter in meters}
        await open_accounts(connection, billed, settings.site.zone, datetime.now(UTC))
        return await archive.account(connection, account_id)

    found = on_database(settings, ask)
    click.echo(f"account {account_id} is {found['state']}, billed from {open_from.date()}")
