"""meterd supply hold, lock, amnesty, release, holds: what is not done for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from daemon.cli.marking import SCOPES, lift_and_tell, list_marks, scope_options, set_and_tell
from daemon.cli.output import as_json
from daemon.cli.saying import speaking_options
from daemon.cli.site_option import site_option
from daemon.cli.typed import Moment, Whole
from daemon.control.ramp import Ramp

KINDS: Final = {
    "hold": "hold",
    "weather": "weather",
    "planned-outage": "planned_outage",
    "payment": "payment_in_flight",
}
HOLDS: Final = (*KINDS.values(), "amnesty", "keep_off")
KW_PER_POINT: Final = 4
"""What a dwelling takes when its supply comes back: everything in it starts at once."""


@click.command(short_help="Stop all cuts of the site, or of a part of it.")
@click.option(
    "--kind",
    type=click.Choice([*KINDS]),
    default="hold",
    show_default=True,
    help="Why; payment: one is under way, or a channel that may hold one is down.",
)
@scope_options(*SCOPES)
@click.option("--from", "from_at", type=Moment(), help="Default: now.")
@click.option("--until", type=Moment(), help="Default: until it is released.")
@speaking_options
def hold(kind: str, **saying: Any) -> None:
    """Stop all cuts of the whole site at once, or of an area, a line, an account, a point.

    It survives every restart. Reconnects go on."""
    set_and_tell(KINDS[kind], saying, whole_site=True)


@click.command(short_help="Keep a supply off while somebody works there.")
@scope_options(*SCOPES)
@speaking_options
def lock(**saying: Any) -> None:
    """Let no reconnect leave for an area, a line, an account or a point: somebody works there.

    Whoever pays meanwhile is restored when it is released. It cuts nobody."""
    set_and_tell("keep_off", saying, whole_site=False)


@click.command(short_help="Restore everybody of an area slowly, and cut nobody until it ends.")
@scope_options("area", "line")
@click.option(
    "--kw-per-minute",
    type=Whole(1, 1_000_000),
    required=True,
    help="So much load comes back within any minute.",
)
@click.option(
    "--kw-per-point",
    type=Whole(1, 1_000),
    default=KW_PER_POINT,
    show_default=True,
    help="With so much each point counts.",
)
@click.option("--from", "from_at", type=Moment(), help="Default: now.")
@click.option("--until", type=Moment(), help="Default: until it is released.")
@speaking_options
def amnesty(kw_per_minute: int, kw_per_point: int, **saying: Any) -> None:
    """Restore everybody of the whole site, of an area or of a line who is cut, whatever they owe.

    They come back slowly, as much load a minute as the transformers bear; whoever pays is restored
    at once. Until it ends nobody of them is cut."""
    ramp = Ramp(kw_per_minute, kw_per_point)
    set_and_tell("amnesty", saying, whole_site=True, ramp=ramp)


@click.command()
@click.argument("number", type=Whole(1))
@speaking_options
def release(number: int, **saying: Any) -> None:
    """End hold, lock or amnesty NUMBER."""
    lift_and_tell(number, HOLDS, saying)


@click.command()
@click.option("--all", "all_times", is_flag=True, help="Also those that are over.")
@site_option
@as_json
def holds(all_times: bool, site_path: Path, as_json: bool) -> None:
    """Holds and locks of the site and its parts, and who set them."""
    list_marks(HOLDS, site_path, all_times=all_times, as_json=as_json)
