"""meterd job: what somebody has to go to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_json_rows
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text, Whole
from storage import field_jobs


@click.group()
def job() -> None:
    """Jobs in the field: reconnects that did not work from afar, customers nobody reaches."""


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
@actor_option
@site_option
@as_json
def close(number: int, result: str, actor: str | None, site_path: Path, as_json: bool) -> None:
    """Job NUMBER is done."""
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> bool:
        return await field_jobs.close_job(connection, number, result, who)

    if not on_database(load_settings(site_path), ask):
        raise fail(f"there is no open job {number}")
    if as_json:
        print_json({"job": number, "state": "closed"})
        return
    echo(f"job {number} is done")
