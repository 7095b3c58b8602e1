"""meterd dispute: amounts and meters that somebody doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from daemon.cli.marking import lift_and_tell, list_marks, set_and_tell
from daemon.cli.output import as_json
from daemon.cli.saying import speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text, Whole

KINDS: Final = ("dispute", "wrongful_cut")


@click.group()
def dispute() -> None:
    """While an amount or a meter is disputed, nobody is cut for it."""


@dispute.command("open")
@click.argument("account", type=Text())
@click.option("--wrongful-cut", is_flag=True, help="It was cut, and says that it should not.")
@speaking_options
def open_dispute(account: str, *, wrongful_cut: bool, **saying: Any) -> None:
    """ACCOUNT disputes its amount, its meter, or that it was cut."""
    kind = "wrongful_cut" if wrongful_cut else "dispute"
    set_and_tell(kind, saying | {"account": account}, whole_site=False)


@dispute.command()
@click.argument("number", type=Whole(1))
@speaking_options
def close(number: int, **saying: Any) -> None:
    """Dispute NUMBER is settled."""
    lift_and_tell(number, KINDS, saying)


@dispute.command("list")
@click.option("--all", "all_times", is_flag=True, help="Also those that are settled.")
@site_option
@as_json
def list_disputes(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Disputes that are open."""
    list_marks(KINDS, site_path, all_times=all_times, as_json=as_json)
