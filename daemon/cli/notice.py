"""meterd notice: what customers were told."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.notice_receipts import receipt
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_columns, print_json, print_json_rows, yuan
from daemon.cli.saying import said_by, speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Moment, Text, Whole, in_zone
from daemon.transactions.notice_records import Told, record_notice
from storage import notice_records

NEWEST: Final = 20
MOMENTS: Final = ("deadline", "planned", "sent", "delivered")


@click.group()
def notice() -> None:
    """What customers are told before they are cut, and after."""


notice.add_command(receipt)


@notice.command("list")
@click.option("--account", help="Only this account's.")
@click.option("--limit", type=Whole(1), default=NEWEST, show_default=True, help="How many.")
@site_option
@as_json
def list_notices(account: str | None, limit: int, site_path: Path, as_json: bool) -> None:
    """Notices, newest first, with their receipts."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await notice_records.notices(connection, account, limit)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "notice": "number",
            "account": "account",
            "kind": "kind",
            "channel": "channel",
            "yuan": "yuan",
            "sent": "sent_at",
            "delivered": "delivered_at",
            "failed": "failed_at",
            "by": "actor",
        },
        [{**row, "yuan": yuan(row["amount_fen"])} for row in rows],
    )


@notice.command(short_help="Write down what a customer was told.")
@click.argument("account", type=Text())
@click.option(
    "--kind",
    type=click.Choice(["written", "final", "warning", "restore"]),
    required=True,
    help="written and final are those before a cut.",
)
@click.option("--channel", type=Text(), required=True, help="Such as paper, phone, door.")
@click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)
@click.option("--text", type=Text(), required=True, help="What it said.")
@click.option("--deadline", type=Moment(), help="Until when to pay.")
@click.option("--planned", type=Moment(), help="When the cut is announced for.")
@click.option("--sent", type=Moment(), help="Default: when it was delivered, or now.")
@click.option("--delivered", type=Moment(), help="When it reached the customer; needs --evidence.")
@speaking_options
def record(account: str, kind: str, channel: str, language: str, text: str, **saying: Any) -> None:
    """Write down what ACCOUNT was told by hand: on paper, at the door, by telephone.

    A notice counts for a cut when it was delivered."""
    settings = load_settings(saying["site_path"])
    zone = settings.site.zone
    moments = {f"{it}_at": _in_zone(saying[it], zone, f"--{it}") for it in MOMENTS}
    told = Told(kind, channel, language, text, amount_fen=None, **moments)
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await record_notice(connection, account, told, said)

    number = on_database(settings, ask)
    if saying["as_json"]:
        print_json({"notice": number, "account": account, "delivered_at": told.delivered_at})
        return
    counts = "" if told.delivered_at else ": it counts when it was delivered"
    echo(f"notice {number} of account {account} is written down{counts}")


def _in_zone(at: datetime | None, zone: ZoneInfo, option: str) -> datetime | None:
    return None if at is None else in_zone(at, zone, option)
