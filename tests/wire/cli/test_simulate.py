"""`meterd simulate` as a process, and its control port."""

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from protocols.dlt645.frame import Decoder, Frame, encode
from simulators.bench.remote import BenchRefused, RemoteBench
from tests.acceptance.stage import simulated
from tests.servers import commands
from tests.servers.commands import METERD

TRIPPED = "000000000003"

SCENARIO = """
seed = 5
[lines.gate-1]
port = 0
reply_delay_ms = 0
[lines.bus-1]
link = "{link}"
reply_delay_ms = 0
[[meters]]
line = "gate-1"
address = "000000000001"
count = 5
[[meters]]
line = "bus-1"
address = "000000000009"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "bench.toml"
    path.write_text(SCENARIO.format(link=tmp_path / "bus-1"))
    return path


@contextmanager
def simulating(scenario: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running bench: (process, its first line of output)."""
    process = subprocess.Popen(
        [METERD, "simulate", str(scenario), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def ask(ready: dict[str, Any], request: Frame) -> Frame:
    """The answer of a meter on the TCP line."""
    place = ready["lines"]["gate-1"]
    with socket.create_connection((place["host"], place["port"]), timeout=10) as connection:
        connection.sendall(encode(request))
        decoder = Decoder()
        frames: list[Frame] = []
        while not frames:
            data = connection.recv(1000)
            assert data, "the line hung up"
            frames = [item for item in decoder.feed(data) if isinstance(item, Frame)]
        return frames[0]


def control(action: str) -> Frame:
    return Frame(TRIPPED, 0x1C, bytes.fromhex(f"02000000 01000000 {action}00 000000311299"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_on_a_signal(scenario: Path, number: int) -> None:
    with simulating(scenario) as (process, first_line):
        assert process.stdout is not None
        port = int(first_line.removeprefix("gate-1: 5 meters on 127.0.0.1:"))
        assert process.stdout.readline() == f"bus-1: 1 meters on {scenario.parent / 'bus-1'}\n"
        assert process.stdout.readline().startswith("control port: 127.0.0.1:")
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (0, "", "")
    assert not (scenario.parent / "bus-1").is_symlink()


def test_it_ends_cleanly_with_readers_and_clients_connected(scenario: Path) -> None:
    with simulating(scenario, "--json") as (process, line):
        ready = json.loads(line)
        place = ready["lines"]["gate-1"]
        with (
            socket.create_connection((place["host"], place["port"])),
            RemoteBench(**ready["control"]) as remote,
        ):
            assert remote.state()["meters"] == 6
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "", "")


def test_the_ready_line_is_for_programs(scenario: Path) -> None:
    with simulating(scenario, "--json") as (_, line):
        ready = json.loads(line)
    assert ready["ready"] is True
    assert ready["meters"] == 6
    assert ready["lines"]["gate-1"].keys() == {"kind", "host", "port"}
    assert ready["lines"]["bus-1"] == {"kind": "pty", "device": str(scenario.parent / "bus-1")}


def test_a_trip_over_the_wire_opens_the_relay_in_the_simulator(scenario: Path) -> None:
    with simulated(scenario) as (ready, remote):
        assert not remote.relay_is_open(TRIPPED)
        assert ask(ready, control("1A")).control == 0x9C
        assert remote.relay_is_open(TRIPPED)
        assert ask(ready, control("1B")).control == 0x9C
        assert remote.relay_is_open(TRIPPED)
        assert remote.press_button(TRIPPED)["relay"] == "closed"
        told = [(event["number"], event["kind"], event["address"]) for event in remote.events()]
        kinds = ["control", "relay", "control", "button", "relay", "bench"]
        assert told == [(number, kind, TRIPPED) for number, kind in enumerate(kinds, 1)]
        trip = remote.events()[0]
        assert (trip["action"], trip["expires"], trip["answer"]) == ("1A", "991231000000", "9C")
        assert [event["number"] for event in remote.events(since=3)] == [4, 5, 6]


def test_the_truth_is_what_a_freeze_read_answers_and_outlives_a_restart(scenario: Path) -> None:
    with simulated(scenario) as (ready, remote):
        truth = remote.truth()
        newest = max(truth[TRIPPED])
        answer = ask(ready, Frame(TRIPPED, 0x11, bytes.fromhex("01010605")))
    assert len(truth) == 6
    assert sorted(truth[TRIPPED]) == [newest - timedelta(days=back) for back in reversed(range(62))]
    assert abs(newest - datetime.now(UTC).date()) <= timedelta(days=1)
    assert str(truth[TRIPPED][newest]).replace(".", "") == answer.data[4:8][::-1].hex().lstrip("0")
    with simulated(scenario) as (_, remote):
        assert remote.truth(TRIPPED)[TRIPPED][newest] == truth[TRIPPED][newest]


def test_a_line_is_cut_and_mended_from_outside(scenario: Path) -> None:
    with simulated(scenario) as (ready, remote):
        remote.cut("gate-1")
        assert remote.state()["lines"]["gate-1"]["cut"] is True
        with pytest.raises(ConnectionRefusedError):
            ask(ready, control("1A"))
        remote.mend("gate-1")
        assert remote.state()["lines"]["gate-1"]["cut"] is False
        assert ask(ready, control("1A")).control == 0x9C


def test_a_relay_that_somebody_else_moves(scenario: Path) -> None:
    with simulated(scenario) as (_, remote):
        assert remote.force_relay(TRIPPED, "open")["relay"] == "open"
        assert [event["kind"] for event in remote.events()] == ["relay", "bench"]


REFUSALS: dict[str, Callable[[RemoteBench], object]] = {
    "there is no meter": lambda remote: remote.meter("12"),
    "line must be one of gate-1, bus-1": lambda remote: remote.cut("gate-9"),
    "how: 'gently' is none of hang_up, silence": lambda remote: remote.cut("gate-1", "gently"),  # type: ignore[arg-type] # wrong
    "state: 'ajar' is none of open, closed": lambda remote: remote.force_relay(TRIPPED, "ajar"),  # type: ignore[arg-type] # wrong
    "do must be one of": lambda remote: remote._ask("dance"),
}


def test_what_the_control_port_cannot_do_it_says(scenario: Path) -> None:
    with simulated(scenario) as (ready, remote):
        for message, wish in REFUSALS.items():
            with pytest.raises(BenchRefused, match=message):
                wish(remote)
        place = ready["control"]
        with socket.create_connection((place["host"], place["port"]), timeout=10) as connection:
            connection.sendall(b"no json\n[]\n")
            answers = connection.makefile()
            assert json.loads(answers.readline())["error"].startswith("not JSON")
            assert json.loads(answers.readline())["error"].startswith("do must be")
        assert remote.state()["meters"] == 6


def test_a_bad_scenario_is_refused_with_all_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        SCENARIO.format(link="x").replace("port = 0", "prot = 0").replace("count = 5", "count = 0")
    )
    refused = commands.run("simulate", str(path))
    assert refused.returncode == 78
    assert refused.stdout == ""
    assert [line.removeprefix(str(path)) for line in refused.stderr.splitlines()] == [
        ":4: lines.gate-1.prot: unknown key (did you mean port?)",
        ":12: meters.0.count: should be greater than or equal to 1, not 0",
        "2 mistakes",
    ]
    told = commands.run("simulate", str(path), "--json")
    assert told.returncode == 78
    assert [mistake["line"] for mistake in json.loads(told.stdout)["mistakes"]] == [4, 12]


def test_a_port_that_is_taken_is_told_with_the_name_of_the_line(scenario: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        scenario.write_text(scenario.read_text().replace("port = 0", f"port = {port}"))
        failed = commands.run("simulate", str(scenario))
    assert failed.returncode == 1
    assert f"line gate-1 cannot be opened at 127.0.0.1:{port}" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_example_is_printed_and_is_good(tmp_path: Path) -> None:
    printed = commands.run("simulate", "--example")
    assert printed.returncode == 0
    (tmp_path / "bench.toml").write_text(printed.stdout)
    assert (
        commands.run("simulate", str(tmp_path / "bench.toml"), "--check").stdout
        == "line\tmeters\ngate-1\t10\nbus-1\t2\n"
    )


def test_check_and_truth_only_print(scenario: Path) -> None:
    checked = commands.run("simulate", str(scenario), "--check", "--json")
    assert json.loads(checked.stdout) == {
        "ok": True,
        "zone": "Asia/Shanghai",
        "meters": 6,
        "lines": {"gate-1": 5, "bus-1": 1},
    }
    lines = commands.run("simulate", str(scenario), "--truth").stdout.splitlines()
    assert [json.loads(line)["address"] for line in lines] == [
        f"{number:012d}" for number in (1, 2, 3, 4, 5, 9)
    ]
    assert all(len(json.loads(line)["freezes"]) == 62 for line in lines)


def test_a_bench_is_steered_from_the_command_line_and_recorded(
    scenario: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.toml"
    with simulating(scenario, "--json", "--record", str(run), "--speed", "60") as (_, line):
        port = str(json.loads(line)["control"]["port"])
        off = commands.run("steer", port, "power", f"address={TRIPPED}", "state=off")
        assert json.loads(off.stdout)["power"] == "off"
        late = commands.run("steer", port, "fault_on", "line=gate-1", "kind=late", "chance=0.5")
        assert (late.returncode, json.loads(late.stdout)) == (0, {})
        refused = commands.run("steer", port, "power", "line=gate-9", "state=off")
        assert refused.returncode == 1
        assert "line must be one of gate-1, bus-1" in refused.stderr
    told = commands.run("simulate", str(run), "--check", "--json")
    assert json.loads(told.stdout)["ok"]
    written = run.read_text()
    assert [line for line in written.splitlines() if line.startswith(("do", "speed"))] == [
        "speed = 60",
        'do = "power"',
        'do = "fault_on"',
    ]


def test_where_no_bench_runs_steer_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = commands.run("steer", str(port), "state")
    assert nobody.returncode == 1
    assert "no bench answers at" in nobody.stderr
    assert "Traceback" not in nobody.stderr


def test_at_the_end_the_report_says_what_a_master_did_wrong(scenario: Path) -> None:
    with simulating(scenario, "--json", "--report") as (process, line):
        ready = json.loads(line)
        place = ready["lines"]["gate-1"]
        with (
            RemoteBench(**ready["control"]) as remote,
            socket.create_connection((place["host"], place["port"]), timeout=10) as master,
        ):
            master.sendall(encode(Frame("000000000099", 0x13)))
            while not remote.diagnosis():
                pass
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        (finding,) = json.loads(process.stdout.readline())["findings"]
    assert (finding["line"], finding["kind"], finding["count"]) == ("gate-1", "no_such_meter", 1)
    assert finding["example"].startswith("68 99 00")
    assert "low byte goes first" in finding["advice"]


def test_the_scenarios_that_come_with_the_program_are_listed_and_checked() -> None:
    listed = commands.run("simulate", "--list")
    assert listed.returncode == 0
    assert "midnight-outage\tan outage over midnight" in listed.stdout
    checked = commands.run("simulate", "--scenario", "midnight-outage", "--check")
    assert (checked.returncode, checked.stdout) == (0, "line\tmeters\ngate\t4\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say which: a file, or --scenario NAME"),
        (("--scenario", "midnight-outrage"), "did you mean midnight-outage?"),
        (("bench.toml", "--scenario", "theft"), "say which"),
    ],
)
def test_it_has_to_be_said_which_scenario(arguments: tuple[str, ...], told: str) -> None:
    refused = commands.run("simulate", *arguments)
    assert refused.returncode == 2
    assert told in refused.stderr
