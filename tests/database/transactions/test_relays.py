"""Relays are seen without a command: what is kept of it, who is restored, whose case it is."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.control.alarms import Alarm, alarms_of
from daemon.quality.arrival import RelayRead
from daemon.transactions.observe import take_answer
from daemon.transactions.relays import take_relays
from daemon.transactions.supply_cases import open_cases, supply_alarms
from daemon.transactions.supply_marks import Marked, set_mark
from daemon.transactions.sweep import sweep
from protocols.reading import RelayState
from storage import archive, field_jobs, supply
from storage.archive import SiteMeter
from storage.documents import Said
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    SHADOW,
    TODAY,
    Site,
    connect,
    freeze,
    on,
    pay,
    rows,
    store,
)
from tests.database.transactions.test_supply import (
    CLOSED,
    DELAYED,
    OPENED,
    cut,
    exhausted,
    later,
    sent,
    supply_of,
)

SEEN = (
    "SELECT relay_observed, command_observed, relay_evidence, relay_observed_at, "
    "keep_power_observed FROM point_supply"
)
CASES = """
    SELECT kind, cause FROM field_job WHERE closed_at IS NULL AND kind <> 'restore' ORDER BY id
"""
"""Not those of reconnects: their ten minutes go by the database's clock."""
COMMANDS = "SELECT action, state, cause FROM command ORDER BY sequence"


async def see(
    connection: AsyncConnection[Any],
    meter: SiteMeter,
    relay: RelayState,
    at: datetime = NOW,
) -> None:
    await take_relays(connection, [RelayRead(meter, relay, at)])


async def paid_up(connection: AsyncConnection[Any], **changes: Any) -> SiteMeter:
    """A site of one account that owes nothing."""
    site = Site.of(1, warn_fen=0, **changes)
    found = await site.take_over(connection)
    await store(connection, freeze(found["P1"], OPEN, 100), authority=ARMED)
    return found["P1"]


async def alarms(
    connection: AsyncConnection[Any],
    *,
    lines: Sequence[str] = ("line",),
    at: datetime = NOW,
    shadow_mode: bool = False,
) -> dict[str, Alarm]:
    return alarms_of(await supply_alarms(connection, lines, at, shadow_mode=shadow_mode), at)


# --- what is kept ---------------------------------------------------------------------------------


def test_a_look_keeps_what_the_meter_told_with_its_time(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        assert await rows(connection, SEEN) == [("unknown", "unknown", None, None, False)]
        await see(connection, meter, replace(DELAYED, keep_power=True))
        assert await rows(connection, SEEN) == [("closed", "open", "B", NOW, True)]
        await see(connection, meter, CLOSED, later(days=1))
        assert await rows(connection, SEEN) == [("closed", "closed", "B", later(days=1), False)]

    on(database_url, story)


def test_what_was_seen_later_stays(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        await take_relays(
            connection,
            [RelayRead(meter, CLOSED, later(seconds=5)), RelayRead(meter, OPENED, NOW)],
        )
        await see(connection, meter, OPENED, later(seconds=4))
        assert await rows(connection, SEEN) == [("closed", "closed", "B", later(seconds=5), False)]

    on(database_url, story)


def test_what_a_line_saw_is_dated_by_the_databases_clock(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        # The host is two hours ahead, and looked a minute ago.
        ahead = datetime.now(UTC) + timedelta(hours=2)
        read = RelayRead(meter, OPENED, ahead - timedelta(minutes=1))
        await take_relays(connection, [read], lambda: ahead)
        (age,) = await rows(connection, "SELECT now() - relay_observed_at FROM point_supply")
        assert timedelta(seconds=50) < age < timedelta(seconds=70)

    on(database_url, story)


def test_an_external_relay_may_only_mirror_its_command(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection, relay_type="external")
        await see(connection, meter, OPENED)
        assert await rows(connection, "SELECT relay_evidence FROM point_supply") == ["C"]

    on(database_url, story)


def test_the_line_knows_when_a_relay_was_seen(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        assert meter.relay_seen_on is None
        await see(connection, meter, CLOSED)
        (known,) = await rows(connection, "SELECT relay_observed_at FROM point_supply")
        assert known == NOW
        (again,) = await archive.site_meters(connection)
        assert again.relay_seen_on == NOW.astimezone(UTC).date()

    on(database_url, story)


# --- who is restored ------------------------------------------------------------------------------


def test_who_owes_nothing_and_was_opened_by_somebody_else_is_restored(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        await see(connection, meter, OPENED)
        await sweep(connection, ARMED, later(seconds=10))
        assert await rows(connection, COMMANDS) == [
            (
                "allow_close",
                "persisted",
                "opened by somebody else; balance is good, or protected",
            )
        ]
        assert await supply_of(connection) == "reconnect_commanded"
        await open_cases(connection, later(seconds=15))
        assert await rows(connection, CASES) == []

    on(database_url, story)


def test_in_shadow_mode_nobody_is_restored_who_was_opened_by_somebody_else(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        await see(connection, meter, OPENED)
        await sweep(connection, SHADOW, later(seconds=10))
        assert await rows(connection, COMMANDS) == []
        await open_cases(connection, later(seconds=15))
        assert await rows(connection, CASES) == [
            ("foreign_open", "the relay is open, and not by us")
        ]

    on(database_url, story)


def test_who_is_in_arrears_and_was_opened_by_somebody_else_is_restored_by_the_payment(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await exhausted(connection, authority=SHADOW)
        await see(connection, found["P1"], OPENED)
        await sweep(connection, ARMED, later(seconds=10))
        assert await rows(connection, COMMANDS) == []
        await open_cases(connection, later(seconds=15))
        await open_cases(connection, later(seconds=30))
        assert await rows(connection, CASES) == [
            ("foreign_open", "the relay is open, and not by us")
        ]
        paid = await pay(connection, "A1", 1000)
        assert paid is not None
        assert len(paid.commands) == 1
        assert await supply_of(connection) == "reconnect_commanded"

    on(database_url, story)


def test_nobody_is_restored_where_people_work(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        said = Said("zhao", "the cable is mended")
        await set_mark(connection, "planned_outage", Marked(point="P1"), said, from_at=NOW - DAY)
        await see(connection, meter, OPENED)
        await sweep(connection, ARMED, later(seconds=10))
        assert await rows(connection, COMMANDS) == []

    on(database_url, story)


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_payment_asks_for_a_look_where_the_relay_was_never_seen(
    database_url: str, is_seen: bool
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await paid_up(connection)
        if is_seen:
            await see(connection, meter, CLOSED)
        async with await connect(database_url) as listening:
            await listening.execute("LISTEN meterd_relay")
            await pay(connection, "A1", 1000)
            await connection.execute("SELECT pg_notify('meterd_relay', 'no more')")
            async with asyncio.timeout(10):
                heard = []
                async for notice in listening.notifies():
                    if notice.payload == "no more":
                        break
                    heard.append(notice.payload)
        assert heard == ([] if is_seen else [str(meter.meter_id)])

    on(database_url, story)


# --- whose case it is -----------------------------------------------------------------------------


async def cut_and_known(connection: AsyncConnection[Any]) -> SiteMeter:
    found = await exhausted(connection)
    await cut(connection)
    return found["P1"]


def test_a_relay_that_is_closed_although_we_hold_it_open_is_a_case(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await cut_and_known(connection)
        await open_cases(connection, later(minutes=1))
        assert await rows(connection, CASES) == []
        await see(connection, meter, CLOSED, later(hours=1))
        for minute in (61, 62):
            await open_cases(connection, later(minutes=minute))
        assert await rows(connection, CASES) == [
            ("foreign_closed", "the relay is closed although we hold it open")
        ]
        assert await supply_of(connection) == "disconnected"

    on(database_url, story)


def test_a_case_that_was_closed_comes_again_only_by_a_newer_look(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await cut_and_known(connection)
        await see(connection, meter, CLOSED, later(seconds=10))
        await open_cases(connection, later(seconds=11))
        # It is closed by the database's clock, which may not be there yet.
        await connection.execute(
            "SELECT pg_sleep(extract(epoch FROM opened_at - clock_timestamp())) FROM field_job"
        )
        (job,) = await field_jobs.field_jobs(connection)
        async with await connect(database_url) as listening:
            await listening.execute("LISTEN meterd_relay")
            assert await field_jobs.close_job(connection, job["number"], "by-pass removed", "li")
            async with asyncio.timeout(10):
                async for notice in listening.notifies():
                    assert notice.payload == str(meter.meter_id)
                    break
        (closed_at,) = await rows(connection, "SELECT closed_at FROM field_job")
        await connection.execute("UPDATE point_supply SET relay_observed_at = %s", (closed_at,))
        await open_cases(connection, closed_at)
        assert await rows(connection, CASES) == []
        await see(connection, meter, CLOSED, closed_at + timedelta(seconds=1))
        await open_cases(connection, closed_at + timedelta(seconds=2))
        assert len(await rows(connection, CASES)) == 1

    on(database_url, story)


async def cut_days_ago(connection: AsyncConnection[Any], days: int) -> SiteMeter:
    """Cut so long ago, as far as the record of its command goes."""
    meter = await cut_and_known(connection)
    await connection.execute("ALTER TABLE command_event DISABLE TRIGGER USER")
    await connection.execute(
        "UPDATE command_event SET at = at - make_interval(days => %s)", (days,)
    )
    return meter


@pytest.mark.parametrize(
    ("kwh", "case", "evidence"),
    [
        (110, [], "A"),
        (111, [("foreign_closed", "1.00 kWh were used while it is cut")], "B"),
    ],
)
def test_what_registers_say_of_a_cut_point_is_evidence_or_a_case(
    owner_url: str, kwh: int, case: list[tuple[str, str]], evidence: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await cut_days_ago(connection, 4)
        await store(
            connection,
            freeze(meter, TODAY - 2 * DAY, 110),
            freeze(meter, TODAY, kwh),
            authority=ARMED,
        )
        await open_cases(connection, later(minutes=1))
        assert await rows(connection, CASES) == case
        assert await rows(connection, "SELECT relay_evidence FROM point_supply") == [evidence]

    on(owner_url, story)


# --- alarms ---------------------------------------------------------------------------------------


def test_who_is_cut_on_a_line_that_does_not_run_is_an_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_and_known(connection)
        assert await alarms(connection) == {}
        found = await alarms(connection, lines=())
        assert list(found) == ["cut_on_disabled_line"]
        assert found["cut_on_disabled_line"].first == "point P1, line line, disconnected"

    on(database_url, story)


def test_who_is_cut_on_a_line_that_is_down_is_an_alarm_after_ten_minutes(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_and_known(connection)
        await connection.execute(
            "INSERT INTO outage (line, since, tries, reason) VALUES ('line', %s, 1, 'no carrier')",
            (NOW,),
        )
        assert await alarms(connection, at=later(minutes=9)) == {}
        assert list(await alarms(connection, at=later(minutes=10))) == ["cut_on_silent_line"]

    on(database_url, story)


def test_a_cut_point_that_nobody_saw_for_a_day_and_a_half_is_an_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await cut_and_known(connection)
        assert await alarms(connection, at=later(hours=35)) == {}
        assert list(await alarms(connection, at=later(hours=37))) == ["cut_not_seen"]
        await see(connection, meter, OPENED, later(hours=36))
        assert await alarms(connection, at=later(hours=37)) == {}

    on(database_url, story)


def test_in_shadow_mode_whoever_is_cut_is_an_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_and_known(connection)
        assert list(await alarms(connection, shadow_mode=True)) == ["cut_in_shadow"]

    on(database_url, story)


def test_a_trip_that_is_not_verified_is_an_alarm_after_a_quarter_of_an_hour(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await sent(connection)
        assert await alarms(connection, at=later(minutes=14)) == {}
        found = await alarms(connection, at=later(minutes=15))
        assert list(found) == ["trip_unverified"]

    on(database_url, story)


def test_a_reconnect_is_an_alarm_by_its_age_whatever_becomes_of_its_line(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_and_known(connection)
        await pay(connection, "A1", 1000)
        (created_at,) = await rows(
            connection, "SELECT created_at FROM command WHERE action <> 'trip'"
        )
        assert await alarms(connection, at=created_at + timedelta(minutes=9)) == {}
        late = created_at + timedelta(minutes=10)
        assert list(await alarms(connection, at=late)) == ["reconnect_late"]
        assert set(await alarms(connection, lines=(), at=late)) == {
            "reconnect_late",
            "cut_on_disabled_line",
        }

    on(database_url, story)


def test_a_reconnect_that_the_meter_refuses_is_an_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_and_known(connection)
        await pay(connection, "A1", 1000)
        command = await sent(connection, later(minutes=1))
        await take_answer(connection, command, "refused", "password", later(minutes=1))
        assert list(await alarms(connection, at=later(minutes=30))) == ["reconnect_late"]

    on(database_url, story)


def test_who_only_has_to_hold_the_button_is_no_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await cut_and_known(connection)
        await pay(connection, "A1", 1000)
        await supply.set_supply(connection, [1], "wait_customer_button")
        assert await alarms(connection, at=later(hours=1)) == {}

    on(database_url, story)


def test_open_cases_overdue_jobs_and_breakers_are_alarms(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await cut_and_known(connection)
        await see(connection, meter, CLOSED, later(seconds=10))
        await open_cases(connection, later(seconds=11))
        await connection.execute(
            "INSERT INTO field_job (kind, account_id, cause, opened_at, due_at) "
            "SELECT 'notice', id, 'no way is left', %s, %s FROM account",
            (NOW, later(hours=1)),
        )
        await connection.execute(
            "INSERT INTO breaker (scope, cause, found, allowed, opened_at)"
            " VALUES ('site', 'trips_in_an_hour', 21, 20, %s)",
            (NOW,),
        )
        at_once = {"breaker_open", "foreign_closed", "notice_failed"}
        assert set(await alarms(connection, at=later(minutes=1))) == at_once
        late = await alarms(connection, at=later(minutes=61))
        assert set(late) == at_once | {"job_overdue"}

    on(database_url, story)
