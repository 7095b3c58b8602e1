"""What an attack on the first whole found, each as a story that must not happen again."""

from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from daemon.control.authority import Authority, SiteHold
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import abandon_trip, is_still_released
from daemon.transactions.sweep import sweep
from storage import links, site_lock
from storage.settling import ALL_DAYS
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    Site,
    balance,
    connect,
    freeze,
    on,
    pay,
    rows,
    store,
)
from tests.database.transactions.test_supply import (
    CLOSED,
    cut,
    due,
    exhausted,
    order,
    sent,
    supply_of,
)


def test_a_trip_that_was_paid_while_its_meter_was_being_asked_is_not_sent(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        command = await sent(connection)
        assert await is_still_released(connection, command)
        async with await connect(database_url) as counter:
            await pay(counter, "A1", 10_000)
        assert not await is_still_released(connection, command)

    on(database_url, story)


def test_a_trip_of_which_a_frame_left_before_is_watched_until_its_meter_takes_it_no_more(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        first = await sent(connection)
        await take_answer(connection, first, "unknown", "silence", NOW)
        look = await due(connection, NOW + timedelta(seconds=5))
        await take_observation(connection, look.command, CLOSED, NOW + timedelta(seconds=5))
        again = await sent(connection, NOW + timedelta(seconds=6))
        await abandon_trip(connection, again, "clock not read", NOW + timedelta(seconds=6))
        assert await supply_of(connection) == "trip_commanded"
        await pay(connection, "A1", 10_000)
        assert await rows(connection, "SELECT action, state FROM command ORDER BY sequence") == [
            ("trip", "superseded"),
            ("allow_close", "persisted"),
        ]

    on(database_url, story)


def test_a_meter_that_came_to_an_open_account_later_is_billed_from_its_first_day(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        found = await site.take_over(connection)
        await store(connection, *(freeze(found["P1"], OPEN + n * DAY, 100 + n) for n in range(5)))
        before = await balance(connection, "A1")
        site.add(2, account="A1", installed_on=OPEN + 2 * DAY)
        site.accounts.pop()
        site.first_registers_are_known = False
        found = await site.take_over(connection)
        await store(
            connection, *(freeze(found["P2"], OPEN + n * DAY, 50 + 10 * n) for n in range(2, 5))
        )
        links = "SELECT from_day, to_day FROM link WHERE point_id = 2 AND hold IS NULL ORDER BY 1"
        assert await rows(connection, links) == [
            (OPEN + 2 * DAY, OPEN + 3 * DAY),
            (OPEN + 3 * DAY, OPEN + 4 * DAY),
        ]
        assert await balance(connection, "A1") < before

    on(database_url, story)


def test_a_customer_who_is_protected_after_the_cut_is_restored(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        await exhausted(connection, site=site)
        await cut(connection)
        site.points[0]["protected"] = True
        await site.take_over(connection)
        await sweep(connection, ARMED, NOW + timedelta(minutes=1))
        assert await supply_of(connection) == "reconnect_commanded"

    on(database_url, story)


def test_nothing_is_released_while_the_hold_on_the_site_is_lost(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        held = SiteHold(token=1)
        authority = Authority(ARMED.policy, ARMED.zone, False, ARMED.running_for, held)
        assert await order(connection, authority=authority) is None
        async with await connect(database_url) as holder:
            token = await site_lock.try_lock(holder)
            assert token is not None
            held.token = token
            assert await site_lock.try_lock(connection) is None
            held.token = token - 1  # of whoever had the site before, in whatever process
            assert await order(connection, authority=authority) is None
            held.token = token
            taken = await order(connection, authority=authority)
        assert taken is not None
        assert taken.kind == "send"

    on(database_url, story)


def test_the_view_of_opening_days_takes_the_later_of_account_and_meter(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1)
        site.add(2, account="A1", installed_on=OPEN + 3 * DAY)
        site.accounts.pop()
        await site.take_over(connection)
        found = await links.billed_points(connection, {1: ALL_DAYS})
        assert [point.opens_on for point in found] == [OPEN, OPEN + 3 * DAY]

    on(database_url, story)
