"""meterd standstill: every point that is not billed to yesterday, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from psycopg import AsyncConnection

from config.line_names import running_lines
from config.settings import DatabaseSettings
from config.settings_file import SettingsFile
from daemon.billing.standstill import REASONS, REMEMBERED
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_json_rows, print_with_steps
from daemon.cli.quality_words import doubtful_of
from daemon.cli.site_option import site_option
from daemon.quality.gap import gap_day
from daemon.quality.tasks import Task, agreement, approval, task_of
from storage import documents, doubts
from storage import standstill as storage
from storage.doubts import Wanted
from storage.standstill import Question, Standing

DOUBTED: Final[Mapping[str, Callable[[Standing], date | None]]] = {
    "held": attrgetter("held_to"),
    "withheld": attrgetter("doubt_day"),
}
"""The day of which a task is, by the reasons that have one."""


class Stopped(NamedTuple):
    """A point that is not billed, in words: commands of which one settles it."""

    row: Standing
    why: str
    owner: str
    commands: tuple[str, ...]


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

    async def ask(connection: AsyncConnection[Any]) -> list[Stopped]:
        return await _stopped(connection, asked, reason)

    found = on_database(settings, ask)
    if as_json:
        print_json_rows(map(_told, found))
    elif found:
        print_with_steps(
            ["point", "account", "meter", "line", "since", "days", "why", "owner"],
            ((_cells(it), it.commands) for it in found),
            steps="what comes next",
        )
    echo(f"{len(found)} points are not billed to {due}", err=True)
    raise SystemExit(1 if found else 0)


async def _stopped(
    connection: AsyncConnection[Any], asked: Question, reason: str | None
) -> list[Stopped]:
    rows = await storage.standing(connection, asked)
    rows = [row for row in rows if reason is None or row.reason == reason]
    points = [row.point for row in rows if row.reason in DOUBTED]
    tasks: dict[tuple[str, date], Task] = {}
    if points:
        for it in await doubts.doubts(connection, Wanted(asked.due, points)):
            tasks[it.point, it.day] = task_of(doubtful_of(it))
    undecided: dict[str, int] = {}
    for waits in await documents.documents(connection, only_waiting=True) if rows else ():
        for point in (waits.point, waits.content.get("other")):
            if point is not None:
                undecided.setdefault(point, waits.number)
    return [_by_document(_named(row, tasks), undecided.get(row.point)) for row in rows]


def _by_document(stopped: Stopped, waits: int | None) -> Stopped:
    """A document that nobody else agreed to comes first: what it says may be all that is wrong."""
    if waits is None:
        return stopped
    why = f"{stopped.why}; document {waits} waits for another person"
    return stopped._replace(why=why, commands=(*map(str, agreement(waits)), *stopped.commands))


def _named(row: Standing, tasks: Mapping[tuple[str, date], Task]) -> Stopped:
    """What is withheld or held is settled by what the list of doubts says of it."""
    day = DOUBTED[row.reason](row) if row.reason in DOUBTED else None
    task = None if day is None else tasks.get((row.point, day))
    if task is not None:
        return Stopped(row, task.text, task.owner, task.commands)
    standstill = REASONS[row.reason]
    if row.waiting is None:
        return Stopped(row, _why(row), standstill.owner, (_next_step(row),))
    why = f"{_why(row)}; decided, and waits for another person"
    return Stopped(row, why, standstill.owner, tuple(map(str, approval(row.waiting))))


def _told(it: Stopped) -> dict[str, Any]:
    """The row with its reason in words, the owner and the commands."""
    return {
        **it.row._asdict(),
        "why": it.why,
        "owner": it.owner,
        "next": it.commands[0],
        "commands": list(it.commands),
    }


def _cells(it: Stopped) -> list[object]:
    row = it.row
    return [
        row.point,
        row.account,
        row.meter,
        row.line,
        row.since,
        row.age_days,
        it.why,
        it.owner,
    ]


def _why(row: Standing) -> str:
    text = REASONS[row.reason].text
    return f"{text}: {row.error}" if row.error else text


def _next_step(row: Standing) -> str:
    return REASONS[row.reason].next_step.format(row)
