"""The breaker in rows: what opens it, whom it keeps from being cut, and who resets it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.breaker import Limits
from daemon.transactions.breaker import (
    ResetRefused,
    agree_to_reset,
    ask_to_reset,
    stop_trips,
    watch,
)
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import take_step
from daemon.transactions.supply_marks import Marked, set_mark
from daemon.transactions.sweep import sweep
from protocols.reading import RelayState
from storage import breakers, supply
from storage.archive import SiteMeter
from storage.documents import Said
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    SHADOW,
    Site,
    as_owner,
    connect,
    freeze,
    on,
    pay,
    rows,
    store,
)

WHY = Said("zhao", "the tariff was wrong")
STATES = "SELECT state, count(*) FROM command WHERE action = 'trip' GROUP BY 1"
OPENED = "SELECT scope, name, cause, found, allowed FROM breaker WHERE reset_at IS NULL ORDER BY id"
VERDICTS = "SELECT DISTINCT ON (point_id) reasons FROM guard_verdict ORDER BY point_id, id DESC"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
LEAVE_THE_RELAY = RelayState(relay_open=True, command_open=True)
EIGHT = replace(ARMED, limits=Limits(hour=8))
"""Fewer than may leave within a minute, which is counted by the clock on the wall."""
NEVER = Limits(hour=10**6, day=10**6, group_hour=10**6)


async def owing(
    connection: AsyncConnection[Any],
    meters: Mapping[str, SiteMeter],
    *points: int,
    authority: Authority = ARMED,
    now: datetime = NOW,
) -> None:
    """These points owe 5 yuan, settled in one batch."""
    batch = [
        freeze(meters[f"P{point}"], day, kwh)
        for point in points
        for day, kwh in ((OPEN, 100), (OPEN + DAY, 110))
    ]
    await store(connection, *batch, authority=authority, now=now)


async def take(connection: AsyncConnection[Any], now: datetime = NOW, line: str = "line") -> bool:
    """Whether a control frame leaves."""
    step = await take_step(connection, ARMED, line, now)
    return step is not None and step.kind == "send"


async def taken(connection: AsyncConnection[Any], most: int) -> int:
    return sum([await take(connection) for _ in range(most)])


async def states(connection: AsyncConnection[Any]) -> dict[str, int]:
    return dict(await rows(connection, STATES))


async def reset(connection: AsyncConnection[Any], number: int) -> None:
    await ask_to_reset(connection, number, WHY)
    await agree_to_reset(connection, number, "li")


def test_many_accounts_are_exhausted_at_once_and_nobody_is_cut(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(60).take_over(connection)
        await owing(connection, meters, *range(1, 61))
        # Settled in portions: whoever comes after the breaker is not even asked for.
        ((scope, _, cause, found, allowed),) = await rows(connection, OPENED)
        assert (scope, cause, allowed) == ("site", "trips_in_an_hour", 20)
        assert await states(connection) == {"cancelled": found}
        assert await taken(connection, 3) == 0
        # A trip that ended is not asked for again at once.
        await sweep(connection, ARMED, NOW + timedelta(minutes=6))
        assert await rows(connection, "SELECT DISTINCT supply_state FROM point_supply") == [
            "energised"
        ]
        assert await rows(connection, VERDICTS) == [["BREAKER_OPEN"]] * 60

    on(database_url, story)


def test_a_wrong_tariff_opens_it_before_anybody_may_be_cut(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(21).take_over(connection)
        batch = [freeze(it, day, kwh) for it in meters.values() for day, kwh in ((OPEN, 0),)]
        batch += [freeze(it, OPEN + DAY, 10) for it in meters.values()]
        await store(connection, *batch, authority=SHADOW)
        await sweep(connection, SHADOW, NOW)
        assert await rows(connection, OPENED) == [("site", "", "exhausted_today", 21, 20)]
        assert await rows(connection, VERDICTS) == [["BREAKER_OPEN", "SHADOW_MODE"]] * 21

    on(database_url, story)


def test_what_leaves_in_an_hour_stays_within_the_limit_however_it_is_asked_for(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(20).take_over(connection)
        left = 0
        for first in range(1, 21, 4):
            await owing(connection, meters, *range(first, first + 4), authority=EIGHT)
            left += await taken(connection, 4)
        assert left == 8
        assert await states(connection) == {"sent": 8, "cancelled": 4}
        opened = await rows(connection, OPENED)
        assert [it[:3] for it in opened] == [("site", "", "trips_in_an_hour")]

    on(database_url, story)


def test_an_area_has_its_own_and_the_others_go_on(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(30)
        for point in site.points[:10]:
            point["area"] = "T1"
        meters = await site.take_over(connection)
        await owing(connection, meters, 1, 2, 3)
        assert await rows(connection, OPENED) == []
        await owing(connection, meters, 4, 20)
        assert await rows(connection, OPENED) == [("area", "T1", "trips_in_an_hour", 4, 3)]
        assert await states(connection) == {"cancelled": 4, "persisted": 1}
        assert await taken(connection, 3) == 1
        await owing(connection, meters, 5, 21)
        assert await taken(connection, 3) == 1

    on(database_url, story)


@pytest.mark.parametrize(("scope", "name"), [("line", "bus 2"), ("tariff", "T2")])
def test_so_has_a_line_and_a_tariff(database_url: str, scope: str, name: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(8)
        site.tariffs.append(("T2", *site.tariffs[0][1:]))
        for meter, account in zip(site.meters[:4], site.accounts[:4], strict=True):
            meter["line"] = "bus 2" if scope == "line" else "line"
            account["tariff_id"] = "T2" if scope == "tariff" else "T"
        meters = await site.take_over(connection)
        await owing(connection, meters, 1, 2, 3, 4, 5)
        assert await rows(connection, OPENED) == [(scope, name, "trips_in_an_hour", 4, 3)]
        assert await states(connection) == {"cancelled": 4, "persisted": 1}
        await sweep(connection, ARMED, NOW + timedelta(minutes=6))
        assert await rows(connection, VERDICTS) == [["BREAKER_OPEN"]] * 4 + [[]]

    on(database_url, story)


def test_settlements_at_the_same_time_count_each_others_trips(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(24).take_over(connection)

        async def some(first: int) -> None:
            async with await connect(database_url) as own:
                await owing(own, meters, *range(first, first + 6))

        await asyncio.gather(*map(some, range(1, 25, 6)))
        # The last may find it open already: so many are exhausted today.
        assert set(await states(connection)) == {"cancelled"}

    on(database_url, story)


def test_a_trip_that_was_asked_for_while_a_breaker_opened_does_not_wait_behind_it(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(1).take_over(connection)
        async with await connect(database_url) as own, await connect(database_url) as other:
            async with other.transaction():
                await supply.lock_trips(other)
                asking = asyncio.create_task(owing(own, meters, 1))
                async with asyncio.timeout(20):
                    while await rows(connection, WAITING) == [0]:
                        assert not asking.done()
                await stop_trips(other, "wrong_password", NOW)
            await asking
        assert await states(connection) == {"cancelled": 1}

    on(database_url, story)


def test_an_open_breaker_keeps_nobody_from_being_restored(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(40).take_over(connection)
        await owing(connection, meters, 1)
        await cut(connection)
        await owing(connection, meters, *range(2, 31))
        assert len(await rows(connection, OPENED)) == 1
        await pay(connection, "A1", 500)
        step = await take_step(connection, ARMED, "line", NOW + timedelta(seconds=10))
        assert step is not None
        assert (step.kind, step.command.action) == ("send", "allow_close")

    on(database_url, story)


async def cut(connection: AsyncConnection[Any]) -> None:
    step = await take_step(connection, ARMED, "line", NOW)
    assert step is not None
    await take_answer(connection, step.command, "acked", "accepted", NOW)
    later = NOW + timedelta(seconds=6)
    step = await take_step(connection, ARMED, "line", later)
    assert step is not None
    await take_observation(connection, step.command, LEAVE_THE_RELAY, later)


def test_a_trip_that_was_sent_and_waits_to_be_sent_again_is_watched_and_not_sent(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(40).take_over(connection)
        await owing(connection, meters, 1)
        assert await take(connection)
        await connection.execute("UPDATE command SET state = 'persisted'")
        await owing(connection, meters, *range(2, 31))
        assert await states(connection) == {"verifying": 1, "cancelled": 29}
        supply = "SELECT supply_state FROM point_supply JOIN point ON id = point_id ORDER BY number"
        assert (await rows(connection, supply))[0] == "trip_commanded"

    on(database_url, story)


# --- two persons ----------------------------------------------------------------------------------


def test_two_persons_reset_it_and_what_was_before_does_not_open_it_again(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(60).take_over(connection)
        await owing(connection, meters, *range(1, 31))
        with pytest.raises(ResetRefused, match="nobody asked to reset breaker 1"):
            await agree_to_reset(connection, 1, "li")
        await ask_to_reset(connection, 1, WHY)
        with pytest.raises(ResetRefused, match="zhao asked already"):
            await ask_to_reset(connection, 1, Said("li", "so do I"))
        with pytest.raises(ResetRefused, match="another person has to agree"):
            await agree_to_reset(connection, 1, "Zhao")
        assert len(await breakers.breakers(connection)) == 1
        await agree_to_reset(connection, 1, "li")
        with pytest.raises(ResetRefused, match="breaker 1 is reset already"):
            await ask_to_reset(connection, 1, WHY)
        with pytest.raises(ResetRefused, match="there is no breaker 2"):
            await ask_to_reset(connection, 2, WHY)
        await watch(connection, ARMED, NOW)
        assert await breakers.breakers(connection) == []
        assert len(await breakers.breakers(connection, all_times=True)) == 1
        await owing(connection, meters, 31)
        assert (await states(connection))["persisted"] == 1

    on(database_url, story)


def test_who_asked_for_a_reset_asked_for_four_hours(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        for name, age in (("old", "4 hours"), ("young", "3 hours 59 minutes")):
            await connection.execute(
                "INSERT INTO breaker (scope, name, cause, found, allowed, opened_at, reset_actor,"
                " reset_reason, reset_asked_at) VALUES ('area', %s, 'trips_in_an_hour', 9, 3,"
                " now() - interval '1 day', 'zhao', 'mended', now() - %s::interval)",
                [name, age],
            )
        with pytest.raises(ResetRefused, match="nobody asked to reset breaker 1"):
            await agree_to_reset(connection, 1, "li")
        await ask_to_reset(connection, 1, Said("li", "looked into it anew"))
        await agree_to_reset(connection, 1, "zhao")
        with pytest.raises(ResetRefused, match="zhao asked already"):
            await ask_to_reset(connection, 2, Said("li", "so do I"))
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            await connection.execute("UPDATE breaker SET reset_actor = 'li' WHERE id = 2")

    on(database_url, story)


def test_no_reset_lets_more_trips_leave_within_the_hour(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(60).take_over(connection)
        await owing(connection, meters, *range(1, 9), authority=EIGHT)
        assert await taken(connection, 8) == 8
        await owing(connection, meters, 21, authority=EIGHT)
        await reset(connection, 1)
        # The reset is of the wall's clock.
        await owing(connection, meters, 22, authority=EIGHT, now=datetime.now(UTC))
        assert await rows(connection, OPENED) == [("site", "", "trips_in_an_hour", 9, 8)]
        assert await states(connection) == {"sent": 8, "cancelled": 2}

    on(database_url, story)


# --- the other causes -----------------------------------------------------------------------------


async def ended(
    connection: AsyncConnection[Any], state: str, count: int, sent_at: datetime = NOW
) -> None:
    """Commands of the only point that ended so, or are in that state."""
    await connection.execute(
        "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state,"
        " created_at, expires_at, next_at, sends, sent_at)"
        " SELECT gen_random_uuid(), p.id, m.id, m.address, m.line, 'close', 'tried', %s::text, %s, %s, %s, 1, %s"
        " FROM point p, meter m, generate_series(1, %s)",
        (state, NOW, NOW + DAY, NOW, sent_at, count),
    )


def test_more_than_a_fifth_of_the_last_fifty_commands_failed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await ended(connection, "failed", 30)
        await ended(connection, "verified", 40)
        await ended(connection, "refused", 4)
        await ended(connection, "cancelled", 60)
        # Of the last fifty: six that failed and four that were refused.
        await watch(connection, ARMED, NOW)
        assert await rows(connection, OPENED) == []
        # A relay that did not follow for a quarter of an hour is the eleventh.
        await ended(connection, "verifying", 1, NOW - timedelta(minutes=15))
        await watch(connection, ARMED, NOW)
        assert await rows(connection, OPENED) == []
        await watch(connection, ARMED, NOW + timedelta(seconds=1))
        assert await rows(connection, OPENED) == [("site", "", "commands_fail", 11, 10)]

    on(database_url, story)


def test_three_customers_say_within_a_day_that_they_were_cut_wrongly(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(3).take_over(connection)
        for number in (1, 2, 3):
            await watch(connection, ARMED, NOW)
            assert await rows(connection, OPENED) == []
            await set_mark(connection, "wrongful_cut", Marked(account=f"A{number}"), WHY)
        await watch(connection, ARMED, NOW + DAY + timedelta(hours=1))
        assert await rows(connection, OPENED) == []
        await watch(connection, ARMED, NOW)
        assert await rows(connection, OPENED) == [("site", "", "wrongful_trips", 3, 2)]
        await reset(connection, 1)
        await watch(connection, ARMED, NOW)
        assert await rows(connection, OPENED) == []

    on(database_url, story)


def test_payments_stay_out_for_much_longer_than_usual(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        for number in range(20):
            await pay(connection, "A1", 100, reference=f"{number}")
        async with await psycopg.AsyncConnection.connect(as_owner(database_url)) as owner:
            # As if one had come every twelve hours.
            await owner.execute("SET session_replication_role = replica")
            await owner.execute(
                "UPDATE journal j SET recorded_at = %s - n.ago * interval '12 hours'"
                " FROM (SELECT id, row_number() OVER (ORDER BY id DESC) - 1 AS ago FROM journal) n"
                " WHERE n.id = j.id",
                (NOW,),
            )
        await watch(connection, ARMED, NOW + timedelta(hours=36))
        assert await rows(connection, OPENED) == []
        await watch(connection, ARMED, NOW + timedelta(hours=37))
        ((_, _, cause, found, allowed),) = await rows(connection, OPENED)
        assert (cause, round(found), allowed) == ("payments_silent", 37, 36)

    on(database_url, story)


def test_the_limits_are_those_of_the_authority(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(30).take_over(connection)
        batch = [
            freeze(it, day, kwh)
            for it in meters.values()
            for day, kwh in ((OPEN, 100), (OPEN + DAY, 110))
        ]
        await store(connection, *batch, authority=replace(ARMED, limits=NEVER))
        assert await states(connection) == {"persisted": 30}

    on(database_url, story)
