"""meterd explain trip: why a supply was cut, from the money to the relay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.settings import OnCallSettings
from config.settings_file import SettingsFile
from daemon.audit.trips import objection
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_json, print_table
from daemon.cli.record_words import HEADS, rows_of
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text
from daemon.notices.on_call import answering
from storage import fee_control
from storage.fee_control import Event, Trip

ENGLISH: Final = "en"
AFTER: Final = timedelta(days=1)
"""So much of what came behind a cut is told with it: its proof, a payment, the way back."""


@click.command(short_help="Why a supply was cut: money, notices, persons, guard, relay.")
@click.argument("begins", metavar="ID", type=Text())
@site_option
@as_json
def trip(begins: str, site_path: Path, as_json: bool) -> None:
    """Why a cut was sent, or was not: what the guard knew of that moment, what a second guard says
    of it, and all that was told, asked for and done from the exhausted credit to a day behind it.

    ID is that of the command, or what it begins with: `meterd supply record` and `meterd supply
    show --point` tell it."""
    settings = SettingsFile.read(site_path).validated(OnCallSettings)
    zone = settings.site.zone

    async def ask(connection: AsyncConnection[Any]) -> tuple[Trip, list[Event]]:
        found = await fee_control.trips(connection, begins.lower(), zone)
        if not found:
            raise fail(f"no cut has an id that begins with {begins}; see meterd supply record")
        if len(found) > 1:
            raise fail(f"the ids of more than one cut begin with {begins}; tell more of it")
        (one,) = found
        if one.account is None:
            return one, []
        since = one.since or one.created_at - AFTER
        until = (one.sent_at or one.created_at) + AFTER
        events = await fee_control.record(connection, one.account, zone, since, until)
        return one, [it for it in events if it.point in (None, one.point)]

    found, events = on_database(settings, ask)
    against = _second_guard(found)
    answers = answering(settings.on_call, found.area)
    if as_json:
        told = {**found._asdict(), "second_guard": against, "answers_for_it": answers}
        print_json({**told, "record": [it._asdict() for it in events]})
        return
    print_table(
        ("cut", "point", "account", "meter", "line", "cause", "asked for", "sent", "state"),
        [
            (
                *(str(found.id), found.point, found.account, found.address, found.line),
                *(found.cause, found.created_at, found.sent_at, found.state),
            )
        ],
    )
    print_table(("fact", "value"), _facts(found.guard, zone), title="what the guard knew")
    echo(f"the second guard: {against}")
    echo(f"who answers for it now: {', '.join(answers) or 'nobody is on call'}")
    print_table(HEADS[ENGLISH], rows_of(events, ENGLISH), title="what was told, asked for and done")


def _second_guard(found: Trip) -> str:
    if not found.sends:
        return "not asked: no frame was sent"
    against = objection(found.guard, is_heard_before=found.is_heard_before)
    return "it would be cut again" if against is None else against


def _facts(guard: object, zone: ZoneInfo) -> Sequence[tuple[str, object]]:
    """The verdict and its facts, of a list each by itself; moments by the clocks of the site."""
    if not isinstance(guard, Mapping):
        return []
    rows: list[tuple[str, object]] = [
        ("decision", guard.get("decision")),
        ("reasons", " ".join(guard.get("reasons") or ()) or None),
    ]
    facts: Mapping[str, Any] = guard.get("facts") or {}
    for name, value in sorted(facts.items()):
        values = value if isinstance(value, list) else [value]
        rows += [(name, _in_words(it, zone)) for it in values]
    return rows


def _in_words(value: object, zone: ZoneInfo) -> object:
    if isinstance(value, Mapping):
        told = {name: _in_words(it, zone) for name, it in value.items() if it is not None}
        return ", ".join(f"{name} {it}" for name, it in told.items())
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    return value if moment.tzinfo is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"
