"""A foreign master, the client of the PyPI package `dlt645` 3.2.0, reads our simulated meter.

Its mistakes, held fast here so that we see when they go away: it puts the address on the wire in
the order it is written, cannot take a block, tells a done write and a refused one alike, and sends
a freeze as MM DD hh mm."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from simulators.lines.stream_lines import serve_tcp
from simulators.state.load import LoadCurve
from tests.simulated_meters import simulated_meter

CLIENT = """
import json, sys
from dlt645 import MeterClientService
client = MeterClientService.new_tcp_client("127.0.0.1", int(sys.argv[1]), 5.0)
client.connect()
client.set_address("123456781012")
client.set_password("000000")
def told(item):
    return None if item is None else str(item.value)
print(json.dumps({
    "energy": told(client.read_00(0x00010000)),
    "voltage": told(client.read_02(0x02010100)),
    "frequency": told(client.read_02(0x02800002)),
    "date": told(client.read_04(0x04000101)),
    "address": told(client.read_address()),
    "block": told(client.read_00(0x0001FF00)),
    "reactive": told(client.read_00(0x00050000)),
    "unknown": told(client.read_04(0x04030001)),
    "freeze": told(client.freeze(month=3, day=2, hour=12, minute=30)),
    "write": told(client.write_04(0x04000102, "083000", "02000000")),
    "time": told(client.read_04(0x04000102)),
}), flush=True)
client.disconnect()
"""
AS_THE_METER_IS_CALLED = "121078563412"
NOON = datetime(2026, 3, 2, 12, 0, 0)


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the foreign client read."""
    meter = simulated_meter(
        AS_THE_METER_IS_CALLED,
        now=lambda: NOON,
        curve=LoadCurve(mwh_per_day=0),
        initial_kwh=Decimal("1234.56"),
    )

    async def story() -> dict[str, Any]:
        async with serve_tcp([meter]) as line:
            command = [sys.executable, "-c", CLIENT, str(line.port)]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=60
            )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return asyncio.run(story())


def test_a_foreign_master_reads_what_our_meter_shows(told: dict[str, Any]) -> None:
    assert float(told["energy"]) == 1234.56
    assert float(told["voltage"]) == 220.0
    assert float(told["frequency"]) == 50.0
    assert told["date"] == "26030201"
    assert float(told["reactive"]) == 407.40
    assert told["unknown"] is None


def test_it_reads_the_address_in_the_order_of_the_wire(told: dict[str, Any]) -> None:
    assert told["address"] == "123456781012"


def test_it_takes_no_block_and_its_freeze_is_an_impossible_time(told: dict[str, Any]) -> None:
    assert told["block"] is None
    assert told["freeze"] is None


def test_it_writes_but_cannot_tell_that_it_did(told: dict[str, Any]) -> None:
    assert told["write"] is None
    assert told["time"] == "083000"
