"""meterd plan: what a reload would do."""

from __future__ import annotations

from pathlib import Path

import click

from daemon.cli.output import FAILED, as_json, print_json
from daemon.cli.running import daemon_asked, is_nothing, leave_dark_option, print_difference
from daemon.cli.site_option import site_option


@click.command()
@click.argument("new", required=False, type=click.Path(path_type=Path, dir_okay=False))
@leave_dark_option
@site_option
@as_json
def plan(new: Path | None, leave_dark: tuple[str, ...], site_path: Path, as_json: bool) -> None:
    """Show what a reload of the running daemon would do if its configuration were NEW.

    Without NEW, with the file of -c as it is now. Nothing is changed.

    Exit code 0 when nothing would change, 1 when something would or a line would stop on which
    points are cut, 78 when the reload would refuse the file."""
    path = (new or site_path).absolute()
    request = {"do": "plan", "path": str(path), "leave_dark": list(leave_dark)}
    with daemon_asked(site_path, request) as answers:
        difference = next(answers)
    if as_json:
        print_json(difference)
    else:
        print_difference(difference)
    raise SystemExit(0 if is_nothing(difference) else FAILED)
