"""meterd account list: where accounts stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.billing.suggestion import days_left, usual_day_fen
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, print_json_rows, print_table, yuan
from daemon.cli.site_option import site_option
from daemon.cli.typed import MOST, Whole
from storage import explanation
from storage.explanation import AccountStanding

STATES = click.Choice(["pending", "active", "closing", "closed"])
CREDIT_STATES = click.Choice(["good", "low", "emergency", "exhausted"])
HEAD = (
    *("account", "name", "state", "credit", "balance yuan", "days left", "billed through"),
    *("open from", "in arrears since"),
)


@click.command("list", short_help="State, balance and days left of accounts.")
@click.option("--state", type=STATES, help="Only accounts in this state.")
@click.option("--credit", type=CREDIT_STATES, help="Only accounts whose credit is so.")
@click.option("--limit", type=Whole(1, MOST), help="How many; default: all.")
@site_option
@as_json
def list_accounts(
    *, state: str | None, credit: str | None, limit: int | None, site_path: Path, as_json: bool
) -> None:
    """State, credit, balance and days left of accounts, by number.

    Days left are those until the balance is at the trip threshold, at the cost of a day since the
    first of last month; empty where nothing is charged. Billed through is the day whose 00:00 all
    points are billed to."""
    settings = load_settings(site_path)

    async def ask(connection: AsyncConnection[Any]) -> list[AccountStanding]:
        today = await site_day(connection, settings.site.zone)
        since = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
        return await explanation.accounts(
            connection, state=state, credit=credit, most=limit, since=since
        )

    found = on_database(settings, ask)
    if as_json:
        print_json_rows(map(_object, found))
        return
    print_table(HEAD, _rows(found))


def _left(account: AccountStanding) -> int | None:
    average = usual_day_fen(account.charged_fen, account.charged_since, account.charged_through)
    return days_left(average, account.balance_fen, account.trip_fen)


def _rows(found: list[AccountStanding]) -> Iterator[tuple[object, ...]]:
    for it in found:
        yield (
            *it[:4],
            yuan(it.balance_fen),
            _left(it),
            it.billed_through,
            it.opened_on,
            it.in_arrears_since,
        )


def _object(account: AccountStanding) -> Mapping[str, Any]:
    told: dict[str, date | datetime | str | int | None] = {
        "id": account.number,
        "name": account.name,
        "state": account.state,
        "credit_state": account.credit_state,
        "balance_fen": account.balance_fen,
        "days_left": _left(account),
        "billed_through": account.billed_through,
        "open_from": account.opened_on,
        "in_arrears_since": account.in_arrears_since,
    }
    return told
