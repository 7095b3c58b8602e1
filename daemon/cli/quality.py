"""meterd quality: what is withheld and why, and what a person says about it."""

from __future__ import annotations

import click

from daemon.cli.quality_cases import try_cases
from daemon.cli.quality_decisions import (
    approve,
    refuse,
    reject,
    release,
    release_link,
    substitute,
    waiting,
    withdraw,
)
from daemon.cli.quality_list import list_doubts, show
from daemon.cli.quality_revalidate import revalidate


@click.group()
def quality() -> None:
    """Whether readings are true: what is withheld or held and why, and the commands that settle it.

    What a meter told is one person's to judge; what no meter told (a substitute, use that is not
    billed by itself) counts when another person approved it. Exit code 65: refused, nothing was
    changed."""


for command in (
    list_doubts,
    show,
    release,
    reject,
    withdraw,
    substitute,
    release_link,
    waiting,
    approve,
    refuse,
    revalidate,
    try_cases,
):
    quality.add_command(command)
