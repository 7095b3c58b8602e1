"""`meterd bench`: a site that lives days in minutes, meters, database and daemon on one clock."""

import json
import os
import subprocess
import sys
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.bench.files import example_site
from tests.servers.packages import install

pytestmark = pytest.mark.xdist_group("bench")  # one run of it serves all

METERD = [sys.executable, "-c", "from daemon.cli import main; main()"]
DAYS = 3
ZONE = ZoneInfo("Asia/Shanghai")
METERS = {"000000001001": "C1001", "000000001002": "C1002", "000000001003": "C1003"}
SCENARIO = """
zone = "Asia/Shanghai"
seed = 4
[lines.gate-1]
port = 0
reply_delay_ms = 0
[lines.gate-2]
port = 0
reply_delay_ms = 0
[[meters]]
line = "gate-1"
address = "000000001002"
kwh_per_day = 9
relay = "external"
[[meters]]
line = "gate-2"
address = "000000001001"
kwh_per_day = 9
relay = "external"
[[meters]]
line = "gate-2"
address = "000000001003"
kwh_per_day = 9
relay = "external"
[[actions]]
after_s = {dark_s}
do = "power"
address = "000000001003"
state = "off"
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three customers who paid two yuan; whoever is dark pays. One meter loses its supply at noon of
    the second day."""
    install(["libfaketime"])
    now = datetime.now(ZONE)
    noon = datetime.combine(now + timedelta(days=1), time(12), ZONE)
    folder = tmp_path_factory.mktemp("bench")
    site = example_site(folder / "own", now.date())
    text = site.read_text().replace(
        '"approvals_required" = 0',
        '"approvals_required" = 0, "written_notice_required" = false, '
        '"final_notice_required" = false, "min_debt_yuan" = "1.00"',
    )
    site.write_text(text)
    for name, of_meter in (("meters", True), ("points", False), ("accounts", False)):
        path = site.parent / "archive" / f"{name}.csv"
        head, *rows = path.read_text().splitlines()
        wanted = METERS if of_meter else METERS.values()
        kept = [row for row in rows if any(it in row for it in wanted)]
        path.write_text("\n".join([head, *kept]) + "\n")
    contacts = site.parent / "archive" / "contacts.csv"
    head, *rows = contacts.read_text().splitlines()
    kept = [row for row in rows if row.split(",")[0] in METERS.values()]
    contacts.write_text("\n".join([head, *kept]) + "\n")
    scenario = folder / "scenario.toml"
    scenario.write_text(SCENARIO.format(dark_s=int((noon - now).total_seconds())))
    options = f"--days {DAYS} --deposit 2 --top-up 50 --pays dark --json --scenario".split()
    done = subprocess.run(
        [*METERD, "bench", str(site), *options, str(scenario)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of(lived: dict[str, Any], account: str) -> dict[str, Any]:
    (customer,) = [it for it in lived["customers"] if it["account"] == account]
    found: dict[str, Any] = customer
    return found


def test_days_pass_that_the_host_never_saw(lived: dict[str, Any]) -> None:
    passed = date.fromisoformat(lived["last"]) - date.fromisoformat(lived["first"])
    assert passed.days == DAYS
    assert lived["took_s"] < passed.total_seconds() / 100


def test_every_balance_is_what_the_registers_in_the_meters_make_of_it(
    lived: dict[str, Any],
) -> None:
    assert len(lived["customers"]) == len(METERS)
    for customer in lived["customers"]:
        assert customer["expected_fen"] == customer["balance_fen"]
        assert float(customer["used_kwh"]) > 3


def test_a_meter_without_supply_is_not_billed_and_is_named(lived: dict[str, Any]) -> None:
    customer = of(lived, "C1003")
    assert customer["days_missing"] >= 1
    assert customer["balance_fen"] == customer["expected_fen"]


def test_who_owes_is_cut_and_is_lit_again_after_the_payment(lived: dict[str, Any]) -> None:
    """Cut on the second morning, paid four hours after that."""
    customer = of(lived, "C1001")
    assert (customer["cut"], customer["restored"]) == (1, 1)
    assert 5 < customer["dark_h"] < 6
    assert customer["paid_fen"] == 5_200
