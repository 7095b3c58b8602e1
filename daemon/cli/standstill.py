"""meterd standstill: every point that is not billed to yesterday, with the reason."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.line_names import running_lines
from config.settings import DatabaseSettings
from config.settings_file import SettingsFile
from daemon.billing.standstill import REASONS, REMEMBERED
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_json_rows, print_with_steps
from daemon.cli.site_option import site_option
from daemon.quality.codes import HOLDS, NOT_SHOWN, in_words
from daemon.quality.gap import gap_day
from storage import standstill as storage
from storage.standstill import Question, Standing


@click.command()
@click.option("--reason", type=click.Choice(list(REASONS)), help="Only these.")
@site_option
@as_json
def standstill(reason: str | None, site_path: Path, as_json: bool) -> None:
    """Every point that is not billed to yesterday: why, since when, what comes next, whose it is.

    Until 06:00 that is the day before yesterday. Exit code 0 if there is none, 1 if there are
    some."""
    file = SettingsFile.read(site_path)
    settings = file.validated(DatabaseSettings)
    due = gap_day(datetime.now(settings.site.zone))
    asked = Question(due, running_lines(file), REMEMBERED)

    async def ask(connection: AsyncConnection[Any]) -> list[Standing]:
        return await storage.standing(connection, asked)

    found = [row for row in on_database(settings, ask) if reason is None or row.reason == reason]
    if as_json:
        print_json_rows(map(_told, found))
    elif found:
        print_with_steps(
            ["point", "account", "meter", "line", "since", "days", "why", "owner"],
            ((_cells(row), [_next_step(row)]) for row in found),
            steps="next step",
        )
    echo(f"{len(found)} points are not billed to {due}", err=True)
    raise SystemExit(1 if found else 0)


def _told(row: Standing) -> dict[str, Any]:
    """The row with its reason in words, the owner and the command."""
    told = row._asdict()
    told["why"] = _why(row)
    told["owner"] = REASONS[row.reason].owner
    told["next"] = _next_step(row)
    return told


def _cells(row: Standing) -> list[object]:
    return [
        row.point,
        row.account,
        row.meter,
        row.line,
        row.since,
        row.age_days,
        _why(row),
        REASONS[row.reason].owner,
    ]


def _why(row: Standing) -> str:
    text = REASONS[row.reason].text
    detail = row.error
    if row.reason == "held":
        detail = HOLDS.get(row.hold or "", row.hold)
    elif row.reason == "withheld":
        detail = in_words(row.codes)
    why = f"{text}: {detail}" if detail else text
    return why if row.waiting is None else f"{why}; decided, and waits for another person"


def _next_step(row: Standing) -> str:
    if row.waiting is not None:
        return f"meterd quality approve {row.waiting} --actor NAME"
    return REASONS[row.reason].next_step.format(
        point=row.point,
        account=row.account,
        line=row.line,
        day=row.doubt_day or row.since,
        from_day=row.held_from,
        to_day=row.held_to,
        agreed=" --agreed KWH --evidence WHAT" if row.hold in NOT_SHOWN else "",
    )
