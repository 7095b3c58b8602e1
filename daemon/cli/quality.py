"""meterd quality: what is withheld and why, and what a person says about it."""

from __future__ import annotations

import click

from daemon.cli.quality_cases import try_cases
from daemon.cli.quality_list import list_doubts, show


@click.group(short_help="What is withheld, and what a person says about it.")
def quality() -> None:
    """Whether readings are true: what is withheld or held, why, and what settles it."""


for command in (list_doubts, show, try_cases):
    quality.add_command(command)
