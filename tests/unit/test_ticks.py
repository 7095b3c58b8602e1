"""When what is done every so often, or once a day, is due."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from time import monotonic as time_s
from zoneinfo import ZoneInfo

import psycopg
import pytest

from daemon.runtime.purposes import Achieved
from daemon.ticks import Daily, Tick, repeating, scheduled


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


class Away:
    """What the database fails so many times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.is_done = asyncio.Event()

    async def run(self) -> None:
        if self.left:
            self.left -= 1
            raise psycopg.OperationalError("the database is away")
        self.is_done.set()


def test_what_the_database_failed_is_not_felt_for_a_period_more() -> None:
    async def scene() -> None:
        away = Away(3)
        hourly = Tick("gap_scan", away.run, 3600, first_after_s=0, again_s=0)
        async with repeating([hourly], set(), Achieved()), asyncio.timeout(20):
            await away.is_done.wait()

    asyncio.run(scene())


def test_what_the_database_failed_at_its_hour_is_done_the_same_day() -> None:
    async def scene() -> None:
        away = Away(3)
        daily = Daily("books", away.run, time(3, 5), first_after_s=0, again_s=0)
        scheduler = scheduled([daily], ZoneInfo("Asia/Shanghai"), set(), Achieved())
        async with asyncio.timeout(20):
            await away.is_done.wait()
        scheduler.shutdown(wait=False)

    asyncio.run(scene())


def test_what_fails_for_good_once_a_day_leaves_most_of_the_time_to_others() -> None:
    takes_s = 0.05
    began: list[float] = []

    async def scene() -> None:
        is_done = asyncio.Event()

        async def fail() -> None:
            began.append(time_s())
            await asyncio.sleep(takes_s)
            if len(began) == 3:
                is_done.set()
            raise psycopg.errors.UndefinedTable("a lasting mistake")

        daily = Daily("books", fail, time(3, 5), first_after_s=0, again_s=0)
        scheduler = scheduled([daily], ZoneInfo("Asia/Shanghai"), set(), Achieved())
        async with asyncio.timeout(60):
            await is_done.wait()
        scheduler.shutdown(wait=False)

    asyncio.run(scene())
    assert all(b - a >= 10 * takes_s - 0.01 for a, b in pairwise(began)), began


def test_a_tick_may_want_to_be_done_before_its_period() -> None:
    async def scene() -> None:
        done = asyncio.Semaphore(0)

        async def look() -> float:
            done.release()
            return 0.0

        hourly = Tick("standstill", look, 3600, first_after_s=0)
        async with repeating([hourly], set(), Achieved()), asyncio.timeout(20):
            for _ in range(3):
                await done.acquire()

    asyncio.run(scene())
