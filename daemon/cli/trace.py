"""meterd trace: the live frames of a line."""

# ruff: noqa: A005  a command is a module of its name

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from daemon.cli.decode import show
from daemon.cli.output import as_json, console, echo, print_json
from daemon.cli.running import daemon_asked
from daemon.cli.site_option import site_option
from daemon.cli.typed import Number
from daemon.field.whole_frames import whole_frames


@click.command()
@click.argument("line")
@click.option(
    "--seconds",
    metavar="N",
    type=Number(min=0, min_open=True),
    help="End after so long.",
)
@site_option
@as_json
def trace(line: str, seconds: float | None, site_path: Path, as_json: bool) -> None:
    """Show what goes over a line of the running daemon, decoded, until Ctrl-C.

    The line works on undisturbed.

    A frame with a password is shown only by its length."""
    with (
        # Ctrl-C is how a trace ends, whether the daemon has answered or not.
        suppress(KeyboardInterrupt),
        daemon_asked(
            site_path,
            {
                "do": "trace",
                "line": line,
                "seconds": seconds,
            },
        ) as answers,
    ):
        _say_why_quiet(next(answers))
        for piece in whole_frames(answers):
            if as_json:
                print_json(piece)
            else:
                _show(piece)


def _say_why_quiet(line: Mapping[str, Any]) -> None:
    """Frames may come seldom or never: a person who waits for them is told why."""
    name = line["line"]
    if line["up"]:
        quiet = (
            f"is up; an idle line is quiet: meterd collect --line {name} --what clock makes it talk"
        )
    else:
        quiet = f"is down: {line['reason']}"
    echo(f"{name} {quiet}", err=True)


def _show(piece: dict[str, Any]) -> None:
    screen = console()
    if "dropped" in piece:
        words = f"{piece['dropped']} pieces were dropped: this was read too slowly"
        screen.print(Text(words, style="yellow"))
        return
    arrow = "->" if piece["direction"] == "tx" else "<-"
    shown = "" if piece["frames"] else piece["bytes"]
    # ISO 8601: from the hour to the millisecond.
    time_of_day = piece["at"][11:23]
    screen.print(Text(f"{time_of_day} {arrow} {shown}".rstrip()))
    for frame in piece["frames"]:
        show(frame)
