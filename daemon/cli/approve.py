"""meterd approve: who asks that somebody be cut, and who else agrees."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json, print_json_rows, yuan
from daemon.cli.saying import said_by, speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text, Whole
from daemon.transactions.cut_requests import approve_cut, request_cut, withdraw_cut
from storage import cut_requests


@click.group()
def approve() -> None:
    """Ask that an account in arrears be cut; another person approves it."""


@approve.command()
@click.argument("account", type=Text())
@speaking_options
def request(account: str, **saying: Any) -> None:
    """Ask that ACCOUNT be cut for what it owes now."""
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await request_cut(connection, account, said)

    number = on_database(load_settings(saying["site_path"]), ask)
    if saying["as_json"]:
        print_json({"request": number, "account": account, "requester": said.actor})
        return
    at = "" if saying["site_path"] == Path("meterd.toml") else f" -c {saying['site_path']}"
    echo(f"request {number} waits; another person approves it:")
    echo(f"  meterd approve give {number} --actor NAME{at}")


@approve.command()
@click.argument("numbers", metavar="NUMBER...", type=Whole(1), nargs=-1, required=True)
@actor_option
@site_option
@as_json
def give(numbers: tuple[int, ...], actor: str | None, site_path: Path, as_json: bool) -> None:
    """Approve request NUMBER: for four hours, this episode and this debt.

    Several at once where control.mode is not "manual"; those before a mistake are approved."""
    approver = acting(actor)
    settings = load_settings(site_path)
    if len(numbers) > 1 and settings.control.mode == "manual":
        raise click.UsageError('control.mode is "manual": each request is approved by itself')
    for number in numbers:
        expires_at = on_database(settings, partial(approve_cut, number=number, actor=approver))
        if as_json:
            print_json({"request": number, "approver": approver, "expires_at": expires_at})
            continue
        local = expires_at.astimezone(settings.site.zone)
        echo(f"request {number} is approved by {approver} until {local:%Y-%m-%d %H:%M}")


@approve.command()
@click.argument("number", type=Whole(1))
@speaking_options
def withdraw(number: int, **saying: Any) -> None:
    """Take request NUMBER back, with what was approved of it."""
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> None:
        await withdraw_cut(connection, number, said)

    on_database(load_settings(saying["site_path"]), ask)
    if saying["as_json"]:
        print_json({"request": number, "state": "withdrawn"})
        return
    echo(f"request {number} is withdrawn: nobody is cut by it")


@approve.command("list")
@click.option("--all", "all_times", is_flag=True, help="Also those that are over.")
@site_option
@as_json
def list_requests(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Requests, and until when who approved them."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await cut_requests.requests(connection, all_times=all_times)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "request": "number",
            "account": "account",
            "debt yuan": "debt_yuan",
            "asked by": "requester",
            "when": "requested_at",
            "why": "reason",
            "approved by": "approvers",
            "open": "is_open",
        },
        [
            {
                **row,
                "debt_yuan": yuan(row["debt_fen"]),
                "approvers": " ".join(row["approved_until"]) or None,
            }
            for row in rows
        ],
    )
