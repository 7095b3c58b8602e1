"""meterd supply breaker: why nobody is cut, and two persons who reset it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json, print_json_rows
from daemon.cli.saying import said_by, speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Whole
from daemon.transactions.breaker import agree_to_reset, ask_to_reset
from storage import breakers

IN_WORDS: Final = {
    "trips_in_an_hour": "{found:.0f} trips within an hour, {allowed:.0f} are allowed",
    "trips_in_a_day": "{found:.0f} trips within a day, {allowed:.0f} are allowed",
    "exhausted_today": "{found:.0f} accounts exhausted today, {allowed:.0f} would not be unusual",
    "payments_silent": "no payment for {found:.1f} h, {allowed:.1f} h would not be unusual",
    "commands_fail": "{found:.0f} of the last 50 commands failed, {allowed:.0f} are allowed",
    "wrong_password": "a meter refused our password; make it right before you reset this",
    "wrongful_trips": "{found:.0f} cuts called wrongful within a day, {allowed:.0f} are allowed",
}


@click.group()
def breaker() -> None:
    """While too much happens at once, nobody is cut; two persons end that."""


@breaker.command()
@click.option("--all", "all_times", is_flag=True, help="Also those that were reset.")
@site_option
@as_json
def show(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Breakers that are open, of what, and why."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await breakers.breakers(connection, all_times=all_times)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "breaker": "number",
            "of": "of",
            "since": "opened_at",
            "because of": "why",
            "reset asked by": "reset_actor",
            "agreed by": "reset_second",
            "reset": "reset_at",
        },
        [{**row, "of": _of(row), "why": in_words(row)} for row in rows],
    )


@breaker.command()
@click.argument("number", type=Whole(1))
@speaking_options
def reset(number: int, **saying: Any) -> None:
    """Ask that breaker NUMBER be reset; a second person agrees."""
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> None:
        await ask_to_reset(connection, number, said)

    on_database(load_settings(saying["site_path"]), ask)
    if saying["as_json"]:
        print_json({"breaker": number, "state": "waits"})
        return
    at = "" if saying["site_path"] == Path("meterd.toml") else f" -c {saying['site_path']}"
    echo(f"breaker {number} is open until a second person agrees:")
    echo(f"  meterd supply breaker agree {number} --actor NAME{at}")


@breaker.command()
@click.argument("number", type=Whole(1))
@actor_option
@site_option
@as_json
def agree(number: int, actor: str | None, site_path: Path, as_json: bool) -> None:
    """Agree, as the second person, that breaker NUMBER is reset."""
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> None:
        await agree_to_reset(connection, number, who)

    on_database(load_settings(site_path), ask)
    if as_json:
        print_json({"breaker": number, "state": "reset"})
        return
    echo(f"breaker {number} is reset: the guard decides again whom to cut")


def in_words(row: Mapping[str, Any]) -> str:
    """Why a breaker opened."""
    return IN_WORDS[row["cause"]].format_map(row)


def _of(row: Mapping[str, Any]) -> str:
    return f"{row['scope']} {row['name']}".strip()
