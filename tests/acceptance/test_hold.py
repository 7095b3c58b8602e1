"""Hold all (R98): one word stops every cut, by whatever daemon, until it is taken back; by the
installed program over simulated meters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import POOR, Stage, stage
from tests.acceptance.test_running_daemon import metric

pytestmark = pytest.mark.acceptance

HELD = "SELECT 'HOLD' = ANY (reasons) FROM guard_verdict ORDER BY id DESC LIMIT 1"


@pytest.fixture
def staged(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url) as made:
        yield made


def swept(staged: Stage) -> bool:
    """This daemon has looked for whom to cut."""
    return bool(metric(staged, "meterd_ticks_total", tick="sweep", outcome="ok"))


def test_a_hold_stops_every_cut_and_survives_restarts(staged: Stage) -> None:
    said = ("--reason", "storm", "--actor", "zhao")
    mark = json.loads(staged.meterd("supply", "hold", *said, "--json"))["mark"]
    staged.start_daemon()
    staged.until("the guard is held", lambda: staged.ask(HELD) == [(True,)])
    staged.kill_daemon()
    staged.start_daemon()
    staged.until("it looks who is to be cut", lambda: swept(staged))
    assert staged.control_frames() == []
    assert staged.supply_of(POOR) == "energised"
    staged.meterd("supply", "release", str(mark), *said)
    staged.until("the customer is cut", lambda: staged.supply_of(POOR) == "disconnected")
