"""What commands share that hear the guard: as the daemon hears it that has the site."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import AsyncConnection

from config.settings import PolicySettings
from daemon.cli.output import echo
from storage import site_lock

if TYPE_CHECKING:
    from daemon.control.authority import Authority
    from daemon.control.trips import GuardedTrip


class Guarding(NamedTuple):
    """With what the guard is heard. `starts_at`: when the daemon that has the site begins to cut;
    None where none is seen to have it."""

    authority: Authority
    starts_at: datetime | None


async def guarding(
    connection: AsyncConnection[Any], settings: PolicySettings, now: datetime
) -> Guarding:
    """As the daemon hears it that has the site; where none has it, as one that has run for a
    while.

    A daemon that lost its session for a moment is taken to have started then."""
    from daemon.site.assembly import authority_of

    authority = authority_of(settings.control, settings.policy, settings.site.zone)
    hold = settings.control.startup_hold
    holder = await site_lock.holder(connection)
    if holder is None or holder.since is None:
        return Guarding(replace(authority, running_for=lambda: hold), None)
    since = holder.since
    return Guarding(replace(authority, running_for=lambda: now - since), since + hold)


def print_trips(trips: Iterable[GuardedTrip], starts_at: datetime | None) -> None:
    """What becomes of each, and until when a daemon that has just started cuts nobody."""
    for it in trips:
        reasons = it.verdict.reasons
        told = "is being cut" if it.is_allowed else "is not cut: " + " ".join(reasons)
        if "STARTUP_HOLD" in reasons and starts_at is not None:
            told += f" (the daemon has just started, until {starts_at.astimezone():%H:%M:%S})"
        echo(f"point {it.point.point} {told}")
