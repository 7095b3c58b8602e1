"""The balance with what is not posted yet (R65): shown, and never asked by the guard."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.tariff_version import Ladder, TariffVersion
from daemon.transactions.archive import tariff_row
from daemon.transactions.estimate import Estimate, PointEstimate, estimate
from daemon.transactions.raw_rows import keep_current
from storage import archive, explanation
from storage.archive import SiteMeter
from storage.estimates import near_real_time_meters, since_billed
from tests.database.small_site import (
    DAY,
    NOW,
    TODAY,
    ZONE,
    Site,
    balance,
    freeze,
    intact,
    on,
    pay,
    rows,
    store,
)
from tests.database.transactions.test_current import current

pytestmark = pytest.mark.hypertables
FIRST = TODAY - 9 * DAY
LAST = TODAY - DAY


def of_day(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour), ZONE).astimezone(UTC)


async def a_site(
    connection: AsyncConnection[Any],
    settlement: str = "near_real_time",
    bounds_kwh: str | None = None,
) -> SiteMeter:
    """Billed up to yesterday 00:00 with 1.00 kWh a day, 0.50 yuan each, 2 yuan behind a bound."""
    site = Site.of(1, settlement=settlement, opened_on=FIRST)
    meter = (await site.take_over(connection))["P1"]
    if bounds_kwh is not None:
        steps = (Decimal("0.5"), Decimal(2))
        ladder = Ladder("year", "price", (Decimal(bounds_kwh),), prices=steps)
        version = TariffVersion("T@2", date(2026, 2, 1), {}, ladder)
        told = replace(site.rows(), tariffs=[*site.rows().tariffs, tariff_row("T", version)])
        await archive.take_over(connection, told, NOW)
    for n in range((LAST - FIRST).days + 1):
        await store(connection, freeze(meter, FIRST + n * DAY, n))
    await pay(connection, "A1", 1600)
    return meter


async def estimated(connection: AsyncConnection[Any]) -> Estimate:
    account_id = await archive.account_id(connection, "A1")
    assert account_id is not None
    async with explanation.one_moment(connection):
        since = await since_billed(connection, "A1", ZONE)
        return await estimate(connection, account_id, since, ZONE, TODAY)


@pytest.mark.parametrize("settlement", ["near_real_time", "daily"])
def test_registers_of_a_moment_are_priced_and_nothing_is_posted(
    database_url: str, settlement: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, settlement)
        assert await balance(connection, "A1") == 1200
        for hour, kwh in ((6, "9.00"), (14, "10.60")):
            await keep_current(connection, current(meter, of_day(LAST, hour), kwh), ZONE)
        before = await rows(connection, "SELECT count(*) FROM journal")
        found = await estimated(connection)
        assert found == Estimate(130, [PointEstimate("P1", of_day(LAST, 14), None)])
        assert await balance(connection, "A1") == 1200
        assert await rows(connection, "SELECT count(*) FROM journal") == before
        # The freeze that comes is what counts, and what was estimated is in it.
        await store(connection, freeze(meter, TODAY, "10.70"))
        assert await balance(connection, "A1") == 1065
        assert await estimated(connection) == Estimate(0, [PointEstimate("P1", None, "not_read")])
        assert await intact(connection)

    on(database_url, story)


def test_a_step_of_the_ladder_counts_in_an_estimate(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        used = (LAST - max(FIRST, LAST.replace(month=1, day=1))).days
        meter = await a_site(connection, bounds_kwh=str(used + 1))
        await keep_current(connection, current(meter, of_day(LAST, 14), "10.60"), ZONE)
        # 1.00 kWh at 0.50 yuan, 1.60 kWh at 2 yuan.
        assert (await estimated(connection)).charge_fen == 370

    on(database_url, story)


def test_who_is_settled_by_months_sees_the_month_so_far(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, "month")
        assert await balance(connection, "A1") == 1600
        found = await estimated(connection)
        assert found.charge_fen == 400
        await keep_current(connection, current(meter, of_day(LAST, 14), "10.60"), ZONE)
        assert (await estimated(connection)).charge_fen == found.charge_fen + 130

    on(database_url, story)


@pytest.mark.parametrize(
    ("kwh", "reason"), [("7.99", "implausible"), ("768.01", "implausible"), ("768.00", None)]
)
def test_what_the_point_cannot_have_used_is_not_estimated(
    database_url: str, kwh: str, reason: str | None
) -> None:
    """It showed 8.00 a day ago, 380 kWh a day are the most, and the second day has begun."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection)
        at = of_day(TODAY, 0) + timedelta(minutes=1)
        await keep_current(connection, current(meter, at, kwh), ZONE)
        found = await estimated(connection)
        assert [it.reason for it in found.points] == [reason]
        assert found.charge_fen == (0 if reason else 38_000)

    on(database_url, story)


def test_behind_a_document_and_from_another_meter_nothing_is_estimated(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection)
        await keep_current(connection, current(meter, of_day(LAST, 14), "10.60"), ZONE)
        await connection.execute(
            "INSERT INTO point_ratio (point_id, from_day, ratio) SELECT id, %s, 80 FROM point",
            (TODAY,),
        )
        assert await estimated(connection) == Estimate(0, [PointEstimate("P1", None, "document")])

    on(database_url, story)


def test_only_meters_of_near_real_time_accounts_are_read_every_hour(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site()
        for number, settlement in enumerate(("daily", "near_real_time", "month"), 1):
            site.add(number, settlement=settlement, opened_on=FIRST)
        meters = await site.take_over(connection)
        assert await near_real_time_meters(connection) == []  # nobody is active yet
        await store(connection, *(freeze(meter, FIRST, 0) for meter in meters.values()))
        assert await near_real_time_meters(connection) == [meters["P2"].meter_id]

    on(database_url, story)
