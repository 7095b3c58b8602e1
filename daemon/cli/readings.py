"""meterd readings: what a point's meters told, and what became of it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, echo, fail, print_columns, print_json
from daemon.cli.quality_words import read_row, slot_row
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day
from storage import history

USUAL: Final = timedelta(days=31)
RAW: Final = (
    *("day", "kind", "register", "rates", "meter", "source"),
    *("read at", "stamp", "skew s", "shown", "reading", "line", "told by"),
)
SLOTS: Final = ("day", "state", "register", "revision", "codes", "next", "held", "rules", "until")


@click.command()
@click.argument("point")
@click.option("--from", "first", type=Day(), help="Default: 31 days ago.")
@click.option("--to", "last", type=Day(), help="Default: today.")
@click.option("--raw", "is_raw", is_flag=True, help="Every read, instead of each day's value.")
@click.option(
    "--slots", "is_slots", is_flag=True, help="Each day's value, and what it was (the default)."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@site_option
@as_json
def readings(
    *,
    point: str,
    first: date | None,
    last: date | None,
    is_raw: bool,
    is_slots: bool,
    as_csv: bool,
    site_path: Path,
    as_json: bool,
) -> None:
    """The days of POINT: their values with state, revision and codes, and every former value.

    `--raw`: every read with its kind, source, meter, time, stamp and clock skew, and who told it
    (with `--json` also its terminal, session and certificate); registers that were collected on
    demand are there alone, because they fill no day. A row with `until` is what the day showed
    until then; `rules` is the rule set by which it came to show it (`meterd quality show`)."""
    if is_raw and is_slots:
        raise click.UsageError("say either --raw or --slots")
    settings = load_settings(site_path)
    zone = settings.site.zone

    async def ask(connection: AsyncConnection[Any]) -> tuple[date, date, Sequence[dict[str, Any]]]:
        found = await history.find_point(connection, point)
        if found is None:
            raise fail(f"there is no point {point}")
        until = last or await site_day(connection, zone)
        since = first or until - USUAL
        if is_raw:
            reads = await history.read_versions(connection, found.point_id, since, until)
            return since, until, [read_row(it, zone) for it in reads]
        slots = await history.slot_versions(connection, found.point_id, since, until)
        return since, until, [slot_row(it) for it in slots]

    since, until, rows = on_database(settings, ask)
    if as_json:
        for row in rows:
            print_json(row)
    elif as_csv:
        _print_csv(rows)
    elif rows:
        print_columns({name: name for name in (RAW if is_raw else SLOTS)}, map(_joined, rows))
    if not rows:
        echo(f"nothing of {point} from {since} to {until}", err=True)


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """With the names of the columns first; what is unknown is an empty cell."""
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_joined, rows))


def _joined(row: dict[str, Any]) -> dict[str, Any]:
    """With its rates in one cell."""
    return {**row, "rates": " ".join(row["rates"])} if "rates" in row else row
