"""meterd point: who is billed for a point."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from daemon.cli.documented import run_document
from daemon.cli.saying import saying_options
from daemon.cli.typed import Day, Text
from daemon.transactions.documents.handover import Assignment, Release


@click.group()
def point() -> None:
    """Who is billed for a point, from which day on.

    Each command writes a document: who says it, why, and by what it can be proved. What moves days
    that are billed waits for a second person (meterd document approve)."""


@point.command()
@click.argument("point")
@click.argument("account", type=Text())
@click.option(
    "--from",
    "from_day",
    type=Day(),
    required=True,
    help="The first day that is billed to ACCOUNT; its freeze is the opening register.",
)
@saying_options
def assign(point: str, account: str, from_day: date, **saying: Any) -> None:
    """From a day on POINT is billed to ACCOUNT; whoever had it is billed up to that day.

    No debt is handed over with it."""
    document = Assignment(point, account, from_day)
    run_document(lambda _: document, saying)


@point.command()
@click.argument("point")
@click.option(
    "--on",
    "on_day",
    type=Day(),
    required=True,
    help="The first day that is billed to nobody; its freeze is the last register.",
)
@saying_options
def release(point: str, on_day: date, **saying: Any) -> None:
    """From a day on nobody is billed for POINT."""
    document = Release(point, on_day)
    run_document(lambda _: document, saying)
