"""The rules that `make alarms` tries are those that are shipped, but for their times."""

import re
import subprocess
from pathlib import Path

from config import prometheus
from tests.alarms.shortened import shortened
from tests.servers.packages import program

RULES = prometheus.RULES.read_text(encoding="utf-8")
NUMBER_OR_TIME = re.compile(r"\d+( \* \d+)*[smhd]?")


def test_nothing_but_times_is_changed() -> None:
    assert NUMBER_OR_TIME.sub("", shortened(RULES)) == NUMBER_OR_TIME.sub("", RULES)


def test_no_alarm_waits_longer_than_a_story() -> None:
    times = re.findall(r"(?:for: |\[)(\d+)([smhd])", shortened(RULES))
    assert {unit for _, unit in times} == {"s"}
    assert max(int(count) for count, _ in times) == 180
    ages = re.findall(r"(?:age_seconds|wait_seconds|timestamp_seconds) > (\d+)", shortened(RULES))
    assert ages
    assert max(map(int, ages)) <= 150
    assert re.findall(r"longest_step_seconds, (\d+)\)", shortened(RULES)) == ["10"]


def test_promtool_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(shortened(RULES), encoding="utf-8")
    promtool = program("promtool", ["prometheus"])
    subprocess.run([promtool, "check", "rules", str(file)], check=True, capture_output=True)
