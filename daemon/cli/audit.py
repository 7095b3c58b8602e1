"""meterd audit: what was done to customers, looked at again by somebody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.audit.trips import objection
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_json, print_table
from daemon.cli.site_option import site_option
from storage import audit as storage
from storage.audit import SentTrip, Unjournalled


@dataclass(slots=True)
class _Found:
    """`trips`: how many were sent."""

    trips: int = 0
    objections: list[tuple[SentTrip, str]] = field(default_factory=list)
    unjournalled: list[Unjournalled] = field(default_factory=list)


@click.group()
def audit() -> None:
    """Look again at what was decided, by other rules' words."""


@audit.command(short_help="Would everybody who was cut be cut again?")
@site_option
@as_json
def trips(site_path: Path, as_json: bool) -> None:
    """Ask a second guard about every trip that was ever sent, on what was kept of that moment.

    It was written from the same rules by another hand and shares nothing with the first. Exit code
    1 if it objects to one. Whether what was kept was changed since says `meterd ledger verify`."""

    async def ask(connection: AsyncConnection[Any]) -> _Found:
        found = _Found(unjournalled=await storage.unjournalled(connection))
        async for trip in storage.sent_trips(connection):
            found.trips += 1
            against = objection(trip.guard, is_heard_before=trip.is_heard_before)
            if against is not None:
                found.objections.append((trip, against))
        return found

    found = on_database(load_settings(site_path), ask)
    agreed = found.trips - len(found.objections)
    rows = [
        (trip.point, trip.at, str(trip.command), against) for trip, against in found.objections
    ] + [
        (it.point, None, str(it.command), f"{it.sends} frames were counted, {it.told} journalled")
        for it in found.unjournalled
    ]
    if as_json:
        for point, at, command, against in rows:
            print_json({"point": point, "at": at, "command": command, "objection": against})
        print_json({"trips": found.trips, "would_be_cut_again": agreed})
    else:
        if rows:
            print_table(("point", "sent", "command", "objection"), rows)
        echo(f"{agreed} of {found.trips} would be cut again")
    raise SystemExit(1 if rows else 0)
