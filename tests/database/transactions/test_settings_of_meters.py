"""What meters settled, and the ratio that is set in them: kept, compared, told (V26, V28)."""

from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.tariff_version import TariffVersion
from daemon.quality.arrival import IdentityRead, MonthEndFreeze, SettingsRead
from daemon.transactions.archive import tariff_row
from daemon.transactions.identify import take_identities
from daemon.transactions.soft_findings import look_at_settings
from protocols.reading import MeterIdentity
from storage import archive, findings
from storage.doubts import Wanted
from storage.findings import Soft
from storage.owner import claim
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
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

pytestmark = pytest.mark.hypertables
SETTLED_ON = OPEN + 2 * DAY
RAW = "SELECT kind, source, day, stamp, total, rate_1, serial FROM reading WHERE kind = 2"


async def told(
    connection: AsyncConnection[Any],
    *kwh: str,
    day: date = SETTLED_ON,
    at: time = time(),
    serial: str = "7",
    ratio: int | None = None,
    rates: int | None = None,
) -> None:
    """The meter of P1 says who it is, its ratio, and what it settled on that day."""
    month_end = None
    if kwh:
        month_end = MonthEndFreeze(datetime.combine(day, at), tuple(map(Decimal, kwh)))
    read = IdentityRead(
        (await meters(connection))["P1"],
        MeterIdentity(serial),
        NOW,
        SettingsRead(ratio, month_end, rates),
    )
    await take_identities(connection, [read], ZONE)


async def collected(connection: AsyncConnection[Any], *kwh: int | None) -> None:
    """Daily freezes from the first day on; None for a night that is missing."""
    meter = (await meters(connection))["P1"]
    for n, it in enumerate(kwh):
        if it is not None:
            await store(connection, freeze(meter, OPEN + n * DAY, it))


async def found(connection: AsyncConnection[Any]) -> list[Soft]:
    await look_at_settings(connection, ZONE, noon(TODAY))
    return await findings.active(connection, Wanted(TODAY + DAY), ["V26", "V28"])


def test_a_month_end_freeze_is_a_raw_reading_of_its_own_kind_and_fills_no_day(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        for _ in range(2):
            await told(connection, "120.00", "120.00")
        assert await rows(connection, RAW) == [(2, 1, SETTLED_ON, None, 12000, 12000, None)]
        assert await slots(connection, "P1") == {}
        assert await found(connection) == []

    on(database_url, story)


@pytest.mark.parametrize(
    ("nights", "settled", "fits"),
    [
        ((100, 110, 120, 130), "120.00", True),
        ((100, 110, 120, 130), "120.01", False),
        ((100, 110, None, 130), "121.50", True),
        ((100, 110, None, 130), "130.01", False),
        ((100, 110, None, 130), "109.99", False),
    ],
)
def test_a_month_end_freeze_is_compared_with_the_daily_ones(
    nights: tuple[int | None, ...], settled: str, fits: bool, database_url: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await told(connection, settled)
        await collected(connection, *nights)
        before = await slots(connection, "P1")
        named = Soft("P1", "A1", "V26", SETTLED_ON, f"meterd quality show P1 {SETTLED_ON}")
        assert await found(connection) == ([] if fits else [named])
        # It never votes: what is published stays so, and no day has a remark.
        assert await slots(connection, "P1") == before

    on(database_url, story)


def test_a_month_end_freeze_that_fits_after_all_is_no_longer_named(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await told(connection, "125.00")
        await collected(connection, 100, 110, 120, 130)
        assert [it.code for it in await found(connection)] == ["V26"]
        await told(connection, "130.00", day=SETTLED_ON + DAY)
        assert await found(connection) == []

    on(database_url, story)


def test_what_was_settled_at_another_hour_is_not_compared(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await collected(connection, 100, 110, 120)
        await told(connection, "500.00", at=time(6))
        assert await rows(connection, RAW) == []
        assert await found(connection) == []

    on(database_url, story)


def test_what_another_meter_settled_says_nothing_of_the_point(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await collected(connection, 100, 110, 120)
        await told(connection)
        await told(connection, "500.00", serial="8")
        assert [row[-1] for row in await rows(connection, RAW)] == ["8"]
        assert await found(connection) == []

    on(database_url, story)


@pytest.mark.parametrize(("ratio", "differs"), [(1, False), (80, False), (60, True), (None, False)])
def test_a_meter_that_is_set_to_another_ratio_is_named_and_its_values_stay(
    ratio: int | None, differs: bool, database_url: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, ratio=Decimal(80)).take_over(connection)
        await collected(connection, 100, 110, 120)
        await told(connection, ratio=ratio)
        codes = [it.code for it in await found(connection)]
        assert codes == (["V28"] if differs else [])
        assert {state for state, *_ in (await slots(connection, "P1")).values()} == {"published"}

    on(database_url, story)


def test_a_ratio_that_was_mended_is_no_longer_named(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, ratio=Decimal(80)).take_over(connection)
        await told(connection, ratio=60)
        assert len(await found(connection)) == 1
        await told(connection, ratio=80)
        assert await found(connection) == []
        assert await rows(connection, "SELECT active FROM finding ORDER BY rev") == [True, False]

    on(database_url, story)


BY_RATES = {"sharp": "1", "peak": "0.9", "flat": "0.6", "valley": "0.3"}


@pytest.mark.parametrize(
    ("rates", "is_by_rates", "differs"),
    [(2, True, True), (4, True, False), (None, True, False), (2, False, False)],
)
def test_a_meter_that_cuts_the_day_into_other_rates_is_named_where_these_are_billed(
    rates: int | None, is_by_rates: bool, differs: bool, database_url: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        taken = site.rows()
        if is_by_rates:
            prices = {name: Decimal(price) for name, price in BY_RATES.items()}
            version = TariffVersion("T@2026-01-01", date(2026, 1, 1), prices)
            taken = replace(taken, tariffs=[tariff_row("T", version)])
        await claim(connection, "test", ZONE)
        await archive.take_over(connection, taken, noon(TODAY))
        await told(connection, ratio=1, rates=rates)
        assert [it.code for it in await found(connection)] == (["V28"] if differs else [])
        await told(connection, rates=4)
        assert await found(connection) == []

    on(database_url, story)


def test_all_that_is_set_otherwise_is_named_at_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1, ratio=Decimal(80))
        prices = {name: Decimal(price) for name, price in BY_RATES.items()}
        version = TariffVersion("T@2026-01-01", date(2026, 1, 1), prices)
        await claim(connection, "test", ZONE)
        taken = replace(site.rows(), tariffs=[tariff_row("T", version)])
        await archive.take_over(connection, taken, noon(TODAY))
        await told(connection, ratio=60, rates=2)
        (named,) = await found(connection)
        assert named.command is not None
        assert named.command.startswith("meterd meter ratio P1 --from DAY --ratio 60 ")
        assert "rates of the point in points.csv" in named.command
        texts = await rows(connection, "SELECT detail ->> 'text' FROM finding")
        assert texts == [
            "meter 000000000001 is set to a ratio of 60, and P1 is billed with 80; it cuts the day "
            "into 2 rates, and P1 is billed by 4"
        ]

    on(database_url, story)
