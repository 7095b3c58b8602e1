"""meterd tariff: what a tariff says, and what it comes to."""

from __future__ import annotations

import click

from daemon.cli.tariff_cases import try_cases
from daemon.cli.tariff_show import check, diff, show
from daemon.cli.tariff_versions import approve, list_versions, reject


@click.group()
def tariff() -> None:
    """Prices over time, who agreed to them, and worked cases of money to the fen.

    What is asked of files needs no daemon and no database."""


for command in (check, show, diff, try_cases, list_versions, approve, reject):
    tariff.add_command(command)
