"""Who writes to a meter: the options of commands that carry a password.

The password is never an argument: others on this machine could read it there."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Final

import click

from daemon.cli.actor import actor_option
from daemon.cli.gathered import Command, gathered
from protocols.dlt645.writing import Authority

ENVIRONMENT: Final = "METERD_METER_PASSWORD"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, as it was typed."""

    level: str
    operator: str
    actor: str | None

    def authority(self) -> Authority:
        """With the password from the environment, or asked for on a terminal.

        FrameError when a part has not its digits."""
        # An argument would stand in the list of processes and in the shell's history.
        password = os.environ.get(ENVIRONMENT)
        if password is None:
            if not sys.stdin.isatty():
                raise click.UsageError(
                    f"the meter's password (6 digits) is missing: set {ENVIRONMENT}"
                )
            password = click.prompt("Password of the meter (6 digits)", hide_input=True, err=True)
        authority = Authority(self.level, password, self.operator)
        authority.on_the_wire()  # refuses what has not its digits, before a line is opened
        return authority


def writer_options(command: Command) -> Command:
    """The options --level, --operator and --actor; the command gets them as `writer`."""
    command = gathered("writer", Writer)(command)
    for option in (
        actor_option,
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
