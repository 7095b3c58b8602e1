"""meterd gaps: what is missing, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings import GapSettings
from config.settings_file import SettingsFile
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json_rows, print_table
from daemon.cli.site_option import site_option
from daemon.cli.typed import Whole
from daemon.quality.gap import Gap, first_gap_day, gap_day
from daemon.transactions.gaps import find_gaps
from storage import readings

MOST_DAYS: Final = 400
CAUSES: Final = {
    "no_answer": "the meter does not answer",
    "never_answered": "the meter answers to nothing: is its address right?",
    "no_route": "the line is down",
    "refused": "the meter refuses",
    "no_freeze": "the meter has none of that day",
    "wrong_stamp": "its stamp is not 00:00 of the day",
    "meter_clock": "the meter's clock is wrong",
    "bad_answer": "the answer cannot be used",
    "suspect": "withheld",
    "not_asked": "not asked yet",
}
Rows = list[dict[str, Any]]


@click.command()
@click.option(
    "--days",
    type=Whole(1, MOST_DAYS),
    help="How many midnights back.  [default: backfill_days]",
)
@click.option("--withheld", is_flag=True, help="Also each value that was not published.")
@site_option
@as_json
def gaps(days: int | None, withheld: bool, site_path: Path, as_json: bool) -> None:
    """Owed daily freezes that are not published, as runs of days, with the cause of each.

    A freeze is a gap from 06:00 of its day on; what is withheld is one too. Exit code 0 if there
    is none, 1 if there are gaps."""
    settings = SettingsFile.read(site_path).validated(GapSettings)
    now = datetime.now(settings.site.zone)
    newest = gap_day(now)
    if days is None:
        since = first_gap_day(now, settings.collection.backfill_days)
    else:
        since = newest - timedelta(days=days - 1)

    async def ask(connection: AsyncConnection[Any]) -> tuple[list[Gap], Rows]:
        found = await find_gaps(connection, since, newest)
        if not withheld:
            return found, []
        return found, await readings.withheld(connection, since, newest)

    found, held = on_database(settings, ask)
    if as_json:
        print_json_rows([*(gap._asdict() for gap in found), *held])
    else:
        _print(found, held, now)
    raise SystemExit(1 if found else 0)


def _print(found: list[Gap], held: Rows, now: datetime) -> None:
    if found:
        print_table(
            [
                "point",
                "meter",
                "line",
                "from",
                "to",
                "days",
                "cause",
                "tries",
                "next try",
                "kept until",
            ],
            [
                (
                    gap.point,
                    gap.meter,
                    gap.line,
                    gap.first_day,
                    gap.last_day,
                    gap.days,
                    _cause_in_words(gap.state, gap.cause, gap.detail),
                    gap.tries or None,
                    _to_the_minute(gap.next_at, now.tzinfo),
                    gap.kept_until,
                )
                for gap in found
            ],
        )
    if held:
        print_columns(
            {
                "point": "point_id",
                "meter": "address",
                "day": "day",
                "register": "register",
                "reasons": "reasons",
            },
            [_withheld_in_words(row) for row in held],
            title="withheld",
        )
    missing = sum(gap.days for gap in found if gap.state != "withheld")
    withheld = sum(gap.days for gap in found if gap.state == "withheld")
    echo(f"{missing} missing, {withheld} withheld", err=True)
    if withheld:
        echo("meterd quality list names what settles what is withheld.", err=True)
    if any(gap.cause == "never_answered" for gap in found):
        echo(
            "Compare addresses with the labels, or stop the daemon and let meterd scan tell who is "
            "on the line; mend meters.csv, then meterd reload.",
            err=True,
        )


@lru_cache
def _cause_in_words(state: str, cause: str, detail: str) -> str:
    words = CAUSES.get(cause, cause)
    if detail:
        words = f"{words}: {detail}"
    return f"lost ({words})" if state == "lost" else words


@lru_cache
def _to_the_minute(moment: datetime | None, zone: tzinfo | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


def _withheld_in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    decimals = row["decimals"]
    return {
        **row,
        "register": f"{row['total'] / 10**decimals:.{decimals}f}",
        "reasons": ", ".join(row["reasons"]),
    }
