"""Who says what a command writes down."""

from __future__ import annotations

import os
import pwd

import click

from daemon.cli.typed import Text

actor_option = click.option(
    "--as", "--actor", "actor", type=Text(), help="Who says it; default: the user of this machine."
)


def os_user() -> str:
    """The name of who runs this program, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
