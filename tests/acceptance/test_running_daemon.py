"""What commands ask of the running daemon: reads on demand, live frames, reloads."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage.database import DAEMON
from tests.acceptance.stage import METERS, POOR, Stage, stage
from tests.conftest import new_database
from tests.servers import commands
from tests.servers.commands import METERD
from tests.servers.postgres import Server

pytestmark = [
    pytest.mark.acceptance,
    # It is about lines and commands, and takes minutes: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
DEAD = "000000009999"
FEW_DAYS = 6
GATE = METERS["gate-1"]


@pytest.fixture
def staged(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A daemon that has nothing left to collect."""
    with running(database_url, tmp_path) as staged:
        yield staged


@pytest.fixture(scope="module")
def shared(
    server: Server, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Likewise, of all tests that change nothing."""
    with (
        new_database(server, template_database) as name,
        running(server.url(name, DAEMON), tmp_path_factory.mktemp("shared")) as staged,
    ):
        yield staged


@pytest.fixture(scope="module")
def without_daemon(
    server: Server, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Meters and a database only."""
    with (
        new_database(server, template_database) as name,
        stage(tmp_path_factory.mktemp("without"), server.url(name, DAEMON)) as staged,
    ):
        yield staged


@contextmanager
def running(url: str, folder: Path) -> Iterator[Stage]:
    with stage(folder, url, days=FEW_DAYS) as staged:
        staged.start_daemon()
        staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
        staged.until("it is ready", lambda: staged.health()["status"] == "ok")
        yield staged


def heed_ctrl_c() -> None:
    """Tests that run in the background are started deaf to it, and hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def edit(staged: Stage, file: str, old: str, new: str) -> None:
    path = staged.folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def add_dead_meter(staged: Stage, line: str = "bus-1") -> None:
    for file, row in (
        ("meters.csv", f"{DEAD},{line},P9999,{staged.today + timedelta(days=1)}\n"),
        ("points.csv", "P9999,C9999,close\n"),
        ("accounts.csv", "C9999,home,,\n"),
    ):
        with (staged.folder / file).open("a") as table:
            table.write(row)


def told(staged: Stage, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    return [json.loads(row) for row in staged.meterd(*arguments, "--json", code=code).splitlines()]


def is_at_rest(staged: Stage) -> bool:
    """Whether nothing is left that it asks by itself: each meter has said who it is, each relay was
    looked at, and the poor customer is cut."""
    unknown = (
        "SELECT count(*) FROM point_supply s JOIN meter m ON true "
        "WHERE s.relay_observed = 'unknown' OR m.identity_read_at IS NULL"
    )
    return staged.ask(unknown) == [(0,)] and staged.supply_of(POOR) == "disconnected"


def connections(staged: Stage, line: str) -> set[str]:
    """Our ends of the daemon's connections to a TCP line."""
    port = int(staged.bench.state()["lines"][line]["place"].rpartition(":")[2])
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2] == f"0100007F:{port:04X}" and row[3] == "01"}


def metric(staged: Stage, name: str, **labels: str) -> float | None:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{staged.http_port}/metrics", timeout=5
    ) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [it for family in families for it in family.samples if it.name == name]
    found = [it.value for it in samples if labels.items() <= it.labels.items()]
    return sum(found) if found else None


def replies(staged: Stage, line: str) -> float:
    return metric(staged, "meterd_replies_total", line=line) or 0.0


# --- reload ---------------------------------------------------------------------------------------


def test_a_reload_keeps_the_wires_of_lines_that_did_not_change(staged: Stage) -> None:
    before = connections(staged, "gate-1")
    assert len(before) == 1
    add_dead_meter(staged)
    (done,) = told(staged, "reload")
    assert done["changed"] == {"bus-1": ["1 meter added"]}
    assert done["unchanged"] == 1
    assert staged.ask("SELECT command FROM act WHERE by_way_of <> ''") == [("meterd reload",)]
    staged.until("the changed line is up again", lambda: staged.health()["lines"]["bus-1"]["up"])
    assert connections(staged, "gate-1") == before

    edit(staged, "meterd.toml", "retries = 2", "retries = 1")
    assert told(staged, "reload")[0]["changed"] == {"gate-1": ["retries"]}
    staged.until("it has a connection again", lambda: len(connections(staged, "gate-1")) == 1)
    assert connections(staged, "gate-1") != before


def test_sighup_reloads(staged: Stage) -> None:
    before = connections(staged, "gate-1")
    edit(staged, "meterd.toml", "retries = 2", "retries = 1")
    assert staged.daemon is not None
    staged.daemon.send_signal(signal.SIGHUP)
    staged.until(
        "it reloaded", lambda: "event=reloaded added=0 removed=0 changed=1" in staged.log()
    )
    staged.until("the line is built anew", lambda: len(connections(staged, "gate-1") - before) == 1)


def test_a_bad_file_changes_nothing_and_every_mistake_is_told(staged: Stage) -> None:
    before = connections(staged, "gate-1")
    edit(staged, "meterd.toml", "retries = 2", "retrys = 1")
    edit(staged, "meters.csv", GATE[0], "12")
    for command in ("plan", "reload"):
        done = commands.run(command, "-c", staged.site)
        assert done.returncode == 78
        assert "line.gate-1.retrys: unknown key (did you mean retries?)" in done.stderr
        assert "meters.csv:2: address" in done.stderr
        assert done.stderr.endswith("Mend the files and reload again.\n") == (command == "reload")
    staged.site.write_text("[[[")
    assert staged.meterd("reload", code=78) == ""
    assert connections(staged, "gate-1") == before
    assert "reload refused, nothing was changed" in staged.log()
    assert staged.health()["status"] == "ok"


def test_an_archive_that_contradicts_what_is_billed_changes_nothing(staged: Stage) -> None:
    before = connections(staged, "gate-1")
    staged.until("use is billed", lambda: bool(staged.ask("SELECT FROM link WHERE hold IS NULL")))
    edit(staged, "points.csv", "point,account,reconnect\n", "point,account,reconnect,ratio\n")
    text = staged.folder.joinpath("points.csv").read_text()
    rows = [row if row.startswith("point,") else f"{row},2" for row in text.splitlines()]
    staged.folder.joinpath("points.csv").write_text("\n".join(rows) + "\n")
    for command in ("plan", "reload"):
        done = commands.run(command, "-c", staged.site)
        assert done.returncode == 1
        assert "configured now: ratio 2" in done.stderr
    assert connections(staged, "gate-1") == before
    assert staged.ask("SELECT DISTINCT ratio FROM point_ratio") == [(1,)]


def test_a_plan_tells_what_a_reload_then_does(staged: Stage) -> None:
    bus = staged.bench.state()["lines"]["bus-1"]["place"]
    spare = f'[[line]]\nname = "spare"\nserial = "{bus}-2"\n\n[collection]'
    edits = [
        ("meterd.toml", "retries = 2", "retries = 1"),
        ("meterd.toml", "[collection]", spare),
        ("meterd.toml", f"backfill_days = {FEW_DAYS}", f"backfill_days = {FEW_DAYS - 1}"),
        ("meterd.toml", 'window_end = "24:00"', 'window_end = "23:00"'),
        ("meterd.toml", "reconnect_s = 1", "reconnect_s = 2"),
        ("meters.csv", f"{METERS['bus-1'][1]},bus-1", f"{METERS['bus-1'][1]},spare"),
        (
            "tariffs.toml",
            "[[tariff",
            '[[tariff.shop.version]]\neffective_from = 2020-01-01\nprice = "1"\n\n[[tariff',
        ),
        ("meterd.toml", f'serial = "{bus}"', f'serial = "{bus}"\nenabled = false'),
        ("meterd.toml", "enabled = false", "enabled = true"),
    ]
    lines = {"gate-1", "bus-1"}
    waiting: list[str] = []
    for file, old, new in edits:
        edit(staged, file, old, new)
        (plan,) = told(staged, "plan", code=1)
        (done,) = told(staged, "reload")
        assert plan == done, new
        lines = lines - set(done["removed"]) | set(done["added"])
        assert set(staged.health()["lines"]) == lines, new
        waiting += [key for key in done["needs_restart"] if key not in waiting]
        (again,) = told(staged, "plan", code=1 if waiting else 0)
        assert again["needs_restart"] == waiting
        assert (again["added"], again["removed"], again["changed"], again["archive"]) == (
            [],
            [],
            {},
            {},
        ), new
    assert waiting == ["control.window_end"]
    assert lines == {"gate-1", "bus-1", "spare"}


def test_what_a_line_was_is_forgotten_with_it(staged: Stage) -> None:
    assert metric(staged, "meterd_line_up", line="bus-1") == 1
    edit(staged, "meterd.toml", 'name = "bus-1"', 'name = "bus-1"\nenabled = false')
    staged.meterd("reload")
    staged.meterd("collect", "--line", "bus-1", code=1)
    staged.meterd("collect", METERS["bus-1"][0], code=1)
    assert metric(staged, "meterd_line_up", line="bus-1") is None
    assert metric(staged, "meterd_line_up", line="gate-1") == 1


def test_a_command_survives_that_its_line_is_built_anew(staged: Stage) -> None:
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k")
    for retries in range(3, 9):
        edit(staged, "meterd.toml", f"retries = {retries - 1}", f"retries = {retries}")
        assert "gate-1" in told(staged, "reload")[0]["changed"]
    staged.until("the supply is restored", lambda: staged.supply_of(POOR) == "energised")
    assert not staged.bench.relay_is_open(POOR)


# --- on demand ------------------------------------------------------------------------------------


def test_each_meter_has_its_result_and_the_dead_one_its_reason(staged: Stage) -> None:
    add_dead_meter(staged)
    staged.meterd("reload")
    results = {
        it["meter"]: it
        for it in told(staged, "collect", GATE[0], "P2001", DEAD, "--what", "clock", code=1)
    }
    assert {meter: it["outcome"] for meter, it in results.items()} == {
        GATE[0]: "ok",
        METERS["bus-1"][0]: "ok",
        DEAD: "silent",
    }
    assert DEAD in results[DEAD]["reason"]
    table = staged.meterd("collect", "--line", "gate-1", "--what", "registers")
    assert len([row for row in table.splitlines() if "\tok\t" in row and "kWh" in row]) == len(GATE)
    assert (
        staged.meterd("collect", "--failed") == "meter\tpoint\tline\tday\tresult\tvalue\treason\n"
    )


def test_near_real_time_accounts_are_read_by_themselves_and_estimated(staged: Stage) -> None:
    def shown() -> dict[str, Any]:
        (found,) = told(staged, "account", "show", "C1001")
        return found

    was = shown()
    assert was["estimate"] is None
    staged.ask(
        "UPDATE account SET settlement = 'near_real_time' WHERE number = 'C1001' RETURNING 1"
    )
    read = "SELECT FROM reading r JOIN meter m ON m.id = r.meter_id WHERE kind = 3 AND address = %s"
    staged.until("it is read", lambda: bool(staged.ask(read, GATE[0])), 60.0)
    found = shown()
    (point,) = found["estimate"]["points"]
    assert (point["point"], point["reason"]) == ("P1001", None)
    assert found["balance_fen"] == was["balance_fen"]
    assert found["estimate"]["balance_fen"] == was["balance_fen"] - found["estimate"]["charge_fen"]
    assert staged.ask(
        "SELECT DISTINCT m.address FROM reading r JOIN meter m ON m.id = meter_id WHERE kind = 3"
    ) == [(GATE[0],)]


@pytest.mark.xdist_group("shared")
def test_the_same_read_again_does_not_reach_the_wire(shared: Stage) -> None:
    shared.until("it asks nothing by itself", lambda: is_at_rest(shared))
    (first,) = told(shared, "collect", GATE[0])
    assert first["values"]["total_kwh"] == str(shared.bench.truth(GATE[0])[GATE[0]][shared.today])
    count = replies(shared, "gate-1")
    (again,) = told(shared, "collect", f"P{int(GATE[0])}")
    assert again["values"] == first["values"]
    assert again["age_s"] is not None
    assert replies(shared, "gate-1") == count
    told(shared, "collect", GATE[0], "--what", "clock")
    assert replies(shared, "gate-1") > count


@pytest.mark.xdist_group("shared")
def test_days_that_are_over_are_closed(shared: Stage) -> None:
    shared.until("a day is closed", lambda: shared.ask("SELECT FROM closed_day") != [])
    days = [day for (day,) in shared.ask("SELECT day FROM closed_day ORDER BY day")]
    ((opening,),) = shared.ask("SELECT min(opened_on) FROM account")
    assert days == [opening + timedelta(days=n) for n in range(len(days))]
    assert days[-1] >= shared.today - timedelta(days=2)
    shared.until("it is shown", lambda: metric(shared, "meterd_days_not_closed") == 0)
    assert shared.health()["days_not_closed"] == 0


def test_ctrl_c_takes_back_what_was_asked(staged: Stage) -> None:
    staged.until("it asks nothing by itself", lambda: is_at_rest(staged))
    edit(staged, "meterd.toml", "reply_timeout_s = 0.3", "reply_timeout_s = 1.5")
    staged.meterd("reload")
    staged.until("the line is up", lambda: staged.health()["lines"]["gate-1"]["up"])
    staged.bench.cut("gate-1", "silence")
    count = replies(staged, "gate-1")
    arguments = [
        METERD,
        "collect",
        "--line",
        "gate-1",
        "--what",
        "clock",
        "--json",
        "-c",
        str(staged.site),
    ]
    asking = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )
    assert asking.stdout is not None
    assert json.loads(asking.stdout.readline())["outcome"] == "silent"
    asking.send_signal(signal.SIGINT)
    _, errors = asking.communicate(timeout=10)
    assert asking.returncode == 1
    assert "Traceback" not in errors
    (result,) = told(staged, "collect", GATE[-1], "--what", "relay", "--within", "60", code=1)
    assert result["outcome"] == "silent"
    # The one that was told, the one that was under way, this one, and what the daemon asks by itself:
    # all of the line and this one would be more.
    assert replies(staged, "gate-1") - count < len(GATE)


@pytest.mark.xdist_group("shared")
def test_a_meter_that_is_not_there_and_a_wrong_use_are_told(shared: Stage) -> None:
    done = commands.run("collect", "P12345", "-c", shared.site)
    assert (done.returncode, "P12345" in done.stderr) == (1, True)
    shared.meterd("collect", code=2)
    shared.meterd("collect", GATE[0], "--failed", code=2)
    shared.meterd("collect", GATE[0], "--what", "clock", "--day", "2026-01-01", code=2)
    shared.meterd("trace", "gate-9", code=1)
    shared.meterd("collect", GATE[0], "--day", str(shared.today + timedelta(days=2)), code=2)
    shared.meterd("collect", GATE[0], "--line", "bus-1", code=1)
    assert shared.meterd("terminals", "--json") == ""


# --- trace ----------------------------------------------------------------------------------------


def test_a_trace_shows_frames_in_words_and_no_password(staged: Stage) -> None:
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    arguments = [METERD, "trace", "gate-1", "--json", "--seconds", "60", "-c", str(staged.site)]
    tracing = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )
    assert tracing.stdout is not None
    assert tracing.stderr is not None
    assert "gate-1 is up" in tracing.stderr.readline()  # it is watched from now on
    told(staged, "collect", GATE[0], "--what", "clock")
    pieces: list[dict[str, Any]] = [json.loads(tracing.stdout.readline())]
    staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k")
    is_sent = False
    for row in tracing.stdout:
        pieces.append(json.loads(row))
        is_sent |= "password" in pieces[-1].get("bytes", "") and pieces[-1]["direction"] == "tx"
        if is_sent and any(frame.get("address") == POOR for frame in pieces[-1]["frames"]):
            break  # its relay is looked at
    tracing.send_signal(signal.SIGINT)
    tracing.communicate(timeout=10)
    assert tracing.returncode == 0
    frames = [frame for piece in pieces for frame in piece["frames"]]
    assert any(
        frame.get("function") == "read" and frame["direction"] == "response" for frame in frames
    )
    assert any(frame.get("address") == POOR for frame in frames)
    assert all(
        frame.get("function") != "control"
        for frame in frames
        if frame.get("direction") == "request"
    )


# --- without a daemon -----------------------------------------------------------------------------


@pytest.mark.xdist_group("without_daemon")
@pytest.mark.parametrize(
    "command", [["collect", GATE[0]], ["trace", "gate-1"], ["reload"], ["plan"]]
)
def test_without_a_daemon_a_command_says_so(without_daemon: Stage, command: list[str]) -> None:
    done = commands.run(*command, "-c", without_daemon.site)
    assert done.returncode == 69
    assert "no daemon answers" in done.stderr


@pytest.mark.xdist_group("shared")
def test_ports_names_what_the_site_uses_and_who_has_it_open(shared: Stage) -> None:
    place = shared.bench.state()["lines"]["bus-1"]["place"]
    (port,) = [it for it in told(shared, "ports") if it["lines"]]
    assert (port["name"], port["lines"]) == (place, ["bus-1"])
    assert shared.daemon is not None
    assert f"meterd {shared.daemon.pid}" in port["open_by"]


def test_a_socket_left_by_a_killed_daemon_is_no_hindrance(staged: Stage) -> None:
    staged.kill_daemon()
    door = staged.folder / "data" / "meterd.socket"
    assert door.exists()
    with socket.socket(socket.AF_UNIX) as knocking, pytest.raises(ConnectionRefusedError):
        knocking.connect(str(door))
    staged.start_daemon()
    staged.until("it answers again", lambda: staged.health()["status"] == "ok")
    staged.until("it can be asked", lambda: told(staged, "collect", GATE[0])[0]["outcome"] == "ok")
    assert staged.stop_daemon() == 0
    assert not door.exists()
