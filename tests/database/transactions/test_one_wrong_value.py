"""A3: one plausible wrong value in the middle of a history, told night by night.

Values of the scene one_wrong_value.sh: 5 kWh a day, and 480 where 120 is true."""

from datetime import date
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.database.small_site import (
    DAY,
    OPEN,
    Site,
    balance,
    freeze,
    intact,
    links,
    on,
    rows,
    slots,
    store,
)

pytestmark = pytest.mark.hypertables
KWH_A_DAY = 5
FIRST_KWH = 100
WRONG_KWH = 480
DAYS_BEFORE = 33
DAYS_BEHIND = 70
FEN_A_KWH = 50
WRONG_DAY = OPEN + DAYS_BEFORE * DAY
JOURNAL = "SELECT state::text, actor FROM slot_journal WHERE day = %s AND total = %s"
NOT_OPEN = "SELECT count(*) FROM doubt WHERE day > %s"


def true_kwh(day: date) -> int:
    return FIRST_KWH + KWH_A_DAY * (day - OPEN).days


def told_kwh(day: date) -> int:
    return WRONG_KWH if day == WRONG_DAY else true_kwh(day)


def owed_fen(day: date) -> int:
    """What is owed when everything up to this day is published."""
    return (true_kwh(day) - FIRST_KWH) * FEN_A_KWH


async def shown(connection: AsyncConnection[Any]) -> dict[date, int]:
    found = await slots(connection, "P1")
    return {day: total // 100 for day, (state, total, _) in found.items() if state == "published"}


async def begun(connection: AsyncConnection[Any], days: int) -> Any:
    """A site that collected so many nights; its meter."""
    meter = (await Site.of().take_over(connection))["P1"]
    for n in range(days):
        await store(connection, freeze(meter, OPEN + n * DAY, told_kwh(OPEN + n * DAY)))
    return meter


def test_the_third_true_night_withdraws_it_and_gives_back_its_money(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await begun(connection, DAYS_BEFORE + 1)
        assert (await shown(connection))[WRONG_DAY] == WRONG_KWH
        assert await balance(connection, "A1") == -(WRONG_KWH - FIRST_KWH) * FEN_A_KWH
        for n in (1, 2):
            night = WRONG_DAY + n * DAY
            await store(connection, freeze(meter, night, told_kwh(night)))
            assert max(await shown(connection)) == WRONG_DAY
        third = WRONG_DAY + 3 * DAY
        await store(connection, freeze(meter, third, told_kwh(third)))
        truth = {OPEN + n * DAY: true_kwh(OPEN + n * DAY) for n in range(DAYS_BEFORE + 4)}
        del truth[WRONG_DAY]
        assert await shown(connection) == truth
        assert await balance(connection, "A1") == -owed_fen(third)
        assert await rows(connection, JOURNAL, WRONG_DAY, WRONG_KWH * 100) == [
            ("published", "system")
        ]
        assert (WRONG_DAY - DAY, WRONG_DAY + DAY, "billed") in await links(connection, "P1")
        assert await intact(connection)

    on(database_url, story)


def test_every_later_night_is_published_and_billed_when_it_comes(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await begun(connection, DAYS_BEFORE + 4)
        for n in range(4, DAYS_BEHIND + 1):
            night = WRONG_DAY + n * DAY
            await store(connection, freeze(meter, night, told_kwh(night)))
            assert (await shown(connection))[night] == true_kwh(night)
            assert await balance(connection, "A1") == -owed_fen(night)
        assert await rows(connection, NOT_OPEN, WRONG_DAY) == [0]
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.parametrize("step", [1, -1], ids=["oldest first", "newest first"])
def test_a_wrong_value_that_came_first_withholds_no_night_before_it(
    step: int, database_url: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, WRONG_DAY, WRONG_KWH))
        for n in range(DAYS_BEFORE)[::step]:
            night = OPEN + n * DAY
            await store(connection, freeze(meter, night, true_kwh(night)))
        for n in (1, 2, 3):
            night = WRONG_DAY + n * DAY
            await store(connection, freeze(meter, night, true_kwh(night)))
        truth = {OPEN + n * DAY: true_kwh(OPEN + n * DAY) for n in range(DAYS_BEFORE + 4)}
        del truth[WRONG_DAY]
        assert await shown(connection) == truth
        assert await balance(connection, "A1") == -owed_fen(WRONG_DAY + 3 * DAY)
        assert await intact(connection)

    on(database_url, story)


def test_the_meter_that_tells_the_true_value_when_it_is_asked_again_is_believed(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await begun(connection, DAYS_BEFORE + 2)
        await store(connection, freeze(meter, WRONG_DAY, true_kwh(WRONG_DAY)))
        for n in (1, 2, 3):
            night = WRONG_DAY + n * DAY
            await store(connection, freeze(meter, night, told_kwh(night)))
        last = WRONG_DAY + 3 * DAY
        assert (await shown(connection))[WRONG_DAY] == true_kwh(WRONG_DAY)
        assert await balance(connection, "A1") == -owed_fen(last)
        assert await intact(connection)

    on(database_url, story)
