"""A command that asks the database goes by its clock, as all that is posted does."""

import ast
from pathlib import Path

import pytest

import daemon.cli

BY_THE_HOSTS = {"gaps.py", "standstill.py", "deadletter.py"}
"""What the daemon collects, and when, is by the host's clock: so is what these tell of it."""
COMMANDS = sorted(Path(daemon.cli.__file__).parent.glob("*.py"))


def clocks_of(source: str) -> list[str]:
    """Where the host's clock is asked."""
    asked = [it for it in ast.walk(ast.parse(source)) if isinstance(it, ast.Call)]
    names = [ast.unparse(it.func) for it in asked]
    return [it for it in names if it.endswith((".now", ".today", ".utcnow"))]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda it: it.name)
def test_who_asks_the_database_does_not_ask_the_hosts_clock(path: Path) -> None:
    source = path.read_text("utf-8")
    if "on_database(" in source and path.name not in BY_THE_HOSTS:
        assert clocks_of(source) == []


def test_a_question_to_the_hosts_clock_is_seen() -> None:
    assert clocks_of("today = datetime.now(zone).date()") == ["datetime.now"]
