"""The command line: each command parses, calls and prints; none holds a rule."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

import click

from config.problems import ConfigError
from config.visible import visible_lines
from daemon.cli.output import BAD_CONFIG, FAILED, USAGE, Failure, echo, fail
from daemon.runtime.garbage import collect_seldom, end_without_a_look
from protocols.errors import MeterdError

CANNOT_WRITE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE)
STANDARD_OUTPUT: Final = 1
COMMANDS: Final = {
    "run": "Run the daemon until SIGTERM or Ctrl-C.",
    "migrate": "Bring the database's schema up to date.",
    "check": "Name every mistake of a configuration.",
    "init": "Write the files of a first site.",
    "demo": "Show the whole loop in about a minute.",
    "simulate": "Run simulated meters for a test bench.",
    "bench": "Let a site live a month in minutes, on simulated meters.",
    "steer": "Let something happen to simulated meters that run.",
    "read": "Read one meter over a given line.",
    "probe": "Show what Modbus registers could mean.",
    "scan": "Find the meters of a line.",
    "doctor": "Say what is wrong with a line, by a few harmless questions.",
    "certify": "Check a meter against its standard.",
    "write": "Set a parameter of a meter.",
    "clock": "Show or set meters' clocks.",
    "decode": "Say what the bytes on a line mean.",
    "account": "Look at prepaid accounts, open them.",
    "topup": "Post a payment to an account.",
    "payment": "A payment is taken back: it bounced, or was a mistake.",
    "prove": "A bill of a month that proves itself to whoever doubts it.",
    "explain": "Why a balance, a charge or a day is what it is.",
    "ledger": "Prove that nothing posted was changed; close a month.",
    "tariff": "Prices: check, show, agree to them, work out cases to the fen.",
    "rehearse": "What a change would do, by the past months; nothing is written.",
    "supply": "Supply states and commands; hold cuts; whom would be cut now.",
    "policy": "When, and after which notices, somebody may be cut.",
    "notice": "What customers are told before they are cut.",
    "approve": "Ask that somebody be cut; another person approves it.",
    "protect": "Who is never cut: set by one person, lifted by two.",
    "dispute": "While an amount is disputed, nobody is cut for it.",
    "job": "What somebody has to go to.",
    "audit": "Whether everybody who was cut would be cut again.",
    "contact": "How customers are reached.",
    "why": "Why a point is dark, or that it is not.",
    "gaps": "Owed daily freezes that are not published, and why.",
    "standstill": "Points that are not billed to yesterday, and why.",
    "readings": "What a point's meters told, and what became of it.",
    "quality": "What is withheld, and what a person says about it.",
    "backup": "Everything that a site is, in one folder.",
    "verify": "Restore a backup into a scratch database and compare.",
    "restore": "A backup becomes the site again.",
    "deadletter": "Readings that could not be stored.",
    "retention": "How long rows are kept, and what goes when.",
    "meter": "A meter was exchanged, its ratio changed, its date was wrong.",
    "point": "A point is given to an account, or taken from one.",
    "document": "What was said of meters, points and payments, and the second word.",
    "collect": "Read meters now, through the running daemon.",
    "trace": "Show the live frames of a line, decoded.",
    "reload": "Let the running daemon read its configuration again.",
    "plan": "Show what a reload would do.",
    "ports": "List serial ports by stable names.",
    "terminals": "Show the terminals that dial in.",
}
"""What each is for; in the order of a first day, not of the alphabet."""


@contextmanager
def _typed_text_is_shown() -> Iterator[None]:
    """And not obeyed by the terminal: it may have been pasted."""
    try:
        yield
    except click.ClickException as error:
        error.message = visible_lines(error.message)  # type: ignore[misc]  # nobody else holds it
        raise


class Commands(click.Group):
    """Finds a command in the module of its name.

    So a quick one does not pay for the daemon's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What each is for, without loading any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

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

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """As click does."""
        with _typed_text_is_shown():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. What one did that changes something is not undone by a reader who left."""
        try:
            with _typed_text_is_shown():
                return super().invoke(ctx)
        except OSError as error:
            from daemon.cli.actor import act_of  # a command that acts has loaded it

            if error.errno not in CANNOT_WRITE or act_of(ctx) is None:
                raise
            raise fail(
                f"cannot write: {error.strerror}; what was asked for may be done: "
                "look at it before you ask for it again"
            ) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="meterd", prog_name="meterd")
def cli() -> None:
    """Reads electricity meters and bills prepaid accounts to the fen.

    Cuts supply only when every rule allows it.

    When something is not as it should be: standstill, gaps and quality list name what it is, each
    with the command that settles it.

    Exit codes: 0 done, 1 failed (the message says what), 2 wrong use, 65 wrong data in a file, 69
    no daemon runs, 78 wrong configuration."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `meterd`."""
    collect_seldom()
    end_without_a_look()
    # No plugin has a say in what a settings file means, and none is looked for: that reads what
    # every installed package tells of itself.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    _open_what_is_closed()
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            argument.encode()  # bytes that are no UTF-8 come as lone surrogates
    except UnicodeEncodeError:
        echo("meterd: an argument is not UTF-8 text", err=True)
        sys.exit(USAGE)
    try:
        cli(arguments, prog_name="meterd")
    except ConfigError as error:
        _end(str(error), BAD_CONFIG)
    except MeterdError as error:
        _end(f"meterd: {error}", error.code if isinstance(error, Failure) else FAILED)
    except OSError as error:
        if error.filename is not None:
            _end(f"meterd: {error.filename}: {error.strerror}; look at its path and rights")
        if error.errno not in CANNOT_WRITE:
            raise
        _end(f"meterd: cannot write: {error.strerror}")


def _end(message: str, code: int = FAILED) -> NoReturn:
    """Say why, where it can be said, and end."""
    with suppress(OSError):
        echo(message, err=True)
    try:
        sys.stdout.flush()
    except OSError:
        # What is still in the buffer would be written once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Whoever starts a program may have closed its standard streams; then nobody reads them.

    In this order each takes its own number again, which a socket would take else."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
