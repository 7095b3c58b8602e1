"""A point that was released from an account: its days are billed to nobody, whoever comes next."""

from datetime import date
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.collect import settle_marked
from daemon.transactions.documents.filing import approve
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.settle import settle_accounts
from storage.settling import ALL_DAYS, Days, latest_mark, mark_points, take_marks
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    balance,
    freeze,
    intact,
    links,
    meters,
    on,
    rows,
    store,
)
from tests.database.transactions.test_documents import WANG, billed, filed

pytestmark = pytest.mark.hypertables

LEFT = OPEN + 2 * DAY
BACK = OPEN + 4 * DAY


def spans(*days: date) -> list[tuple[date, date, str]]:
    return [(day, day + DAY, "billed") for day in days]


async def settled_again(connection: AsyncConnection[Any], days: Days = ALL_DAYS) -> None:
    await mark_points(connection, {1: days}, "test")
    await settle_marked(connection, ARMED, NOW)


async def left_and_back(connection: AsyncConnection[Any]) -> None:
    """A1 leaves P1 on the third day, and has it again from the fifth on."""
    await billed(connection, count=2)
    await filed(connection, Release("P1", LEFT))
    await approve(connection, 1, WANG, NOW)
    await settle_marked(connection, ARMED, NOW)
    await filed(connection, Assignment("P1", "A1", BACK))


def test_days_behind_the_release_are_given_back(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        before = await balance(connection, "A1")
        await filed(connection, Release("P1", LEFT))
        await approve(connection, 1, WANG, NOW)
        await settle_marked(connection, ARMED, NOW)
        assert await links(connection, "P1") == spans(OPEN, OPEN + DAY)
        assert await balance(connection, "A1") == before + 3 * 250
        await store(connection, freeze((await meters(connection))["P1"], OPEN + 6 * DAY, 130))
        await settled_again(connection)
        assert await links(connection, "P1") == spans(OPEN, OPEN + DAY)
        assert await intact(connection)

    on(database_url, story)


def test_who_has_a_point_again_is_billed_for_both_times_and_not_between(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await left_and_back(connection)
        assert await links(connection, "P1") == spans(OPEN, OPEN + DAY, BACK)

    on(database_url, story)


@pytest.mark.parametrize(
    "days", [ALL_DAYS, Days(LEFT - DAY, LEFT - DAY), Days(LEFT, BACK), Days(BACK, BACK + DAY)]
)
def test_settling_again_changes_nothing_of_either_time(database_url: str, days: Days) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await left_and_back(connection)
        before = (await links(connection, "P1"), await balance(connection, "A1"))
        await settled_again(connection, days)
        assert (await links(connection, "P1"), await balance(connection, "A1")) == before
        assert await intact(connection)

    on(database_url, story)


def test_the_first_days_of_the_second_time_are_not_linked_to_the_first(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await left_and_back(connection)
        await connection.execute("DELETE FROM link WHERE from_day >= %s", (BACK,))
        await settled_again(connection, Days(BACK + DAY, BACK + DAY))
        assert await links(connection, "P1") == spans(OPEN, OPEN + DAY, BACK)

    on(database_url, story)


def test_who_has_a_point_from_an_earlier_day_on_keeps_the_days_from_the_later_one(
    database_url: str,
) -> None:
    """Story 214: what never was so took the links of what is."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        for number, day in enumerate((BACK, LEFT), 1):
            await filed(connection, Assignment("P1", "A2", day))
            await approve(connection, number, WANG, NOW)
            await settle_marked(connection, ARMED, NOW)
        everything = spans(*(OPEN + n * DAY for n in range(5)))
        assert await links(connection, "P1") == everything
        moved = await balance(connection, "A2")
        await settled_again(connection, Days(BACK, BACK))
        assert await links(connection, "P1") == everything
        assert await balance(connection, "A2") == moved == -5 * 250 - 3 * 250
        assert await intact(connection)

    on(database_url, story)


def test_who_is_given_a_point_is_not_put_off_for_who_had_it(database_url: str) -> None:
    """A1 comes before A2, whose links of the point still stand; also one account at a time."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await filed(connection, Assignment("P2", "A1", LEFT))
        await approve(connection, 1, WANG, NOW)
        async with connection.transaction():
            marks = await take_marks(connection, 1, NOW, await latest_mark(connection))
            await settle_accounts(connection, marks, ARMED.zone, NOW)
        assert await rows(connection, "SELECT account_id FROM to_settle") == []
        assert await balance(connection, "A1") == -5 * 250 - 3 * 250
        assert await balance(connection, "A2") == -2 * 250
        assert await intact(connection)

    on(database_url, story)


def test_who_had_a_point_and_cannot_be_settled_is_put_off_with_who_has_it(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await billed(connection)
        await filed(connection, Assignment("P2", "A1", LEFT))
        await connection.execute("UPDATE account SET tariff_id = 'NONE' WHERE number = 'A2'")
        await approve(connection, 1, WANG, NOW)
        await settle_marked(connection, ARMED, NOW)
        put_off = "SELECT account_id, error FROM not_settled ORDER BY 1"
        reason = "NoPrice: tariff NONE has no version that counts"
        assert await rows(connection, put_off) == [(1, reason), (2, reason)]

    on(database_url, story)
