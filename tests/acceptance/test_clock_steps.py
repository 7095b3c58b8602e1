"""The installed daemon on a host whose clock is stepped: nothing stands still for that long (B7)."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from tests.acceptance.stage import Stage, stage
from tests.at_hours import libfaketime

AHEAD = "+1h"


def sweeps(staged: Stage) -> float:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{staged.http_port}/metrics", timeout=5
    ) as answer:
        found = re.search(rb'meterd_ticks_total\{outcome="ok",tick="sweep"\} (\S+)', answer.read())
    return float(found[1]) if found else 0.0


def test_a_clock_that_is_stepped_back_stops_no_tick_and_is_not_believed(
    database_url: str, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text(AHEAD)
    with stage(tmp_path, database_url, seed=1) as staged:
        staged.start_daemon(
            LD_PRELOAD=libfaketime(),
            FAKETIME_TIMESTAMP_FILE=str(clock),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )
        staged.until("a sweep was done", lambda: sweeps(staged) > 0)
        assert "doubted" not in staged.health()["clock"]
        clock.write_text("+0")
        staged.until("the step is told", lambda: "host clock stepped" in staged.log())
        before = sweeps(staged)
        staged.until("two more sweeps were done", lambda: sweeps(staged) >= before + 2)
        assert staged.health()["clock"].startswith("doubted: it was stepped by -3600 s")
        assert staged.log().count("host clock stepped") == 1
        assert staged.log().count("host clock doubted") == 1
        staged.stop_daemon()
