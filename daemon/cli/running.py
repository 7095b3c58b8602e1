"""What commands share that ask the running daemon."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from config.problems import ConfigError, Problem
from config.toml_lines import read_toml
from daemon.api.asking import NotRunning, RequestFailed, ask
from daemon.cli.output import BAD_CONFIG, FAILED, NOT_RUNNING, USAGE, echo, fail, print_table

Answers = Generator[dict[str, Any], None, None]
CODES: Final = {"ConfigError": BAD_CONFIG, "NoMidnightYet": USAGE}
"""Exit codes of what the daemon refuses; for the rest it is FAILED."""


leave_dark_option = click.option(
    "--leave-dark",
    "leave_dark",
    metavar="LINE",
    multiple=True,
    help="LINE may stop although points on it are cut: nobody restores them then.",
)


@contextmanager
def daemon_asked(
    site_path: Path, request: Mapping[str, Any], refused: str = ""
) -> Iterator[Answers]:
    """The daemon's answers, as they come. Leaving early takes back what was asked.

    `refused`: what to say besides when it does not do it, but not when nobody knows how far it
    came."""
    with closing(ask(data_directory(site_path), request)) as answers:
        try:
            yield answers
        except NotRunning as error:
            raise fail(str(error), NOT_RUNNING) from None
        except RequestFailed as error:
            message = str(error)
            if refused and error.kind:
                message = f"{error}\n{refused}"
            raise fail(message, CODES.get(error.kind, FAILED)) from None


def print_difference(difference: Mapping[str, Any], *, is_done: bool = False) -> None:
    """A difference of configurations, line by line, as it would be or as it was taken over."""
    rows = [(name, "start", "") for name in difference["added"]]
    for name, why in difference["changed"].items():
        rows.append((name, "start anew", ", ".join(why)))
    rows += [(name, "stop", "") for name in difference["removed"]]
    if rows:
        print_table(("line", "what", "because of"), rows)
    echo(f"unchanged: {difference['unchanged']} lines")
    for address, was, now in difference["moved"]:
        echo(f"meter {address} moves from {was} to {now}")
    for words in difference["days"]:
        echo(words)
    for table, count in difference["archive"].items():
        echo(f"rows {'taken over' if is_done else 'that differ'} in {table}: {count}")
    for key in difference["settings"]:
        echo(f"{key} differs")
    for key in difference["needs_restart"]:
        echo(f"{key} differs and needs a restart; until then it stays as it was")
    for words in (*difference["waiting"], *difference["stale"]):
        echo(words)


def is_nothing(difference: Mapping[str, Any]) -> bool:
    """True for a difference of nothing."""
    return not any(
        value for key, value in difference.items() if key not in ("unchanged", "waiting", "stale")
    )


def data_directory(site_path: Path) -> Path:
    """Where the daemon's socket is: all that must be right in the file to find it."""
    named = _said_of_site(site_path).get("data_directory")
    if not isinstance(named, str) or not named:
        raise ConfigError([Problem(site_path.name, 1, "site.data_directory", "is missing")])
    return (site_path.absolute().parent / named).absolute()


def _said_of_site(site_path: Path) -> Mapping[str, Any]:
    # A file that is not there is named as it was asked for.
    shown_as = site_path.name if site_path.is_file() else str(site_path)
    content, _ = read_toml(site_path, shown_as)
    site = content.get("site")
    return site if isinstance(site, dict) else {}
