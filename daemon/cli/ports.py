"""meterd ports: the serial ports of this machine and the lines that use them."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from config.load import load_site
from config.problems import ConfigError
from daemon.cli.output import as_json, echo, print_json, print_table
from daemon.cli.site_option import site_option
from daemon.field.serial_ports import PortUse, ports_in_use


@click.command()
@site_option
@as_json
def ports(site_path: Path, as_json: bool) -> None:
    """List the serial ports of this machine by names that survive unplugging.

    With what is plugged in there, which line of the site uses each, and who has it open, as far
    as this user may see it. Works without a site too, and with one that has mistakes."""
    found = ports_in_use(_serial_lines(site_path))
    if as_json:
        for use in found:
            print_json(
                {
                    "name": use.port.name,
                    "device": use.port.device,
                    "what": use.port.what,
                    "lines": use.lines,
                    "open_by": use.open_by,
                }
            )
    else:
        print_table(("name", "device", "what", "lines", "open by"), [_row(use) for use in found])


def _row(use: PortUse) -> tuple[str | None, ...]:
    cells = (
        use.port.name,
        use.port.device,
        use.port.what,
        ", ".join(use.lines),
        ", ".join(use.open_by),
    )
    return tuple(cell or None for cell in cells)


def _serial_lines(site_path: Path) -> list[tuple[str, str]]:
    """(name, port) of the site's serial lines.

    A person who is still writing that file looks here for what to write into it: only a file that
    was asked for and is not there is an error."""
    try:
        site = load_site(site_path)
    except ConfigError:
        if site_path.is_file():
            echo(
                f"warning: {site_path} cannot be read as a site (meterd check says why); "
                "the column lines is empty",
                err=True,
            )
            return []
        source = click.get_current_context().get_parameter_source("site_path")
        if source is not ParameterSource.DEFAULT:
            raise
        return []
    return [(line.name, line.serial) for line in site.settings.line if line.serial]
