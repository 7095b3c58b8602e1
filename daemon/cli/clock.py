"""`meterd clock`: show meters' clocks, set them, and prove it by reading them back."""

from __future__ import annotations

import asyncio

import click

from daemon.cli.authority import authority_of, authority_options
from daemon.cli.connection import line_options
from daemon.cli.output import as_json, fail, print_json, print_table
from daemon.field.clock import (
    ClockReading,
    broadcast_time,
    in_words,
    read_clocks,
    set_clocks,
    wall_clock,
)
from daemon.field.connection import Connection
from daemon.field.language import DLT645_2007, LANGUAGES
from protocols.dlt645.writing import one_meter
from protocols.errors import FrameError


@click.command()
@line_options(baud=2400, parity="E")
@click.option(
    "--meter",
    "meters",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help="12 digits; may be repeated.",
)
@click.option(
    "--protocol",
    type=click.Choice([*LANGUAGES]),
    default=DLT645_2007,
    show_default=True,
)
@click.option(
    "--set",
    "is_set",
    is_flag=True,
    help="Write date and time to each; needs the meter's password.",
)
@click.option(
    "--broadcast", is_flag=True, help="Tell all meters of the line the time; needs no password."
)
@authority_options
@as_json
def clock(
    connection: Connection,
    meters: tuple[str, ...],
    protocol: str,
    is_set: bool,
    broadcast: bool,
    level: str,
    operator: str,
    as_json: bool,
) -> None:
    """Show the clocks of DL/T 645 meters, or set them and read them back.

    --set writes this machine's local time. A broadcast is obeyed for up to 5 minutes of
    difference, once a day, not within 5 minutes of midnight, and answered by nobody: the meters
    given with --meter are read before and after."""
    if is_set and broadcast:
        raise click.UsageError("give either --set or --broadcast")
    try:
        authority = authority_of(level, operator) if is_set else None
        addresses = [one_meter(meter) for meter in dict.fromkeys(meters)]
    except FrameError as error:
        raise click.UsageError(str(error)) from None
    if authority is not None:
        done = set_clocks(connection, protocol, addresses, authority, wall_clock)
    elif broadcast:
        done = broadcast_time(connection, protocol, addresses, wall_clock)
    else:
        done = read_clocks(connection, protocol, addresses, wall_clock)
    readings = asyncio.run(done)
    if as_json:
        _print_as_json(readings)
    else:
        _print(readings)
    _fail_if_wrong(readings, must_agree=is_set or broadcast)


def _print_as_json(readings: list[ClockReading]) -> None:
    for reading in readings:
        ahead_s = None if reading.ahead is None else round(reading.ahead.total_seconds())
        print_json(
            {
                "meter": reading.meter,
                "meter_time": reading.clock,
                "meter_ahead_s": ahead_s,
                "error": reading.wrong or None,
            }
        )


def _print(readings: list[ClockReading]) -> None:
    rows = []
    for reading in readings:
        difference = reading.wrong if reading.ahead is None else in_words(reading.ahead)
        rows.append((reading.meter, reading.clock, difference))
    print_table(["meter", "clock", "difference"], rows)


def _fail_if_wrong(readings: list[ClockReading], *, must_agree: bool) -> None:
    """End with a failure when a clock could not be read, or is not what it was set to."""
    unread = [reading.meter for reading in readings if reading.ahead is None]
    if unread:
        raise fail(f"no clock of {', '.join(unread)}")
    off = [reading.meter for reading in readings if not reading.is_good]
    if must_agree and off:
        raise fail(f"still wrong: {', '.join(off)} (a broadcast is obeyed once a day)")
