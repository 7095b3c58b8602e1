"""meterd tariff list, approve, reject: the versions of a site's database."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, echo, print_columns, print_json, print_money
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, Text
from storage import tariff_filing
from storage.documents import Said
from storage.tariff_filing import FiledVersion

if TYPE_CHECKING:
    from daemon.transactions.tariff_versions import ApprovedVersion, ForeseenVersion

REASON = click.option("--reason", type=Text(), help="Why.")
DAY = click.argument("day", metavar="DAY", type=Day())
NAME = click.argument("tariff", metavar="NAME")


@click.command("list", short_help="Versions of tariffs: which count, which wait.")
@click.argument("tariff", metavar="[NAME]", required=False)
@click.option("--all", "with_ended", is_flag=True, help="Rejected and withdrawn ones too.")
@site_option
@as_json
def list_versions(tariff: str | None, with_ended: bool, site_path: Path, as_json: bool) -> None:
    """Versions of all tariffs in the site's database, or of one, in order of their starts.

    `counts`: it prices days; `waits`: for a second person; `rejected` by one; `withdrawn` by the
    files. `used`: use was billed by it, so it stays as it is."""

    async def ask(connection: AsyncConnection[Any]) -> list[FiledVersion]:
        ended = ("rejected", "withdrawn") if with_ended else ()
        return await tariff_filing.versions(connection, "counts", "waits", *ended, tariff=tariff)

    found = on_database(load_settings(site_path), ask)
    if as_json:
        for version in found:
            print_json({key: it for key, it in asdict(version).items() if key != "form"})
        return
    print_columns(
        {
            "tariff": "tariff",
            "from": "effective_from",
            "state": "state",
            "used": "used",
            "number": "number",
            "document": "document",
            "who": "actor",
            "second": "reviewer",
            "when": "at",
        },
        [{**asdict(it), "used": "yes" if it.is_used else "no"} for it in found],
    )
    for version in found:
        if version.state == "waits":
            at = "" if site_path == Path("meterd.toml") else f" -c {site_path}"
            typed = f"{shlex.quote(version.tariff)} {version.effective_from}"
            echo(f"meterd tariff approve {typed} --actor NAME{at}")


@click.command()
@NAME
@DAY
@actor_option
@REASON
@site_option
@as_json
def approve(tariff: str, day: date, actor: str | None, **given: Any) -> None:
    """Let the version of a day count that waits. Another person does that than who told it.

    Days that are billed and that it prices are priced anew."""
    # What documents are made of loads numpy, which who only lists versions need not wait for.
    from daemon.transactions.tariff_versions import approve_version

    settings = load_settings(given["site_path"])
    said = Said(acting(actor), given["reason"] or "")

    async def ask(connection: AsyncConnection[Any]) -> ApprovedVersion:
        today = await site_day(connection, settings.site.zone)
        return await approve_version(connection, tariff, day, said, today)

    print_approved(on_database(settings, ask), as_json=given["as_json"])


@click.command()
@NAME
@DAY
@actor_option
@REASON
@site_option
def reject(tariff: str, day: date, actor: str | None, reason: str | None, site_path: Path) -> None:
    """The version of a day that waits is not to count; who told it may take it back so."""
    from daemon.transactions.tariff_versions import reject_version

    said = Said(acting(actor), reason or "")

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await reject_version(connection, tariff, day, said)

    on_database(load_settings(site_path), ask)
    echo(
        f"tariff {tariff} from {day} does not count; take it out of the tariffs file, or give it "
        "another id to ask once more"
    )


def print_approved(done: ApprovedVersion, *, as_json: bool) -> None:
    """What came of a version that was approved."""
    from daemon.transactions.tariff_versions import anew_in_words

    if as_json:
        print_json(
            {
                "document": done.document,
                "state": "approved",
                "tariff": done.tariff,
                "effective_from": done.effective_from,
                "priced_anew": asdict(done.priced_anew),
            }
        )
        return
    echo(
        f"tariff {done.tariff} from {done.effective_from} counts: {anew_in_words(done.priced_anew)}"
    )


def print_foreseen(found: ForeseenVersion) -> None:
    """What a version that waits would change."""
    from daemon.transactions.tariff_versions import anew_in_words

    anew = anew_in_words(found.priced_anew)
    echo(f"tariff {found.tariff} from {found.effective_from}: {anew}")
    print_money(found.fen)
    for account, why in sorted(found.unpriced.items()):
        echo(f"{account} could not be billed at all: {why}")


def foreseen_as_json(found: ForeseenVersion) -> dict[str, Any]:
    """The same for programs."""
    return {
        "priced_anew": asdict(found.priced_anew),
        "balances_moved_fen": dict(found.fen),
        "unpriced": dict(found.unpriced),
    }
