"""Who does what to a meter over a cable, where no daemon is asked that would write it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting
from daemon.cli.on_site import on_database
from daemon.cli.output import echo
from protocols.errors import MeterdError

LONGEST_S: Final = 10.0
"""Somebody stands before the meter."""


def acting_over_a_cable(actor: str | None, site_path: Path) -> None:
    """As `acting`; the row is written at once where there is a site.

    A database that is away keeps nobody from a meter: it is told, and the system log has it."""
    acting(actor)
    if not site_path.exists():
        named = click.get_current_context().get_parameter_source("site_path")
        if named is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{site_path} is not there")
        return
    try:
        on_database(load_settings(site_path), _nothing_else, lasts_s=LONGEST_S)
    except MeterdError as error:
        echo(f"only the system log of this machine has who does this: {error}", err=True)


async def _nothing_else(connection: AsyncConnection[Any]) -> None:
    """The act was noted before it was asked."""
