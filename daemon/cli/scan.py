"""`meterd scan`: which meters are on a line."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from daemon.cli.connection import BAUD, Place, Seconds, place_options, wire_trace
from daemon.cli.output import as_json, echo, fail, print_json
from daemon.cli.typed import Whole
from daemon.field.connection import Speed
from daemon.field.survey import Found, Progress, Survey, speeds, timeouts_at

LINE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What meterd.toml takes for one: nothing that a spreadsheet takes for a formula."""
COLUMNS: Final = ("address", "line", "point", "installed_on", "protocol")
"""Columns of meters.csv; the point is called by the meter's address until there is a better
name."""

Show = Callable[[Progress, int], None]
"""Takes how far a scan is, and how many meters are found."""


@click.command()
@place_options
@click.option(
    "--baud",
    "bauds",
    type=BAUD,
    multiple=True,
    help="Default: 2400 and the usual ones.",
)
@click.option(
    "--parity",
    "parities",
    type=click.Choice(["E", "O", "N"]),
    multiple=True,
    help="Default: E, then N.",
)
@click.option(
    "--line",
    "name",
    default="line-1",
    show_default=True,
    help="The line's name in the rows.",
)
@click.option(
    "--timeout",
    type=Seconds(0.02),
    default=0.6,
    show_default=True,
    help="Seconds in which a meter may begin to answer, besides the time on the wire.",
)
@click.option(
    "--tries",
    type=Whole(1, 5),
    default=1,
    show_default=True,
    help="For each silent address.",
)
@click.option("--trace", is_flag=True, help="Show the bytes of the line on standard error.")
@as_json
def scan(
    place: Place,
    bauds: tuple[int, ...],
    parities: tuple[str, ...],
    name: str,
    timeout: float,
    tries: int,
    trace: bool,
    as_json: bool,
) -> None:
    """Find the DL/T 645 meters of a line and print rows for meters.csv.

    Asks by abbreviated addresses: a hundred short questions for every two digits in which meters
    differ, and on a serial port at each speed and parity in turn. Only reads. Nothing else may talk
    on the line meanwhile. Each meter is printed as it is found; Ctrl-C or SIGTERM end the scan and
    lose none."""
    if not re.fullmatch(LINE_NAME, name):
        raise click.UsageError(
            f"--line {name!r} is no name of a line: letters, digits, dots, dashes"
        )
    if not place.serial and (bauds or parities):
        raise click.UsageError("--baud and --parity are for --serial; a converter has its own")
    survey = Survey()
    wire = wire_trace() if trace else None
    rows = _Rows(name, as_json)

    async def scan_at(speed: Speed, show: Show) -> None:
        timeouts = timeouts_at(speed, timeout, tries)
        async for progress in survey.scan(place.channel(speed), speed, timeouts, wire):
            rows.print(survey.meters)
            show(progress, len(survey.meters))

    with _ended_by_sigterm():
        try:
            with _shown() as show:
                for speed in speeds(bauds, parities) if place.serial else [Speed()]:
                    asyncio.run(scan_at(speed, show))
        finally:
            # Minutes of questions are not thrown away: LineDown, Ctrl-C and SIGTERM come by here.
            rows.print(survey.meters)
            _summarise(survey, as_json)
    if not survey.meters:
        raise fail(
            f"no meter answered {survey.questions} questions: "
            "check the wires (A and B swapped?) and the power"
        )


@contextmanager
def _shown() -> Iterator[Show]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda progress, meters: None
        return
    columns = (
        TextColumn("{task.description:30}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[meters]} meters"),
        TimeElapsedColumn(),
    )
    # Rows for a file must not be drawn into the bar.
    on_screen = sys.stdout.isatty()
    with Bar(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=on_screen,
    ) as bar:
        task = bar.add_task("", meters=0)

        def show(progress: Progress, meters: int) -> None:
            bar.update(
                task,
                description=progress.where,
                completed=progress.asked,
                total=progress.to_ask,
                meters=meters,
            )

        yield show


class _Rows:
    """Each meter as it is found: a scan takes minutes, and may be cut short."""

    def __init__(self, name: str, as_json: bool) -> None:
        self._name = name
        self._as_json = as_json
        self._printed = 0

    def print(self, meters: Sequence[Found]) -> None:
        """Those that were not printed yet."""
        for found in meters[self._printed :]:
            self._print(found)
            self._printed += 1
            sys.stdout.flush()

    def _print(self, found: Found) -> None:
        row = _row(found, self._name)
        if self._as_json:
            print_json({**row, "baud": found.speed.baud, "parity": found.speed.parity})
            return
        if not self._printed:
            echo(",".join(COLUMNS))
        echo(",".join(row.values()))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the scan as Ctrl-C does, with the exit code of the signal."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    # Python takes signals in its main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _summarise(survey: Survey, as_json: bool) -> None:
    for found in survey.unclear:
        echo(found.in_words(), err=True)
    if as_json or not survey.meters:
        return
    speeds_found = sorted({str(found.speed) for found in survey.meters if found.speed.baud})
    at = f", at {' and '.join(speeds_found)}" if speeds_found else ""
    echo(f"{len(survey.meters)} meters, {survey.questions} questions{at}", err=True)


def _row(found: Found, name: str) -> dict[str, str]:
    address = found.step.address or ""
    today = date.today().isoformat()  # noqa: DTZ011  the engineer's day, where the meter hangs
    values = (address, name, address, today, found.step.protocol)
    return dict(zip(COLUMNS, values, strict=True))
