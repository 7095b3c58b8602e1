"""Commands that ask the running daemon: what they say and how they end."""

import asyncio
import os
import re
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from config.problems import ConfigError, Problem
from daemon.api import unix_socket
from daemon.api.operations import NoMidnightYet
from daemon.api.unix_socket import listen
from daemon.cli import main
from daemon.cli.reload import REFUSED
from protocols.errors import MeterdError

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site() -> Iterator[Path]:
    with TemporaryDirectory(prefix="m") as folder:
        path = Path(folder) / "meterd.toml"
        path.write_text('[site]\ndata_directory = "data"\n')
        yield path


@pytest.fixture
def say(site: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """A command's exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "-c", str(site)])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


@contextmanager
def answered(site: Path, *told: dict[str, Any] | MeterdError) -> Iterator[None]:
    """A daemon that answers every request so."""

    async def answer(request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        for it in told:
            if isinstance(it, MeterdError):
                raise it
            yield it

    loop = asyncio.new_event_loop()
    with listen(site.parent / "data") as listening:
        task = loop.create_task(unix_socket.serve(listening, answer))
        thread = Thread(target=lambda: loop.run_until_complete(asyncio.wait({task})))
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(10)
            loop.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("meters.csv", 2, "address", "is no address")]), 78),
        (MeterdError("ratio differs"), 1),
    ],
)
def test_a_reload_that_is_refused_ends_with_what_that_means(
    site: Path, say: Say, error: MeterdError, code: int
) -> None:
    for arguments in (["reload"], ["reload", "--json"]):
        with answered(site, error):
            assert say(*arguments) == (code, "", f"meterd: {error}\n{REFUSED}\n")


def test_a_reload_of_a_file_that_is_no_toml_is_refused_alike(site: Path, say: Say) -> None:
    site.write_text("[[[")
    code, _, errors = say("reload")
    assert (code, errors.endswith(f"1 mistake\n{REFUSED}\n")) == (78, True)


def test_a_reload_without_a_daemon_says_nothing_of_one(say: Say) -> None:
    code, _, errors = say("reload")
    assert (code, REFUSED in errors) == (69, False)


def test_whoever_pays_does_not_wait_for_a_daemon_that_stands_still(
    site: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.cli.topup.DAEMON_S", 0.05)
    site.write_text('[site]\nname = "x"\nzone = "UTC"\ndata_directory = "data"\n')
    with listen(site.parent / "data"):
        code, _, errors = say("topup", "C1", "5", "--key", "k1")
    assert (code, "there is no database in" in errors) == (1, True), errors


def test_a_trace_begins_with_why_it_may_be_quiet(site: Path, say: Say) -> None:
    with answered(site, {"line": "gate-1", "up": True, "reason": ""}):
        assert say("trace", "gate-1", "--json") == (
            0,
            "",
            "gate-1 is up; an idle line is quiet: meterd collect --line gate-1 --what clock makes it talk\n",
        )
    with answered(site, {"line": "gate-1", "up": False, "reason": "refused"}):
        assert say("trace", "gate-1") == (0, "", "gate-1 is down: refused\n")


def test_ctrl_c_ends_a_trace_in_silence_however_early(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("daemon.cli.running.ask", stop)
        assert say("trace", "gate-1") == (0, "", "")
    with monkeypatch.context() as patched:
        patched.setattr("importlib.import_module", stop)
        assert say("trace", "gate-1") == (1, "", "")


def test_terminals_of_a_site_without_a_listener_are_explained(site: Path, say: Say) -> None:
    with answered(site, {"listeners": []}):
        assert say("terminals", "--json") == (0, "", "this site has no [[listener]]\n")
    with answered(site, {"listeners": ["gprs"]}):
        assert say("terminals", "--json") == (0, "", "")


def test_a_collect_that_has_nobody_to_ask_says_why(site: Path, say: Say) -> None:
    with answered(site, {"asked": 0}):
        code, _, errors = say("collect", "--failed")
    assert (code, errors) == (0, "nothing is missing\n")
    with answered(site, {"asked": 0}):
        code, _, errors = say("collect", "--withheld")
    assert (code, errors) == (0, "nothing is withheld\n")
    with answered(site, NoMidnightYet("that day has no midnight yet")):
        code, _, errors = say("collect", "P1", "--day", "2030-01-01")
    assert (code, errors) == (2, "meterd: that day has no midnight yet\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["P301", "--failed"], "--failed goes with --line, not with meters"),
        (["--failed", "--day", "2026-03-01"], "leave out --day"),
        (["P301", "--withheld"], "--withheld goes with --line, not with meters"),
        (["--withheld", "--day", "2026-03-01"], "leave out --day"),
        (["--withheld", "--what", "clock"], "--withheld asks for the days"),
        ([], "name meters, or --line, --failed or --withheld"),
    ],
)
def test_a_wrong_use_of_collect_is_told(say: Say, arguments: list[str], words: str) -> None:
    code, _, errors = say("collect", *arguments)
    assert (code, words in errors) == (2, True)


def test_a_table_on_a_narrow_screen_cuts_nothing_off() -> None:
    row = (
        "gprs",
        "a-line-of-a-long-name-0123456789",
        "860123456789012",
        "connected since a long time",
    )
    head = ("listener", "line", "terminal", "note")
    program = (
        f"from daemon.cli import output; output.print_table({head}, [{row}], whole=['terminal'])"
    )
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 40))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    subprocess.run(
        [sys.executable, "-c", program], stdout=theirs, env=environment, check=True, timeout=60
    )
    shown = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 65536).decode())
    os.close(theirs)
    os.close(ours)
    assert "…" not in shown
    assert "860123456789012" in shown
    columns = zip(
        *(map(str.strip, line.split("│")[1:-1]) for line in shown.splitlines() if "│" in line),
        strict=True,
    )
    assert ["".join(column).replace(" ", "") for column in columns] == [
        cell.replace(" ", "") for cell in row
    ]
