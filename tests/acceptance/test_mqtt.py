"""The installed program with everything that can stand behind a broker, a real mosquitto."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from simulators.bench.remote import RemoteBench
from tests.acceptance.stage import Stage
from tests.servers.certificates import make_certificates, tls_settings
from tests.servers.commands import METERD
from tests.servers.mosquitto import LISTENER, Mosquitto
from tests.servers.ports import free_port

pytestmark = [
    pytest.mark.acceptance,
    # It is about lines and commands, and takes minutes: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]

OWN, DTU, PLUG, TERMINAL = "000000001001", "000000002001", "000000003001", "000000004001"
DAYS = 3
ZONE = "Test/Midnight"
MIDNIGHT_S_AGO = 15
"""Devices without memory are read until a minute after local midnight, and others from then on: so
the site lies where it is this late."""

SCENARIO = """
zone = "{zone}"

[lines.tls]
mqtt = {{ port = {port} }}

[lines.dtu]
mqtt = {{ port = {port}, flavour = "transparent", prefix = "dtu", wrapping = "hex" }}

[lines.plugs]
mqtt = {{ port = {port}, flavour = "shelly" }}

[[meters]]
line = "tls"
address = "000000001001"

[[meters]]
line = "dtu"
address = "000000002001"

[[meters]]
line = "plugs"
address = "000000003001"
"""

SITE = """
[site]
name = "brokers"
zone = "{zone}"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[database]
url = {{ file = "database-url" }}

[[line]]
name = "dtu"
mqtt = {{ host = "127.0.0.1", port = {port}, down = "dtu/dtu/in", up = "dtu/dtu/out", wrapping = "hex" }}

[[gateway]]
name = "tls"

[gateway.broker]
host = "localhost"
port = {tls_port}
tls_ca = "ca.pem"
tls_certificate = "client.pem"
tls_key = "client.key"

[[gateway]]
name = "plugs"
broker = {{ host = "127.0.0.1", port = {port} }}
family = "shelly"
component = "switch:0"

[[gateway]]
name = "ttu"
broker = {{ host = "127.0.0.1", port = {port} }}
family = "state-grid"
registers = ["SupWh"]

[collection]
backfill_days = {days}

[http]
listen = "127.0.0.1:{http_port}"
"""

METERS = """address,line,point,installed_on,protocol,device
000000001001,tls,P1,{installed},mqtt,
000000002001,dtu,P2,{installed},,
000000003001,plugs,P3,{installed},mqtt,shellyplus1pm-000000003001
000000004001,ttu,P4,{installed},mqtt,Meter_1
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Mosquitto, int]]:
    """A broker, and the port where it wants a certificate."""
    make_certificates(tmp_path)
    tls_port = free_port()
    settings = f"{LISTENER}listener {tls_port} 127.0.0.1\n{tls_settings(tmp_path)}"
    with Mosquitto(tmp_path, settings) as running:
        yield running, tls_port


@pytest.fixture
def staged(tmp_path: Path, database_url: str, broker: tuple[Mosquitto, int]) -> Iterator[Stage]:
    mosquitto, tls_port = broker
    today = make_zone(tmp_path, int(time.time()) - MIDNIGHT_S_AGO)
    http_port = free_port()
    places = {
        "zone": ZONE,
        "port": mosquitto.port,
        "tls_port": tls_port,
        "days": DAYS,
        "http_port": http_port,
    }
    (tmp_path / "scenario.toml").write_text(SCENARIO.format(**places))
    (tmp_path / "meterd.toml").write_text(SITE.format(**places))
    (tmp_path / "database-url").write_text(database_url)
    (tmp_path / "tariffs.toml").write_text(
        '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n'
    )
    (tmp_path / "meters.csv").write_text(METERS.format(installed=today - timedelta(days=DAYS)))
    (tmp_path / "points.csv").write_text("point\nP1\nP2\nP3\nP4\n")
    (tmp_path / "accounts.csv").write_text("account,tariff,open_from,agreement\n")
    with ExitStack() as opened:
        simulators = subprocess.Popen(
            [METERD, "simulate", str(tmp_path / "scenario.toml"), "--json"],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONTZPATH": str(tmp_path)},
        )
        opened.callback(simulators.wait)
        opened.callback(simulators.kill)
        assert simulators.stdout is not None
        ready = json.loads(opened.enter_context(simulators.stdout).readline())
        bench = opened.enter_context(
            RemoteBench(ready["control"]["host"], ready["control"]["port"])
        )
        stage = Stage(tmp_path, database_url, bench, http_port, "shadow", today=today)
        opened.callback(stage.close)
        yield stage


def make_zone(folder: Path, midnight: int) -> date:
    """Write a time zone in which this second is a midnight; returns the day that begins with it."""
    offset_s = (-midnight + 43_200) % 86_400 - 43_200
    hours_west = f"{'-' if offset_s > 0 else ''}{timedelta(seconds=abs(offset_s))}"
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    block = b"TZif2" + bytes(15) + counts + struct.pack(">lbB", offset_s, 0, 0) + b"TST\0"
    path = folder / ZONE
    path.parent.mkdir()
    path.write_bytes(2 * block + f"\n<TST>{hours_west}\n".encode())
    return datetime.fromtimestamp(midnight + offset_s, UTC).date()


def totals(staged: Stage, address: str, state: str = "published") -> dict[date, Decimal]:
    """What the database has of a meter in this state, in kWh by the day of its midnight."""
    question = (
        "SELECT slot.day, slot.total FROM slot JOIN meter ON meter.id = slot.meter_id "
        "WHERE meter.address LIKE %s AND slot.state::text = %s"
    )
    return {
        day: Decimal(total).scaleb(-2) for day, total in staged.ask(question, f"%{address}", state)
    }


def test_readings_come_through_tls_a_dtu_shelly_and_a_state_grid_terminal(
    staged: Stage, broker: tuple[Mosquitto, int]
) -> None:
    mosquitto, _ = broker
    terminal = mosquitto.subscriber("-t", "meterd/get/request/database/realtime")
    try:
        staged.start_daemon(PYTHONTZPATH=str(staged.folder))
        staged.until(
            "the terminal is asked",
            lambda: "meterd/get/request/database/realtime', " in mosquitto.log(),
        )
        assert terminal.stdout is not None
        with terminal.stdout as asked:
            question = json.loads(asked.readline())
    finally:
        terminal.kill()
        terminal.wait()
    assert question["body"] == [{"dev": "Meter_1", "totalcall": "0", "body": ["SupWh"]}]
    item = {
        "name": "SupWh",
        "val": "1234.56",
        "quality": "0",
        "timestamp": datetime.now(UTC).isoformat(),
    }
    answer = {"token": question["token"], "body": [{"dev": "Meter_1", "body": [item]}]}
    mosquitto.publish("database/get/response/meterd/realtime", json.dumps(answer))

    # V32: the first value of a meter waits for its second, of the day after.
    staged.until(
        "the terminal's register",
        lambda: totals(staged, TERMINAL, "suspect") == {staged.today: Decimal("1234.56")},
    )
    staged.until("the plug's register", lambda: staged.today in totals(staged, PLUG, "suspect"))
    truth = staged.bench.truth()
    days = [staged.today - timedelta(days=back) for back in range(1, DAYS)]
    frozen = {address: {day: truth[address][day] for day in days} for address in (OWN, DTU)}
    staged.until(
        "the freezes",
        lambda: all(frozen[it].items() <= totals(staged, it).items() for it in frozen),
    )
    assert abs(
        totals(staged, PLUG, "suspect")[staged.today] - truth[PLUG][staged.today]
    ) <= Decimal("0.1")
    assert "u'client'" in mosquitto.log()
    assert staged.stop_daemon() == 0
    assert "Traceback" not in staged.log()
