"""Every command, where the files, the user or the streams are not what it needs: one line of words
and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from daemon.cli import cli
from tests.servers.ports import free_port
from tests.unit.config.test_site import GOOD, write

PROGRAM: Final = Path(__file__).with_name("with_streams.py")
ROOT: Final = Path(__file__).parents[3]
NOBODY: Final = 65534
Name = tuple[str, ...]
TYPED: Final = {
    "Day": "2026-03-01",
    "Month": "2026-03",
    "Cycle": "2026",
    "Moment": "2026-03-01T10:00",
    "Yuan": "10",
    "Kwh": "1.5",
    "Total": "12.50",
    "Ratio": "80",
    "Whole": "1",
    "Number": "1",
    "RegisterList": "12.50",
    "KnownHash": "1:" + "0" * 64,
}
"""What a person types, by the kind of the parameter; else a name."""
ASKED_FOR: Final = {"reason", "evidence", "tariff"}
"""Options that are asked for where they are not given."""
MORE: Final[dict[Name, list[str]]] = {
    ("backup",): ["--to", "backups"],
    ("prove",): ["A1"],
    ("protect", "add"): ["--account", "A1"],
    ("supply", "lock"): ["--account", "A1"],
    ("supply", "restore"): ["--account", "A1"],
    ("quality", "release-link"): ["--agreed", "12.50"],
    ("quality", "revalidate"): ["--all"],
    ("deadletter", "drop"): ["1"],
    ("deadletter", "replay"): ["--all"],
    ("meter", "correct"): ["--address", "000000000001"],
    ("meter", "exchange"): ["--same-serial", "--old-final-lost"],
    ("collect",): ["--line", "gate-1"],
}
"""What a command needs besides, of several things one."""
LIKE_ANY_USER: Final = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.geteuid() == 0
    else []
)
"""What is another user's is closed to root, too."""
BEFORE_DATA: Final = {("check",), ("policy", "check"), ("policy", "show"), ("supply", "restore")}
"""What asks the files of a site and no database, or is refused by them: a site in shadow mode
restores nobody."""
ENDS: Final = {0, 1, 2, 65, 69, 78}
Ran = Callable[..., tuple[int, str]]


def commands() -> Iterator[tuple[Name, click.Command]]:
    """Every one that does something, with its name."""
    with click.Context(cli) as context:
        for name in cli.list_commands(context):
            found = cli.get_command(context, name)
            assert found is not None
            if isinstance(found, click.Group):
                for inner in found.list_commands(context):
                    command = found.get_command(context, inner)
                    assert command is not None
                    yield (name, inner), command
            else:
                yield (name,), found


def typed(name: Name, command: click.Command) -> list[str]:
    """What it must be given, and what it would ask a person for."""
    words: list[str] = []
    for it in command.params:
        if not (it.required or it.name in ASKED_FOR):
            continue
        value = "A1"
        if isinstance(it.type, click.Choice):
            value = str(it.type.choices[0])
        elif not isinstance(it.type, click.Path):
            value = TYPED.get(type(it.type).__name__, value)
        elif it.name != "tariff":
            value = __file__  # a file that is there; what is in it comes later
        words += [value] if isinstance(it, click.Argument) else [it.opts[0], value]
    return [*MORE.get(name, []), *words]


COMMANDS: Final = dict(commands())
WITH_SITE: Final = [
    name
    for name, command in COMMANDS.items()
    if "site_path" in (given := {it.name for it in command.params})
    and "tcp" not in given  # of a line, which comes first
    and name[0] not in ("ports", "rehearse")
    and name not in {("notice", "receipt"), ("restore",)}  # their own files come first
]


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    """Tells exit code and standard error of a command."""
    with subprocess.Popen(
        [*LIKE_ANY_USER, sys.executable, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "METERD_METER_PASSWORD": "000000"},
    ) as program:
        asked, told = program.stdin, program.stdout
        assert asked is not None
        assert told is not None

        def run(*arguments: str, stdout: str = "open") -> tuple[int, str]:
            case = {"arguments": arguments, "stdout": stdout}
            asked.write(json.dumps(case) + "\n")
            asked.flush()
            found = json.loads(told.readline())
            return found["code"], found["stderr"]

        yield run


def with_site(ran: Ran, site: Path, but: Collection[Name] = ()) -> dict[Name, tuple[int, str]]:
    """What every command says that reads a site's file."""
    return {
        name: ran(*name, *typed(name, COMMANDS[name]), "-c", str(site))
        for name in WITH_SITE
        if name not in but
    }


def mistaken(found: dict[Name, tuple[int, str]], codes: set[int], words: str) -> list[str]:
    """Commands that do not end with one of these codes and such a line."""
    return [
        f"{' '.join(name)}: {code}: {stderr}"
        for name, (code, stderr) in found.items()
        if code not in codes or words not in stderr or "Traceback" in stderr
    ]


def with_free_port(folder: Path) -> Path:
    """A good site whose daemon does not meet another one's port."""
    site = write(folder)
    with site.open("a") as file:
        file.write(f'\n[http]\nlisten = "127.0.0.1:{free_port()}"\n')
    return site


def test_no_site_is_told_by_its_path(ran: Ran, tmp_path: Path) -> None:
    found = with_site(ran, tmp_path / "no-such" / "meterd.toml")
    assert mistaken(found, {78}, "no-such/meterd.toml") == []


def test_a_data_directory_that_is_a_file_is_told_by_its_path(ran: Ran, tmp_path: Path) -> None:
    site = with_free_port(tmp_path)
    (tmp_path / "data").write_text("no folder")
    found = with_site(ran, site, but=BEFORE_DATA)
    assert mistaken(found, {1, 69}, f"{tmp_path}/data") == []


def test_an_archive_that_is_not_there_stops_no_payment(ran: Ran, tmp_path: Path) -> None:
    site = write(tmp_path)
    (tmp_path / "archive").rename(tmp_path / "moved")
    needs_it = (("run",), ("check",), ("account", "import"), ("contact", "import"))
    for name in needs_it:
        code, stderr = ran(*name, "-c", str(site))
        assert (code, "archive" in stderr) == (78, True)
    code, stderr = ran("topup", *typed(("topup",), COMMANDS[("topup",)]), "-c", str(site))
    assert "no database" in stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
class TestWhatIsAnotherUsers:
    """Nobody's, with no right for others."""

    def test_its_site_is_told(self, ran: Ran, tmp_path: Path) -> None:
        site = write(tmp_path)
        given_away(site)
        assert mistaken(with_site(ran, site), {2}, f"'{site}' is not readable") == []

    def test_its_data_directory_is_told(self, ran: Ran, tmp_path: Path) -> None:
        site = with_free_port(tmp_path)
        (tmp_path / "data").mkdir()
        given_away(tmp_path / "data")
        found = with_site(ran, site, but=BEFORE_DATA)
        assert mistaken(found, {1, 69}, f"{tmp_path}/data") == []

    def test_its_files_are_told_each(self, ran: Ran, tmp_path: Path) -> None:
        site = write(tmp_path)
        for name in GOOD:
            if name != site.name:
                given_away(tmp_path / name)
        code, stderr = ran("check", "-c", str(site))
        assert code == 78
        for name in GOOD:
            assert (f"{name}:1: " in stderr) is (name != site.name), stderr


def given_away(path: Path) -> None:
    """From now on it is nobody's alone."""
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize(
    ("stdout", "codes", "words"),
    [
        ("closed", {0}, ""),
        ("full", {1}, "meterd: cannot write: No space left on device"),
        ("unread", {1}, ""),
    ],
)
def test_help_that_nobody_can_read_is_no_traceback(
    ran: Ran, stdout: str, codes: set[int], words: str
) -> None:
    found = {name: ran(*name, "--help", stdout=stdout) for name in COMMANDS}
    assert mistaken(found, codes, words) == []
