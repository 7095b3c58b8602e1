"""meterd retention: how long rows are kept, and what goes when."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, print_columns, print_json
from daemon.cli.site_option import site_option
from storage import retention as storage
from storage.retention import Kept


@click.command()
@site_option
@as_json
def retention(site_path: Path, as_json: bool) -> None:
    """How long the rows of each table are kept, how old the oldest is, and when it goes.

    The daemon deletes once a day what may go. What money or a decision refers to stays, however
    old it is."""

    async def ask(connection: AsyncConnection[Any]) -> list[Kept]:
        return await storage.kept(connection)

    found = on_database(load_settings(site_path), ask)
    if as_json:
        for row in found:
            print_json(asdict(row))
        return
    columns = {"table": "table", "kept": "kept", "oldest": "oldest", "goes": "goes", "why": "why"}
    print_columns(columns, map(_in_words, found))


def _in_words(row: Kept) -> dict[str, Any]:
    goes = row.goes_at.date() if row.goes_at else None
    return {
        "table": row.table_name,
        "kept": row.keep or "for ever",
        "oldest": row.oldest.date() if row.oldest else None,
        "goes": f"stays, {row.needed_by} refers to it" if row.needed_by else goes,
        "why": row.reason,
    }
