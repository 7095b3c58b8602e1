"""meterd supply plan: whom would be cut now, and why not the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings import PolicySettings
from config.settings_file import SettingsFile
from daemon.cli.guarding import guarding
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json_rows, print_table, yuan
from daemon.cli.site_option import site_option
from storage import field_jobs, supply


@click.command()
@site_option
@as_json
def plan(site_path: Path, as_json: bool) -> None:
    """Whom the guard would let be cut now, and why not the others; nothing is written."""
    from daemon.control.trips import GuardedTrip
    from daemon.transactions.supply_plan import supply_plan

    settings = SettingsFile.read(site_path).validated(PolicySettings)

    async def ask(connection: AsyncConnection[Any]) -> tuple[list[GuardedTrip], dict[str, int]]:
        now = await supply.database_clock(connection)
        authority, _ = await guarding(connection, settings, now)
        trips = await supply_plan(connection, authority, now)
        return trips, await field_jobs.open_visits(connection)

    trips, visits = on_database(settings, ask)
    rows = [
        {
            "point": it.point.point,
            "account": it.point.account,
            "balance_fen": it.point.balance_fen,
            "decision": it.verdict.decision,
            "reasons": list(it.verdict.reasons),
            "visit": visits.get(it.point.account),
        }
        for it in trips
    ]
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "point": "point",
            "account": "account",
            "balance yuan": "balance",
            "guard": "decision",
            "reasons": "words",
            "visit": "visit",
        },
        [
            {**row, "balance": yuan(it.point.balance_fen), "words": " ".join(it.verdict.reasons)}
            for row, it in zip(rows, trips, strict=True)
        ],
    )
    against = Counter(reason for it in trips for reason in it.verdict.reasons)
    if against:
        print_table(("reason", "points"), against.most_common(), title="what speaks against it")
    cut = sum(it.is_allowed for it in trips)
    echo(f"{cut} of {len(trips)} points of exhausted accounts would be cut now")
