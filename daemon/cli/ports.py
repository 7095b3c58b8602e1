"""meterd ports: the serial ports of this machine and the lines that use them."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

from config.load import load_site
from config.problems import ConfigError
from daemon.cli.on_site import site_option
from daemon.cli.output import as_json, print_json, print_table
from daemon.field.serial_ports import SerialPort, holders, serial_ports, stable_name


@click.command(short_help="List serial ports by stable names.")
@site_option
@as_json
def ports(site_path: Path, as_json: bool) -> None:
    """List the serial ports of this machine by names that survive unplugging, what is plugged in
    there, which line of the site uses each, and who has it open, as far as this user may see it.
    Works without a site too, and with one that has mistakes."""
    lines = _serial_lines(site_path)
    there = serial_ports()
    known = {os.path.realpath(port.device) for port in there}
    for device in dict.fromkeys(device for _, device in lines):
        if os.path.realpath(device) not in known:
            what = "" if Path(device).exists() else "not there: unplugged?"
            there.append(SerialPort(stable_name(device) or device, os.path.realpath(device), what))
    found = [
        {
            "name": port.name,
            "device": port.device,
            "what": port.what,
            "lines": [
                name
                for name, device in lines
                if os.path.realpath(device) == os.path.realpath(port.device)
            ],
            "open_by": holders(port.device),
        }
        for port in there
    ]
    if as_json:
        for told in found:
            print_json(told)
        return
    rows = [
        [", ".join(cell) if isinstance(cell, list) else cell for cell in told.values()]
        for told in found
    ]
    print_table(
        ("name", "device", "what", "lines", "open by"),
        [[cell or None for cell in row] for row in rows],
    )


def _serial_lines(site_path: Path) -> list[tuple[str, str]]:
    """(name, port) of the site's serial lines. Who is still writing that file looks here for what
    to write into it: only a file that was asked for and is not there is an error."""
    try:
        return [
            (line.name, line.serial) for line in load_site(site_path).settings.line if line.serial
        ]
    except ConfigError:
        if site_path.is_file():
            click.echo(
                f"warning: {site_path} cannot be read as a site (meterd check says why); the column lines is empty",
                err=True,
            )
        elif (
            click.get_current_context().get_parameter_source("site_path")
            is not ParameterSource.DEFAULT
        ):
            raise
    return []
