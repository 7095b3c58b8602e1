"""Terminals that dial in at the installed daemon."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stage import DAYS, SITE, ZONE, Stage, simulated
from tests.servers.commands import METERD
from tests.servers.ports import free_port

pytestmark = [
    pytest.mark.acceptance,
    # It is about lines and commands, and takes minutes: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
KNOWN, UNKNOWN = ("dtu-1", "dtu-2", "dtu-3"), "dtu-9"
METERS_EACH = 2

LISTENER = """
[[listener]]
name = "gprs"
listen = "127.0.0.1:{port}"
terminals = "terminals.csv"
registration = {{ text = "REG:{{id:8}}\\r\\n" }}
registration_answer = {{ text = "OK\\r\\n" }}
heartbeat = {{ text = "PING" }}
heartbeat_answer = {{ text = "PONG" }}
reply_timeout_s = 0.5
"""
DIALLING = """
[lines.{name}]
reply_delay_ms = [1, 6]

[lines.{name}.dial]
port = {port}
registration = {{ text = "REG:{terminal}\\r\\n" }}
heartbeat = {{ text = "PING" }}
heartbeat_s = 1
reconnect_s = 0.2

[[meters]]
line = "{name}"
address = "{first:012d}"
count = {count}
"""


def terminal_of(line: str) -> str:
    return f"{8600 + number_of(line):08d}"


def number_of(line: str) -> int:
    return int(line.removeprefix("dtu-"))


def meters_of(line: str) -> list[str]:
    first = 1000 * number_of(line)
    return [f"{first + number:012d}" for number in range(METERS_EACH)]


def list_line(folder: Path, line: str, installed_on: str) -> None:
    """Into the list of terminals and the archive."""
    with (folder / "terminals.csv").open("a") as table:
        table.write(f"{line},{terminal_of(line)}\n")
    for address in meters_of(line):
        with (folder / "meters.csv").open("a") as table:
            table.write(f"{address},{line},P{int(address)},{installed_on}\n")
        with (folder / "points.csv").open("a") as table:
            table.write(f"P{int(address)}\n")


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """With uvloop, or where it cannot be imported."""
    if getattr(request, "param", "uvloop") == "uvloop":
        return {}
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError\n")
    return {"PYTHONPATH": str(hidden)}


@pytest.fixture
def staged(database_url: str, tmp_path: Path, environment: dict[str, str]) -> Iterator[Stage]:
    """A daemon, and terminals that call it: those that it knows and one more. What it knows is
    read."""
    folder = tmp_path
    port = free_port()
    http_port = free_port()
    scenario = f'zone = "{ZONE}"\n' + "".join(
        DIALLING.format(
            name=name,
            port=port,
            terminal=terminal_of(name),
            first=int(meters_of(name)[0]),
            count=METERS_EACH,
        )
        for name in (*KNOWN, UNKNOWN)
    )
    (folder / "scenario.toml").write_text(scenario)
    (folder / "database-url").write_text(database_url)
    (folder / "password").write_text("000000")
    lines = LISTENER.format(port=port)
    (folder / "meterd.toml").write_text(
        SITE.format(zone=ZONE, days=DAYS, lines=lines, port=http_port, mode="shadow")
    )
    (folder / "tariffs.toml").write_text(
        '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n'
    )
    heads = {
        "meters": "address,line,point,installed_on",
        "points": "point",
        "accounts": "account,tariff",
    }
    for name, head in {**heads, "terminals": "line,terminal"}.items():
        (folder / f"{name}.csv").write_text(f"{head}\n")
    with ExitStack() as opened:
        _, bench = opened.enter_context(simulated(folder / "scenario.toml"))
        staged = Stage(folder, database_url, bench, http_port, "shadow")
        opened.callback(staged.close)
        for line in KNOWN:
            list_line(folder, line, opening(staged))
        staged.start_daemon(**environment)
        staged.until(
            "all that is known is read",
            lambda: published(staged) == DAYS * METERS_EACH * len(KNOWN),
        )
        staged.until("the unknown one called", lambda: UNKNOWN in states(staged))
        yield staged


on_both_loops = pytest.mark.parametrize("environment", ["uvloop", "asyncio"], indirect=True)


def opening(staged: Stage) -> str:
    return str(staged.today - timedelta(days=DAYS - 1))


def published(staged: Stage) -> int:
    ((count,),) = staged.ask("SELECT count(*) FROM slot WHERE state = 'published'")
    return int(count)


def states(staged: Stage) -> dict[str, str]:
    """Line -> state; the unknown terminal by the line that it will be."""
    rows = [json.loads(row) for row in staged.meterd("terminals", "--json").splitlines()]
    return {f"dtu-{int(row['terminal']) - 8600}": row["state"] for row in rows}


def connections(staged: Stage) -> set[str]:
    """The far ends of the connections at the listener."""
    port = int(staged.bench.state()["lines"]["dtu-1"]["place"].rpartition(":")[2])
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[2] for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "01"}


def edit(staged: Stage, old: str, new: str) -> None:
    text = staged.site.read_text()
    assert old in text
    staged.site.write_text(text.replace(old, new, 1))


def reloaded(staged: Stage) -> dict[str, Any]:
    done: dict[str, Any] = json.loads(staged.meterd("reload", "--json"))
    return done


@on_both_loops
def test_what_the_meters_behind_terminals_froze_is_stored(staged: Stage) -> None:
    truth = staged.bench.truth()
    rows = staged.ask(
        "SELECT m.address, s.day, s.total FROM slot s JOIN meter m ON m.id = s.meter_id"
    )
    assert len(rows) == DAYS * METERS_EACH * len(KNOWN)
    assert [row for row in rows if truth[row[0]][row[1]] * 100 != row[2]] == []
    assert states(staged) == {**dict.fromkeys(KNOWN, "connected"), UNKNOWN: "unknown"}
    health = staged.health()
    assert (health["status"], health["listeners"]) == (
        "ok",
        {"gprs": {"terminals": 3, "connected": 3}},
    )
    assert staged.stop_daemon() == 0
    assert "Traceback" not in staged.log()


@on_both_loops
def test_an_unknown_terminal_becomes_a_line_without_another_call(staged: Stage) -> None:
    before = connections(staged)
    assert len(before) == len(KNOWN) + 1
    list_line(staged.folder, UNKNOWN, opening(staged))
    done = reloaded(staged)
    assert (done["added"], done["changed"], done["needs_restart"]) == ([UNKNOWN], {}, [])
    staged.until("it is read", lambda: published(staged) == DAYS * METERS_EACH * (len(KNOWN) + 1))
    assert states(staged) == dict.fromkeys([*KNOWN, UNKNOWN], "connected")
    assert connections(staged) == before


@on_both_loops
def test_a_terminal_that_was_away_is_asked_again_and_the_daemon_was_well_meanwhile(
    staged: Stage,
) -> None:
    staged.bench.cut("dtu-1")
    staged.until("it is missed", lambda: states(staged)["dtu-1"] == "away")
    health = staged.health()
    assert (health["status"], health["listeners"]) == (
        "ok",
        {"gprs": {"terminals": 3, "connected": 2}},
    )
    asked = staged.meterd("collect", meters_of("dtu-1")[0], "--what", "clock", "--json", code=1)
    assert json.loads(asked)["outcome"] == "line_down"
    staged.bench.mend("dtu-1")
    staged.until("it is back", lambda: staged.health()["listeners"]["gprs"]["connected"] == 3)
    asked = staged.meterd("collect", meters_of("dtu-1")[0], "--what", "clock", "--json")
    assert json.loads(asked)["outcome"] == "ok"


def test_without_any_terminal_the_listener_is_down(staged: Stage) -> None:
    for line in KNOWN:
        staged.bench.cut(line)
    staged.until("all are missed", lambda: staged.health()["down"] == ["gprs"])
    assert staged.health()["status"] == "degraded"


def test_a_reload_touches_only_the_terminals_that_changed(staged: Stage) -> None:
    before = connections(staged)
    edit(
        staged,
        "reply_timeout_s = 0.5",
        "reply_timeout_s = 0.5\nsilent_s = 60\nmost_per_address = 5",
    )
    done = reloaded(staged)
    assert (done["settings"], done["unchanged"]) == (
        ["listener.gprs.silent_s", "listener.gprs.most_per_address"],
        3,
    )
    assert connections(staged) == before
    terminals = staged.folder / "terminals.csv"
    terminals.write_text(terminals.read_text().replace("dtu-2,", "dtu-7,"))
    meters = staged.folder / "meters.csv"
    meters.write_text(meters.read_text().replace(",dtu-2,", ",dtu-7,"))
    done = reloaded(staged)
    assert (done["added"], done["removed"], done["changed"]) == (["dtu-7"], ["dtu-2"], {})
    staged.until("it called again", lambda: staged.health()["listeners"]["gprs"]["connected"] == 3)
    assert len(connections(staged) & before) == len(before) - 1
    edit(staged, 'name = "gprs"', 'name = "gprs"\nenabled = false')
    assert reloaded(staged)["needs_restart"] == ["listener.gprs.enabled"]
    assert len(connections(staged)) == len(before)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for a site with its own database: the path of a Unix socket is short."""
    with tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder:
        yield Path(folder)


def test_a_port_that_is_taken_is_told(staged: Stage, short_folder: Path) -> None:
    port = staged.bench.state()["lines"]["dtu-1"]["place"]
    other = short_folder
    for file in (
        *staged.folder.glob("*.csv"),
        *staged.folder.glob("*.toml"),
        staged.folder / "password",
    ):
        (other / file.name).write_text(file.read_text())
    text = staged.site.read_text().replace('[database]\nurl = { file = "database-url" }\n', "")
    (other / "meterd.toml").write_text(
        text.replace(f'"127.0.0.1:{staged.http_port}"', f'"127.0.0.1:{free_port()}"')
    )
    done = subprocess.run(
        [METERD, "run", "-c", str(other / "meterd.toml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert f"listener gprs: cannot listen on {port}: " in done.stderr, done.stderr
    assert done.returncode == 1
