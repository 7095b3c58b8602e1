"""What commands share that write a document: who says it, why, and by what proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from daemon.cli.actor import acting, actor_option
from daemon.cli.output import as_json, echo
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text, typed
from storage.documents import Said

F = TypeVar("F", bound=Callable[..., Any])


def said_by(saying: Mapping[str, Any]) -> Said:
    """Who says it, why, by what proof; the reason is asked for where it is missing."""
    reason = saying["reason"] or typed("Why", Text(), "--reason")
    return Said(acting(saying["actor"]), reason, saying.get("evidence") or "")


def saying_options(command: F) -> F:
    """The options of every document: who, why, proof, and whether it is only tried."""
    is_tried = click.option("--dry-run", is_flag=True, help="Only print what it would change.")
    return is_tried(speaking_options(command))


def speaking_options(command: F) -> F:
    """The options of whoever says something: who, why, proof."""
    for option in (
        as_json,
        site_option,
        actor_option,
        click.option(
            "--evidence",
            type=Text(),
            help="Where it can be looked up: number of a form, a photo.",
        ),
        click.option("--reason", type=Text(), help="Why; asked for on a terminal if missing."),
    ):
        command = option(command)
    return command


def print_waiting(number: int | None, site_path: Path) -> None:
    """What a second person types for a document to count."""
    at = "" if site_path == Path("meterd.toml") else f" -c {site_path}"
    echo(f"document {number} waits; a second person has to agree:")
    echo(f"  meterd document approve {number} --actor NAME{at}")
