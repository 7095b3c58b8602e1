"""meterd quality list, show: what is to be said of days, and who has to do what about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_with_steps
from daemon.cli.quality_words import doubtful_of, kwh, read_row, slot_row
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, Whole
from daemon.quality.codes import in_words
from daemon.quality.doubt_runs import runs_of
from daemon.quality.soft_reports import SOFT
from daemon.quality.tasks import Doubtful, task_of
from storage import decisions, doubts, findings, history, rule_sets
from storage.doubts import DoubtRow, Wanted
from storage.findings import Soft

AROUND: Final = timedelta(days=7)
MOST_DAYS: Final = 36_525
LISTED: Final = (*SOFT, "V25", "V26", "V28")
"""What is named though nothing is withheld for it."""


@click.command("list", short_help="What is withheld, disputed or held, with the next step.")
@click.option("--point", help="Only this point.")
@click.option("--account", help="Only this account's points.")
@click.option("--state", type=click.Choice(["published", "suspect", "rejected", "substituted"]))
@click.option("--code", help="Only days with this code (V08), or use held for this (span).")
@click.option("--age", type=Whole(0, MOST_DAYS), default=0, help="Only what is so many days old.")
@site_option
@as_json
def list_doubts(
    *,
    point: str | None,
    account: str | None,
    state: str | None,
    code: str | None,
    age: int,
    site_path: Path,
    as_json: bool,
) -> None:
    """Every withheld, disputed or held day: why, how old, whose it is, and what settles it.

    Days of which the same is to be said are one line. What is only unusual (V09, V12, V14,
    V15, V25, V26, V28) is listed besides. Exit code 0 if nothing is withheld, disputed or held,
    else 1."""
    settings = load_settings(site_path)

    async def ask(connection: AsyncConnection[Any]) -> tuple[date, list[DoubtRow], list[Soft]]:
        today = await site_day(connection, settings.site.zone)
        points = None if point is None else [point]
        wanted = Wanted(today - timedelta(days=age), points, account, state, code)
        # What is only unusual has no state: its day is published.
        soft = [] if state else await findings.active(connection, wanted, LISTED)
        return today, await doubts.doubts(connection, wanted), soft

    today, rows, soft = on_database(settings, ask)
    accounts = {row.point: row.account for row in rows}
    told = [
        _told(doubtful, accounts[doubtful.point], today)
        for doubtful in runs_of(map(doubtful_of, rows))
    ]
    open_tasks = len(told)
    told += [_soft(it, today) for it in soft]
    if as_json:
        for row in told:
            print_json(row)
    elif told:
        print_with_steps(
            ["point", "day", "register", "why", "days old", "owner"],
            [
                (
                    [it["point"], it["days"], it["total"], it["why"], it["age"], it["owner"]],
                    it["commands"],
                )
                for it in told
            ],
            steps="what settles it",
        )
    held = sum(it["hold"] is not None for it in told)
    unusual = f", {len(soft)} unusual" if soft else ""
    echo(f"{open_tasks - held} withheld or disputed, {held} held{unusual}", err=True)
    raise SystemExit(1 if open_tasks else 0)


@click.command(short_help="Everything that is known of a point's days.")
@click.argument("point")
@click.argument("day", required=False, type=Day())
@site_option
@as_json
def show(point: str, day: date | None, site_path: Path, as_json: bool) -> None:
    """The chain around DAY (else the newest days), its reads, limits, decisions and changes.

    `rules` of a day is the rule set by which it came to show what it shows; each is listed, with
    what the site said in [quality] then."""
    settings = load_settings(site_path)

    async def ask(connection: AsyncConnection[Any]) -> dict[str, Any]:
        found = await history.find_point(connection, point)
        if found is None:
            raise fail(f"there is no point {point}")
        today = await site_day(connection, settings.site.zone)
        middle = day or today
        first, last = middle - AROUND, min(middle + AROUND, today)
        slots = await history.slot_versions(connection, found.point_id, first, last)
        reads = await history.read_versions(connection, found.point_id, day or first, day or last)
        rows = await doubts.doubts(connection, Wanted(last, [point]))
        return {
            "point": asdict(found),
            "chain": [slot_row(it) for it in slots if it.until is None],
            "reads": [read_row(it, settings.site.zone) for it in reads],
            "limits": [
                {"from": since, "max_daily_kwh": most, "basis": basis}
                for since, most, basis in await history.limits(connection, found.point_id)
            ],
            "rule_sets": [
                {**asdict(it), "since": it.since.astimezone(settings.site.zone)}
                for it in await rule_sets.some(connection, {slot.rule_set for slot in slots})
            ],
            "decisions": [
                {**asdict(it), "total": kwh(it.total, it.decimals)}
                for it in await decisions.decisions(connection, point=point)
            ],
            "journal": [slot_row(it) for it in slots if it.until is not None],
            "tasks": [
                _told(it, found.account, today)
                for it in runs_of(doubtful_of(row) for row in rows if row.day >= first)
            ],
        }

    found = on_database(settings, ask)
    if as_json:
        print_json(found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    point = found["point"]
    echo(
        f"point {point['point']}  account {point['account'] or '-'}  meter {point['meter'] or '-'}"
        f"  line {point['line'] or '-'}"
    )
    names = ("day", "state", "register", "revision", "codes", "next", "rules")
    print_columns({it: it for it in names}, found["chain"], title="chain")
    if found["reads"]:
        columns = {it: it for it in ("day", "register", "source", "read at", "stamp", "skew s")}
        print_columns({**columns, "meter": "meter"}, found["reads"], title="reads")
    columns = {"from": "from", "most kWh a day": "max_daily_kwh", "follows from": "basis"}
    print_columns(columns, found["limits"], title="limits")
    sets = [
        {**it, "quality": "  ".join(f"{key}={most}" for key, most in it["thresholds"].items())}
        for it in found["rule_sets"]
    ]
    columns = {"rules": "id", "since": "since", "by": "actor", "program": "program"}
    print_columns({**columns, "[quality]": "quality"}, sets, title="rule sets")
    if found["decisions"]:
        columns = {it: it for it in ("number", "day", "action", "total", "maker", "state")}
        print_columns({**columns, "why": "reason"}, found["decisions"], title="decisions")
    if found["journal"]:
        columns = {"day": "day", "was": "state", "register": "register"}
        changed = {"until": "until", "changed by": "changed by"}
        print_columns({**columns, **changed}, found["journal"], title="changes")
    for task in found["tasks"]:
        echo(f"{task['days']}: {task['why']} ({task['owner']})")
        for command in task["commands"]:
            echo(f"  {command}")


def _told(doubtful: Doubtful, account: str | None, today: date) -> dict[str, Any]:
    task = task_of(doubtful)
    return {
        "point": doubtful.point,
        "account": account,
        "first_day": doubtful.first_day,
        "last_day": doubtful.last_day,
        "days": " .. ".join(_ends(doubtful)),
        "state": doubtful.state,
        "total": doubtful.total,
        "codes": list(doubtful.codes),
        "words": in_words(doubtful.codes),
        "next": doubtful.next_step,
        "hold": doubtful.hold,
        "age": (today - (doubtful.held_from or doubtful.first_day)).days,
        "owner": task.owner,
        "why": task.text,
        "commands": list(task.commands),
    }


def _soft(it: Soft, today: date) -> dict[str, Any]:
    """A reason to look: nothing is withheld for it."""
    return {
        "point": it.point,
        "account": it.account,
        "first_day": it.day,
        "last_day": it.day,
        "days": str(it.day),
        "state": "soft",
        "total": None,
        "codes": [it.code],
        "words": in_words([it.code]),
        "next": None,
        "hold": None,
        "age": (today - it.day).days,
        "owner": "operator",
        "why": f"{in_words([it.code])}: worth a look",
        "commands": [it.command or f"meterd quality show {it.point} {it.day}"],
    }


def _ends(doubtful: Doubtful) -> Iterator[str]:
    first = doubtful.held_from or doubtful.first_day
    yield str(first)
    if doubtful.last_day != first:
        yield str(doubtful.last_day)
