"""`meterd write`: set one parameter of a meter, and read it back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from daemon.cli.authority import Writer, writer_options
from daemon.cli.cable import acting_over_a_cable
from daemon.cli.connection import line_options
from daemon.cli.output import as_json, echo, fail, print_json, with_unit
from daemon.cli.site_option import site_option
from daemon.field.connection import Connection
from daemon.field.write import (
    ParameterWrite,
    WriteRequest,
    WriteResult,
    is_kept,
    unconfirmed,
    value_on_the_wire,
)
from protocols.dlt645.values import try_values
from protocols.dlt645.writing import one_meter
from protocols.errors import FrameError


@click.command()
@line_options(baud=2400, parity="E")
@click.option(
    "--meter",
    required=True,
    metavar="ADDRESS",
    help="The 12 digits on the meter.",
)
@click.option(
    "--identifier",
    required=True,
    metavar="DI",
    help="8 digits, such as 04001001; 4 for a 1997 meter.",
)
@click.option(
    "--value",
    required=True,
    help="As `meterd read` shows it, several parted by commas; or hex:BYTES.",
)
@writer_options
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def write(
    *,
    connection: Connection,
    meter: str,
    identifier: str,
    value: str,
    writer: Writer,
    site_path: Path,
    yes: bool,
    as_json: bool,
) -> None:
    """Write one parameter of a DL/T 645 meter and read it back.

    The password comes from METERD_METER_PASSWORD or is asked for. A write is sent once: a meter
    counts wrong passwords."""
    identifier = identifier.upper()
    try:
        one_meter(meter)
        data = value_on_the_wire(identifier, value)
        request = WriteRequest(meter, identifier, data, writer.authority())
        request.check()
    except FrameError as error:
        raise click.UsageError(str(error)) from None
    if not yes:
        click.confirm(f"Write {value} to {identifier} of meter {meter}?", abort=True, err=True)
    acting_over_a_cable(writer.actor, site_path)
    result = _run(ParameterWrite(connection, request), identifier)
    if as_json:
        _print_as_json(request, result)
    else:
        values, _ = try_values(identifier, result.after)
        lines = [f"{item.name}  {with_unit(item.value, item.unit)}" for item in values]
        echo("\n".join(lines))
    # A meter may accept a write and keep the old value, or round it.
    if not is_kept(identifier, data, result.after):
        shown = result.after.hex(" ").upper()
        raise fail(f"meter {meter} accepted the write, but {identifier} reads {shown}")


def _run(write: ParameterWrite, identifier: str) -> WriteResult:
    try:
        return asyncio.run(write.run())
    except KeyboardInterrupt:
        if write.is_unconfirmed:
            echo(unconfirmed(identifier), err=True)
        raise


def _print_as_json(request: WriteRequest, result: WriteResult) -> None:
    was = None
    if result.before is not None:
        was = [item.value for item in try_values(request.identifier, result.before)[0]]
    values, _ = try_values(request.identifier, result.after)
    print_json(
        {
            "meter": request.meter,
            "identifier": request.identifier,
            "was": was,
            "values": [item._asdict() for item in values],
        }
    )
