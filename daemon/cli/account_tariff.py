"""meterd account tariff: an account has another tariff from a day on."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, print_json, print_money
from daemon.cli.saying import print_waiting, said_by, saying_options
from daemon.cli.typed import Day
from storage import supply

if TYPE_CHECKING:
    from daemon.transactions.account_tariff import FiledChange


@click.command(short_help="Bill an account by another tariff from a day on.")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("tariff_id", metavar="TARIFF")
@click.option(
    "--from",
    "from_day",
    type=Day(),
    required=True,
    help="The first day that it prices, from 00:00 on.",
)
@saying_options
def tariff(account_id: str, tariff_id: str, from_day: date, **saying: Any) -> None:
    """Bill an account by another tariff from 00:00 of a day on, which may be to come.

    Where days are billed that it changes, a second person has to approve it first."""
    # What settles loads numpy, which who only looks at an account need not wait for.
    from daemon.transactions.account_tariff import TariffChange, file_change

    said = said_by(saying)
    change = TariffChange(account_id, tariff_id, from_day)

    async def ask(connection: AsyncConnection[Any]) -> FiledChange:
        return await file_change(
            connection,
            change,
            said,
            await supply.database_clock(connection),
            is_trial=saying["dry_run"],
        )

    filed = on_database(load_settings(saying["site_path"]), ask)
    print_change(filed, saying["site_path"], as_json=saying["as_json"])


def print_change(filed: FiledChange, site_path: Path, *, as_json: bool) -> None:
    """What came of a change, and what is to be done next."""
    change = filed.change
    file_says = f"accounts.csv, {change.account}: tariff: write {change.tariff}"
    if as_json:
        print_json(
            {
                "document": filed.number,
                "state": filed.state,
                "account": change.account,
                "was": filed.was,
                "tariff": change.tariff,
                "from": change.from_day,
                **effect_as_json(filed),
                "to_do": [file_says] if filed.state == "counts" else [],
            }
        )
        return
    print_effect(filed)
    match filed.state:
        case "counts":
            echo(f"document {filed.number} counts")
            echo(file_says)
        case "waits":
            print_waiting(filed.number, site_path)
        case "tried":
            echo("dry run, nothing was written")


def print_effect(filed: FiledChange) -> None:
    """What a change changes."""
    change = filed.change
    echo(
        f"{change.account}: tariff {change.tariff} instead of {filed.was} from {change.from_day} "
        f"on; {filed.billed_days} billed days are priced anew"
    )
    print_money(filed.fen)


def effect_as_json(filed: FiledChange) -> dict[str, Any]:
    """The same for programs."""
    return {"billed_days": filed.billed_days, "balances_moved_fen": dict(filed.fen)}
