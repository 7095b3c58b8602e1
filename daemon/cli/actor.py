"""Who does what a command does: the user and the terminal of this machine, and who says so."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
import syslog
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from unicodedata import normalize

import click

from config.persons import NOBODY, person
from config.visible import visible
from daemon.cli.rights import confirm_right
from daemon.cli.typed import Text
from protocols.errors import MeterdError

NOTED_LOGIN: Final = Path("/proc/self/loginuid")
"""Who logged in, as PAM noted it: neither sudo nor su changes it, nor anybody but root."""
NOBODY_NOTED: Final = 2**32 - 1
F = TypeVar("F", bound=Callable[..., Any])
ACT: Final = "meterd.act"
"""Of what a click context knows: what was typed, of a command that changes something."""


class Typed(NamedTuple):
    """Whom a command is done for, from where, and as it was typed."""

    actor: str
    by_way_of: str
    command: str


def actor_option_or(*also: str) -> Callable[[F], F]:
    """Who says it, under these names too."""
    told = "Who says it; default: who logged in here."
    return click.option("--as", "--actor", *also, "actor", type=Text(), help=told)


actor_option = actor_option_or()


def os_user() -> str:
    """The name of who runs this program, as the system knows it."""
    return _name_of(os.getuid())


def login() -> str:
    """Who logged in on this machine, whatever user he became since.

    Where nobody noted it (a container, no PAM) it is who called sudo, which only root can say, or
    the user."""
    noted = _noted_login()
    if noted is not None:
        return noted
    caller = os.environ.get("SUDO_USER")
    return caller if caller and os.getuid() == 0 else os_user()


def _noted_login() -> str | None:
    try:
        uid = int(NOTED_LOGIN.read_text())
    except (OSError, ValueError):  # a kernel without audit
        return None
    return None if uid == NOBODY_NOTED else _name_of(uid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def by_way_of() -> str:
    """The user of this machine and the terminal where the command was typed: `root on /dev/pts/3`,
    `wang as root on no terminal` where another logged in.

    Where no login is noted who called sudo is, of anybody but root, his own word."""
    user, who, caller = os_user(), login(), os.environ.get("SUDO_USER")
    if who != user:
        user = f"{who} as {user}"
    elif caller is not None and _noted_login() is None and os.getuid() != 0:
        user = f"{user}, SUDO_USER={caller}"
    for stream in range(3):
        if os.isatty(stream):
            return f"{user} on {os.ttyname(stream)}"
    return f"{user} on no terminal"


def acting(actor: str | None = None) -> str:
    """Whom a command that changes something acts for; who logged in if nobody is named.

    It leaves a line in the system log of this machine, if there is one, and a row in the database
    that is asked next: the command as it was typed (no secret is ever an argument), who says so,
    and where. UsageError: it is the daemon's name, which is no person. MeterdError: the site lets
    this one not act, or not so."""
    # Wide letters and other blanks make nobody another person.
    name = " ".join(normalize("NFKC", actor or login()).split())
    if person(name) in NOBODY:
        raise click.UsageError(f"{name} is the name of no person: say with --actor who does it")
    act = Typed(name, by_way_of(), shlex.join(["meterd", *sys.argv[1:]]))
    context = click.get_current_context()
    context.meta[ACT] = act
    syslog.openlog("meterd", syslog.LOG_PID, syslog.LOG_USER)
    said = f"{act.command}: said by {act.actor}, {act.by_way_of}"
    syslog.syslog(syslog.LOG_NOTICE, visible(said))
    try:
        confirm_right(context.command_path, name, login(), context.params["site_path"])
    except MeterdError as error:
        syslog.syslog(syslog.LOG_WARNING, visible(f"refused: {error}"))
        raise
    return name


def act_of(context: click.Context) -> Typed | None:
    """How a command was typed that began to change something; None where it only asks."""
    found: Typed | None = context.meta.get(ACT)
    return found
