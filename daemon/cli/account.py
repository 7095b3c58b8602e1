"""meterd account: look at accounts and open them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_table, yuan
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, Text, Whole
from storage import archive, estimates, explanation, ledger, links, supply, terms

if TYPE_CHECKING:
    from config.archive import Account

MOVEMENTS: Final = 20
NOT_ESTIMATED: Final[Mapping[str, str]] = {
    "not_billed_yet": "nothing is billed yet",
    "held": "its newest use is held (meterd standstill says why)",
    "document": "its meter or ratio changed since it was billed last",
    "not_read": "no register was read since it was billed last (meterd collect --what registers)",
    "implausible": "what was read is beyond what it can have used",
    "no_rates": "its price needs rates that were not told",
}
ELSEWHERE: Final = {
    "list": "account_list:list_accounts",
    "statement": "account_statement:statement",
    "tariff": "account_tariff:tariff",
    "policy": "account_policy:policy",
    "bonus": "account_entries:bonus",
    "elsewhere": "account_entries:elsewhere",
}
"""Commands in modules of their own, which nobody waits for who asks for another."""


class AccountCommands(click.Group):
    """Finds each where it is."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, name = ELSEWHERE[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"daemon.cli.{module}"), name)
        return command


@click.group(cls=AccountCommands)
def account() -> None:
    """Look at prepaid accounts, open them."""


@account.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--movements",
    type=Whole(0, 10_000),
    default=MOVEMENTS,
    show_default=True,
    help="How many.",
)
@site_option
@as_json
def show(account_id: str, movements: int, site_path: Path, as_json: bool) -> None:
    """Balance, state, points and the newest movements of an account."""

    async def ask(connection: AsyncConnection[Any]) -> dict[str, Any] | None:
        async with explanation.one_moment(connection):
            found = await archive.account(connection, account_id)
            return None if found is None else await told(connection, found)

    async def told(connection: AsyncConnection[Any], found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **found,
            "estimate": await _estimate(connection, found, settings.site.zone),
            "points": await archive.points_of_account(connection, account_id),
            "held_spans": await links.held_spans(connection, account_id),
            **await _terms(connection, account_id),
            "movements": await ledger.statement(connection, account_id, movements),
        }

    settings = load_settings(site_path)
    found = on_database(settings, ask)
    if found is None:
        raise fail(
            f"no account {account_id}; accounts come from accounts.csv when the daemon starts"
        )
    if as_json:
        print_json(found)
        return
    _print(found)


async def _estimate(
    connection: AsyncConnection[Any], found: Mapping[str, Any], zone: ZoneInfo
) -> dict[str, Any] | None:
    """The balance with what is not posted yet (R65); None where nothing is known of that."""
    since = await estimates.since_billed(connection, found["id"], zone)
    if found["settlement"] == "daily" and all(it.current is None for it in since):
        return None
    # What prices loads numpy, which who looks at another account need not wait for.
    from daemon.billing.use import NoPrice
    from daemon.transactions.estimate import estimate

    number = await archive.account_id(connection, found["id"])
    assert number is not None, "accounts are never deleted"
    try:
        told = await estimate(connection, number, since, zone, await site_day(connection, zone))
    except NoPrice:
        return None
    return {
        "balance_fen": found["balance_fen"] - told.charge_fen,
        "charge_fen": told.charge_fen,
        "points": [it._asdict() for it in told.points],
    }


async def _terms(connection: AsyncConnection[Any], account_id: str) -> dict[str, Any]:
    """What is said of it besides use."""
    number = await archive.account_id(connection, account_id)
    assert number is not None, "accounts are never deleted"
    known = (await terms.terms_of(connection, [number]))[number]
    return {
        "phases": known.phases,
        "last_day": known.last_day,
        "bonuses": [it._asdict() for it in known.bonuses],
        "used_elsewhere": dict(known.used_elsewhere),
    }


def _print(found: Mapping[str, Any]) -> None:
    print_columns(
        {
            "account": "id",
            "name": "name",
            "state": "state",
            "balance yuan": "balance_yuan",
            "credit": "credit_state",
            "tariff": "tariff_id",
            "open from": "open_from",
        },
        [{**found, "balance_yuan": yuan(found["balance_fen"])}],
    )
    if found["settlement"] != "daily":
        echo(f"settlement: {found['settlement']}")
    if found["estimate"] is not None:
        _print_estimate(found["estimate"])
    print_columns(
        {
            "point": "id",
            "meter": "address",
            "line": "line",
            "supply": "supply_state",
            "relay": "relay_observed",
            "last freeze": "last_day",
        },
        found["points"],
        title="points",
    )
    if found["held_spans"]:
        print_columns(
            {"point": "point_id", "from": "from_day", "to": "to_day"},
            found["held_spans"],
            title="not billed yet: the days between are missing",
        )
    if found["bonuses"]:
        print_columns(
            {"from": "from_day", "kWh a month": "kwh_per_month"},
            found["bonuses"],
            title="bonus of the household",
        )
    if found["used_elsewhere"]:
        print_table(("of", "kWh"), [*found["used_elsewhere"].items()], title="billed by others")
    movements = [{**row, "yuan": yuan(row["amount_fen"])} for row in found["movements"]]
    print_columns(
        {
            "when": "recorded_at",
            "kind": "kind",
            "yuan": "yuan",
            "key": "key",
        },
        movements,
        title="movements",
    )


def _print_estimate(estimate: Mapping[str, Any]) -> None:
    balance, charge = yuan(estimate["balance_fen"]), yuan(estimate["charge_fen"])
    echo(
        f"estimated balance {balance} yuan: {charge} yuan are not charged yet, and nobody is cut "
        "by an estimate"
    )
    for point in estimate["points"]:
        what = f"to {point['at']}" if point["at"] else NOT_ESTIMATED[point["reason"]]
        echo(f"  {point['point']}: {what}")


@account.command("open")
@click.argument("account_id", metavar="ACCOUNT")
@click.option(
    "--from",
    "open_from",
    type=Day(),
    required=True,
    help="First billed day.",
)
# Without a signed agreement no account becomes active (R41).
@click.option("--agreement", type=Text(), required=True, help="Reference of the signed agreement.")
@click.option(
    "--point",
    "points",
    multiple=True,
    help="Metering point to give to the account; may be repeated.",
)
@click.option("--again", is_flag=True, help="In place of the day and agreement it has already.")
@actor_option
@site_option
def open_account(
    *,
    account_id: str,
    open_from: date,
    agreement: str,
    points: tuple[str, ...],
    again: bool,
    actor: str | None,
    site_path: Path,
) -> None:
    """Open a pending account.

    It is billed from 00:00 of that day, whose freeze is its opening register, and stays pending
    until that freeze has been collected."""
    # What settles loads numpy, which who only looks at an account need not wait for.
    from daemon.transactions import opening as transactions
    from daemon.transactions.opening import AccountOpening

    settings = load_settings(site_path)
    opening = AccountOpening(account_id, open_from, agreement, points, acting(actor), again)

    async def ask(connection: AsyncConnection[Any]) -> Mapping[str, Any] | None:
        zone = settings.site.zone
        now = await supply.database_clock(connection)
        return await transactions.open_account(connection, opening, zone, now)

    found = on_database(settings, ask)
    assert found is not None, "what was opened is there"
    echo(f"account {account_id} is {found['state']}, billed from {opening.open_from}")


@account.command("import")
@click.argument("numbers", metavar="[ACCOUNT]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only print what would change.")
@actor_option
@site_option
@as_json
def import_accounts(
    *, numbers: tuple[str, ...], dry_run: bool, actor: str | None, site_path: Path, as_json: bool
) -> None:
    """Give open accounts the values of accounts.csv: all that differ, or only these.

    A start never does that: what was changed since stays."""
    from config.load import load_site
    from daemon.transactions.archive import account_row

    site = load_site(site_path)
    named = {it.account: it for it in site.archive.accounts}
    unknown = [number for number in numbers if number not in named]
    if unknown:
        raise fail(f"accounts.csv has no account {', '.join(unknown)}")
    chosen = [named[number] for number in numbers or named]
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        rows = [account_row(it) for it in chosen]
        async with connection.transaction(force_rollback=True):
            changed = await archive.import_accounts(connection, rows, who)
        before = [await archive.account(connection, number) for number in changed]
        if not dry_run:
            await archive.import_accounts(connection, rows, who)
        return [row for was in before if was is not None for row in _changes(was, named[was["id"]])]

    found = on_database(load_settings(site_path), ask)
    if as_json:
        for row in found:
            print_json({**row, "imported": not dry_run})
        return
    if not found:
        echo("the database says what accounts.csv says")
        return
    print_columns({"account": "account", "what": "what", "was": "was", "file": "file"}, found)
    if dry_run:
        echo("dry run, nothing was written")


def _changes(was: Mapping[str, Any], file: Account) -> list[dict[str, Any]]:
    """What the file says otherwise than the database; what it leaves out stays."""
    says = {
        "name": file.name,
        "address": file.address,
        "tariff_id": file.tariff,
        "agreement": file.agreement or was["agreement"],
        "open_from": file.open_from or was["open_from"],
        "warn_fen": file.warn_fen,
        "trip_fen": file.trip_fen,
        "reconnect_fen": file.reconnect_fen,
        "credit_limit_fen": file.credit_limit_fen,
        "settlement": file.settlement,
    }
    return [
        {"account": file.account, "what": what, "was": was[what], "file": value}
        for what, value in says.items()
        if was[what] != value
    ]
