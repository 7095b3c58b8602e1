"""Man pages and shell completion of every command, made from the commands themselves."""

import sys
from importlib.metadata import version
from pathlib import Path

import click
from click.shell_completion import get_completion_class
from click_man.core import write_man_pages

from daemon.cli import cli

SHELLS = {"bash": "meterd", "zsh": "_meterd", "fish": "meterd.fish"}


def loaded() -> click.Group:
    """The program with its commands read: they are loaded only when used."""
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return click.Group(
        commands={name: command for name, command in commands.items() if command is not None},
        params=cli.params,
        help=cli.help,
        short_help="electricity meter reading and prepaid billing",
    )


def write_completion(folder: Path) -> None:
    """One file a shell, each called as that shell looks for it."""
    for shell, name in SHELLS.items():
        completion = get_completion_class(shell)
        assert completion is not None
        place = folder / shell / name
        place.parent.mkdir(parents=True, exist_ok=True)
        text = completion(cli, {}, "meterd", "_METERD_COMPLETE").source()
        place.write_text(text, encoding="utf-8")


def main(folder: Path, day: str) -> None:
    """Write FOLDER/man and FOLDER/completion; DAY stands at the foot of every page."""
    pages = folder / "man"
    pages.mkdir(parents=True, exist_ok=True)
    write_man_pages("meterd", loaded(), version=version("meterd"), target_dir=str(pages), date=day)
    write_completion(folder / "completion")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
