"""Who does what a command does: the user and the terminal of this machine, and who says so."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
import syslog
from typing import Final, NamedTuple
from unicodedata import normalize

import click

from config.visible import visible
from daemon.cli.typed import Text
from daemon.control.persons import NOBODY, person

ACT: Final = "meterd.act"
"""Of what a click context knows: what was typed, of a command that changes something."""


class Typed(NamedTuple):
    """Whom a command is done for, from where, and as it was typed."""

    actor: str
    by_way_of: str
    command: str


actor_option = click.option(
    "--as", "--actor", "actor", type=Text(), help="Who says it; default: the user of this machine."
)


def os_user() -> str:
    """The name of who runs this program, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def login() -> str:
    """Who logged in on this machine. Through sudo it is who called it, which only root can say."""
    caller = os.environ.get("SUDO_USER")
    return caller if caller and os.getuid() == 0 else os_user()


def by_way_of() -> str:
    """The user of this machine and the terminal where the command was typed: `root on /dev/pts/3`.

    Through sudo the user is who called it; of anybody but root that is his own word."""
    user = os_user()
    caller = os.environ.get("SUDO_USER")
    if caller is not None:
        user = f"{caller} as {user}" if os.getuid() == 0 else f"{user}, SUDO_USER={caller}"
    for stream in range(3):
        if os.isatty(stream):
            return f"{user} on {os.ttyname(stream)}"
    return f"{user} on no terminal"


def acting(actor: str | None = None) -> str:
    """Whom a command that changes something acts for; the user of this machine if nobody is named.

    It leaves a line in the system log of this machine, if there is one, and a row in the database
    that is asked next: the command as it was typed (no secret is ever an argument), who says so,
    and where. UsageError: it is the daemon's name, which is no person."""
    # Wide letters and other blanks make nobody another person.
    name = " ".join(normalize("NFKC", actor or os_user()).split())
    if person(name) in NOBODY:
        raise click.UsageError(f"{name} is the name of no person: say with --actor who does it")
    act = Typed(name, by_way_of(), shlex.join(["meterd", *sys.argv[1:]]))
    click.get_current_context().meta[ACT] = act
    syslog.openlog("meterd", syslog.LOG_PID, syslog.LOG_USER)
    said = f"{act.command}: said by {act.actor}, {act.by_way_of}"
    syslog.syslog(syslog.LOG_NOTICE, visible(said))
    return name


def act_of(context: click.Context) -> Typed | None:
    """How a command was typed that began to change something; None where it only asks."""
    found: Typed | None = context.meta.get(ACT)
    return found
