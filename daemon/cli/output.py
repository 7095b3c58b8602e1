"""How commands print: rich tables on a terminal, plain text in a pipe, JSON when asked for."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import click

from config.visible import visible, visible_lines
from protocols.errors import MeterdError

if TYPE_CHECKING:  # loaded where a person reads: most commands run in a pipe
    from rich.console import Console

FAILED: Final = 1
USAGE: Final = 2
BAD_DATA: Final = 65
"""EX_DATAERR of sysexits.h."""
NOT_RUNNING: Final = 69
"""EX_UNAVAILABLE of sysexits.h."""
BAD_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h."""

LINES_AT_ONCE: Final = 1000
"""Written together."""

as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, one object per line.",
)


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text that may come from outside: what is in it is shown, not obeyed by the terminal."""
    click.echo(visible_lines(str(text)), err=err, nl=nl)


def print_file(content: bytes) -> None:
    """A text file on standard output: as it is to a program, shown like all else to a person."""
    if sys.stdout.isatty():
        echo(content.decode("utf-8-sig"), nl=False)
    else:
        click.echo(content, nl=False)


def console() -> Console:
    """Standard output; `is_terminal` says whether a person is reading.

    What it prints is data: nothing in it is markup."""
    from rich.console import Console

    # A pipe has no width: lines that are wrapped there cannot be cut by other programs.
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not sys.stdout.isatty(),
    )


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line; decimals, dates and ids as strings."""
    print_json_rows([value])


def print_json_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """The same for each of many."""
    from msgspec.json import Encoder

    encoder = Encoder()
    left = iter(rows)
    while several := list(islice(left, LINES_AT_ONCE)):
        click.echo(encoder.encode_lines(several).decode(), nl=False)


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    whole: Collection[str] = (),
) -> None:
    """A rich table on a terminal; in a pipe tab-separated lines with the head first.

    Nothing is cut off: what is copied from a narrow screen must be all of it. `whole`: columns that
    stay on one line."""
    if not sys.stdout.isatty():
        _print_lines("\t".join(_texts(row)) for row in chain([head], rows))
        return
    from rich.table import Table
    from rich.text import Text

    screen = console()
    if title:
        screen.print(Text(visible(title), style="italic"))
    table = Table(header_style="bold")
    for name in head:
        table.add_column(name, overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*_texts(row))
    screen.print(table)


def print_columns(
    columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], *, title: str = ""
) -> None:
    """A table of rows of a database. `columns`: heading -> key of the row."""
    keys = [*columns.values()]
    print_table([*columns], ([row[key] for key in keys] for row in rows), title=title)


def print_with_steps(
    head: Sequence[str], rows: Iterable[tuple[Sequence[object], Sequence[str]]], *, steps: str
) -> None:
    """A table of (cells, commands to choose from). `steps`: the heading of the commands.

    On a terminal they stand below the table, each on a line of its own: what is folded in a narrow
    column cannot be copied."""
    if not sys.stdout.isatty():
        print_table([*head, steps], ((*cells, "; or ".join(commands)) for cells, commands in rows))
        return
    found = list(rows)
    print_table(head, [cells for cells, _ in found])
    for cells, commands in found:
        echo(f"{' '.join(map(_text, cells[:2]))}, {steps}:")
        for command in commands:
            echo(f"  {command}")


def with_unit(value: object, unit: str) -> str:
    """A value as a person reads it; `no data` where the meter has none."""
    return "no data" if value is None else f"{value} {unit}".rstrip()


def yuan(fen: int) -> str:
    """Integer fen as a person writes it: -120 -> -1.20."""
    sign = "-" if fen < 0 else ""
    whole, rest = divmod(abs(fen), 100)
    return f"{sign}{whole}.{rest:02d}"


MOST_BALANCES: Final = 20
"""Accounts whose balances are told one by one."""


def print_money(fen: Mapping[str, int]) -> None:
    """By account how its balance moves; of many those that move most, and the others as a sum."""
    in_order = sorted(fen, key=lambda account: (-abs(fen[account]), account))
    named = sorted(in_order[:MOST_BALANCES])
    for account in named:
        echo(f"{account}: balance moves by {_moved(fen[account])} yuan")
    others = in_order[MOST_BALANCES:]
    if others:
        moved = sum(fen[account] for account in others)
        echo(f"and {len(others)} accounts more, together {_moved(moved)} yuan")


def _moved(fen: int) -> str:
    return f"{'+' if fen > 0 else ''}{yuan(fen)}"


class Failure(MeterdError):
    """What ends a command; `code` is its exit code."""

    code = FAILED


def fail(message: str, code: int = FAILED) -> Failure:
    """An error that ends the command with `code`; raise it."""
    error = Failure(message)
    error.code = code
    return error


def _print_lines(lines: Iterable[str]) -> None:
    """Each is not worth a write of its own where they are a hundred thousand."""
    left = iter(lines)
    while several := list(islice(left, LINES_AT_ONCE)):
        click.echo("\n".join(several))


def _texts(row: Sequence[object]) -> list[str]:
    # Nearly every cell is text that can be printed, and asking more of it costs most of what a line
    # costs.
    return [cell if type(cell) is str and cell.isprintable() else _text(cell) for cell in row]


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if type(cell) is date:
        return _day(cell)
    if type(cell) is int:
        return str(cell)
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%S")
    return visible(str(cell))


@lru_cache(1024)
def _day(day: date) -> str:
    """Of many rows there are few days."""
    return day.isoformat()
