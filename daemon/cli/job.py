"""meterd job: what somebody has to go to."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_json_rows
from daemon.cli.site_option import site_option
from daemon.cli.typed import Moment, Text, Whole, in_zone
from daemon.transactions.field_jobs import Receipt, close_job
from storage import field_jobs


@click.group()
def job() -> None:
    """Jobs in the field: reconnects that did not work from afar, customers nobody reaches, notices
    to be delivered in person."""


@job.command("list")
@click.option("--all", "all_times", is_flag=True, help="Also those that are done.")
@site_option
@as_json
def list_jobs(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Jobs with who has them, the most urgent first."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await field_jobs.field_jobs(connection, all_times=all_times)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "job": "number",
            "kind": "kind",
            "account": "account",
            "point": "point",
            "meter": "address",
            "line": "route",
            "cause": "cause",
            "notice": "notice",
            "due": "due_at",
            "owner": "owner",
            "result": "result",
        },
        rows,
    )


@job.command()
@click.argument("number", type=Whole(1))
@click.argument("owner", type=Text())
@actor_option
@site_option
@as_json
def assign(number: int, owner: str, actor: str | None, site_path: Path, as_json: bool) -> None:
    """Give job NUMBER to OWNER."""
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> bool:
        return await field_jobs.assign(connection, number, owner, who)

    if not on_database(load_settings(site_path), ask):
        raise fail(f"there is no open job {number}")
    if as_json:
        print_json({"job": number, "owner": owner})
        return
    echo(f"job {number} is {owner}'s")


@job.command()
@click.argument("number", type=Whole(1))
@click.option("--result", type=Text(), required=True, help="What came of it.")
@click.option(
    "--delivered",
    type=Moment(),
    help="When the notice that it brings was handed over; needs --evidence.",
)
@click.option("--evidence", type=Text(), help="Where the receipt can be looked up.")
@actor_option
@site_option
@as_json
def close(
    number: int,
    result: str,
    delivered: datetime | None,
    evidence: str | None,
    actor: str | None,
    site_path: Path,
    as_json: bool,
) -> None:
    """Job NUMBER is done.

    A notice that it brings counts for a cut from when it was delivered; without --delivered it was
    not."""
    settings = load_settings(site_path)
    receipt = None
    if delivered is not None or evidence is not None:
        at = None if delivered is None else in_zone(delivered, settings.site.zone, "--delivered")
        receipt = Receipt(at, evidence)
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> int | None:
        return await close_job(connection, number, result, who, receipt)

    notice = on_database(settings, ask)
    if as_json:
        print_json({"job": number, "state": "closed", "notice": notice})
        return
    became = "" if notice is None else f": notice {notice} was {'not ' * (not receipt)}delivered"
    echo(f"job {number} is done{became}")
