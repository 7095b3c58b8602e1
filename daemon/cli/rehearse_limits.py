"""meterd rehearse --limits: which withheld days other limits would release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from config.limits_file import load_limits
from config.settings_file import load_settings
from daemon.billing.rehearsal import first_month
from daemon.cli.documented import effect_as_json, print_effect
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, fail, print_json, print_money
from daemon.transactions.revalidation import Portion, Wanted, revalidate
from storage import history, supply


def rehearse_limits(path: Path, months: int, site_path: Path, *, as_json: bool) -> None:
    """Print which days would show otherwise if the limits of a file held, and what follows."""
    told = load_limits(path)
    settings = load_settings(site_path)
    zone = settings.site.zone

    async def ask(connection: AsyncConnection[Any]) -> list[Portion]:
        now = await supply.database_clock(connection)
        since = first_month(now.astimezone(zone).date(), months)
        found = await history.limited_points(connection)
        missing = told.keys() - {it.point for it in found}
        if missing:
            raise fail(f"{path}: there is no point {min(missing)}")
        limits = {
            it.point_id: told[it.point]
            for it in found
            if it.point in told and told[it.point] != it.max_daily_kwh
        }
        names = {it.point_id: it.point for it in found if it.point_id in limits}
        wanted = Wanted(names, since, limits)
        return [it async for it in revalidate(connection, wanted, zone, now, None)]

    released = withdrawn = 0
    for portion in on_database(settings, ask):
        for point, effect in portion.effects.items():
            released += sum(it.change == "published" for it in effect.days)
            withdrawn += sum(it.change == "withdrawn" for it in effect.days)
            if as_json:
                print_json(effect_as_json(point, effect, zone))
            else:
                print_effect(point, effect, zone)
        if as_json:
            print_json({"balances_moved_fen": dict(portion.fen)})
        else:
            print_money(portion.fen)
    echo(f"{released} days would be released, {withdrawn} withdrawn", err=True)
