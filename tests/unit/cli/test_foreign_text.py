"""A name that somebody gave, or bytes that a terminal sent, are printed and obeyed by nobody."""

import os
import pty
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from click.testing import CliRunner

import daemon.cli
from daemon.cli.output import USAGE, echo, print_columns, print_table, print_with_steps

FOREIGN = "[/x] [bold]:smile: \x1b[2J\x07\x9b"
SHOWN = r"[/x] [bold]:smile: \x1b[2J\x07\x9b"


def on_terminal(print_it: Callable[[], None]) -> str:
    """What stands on a terminal after it was printed there."""
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal, redirect_stdout(terminal):
        print_it()
        terminal.flush()
        shown = os.read(ours, 65_536).decode()
    os.close(ours)
    return shown


@pytest.mark.parametrize(
    "print_it",
    [
        lambda: print_table(["name"], [[FOREIGN]]),
        lambda: print_table(["name"], [["x"]], title=FOREIGN),
        lambda: print_columns({"name": "name"}, [{"name": FOREIGN}]),
        lambda: print_with_steps(["a"], [([FOREIGN], ["meterd x"])], steps="next"),
        lambda: echo(FOREIGN),
    ],
)
def test_a_terminal_shows_what_is_in_a_text(
    print_it: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert SHOWN in on_terminal(print_it)


def test_a_pipe_keeps_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [["x\ny", FOREIGN], ["1\t2", "z"]])
    assert capsys.readouterr().out.splitlines() == ["a\tb", rf"x\ny{chr(9)}{SHOWN}", "1\\t2\tz"]


def test_no_command_prints_past_echo() -> None:
    rooms = (Path(daemon.cli.__file__).parent).glob("*.py")
    passing = [it.name for it in rooms if "click.echo(" in it.read_text(encoding="utf-8")]
    assert passing == ["output.py"]


@pytest.mark.parametrize(
    "typed",
    [("scan", "--tcp", FOREIGN), (FOREIGN,), ("read", "--\x1b[2J")],
)
def test_what_was_typed_wrong_is_shown(typed: tuple[str, ...]) -> None:
    said = CliRunner().invoke(daemon.cli.cli, typed)
    assert said.exit_code == USAGE
    assert r"\x1b[2J" in said.output
    assert "\x1b" not in said.output
