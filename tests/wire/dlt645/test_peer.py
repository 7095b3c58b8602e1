"""`meterd read` against a foreign meter: the server of the PyPI package `dlt645` 3.2.0.

Its mistakes, held fast here so that we see when they go away: the address is on the wire in the
order it is written (so ours reads reversed), answers to the wildcard carry the wildcard, foreign
addresses get an error answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

PEER = """
import sys
from dlt645 import MeterServerService
service = MeterServerService.new_tcp_server("127.0.0.1", 0, 5)
service.set_address("123456781012")
service.set_00(0x00010000, 123456.78)
service.set_02(0x02010100, 221.9)
service.set_02(0x02020100, -11.519)
service.start()
service.server._started_event.wait(10)
print(service.server.ln.getsockname()[1], flush=True)
sys.stdin.read()
service.stop()
"""
AS_WE_READ_ITS_ADDRESS = "121078563412"


@pytest.fixture(scope="module")
def peer() -> Iterator[str]:
    """HOST:PORT of the foreign server; it ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    with process:
        port = process.stdout.readline().strip()
        assert port.isdigit(), "the peer did not start"
        yield f"127.0.0.1:{port}"
        process.stdin.close()
        process.wait(timeout=20)


def meterd_read(peer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "from daemon.cli import main; main()",
        "read",
        "--tcp",
        peer,
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_energy_of_a_foreign_meter_is_read(peer: str) -> None:
    done = meterd_read(peer, "--meter", AS_WE_READ_ITS_ADDRESS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("123456.78 kWh")


def test_its_address_and_voltage_are_found_though_it_answers_with_the_wildcard(peer: str) -> None:
    done = meterd_read(peer, "--meter", "any", "--quantity", "voltage", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["meter"] == AS_WE_READ_ITS_ADDRESS
    assert (told["identifier"], told["value"], told["unit"]) == ("02010100", "221.9", "V")


def test_a_negative_current_keeps_its_sign(peer: str) -> None:
    done = meterd_read(peer, "--meter", AS_WE_READ_ITS_ADDRESS, "--identifier", "02020100")
    assert done.stdout.startswith("-11.519 A"), done.stderr


def test_what_it_does_not_know_is_a_refusal(peer: str) -> None:
    done = meterd_read(peer, "--meter", AS_WE_READ_ITS_ADDRESS, "--identifier", "00900200")
    assert done.returncode == 1
    assert f"meter {AS_WE_READ_ITS_ADDRESS} refused 00900200: no such data" in done.stderr


def test_it_jams_the_line_by_answering_for_other_meters(peer: str) -> None:
    done = meterd_read(peer, "--meter", "000000000001")
    assert done.returncode == 1
    assert "meter 000000000001 refused 00010000: other (ERR 01)" in done.stderr
