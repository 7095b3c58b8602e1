"""meterd tariff: what a tariff says, and what it comes to."""

from __future__ import annotations

import click

from daemon.cli.tariff_cases import try_cases
from daemon.cli.tariff_show import check, diff, show


@click.group()
def tariff() -> None:
    """Prices over time, and worked cases of money to the fen.

    Needs no daemon and no database."""


for command in (check, show, diff, try_cases):
    tariff.add_command(command)
