"""`meterd scan`: which meters are on a line."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from daemon.cli.connection import BAUD, Seconds, channel_to, host_and_port, wire_trace
from daemon.cli.output import as_json, fail, print_json
from daemon.field.scan import PROTOCOL_1997, Heard, Patience, Step
from daemon.field.scan import scan as scan_line
from protocols.channels.streams import StreamChannel
from protocols.errors import LineDown

BITS_PER_CHARACTER: Final = 11
QUESTION: Final = 16
"""Characters of a question, wake-up included."""
BAUDS: Final = (2400, 9600, 1200, 4800, 19200)
PARITIES: Final = ("E", "N")
LINE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What meterd.toml takes for one."""
ROW: Final = ("address", "line", "point", "installed_on", "protocol")
"""Columns of meters.csv; the point gets the meter's address for a name until somebody knows a
better one."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How a serial port is opened; None for a connection that has no speed."""

    baud: int | None
    parity: str | None

    def __str__(self) -> str:
        return f"{self.baud} 8{self.parity}1" if self.baud else ""


@dataclass(frozen=True, slots=True)
class Found:
    """One meter, or a collision that no address could part, or noise."""

    step: Step
    speed: Speed

    def in_words(self) -> str:
        """What is no meter, for a person."""
        where = f"{self.speed}: " if self.speed.baud else ""
        if self.step.heard is Heard.NOISE:
            return f"{where}{self.step.pattern}: noise, no meters: another master, a wrong speed or parity?"
        if self.step.protocol == PROTOCOL_1997:
            return f"{where}more than one meter of 1997, or noise: such meters are found one by one"
        return f"{where}{self.step.pattern}: more than one answer: two meters with one address, or noise"


@dataclass(slots=True)
class Result:
    """What a scan knows so far: it may be interrupted at any time."""

    meters: list[Found] = field(default_factory=list)
    unclear: list[Found] = field(default_factory=list)
    questions: int = 0


@click.command(short_help="Find the meters of a line.")
@click.option(
    "--tcp",
    metavar="HOST:PORT",
    callback=host_and_port,
    help="A converter or gateway.",
)
@click.option("--serial", metavar="DEVICE", help="A serial port, such as /dev/ttyUSB0.")
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
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="For each silent address.",
)
@click.option("--trace", is_flag=True, help="Show the bytes of the line on standard error.")
@as_json
def scan(
    tcp: tuple[str, int] | None,
    serial: str | None,
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
    on the line meanwhile."""
    if not re.fullmatch(LINE_NAME, name):
        raise click.UsageError(
            f"--line {name!r} is no name of a line: letters, digits, dots, dashes"
        )
    speeds = [Speed(baud, parity) for baud in bauds or BAUDS for parity in parities or PARITIES]
    if not serial:
        if bauds or parities:
            raise click.UsageError("--baud and --parity are for --serial; a converter has its own")
        speeds = [Speed(None, None)]
    result = Result()
    try:
        with _progress() as show:
            for speed in speeds:
                channel = channel_to(
                    tcp, serial, speed.baud or BAUDS[0], speed.parity or PARITIES[0]
                )
                on_the_wire = (
                    QUESTION * BITS_PER_CHARACTER / (speed.baud or BAUDS[0]) if serial else 0.0
                )
                quiet_s = max(0.05, timeout / 4)
                patience = Patience(timeout + on_the_wire, quiet_s, tries)
                asyncio.run(
                    _scan(
                        channel,
                        patience,
                        speed,
                        show,
                        result,
                        trace=trace,
                    )
                )
    except (LineDown, KeyboardInterrupt) as error:
        _print(result, name, as_json)
        if isinstance(error, LineDown):
            raise fail(str(error)) from None
        raise
    _print(result, name, as_json)
    if not result.meters:
        raise fail(
            f"no meter answered {result.questions} questions: check the wires (A and B swapped?) and the power"
        )


async def _scan(
    channel: StreamChannel,
    patience: Patience,
    speed: Speed,
    show: _Show,
    result: Result,
    *,
    trace: bool,
) -> None:
    """One speed."""
    asked, to_ask = 0, 1
    async with channel:
        async for step in scan_line(
            channel,
            patience,
            line=channel.name,
            wire=wire_trace() if trace else None,
        ):
            if step.heard is Heard.NOISE:
                result.unclear.append(Found(step, speed))
                continue
            asked += 1
            result.questions += 1
            if step.heard is Heard.COLLISION and "A" in step.pattern:
                to_ask += 100
            elif step.heard is Heard.COLLISION:
                result.unclear.append(Found(step, speed))
            elif step.address is not None and step.address not in [
                it.step.address for it in result.meters
            ]:
                result.meters.append(Found(step, speed))
            show(f"{speed} {step.pattern}".strip(), asked, max(to_ask, asked), len(result.meters))


class _Show:
    """Tells a person how far the scan is."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", meters=0) if progress else None

    def __call__(
        self,
        where: str,
        asked: int,
        to_ask: int,
        meters: int,
    ) -> None:
        if self._progress and self._task is not None:
            self._progress.update(
                self._task,
                description=where,
                completed=asked,
                total=to_ask,
                meters=meters,
            )


@contextmanager
def _progress() -> Iterator[_Show]:
    """A bar on a terminal, nothing elsewhere; it grows with every collision."""
    if not sys.stderr.isatty():
        yield _Show(None)
        return
    columns = (
        TextColumn("{task.description:30}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[meters]} meters"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Show(progress)


def _print(result: Result, name: str, as_json: bool) -> None:
    for it in result.unclear:
        click.echo(it.in_words(), err=True)
    if not result.meters:
        return
    if not as_json:
        click.echo(",".join(ROW))
    for it in result.meters:
        address = it.step.address or ""
        row = dict(
            zip(
                ROW,
                (address, name, address, date.today().isoformat(), it.step.protocol),  # noqa: DTZ011
                strict=True,
            )
        )
        if as_json:
            print_json(
                {
                    **row,
                    "baud": it.speed.baud,
                    "parity": it.speed.parity,
                }
            )
        else:
            click.echo(",".join(row.values()))
    speeds = sorted({str(it.speed) for it in result.meters if it.speed.baud})
    at = f", at {' and '.join(speeds)}" if speeds else ""
    if not as_json:
        click.echo(f"{len(result.meters)} meters, {result.questions} questions{at}", err=True)
