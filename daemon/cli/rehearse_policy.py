"""meterd rehearse --policy: which points could have been cut, and when."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from config.settings import PolicyFile, PolicySettings
from config.settings_file import SettingsFile
from daemon.billing.rehearsal import first_month
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, print_json, print_table, yuan
from daemon.control.rehearsal import Customer, Morning
from daemon.site.assembly import site_policy_of
from daemon.transactions.policy_rehearsal import Candidates, rehearse_policies
from storage import supply

PRESENT = "present"
TRIED = "tried"


def rehearse_policy(path: Path, months: int, site_path: Path, *, as_json: bool) -> None:
    """Print which points could have been cut by the site's policy, and by that of a file."""
    settings = SettingsFile.read(site_path).validated(PolicySettings)
    policies = {
        PRESENT: site_policy_of(settings.control),
        TRIED: site_policy_of(SettingsFile.read(path).validated(PolicyFile).control),
    }
    zone = settings.site.zone

    async def ask(
        connection: AsyncConnection[Any],
    ) -> tuple[date, list[tuple[Customer, Candidates]]]:
        now = await supply.database_clock(connection)
        since = first_month(now.astimezone(zone).date(), months)
        found = rehearse_policies(connection, policies, since, zone, now)
        return since, [(point, days) async for point, days in found if any(days.values())]

    since, found = on_database(settings, ask)
    if as_json:
        for point, days in found:
            told = {name: [_told(it) for it in mornings] for name, mornings in days.items()}
            print_json({"point": point.point, "account": point.account, **told})
    else:
        print_table(
            ("point", "account", "could be cut", "would be able to be cut"),
            [
                (point.point, point.account, _days(days[PRESENT]), _days(days[TRIED]))
                for point, days in found
            ],
        )
    counts = {name: sum(bool(days[name]) for _, days in found) for name in policies}
    echo(
        f"since {since} {counts[PRESENT]} points could have been cut, {counts[TRIED]} by {path}",
        err=True,
    )


def _days(mornings: list[Morning]) -> str | None:
    told = [f"{it.at:%Y-%m-%d} ({yuan(it.balance_fen)} yuan)" for it in mornings]
    return ", ".join(told) or None


def _told(morning: Morning) -> dict[str, Any]:
    return {"day": morning.at.date(), "balance_fen": morning.balance_fen}
