"""What is unusual about use is found once a day, kept until it is over, and withholds nothing."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.quality.use_checks import USUAL, Thresholds
from daemon.transactions.soft_findings import look_at_equal_registers, look_at_uses
from storage import findings
from storage.doubts import Wanted
from storage.findings import Soft
from tests.database.small_site import (
    DAY,
    SHADOW,
    TODAY,
    ZONE,
    Site,
    freeze,
    meters,
    noon,
    on,
    rows,
    slots,
    store,
)

SOFT = ("V09", "V12", "V14", "V15", "V25")


async def used(connection: AsyncConnection[Any], *kwh: int) -> None:
    """Point P1 used so much on each of the days up to yesterday."""
    first = TODAY - len(kwh) * DAY
    await Site.of(1, opened_on=first).take_over(connection)
    meter = (await meters(connection))["P1"]
    total = 100
    batch = [freeze(meter, first, total)]
    for n, each in enumerate(kwh, 1):
        total += each
        batch.append(freeze(meter, first + n * DAY, total))
    await store(connection, *batch, authority=SHADOW)


async def active(connection: AsyncConnection[Any]) -> list[Soft]:
    return await findings.active(connection, Wanted(TODAY + DAY), SOFT)


async def look(
    connection: AsyncConnection[Any], days_later: int = 0, than: Thresholds = USUAL
) -> None:
    await look_at_uses(connection, ZONE, noon(TODAY) + timedelta(days=days_later), than)


def test_a_day_of_much_more_use_is_unusual_and_published(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used(connection, *[10] * 30, 60)
        await look(connection)
        assert await active(connection) == [Soft("P1", "A1", "V14", TODAY - DAY)]
        assert (await slots(connection, "P1"))[TODAY][::2] == ("published", [])

    on(database_url, story)


def test_a_register_that_stands_still_is_told_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used(connection, *[10] * 25, *[0] * 7)
        await look(connection)
        await look(connection)
        assert [(it.code, it.day) for it in await active(connection)] == [
            ("V09", TODAY - DAY),
            ("V14", TODAY - DAY),
        ]
        assert await rows(connection, "SELECT count(*) FROM finding") == [2]

    on(database_url, story)


def test_what_is_over_is_no_longer_told_and_new_values_stay_clean(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used(connection, *[10] * 30, 60)
        await look(connection)
        meter = (await meters(connection))["P1"]
        await store(connection, freeze(meter, TODAY + DAY, 470), authority=SHADOW)
        assert (await slots(connection, "P1"))[TODAY + DAY] == ("published", 47000, [])
        await look(connection, days_later=1)
        assert await active(connection) == []

    on(database_url, story)


def test_usual_use_is_not_worth_a_word(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used(connection, *[10] * 35)
        await look(connection)
        assert await rows(connection, "SELECT count(*) FROM finding") == [0]

    on(database_url, story)


LINKS = """
INSERT INTO link (point_id, account_id, from_day, to_day, meter_id, used_total, end_total, modulus, decimals, ratio)
SELECT p.point_id, p.account_id, d::date, d::date + 1, i.meter_id, used, used, 100000000, 2, 1
FROM point_account p JOIN installation i USING (point_id), (VALUES (%s::int)) u (used), generate_series(%s::date, %s::date, interval '1 day') d
"""


@pytest.mark.parametrize("day", [date(2026, 3, 4), date(2026, 3, 28)])
def test_a_month_of_other_use_than_a_year_before_is_told_all_the_next_month(
    database_url: str, day: date
) -> None:
    """Though all else looks back five weeks only."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await connection.execute(LINKS, [100, date(2025, 2, 1), date(2025, 2, 28)])
        await connection.execute(LINKS, [301, date(2026, 2, 1), day])
        await look_at_uses(connection, ZONE, noon(day))
        assert await rows(connection, "SELECT code FROM finding WHERE active") == ["V15"]

    on(database_url, story)


@pytest.mark.parametrize(
    ("kwh", "than", "told"),
    [
        ([*[10] * 30, 29], Thresholds(high_factor=2), ["V14"]),
        ([*[10] * 30, 29], USUAL, []),
        ([*[10] * 30, 60], Thresholds(high_factor=6), []),
        ([*[10] * 30, 4], Thresholds(low_factor=2), ["V14"]),
        ([*[10] * 30, 4], Thresholds(low_factor=2, difference_kwh=6), []),
        ([*[10] * 29, 0, 0], Thresholds(stopped_days=2, difference_kwh=10), ["V09"]),
        (
            [*[10] * 20, *[1] * 8, *[0] * 31],
            Thresholds(stopped_days=31, difference_kwh=10),
            ["V09"],
        ),
        ([*[10] * 28, *[0] * 35], USUAL, []),
        (
            [*[10] * 29, 0, 0],
            Thresholds(stopped_days=2, stopped_mean_kwh=10, low_factor=99),
            ["V14"],
        ),
    ],
)
def test_what_the_site_says_of_thresholds_counts(
    database_url: str, kwh: Sequence[int], than: Thresholds, told: Sequence[str]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used(connection, *kwh)
        await look(connection, than=than)
        assert [it.code for it in await active(connection)] == told

    on(database_url, story)


def test_other_thresholds_end_what_was_told_by_the_ones_before(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used(connection, *[10] * 30, 60)
        await look(connection)
        assert [it.code for it in await active(connection)] == ["V14"]
        await look(connection, than=Thresholds(high_factor=6))
        assert await active(connection) == []

    on(database_url, story)


async def used_by_rate(connection: AsyncConnection[Any], *steps: tuple[int, int]) -> None:
    """Point P1 used so much in each of two rates on each of the days up to yesterday."""
    first = TODAY - len(steps) * DAY
    await Site.of(1, opened_on=first).take_over(connection)
    meter = (await meters(connection))["P1"]
    rates = [Decimal(100), Decimal(100)]
    batch = []
    for n, each in enumerate([(0, 0), *steps]):
        rates = [rate + use for rate, use in zip(rates, each, strict=True)]
        batch.append(freeze(meter, first + n * DAY, sum(rates), rates=rates))
    await store(connection, *batch, authority=SHADOW)


@pytest.mark.parametrize(
    ("steps", "than", "told"),
    [
        ([(5, 5)] * 28 + [(10, 0)] * 3, USUAL, [Soft("P1", "A1", "V12", TODAY - DAY)]),
        ([(5, 5)] * 28 + [(10, 0), (9, 1), (10, 0)], USUAL, []),
        ([(10, 0)] * 31, USUAL, []),
        (
            [(5, 5)] * 29 + [(10, 0)],
            Thresholds(share_days=1),
            [Soft("P1", "A1", "V12", TODAY - DAY)],
        ),
        ([(5, 5)] * 29 + [(10, 0)] * 3, Thresholds(share_days=4), []),
    ],
    ids=["one takes all", "another is used", "others were never used", "one day", "four days"],
)
def test_a_rate_that_takes_all_while_others_were_used_is_told(
    database_url: str, steps: Sequence[tuple[int, int]], than: Thresholds, told: Sequence[Soft]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await used_by_rate(connection, *steps)
        await look(connection, than=than)
        assert await active(connection) == told

    on(database_url, story)


async def shown(connection: AsyncConnection[Any], days_later: int, *totals: str) -> None:
    """What the meters of P1, P2 and so on froze that day."""
    served = await meters(connection)
    day = TODAY + days_later * DAY
    batch = [freeze(served[f"P{n}"], day, kwh) for n, kwh in enumerate(totals, 1)]
    await store(connection, *batch, authority=SHADOW)


async def look_at_registers(connection: AsyncConnection[Any], days_later: int = 0) -> None:
    await look_at_equal_registers(connection, ZONE, noon(TODAY) + timedelta(days=days_later))


async def equal_for_two_days(connection: AsyncConnection[Any]) -> None:
    await Site.of(3, opened_on=TODAY - 2 * DAY).take_over(connection)
    await shown(connection, -2, "100.01", "100.01", "77.00")
    await shown(connection, -1, "105.20", "105.20", "78.00")


def test_registers_that_are_another_meters_for_three_days_are_told_of_both(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await equal_for_two_days(connection)
        await shown(connection, 0, "106.11", "106.11", "79.00")
        await look_at_registers(connection)
        await look_at_registers(connection)
        assert [(it.point, it.command) for it in await active(connection)] == [
            ("P1", "meterd meter crossed P1 P2 --reason WHY"),
            ("P2", "meterd meter crossed P2 P1 --reason WHY"),
        ]
        assert await rows(connection, "SELECT count(*) FROM finding") == [2]
        assert (await slots(connection, "P1"))[TODAY] == ("published", 10611, ["V25"])

    on(database_url, story)


def test_registers_that_differ_on_one_of_three_days_are_nobody_elses(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await equal_for_two_days(connection)
        await shown(connection, 0, "106.11", "106.12", "79.00")
        await look_at_registers(connection)
        assert await active(connection) == []

    on(database_url, story)


def test_what_other_registers_show_ends_the_word_of_equal_ones_and_no_other(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await equal_for_two_days(connection)
        await shown(connection, 0, "106.11", "106.11", "79.00")
        # As the meter told by its serial number.
        await connection.execute(
            "INSERT INTO finding (point_id, code, from_day, rev, active) "
            "SELECT id, 'V25', %s, 1, true FROM point WHERE number = 'P3'",
            (TODAY,),
        )
        await look_at_registers(connection)
        await shown(connection, 1, "107.00", "108.00", "80.00")
        await look_at_registers(connection, days_later=1)
        assert [(it.point, it.code) for it in await active(connection)] == [("P3", "V25")]

    on(database_url, story)
