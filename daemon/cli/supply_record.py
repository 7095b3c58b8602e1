"""meterd supply record: all that was done to a customer about paying, with times and persons."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from config.translation import ENGLISH, LANGUAGES
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, fail, print_json_rows, print_table
from daemon.cli.record_words import HEADS, rows_of
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day
from storage import archive, fee_control
from storage.fee_control import Event

DAY: Final = timedelta(days=1)


@click.command(short_help="What was done to a customer, told and paid, with times and persons.")
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--from", "first", type=Day(), help="Not what was before this day.")
@click.option("--to", "last", type=Day(), help="Not what was after this day.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=ENGLISH,
    show_default=True,
    help="English, or Chinese.",
)
@site_option
@as_json
def record(
    *,
    account_id: str,
    first: date | None,
    last: date | None,
    language: str,
    site_path: Path,
    as_json: bool,
) -> None:
    """The fee-control record of ACCOUNT: all that happened to it and its points about paying.

    When the credit was exhausted and what was paid, every notice with its receipt, who asked for
    and approved a cut, holds and protections, each change of the guard's mind, every command with
    what became of it, jobs and who had them. `meterd explain trip` tells one cut."""
    settings = load_settings(site_path)
    zone = settings.site.zone

    async def ask(connection: AsyncConnection[Any]) -> list[Event]:
        if await archive.account_id(connection, account_id) is None:
            raise fail(f"no account {account_id}")
        since = None if first is None else datetime.combine(first, time(), zone)
        until = None if last is None else datetime.combine(last + DAY, time(), zone)
        return await fee_control.record(connection, account_id, zone, since, until)

    found = on_database(settings, ask)
    if as_json:
        print_json_rows(it._asdict() for it in found)
        return
    print_table(HEADS[language], rows_of(found, language), whole=(HEADS[language][0],))
