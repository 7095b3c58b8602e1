"""The option that names a site.

By itself, because a command that only asks the running daemon need not pay for a database's
imports."""

from __future__ import annotations

from pathlib import Path

import click

site_option = click.option(
    "-c",
    "--config",
    "site_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("meterd.toml"),
    envvar="METERD_CONFIG",
    show_default=True,
    help="The site's meterd.toml.",
)
