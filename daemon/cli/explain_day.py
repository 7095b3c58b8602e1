"""meterd explain day: why a day of an account cost what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.bill_words import LANGUAGE
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, print_json, print_table
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day
from storage import explanation

if TYPE_CHECKING:
    from daemon.cli.bill_sections import Section
    from daemon.transactions.explanation import ExplainedDay


@click.command(short_help="Why a day cost what it cost.")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("of_day", metavar="DAY", type=Day())
@LANGUAGE
@site_option
@as_json
def day(account_id: str, of_day: date, language: str, site_path: Path, as_json: bool) -> None:
    """The links that cover a day of an account, down to registers; use, prices and steps; and what
    the months of that use came to before and after it.

    What is posted is the difference of the rounded sums, less what was posted before."""
    # Prices load numpy, which other commands need not wait for.
    from daemon.cli.bill_sections import as_object, told_in
    from daemon.transactions.explanation import explain_day

    settings = load_settings(site_path)
    zone = settings.site.zone

    async def ask(connection: AsyncConnection[Any]) -> ExplainedDay:
        async with explanation.one_moment(connection):
            return await explain_day(connection, account_id, of_day, zone)

    found = on_database(settings, ask)
    sections = list(_sections(found, zone))
    if as_json:
        print_json({"account": account_id, "day": of_day, **as_object(sections)})
        return
    for section in told_in(language, sections):
        if section.rows:
            print_table(section.head, section.rows, title=section.name)


def _sections(found: ExplainedDay, zone: Any) -> Iterator[Section]:
    from daemon.cli.bill_sections import Section, prices, registers, use

    yield Section(
        "links",
        ("point", "from", "to", "billed by"),
        [
            (found.points[link.point_id].number, link.from_day, link.to_day, billed_by)
            for _, link, billed_by in found.links
        ],
    )
    yield Section(
        "replaced links",
        ("point", "from", "to", "billed by", "replaced at"),
        [tuple(it) for it in found.past],
    )
    yield registers([it.link for it in found.links], found.points, found.addresses, zone)
    if found.version is not None:
        version = found.version
        yield Section(
            "version", ("version", "from"), [(version.version_id, version.effective_from)]
        )
    yield use(found.priced, found.terms)
    yield _ladder(found)
    yield prices(found.priced, found.terms)
    yield _money(found)


def _ladder(found: ExplainedDay) -> Section:
    from daemon.cli.bill_sections import Section, exact

    rows = [
        (
            f"{it.use.month:%Y-%m}",
            exact(it.before),
            exact(it.after),
            ", ".join(str(exact(bound)) for bound in it.bounds),
        )
        for it in found.priced
        if it.bounds
    ]
    return Section("ladder", ("month", "used before", "used after", "step kWh"), rows)


def _money(found: ExplainedDay) -> Section:
    from daemon.billing.pricing import rounded_fen
    from daemon.cli.bill_sections import Section, component, exact, yuan_of

    head = (
        *("month", "component", "before", "after", "rounded before", "rounded after"),
        *("difference", "posted before", "posted with it", "now", "posted now"),
    )
    rows = [
        (
            f"{it.change.stream.period:%Y-%m}",
            component(it.change.stream.component),
            exact(it.change.before),
            exact(it.change.after),
            yuan_of(rounded_fen(it.change.before)),
            yuan_of(rounded_fen(it.change.after)),
            yuan_of(it.change.fen),
            yuan_of(it.before_fen),
            yuan_of(it.with_fen),
            exact(it.change.now),
            yuan_of(it.now_fen),
        )
        for it in found.streams
    ]
    return Section("money", head, rows)
