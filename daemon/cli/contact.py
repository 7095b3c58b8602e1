"""meterd contact: how customers are reached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.contacts import row_of
from config.load import load_site
from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json_rows
from daemon.cli.site_option import site_option
from storage import notices as storage

SHOWN: Final = 3
"""Letters at either end of an address: enough to tell it from others of the same customer."""
SILENT_AFTER: Final = 3
"""Notices without a receipt, and none with one, make a contact stale."""


@click.group()
def contact() -> None:
    """How customers are reached, and which ways are worn out."""


@contact.command("import")
@actor_option
@site_option
def import_contacts(actor: str | None, site_path: Path) -> None:
    """Make the contacts those of contacts.csv.

    What the file names no more is not used again."""
    site = load_site(site_path)
    rows = [row_of(it) for it in site.contacts]
    acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await storage.import_contacts(connection, rows)

    echo(f"{on_database(load_settings(site_path), ask)} contacts")


@contact.command("list")
@click.option("--account", help="Only this account's.")
@click.option("--stale", is_flag=True, help="Only those that bounced or never give a receipt.")
@click.option("--full", is_flag=True, help="The whole addresses.")
@site_option
@as_json
def list_contacts(
    account: str | None, stale: bool, full: bool, site_path: Path, as_json: bool
) -> None:
    """Contacts with what became of notices that were sent there.

    Addresses are of persons: without --full only their ends are shown."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await storage.listed_contacts(connection, account)

    found = [
        {**it, "address": it["address"] if full else _ends(it["address"]), "state": _state(it)}
        for it in on_database(load_settings(site_path), ask)
    ]
    chosen = [it for it in found if it["state"] != "ok" or not stale]
    if as_json:
        print_json_rows(chosen)
        return
    columns = ("account", "channel", "address", "language", "consent", "order", "state")
    print_columns({**{it: it for it in columns}, "last receipt": "delivered_at"}, chosen)


def _ends(address: str) -> str:
    if len(address) <= 2 * SHOWN:
        return "***"
    return f"{address[:SHOWN]}***{address[-SHOWN:]}"


def _state(row: Mapping[str, Any]) -> str:
    if row["bounced_at"] is not None:
        return "bounced"
    is_silent = row["delivered_at"] is None and row["without_receipt"] >= SILENT_AFTER
    return "no receipts" if is_silent else "ok"
