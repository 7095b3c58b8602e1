"""The command line: each command parses, calls and prints; none holds a rule."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from config.problems import ConfigError
from daemon.cli.output import BAD_CONFIG, FAILED, USAGE, Failure
from protocols.errors import MeterdError

COMMANDS = (
    "run",
    "migrate",
    "check",
    "demo",
    "simulate",
    "read",
    "probe",
    "scan",
    "write",
    "clock",
    "decode",
    "account",
    "topup",
    "supply",
    "gaps",
    "standstill",
    "readings",
    "quality",
    "deadletter",
    "retention",
    "meter",
    "point",
    "document",
    "collect",
    "trace",
    "reload",
    "plan",
    "ports",
    "terminals",
)


class Commands(click.Group):
    """Finds a command in the module of its name.

    So a quick one does not pay for the daemon's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a first day, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"daemon.cli.{cmd_name}")
        except KeyboardInterrupt:
            sys.exit(FAILED)  # nothing was begun that could be aborted
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="meterd", prog_name="meterd")
def cli() -> None:
    """Reads electricity meters and bills prepaid accounts to the fen.

    Cuts supply only when every rule allows it.

    Exit codes: 0 done, 1 failed (the message says what), 2 wrong use, 65 wrong data in a file, 69
    no daemon runs, 78 wrong configuration."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `meterd`."""
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            argument.encode()  # bytes that are no UTF-8 come as lone surrogates
        cli(arguments, prog_name="meterd")
    except UnicodeEncodeError:
        click.echo("meterd: an argument is not UTF-8 text", err=True)
        sys.exit(USAGE)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(BAD_CONFIG)
    except MeterdError as error:
        click.echo(f"meterd: {error}", err=True)
        sys.exit(error.code if isinstance(error, Failure) else FAILED)
