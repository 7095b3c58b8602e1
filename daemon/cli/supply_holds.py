"""meterd supply hold, release, holds: nobody of an area, a line, a site is cut for a while."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from daemon.cli.marking import lift_and_tell, list_marks, set_and_tell
from daemon.cli.output import as_json
from daemon.cli.saying import speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Moment, Text, Whole

KINDS: Final = {
    "hold": "hold",
    "weather": "weather",
    "planned-outage": "planned_outage",
    "payment": "payment_in_flight",
}


@click.command(short_help="Stop all cuts of the site, or of a part of it.")
@click.option(
    "--kind",
    type=click.Choice([*KINDS]),
    default="hold",
    show_default=True,
    help="Why; payment: one is under way, or a channel that may hold one is down.",
)
@click.option("--area", type=Text(), help="Only this area.")
@click.option("--line", type=Text(), help="Only this line.")
@click.option("--account", type=Text(), help="Only this account.")
@click.option("--point", type=Text(), help="Only this point.")
@click.option("--from", "from_at", type=Moment(), help="Default: now.")
@click.option("--until", type=Moment(), help="Default: until it is released.")
@speaking_options
def hold(
    kind: str,
    area: str | None,
    line: str | None,
    account: str | None,
    point: str | None,
    from_at: datetime | None,
    until: datetime | None,
    **saying: Any,
) -> None:
    """Stop all cuts of the whole site at once, or of an area, a line, an account, a point.

    It survives every restart. Reconnects go on."""
    scope = {"area": area, "line": line, "account": account, "point": point}
    saying |= {"from_at": from_at, "until": until}
    set_and_tell(KINDS[kind], scope, saying, whole_site=True)


@click.command()
@click.argument("number", type=Whole(1))
@speaking_options
def release(number: int, **saying: Any) -> None:
    """End hold NUMBER."""
    lift_and_tell(number, "protect", saying)


@click.command()
@click.option("--all", "all_times", is_flag=True, help="Also those that are over.")
@site_option
@as_json
def holds(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Holds of the site and its parts, and who set them."""
    list_marks([*KINDS.values(), "amnesty"], site_path, all_times=all_times, as_json=as_json)
