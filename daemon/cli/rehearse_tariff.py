"""meterd rehearse --tariff: who would have paid more or less."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from config.settings import DatabaseSettings
from config.settings_file import load_settings
from config.tariff_files import load_tariff_file
from config.tariff_version import Versions
from daemon.billing.rehearsal import Bill, Paid, Summary, Tried, first_month, total
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import echo, fail, print_json, print_table, yuan
from daemon.transactions import rehearsal
from daemon.transactions.rehearsal import Rehearsal


class Asked(NamedTuple):
    """`since`: as if the file's last version counted from this day on."""

    site_path: Path
    since: date | None
    months: int
    as_json: bool


def rehearse_tariff(path: Path, name: str | None, asked: Asked) -> None:
    """Print who would have paid how much more or less under the tariffs of a file."""
    settings = load_settings(asked.site_path)
    told = _chosen(load_tariff_file(path), name, path)

    async def ask(connection: AsyncConnection[Any]) -> None:
        await _rehearse(connection, told, asked, settings)

    on_database(settings, ask)


def _chosen(told: Mapping[str, Versions], name: str | None, path: Path) -> Mapping[str, Versions]:
    """The tariffs that are tried, by the names that the site knows."""
    if name is None:
        return told
    if name in told:
        return {name: told[name]}
    if len(told) > 1:
        raise fail(f"{path} holds several tariffs, none of them {name}: {', '.join(sorted(told))}")
    (versions,) = told.values()
    return {name: versions}


async def _rehearse(
    connection: AsyncConnection[Any],
    tariffs: Mapping[str, Versions],
    asked: Asked,
    settings: DatabaseSettings,
) -> None:
    today = await site_day(connection, settings.site.zone)
    tried = await rehearsal.tried_tariffs(connection, tariffs, asked.since)
    for words in await rehearsal.not_to_be_followed(connection, tried):
        echo(f"it could not be taken over so: {words}", err=True)
    wanted = _wanted(tariffs, tried, first_month(today, asked.months), today)
    summary = Summary()
    held: set[str] = set()
    unpriced: dict[str, str] = {}
    async for portion in rehearsal.rehearse(connection, wanted, settings.site.zone, today):
        held |= portion.held
        unpriced |= portion.unpriced
        for account, told in portion.bills.items():
            summary.add(account, told)
            if asked.as_json:
                _print_account(account, told)
    if asked.as_json:
        told_all = {"held": sorted(held), "unpriced": unpriced}
        print_json({**_head(wanted), **_summary(summary), **told_all})
        return
    _print(summary, wanted)
    for account in sorted(held):
        echo(f"{account}: use would not be billed, its rates were not told", err=True)
    for account, why in sorted(unpriced.items()):
        echo(f"{account} could not be billed at all: {why}", err=True)


def _wanted(
    tariffs: Mapping[str, Versions], tried: Mapping[str, Tried], since: date, today: date
) -> Rehearsal:
    missing = tariffs.keys() - tried.keys()
    if missing:
        raise fail(
            f"the site has no tariff {min(missing)}: --name TARIFF tells for which one the file "
            "stands; see meterd tariff list"
        )
    starts = [start for it in tried.values() for start in it.starts]
    if not starts:
        raise fail(
            "all of it counts already; --from DAY shows what its last version would have cost if "
            "it had counted from that day on"
        )
    if min(starts) > today:
        raise fail(
            f"what is new begins on {min(starts)}, and of days to come there is no use; --from DAY "
            "shows what its last version would have cost if it had counted from that day on"
        )
    return Rehearsal({name: it.tariff for name, it in tried.items()}, max(min(starts), since))


def _print(summary: Summary, wanted: Rehearsal) -> None:
    names = ", ".join(sorted(wanted.instead))
    echo(f"tariff {names}, tried from {wanted.since} on")
    rows = [(f"{month:%Y-%m}", *_yuan(paid)) for month, paid in sorted(summary.months.items())]
    print_table(("month", "yuan", "would be", "more"), [*rows, ("all", *_yuan(summary.paid))])
    same = len(summary.accounts) - summary.paying_more - summary.paying_less
    echo(
        f"{len(summary.accounts)} accounts: {summary.paying_more} would pay more, "
        f"{summary.paying_less} less, {same} the same"
    )
    quantiles = summary.quantiles()
    print_table(
        ("of the accounts", "yuan more, at most"),
        [(f"{percent} %", yuan(fen)) for percent, fen in quantiles.items()],
    )
    affected = [(account, *_yuan(paid)) for account, paid in summary.most_affected()]
    print_table(("most affected", "yuan", "would be", "more"), affected)


def _yuan(paid: Paid) -> tuple[str, str, str]:
    return yuan(paid.was_fen), yuan(paid.would_fen), yuan(paid.more_fen)


def _print_account(account: str, told: Bill) -> None:
    months = {f"{month:%Y-%m}": _told(paid) for month, paid in told.items()}
    print_json({"account": account, **_told(total(told.values())), "months": months})


def _head(wanted: Rehearsal) -> dict[str, Any]:
    return {"tariffs": sorted(wanted.instead), "from": wanted.since}


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "accounts": len(summary.accounts),
        "paying_more": summary.paying_more,
        "paying_less": summary.paying_less,
        **_told(summary.paid),
        "months": {f"{it:%Y-%m}": _told(paid) for it, paid in sorted(summary.months.items())},
        "quantiles_fen": {str(it): fen for it, fen in summary.quantiles().items()},
        "most_affected": [account for account, _ in summary.most_affected()],
    }


def _told(paid: Paid) -> dict[str, int]:
    return {"was_fen": paid.was_fen, "would_be_fen": paid.would_fen, "more_fen": paid.more_fen}
