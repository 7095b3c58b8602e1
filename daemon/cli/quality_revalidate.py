"""meterd quality revalidate: judge anew, or see what that, or the files, would change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.load import LoadedSite, load_site
from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.documented import effect_as_json, print_effect
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_json, print_money
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, Text, typed
from daemon.transactions.archive import rules_of
from daemon.transactions.revalidation import Portion, Wanted
from daemon.transactions.revalidation import revalidate as judge_anew
from storage import history, rule_sets, supply
from storage.archive import BEGINNING
from storage.documents import Said
from storage.history import LimitedPoint


@click.command(short_help="Judge anew; with --dry-run see what that would change.")
@click.option("--point", "points", multiple=True, help="This point; may be repeated.")
@click.option("--line", help="The points of this line's meters.")
@click.option("--all", "is_all", is_flag=True, help="Every point.")
@click.option("--from", "since", type=Day(), help="Days from this one on; default: all.")
@click.option(
    "--files",
    "with_files",
    is_flag=True,
    help="With --dry-run: as if the limits of points.csv and [quality] held already.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would change.")
@click.option("--reason", type=Text(), help="Why; asked for on a terminal if missing.")
@actor_option
@site_option
@as_json
def revalidate(
    *,
    with_files: bool,
    dry_run: bool,
    reason: str | None,
    actor: str | None,
    site_path: Path,
    as_json: bool,
    **scope: Any,
) -> None:
    """Judge the readings of points anew: which days change, and what use and money follow.

    What arrived, what a person decided and what a reload changed is judged by itself: this is for
    rules that changed with the program, and to see before a reload what a mended limit or another
    max_auto_span_days does. A point of which billed days move waits for a second person (meterd
    document approve). Exit code 1 if --dry-run finds changes."""
    points: tuple[str, ...] = scope["points"]
    if not (points or scope["line"] or scope["is_all"]):
        raise click.UsageError("name --point, --line or --all")
    if with_files and not dry_run:
        raise click.UsageError("--files goes with --dry-run: a reload is what lets files hold")
    said = None
    if not dry_run:
        said = Said(acting(actor), reason or typed("Why", Text(), "--reason"))
    settings = load_settings(site_path)
    zone = settings.site.zone
    files = load_site(site_path) if with_files else None
    seen: list[Portion] = []

    async def ask(connection: AsyncConnection[Any]) -> int:
        found = await history.limited_points(connection, points, scope["line"])
        missing = {*points} - {it.point for it in found}
        if missing:
            raise fail(f"there is no point {min(missing)}")
        wanted = await _wanted(connection, found, files, scope["since"] or BEGINNING)
        now = await supply.database_clock(connection)
        async for portion in judge_anew(connection, wanted, zone, now, said):
            seen.append(portion)
            _print(portion, zone, as_json=as_json)
        return len(found)

    judged = on_database(settings, ask)
    _print_waiting(seen, as_json=as_json)
    changed = sum(len(effect.days) for it in seen for effect in it.effects.values())
    echo(f"{judged} points judged, {changed} days change", err=True)
    raise SystemExit(1 if dry_run and seen else 0)


async def _wanted(
    connection: AsyncConnection[Any],
    found: Sequence[LimitedPoint],
    files: LoadedSite | None,
    since: date,
) -> Wanted:
    names = {it.point_id: it.point for it in found}
    if files is None:
        return Wanted(names, since)
    limits = {it.point: it.max_daily_kwh for it in files.archive.points}
    differing = {
        it.point_id: limits[it.point]
        for it in found
        if it.point in limits and limits[it.point] != it.max_daily_kwh
    }
    thresholds = rules_of(files)
    newest = await rule_sets.newest(connection)
    ruled = await rule_sets.judged_otherwise(connection, newest, thresholds)
    asked = {point: name for point, name in names.items() if point in differing or point in ruled}
    return Wanted(asked, since, differing, thresholds)


def _print(portion: Portion, zone: ZoneInfo, *, as_json: bool) -> None:
    for point, effect in portion.effects.items():
        if as_json:
            told = {**effect_as_json(point, effect, zone), "document": portion.documents.get(point)}
            print_json(told)
        else:
            print_effect(point, effect, zone)
    if as_json:
        print_json({"balances_moved_fen": dict(portion.fen)})
    else:
        print_money(portion.fen)


def _print_waiting(seen: Sequence[Portion], *, as_json: bool) -> None:
    waiting = sorted(number for it in seen for number in it.documents.values())
    if waiting and not as_json:
        numbers = " ".join(map(str, waiting))
        echo(
            f"{len(waiting)} wait, because they move days that are billed; a second person has to "
            f"agree:\n  meterd document approve {numbers} --actor NAME"
        )
