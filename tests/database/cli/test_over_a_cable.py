"""What is done to a meter over a cable is written down where there is a site (A13, D9)."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import psycopg
import pytest

from daemon.cli.authority import ENVIRONMENT
from simulators.lines.stream_lines import serve_tcp
from tests.database.cli.test_dead_letters import SETTINGS
from tests.servers import commands
from tests.wire.cli.test_engineer import ADDRESSES, meter

pytestmark = pytest.mark.acceptance
METER = ("--meter", ADDRESSES[0], "--timeout", "2", "--as", "anna")
VALUE = ("--identifier", "04000102", "--value", "083000", "--yes")
ACTS = {
    "write": ("write", *METER, *VALUE),
    "clock --set": ("clock", *METER, "--set", "--yes"),
    "certify --may-write": ("certify", *METER, "--may-write", "--only", "write_back"),
}


def over_a_cable(*words: object) -> subprocess.CompletedProcess[str]:
    """A command at a simulated meter."""

    async def story() -> subprocess.CompletedProcess[str]:
        async with serve_tcp([meter(ADDRESSES[0])]) as line:
            return await asyncio.to_thread(commands.run, *words, "--tcp", line.place)

    return asyncio.run(story())


@pytest.fixture
def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a site with a database."""
    monkeypatch.setenv(ENVIRONMENT, "123456")
    for name, text in {"meterd.toml": SETTINGS, "url": database_url}.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "meterd.toml"


def acts(database_url: str) -> list[tuple[str, str]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT actor, command FROM act").fetchall()


@pytest.mark.parametrize("words", ACTS.values(), ids=ACTS)
def test_who_did_it_is_in_the_database(
    site: Path, database_url: str, words: tuple[str, ...]
) -> None:
    done = over_a_cable(*words, "-c", site)
    assert done.stderr.count("only the system log") == 0, done.stderr
    ((actor, command),) = acts(database_url)
    assert actor == "anna"
    assert command.startswith(f"meterd {words[0]} --meter {ADDRESSES[0]}")
    assert "123456" not in command


def test_what_only_looks_is_not_an_act(site: Path, database_url: str) -> None:
    assert over_a_cable("clock", *METER, "-c", site).returncode == 0
    assert acts(database_url) == []


def test_a_database_that_is_away_keeps_nobody_from_a_meter(site: Path) -> None:
    site.with_name("url").write_text("postgresql://nobody@127.0.0.1:1/none")
    done = over_a_cable(*ACTS["write"], "-c", site, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["values"][0]["value"] == "083000"
    assert "only the system log of this machine has who does this: the database" in done.stderr


def test_a_site_that_is_named_has_to_be_there(site: Path) -> None:
    done = over_a_cable(*ACTS["write"], "-c", site.with_name("other.toml"))
    assert (done.returncode, "other.toml is not there" in done.stderr) == (2, True)
