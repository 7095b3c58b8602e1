"""The fixtures for whoever tests a reader of meters, used as such a project uses them."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PLUGIN = "simulators.bench.pytest_plugin"
ROOT = Path(__file__).parents[3]

READER = """
import socket

def asked(place, request):
    with socket.create_connection(place, timeout=10) as line:
        line.sendall(bytes.fromhex(request))
        return line.recv(100)

ADDRESS = "68 01 00 00 00 00 00 68 13 00 E4 16"

def test_a_meter_answers(meterd_bench):
    answer = asked(meterd_bench.address_of(), ADDRESS)
    assert answer.lstrip(b"\\xfe").hex().startswith("68010000000000689306")
    assert meterd_bench.mistakes() == []

def test_time_is_the_tests(meterd_bench, meterd_time):
    before = meterd_bench.register_kwh()
    meterd_time.move(days=2)
    assert meterd_bench.control.meter("000000000001")["clock"] == "2026-03-04T10:00:00"
    assert 2 < meterd_bench.register_kwh() - before < 60

def test_a_scenario_that_does_not_come_with_it_is_named(meterd_open):
    import pytest
    with pytest.raises(ValueError, match="no scenario 'midnight-outag' .did you mean"):
        meterd_open("midnight-outag")

def test_a_fault_lasts_as_long_as_its_block(meterd_bench):
    with meterd_bench.fault("wrong_checksum", line="line"):
        spoilt = asked(meterd_bench.address_of(), ADDRESS)
    good = asked(meterd_bench.address_of(), ADDRESS)
    assert (spoilt[:-2], spoilt[-2:] != good[-2:]) == (good[:-2], True)

def test_the_reader_is_judged(meterd_bench):
    with socket.create_connection(meterd_bench.address_of(), timeout=10) as line:
        line.sendall(bytes.fromhex(ADDRESS.replace("E4", "E5")))
        while not meterd_bench.mistakes():
            pass
    assert meterd_bench.mistakes() == ["wrong_checksum"]

def test_a_scenario_by_name_happens_at_its_time(meterd_open, meterd_time):
    bench = meterd_open("midnight-outage")
    assert bench.control.meter("000000000101")["power"] == "on"
    meterd_time.move(minutes=25)
    assert bench.control.meter("000000000101")["power"] == "off"
    meterd_time.move(minutes=40)
    assert bench.control.meter("000000000101")["power"] == "on"

def test_time_never_goes_back(meterd_time):
    import pytest
    with pytest.raises(ValueError, match="is before"):
        meterd_time.move(days=-1)

def test_no_database_is_needed():
    import sys
    assert not {"psycopg", "storage", "daemon"} & sys.modules.keys()
"""


def test_a_project_uses_the_fixtures_without_a_database(tmp_path: Path) -> None:
    (tmp_path / "test_reader.py").write_text(READER)
    found = [it.name for it in entry_points(group="pytest11") if it.value == PLUGIN]
    given = "" if found else f"-p {PLUGIN}"
    options = f"-q {given} -p no:cacheprovider -p no:randomly -p no:xdist".split()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "8 passed" in done.stdout


@pytest.mark.parametrize("module", ["psycopg", "storage", "daemon", "simulators.bench.running"])
def test_loading_the_plugin_costs_next_to_nothing(module: str) -> None:
    """Every pytest of the environment loads it."""
    asked = f"import sys, {PLUGIN}; sys.exit({module!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", asked], env={"PYTHONPATH": str(ROOT)}, timeout=60, check=False
    )
    assert done.returncode == 0
