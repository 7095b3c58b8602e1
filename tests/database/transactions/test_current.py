"""Registers that were read on demand are raw rows: of their moment, and of no day."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.raw_rows import keep_current
from storage import readings
from tests.database.small_site import DAY, NOW, OPEN, ZONE, Site, freeze, on, rows, store

pytestmark = pytest.mark.hypertables
KEPT = (
    "SELECT kind, source, day, stamp, arrived_at, total, rate_1, rate_4, more_rates FROM reading "
    "WHERE kind = 3"
)


def current(meter: Any, at: datetime, *kwh: str) -> Any:
    arrived_at = at + timedelta(seconds=40)
    registers = tuple(map(Decimal, kwh))
    return SimpleNamespace(
        meter=meter, registers=registers, at=at, arrived_at=arrived_at, told_by=None
    )


def test_a_current_reading_has_the_day_and_the_stamp_of_its_own_moment(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        # 00:30 at the site is the day before in UTC; no partition of the month is there yet.
        at = datetime(2026, 5, 31, 16, 30, tzinfo=UTC)
        told = current(meter, at, "15.00", "5", "4", "3", "2", "1")
        for _ in range(2):
            await keep_current(connection, told, ZONE)
        arrived_at = at + timedelta(seconds=40)
        kept = (3, 3, date(2026, 6, 1), at, arrived_at, 1500, 500, 200, [100])
        assert await rows(connection, KEPT) == [kept]
        assert await rows(connection, "SELECT count(*) FROM slot") == [0]

    on(database_url, story)


def test_a_current_reading_is_no_second_read_of_a_value_in_doubt(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        for n, kwh in enumerate(("100", "110", "9000")):
            await store(connection, freeze(meter, OPEN + n * DAY, kwh))
        (before,) = await readings.in_doubt(connection, OPEN, NOW)
        at = datetime.combine(OPEN + 2 * DAY, datetime.min.time(), ZONE) + timedelta(hours=9)
        await keep_current(connection, current(meter, at, "120.00"), ZONE)
        assert await readings.in_doubt(connection, OPEN, NOW) == [before]

    on(database_url, story)
