"""Days of the site are closed once, in order, and let be settled who pays by the day."""

import asyncio
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg import AsyncConnection

from daemon.health import WorkDone
from daemon.ticks import close_over_days
from daemon.transactions.day_close import close_days
from storage.database import DAEMON, Pool
from storage.terms import closed_days
from tests.database.small_site import (
    ARMED,
    DAY,
    OPEN,
    TODAY,
    ZONE,
    Site,
    connect,
    on,
    rows,
)

pytestmark = pytest.mark.hypertables

FEES = """
INSERT INTO tariff_version (tariff_id, effective_from, revision, form)
SELECT 'T', '2026-02-01', 0, jsonb_build_object('effective_from', '2026-02-01', 'price', '0.5', %s::text, '{}'::jsonb)"""
MARKS = "SELECT account_id, from_day, to_day, cause FROM to_settle ORDER BY 1"


async def a_site(connection: AsyncConnection[Any], fee: str = "fixed", count: int = 2) -> None:
    """Its accounts pay by the day, and nothing is to be settled."""
    await Site.of(count).take_over(connection)
    await connection.execute(FEES, (fee,))
    await connection.execute("DELETE FROM to_settle")


async def all_closed(connection: AsyncConnection[Any]) -> list[date]:
    return await closed_days(connection, date.min, date.max)


def at(day: date, hour: int, zone: ZoneInfo = ZONE) -> datetime:
    return datetime.combine(day, time(hour), zone)


def test_without_an_account_no_day_is_closed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=None).take_over(connection)
        assert await close_days(connection, ZONE, at(OPEN + DAY, 1)) is None
        assert await all_closed(connection) == []

    on(database_url, story)


@pytest.mark.parametrize("fee", ["fixed", "minimum"])
def test_a_day_that_is_over_is_closed_and_lets_be_settled_who_pays_by_the_day(
    database_url: str, fee: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection, fee)
        assert await close_days(connection, ZONE, at(OPEN + DAY, 0)) == OPEN
        assert await all_closed(connection) == []
        assert await close_days(connection, ZONE, at(OPEN + DAY, 1)) == OPEN + DAY
        assert await all_closed(connection) == [OPEN]
        assert await rows(connection, MARKS) == [
            (account, OPEN, OPEN, "day_close") for account in (1, 2)
        ]

    on(database_url, story)


def test_nobody_is_settled_for_a_day_that_costs_nothing_by_itself(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        await connection.execute(
            "UPDATE tariff_version SET state = 'withdrawn' WHERE form ? 'fixed'"
        )
        await close_days(connection, ZONE, at(OPEN + DAY, 1))
        assert await all_closed(connection) == [OPEN]
        assert await rows(connection, MARKS) == []

    on(database_url, story)


def test_who_changed_to_a_tariff_with_fees_is_settled(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        await connection.execute("UPDATE account SET tariff_id = 'U'")
        await connection.execute(
            "INSERT INTO document (id, kind, actor, reason, waits, content) "
            "VALUES (1, 'account_tariff', 'li', 'asked for', false, '{}')"
        )
        await connection.execute(
            "INSERT INTO account_tariff (account_id, from_day, document_id, tariff_id) "
            "VALUES (2, %s, 1, 'T')",
            (OPEN,),
        )
        await close_days(connection, ZONE, at(OPEN + DAY, 1))
        assert await rows(connection, MARKS) == [(2, OPEN, OPEN, "day_close")]

    on(database_url, story)


def test_who_is_not_in_service_on_that_day_is_not_settled(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection, count=5)
        day = OPEN + 9 * DAY
        changes = (
            ("opened_on", day + DAY),
            ("opened_on", day),
            ("last_day", day),
            ("last_day", day - DAY),
        )
        for account, (column, value) in enumerate(changes, 1):
            await connection.execute(
                f"UPDATE account SET {column} = %s WHERE id = %s".encode(), (value, account)
            )
        await close_days(connection, ZONE, at(day, 12))
        await connection.execute("DELETE FROM to_settle")
        await close_days(connection, ZONE, at(day + DAY, 12))
        assert await rows(connection, MARKS) == [
            (account, day, day, "day_close") for account in (2, 3, 5)
        ]

    on(database_url, story)


def test_after_a_week_off_seven_days_are_closed_and_each_account_is_marked_once(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        await close_days(connection, ZONE, at(OPEN + DAY, 1))
        await connection.execute("DELETE FROM to_settle")
        await connection.execute(
            "UPDATE account SET last_day = %s WHERE number = 'A2'", (OPEN + 3 * DAY,)
        )
        # The daemon begins anew: nothing of this is in its memory.
        async with await connect(database_url) as anew:
            assert await close_days(anew, ZONE, at(OPEN + 8 * DAY, 1)) == OPEN + 8 * DAY
        assert await all_closed(connection) == [OPEN + n * DAY for n in range(8)]
        assert await rows(connection, MARKS) == [
            (1, OPEN + DAY, OPEN + 7 * DAY, "day_close"),
            (2, OPEN + DAY, OPEN + 3 * DAY, "day_close"),
        ]

    on(database_url, story)


def test_closing_again_changes_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        now = at(OPEN + 3 * DAY, 1)
        for _ in range(2):
            assert await close_days(connection, ZONE, now) == OPEN + 3 * DAY
        assert len(await rows(connection, MARKS)) == 2
        # A clock that was put back.
        assert await close_days(connection, ZONE, now - 2 * DAY) == OPEN + 3 * DAY
        assert len(await all_closed(connection)) == 3

    on(database_url, story)


def test_an_account_that_is_opened_from_an_earlier_day_on_closes_the_days_before(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        now = at(OPEN + 2 * DAY, 1)
        await close_days(connection, ZONE, now)
        await connection.execute("DELETE FROM to_settle")
        await connection.execute(
            "UPDATE account SET opened_on = %s WHERE number = 'A2'", (OPEN - 2 * DAY,)
        )
        assert await close_days(connection, ZONE, now) == OPEN + 2 * DAY
        assert await all_closed(connection) == [OPEN + n * DAY for n in range(-2, 2)]
        assert await rows(connection, MARKS) == [(2, OPEN - 2 * DAY, OPEN - DAY, "day_close")]

    on(database_url, story)


@pytest.mark.parametrize(
    ("day", "length"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_a_day_has_as_many_hours_as_the_clocks_of_the_zone_give_it(
    database_url: str, day: date, length: int
) -> None:
    berlin = ZoneInfo("Europe/Berlin")

    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        midnight = at(day, 0, berlin).timestamp()
        over = datetime.fromtimestamp(midnight, ZoneInfo("UTC")) + timedelta(hours=length)
        assert await close_days(connection, berlin, over + timedelta(minutes=29)) == day
        assert await close_days(connection, berlin, over + timedelta(minutes=30)) == day + DAY

    on(database_url, story)


def test_two_daemons_at_once_close_each_day_once_and_mark_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        now = at(OPEN + 5 * DAY, 1)

        async def close() -> date | None:
            async with await connect(database_url) as own:
                return await close_days(own, ZONE, now)

        assert await asyncio.gather(*(close() for _ in range(4))) == [OPEN + 5 * DAY] * 4
        assert await all_closed(connection) == [OPEN + n * DAY for n in range(5)]
        assert len(await rows(connection, MARKS)) == 2

    on(database_url, story)


def test_a_tick_tells_the_next_day_and_lets_be_settled_when_it_closed_one(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=TODAY - 3 * DAY).take_over(connection)
        billing = WorkDone(most_days=3, next_day=TODAY - 3 * DAY)
        asked: list[None] = []
        async with Pool(database_url, most=1) as pool:
            for _ in range(2):
                await close_over_days(pool, ARMED, billing, lambda: asked.append(None))
        assert billing.next_day is not None
        assert TODAY - 2 * DAY < billing.next_day <= TODAY + DAY
        assert len(asked) == 1
        assert REGISTRY.get_sample_value("meterd_days_not_closed") == 0

    on(database_url, story)


@pytest.mark.parametrize(("next_day", "at_least"), [(TODAY - 5 * DAY, 4), (None, 2)])
def test_a_tick_that_fails_tells_all_the_same_which_days_are_late(
    next_day: date | None, at_least: int, owner_url: str, database_url: str
) -> None:
    """Also where none could be closed since the start."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=TODAY - 3 * DAY).take_over(connection)
        async with await connect(owner_url) as owner:
            await owner.execute(f"REVOKE INSERT (day) ON closed_day FROM {DAEMON}".encode())
        billing = WorkDone(most_days=3, next_day=next_day)
        async with Pool(database_url, most=1) as pool:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await close_over_days(pool, ARMED, billing, lambda: None)
        assert (REGISTRY.get_sample_value("meterd_days_not_closed") or 0) >= at_least

    on(database_url, story)
