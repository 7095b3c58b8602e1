"""What is missing and why: tries in vain are added up, and lines that are down explain their own."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.quality.gap import Gap
from daemon.transactions.gaps import find_gaps
from storage import gaps
from storage.archive import SiteMeter
from storage.gaps import Failures, Outage, SlotAttempt
from tests.database.small_site import DAY, NOW, OPEN, Site, freeze, on, rows, store

pytestmark = pytest.mark.hypertables

DAYS = [OPEN + n * DAY for n in range(6)]
HOUR = timedelta(hours=1)
REGISTERS = ["100", "105", "110", "115", "120", "125"]


def tried(
    meter: SiteMeter, day: date, cause: str, *, tries: int = 1, at: datetime = NOW
) -> SlotAttempt:
    return SlotAttempt(meter.meter_id, day, tries, cause, at, at + HOUR)


def down(since: datetime = NOW, tries: int = 3) -> Outage:
    return Outage("line", since, tries, "connection refused", NOW + HOUR)


async def write(connection: AsyncConnection[Any], *found: SlotAttempt | Outage) -> None:
    failures = Failures(
        attempts=[one for one in found if isinstance(one, SlotAttempt)],
        outages=[one for one in found if isinstance(one, Outage)],
    )
    await gaps.write_down(connection, failures)


async def one_gap(connection: AsyncConnection[Any]) -> Gap:
    (gap,) = await find_gaps(connection, DAYS[0], DAYS[5])
    return gap


async def lacking(connection: AsyncConnection[Any], *missing: int) -> SiteMeter:
    """One meter that lacks these days of six."""
    site = Site.of(installed_on=DAYS[0], first_registers_are_known=False)
    meter = (await site.take_over(connection))["P1"]
    there = [
        freeze(meter, day, kwh)
        for number, (day, kwh) in enumerate(zip(DAYS, REGISTERS, strict=True))
        if number not in missing
    ]
    await store(connection, *there)
    return meter


def test_a_gap_tells_the_cause_of_its_last_try_and_all_tries(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await lacking(connection, 2, 3)
        await write(
            connection,
            tried(meter, DAYS[2], "no_answer", tries=4),
            tried(meter, DAYS[3], "refused", tries=2, at=NOW + HOUR),
        )
        gap = await one_gap(connection)
        assert (gap.first_day, gap.last_day, gap.days) == (DAYS[2], DAYS[3], 2)
        assert (gap.cause, gap.tries) == ("refused", 6)
        assert (gap.last_at, gap.next_at) == (NOW + HOUR, NOW + 2 * HOUR)

    on(database_url, story)


def test_tries_of_several_runs_of_the_daemon_are_added_up(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await lacking(connection, 2)
        await write(connection, tried(meter, DAYS[2], "no_answer", tries=4))
        await write(connection, tried(meter, DAYS[2], "no_freeze", at=NOW + HOUR))
        gap = await one_gap(connection)
        assert (gap.cause, gap.tries) == ("no_freeze", 5)

    on(database_url, story)


def test_a_gap_that_nobody_tried_says_so(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await lacking(connection, 5)
        gap = await one_gap(connection)
        assert (gap.cause, gap.tries, gap.next_at) == ("not_asked", 0, None)

    on(database_url, story)


def test_a_line_that_is_down_is_the_cause_of_what_was_not_tried_since(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await lacking(connection, 5)
        await write(connection, tried(meter, DAYS[5], "no_answer", at=NOW - HOUR), down())
        gap = await one_gap(connection)
        assert (gap.cause, gap.detail) == ("no_route", "connection refused")
        assert (gap.tries, gap.next_at) == (1, NOW + HOUR)

        await write(connection, down(since=NOW + HOUR, tries=5))
        assert await rows(connection, "SELECT since, tries FROM outage") == [(NOW + HOUR, 5)]

        await gaps.write_down(connection, Failures(ended=["line", "another"]))
        gap = await one_gap(connection)
        assert (gap.cause, gap.detail, gap.next_at) == ("no_answer", "", NOW)

    on(database_url, story)


@pytest.mark.parametrize(
    ("skew", "kwh", "cause"),
    [(timedelta(minutes=7), "110", "meter_clock"), (None, "1", "suspect")],
)
def test_what_is_withheld_is_a_gap_of_its_own(
    database_url: str, skew: timedelta | None, kwh: str, cause: str
) -> None:
    """A suspect is not present: it moves no money."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await lacking(connection, 2, 3)
        await store(connection, freeze(meter, DAYS[2], kwh, skew=skew))
        found = await find_gaps(connection, DAYS[0], DAYS[5])
        assert [(gap.first_day, gap.days, gap.cause) for gap in found] == [
            (DAYS[2], 1, cause),
            (DAYS[3], 1, "not_asked"),
        ]

    on(database_url, story)


def test_a_point_that_lacks_nothing_but_what_is_withheld_has_a_gap(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await lacking(connection, 2)
        await store(connection, freeze(meter, DAYS[2], "1"))
        gap = await one_gap(connection)
        assert (gap.first_day, gap.state) == (DAYS[2], "withheld")

    on(database_url, story)


def test_a_gap_of_more_than_a_memory_is_one_gap(database_url: str) -> None:
    """The database gives 62 days at a time."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await lacking(connection)
        newest = DAYS[5] + 100 * DAY
        (gap,) = await find_gaps(connection, DAYS[0], newest)
        assert (gap.first_day, gap.last_day, gap.days) == (DAYS[5] + DAY, newest, 100)

    on(database_url, story)


def test_a_site_without_gaps_has_none(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await lacking(connection)
        assert await find_gaps(connection, DAYS[0], DAYS[5]) == []

    on(database_url, story)


def test_points_that_are_dark_for_days_or_weeks_lack_just_these(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        newest = OPEN + 45 * DAY
        dark = [0, 1, 2, 3, 8, 9, 10, 40]
        site = Site.of(len(dark), installed_on=OPEN, first_registers_are_known=False)
        found = await site.take_over(connection)
        for meter, days in zip(found.values(), dark, strict=True):
            there = (newest - OPEN).days + 1 - days
            await store(connection, *[freeze(meter, OPEN + n * DAY, 100 + n) for n in range(there)])
        told = await find_gaps(connection, OPEN, newest)
        assert [gap.days for gap in told] == dark[1:]
        assert {gap.last_day for gap in told} == {newest}

    on(database_url, story)
