"""meterd notice receipt: a file of what became of notices."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.cells import moment, one_of, text
from config.problems import ConfigError, Mistakes
from config.settings_file import load_settings
from config.table import REQUIRED, Columns, Keys, read_table
from config.table_text import table_bytes, table_file
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import BAD_DATA, as_json, echo, fail, print_json
from daemon.cli.site_option import site_option
from daemon.transactions.notices import take_receipt
from storage import supply

LARGEST: Final = 2**63 - 1


def _number(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()) or not 0 < int(cell) <= LARGEST:
        raise ValueError(f'"{cell}" is no number of a notice')
    return int(cell)


COLUMNS: Final[Columns] = {
    "notice": (_number, REQUIRED),
    "state": (one_of("delivered", "failed", "bounced"), REQUIRED),
    "at": (moment, REQUIRED),
    "receipt": (text, ""),
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@actor_option
@site_option
@as_json
def receipt(file: Path, actor: str | None, site_path: Path, as_json: bool) -> None:
    """Take in what became of notices, from a CSV: notice, state, at, receipt.

    All rows or, with a mistake in one, none. What is known already changes nothing."""
    mistakes = Mistakes(str(table_file(file)))
    rows = list(read_table(table_bytes(file, mistakes), COLUMNS, mistakes, Keys()))
    if mistakes.problems:
        raise fail(str(ConfigError(mistakes.problems)), BAD_DATA)
    settings = load_settings(site_path)
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await _take_in(connection, rows, who, settings.site.zone)

    taken = on_database(settings, ask)
    if as_json:
        print_json({"taken": taken, "known": len(rows) - taken})
        return
    echo(f"{taken} receipts taken in, {len(rows) - taken} known already or of no notice")


async def _take_in(
    connection: AsyncConnection[Any], rows: Iterable[dict[str, Any]], actor: str, zone: ZoneInfo
) -> int:
    now = await supply.database_clock(connection)
    taken = 0
    async with connection.transaction():
        for row in rows:
            at: datetime = row["at"]
            told = at if at.tzinfo is not None else at.replace(tzinfo=zone)
            taken += await take_receipt(
                connection,
                notice=row["notice"],
                state=row["state"],
                at=min(told, now),
                receipt=row["receipt"] or f"file of {now:%Y-%m-%d}",
                actor=actor,
            )
    return taken
