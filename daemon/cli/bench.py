"""meterd bench: a site that lives a month in minutes, on simulated meters."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import click

from daemon.bench.customers import Customer, Pays, moods
from daemon.cli.output import as_json as as_json_option
from daemon.cli.output import echo, fail, print_json, print_table, yuan
from daemon.cli.typed import Whole
from daemon.runtime import logs

if TYPE_CHECKING:
    from daemon.bench.living import Result
    from daemon.bench.report import Fate

MOST_DAYS: Final = 62
"""As long as meters remember their freezes, by which the balances are proved."""


@click.command()
@click.argument("site", required=False, type=click.Path(path_type=Path))
@click.option("--days", type=Whole(1, MOST_DAYS), default=30, show_default=True)
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    help="The meters of the site's lines, their faults and what happens; else usual homes.",
)
@click.option("--deposit", type=Whole(0, 100_000), default=100, help="Yuan each pays at first.")
@click.option("--top-up", type=Whole(1, 100_000), default=100, help="Yuan each pays later.")
@click.option(
    "--pays",
    type=click.Choice([it.value for it in Pays]),
    default=Pays.TOLD.value,
    help="When: after a notice, when it is dark, or never.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep site, database and log here (a new folder).",
)
@as_json_option
def bench(
    site: Path | None,
    days: int,
    scenario: Path | None,
    deposit: int,
    top_up: int,
    pays: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Let SITE (a meterd.toml) live some days on simulated meters, and tell what became of it.

    Meters, an embedded database and the daemon live on one clock, which goes from event to event:
    a month takes minutes. The site itself is not touched: its lines lead to simulated meters, its
    channels to the bench, its accounts open today. Without SITE it is an example of 64 prepaid
    customers. Every balance of a tariff of one price is compared with the meters' own truth; exit
    code 1 when one is wrong. Needs libfaketime."""
    from config.load import load_site
    from daemon.bench import files
    from daemon.bench.living import live
    from simulators.bench.scenario import load_scenario, parse_scenario

    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise fail(f"{folder} is not empty; a bench wants a folder of its own")
    logs.configure(level="warning")
    began = time.monotonic()
    with _folder(folder) as place:
        if site is None:
            today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
            loaded = load_site(files.example_site(place / "example", today))
            customers = moods([account.account for account in loaded.archive.accounts])
        else:
            loaded = load_site(site)
            customers = [
                Customer(account.account, deposit * 100, top_up * 100, Pays(pays))
                for account in loaded.archive.accounts
            ]
        if scenario is None:
            meters = parse_scenario(files.scenario_text(loaded, seed=1))
        else:
            meters = load_scenario(scenario)

        def say(text: str) -> None:
            echo(text, err=True)

        result = asyncio.run(live(loaded, meters, customers, days, place, say))
    took_s = time.monotonic() - began
    if as_json:
        _print_as_json(result, took_s)
    else:
        _print(result, took_s)
    if wrong := [fate.account for fate in result.fates if not fate.is_right]:
        raise fail(f"{len(wrong)} balances are not what the meters' truth makes of them: {wrong}")


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    folder = Path(tempfile.mkdtemp(prefix="meterd-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print_as_json(result: Result, took_s: float) -> None:
    print_json(
        {
            "first": result.span.first.isoformat(),
            "last": result.span.last.isoformat(),
            "took_s": round(took_s, 1),
            "restless": [at.isoformat(" ", "seconds") for at in result.restless],
            "customers": [fate.as_json() for fate in result.fates],
        }
    )


def _print(result: Result, took_s: float) -> None:
    head = ("account", "kWh", "paid", "balance", "must be", "notices", "cut", "restored")
    print_table(
        (*head, "dark h", "withheld", "missing"),
        [_row(fate) for fate in result.fates],
    )
    checked = [fate for fate in result.fates if fate.expected_fen is not None]
    right = sum(fate.is_right for fate in checked)
    days = (result.span.last - result.span.first).days
    echo(
        f"{days} days from {result.span.first} on, {len(result.fates)} customers in {took_s:.0f} s:"
        f" {right} of {len(checked)} balances are right to the fen by the meters' own truth"
    )
    if unchecked := len(result.fates) - len(checked):
        echo(f"{unchecked} were not checked: nothing was billed, or not by one price")
    if result.restless:
        echo(f"{len(result.restless)} moments at which the daemon was left with work to do")


def _row(fate: Fate) -> Sequence[object]:
    return (
        fate.account,
        fate.used_kwh,
        yuan(fate.paid_fen),
        yuan(fate.balance_fen),
        "not checked" if fate.expected_fen is None else yuan(fate.expected_fen),
        " ".join(f"{kind} {count}" for kind, count in fate.notices.items()),
        fate.cut,
        fate.restored,
        fate.dark_h,
        fate.days_withheld,
        fate.days_missing,
    )
