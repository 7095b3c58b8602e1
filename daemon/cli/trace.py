"""meterd trace: the live frames of a line."""
# ruff: noqa: A005  a command is a module of its name

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from daemon.cli.decode import show, tell
from daemon.cli.on_site import site_option
from daemon.cli.output import as_json, console, print_json
from daemon.cli.running import daemon_asked


@click.command(short_help="Show the live frames of a line, decoded.")
@click.argument("line")
@click.option(
    "--seconds",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="End after so long.",
)
@site_option
@as_json
def trace(line: str, seconds: float | None, site_path: Path, as_json: bool) -> None:
    """Show what goes over a line of the running daemon, decoded, until Ctrl-C. The line works on
    undisturbed.

    A frame with a password is shown only by its length."""
    with (
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
        _tell_why_quiet(next(answers))
        for told in _frames(answers):
            if as_json:
                print_json(told)
            else:
                _show(told)


def _tell_why_quiet(line: Mapping[str, Any]) -> None:
    """Frames may come seldom or never: whoever waits for them knows why."""
    name = line["line"]
    if line["up"]:
        quiet = (
            f"is up; an idle line is quiet: meterd collect --line {name} --what clock makes it talk"
        )
    else:
        quiet = f"is down: {line['reason']}"
    click.echo(f"{name} {quiet}", err=True)


def _frames(pieces: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pieces put together to whole frames: `at` of their first piece, `direction`, `bytes`, and
    `frames` in words."""
    begun: dict[str, Any] | None = None
    for piece in pieces:
        if "bytes" not in piece:
            if "dropped" in piece:
                yield piece
            continue
        if (
            begun is not None
            and begun["direction"] == piece["direction"]
            and "(" not in piece["bytes"]
        ):
            begun["bytes"] += " " + piece["bytes"]
        else:
            if begun is not None:
                yield _told(begun)
            begun = dict(piece)
        if "(" in begun["bytes"] or not any("skipped" in frame for frame in _told(begun)["frames"]):
            yield _told(begun)
            begun = None
    if begun is not None:
        yield _told(begun)


def _told(piece: dict[str, Any]) -> dict[str, Any]:
    """With its frames; words instead of bytes have none."""
    has_words = "(" in piece["bytes"]
    return {**piece, "frames": [] if has_words else tell(bytes.fromhex(piece["bytes"]))}


def _show(told: dict[str, Any]) -> None:
    screen = console()
    if "dropped" in told:
        screen.print(
            Text(f"{told['dropped']} pieces were dropped: this was read too slowly", style="yellow")
        )
        return
    arrow = "->" if told["direction"] == "tx" else "<-"
    screen.print(
        Text(f"{told['at'][11:23]} {arrow} {told['bytes'] if not told['frames'] else ''}".rstrip())
    )
    for frame in told["frames"]:
        show(frame)
