"""meterd protect: who is never cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from daemon.cli.actor import acting, actor_option
from daemon.cli.marking import (
    agree_and_tell,
    lift_and_tell,
    list_marks,
    scope_options,
    set_and_tell,
)
from daemon.cli.output import as_json
from daemon.cli.saying import speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Whole

KINDS: Final = {
    "protected": "protected",
    "life-support": "life_support",
    "keep-power": "keep_power",
}


@click.group()
def protect() -> None:
    """Who is never cut: set by one person, lifted by two."""


@protect.command()
@click.argument("kind", type=click.Choice([*KINDS]))
@scope_options("account", "point")
@speaking_options
def add(kind: str, **saying: Any) -> None:
    """Protect an account or a point: it is not cut, and restored if it is.

    Keep-power only lets nobody cut it: whoever is cut stays so until the debt is paid."""
    set_and_tell(KINDS[kind], saying, whole_site=False)


@protect.command()
@click.argument("number", type=Whole(1))
@speaking_options
def lift(number: int, **saying: Any) -> None:
    """Ask that mark NUMBER be lifted; a second person agrees."""
    lift_and_tell(number, KINDS.values(), saying)


@protect.command()
@click.argument("number", type=Whole(1))
@actor_option
@site_option
@as_json
def agree(number: int, actor: str | None, site_path: Path, as_json: bool) -> None:
    """Agree, as the second person, that mark NUMBER is lifted."""
    agree_and_tell(number, acting(actor), site_path, as_json=as_json)


@protect.command("list")
@click.option("--all", "all_times", is_flag=True, help="Also those that were lifted.")
@site_option
@as_json
def list_protected(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Who is protected, besides those whom points.csv says."""
    list_marks(KINDS.values(), site_path, all_times=all_times, as_json=as_json)
