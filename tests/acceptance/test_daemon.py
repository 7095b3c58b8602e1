"""The installed program as a process."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from storage.database import DAEMON, OWNER
from storage.migrations import LOCK
from tests.acceptance.stage import ADDRESSES, DAYS, POOR, Stage, stage
from tests.servers.commands import METERD

pytestmark = pytest.mark.acceptance
SERIES = Path(__file__).with_name("series.txt")
"""Every series of this site, from the start on."""


@pytest.fixture
def staged(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url) as staged:
        yield staged


@pytest.fixture
def shadow(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url, mode="shadow") as staged:
        yield staged


def test_sigterm_in_the_middle_of_collection_ends_it_cleanly(staged: Stage) -> None:
    staged.start_daemon()
    staged.until("collection has begun", lambda: staged.slots_missing() < DAYS * len(ADDRESSES))
    assert staged.stop_daemon(within_s=5) == 0
    assert "Traceback" not in staged.log()


def test_in_shadow_mode_no_control_frame_leaves_the_process(shadow: Stage) -> None:
    shadow.start_daemon()
    shadow.until("every slot is filled", lambda: shadow.slots_missing() == 0)
    shadow.until(
        "the guard has spoken about the poor customer", lambda: "would_trip=true" in shadow.log()
    )
    assert shadow.stop_daemon() == 0
    assert shadow.control_frames() == []
    assert shadow.supply_of(POOR) == "energised"
    assert shadow.ask("SELECT count(*) FROM command") == [(0,)]


def test_in_shadow_mode_a_payment_promises_no_restored_supply(staged: Stage) -> None:
    staged.start_daemon()
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    assert staged.stop_daemon() == 0
    staged.site.write_text(staged.site.read_text().replace('mode = "auto"', 'mode = "shadow"'))
    told = staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k")
    assert "in shadow mode, nothing is sent: restore the supply by hand" in told
    assert "is being restored" not in told
    # Nobody is left in the dark by a word in a file, unless somebody puts a name to it.
    staged.meterd("run", code=1)
    shadow = 'mode = "shadow"'
    named = f'{shadow}\nleft_dark_by = "zhao"'
    staged.site.write_text(staged.site.read_text().replace(shadow, named))
    staged.start_daemon()
    staged.until("a person is told", lambda: "customers may be dark" in staged.log())


def test_a_second_daemon_does_not_act_on_the_same_database(staged: Stage) -> None:
    staged.start_daemon()
    staged.until("it is ready", lambda: staged.health()["status"] == "ok")
    second = staged.folder / "second.toml"
    second.write_text(staged.site.read_text().replace(f":{staged.http_port}", ":0"))
    done = subprocess.run(
        [METERD, "run", "-c", str(second)], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 1
    assert staged.daemon is not None
    named = f"(meterd {staged.daemon.pid} on {socket.gethostname()}, database process "
    assert f"another meterd acts on this database {named}" in done.stderr
    assert staged.health()["status"] == "ok"


def test_a_cut_line_shows_and_is_collected_again_after_it_is_mended(staged: Stage) -> None:
    staged.bench.cut("gate-1")
    staged.start_daemon()
    staged.until("the line is seen down", lambda: staged.health()["down"] == ["gate-1"])
    staged.until(
        "the other line is complete", lambda: staged.health()["lines"]["bus-1"]["wanted"] == 0
    )
    assert staged.health()["status"] == "degraded"
    listed = staged.meterd("gaps", "--json", code=1).splitlines()
    assert {json.loads(row)["line"] for row in listed} == {"gate-1"}
    staged.bench.mend("gate-1")
    staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
    assert staged.balance_faults({}) == []
    staged.meterd("gaps", code=0)


def test_commands_show_the_customer_who_was_cut_and_restored(staged: Stage) -> None:
    staged.start_daemon()
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    # A day that is billed between two payments would move the balance.
    staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
    shown = json.loads(staged.meterd("account", "show", f"C{int(POOR)}", "--json"))
    assert shown["credit_state"] == "exhausted"
    assert shown["balance_fen"] < 0
    few = json.loads(staged.meterd("topup", f"C{int(POOR)}", "0.01", "--key", "few", "--json"))
    assert few["reconnects"] == []
    assert few["missing_fen"] == -few["balance_fen"]
    paid = json.loads(staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k", "--json"))
    again = json.loads(staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k", "--json"))
    assert (paid["outcome"], again["outcome"]) == ("posted", "already_posted")
    assert paid["balance_fen"] == again["balance_fen"]
    assert len(paid["reconnects"]) == 1
    assert again["reconnects"] == []
    staged.meterd("topup", f"C{int(POOR)}", "501", "--key", "k", code=1)
    keys = ["pay:counter:few", "pay:counter:k", "pay:counter:k", "pay:counter:k"]
    typed = staged.ask("SELECT command FROM act WHERE by_way_of LIKE %s ORDER BY at", "% on no %")
    assert [command for (command,) in typed] == [f"top-up {key}" for key in keys]
    staged.until("the supply is restored", lambda: staged.supply_of(POOR) == "energised")
    assert not staged.bench.relay_is_open(POOR)
    history = [
        json.loads(row)
        for row in staged.meterd(
            "supply", "show", "--point", f"P{int(POOR)}", "--json"
        ).splitlines()
    ]
    assert [row["state"] for row in history if row.get("action") == "close" and "at" in row][
        -1
    ] == "verified"


def metrics(staged: Stage) -> str:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{staged.http_port}/metrics", timeout=5
    ) as answer:
        return str(answer.read().decode())


def test_metrics_and_health_answer_and_the_port_is_claimed_before_anything_is_opened(
    staged: Stage,
) -> None:
    staged.start_daemon()
    staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
    text = metrics(staged)
    assert 'meterd_line_up{line="gate-1"} 1.0' in text
    # The version is another one some day.
    found = re.findall(r"^(meterd_\w+(?:\{(?!version).*?\})?) ", text, re.MULTILINE)
    assert sorted(found) == SERIES.read_text(encoding="utf-8").splitlines()
    for address in ADDRESSES:
        assert address not in text
    # No figure that cannot be had takes the others away.
    shutil.rmtree(staged.folder / "data")
    # An answer is given again for a moment.
    gone = "meterd_disk_free_bytes NaN"
    staged.until("the disk is known to be gone", lambda: gone in metrics(staged))
    assert 'meterd_line_up{line="gate-1"} 1.0' in metrics(staged)
    staged.until("health says so", lambda: staged.health()["disk"] == "gone")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        clash = staged.folder / "clash.toml"
        port = taken.getsockname()[1]
        clash.write_text(staged.site.read_text().replace(f":{staged.http_port}", f":{port}"))
        done = subprocess.run(
            [METERD, "run", "-c", str(clash)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr


def test_a_wrong_configuration_ends_it_with_78_and_every_mistake(staged: Stage) -> None:
    broken = staged.folder / "broken.toml"
    broken.write_text(
        staged.site.read_text()
        .replace("retries", "retrys")
        .replace("backfill_days = ", "backfill_days = 9")
    )
    done = subprocess.run(
        [METERD, "run", "-c", str(broken)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 78
    assert "line.gate-1.retrys: unknown key (did you mean retries?)" in done.stderr
    assert "collection.backfill_days" in done.stderr
    assert "line.bus-1.retrys" in done.stderr
    assert "3 mistakes" in done.stderr


def test_the_wire_trace_can_be_switched_on_for_one_line(staged: Stage) -> None:
    staged.site.write_text(
        staged.site.read_text() + '\n[log]\nformat = "json"\ntrace_lines = ["bus-1"]\n'
    )
    staged.start_daemon()
    staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
    assert staged.stop_daemon() == 0
    traced = [
        event for event in map(json.loads, staged.log().splitlines()) if event["logger"] == "wire"
    ]
    assert {event["line"] for event in traced} == {"bus-1"}
    assert {event["direction"] for event in traced} == {"tx", "rx"}
    assert any(
        event["bytes"].startswith("FE FE FE FE 68 01 20 00 00 00 00 68 11 04") for event in traced
    )


def test_the_password_of_a_control_frame_is_not_traced(staged: Stage) -> None:
    staged.site.write_text(staged.site.read_text() + '\n[log]\ntrace_lines = ["gate-1"]\n')
    staged.start_daemon()
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    assert staged.stop_daemon() == 0
    on_the_wire = "68 03 10 00 00 00 00 68 1C 10"
    assert staged.control_frames()
    assert "logger=wire" in staged.log()
    assert on_the_wire not in staged.log()


def test_systemd_hears_that_it_is_ready_alive_and_stopping(staged: Stage) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = staged.folder / "notify"
        manager.bind(str(path))
        manager.settimeout(30)
        staged.start_daemon(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="300000")
        heard = [manager.recv(100) for _ in range(4)]
        assert set(heard) == {b"READY=1", b"WATCHDOG=1"}
        assert heard.count(b"WATCHDOG=1") >= 3
        assert staged.stop_daemon() == 0
        while heard[-1] != b"STOPPING=1":
            heard.append(manager.recv(100))


def test_a_stopped_database_is_told_in_plain_words(staged: Stage) -> None:
    (staged.folder / "database-url").write_text("postgresql://nobody@127.0.0.1:1/nothing")
    for command in (["run"], ["gaps"], ["account", "show", "C1001"]):
        done = subprocess.run(
            [METERD, *command, "-c", str(staged.site)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert "the database cannot be reached" in done.stderr
        assert "Traceback" not in done.stderr


def test_with_the_embedded_database_a_killed_daemon_goes_on_where_it_was(database_url: str) -> None:
    with (
        TemporaryDirectory(prefix="meterd-") as folder,
        stage(Path(folder), database_url) as staged,
    ):
        text = staged.site.read_text()
        staged.site.write_text(text.replace('url = { file = "database-url" }', ""))
        staged.url = f"postgresql://{DAEMON}@/postgres?host={folder}/data/postgresql"
        staged.start_daemon()
        staged.until("collection has begun", lambda: staged.slots_missing() < DAYS * len(ADDRESSES))
        staged.kill_daemon()
        staged.start_daemon()
        staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
        staged.meterd("gaps", code=0)
        assert "the daemon's database role" not in staged.log()
        postmaster = int((Path(folder) / "data/postgresql/postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        staged.until("the database is missed", lambda: staged.health()["database"] == "away")
        staged.until("the database is back", lambda: staged.health()["database"] == "ok")
        staged.meterd("gaps", code=0)
        assert staged.stop_daemon() == 0
        assert not (Path(folder) / "data/postgresql/postmaster.pid").exists()


def test_a_line_that_is_cut_while_nothing_is_to_do_is_noticed(staged: Stage) -> None:
    staged.start_daemon()
    staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    staged.bench.cut("gate-1")
    staged.until(
        "the line is seen down", lambda: staged.health()["down"] == ["gate-1"], patience_s=10
    )


def test_sigterm_while_it_waits_for_another_process_to_migrate(staged: Stage) -> None:
    owner_url = make_conninfo(staged.url, user=OWNER)
    (staged.folder / "migration-url").write_text(owner_url)
    text = staged.site.read_text()
    staged.site.write_text(
        text.replace("[database]\n", '[database]\nmigration_url = { file = "migration-url" }\n')
    )
    with psycopg.connect(owner_url, autocommit=True) as busy:
        busy.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        staged.start_daemon()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        staged.until("it waits", lambda: busy.execute(waits).fetchone() == (1,))
        assert staged.stop_daemon(within_s=5) == 0


def test_a_customer_who_was_cut_is_restored_over_the_line_that_the_meter_is_on_now(
    staged: Stage,
) -> None:
    staged.start_daemon()
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    staged.bench.cut("gate-1")
    staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k")
    assert staged.stop_daemon() == 0
    for file in ("meterd.toml", "meters.csv"):
        (staged.folder / file).write_text(
            (staged.folder / file).read_text().replace("gate-1", "hall-1")
        )
    staged.bench.mend("gate-1")
    staged.start_daemon()
    staged.until("the supply is restored", lambda: staged.supply_of(POOR) == "energised")
    assert not staged.bench.relay_is_open(POOR)


def test_a_command_for_a_meter_that_left_the_archive_does_not_stop_its_neighbours(
    staged: Stage,
) -> None:
    staged.start_daemon()
    staged.until("the poor customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
    assert staged.stop_daemon() == 0
    staged.meterd("topup", f"C{int(POOR)}", "500", "--key", "k")
    meters = staged.folder / "meters.csv"
    meters.write_text(
        "".join(row for row in meters.read_text().splitlines(keepends=True) if POOR not in row)
    )
    staged.start_daemon()
    staged.until(
        "a person is told", lambda: "command for a meter that is not in the archive" in staged.log()
    )
    staged.until("it goes on", lambda: staged.health()["status"] == "ok")
    assert "task died" not in staged.log()
    assert staged.stop_daemon() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_embedded_database_of_another_user_is_not_touched(staged: Stage) -> None:
    staged.site.write_text(staged.site.read_text().replace('url = { file = "database-url" }', ""))
    cluster = staged.folder / "data/postgresql"
    done = subprocess.run(
        [METERD, "gaps", "-c", str(staged.site)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, cluster.exists()) == (1, False)
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("18")
    os.chown(cluster, pwd.getpwnam("nobody").pw_uid, -1)
    for command in ("gaps", "run"):
        done = subprocess.run(
            [METERD, command, "-c", str(staged.site)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "is run by user nobody; run this as that user" in done.stderr
    assert cluster.stat().st_uid == pwd.getpwnam("nobody").pw_uid
