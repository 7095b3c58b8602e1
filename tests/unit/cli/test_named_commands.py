"""Every command that the program names in a text is one that it has, with the options that it has."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from daemon.billing.standstill import REASONS
from daemon.cli import cli
from daemon.quality.identity import KnownMeter, judge_identity
from daemon.quality.tasks import Beside, Doubtful, Waiting, task_of
from protocols.reading import MeterIdentity
from storage.standstill import Standing

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"meterd (?:[a-z][^;:()`\n]*)")
WORDS = {
    "HH:MM": "10:15",
    "YYYY-MM-DD": "2026-03-01",
    "DAY": "2026-03-01",
    "TOTAL": "12.50",
    "RATES": "4.50,8.00",
    "KWH": "12.50",
    "RATIO": "80",
    "ADDRESS": "000000000044",
}
"""What a person types where a text says it in capitals."""
STANDING = Standing(
    point="P1",
    account="A1",
    meter="000000000001",
    line="line",
    reason="missing",
    since=date(2026, 3, 1),
    age_days=1,
    held_from=date(2026, 3, 1),
    held_to=date(2026, 3, 12),
    hold=None,
    doubt_day=None,
    codes=(),
    next_step=None,
    error=None,
    waiting=None,
    lacks=date(2026, 3, 2),
)
DOUBT = Doubtful(
    point="P1",
    first_day=date(2026, 3, 3),
    last_day=date(2026, 3, 3),
    state="suspect",
    total="9105.00",
    codes=("V08",),
    next_step="person",
    before=Beside(date(2026, 3, 2), "110.00"),
    behind=Beside(date(2026, 3, 4), "115.00"),
)
EXCHANGE = 'meterd meter exchange P1 --at "DAY HH:MM" --new-address ADDRESS'
HELD = replace(DOUBT, state="published", next_step=None, held_from=date(2026, 2, 20))
DOUBTS = [
    DOUBT,
    *(replace(DOUBT, codes=(code,)) for code in ("V05", "V35", "V36", "V38")),
    replace(DOUBT, codes=("V36",), total="3.00"),
    replace(DOUBT, codes=("V05",), skew_s=-3600),
    replace(DOUBT, state="rejected", codes=()),
    *(replace(DOUBT, next_step=step) for step in ("recollect", "wait", "reread", None)),
    replace(DOUBT, state="published", next_step=None, codes=("V33",)),
    *(replace(HELD, hold=hold) for hold in ("span", "ratio", "spike", "backward")),
    *(replace(HELD, hold=hold) for hold in ("final_lost", "initial_lost")),
    replace(HELD, hold="spike", document=7),
    *(replace(DOUBT, codes=(code,)) for code in ("V07", "V27", "V31")),
    replace(DOUBT, before=Beside(date(2026, 3, 2), "110.00", is_substitute=True)),
    replace(DOUBT, waiting=Waiting(7, "Li", "substitute", "12.50")),
    replace(DOUBT, codes=("V03",), next_step="recollect", found=EXCHANGE),
]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words begin with, and its arguments."""
    command: click.Command = cli
    context = click.Context(cli, info_name="meterd")
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r} in {command.name}"
        command, words = found, words[1:]
    return command, words


def parse(text: str) -> None:
    """As the program would, when a person has filled the text in."""
    for word, typed in WORDS.items():
        text = text.replace(word, typed)
    command, words = command_of(shlex.split(text.split(" (")[0])[1:])
    command.make_context(command.name, words)
    assert explains_itself(command), text


def explains_itself(command: click.Command) -> bool:
    """Whether it answers `--help`, and with what it is called by."""
    shown = CliRunner().invoke(command, ["--help"])
    return shown.exit_code == 0 and shown.output.startswith("Usage: ")


@pytest.mark.parametrize("doubtful", DOUBTS)
def test_what_a_task_names_can_be_typed(doubtful: Doubtful) -> None:
    commands = [it for it in task_of(doubtful).commands if it.startswith("meterd ")]
    assert commands
    for command in commands:
        parse(command)


@pytest.mark.parametrize("reason", REASONS)
def test_the_next_step_of_a_standstill_can_be_typed(reason: str) -> None:
    told = REASONS[reason].next_step.format(STANDING)
    for step in re.split(r"; |, then |: ", told):
        if step.startswith("meterd ") and " tells " not in step:
            parse(step)


def test_what_a_wrong_identity_names_can_be_typed() -> None:
    known = KnownMeter("000000000001", "P1", "1", is_billed=True)
    told = MeterIdentity("2", prepayment="money")
    findings = judge_identity(known, told, ["000000000002"]).findings
    assert len(findings) == 3
    for finding in findings:
        parse(finding.command)


def texts(path: Path) -> Iterator[str]:
    """What a module says, with X for what is put in; no docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in docstrings | parts:
            yield str(node.value)


def named_options() -> Iterator[tuple[str, str]]:
    """(module, command) for each command that is named with an option."""
    for package in ("config", "daemon", "storage"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for text in texts(path):
                for named in NAMED.findall(text):
                    if " --" in named:
                        yield str(path.relative_to(ROOT)), named


def unknown_options(named: str) -> list[str]:
    words = named.replace('"', " ").replace("'", " ").split()
    command, arguments = command_of(words[1:])
    known = {name for it in command.params for name in (*it.opts, *it.secondary_opts)}
    options = [it.rstrip(".,") for it in arguments if it.startswith("--")]
    return [it for it in options if it not in known]


def test_an_option_that_a_text_names_is_there() -> None:
    named = set(named_options())
    assert named
    assert {it: unknown for it in named if (unknown := unknown_options(it[1]))} == {}
