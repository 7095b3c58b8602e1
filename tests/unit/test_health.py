"""What those who watch are told."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.metrics import MetricWrapperBase

from daemon import metrics, ticks
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.health import (
    BATCH_LATE_S,
    COMMAND_LATE_AFTER_S,
    LATE_AFTER_S,
    LEAST_DISK_BYTES,
    STORING_STUCK_AFTER_S,
    STUCK_AFTER_S,
    WorkDone,
    feed_watchdog,
    health,
)
from daemon.runtime.purposes import PURPOSES
from protocols.channels.conversation import Timing
from tests.line_parts import line_parts

AUTHORITY = Authority(Policy(), ZoneInfo("Asia/Shanghai"), True, timedelta)
BILLED = WorkDone(most_days=3)
WELL = {
    "stores": True,
    "settlement": "ok",
    "oldest_unstored_s": 3.0,
    "batch_s": 0.0,
    "disk_free_bytes": 2**34,
}
NAMES = Path(__file__).with_name("metrics.txt")


def storing() -> dict[str, Any]:
    """What a pipeline says that is well."""
    return WELL


def an_idle_line(name: str, shown_as: str | None = None) -> WireLine:
    """A line that is never run: it has neither a channel nor a database."""
    nothing = cast(Any, None)
    parts = WireParts(nothing, nothing, Timing(), BatchPoller(Deadlines()))
    return WireLine(line_parts(name, [], shown_as=shown_as or name), parts)


def test_a_line_without_progress_is_stuck_and_the_daemon_not_well() -> None:
    lively, stuck = an_idle_line("gate-1"), an_idle_line("gate-2")
    lively.up = stuck.up = True
    assert health([lively, stuck], AUTHORITY, storing, BILLED)[0]
    stuck._jobs.progress = time.monotonic() - STUCK_AFTER_S - 1
    is_well, shown = health([lively, stuck], AUTHORITY, storing, BILLED)
    assert not is_well
    assert (shown["status"], shown["stuck"]) == ("stuck", ["gate-2"])


def test_a_line_that_is_down_degrades_but_is_no_reason_to_restart() -> None:
    up, down = an_idle_line("gate-1"), an_idle_line("gate-2")
    up.up = True
    is_well, shown = health([up, down], AUTHORITY, storing, BILLED)
    assert is_well
    assert (shown["status"], shown["down"]) == ("degraded", ["gate-2"])


@pytest.mark.parametrize(
    ("said", "shown_as"),
    [
        ({"stores": False}, "cannot store"),
        ({"oldest_unstored_s": LATE_AFTER_S + 1}, "late"),
        ({"batch_s": BATCH_LATE_S + 1}, "late"),
    ],
)
def test_health_asks_whether_readings_are_stored_not_whether_a_connection_is_open(
    said: dict[str, Any], shown_as: str
) -> None:
    line = an_idle_line("gate-1")
    line.up = True
    is_well, shown = health([line], AUTHORITY, lambda: WELL | said, BILLED)
    assert is_well, "a restart mends no database"
    assert (shown["status"], shown["database"]) == ("degraded", shown_as)
    assert shown["storing"] == WELL | said


def test_accounts_that_were_settled_one_by_one_degrade_health() -> None:
    line = an_idle_line("gate-1")
    line.up = True
    said = {"settlement": "one by one: TypeError: a fault"}
    is_well, shown = health([line], AUTHORITY, lambda: WELL | said, BILLED)
    assert is_well, "a restart mends no fault"
    assert (shown["status"], shown["database"]) == ("degraded", "ok")
    assert shown["storing"]["settlement"] == said["settlement"]


@pytest.mark.parametrize(
    ("free", "shown_as"),
    [(LEAST_DISK_BYTES, "ok"), (LEAST_DISK_BYTES - 1, "full"), (None, "gone")],
)
def test_a_disk_without_room_degrades_before_anything_must_be_kept_on_it(
    free: int | None, shown_as: str
) -> None:
    line = an_idle_line("gate-1")
    line.up = True
    is_well, shown = health([line], AUTHORITY, lambda: WELL | {"disk_free_bytes": free}, BILLED)
    assert is_well, "a restart makes no room"
    assert shown["disk"] == shown_as
    assert (shown["status"] == "ok") is (shown_as == "ok")


@pytest.mark.parametrize(
    ("reason", "age_days", "status"),
    [
        ("withheld", 3, "ok"),
        ("withheld", 4, "degraded"),
        ("held", 4, "degraded"),
        ("no_account", 400, "ok"),  # an empty flat is nobody's fault
    ],
)
def test_a_point_that_is_not_billed_for_too_long_degrades_health(
    reason: str, age_days: int, status: str
) -> None:
    line = an_idle_line("gate-1")
    line.up = True
    standing = WorkDone(most_days=3, counts={reason: (2, age_days)})
    is_well, shown = health([line], AUTHORITY, storing, standing)
    assert is_well, "a restart bills nobody"
    assert shown["status"] == status
    assert shown["standstill"]["points"] == {reason: 2}


@pytest.mark.parametrize(("days_ago", "status"), [(None, "ok"), (0, "ok"), (5, "degraded")])
def test_a_day_that_is_over_for_hours_and_not_closed_degrades_health(
    days_ago: int | None, status: str
) -> None:
    line = an_idle_line("gate-1")
    line.up = True
    standing = WorkDone(most_days=3)
    if days_ago is not None:
        today = datetime.now(AUTHORITY.zone).date()
        standing.next_day = today - timedelta(days=days_ago)
    is_well, shown = health([line], AUTHORITY, storing, standing)
    assert is_well, "a restart closes no day"
    assert shown["status"] == status
    assert (shown["days_not_closed"] >= 4) == (status == "degraded")


def test_what_is_not_achieved_in_time_degrades_health_by_its_word() -> None:
    line = an_idle_line("gate-1")
    line.up = True
    work = WorkDone(most_days=3)
    work.achieved.begin()
    assert health([line], AUTHORITY, storing, work)[1]["status"] == "ok"
    for name, purpose in PURPOSES.items():
        work.achieved._at[name] -= purpose.within_s + 1
        is_well, shown = health([line], AUTHORITY, storing, work)
        assert is_well, "a restart mends no database"
        assert (shown["status"], shown["missed"]) == ("degraded", [purpose.word])
        assert shown["achieved"]["seconds_since"][name] > purpose.within_s
        work.achieved.note(name)
    assert health([line], AUTHORITY, storing, work)[1]["status"] == "ok"


def test_each_purpose_is_one_of_the_ticks() -> None:
    source = Path(ticks.__file__).read_text(encoding="utf-8")
    assert [name for name in PURPOSES if f'"{name}"' not in source] == []


@pytest.mark.parametrize(("is_shadow", "missed"), [(False, ["a supply command waits"]), (True, [])])
def test_a_command_that_nobody_looks_at_degrades_health_where_commands_are_sent(
    is_shadow: bool, missed: list[str]
) -> None:
    line = an_idle_line("gate-1")
    line.up = True
    work = WorkDone(most_days=3)
    work.achieved.command_waits_s = COMMAND_LATE_AFTER_S + 1
    authority = Authority(AUTHORITY.policy, AUTHORITY.zone, is_shadow, AUTHORITY.running_for)
    assert health([line], authority, storing, work)[1]["missed"] == missed


@pytest.mark.parametrize(("batch_s", "is_fed"), [(0.0, True), (STORING_STUCK_AFTER_S + 1, False)])
def test_the_watchdog_is_fed_while_batches_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_s: float, is_fed: bool
) -> None:
    async def story() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await feed_watchdog([], lambda: WELL | {"batch_s": batch_s})

    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        asyncio.run(story())
        heard = [manager.recv(100)] if is_fed else []
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    assert heard == [b"WATCHDOG=1"] * is_fed


def test_a_terminal_may_be_away_for_ever_and_its_listener_is_down_when_all_are() -> None:
    away, other = an_idle_line("dtu-1", "gprs"), an_idle_line("dtu-2", "gprs")
    away._jobs.progress -= 1_000_000
    other.up = True
    is_well, shown = health([away, other], AUTHORITY, storing, BILLED)
    assert (is_well, shown["status"], shown["down"]) == (True, "ok", [])
    assert (shown["lines"], shown["listeners"]) == ({}, {"gprs": {"terminals": 2, "connected": 1}})
    other.up = False
    is_well, shown = health([away, other], AUTHORITY, storing, BILLED)
    assert (is_well, shown["status"], shown["down"]) == (True, "degraded", ["gprs"])
    away.up = True
    assert health([away, other], AUTHORITY, storing, BILLED)[1]["stuck"] == ["dtu-1"]


def test_renaming_a_metric_is_a_visible_change() -> None:
    found = sorted(
        f"{metric._name} {metric._type} {','.join(metric._labelnames)}".strip()
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    )
    assert found == NAMES.read_text().splitlines()


def test_the_day_whose_freeze_is_due_begins_five_minutes_after_midnight() -> None:
    from daemon.acquisition.planning.wanted import due_day

    assert due_day(datetime(2026, 3, 2, 0, 4, 59)) == date(2026, 3, 1)
    assert due_day(datetime(2026, 3, 2, 0, 5)) == date(2026, 3, 2)
