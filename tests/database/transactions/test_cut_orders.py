"""Two persons order that a supply is off, for another reason than money; one ends that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.audit.second_guard import second_opinion
from daemon.control.guard import Cause, Policy
from daemon.transactions.control_facts import control_facts
from daemon.transactions.cut_orders import OrderRefused, agree_to_order, ask_for_order, end_order
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import is_still_released, take_step
from daemon.transactions.restore_by_hand import restore_by_hand
from daemon.transactions.supply_cases import supply_alarms
from daemon.transactions.supply_marks import Marked, set_mark
from daemon.transactions.sweep import open_restore_jobs, sweep
from storage.documents import Said
from storage.field_jobs import close_job
from tests.database.small_site import ARMED, Site, connect, on, pay, rows
from tests.database.transactions.test_supply import OPENED, exhausted, sent, supply_of

SAID = Said("li", "the cable is wet", "photo 3")
STRICT = replace(
    ARMED,
    policy=Policy(
        window_start=time(0),
        window_end=time(0, 0, 1),
        max_clocks_apart=ARMED.policy.max_clocks_apart,
    ),
)
"""Nobody is cut for money."""
WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
COMMANDS = "SELECT action, state, cause FROM command ORDER BY sequence"
OLD_ORDER = (
    "INSERT INTO cut_order (point_id, cause, actor, reason, asked_at) "
    "VALUES (1, 'safety', 'li', 'wet', now() - interval '241 minutes') RETURNING id"
)
AGREED_LONG_AGO = (
    "INSERT INTO cut_order (point_id, cause, actor, reason, asked_at, second, agreed_at) "
    "VALUES (1, 'safety', 'li', 'wet', now() - interval '5 hours', 'wang', now() - interval '{}')"
)
ORDERED = ("trip", "persisted", "safety: ordered by li, agreed by wang")


def soon(minutes: int = 5) -> datetime:
    """Later than the database's clock, by which orders and commands are dated."""
    return datetime.now(UTC) + timedelta(minutes=minutes)


async def paid(connection: AsyncConnection[Any]) -> None:
    await Site.of(1).take_over(connection)
    await pay(connection, "A1", 50)
    await connection.execute(
        "UPDATE point_supply SET relay_observed = 'closed', relay_observed_at = now()"
    )


async def ordered(connection: AsyncConnection[Any], cause: Cause = "safety") -> int:
    number = await ask_for_order(connection, "P1", cause, SAID)
    await agree_to_order(connection, STRICT, number, "wang")
    return number


async def is_cut(connection: AsyncConnection[Any]) -> None:
    step = await take_step(connection, STRICT, "line", soon())
    assert step is not None
    assert step.kind == "send"
    assert await is_still_released(connection, step.command)
    await take_answer(connection, step.command, "acked", "accepted", soon())
    looked = await take_step(connection, STRICT, "line", soon(6))
    assert looked is not None
    await take_observation(connection, looked.command, OPENED, soon(6))
    assert await supply_of(connection) == "disconnected"


def test_an_order_of_two_persons_cuts_who_has_paid_outside_of_every_window(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await ask_for_order(connection, "P1", "safety", SAID)
        await sweep(connection, STRICT, soon())
        assert await rows(connection, COMMANDS) == []
        with pytest.raises(OrderRefused, match="another person"):
            await agree_to_order(connection, STRICT, number, " LI ")
        (trip,) = await agree_to_order(connection, STRICT, number, "wang")
        assert trip.is_allowed
        assert await rows(connection, COMMANDS) == [ORDERED]
        # An account in credit that is being cut does not heal by itself.
        await sweep(connection, STRICT, soon())
        assert await rows(connection, COMMANDS) == [ORDERED]
        await is_cut(connection)
        (document,) = await rows(connection, "SELECT guard FROM command")
        assert document["facts"]["cause"] == "safety"
        assert second_opinion(document).decision == "allow"

    on(database_url, story)


def test_paying_does_not_bring_back_what_is_ordered_off_and_the_end_of_the_order_does(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, authority=STRICT)
        number = await ordered(connection)
        await is_cut(connection)
        paid = await pay(connection, "A1", 1000)
        assert paid.missing_fen == 0
        await set_mark(connection, "protected", Marked(point="P1"), SAID)
        await sweep(connection, STRICT, soon(7))
        restored = await restore_by_hand(connection, Marked(point="P1"), SAID, soon(7))
        assert restored.points == 0
        assert await supply_of(connection) == "disconnected"
        await end_order(connection, number, Said("zhao", "it is dry"))
        assert await supply_of(connection) == "reconnect_commanded"
        (_, reconnect) = await rows(connection, COMMANDS)
        assert reconnect[2] == f"order {number} ended by zhao: it is dry"

    on(database_url, story)


def test_who_owes_is_lit_when_the_order_ends_unless_money_had_cut_him_before(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2, authority=STRICT)
        number = await ordered(connection)
        await is_cut(connection)
        await end_order(connection, number, SAID)
        assert await supply_of(connection) == "reconnect_commanded"
        await connection.execute(
            "UPDATE point_supply SET supply_state = 'disconnected' WHERE point_id = 2"
        )
        second = await ask_for_order(connection, "P2", "theft", SAID)
        assert await agree_to_order(connection, STRICT, second, "wang") == []
        await end_order(connection, second, SAID)
        assert await supply_of(connection, "P2") == "disconnected"

    on(database_url, story)


@pytest.mark.parametrize(
    ("mark", "causes"),
    [("life_support", ()), ("hold", ()), ("keep_power", ()), ("weather", ("safety",))],
)
def test_what_protects_persons_stops_an_order_and_weather_all_but_one_for_safety(
    database_url: str, mark: str, causes: tuple[Cause, ...]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await set_mark(connection, mark, Marked(point="P1"), SAID)
        everyday = replace(ARMED, policy=replace(ARMED.policy, approvals_required=2))
        for cause in ("theft", "customer_request", "safety"):
            number = await ask_for_order(connection, "P1", cause, SAID)
            (trip,) = await agree_to_order(connection, everyday, number, "wang")
            assert trip.is_allowed is (cause in causes)
            if trip.is_allowed:
                step = await take_step(connection, everyday, "line", soon())
                assert step is not None
                assert await is_still_released(connection, step.command)
            await end_order(connection, number, SAID)

    on(database_url, story)


def test_an_order_whose_frame_cannot_leave_is_tried_again_for_four_hours(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await connection.execute("UPDATE point_supply SET keep_power_observed = true")
        number = await ask_for_order(connection, "P1", "safety", SAID)
        (trip,) = await agree_to_order(connection, STRICT, number, "wang")
        assert trip.verdict.reasons == ("DEVICE_KEEP_POWER",)
        await connection.execute("UPDATE point_supply SET keep_power_observed = false")
        await sweep(connection, STRICT, soon(300))
        assert await rows(connection, COMMANDS) == []
        await sweep(connection, STRICT, soon())
        assert await rows(connection, COMMANDS) == [ORDERED]

    on(database_url, story)


def test_the_order_of_a_point_that_has_no_account_any_more_is_ended_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await ordered(connection)
        await connection.execute("UPDATE point_account SET to_day = current_date")
        await end_order(connection, number, SAID)
        assert await rows(connection, "SELECT ended_by FROM cut_order") == ["li"]
        with pytest.raises(OrderRefused, match="has ended"):
            await end_order(connection, number, SAID)

    on(database_url, story)


def test_where_an_order_was_not_carried_out_in_four_hours_somebody_has_to_go_once(
    database_url: str,
) -> None:
    jobs = "SELECT kind, point_id, cause, closed_at IS NULL FROM field_job"

    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await connection.execute("UPDATE point_supply SET keep_power_observed = true")
        await connection.execute(AGREED_LONG_AGO.format("239 minutes"))
        await sweep(connection, STRICT, soon())
        assert await rows(connection, jobs) == []
        await end_order(connection, 1, SAID)
        await connection.execute(AGREED_LONG_AGO.format("4 hours"))
        await sweep(connection, STRICT, soon())
        assert await rows(connection, jobs) == [
            ("trip", 1, "order 2 (safety) is not carried out: wet", True)
        ]
        await close_job(connection, 1, "pulled the fuse", "zhao")
        await sweep(connection, STRICT, soon())
        assert len(await rows(connection, jobs)) == 1

    on(database_url, story)


def test_an_order_that_ends_while_its_trip_waits_cuts_nobody(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await ordered(connection)
        released = await take_step(connection, STRICT, "line", soon())
        assert released is not None
        await end_order(connection, number, SAID)
        assert not await is_still_released(connection, released.command)
        with pytest.raises(OrderRefused, match="has ended"):
            await end_order(connection, number, SAID)

    on(database_url, story)


def test_a_reconnect_does_not_leave_while_its_point_is_ordered_off(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await take_answer(connection, await sent(connection), "acked", "accepted", soon(0))
        await pay(connection, "A1", 1000)
        reconnect = await sent(connection)
        assert reconnect.action != "trip"
        await ordered(connection)
        assert not await is_still_released(connection, reconnect)
        (point,) = await control_facts(connection, [1], soon())
        assert point.ordered == "safety"

    on(database_url, story)


async def is_waiting(watching: AsyncConnection[Any], task: asyncio.Task[Any]) -> None:
    """The task waits for a lock."""
    async with asyncio.timeout(20):
        while await rows(watching, WAITING) == [0]:
            assert not task.done()


@pytest.mark.parametrize("first", ["agrees", "ends it"])
def test_who_agrees_while_another_does_or_ends_it_is_told_so(database_url: str, first: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await ask_for_order(connection, "P1", "safety", SAID)
        async with await connect(database_url) as own, await connect(database_url) as other:
            async with other.transaction():
                if first == "agrees":
                    await agree_to_order(other, STRICT, number, "zhao")
                else:
                    await end_order(other, number, SAID)
                agreeing = asyncio.create_task(agree_to_order(own, STRICT, number, "wang"))
                await is_waiting(connection, agreeing)
            with pytest.raises(OrderRefused, match=r"in force already|has ended"):
                await agreeing

    on(database_url, story)


def test_who_is_ordered_off_while_others_are_restored_stays_so(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        assert await supply_of(connection) == "trip_commanded"
        number = await ask_for_order(connection, "P1", "safety", SAID)
        async with await connect(database_url) as own, await connect(database_url) as other:
            async with other.transaction():
                await agree_to_order(other, STRICT, number, "wang")
                restoring = asyncio.create_task(
                    restore_by_hand(own, Marked(account="A1"), SAID, soon())
                )
                await is_waiting(connection, restoring)
            await restoring
        assert await supply_of(connection) == "trip_commanded"

    on(database_url, story)


def test_nobody_is_sent_to_restore_what_is_ordered_off(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await take_answer(connection, await sent(connection), "acked", "accepted", soon(0))
        await pay(connection, "A1", 1000)
        await connection.execute(
            "UPDATE command SET created_at = now() - interval '1 hour' WHERE action <> 'trip'"
        )
        number = await ordered(connection)
        await open_restore_jobs(connection)
        assert await rows(connection, "SELECT 1 FROM field_job") == []
        await end_order(connection, number, SAID)
        await open_restore_jobs(connection)
        assert await rows(connection, "SELECT kind FROM field_job") == ["restore"]

    on(database_url, story)


def test_what_is_ordered_off_and_on_all_the_same_is_an_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await connection.execute("UPDATE point_supply SET keep_power_observed = true")
        await ask_for_order(connection, "P1", "theft", SAID)
        assert await alarmed(connection) == {}
        number = await ordered(connection)
        assert await supply_alarms(connection, ["line"], soon(0), shadow_mode=False) == {}
        assert await alarmed(connection) == {
            "order_not_done": f"point P1, line line, safety order {number}"
        }
        await connection.execute("UPDATE point_supply SET supply_state = 'wait_customer_button'")
        assert list(await alarmed(connection)) == ["order_not_done"]
        await connection.execute(
            "UPDATE point_supply SET supply_state = 'disconnected', relay_observed = 'open'"
        )
        assert await alarmed(connection) == {}
        await connection.execute("UPDATE point_supply SET supply_state = 'energised'")
        assert await alarmed(connection) == {}
        await connection.execute("UPDATE point_supply SET relay_observed = 'closed'")
        assert list(await alarmed(connection)) == ["order_not_done"]
        await end_order(connection, number, SAID)
        assert await alarmed(connection) == {}

    on(database_url, story)


async def alarmed(connection: AsyncConnection[Any]) -> dict[str, str]:
    """Twenty minutes later."""
    found = await supply_alarms(connection, ["line"], soon(20), shadow_mode=False)
    return {kind: it.first for kind, it in found.items()}


def test_an_order_is_asked_for_anew_after_four_hours_and_replaced_while_it_waits(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        first = await ask_for_order(connection, "P1", "theft", SAID)
        number = await ask_for_order(connection, "P1", "safety", SAID)
        with pytest.raises(OrderRefused, match="has ended"):
            await agree_to_order(connection, STRICT, first, "wang")
        await end_order(connection, number, SAID)
        (number,) = await rows(connection, OLD_ORDER)
        with pytest.raises(OrderRefused, match="older than four hours"):
            await agree_to_order(connection, STRICT, number, "wang")
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(
                "UPDATE cut_order SET second = 'wang', agreed_at = now() WHERE id = %s", (number,)
            )
        with pytest.raises(OrderRefused, match="no point P9"):
            await ask_for_order(connection, "P9", "theft", SAID)
        with pytest.raises(OrderRefused, match="no order 77"):
            await end_order(connection, 77, SAID)

    on(database_url, story)
