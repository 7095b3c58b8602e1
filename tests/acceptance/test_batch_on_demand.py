"""Q8: of the failure list all meters are read on demand, and what they tell fills no day (R12)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.stage import Stage, stage

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
FEW_DAYS = 3
ANSWER = 30
SILENT = 5
REFUSE = 2
FREEZES = [f"05{kind}" for kind in ("060001", "060101", "06FF01")]
FLEETS = """
[[meters]]
line = "gate-1"
address = "000000005001"
count = {answer}
refused = {freezes}

[[meters]]
line = "gate-1"
address = "000000005101"
count = {silent}
faults = [{{ kind = "lost_request" }}]

[[meters]]
line = "gate-1"
address = "000000005201"
count = {refuse}
refused = {all}
"""


def test_a_batch_of_failed_meters_has_a_result_each_and_publishes_nothing(
    database_url: str, tmp_path: Path
) -> None:
    more = FLEETS.format(
        answer=ANSWER,
        silent=SILENT,
        refuse=REFUSE,
        freezes=json.dumps(FREEZES),
        all=json.dumps([*FREEZES, "0001FF00", "00010000"]),
    )
    with stage(tmp_path, database_url, days=FEW_DAYS, more_meters=more) as staged:
        add_meters(staged)
        staged.start_daemon()
        staged.until("the others are collected", lambda: staged.slots_missing() == 0)
        slots = staged.ask("SELECT count(*) FROM slot")
        told = staged.meterd(
            *("collect", "--failed", "--what", "registers", "--within", "90", "--json"), code=1
        )
        results = [json.loads(row) for row in told.splitlines()]
        assert Counter(it["outcome"] for it in results) == {
            "ok": ANSWER,
            "silent": SILENT,
            "refused": REFUSE,
        }
        raw = staged.ask(
            "SELECT address, source, stamp IS NOT NULL, total FROM reading "
            "JOIN meter ON meter.id = meter_id WHERE kind = 3"
        )
        there = {it["meter"]: it["values"]["total_kwh"] for it in results if it["values"]}
        assert {address: f"{total / 100:.2f}" for address, *_, total in raw} == there
        assert {row[1:3] for row in raw} == {(3, True)}
        assert len(raw) == ANSWER
        assert staged.ask("SELECT count(*) FROM slot") == slots
        shown = staged.meterd("readings", "P5001", "--raw", "--json")
        kinds = Counter(json.loads(row)["kind"] for row in shown.splitlines())
        # What it settled last month it may have told with who it is.
        assert (kinds["current"], kinds["daily freeze"]) == (1, 0)
        # Before 06:00 the freeze of a day is no gap yet.
        owed = staged.ask(
            "SELECT FROM slot WHERE point_id = (SELECT id FROM point WHERE number = 'P5001')"
        )
        assert owed == []


def add_meters(staged: Stage) -> None:
    """37 that owe the freeze of one day, and will not tell it."""
    first = [(5001, ANSWER), (5101, SILENT), (5201, REFUSE)]
    numbers = [start + n for start, count in first for n in range(count)]
    for file, rows in (
        ("meters.csv", [f"{n:012d},gate-1,P{n},{staged.today}" for n in numbers]),
        ("points.csv", [f"P{n},C{n},close" for n in numbers]),
        ("accounts.csv", [f"C{n},home,," for n in numbers]),
    ):
        with (staged.folder / file).open("a") as table:
            table.write("\n".join(rows) + "\n")
