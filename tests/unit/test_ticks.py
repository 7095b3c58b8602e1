"""When what is done once a day is due."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from daemon.ticks import Daily


async def nothing() -> None:
    """What is called does not matter here."""


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Europe/Berlin", "America/New_York"])
def test_it_is_due_after_a_start_and_at_its_hour_of_the_site(zone: str) -> None:
    place = ZoneInfo(zone)
    # A week with the beginning of summer time in Berlin, and one in which nothing changes.
    started = datetime(2026, 3, 26, 12, 0, tzinfo=UTC)
    trigger = Daily("books", nothing, time(3, 5), first_after_s=600).trigger(place, started)
    due = [trigger.get_next_fire_time(None, started)]
    for _ in range(6):
        due.append(trigger.get_next_fire_time(due[-1], due[-1] + timedelta(seconds=1)))
    assert due[0] == started + timedelta(seconds=600)
    local = [moment.astimezone(place) for moment in due[1:]]
    assert {moment.time() for moment in local} == {time(3, 5)}
    assert all(b.date() - a.date() == timedelta(days=1) for a, b in pairwise(local))
