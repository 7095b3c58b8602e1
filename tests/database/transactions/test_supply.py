"""Cutting and restoring, in rows: what is sent, what is cancelled, and what a restart makes of
it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.guard import MAX_TRIPS_PER_MINUTE
from daemon.transactions.control_facts import control_facts
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import DueCommand, abandon_trip, resume, take_step
from daemon.transactions.sweep import sweep
from protocols.reading import RelayState
from storage import ledger, supply
from storage.archive import SiteMeter
from storage.audit import sent_trips
from storage.supply import Command
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    SHADOW,
    TODAY,
    Site,
    balance,
    connect,
    everything,
    freeze,
    intact,
    on,
    pay,
    rows,
    store,
)

CLOSED = RelayState(relay_open=False, command_open=False)
OPENED = RelayState(relay_open=True, command_open=True)
DELAYED = RelayState(relay_open=False, command_open=True)
READY = RelayState(relay_open=True, command_open=False)
CREDIT = (
    "SELECT credit_state, started_at FROM account a "
    "LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL"
)
COMMANDS = "SELECT action, state FROM command ORDER BY sequence"


def later(**what: float) -> datetime:
    return NOW + timedelta(**what)


LATELY = TODAY - 2 * DAY
"""What is used from then on is not for days long past (SPAN_GRACE)."""


async def exhausted(
    connection: AsyncConnection[Any],
    count: int = 1,
    *,
    authority: Authority = ARMED,
    site: Site | None = None,
    opened_on: date = OPEN,
    **changes: Any,
) -> dict[str, SiteMeter]:
    """A site whose accounts owe 5.00 yuan after the first day; armed, each has a trip command
    then."""
    made = site or Site.of(count, opened_on=opened_on, **changes)
    found = await made.take_over(connection)
    batch = [
        freeze(meter, day, kwh)
        for meter in found.values()
        for day, kwh in ((opened_on, 100), (opened_on + DAY, 110))
    ]
    await store(connection, *batch, authority=authority)
    return found


async def supply_of(connection: AsyncConnection[Any], point: str = "P1") -> str:
    (state,) = await rows(
        connection,
        "SELECT supply_state FROM point_supply JOIN point ON id = point_id WHERE number = %s",
        point,
    )
    return str(state)


async def order(
    connection: AsyncConnection[Any],
    now: datetime = NOW,
    *,
    authority: Authority = ARMED,
    line: str = "line",
) -> DueCommand | None:
    return await take_step(connection, authority, line, now)


async def due(connection: AsyncConnection[Any], now: datetime = NOW) -> DueCommand:
    """The step that the line has to do now."""
    taken = await order(connection, now)
    assert taken is not None
    return taken


async def sent(connection: AsyncConnection[Any], now: datetime = NOW) -> Command:
    """The trip (or reconnect) that the line is to send now."""
    taken = await due(connection, now)
    assert taken is not None
    assert taken.kind == "send"
    return taken.command


async def cut(connection: AsyncConnection[Any]) -> None:
    """All the way: sent, accepted, relay open."""
    command = await sent(connection)
    await take_answer(connection, command, "acked", "accepted", NOW)
    taken = await due(connection, later(seconds=6))
    assert taken.kind == "verify"
    await take_observation(connection, taken.command, OPENED, later(seconds=6))


# --- cutting --------------------------------------------------------------------------------------


def test_a_cut_goes_from_the_row_over_the_frame_to_the_open_relay(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        assert await rows(connection, COMMANDS) == [("trip", "persisted")]
        assert await supply_of(connection) == "trip_commanded"
        command = await sent(connection)
        assert await rows(connection, "SELECT state, sends FROM command") == [("sent", 1)]
        assert await order(connection) is None
        await take_answer(connection, command, "acked", "accepted", NOW)
        assert (
            await supply_of(connection) == "trip_commanded"
        )  # an acknowledgement is not an open relay
        taken = await due(connection, later(seconds=5))
        await take_observation(connection, taken.command, OPENED, later(seconds=5))
        assert await supply_of(connection) == "disconnected"
        assert await rows(connection, "SELECT relay_observed FROM point_supply") == ["open"]
        events = await rows(connection, "SELECT state FROM command_event ORDER BY at")
        assert events == ["persisted", "sent", "acked", "verified"]
        assert await order(connection, later(days=1)) is None

    on(database_url, story)


def test_the_snapshot_of_the_release_is_kept_with_the_command(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await sent(connection)
        ((guard,),) = [(row,) for row in await rows(connection, "SELECT guard FROM command")]
        assert (guard["decision"], guard["reasons"]) == ("allow", [])
        assert guard["facts"]["balance_fen"] == -500
        (persisted, released) = await rows(
            connection, "SELECT guard FROM command_event ORDER BY at"
        )
        assert persisted is not None
        assert released == guard

    on(database_url, story)


def test_shadow_mode_makes_no_command_and_tells_whom_it_would_cut(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await exhausted(connection, 3, authority=SHADOW, opened_on=LATELY)
        await sweep(connection, SHADOW, NOW)
        await store(connection, freeze(found["P1"], LATELY + 2 * DAY, 120), authority=SHADOW)
        assert await rows(connection, COMMANDS) == []
        verdicts = await rows(
            connection,
            "SELECT number, decision, reasons FROM guard_verdict JOIN point p ON p.id = point_id ORDER BY 1",
        )
        assert verdicts == [(point, "deny", ["SHADOW_MODE"]) for point in ("P1", "P2", "P3")]
        assert {await supply_of(connection, point) for point in found} == {"energised"}

    on(database_url, story)


def test_a_trip_made_before_shadow_mode_was_switched_on_is_not_sent(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        assert await order(connection, authority=SHADOW) is None
        assert await rows(connection, "SELECT sends FROM command") == [0]
        await resume(connection, later(minutes=2))
        assert await rows(connection, COMMANDS) == [("trip", "expired")]
        assert await supply_of(connection) == "energised"

    on(database_url, story)


def test_a_balance_at_the_floor_is_not_cut(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2, credit_limit_fen=100, trip_fen=-300, reconnect_fen=-300)
        await pay_first(connection, site, {"A1": 100, "A2": 99})
        assert [await balance(connection, account) for account in ("A1", "A2")] == [-400, -401]
        assert await rows(
            connection, "SELECT number FROM command JOIN point p ON p.id = point_id"
        ) == ["P2"]

    on(database_url, story)


async def pay_first(connection: AsyncConnection[Any], site: Site, amounts: dict[str, int]) -> None:
    await site.take_over(connection)
    for account, fen in amounts.items():
        await pay(connection, account, fen, account)
    await exhausted(connection, site=site)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE point SET protected = true", "PROTECTED"),
        ("UPDATE point SET life_support = true", "LIFE_SUPPORT"),
        ("UPDATE point_supply SET keep_power_observed = true", "DEVICE_KEEP_POWER"),
        ("UPDATE point_supply SET relay_observed = 'open'", "ALREADY_OPEN"),
        ("UPDATE account SET state = 'closing'", "ACCOUNT_NOT_ACTIVE"),
        ("UPDATE account SET credit_limit_fen = 500", "BALANCE_OK"),
        (
            "UPDATE slot SET state = 'suspect' WHERE day = '2026-03-02'",
            "READING_NOT_PUBLISHED",
        ),
        ("DELETE FROM slot", "READING_NOT_PUBLISHED STALE_READING"),
        ("UPDATE account SET span_grace_until = now() + interval '1 minute'", "SPAN_GRACE"),
    ],
)
def test_the_guard_is_asked_again_when_a_trip_is_released(
    database_url: str, owner_url: str, change: str, reason: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        async with await connect(owner_url) as owner:
            await owner.execute(change)
        assert await order(connection) is None
        assert await rows(connection, "SELECT state, detail, sends FROM command") == [
            ("cancelled", reason, 0)
        ]
        assert await supply_of(connection) == "energised"
        assert (await rows(connection, "SELECT reasons FROM guard_verdict"))[-1] == reason.split()

    on(database_url, story)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO to_judge (point_id, from_day) SELECT id, '2026-03-02' FROM point",
        # Another point of the account: what it is billed for moves the same balance.
        "WITH other AS (INSERT INTO point (number) VALUES ('P9') RETURNING id), "
        "held AS (INSERT INTO point_account (point_id, account_id, from_day) "
        "SELECT other.id, account.id, '2026-03-01' FROM other, account RETURNING point_id) "
        "INSERT INTO to_judge (point_id, from_day) SELECT point_id, '2026-03-01' FROM held",
    ],
)
def test_a_trip_waits_while_the_readings_of_its_account_are_judged(
    database_url: str, owner_url: str, change: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        async with await connect(owner_url) as owner:
            await owner.execute(change)
            assert await order(connection) is None
            trip = "SELECT state, sends, next_at FROM command"
            ((state, sends, next_at),) = await rows(connection, trip)
            assert (state, sends) == ("persisted", 0)
            assert next_at > NOW
            assert await supply_of(connection) == "trip_commanded"
            await owner.execute("DELETE FROM to_judge")
        assert (await sent(connection, later(minutes=1))).action == "trip"

    on(database_url, story)


@pytest.mark.parametrize("what", ["window", "age", "startup"])
def test_a_trip_that_waited_until_the_policy_forbids_it_is_not_sent(
    database_url: str, what: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        policy = ARMED.policy
        local = NOW.astimezone(ARMED.zone).time()
        changed = {
            "window": replace(
                ARMED,
                policy=replace(policy, window_start=time(0), window_end=min(local, time(23, 59))),
            ),
            "age": replace(ARMED, policy=replace(policy, max_reading_age=timedelta(hours=1))),
            "startup": replace(
                ARMED,
                running_for=timedelta,
                policy=replace(policy, startup_hold=timedelta(minutes=15)),
            ),
        }[what]
        reason = {"window": "WINDOW_CLOSED", "age": "STALE_READING", "startup": "STARTUP_HOLD"}[
            what
        ]
        assert await order(connection, authority=changed) is None
        assert await rows(connection, "SELECT state, detail FROM command") == [
            ("cancelled", reason)
        ]

    on(database_url, story)


def test_a_trip_expires_after_ten_minutes_or_with_the_window(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        (expires_at,) = await rows(connection, "SELECT expires_at FROM command")
        assert expires_at == later(minutes=10)
        assert await order(connection, later(minutes=10)) is None
        assert await rows(connection, "SELECT state, sends FROM command") == [("expired", 0)]
        assert await supply_of(connection) == "energised"

    on(database_url, story)


def test_a_trip_that_the_meter_did_not_take_is_sent_three_times_in_all(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        for n in range(3):
            command = await sent(connection, later(seconds=20 * n + 1))
            await take_answer(connection, command, "unknown", "silence", later(seconds=20 * n + 1))
            looked = await due(connection, later(seconds=20 * n + 16))
            assert looked.kind == "verify"
            await take_observation(connection, looked.command, CLOSED, later(seconds=20 * n + 16))
        assert await rows(connection, "SELECT state, sends FROM command") == [("verifying", 3)]
        # I2: each time with a word of the guard of its own, as whoever looks again asks.
        assert [it.is_heard_before async for it in sent_trips(connection)] == [False] * 3
        at = later(minutes=9)
        for state, supply_state in (("verifying", "trip_commanded"), ("failed", "energised")):
            looked = await due(connection, at)
            assert looked.kind == "verify"
            await take_observation(connection, looked.command, CLOSED, at)
            assert await rows(connection, "SELECT state, sends FROM command") == [(state, 3)]
            assert await supply_of(connection) == supply_state
            at += timedelta(minutes=15)  # past its expiry no frame of it is obeyed any more
        assert await order(connection, at) is None
        await sweep(connection, ARMED, at)
        assert await rows(connection, COMMANDS) == [("trip", "failed"), ("trip", "persisted")]

    on(database_url, story)


def test_an_observation_from_before_the_last_send_does_not_judge_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await take_answer(connection, await sent(connection), "unknown", "silence", NOW)
        early = await due(connection, later(seconds=6))
        await take_observation(connection, early.command, CLOSED, later(seconds=6))
        await sent(connection, later(seconds=7))
        await take_observation(connection, early.command, CLOSED, later(seconds=8))
        assert await rows(connection, "SELECT state, sends FROM command") == [("sent", 2)]

    on(database_url, story)


def test_the_guard_is_asked_before_every_send(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        command = await sent(connection)
        await take_answer(connection, command, "unknown", "silence", NOW)
        looked = await due(connection, later(seconds=6))
        await take_observation(connection, looked.command, CLOSED, later(seconds=6))
        await connection.execute("UPDATE point SET protected = true")
        assert await order(connection, later(seconds=7)) is None
        assert await rows(connection, "SELECT state, sends, detail FROM command") == [
            ("verifying", 1, "PROTECTED")
        ]
        # What was sent may still be executed: the relay is watched until it is past that.
        assert await supply_of(connection) == "trip_commanded"
        for minutes, state in ((14, "verifying"), (30, "failed")):
            late = await due(connection, later(minutes=minutes))
            await take_observation(connection, late.command, CLOSED, later(minutes=minutes))
            assert await rows(connection, COMMANDS) == [("trip", state)]
        assert await supply_of(connection) == "energised"

    on(database_url, story)


def test_a_silent_meter_leaves_its_command_unknown_and_is_looked_at_ever_more_seldom(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await sent(connection)
        at = later(seconds=5)
        waits = []
        for _ in range(4):
            taken = await due(connection, at)
            assert taken.kind == "verify"
            await take_observation(connection, taken.command, None, at)
            assert await rows(connection, "SELECT state FROM command") == ["unknown"]
            next_at = await supply.next_due(connection, "line")
            assert next_at is not None
            waits.append((next_at - at).total_seconds())
            at = next_at
        assert waits == [5, 15, 60, 300]
        assert await supply_of(connection) == "trip_commanded"
        assert await rows(connection, "SELECT relay_observed FROM point_supply") == ["unknown"]

    on(database_url, story)


def test_a_refused_trip_leaves_the_supply_on_and_is_not_tried_again_for_an_hour(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        command = await sent(connection)
        await take_answer(connection, command, "refused", "wrong password", NOW)
        assert await rows(connection, "SELECT state, detail FROM command") == [
            ("refused", "wrong password")
        ]
        assert await supply_of(connection) == "energised"
        await sweep(connection, ARMED, later(minutes=59))
        assert len(await rows(connection, COMMANDS)) == 1
        await sweep(connection, ARMED, later(minutes=61))
        assert len(await rows(connection, COMMANDS)) == 2

    on(database_url, story)


def test_a_trip_that_is_refused_when_sent_again_may_still_come(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await take_answer(connection, await sent(connection), "unknown", "silence", NOW)
        looked = await due(connection, later(seconds=6))
        await take_observation(connection, looked.command, CLOSED, later(seconds=6))
        again = await sent(connection, later(seconds=7))
        await take_answer(connection, again, "refused", "wrong password", later(seconds=8))
        assert await rows(connection, COMMANDS) == [("trip", "verifying")]
        assert await supply_of(connection) == "trip_commanded"
        # It came: whoever pays is restored.
        await pay(connection, "A1", 500)
        assert await rows(connection, COMMANDS) == [
            ("trip", "superseded"),
            ("allow_close", "persisted"),
        ]

    on(database_url, story)


def test_a_trip_whose_frame_never_left_has_failed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        command = await sent(connection)
        await abandon_trip(connection, command, "clock not read", NOW)
        assert await rows(connection, "SELECT state, detail FROM command") == [
            ("failed", "clock not read")
        ]
        assert await supply_of(connection) == "energised"

    on(database_url, story)


def test_no_point_has_two_open_commands(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, authority=SHADOW)

        async def sweeper() -> None:
            async with await connect(database_url) as own:
                await sweep(own, ARMED, NOW)

        await asyncio.gather(*(sweeper() for _ in range(6)))
        assert await rows(connection, COMMANDS) == [("trip", "persisted")]
        (point,) = await control_facts(connection, [1], NOW)
        second = supply.NewCommand(
            id=uuid4(),
            point_id=point.point_id,
            meter_id=point.meter_id,
            address=point.address,
            line=point.line,
            action="close",
            cause="x",
            guard=None,
            created_at=NOW,
            expires_at=later(hours=1),
        )
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_open_command_of_a_point"):
            await supply.add_commands(connection, [second])

    on(database_url, story)


def test_no_more_than_ten_trips_a_minute_leave_the_site_however_many_lines_ask(
    database_url: str,
) -> None:
    count = MAX_TRIPS_PER_MINUTE + 8

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(count)
        for number, meter in enumerate(site.meters):
            meter["line"] = f"line {number}"
        await exhausted(connection, site=site)
        assert len(await rows(connection, COMMANDS)) == count

        async def line(number: int) -> bool:
            async with await connect(database_url) as own:
                return await order(own, NOW, line=f"line {number}") is not None

        released = await asyncio.gather(*map(line, range(count)))
        assert sum(released) == MAX_TRIPS_PER_MINUTE
        states = dict(await rows(connection, "SELECT state, count(*) FROM command GROUP BY 1"))
        assert states == {"sent": MAX_TRIPS_PER_MINUTE, "cancelled": 8}
        details = await rows(
            connection, "SELECT DISTINCT detail FROM command WHERE state = 'cancelled'"
        )
        assert details == ["BREAKER_OPEN"]

    on(database_url, story)


# --- restoring ------------------------------------------------------------------------------------


def test_a_payment_before_the_trip_is_sent_cancels_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        done = await pay(connection, "A1", 500)
        assert (done.balance_fen, done.commands, done.missing_fen) == (0, (), 0)
        assert await rows(connection, COMMANDS) == [("trip", "cancelled")]
        assert await supply_of(connection) == "energised"
        assert await order(connection, later(hours=1)) is None

    on(database_url, story)


def test_a_payment_that_does_not_suffice_restores_nothing_and_tells_what_is_missing(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, reconnect_fen=200)
        await cut(connection)
        done = await pay(connection, "A1", 600)
        assert (done.balance_fen, done.missing_fen, done.commands) == (100, 100, ())
        assert await supply_of(connection) == "disconnected"
        done = await pay(connection, "A1", 100, "2")
        assert (done.missing_fen, len(done.commands)) == (0, 1)

    on(database_url, story)


async def _acked(connection: AsyncConnection[Any], command: Command) -> None:
    await take_answer(connection, command, "acked", "accepted", NOW)


async def _unknown(connection: AsyncConnection[Any], command: Command) -> None:
    await take_answer(connection, command, "unknown", "silence", NOW)


async def _delayed(connection: AsyncConnection[Any], command: Command) -> None:
    await _acked(connection, command)
    taken = await due(connection, later(seconds=6))
    await take_observation(connection, taken.command, DELAYED, later(seconds=6))


async def _to_be_sent_again(connection: AsyncConnection[Any], command: Command) -> None:
    await _unknown(connection, command)
    taken = await due(connection, later(seconds=6))
    await take_observation(connection, taken.command, CLOSED, later(seconds=6))


async def _restarted(connection: AsyncConnection[Any], command: Command) -> None:
    await resume(connection, NOW)


async def _only_sent(connection: AsyncConnection[Any], command: Command) -> None:
    pass


@pytest.mark.parametrize(
    "happened", [_only_sent, _acked, _unknown, _delayed, _to_be_sent_again, _restarted]
)
def test_a_payment_after_the_trip_was_sent_is_followed_by_a_reconnect(
    database_url: str, happened: Callable[[AsyncConnection[Any], Command], Awaitable[None]]
) -> None:
    """Whatever became of the trip: the meter gets a reconnect after it, and the trip is never sent
    again (I4)."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        trip = await sent(connection)
        await happened(connection, trip)
        done = await pay(connection, "A1", 500)
        assert len(done.commands) == 1
        assert await rows(connection, COMMANDS) == [
            ("trip", "superseded"),
            ("allow_close", "persisted"),
        ]
        assert await supply_of(connection) == "reconnect_commanded"
        for answer in ("acked", "refused", "unknown"):  # the trip's answer comes late
            await take_answer(connection, trip, answer, "late", later(seconds=7))
        await take_observation(connection, trip, OPENED, later(seconds=7))
        assert await rows(connection, COMMANDS) == [
            ("trip", "superseded"),
            ("allow_close", "persisted"),
        ]
        assert await rows(connection, "SELECT relay_observed FROM point_supply") == ["open"]
        reconnect = await sent(connection, later(seconds=8))
        assert (reconnect.action, reconnect.sequence > trip.sequence) == ("allow_close", True)

    on(database_url, story)


def test_restoring_ends_when_the_relay_is_closed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, reconnect="close")
        await cut(connection)
        await pay(connection, "A1", 500)
        command = await sent(connection)
        assert command.action == "close"
        await take_answer(connection, command, "acked", "accepted", NOW)
        taken = await due(connection, later(seconds=5))
        await take_observation(connection, taken.command, CLOSED, later(seconds=5))
        assert await rows(connection, COMMANDS) == [("trip", "verified"), ("close", "verified")]
        assert await supply_of(connection) == "energised"
        assert await rows(connection, "SELECT relay_observed FROM point_supply") == ["closed"]

    on(database_url, story)


def test_a_meter_that_is_ready_waits_for_its_customer(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 500)
        await sent(connection)
        taken = await due(connection, later(seconds=5))
        await take_observation(connection, taken.command, READY, later(seconds=5))
        assert await supply_of(connection) == "wait_customer_button"
        assert await rows(
            connection, "SELECT state, sends FROM command WHERE action <> 'trip'"
        ) == [("verifying", 1)]
        taken = await due(connection, later(minutes=5))
        assert taken.kind == "verify"
        await take_observation(connection, taken.command, CLOSED, later(minutes=5))
        assert await supply_of(connection) == "energised"

    on(database_url, story)


def test_a_reconnect_is_sent_until_it_worked_even_after_its_expiry(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 500)
        at = later(days=3)
        for sends in range(1, 5):
            command = await sent(connection, at)
            assert command.action == "allow_close"
            assert command.expires_at > at  # what the line lays into the frame
            await take_answer(connection, command, "unknown", "silence", at)
            taken = await due(connection, at + timedelta(seconds=5))
            await take_observation(connection, taken.command, OPENED, at + timedelta(seconds=5))
            (row,) = await rows(
                connection, "SELECT sends, expires_at FROM command WHERE action <> 'trip'"
            )
            assert row[0] == sends
            assert row[1] > at
            at += timedelta(days=2)

    on(database_url, story)


def test_a_lower_balance_after_the_restore_is_cut_again_in_a_new_episode(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await exhausted(connection, opened_on=LATELY)
        (first,) = await rows(
            connection, "SELECT started_at FROM arrears_episode WHERE ended_at IS NULL"
        )
        assert first == NOW
        await pay(connection, "A1", 500)
        assert await rows(connection, CREDIT) == [("low", None)]
        await store(connection, freeze(found["P1"], LATELY + 2 * DAY, 120), now=later(minutes=9))
        assert await rows(connection, CREDIT) == [("exhausted", later(minutes=9))]
        assert await rows(connection, COMMANDS) == [("trip", "cancelled"), ("trip", "persisted")]

    on(database_url, story)


def test_a_correction_that_brings_the_balance_back_restores_without_a_payment(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(reconnect="close", opened_on=LATELY - DAY)
        site.tariffs.append(("T", LATELY + DAY, Decimal("5.00")))
        found = await site.take_over(connection)
        await pay(connection, "A1", 2000)
        await store(
            connection, freeze(found["P1"], LATELY, 100), freeze(found["P1"], LATELY - DAY, 100)
        )
        await store(
            connection, freeze(found["P1"], LATELY + 2 * DAY, 110)
        )  # half of it at the high price: too much
        assert await balance(connection, "A1") == -750
        await cut(connection)
        await store(connection, freeze(found["P1"], LATELY + DAY, 110))  # all of it was used before
        assert await balance(connection, "A1") == 1500
        assert await rows(connection, COMMANDS) == [("trip", "verified"), ("close", "persisted")]
        assert await intact(connection)

    on(database_url, story)


def test_restoring_goes_before_cutting(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2)
        first = await sent(connection)
        account = {"P1": "A1", "P2": "A2"}[first.point]
        await pay(connection, account, 500)
        assert (await sent(connection)).action == "allow_close"
        assert (await sent(connection)).action == "trip"
        assert await order(connection) is None

    on(database_url, story)


def test_all_points_of_an_account_are_restored_together(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2, opened_on=LATELY)
        site.points[1]["account"] = "A1"
        await exhausted(connection, site=site, opened_on=LATELY)
        first, second = await sent(connection), await sent(connection)
        assert {first.point, second.point} == {"P1", "P2"}
        done = await pay(connection, "A1", 1000)
        assert len(done.commands) == 2
        assert {await supply_of(connection, point) for point in ("P1", "P2")} == {
            "reconnect_commanded"
        }

    on(database_url, story)


# --- restart and sweep ----------------------------------------------------------------------------


def test_a_trip_whose_line_is_down_expires_all_the_same(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await sweep(connection, SHADOW, later(minutes=9, seconds=59))
        assert await rows(connection, COMMANDS) == [("trip", "persisted")]
        await sweep(connection, SHADOW, later(minutes=10))
        assert await rows(connection, COMMANDS) == [("trip", "expired")]
        assert await supply_of(connection) == "energised"

    on(database_url, story)


@pytest.mark.parametrize(("age_s", "state"), [(59, "persisted"), (61, "expired")])
def test_a_trip_that_waited_over_a_restart_is_not_sent_late(
    database_url: str, age_s: int, state: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await resume(connection, later(seconds=age_s))
        assert await rows(connection, COMMANDS) == [("trip", state)]
        assert await supply_of(connection) == (
            "trip_commanded" if state == "persisted" else "energised"
        )

    on(database_url, story)


def test_a_trip_that_was_to_be_sent_again_is_looked_at_before(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await _to_be_sent_again(connection, await sent(connection))
        assert await rows(connection, COMMANDS) == [("trip", "persisted")]
        await resume(connection, later(seconds=90))
        taken = await due(connection, later(seconds=90))
        assert taken.kind == "verify"
        assert await rows(connection, COMMANDS) == [("trip", "verifying")]

    on(database_url, story)


@pytest.mark.parametrize("happened", [_only_sent, _acked, _unknown])
def test_what_may_be_on_its_way_is_looked_at_first_after_a_restart(
    database_url: str, happened: Callable[[AsyncConnection[Any], Command], Awaitable[None]]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await happened(connection, await sent(connection))
        await resume(connection, later(minutes=30))
        taken = await due(connection, later(minutes=30))
        assert (taken.kind, taken.command.state) == ("verify", "verifying")
        await take_observation(connection, taken.command, OPENED, later(minutes=30))
        assert await supply_of(connection) == "disconnected"

    on(database_url, story)


def test_a_reconnect_survives_a_restart(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 500)
        await resume(connection, later(days=2))
        assert (await sent(connection, later(days=2))).action == "allow_close"

    on(database_url, story)


async def after_a_step(connection: AsyncConnection[Any], now: datetime) -> None:
    await supply.due_at_once(connection, now)


@pytest.mark.parametrize("replan", [after_a_step, resume])
def test_a_reconnect_is_due_at_once_when_the_clock_that_put_it_off_was_ahead(
    database_url: str, replan: Callable[[AsyncConnection[Any], datetime], Awaitable[None]]
) -> None:
    """A11: it was put off by a clock that is an hour ahead of the one that is right."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await cut(connection)
        await pay(connection, "A1", 500)
        ahead = later(hours=1)
        await connection.execute("UPDATE command SET next_at = %s WHERE action <> 'trip'", [ahead])
        assert await order(connection, later(minutes=1)) is None
        await replan(connection, later(minutes=1))
        assert (await sent(connection, later(minutes=1))).action == "allow_close"

    on(database_url, story)


@pytest.mark.parametrize("off", [timedelta(minutes=-2), timedelta(minutes=2)])
def test_the_trips_of_the_last_minute_are_counted_by_the_clock_that_stamped_them(
    database_url: str, off: timedelta
) -> None:
    """A11: however far the host's clock is from the database's."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await sent(connection)
        (point,) = await control_facts(connection, [1], datetime.now(UTC) + off)
        assert point.trips_last_minute == 1

    on(database_url, story)


def test_a_restart_twice_changes_nothing_more(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2)
        await sent(connection)
        await resume(connection, later(minutes=5))
        before = await everything(connection)
        await resume(connection, later(minutes=5))
        assert await everything(connection) == before

    on(database_url, story)


def test_of_many_that_owe_the_sweep_asks_about_some_and_the_next_about_others(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 3, authority=SHADOW)
        last, seen = 0, []
        for _ in range(3):
            last = await sweep(connection, ARMED, NOW, last, most=2)
            seen.append((last, await rows(connection, "SELECT point_id FROM command ORDER BY 1")))
        # Who has a trip is not asked about again, so there is none behind the second one.
        assert seen == [(2, [1, 2]), (0, [1, 2, 3]), (0, [1, 2, 3])]

    on(database_url, story)


def test_the_sweep_finds_whom_no_event_will_tell_of(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, authority=SHADOW)  # then the site is armed
        await sweep(connection, ARMED, NOW)
        assert await rows(connection, COMMANDS) == [("trip", "persisted")]
        await cut(connection)
        await connection.execute(
            "UPDATE account SET reconnect_fen = -500, trip_fen = -500"
        )  # by a new configuration
        await sweep(connection, ARMED, NOW)
        assert await rows(connection, COMMANDS) == [
            ("trip", "verified"),
            ("allow_close", "persisted"),
        ]

    on(database_url, story)


def test_the_line_of_a_new_command_is_notified_when_it_is_committed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with await connect(database_url) as listener:
            await listener.execute("LISTEN meterd_command")
            await exhausted(connection, line="bus-7")
            async for notice in listener.notifies(timeout=10, stop_after=1):
                assert notice.payload == "bus-7"
                break
            else:
                pytest.fail("nobody was told")

    on(database_url, story)


def test_observations_and_payments_of_one_account_at_once_never_wait_for_each_other(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await sent(connection)

        async def looker() -> None:
            async with await connect(database_url) as own:
                for n in range(30):
                    taken = await order(own, later(hours=1 + n))
                    if taken is not None:
                        word = (OPENED, CLOSED, DELAYED, None)[n % 4]
                        await take_observation(own, taken.command, word, later(hours=1 + n))

        async def payer() -> None:
            async with await connect(database_url) as own:
                for n in range(30):
                    await pay(own, "A1", 20, str(n), later(hours=1 + n))

        await asyncio.gather(looker(), payer(), looker())
        assert await balance(connection, "A1") == 100
        assert await intact(connection)
        assert (await ledger.balances(connection, [1])) == {1: 100}

    on(database_url, story)
