"""meterd account statement: a month of an account, for its customer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.bill_words import LANGUAGE
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, print_file, print_json, print_table
from daemon.cli.site_option import site_option
from daemon.cli.typed import Month, refuse_to_come
from storage import explanation
from storage.explanation import Movement

if TYPE_CHECKING:
    from daemon.cli.bill_sections import Section
    from daemon.transactions.explanation import AccountMonth

Format = Literal["table", "csv", "xlsx"]
PAYMENTS: Final = frozenset({"top_up", "payment_reversal", "identification"})
CHARGES: Final = frozenset({"charge", "true_up", "adjustment", "charge_reversal"})


@click.command(short_help="A month of an account: registers, prices, movements, balance.")
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--month", type=Month(), required=True, help="Which one, as 2026-03.")
@click.option(
    "--format",
    "how",
    type=click.Choice(["table", "csv", "xlsx"]),
    default="table",
    show_default=True,
    help="A table, CSV, or a workbook.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Into this file, which must not be there; a workbook needs one.",
)
@LANGUAGE
@site_option
@as_json
def statement(account_id: str, month: date, language: str, site_path: Path, **to: Any) -> None:
    """Registers, use, prices, movements and the balance of an account in a month.

    A charge stands on the day that it is for. What came after its month was closed is an
    adjustment of the day it came, so a statement of a closed month stays as it was handed out."""
    # Prices load numpy, which other commands need not wait for.
    from daemon.cli.bill_sections import as_object, told_in
    from daemon.transactions.explanation import account_month

    how = cast("Format", to["how"])
    output: Path | None = to["output"]
    if how == "xlsx" and (output is None or to["as_json"]):
        raise click.UsageError("a workbook goes into a file: say --output FILE.xlsx")
    settings = load_settings(site_path)
    zone = settings.site.zone

    async def ask(connection: AsyncConnection[Any]) -> AccountMonth:
        refuse_to_come(month, await site_day(connection, zone))
        async with explanation.one_moment(connection):
            return await account_month(connection, account_id, month, zone)

    sections = list(_sections(on_database(settings, ask), zone))
    if to["as_json"]:
        print_json(as_object(sections))
    elif how == "table" and output is None:
        for section in told_in(language, sections):
            print_table(section.head, section.rows, title=section.name)
    else:
        _write(told_in(language, sections), how, output)


def _write(sections: Sequence[Section], how: Format, output: Path | None) -> None:
    from daemon.cli.bill_files import csv_text, workbook

    content = workbook(sections) if how == "xlsx" else csv_text(sections).encode()
    if output is None:
        print_file(content)
        return
    try:
        with output.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise click.BadParameter(f"{output} is there already", param_hint="--output") from None
    except OSError as error:
        raise click.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from None


def _sections(found: AccountMonth, zone: ZoneInfo) -> Iterator[Section]:
    from daemon.cli.bill_sections import Section, Word, component, prices, registers, use, yuan_of

    def of(kinds: Callable[[str], bool]) -> int:
        return sum(it.fen for it in found.own if kinds(it.kind))

    opening_fen = found.opening_fen
    sums = [
        ("opening balance", opening_fen),
        ("payments", of(lambda kind: kind in PAYMENTS)),
        ("charges", of(lambda kind: kind in CHARGES)),
        ("others", of(lambda kind: kind not in PAYMENTS | CHARGES)),
        ("closing balance", opening_fen + of(lambda _: True)),
    ]
    yield Section(
        "account",
        ("account", "name", "month"),
        [(found.number, found.name, f"{found.month:%Y-%m}")],
    )
    yield Section("summary", ("what", "yuan"), [(Word(it), yuan_of(fen)) for it, fen in sums])
    yield registers(found.links, found.points, found.addresses, zone)
    yield use(found.priced, found.terms)
    yield prices(found.priced, found.terms, found.reached)
    yield Section(
        "components",
        ("component", "charged", "posted"),
        [
            (
                component(it),
                yuan_of(found.due_fen.get(it, 0)),
                yuan_of(found.posted_fen.get(it, 0)),
            )
            for it in sorted({**found.due_fen, **found.posted_fen})
        ],
    )
    yield Section(
        "movements",
        ("day", "what", "note", "channel", "transaction", "yuan", "balance"),
        list(_movements(found)),
    )


def _movements(found: AccountMonth) -> Iterator[Sequence[object]]:
    from daemon.cli.bill_sections import Word, yuan_of

    balance_fen = found.opening_fen
    slab_days = list(found.reached.values())
    for _, legs in groupby(found.own, attrgetter("transaction")):
        some = list(legs)
        first = some[0]
        fen = sum(it.fen for it in some)
        balance_fen += fen
        # A minimum is a component, which has its name already.
        note = [*_note(some), *(Word(it) for it in first.reasons if it != "minimum")]
        if first.kind in CHARGES and any(day <= first.day for day in slab_days):
            # One charge may be for several days: it is the first that holds the day.
            if "slab reached" not in first.reasons:
                note.append(Word("slab reached"))
            slab_days = [day for day in slab_days if day > first.day]
        yield (
            first.day,
            Word(first.kind),
            note,
            first.channel,
            first.transaction,
            yuan_of(fen),
            yuan_of(balance_fen),
        )


def _note(legs: Sequence[Movement]) -> list[object]:
    """What a charge is made of, with the month of what is for another one."""
    from daemon.cli.bill_sections import component, yuan_of

    note: list[object] = []
    for it in legs:
        if it.component is None or it.period is None:
            continue
        note += [component(it.component), yuan_of(-it.fen)]
        if it.period != it.day.replace(day=1):
            note.append(f"({it.period:%Y-%m})")
    return note
