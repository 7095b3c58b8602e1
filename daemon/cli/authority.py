"""Who writes to a meter: the options of commands that carry a password.

The password is never an argument: others on this machine could read it there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from protocols.dlt645.writing import Authority

ENVIRONMENT: Final = "METERD_METER_PASSWORD"
F = TypeVar("F", bound=Callable[..., Any])


def authority_options(command: F) -> F:
    """The options --level and --operator."""
    for option in (
        click.option(
            "--operator",
            default="00000000",
            show_default=True,
            help="8 digits, kept in the meter's records.",
        ),
        click.option(
            "--level",
            default="04",
            show_default=True,
            help="2 digits: 02 to clear, 04 to program.",
        ),
    ):
        command = option(command)
    return command


def authority_of(level: str, operator: str) -> Authority:
    """The authority with the password from the environment, or asked for on a terminal.

    FrameError when a part has not its digits."""
    # An argument would stand in the list of processes and in the shell's history.
    password = os.environ.get(ENVIRONMENT)
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"the meter's password (6 digits) is missing: set {ENVIRONMENT}")
        password = click.prompt("Password of the meter (6 digits)", hide_input=True, err=True)
    authority = Authority(level, password, operator)
    authority.on_the_wire()  # refuses what has not its digits, before a line is opened
    return authority
