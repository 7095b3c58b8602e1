"""meterd account bonus, elsewhere: what is said of an account besides its use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, print_json, print_money
from daemon.cli.saying import print_waiting, said_by, saying_options
from daemon.cli.typed import Cycle, Day, Kwh
from storage import supply

if TYPE_CHECKING:
    from daemon.transactions.account_entries import Entry, FiledEntry

ENTERED_YEARS: Final = range(2000, 2100)
MOST_BONUS_KWH: Final = 1_000_000
MOST_ELSEWHERE_KWH: Final = 1_000_000_000
CORRECT = click.option(
    "--correct", "corrects", is_flag=True, help="What was said before of the same time was wrong."
)


@click.command(short_help="Give a household kWh more at every step of its ladder.")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("kwh", metavar="KWH", type=Kwh(MOST_BONUS_KWH))
@click.option(
    "--from",
    "from_day",
    type=Day(ENTERED_YEARS),
    required=True,
    help="The first month that begins on this day or later has it.",
)
@CORRECT
@saying_options
def bonus(account_id: str, kwh: Decimal, from_day: date, corrects: bool, **saying: Any) -> None:
    """Give a household KWH more a month at every bound of its ladder, until another number is
    given; 0 ends it.

    A ladder by year has the sum of its twelve months. Where days are billed of which it says
    something, or the balance moves, a second person has to approve it first."""
    # What settles loads numpy, which who only looks at an account need not wait for.
    from daemon.transactions.account_entries import HouseholdBonus

    _file(HouseholdBonus(account_id, from_day, kwh), saying, corrects=corrects)


@click.command(short_help="Say what others billed of a year or month.")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("cycle", metavar="CYCLE", type=Cycle())
@click.argument("kwh", metavar="KWH", type=Kwh(MOST_ELSEWHERE_KWH))
@CORRECT
@saying_options
def elsewhere(account_id: str, cycle: str, kwh: Decimal, corrects: bool, **saying: Any) -> None:
    """Say that others billed KWH of CYCLE, a year (2026) or a month (2026-07): its ladder starts
    there.

    Where days of it are billed, a second person has to approve it first."""
    from daemon.transactions.account_entries import UsedElsewhere

    _file(UsedElsewhere(account_id, cycle, kwh), saying, corrects=corrects)


def _file(entry: Entry, saying: Mapping[str, Any], *, corrects: bool) -> None:
    from daemon.transactions.account_entries import file_entry

    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> FiledEntry:
        return await file_entry(
            connection,
            entry,
            said,
            await supply.database_clock(connection),
            corrects=corrects,
            is_trial=saying["dry_run"],
        )

    filed = on_database(load_settings(saying["site_path"]), ask)
    print_entry(filed, saying["site_path"], as_json=saying["as_json"])


def print_entry(filed: FiledEntry, site_path: Path, *, as_json: bool) -> None:
    """What came of an entry, and what is to be done next."""
    if as_json:
        print_json(
            {
                "document": filed.number,
                "state": filed.state,
                "account": filed.entry.account,
                "of": filed.entry.of,
                "kwh": filed.entry.kwh,
                **effect_as_json(filed),
            }
        )
        return
    if filed.state == "duplicate":
        echo(f"{filed.entry.told()}: is said already, nothing was written")
        return
    print_effect(filed)
    match filed.state:
        case "counts":
            echo(f"document {filed.number} counts")
        case "waits":
            print_waiting(filed.number, site_path)
        case "tried":
            echo("dry run, nothing was written")


def print_effect(filed: FiledEntry) -> None:
    """What an entry changes."""
    instead = "" if filed.was is None else f", instead of {filed.was}"
    billed = f"; {filed.billed_days} days of that time are billed" if filed.billed_days else ""
    echo(f"{filed.entry.told()}{instead}{billed}")
    if filed.fen:
        print_money({filed.entry.account: filed.fen})


def effect_as_json(filed: FiledEntry) -> dict[str, Any]:
    """The same for programs."""
    return {
        "was": filed.was,
        "billed_days": filed.billed_days,
        "balances_moved_fen": {filed.entry.account: filed.fen} if filed.fen else {},
    }
