"""When use is posted is of the account (R30): with each day, or when the month is over."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.billing.proof.measured import NotSettled
from daemon.transactions.collect import settle_marked
from daemon.transactions.day_close import close_days
from daemon.transactions.proofs.bills import bills
from daemon.transactions.sealing import seal
from storage import archive
from storage.proofs import in_service
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    account_row,
    balance,
    freeze,
    intact,
    on,
    rows,
    store,
)

pytestmark = pytest.mark.hypertables
MARCH, APRIL = OPEN, date(2026, 4, 1)
POSTED = """
SELECT a.number, m.month, (SELECT coalesce(sum(fen), 0)::int FROM unnest(m.posted_fen) fen)
FROM account_month m JOIN account a ON a.id = m.account_id ORDER BY 1, 2"""
OF_POSTING = """
SELECT DISTINCT j.value_date FROM journal j JOIN transaction_kind k ON k.id = j.kind
JOIN link l ON l.billed_by = j.id JOIN account a ON a.id = l.account_id WHERE a.number = %s"""


def site_of(*settlements: str) -> Site:
    site = Site()
    for number, settlement in enumerate(settlements, 1):
        site.add(number, settlement=settlement)
    return site


async def told(
    connection: AsyncConnection[Any], meters: Any, first: date, kwh: list[Decimal]
) -> None:
    """Each meter, so much at each midnight from a day on."""
    for day, value in enumerate(kwh):
        arrivals = [freeze(meter, first + day * DAY, value) for meter in meters.values()]
        await store(connection, *arrivals)


async def over(connection: AsyncConnection[Any], day: date) -> None:
    """The day is over, and whoever it concerns is settled."""
    await close_days(connection, ZONE, datetime.combine(day + DAY, time(1), ZONE))
    assert await settle_marked(connection, ARMED, NOW) == []


def by_day(kwh_a_day: str, days: int) -> list[Decimal]:
    return [Decimal(kwh_a_day) * day for day in range(days)]


def test_who_is_settled_by_months_pays_when_the_month_is_over_and_the_same(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await site_of("daily", "month", "near_real_time").take_over(connection)
        await told(connection, meters, MARCH, by_day("0.37", 32))
        assert [await balance(connection, it) for it in ("A1", "A2", "A3")] == [-574, 0, -574]
        assert await rows(connection, "SELECT count(*) FROM link WHERE billed_by IS NULL") == [31]
        await over(connection, APRIL - 2 * DAY)
        assert await balance(connection, "A2") == 0
        await over(connection, APRIL - DAY)
        assert await balance(connection, "A2") == -574
        assert await rows(connection, OF_POSTING, "A2") == [APRIL - DAY]
        assert await rows(connection, "SELECT count(*) FROM link WHERE billed_by IS NULL") == [0]
        assert await intact(connection)

    on(database_url, story)


def test_what_comes_late_for_a_month_that_is_over_is_posted_at_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await site_of("month").take_over(connection)
        await told(connection, meters, MARCH, by_day("1.00", 31))
        await over(connection, APRIL - DAY)
        assert await rows(connection, POSTED) == [("A1", MARCH, 1500)]
        await told(connection, meters, APRIL, [Decimal(31), Decimal(40)])
        assert await rows(connection, POSTED) == [("A1", MARCH, 1550), ("A1", APRIL, 0)]
        assert await balance(connection, "A1") == -1550
        assert await intact(connection)

    on(database_url, story)


def test_the_last_day_of_an_account_is_the_end_of_its_last_month(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await site_of("month").take_over(connection)
        await told(connection, meters, MARCH, by_day("1.00", 12))
        await connection.execute("UPDATE account SET last_day = %s", (MARCH + 9 * DAY,))
        await over(connection, MARCH + 8 * DAY)
        assert await balance(connection, "A1") == 0
        await over(connection, MARCH + 9 * DAY)
        assert await balance(connection, "A1") < 0
        assert await intact(connection)

    on(database_url, story)


def test_who_is_settled_by_days_from_now_on_pays_at_once_what_waited(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = site_of("month")
        meters = await site.take_over(connection)
        await told(connection, meters, MARCH, by_day("1.00", 11))
        site.accounts[0]["settlement"] = "daily"
        changed = await archive.import_accounts(connection, [account_row(site.accounts[0])], "li")
        assert changed == ["A1"]
        assert await settle_marked(connection, ARMED, NOW) == []
        assert await balance(connection, "A1") == -500
        assert await rows(connection, "SELECT count(*) FROM link WHERE billed_by IS NULL") == [0]
        (was,) = await rows(connection, "SELECT settlement FROM account_journal")
        assert was == "month"
        assert await intact(connection)

    on(database_url, story)


def test_a_bill_of_who_is_settled_by_months_comes_when_the_month_is_over(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await site_of("month", "daily").take_over(connection)
        await told(connection, meters, MARCH, by_day("1.00", 32))
        await seal(connection, NOW)
        asked = await in_service(connection, MARCH)
        found = await bills(connection, asked, MARCH, ZONE)
        assert [it.account for it in found] == ["A2"]
        # The month is over, and a hundred thousand are settled for it one after the other.
        await close_days(connection, ZONE, datetime.combine(APRIL, time(1), ZONE))
        with pytest.raises(NotSettled, match="account A1: something of 2026-03"):
            await bills(connection, asked, MARCH, ZONE)
        await over(connection, APRIL - DAY)
        await seal(connection, NOW)
        found = await bills(connection, asked, MARCH, ZONE)
        assert [it.account for it in found] == ["A1", "A2"]

    on(database_url, story)
