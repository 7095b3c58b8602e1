"""`meterd clock`: show meters' clocks, set them, and prove it by reading them back."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from zoneinfo import ZoneInfo

import click

from daemon.cli.authority import Writer, writer_options
from daemon.cli.cable import acting_over_a_cable
from daemon.cli.connection import WhichMeters, line_options
from daemon.cli.gathered import gathered
from daemon.cli.output import USAGE, as_json, fail, print_json, print_table
from daemon.cli.zone import Whose, zone_options
from daemon.field.clock import (
    STEP_LIMIT,
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
@click.option("--yes", is_flag=True, help="Do not ask, however far a clock is moved.")
@writer_options
@zone_options
@as_json
@gathered("which", WhichMeters)
def clock(
    *,
    connection: Connection,
    which: WhichMeters,
    is_set: bool,
    broadcast: bool,
    writer: Writer,
    yes: bool,
    whose: Whose,
    as_json: bool,
) -> None:
    """Show the clocks of DL/T 645 meters, or set them and read them back.

    The time is that of --zone, else of the site. --set shows how far each clock is moved, and asks
    before one is moved by more than 5 minutes. A broadcast is obeyed for up to 5 minutes of
    difference, once a day, not within 5 minutes of midnight, and answered by nobody: the meters
    given with --meter are read before and after."""
    if is_set and broadcast:
        raise click.UsageError("give either --set or --broadcast")
    try:
        authority = writer.authority() if is_set else None
        addresses = [one_meter(meter) for meter in dict.fromkeys(which.meters)]
    except FrameError as error:
        raise click.UsageError(str(error)) from None
    meant = whose.meant()
    now = partial(wall_clock, meant)
    if authority is not None:
        if not yes:
            before = asyncio.run(read_clocks(connection, which.protocol, addresses, now))
            _confirm(before, meant, as_json=as_json)
        acting_over_a_cable(writer.actor, whose.site_path)
        done = set_clocks(connection, which.protocol, addresses, authority, now)
    elif broadcast:
        acting_over_a_cable(writer.actor, whose.site_path)
        done = broadcast_time(connection, which.protocol, addresses, now)
    else:
        done = read_clocks(connection, which.protocol, addresses, now)
    readings = asyncio.run(done)
    if as_json:
        _print_as_json(readings, meant)
    else:
        _print(readings, meant)
    _fail_if_wrong(readings, must_agree=is_set or broadcast)


def _confirm(before: list[ClockReading], zone: ZoneInfo, *, as_json: bool) -> None:
    """Show how far each clock would be moved; ask where that is far, or not known."""
    if not as_json:
        _print(before, zone)
    far = [it for it in before if it.ahead is None or abs(it.ahead) > STEP_LIMIT]
    if not far:
        return
    steps = ", ".join(
        f"{it.meter} is {'not read' if it.ahead is None else in_words(it.ahead)}" for it in far
    )
    if not sys.stdin.isatty():
        raise fail(f"{steps}: nothing was set; with --yes nobody is asked", USAGE)
    click.confirm(f"{steps}. Set to the time of {zone.key}?", abort=True, err=True)


def _print_as_json(readings: list[ClockReading], zone: ZoneInfo) -> None:
    for reading in readings:
        ahead_s = None if reading.ahead is None else round(reading.ahead.total_seconds())
        print_json(
            {
                "meter": reading.meter,
                "meter_time": reading.clock,
                "zone": zone.key,
                "meter_ahead_s": ahead_s,
                "error": reading.wrong or None,
            }
        )


def _print(readings: list[ClockReading], zone: ZoneInfo) -> None:
    rows = []
    for reading in readings:
        difference = reading.wrong if reading.ahead is None else in_words(reading.ahead)
        rows.append((reading.meter, reading.clock, difference))
    print_table(["meter", f"clock ({zone.key})", "difference"], rows)


def _fail_if_wrong(readings: list[ClockReading], *, must_agree: bool) -> None:
    """End with a failure when a clock could not be read, or is not what it was set to."""
    unread = [reading.meter for reading in readings if reading.ahead is None]
    if unread:
        raise fail(f"no clock of {', '.join(unread)}")
    off = [reading.meter for reading in readings if not reading.is_good]
    if must_agree and off:
        raise fail(f"still wrong: {', '.join(off)} (a broadcast is obeyed once a day)")
