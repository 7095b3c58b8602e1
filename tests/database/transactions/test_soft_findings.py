"""What is unusual about use is found once a day, kept until it is over, and withholds nothing."""

from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from daemon.transactions.soft_findings import look_at_uses
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

SOFT = ("V09", "V14", "V15")


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


async def look(connection: AsyncConnection[Any], days_later: int = 0) -> None:
    await look_at_uses(connection, ZONE, noon(TODAY) + timedelta(days=days_later))


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
