"""meterd reload: the running daemon reads its configuration again."""

from __future__ import annotations

from pathlib import Path

import click

from config.problems import ConfigError
from daemon.cli.actor import acting, actor_option, by_way_of
from daemon.cli.output import BAD_CONFIG, as_json, fail, print_json
from daemon.cli.running import (
    daemon_asked,
    leave_dark_option,
    print_difference,
)
from daemon.cli.site_option import site_option

REFUSED = (
    "Nothing was changed; the daemon runs on with what it had. Mend the files and reload again."
)


@click.command()
@actor_option
@leave_dark_option
@site_option
@as_json
def reload(actor: str | None, leave_dark: tuple[str, ...], site_path: Path, as_json: bool) -> None:
    """Let the running daemon read its configuration again.

    Only lines that changed are stopped and started.

    A file with mistakes, one that contradicts what was billed, or one that stops a line on which
    points are cut, changes nothing. SIGHUP does the same."""
    try:
        request = {
            "do": "reload",
            "path": str(site_path.absolute()),
            "actor": acting(actor),
            "by_way_of": by_way_of(),
            "leave_dark": list(leave_dark),
        }
        with daemon_asked(site_path, request, refused=REFUSED) as answers:
            difference = next(answers)
    except ConfigError as error:
        # The file names no socket: as little is changed as when the daemon refuses it.
        raise fail(f"{error}\n{REFUSED}", BAD_CONFIG) from None
    if as_json:
        print_json(difference)
    else:
        print_difference(difference, is_done=True)
