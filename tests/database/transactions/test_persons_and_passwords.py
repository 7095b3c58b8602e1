"""What stops trips or reconnects besides the guard: wrong passwords, work at a supply; and what
a person restores by hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.quality.arrival import RelayRead
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.relays import take_relays
from daemon.transactions.release import is_still_released
from daemon.transactions.restore_by_hand import restore_by_hand
from daemon.transactions.supply_marks import Marked, lift_mark, set_mark
from daemon.transactions.sweep import open_restore_jobs, sweep
from daemon.transactions.trip_by_hand import TripRefused, trip_by_hand
from storage.documents import Said
from tests.database.small_site import ARMED, DAY, NOW, SHADOW, connect, on, pay, rows
from tests.database.transactions.test_supply import (
    CLOSED,
    OPENED,
    cut,
    due,
    exhausted,
    later,
    order,
    sent,
    supply_of,
)

COMMANDS = "SELECT action, state FROM command ORDER BY sequence"
BREAKERS = "SELECT scope, cause FROM breaker WHERE reset_at IS NULL"
WHY = Said("li", "asked for")


async def cut_both(connection: AsyncConnection[Any]) -> None:
    await exhausted(connection, 2)
    for _ in range(2):
        await take_answer(connection, await sent(connection), "acked", "accepted", NOW)
    for _ in range(2):
        looked = await due(connection, later(seconds=6))
        await take_observation(connection, looked.command, OPENED, later(seconds=6))


def test_one_wrong_password_stops_the_trips_of_the_site_and_is_not_tried_at_the_next_meter(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2)
        await take_answer(connection, await sent(connection), "unauthorised", "password", NOW)
        assert await rows(connection, BREAKERS) == [("site", "wrong_password")]
        assert await rows(connection, COMMANDS) == [("trip", "refused"), ("trip", "cancelled")]
        assert [await supply_of(connection, point) for point in ("P1", "P2")] == ["energised"] * 2
        await sweep(connection, ARMED, later(hours=2))
        assert len(await rows(connection, COMMANDS)) == 2

    on(database_url, story)


def test_while_passwords_are_refused_one_reconnect_of_the_site_is_tried_at_a_time(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_both(connection)
        for account in ("A1", "A2"):
            await pay(connection, account, 1000, account)
        first = await sent(connection)
        await take_answer(connection, first, "unauthorised", "password", NOW)
        assert await order(connection, later(seconds=1)) is None
        second = await sent(connection, later(seconds=61))
        assert second.id != first.id
        # One that takes it shows that the others may, too.
        await take_answer(connection, second, "acked", "accepted", later(seconds=61))
        assert (await sent(connection, later(seconds=62))).id == first.id

    on(database_url, story)


@pytest.mark.parametrize("answer", ["refused", "unauthorised"])
def test_a_reconnect_that_is_refused_goes_on_and_a_payment_hurries_it(
    database_url: str, answer: Any
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 1000, "one")
        for at, pause_s in ((NOW, 60), (later(seconds=60), 300)):
            await take_answer(connection, await sent(connection, at), answer, "no", at)
            assert await supply_of(connection) == "reconnect_commanded"
            assert await order(connection, at + timedelta(seconds=pause_s - 1)) is None
        async with await connect(database_url) as listening:
            await listening.execute("LISTEN meterd_command")
            await pay(connection, "A1", 1000, "two", later(minutes=3))
            async with asyncio.timeout(10):
                async for notice in listening.notifies():
                    assert notice.payload == "line"
                    break
        assert (await sent(connection, later(minutes=3))).action == "allow_close"

    on(database_url, story)


def test_a_reconnect_that_is_days_old_is_a_job_too(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 1000)
        await connection.execute(
            "UPDATE command SET created_at = now() - interval '3 days' WHERE action <> 'trip'"
        )
        for _ in range(2):
            await open_restore_jobs(connection)
        assert await rows(connection, "SELECT kind, due_at = opened_at FROM field_job") == [
            ("restore", True)
        ]

    on(database_url, story)


def test_nobody_is_restored_where_somebody_works_until_that_is_over(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        mark = await set_mark(connection, "keep_off", Marked(point="P1"), WHY, from_at=NOW - DAY)
        await pay(connection, "A1", 1000)
        await sweep(connection, ARMED, later(minutes=1))
        assert await supply_of(connection) == "disconnected"
        await lift_mark(connection, mark, {"keep_off"}, WHY)
        await sweep(connection, ARMED, later(minutes=2))
        assert await supply_of(connection) == "reconnect_commanded"

    on(database_url, story)


def test_a_reconnect_that_is_on_its_way_does_not_leave_where_somebody_begins_to_work(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 1000)
        released = await sent(connection)
        assert await is_still_released(connection, released)
        await set_mark(connection, "keep_off", Marked(account="A1"), WHY, from_at=NOW - DAY)
        assert not await is_still_released(connection, released)
        await take_answer(connection, released, "unknown", "not sent", NOW)
        looked = await due(connection, later(seconds=5))
        await take_observation(connection, looked.command, None, later(seconds=5))

    on(database_url, story)


def test_a_lock_keeps_nobody_from_being_cut(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await set_mark(connection, "keep_off", Marked(point="P1"), WHY, from_at=NOW - DAY)
        assert await is_still_released(connection, await sent(connection))

    on(database_url, story)


def test_who_is_restored_by_hand_is_held_on_although_nothing_was_paid(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_both(connection)
        restored = await restore_by_hand(connection, Marked(), WHY, NOW)
        assert restored.points == 2
        assert await rows(
            connection, "SELECT DISTINCT cause FROM command WHERE action <> 'trip'"
        ) == ["restored by li: asked for"]
        for second in (0, 1):
            command = await sent(connection, later(seconds=second))
            await take_answer(connection, command, "acked", "accepted", later(seconds=second))
        for second in (7, 8):
            looked = await due(connection, later(seconds=second))
            await take_observation(connection, looked.command, CLOSED, later(seconds=second))
        await sweep(connection, ARMED, later(hours=2))
        assert [await supply_of(connection, point) for point in ("P1", "P2")] == ["energised"] * 2
        assert await rows(connection, "SELECT kind FROM supply_mark") == ["hold"]

    on(database_url, story)


def test_whom_a_restore_by_hand_leaves_dark_is_named(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_both(connection)
        lock = await set_mark(connection, "keep_off", Marked(point="P1"), WHY, from_at=NOW - DAY)
        restored = await restore_by_hand(connection, Marked(), WHY, NOW)
        assert (restored.points, restored.left_dark) == (1, ["P1"])
        of_another = await restore_by_hand(connection, Marked(point="P2"), WHY, NOW)
        assert (of_another.points, of_another.left_dark) == (0, [])
        await lift_mark(connection, lock, {"keep_off"}, WHY)
        again = await restore_by_hand(connection, Marked(), WHY, NOW)
        assert (again.points, again.left_dark) == (1, [])

    on(database_url, story)


def test_one_who_is_restored_by_hand_leaves_the_others_dark(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_both(connection)
        restored = await restore_by_hand(connection, Marked(account="A2"), WHY, NOW)
        assert restored.points == 1
        assert await supply_of(connection, "P1") == "disconnected"
        assert await supply_of(connection, "P2") == "reconnect_commanded"

    on(database_url, story)


def test_a_trip_that_a_person_asks_for_is_put_before_the_guard(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2, authority=SHADOW)
        await set_mark(connection, "dispute", Marked(account="A1"), WHY, from_at=NOW - DAY)
        (denied,) = await trip_by_hand(connection, ARMED, "A1", WHY, NOW)
        (allowed,) = await trip_by_hand(connection, ARMED, "A2", WHY, NOW)
        assert (denied.verdict.reasons, allowed.verdict.reasons) == (("DISPUTE",), ())
        assert await rows(connection, "SELECT point_id, action, cause FROM command") == [
            (allowed.point.point_id, "trip", "asked for by li: asked for")
        ]
        for account in ("A2", "A9"):
            with pytest.raises(TripRefused):
                await trip_by_hand(connection, ARMED, account, WHY, NOW)

    on(database_url, story)


def test_a_relay_is_looked_at_while_a_frame_of_its_trip_may_come_and_once_after(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 1000)
        command = await sent(connection)
        await take_answer(connection, command, "acked", "accepted", NOW)
        looked = await due(connection, later(seconds=10))
        await take_observation(connection, looked.command, CLOSED, later(seconds=10))

        async def asked(at_s: float) -> list[str]:
            async with await connect(database_url) as listening:
                await listening.execute("LISTEN meterd_relay")
                await sweep(connection, ARMED, later(seconds=at_s))
                await connection.execute("SELECT pg_notify('meterd_relay', 'no more')")
                heard: list[str] = []
                async with asyncio.timeout(10):
                    async for notice in listening.notifies():
                        if notice.payload == "no more":
                            return heard
                        heard.append(notice.payload)
            return heard

        meter = found["P1"]
        assert await asked(69) == []
        assert await asked(70) == [str(meter.meter_id)]
        await take_relays(connection, [RelayRead(meter, CLOSED, later(seconds=899))])
        assert await asked(900) == [str(meter.meter_id)]
        await take_relays(connection, [RelayRead(meter, CLOSED, later(seconds=900))])
        assert await asked(4000) == []

    on(database_url, story)
