"""Two persons order that a supply is off, for another reason than money; one ends that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from daemon.audit.second_guard import second_opinion
from daemon.control.alarms import alarms_of
from daemon.control.authority import Authority
from daemon.control.facts import ORDERS
from daemon.control.guard import Cause, Policy
from daemon.transactions.control_facts import control_facts
from daemon.transactions.cut_orders import OrderRefused, agree_to_order, ask_for_order, end_order
from daemon.transactions.documents.crossing import Crossing
from daemon.transactions.documents.filing import Document, file_document
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import is_still_released, take_step
from daemon.transactions.restore_by_hand import restore_by_hand
from daemon.transactions.supply_cases import supply_alarms
from daemon.transactions.supply_marks import Marked, agree_to_lift, lift_mark, set_mark
from daemon.transactions.sweep import open_restore_jobs, sweep
from storage import ledger
from storage.cut_orders import orders
from storage.documents import Said
from storage.field_jobs import close_job
from tests.database.small_site import ARMED, DAY, NOW, OPEN, Site, connect, on, pay, rows
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
LEFT = "UPDATE point_account SET to_day = current_date WHERE point_id = 1 AND to_day IS NULL"
TO_ANOTHER_DAY = """
    WITH ended AS (UPDATE point_account SET to_day = from_day WHERE point_id = 1 RETURNING from_day)
    INSERT INTO point_account SELECT 1, 1, from_day - 1 FROM ended
"""
"""An assignment that is corrected: the holding of its account began earlier."""
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
KEPT_OFF = """
    INSERT INTO supply_mark (kind, from_at, to_at, actor, reason{0})
    SELECT 'keep_off', s.began, s.ended, 'li', 'wet'{1} FROM (SELECT now() - %s, now() - %s) s (began, ended)
"""
LIFTED = """
    INSERT INTO supply_mark (kind, from_at, lift_asked_at, lifted_at, lift_actor, lift_reason, actor, reason{0})
    SELECT 'keep_off', s.began, s.ended, s.ended, 'li', 'dry', 'li', 'wet'{1}
    FROM (SELECT now() - %s, now() - %s) s (began, ended)
"""
ORDERED_OFF = """
    INSERT INTO cut_order (point_id, cause, actor, reason, asked_at, second, agreed_at, ended_at, ended_by, ended_why)
    SELECT 1, 'safety', 'li', 'wet', s.began, 'wang', s.began, s.ended, 'li', 'dry'
    FROM (SELECT now() - %s, now() - %s) s (began, ended)
"""
"""What is over, from and to so long ago."""
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


async def ordered(
    connection: AsyncConnection[Any], cause: Cause = "safety", at: Authority = STRICT
) -> int:
    number = await ask_for_order(connection, "P1", cause, SAID)
    await agree_to_order(connection, at, number, "wang")
    return number


async def is_cut(
    connection: AsyncConnection[Any], at: Authority = STRICT, asked_at: datetime | None = None
) -> None:
    """`asked_at`: when the trip was asked for, if not just now."""
    sent_at = soon() if asked_at is None else asked_at + timedelta(minutes=1)
    step = await take_step(connection, at, "line", sent_at)
    assert step is not None
    assert step.kind == "send"
    assert await is_still_released(connection, step.command)
    await take_answer(connection, step.command, "acked", "accepted", sent_at)
    seen_at = sent_at + timedelta(minutes=1)
    looked = await take_step(connection, at, "line", seen_at)
    assert looked is not None
    await take_observation(connection, looked.command, OPENED, seen_at)
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
            if mark == "life_support" and cause != "safety":
                with pytest.raises(OrderRefused, match="depends on supply"):
                    await ask_for_order(connection, "P1", cause, SAID)
                continue
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
            with pytest.raises(OrderRefused, match=r"agreed to already|has ended"):
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
        assert await rows(connection, "SELECT 1 FROM field_job") == []

    on(database_url, story)


def test_what_is_ordered_off_and_on_all_the_same_is_an_alarm(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await connection.execute("UPDATE point_supply SET keep_power_observed = true")
        await ask_for_order(connection, "P1", "theft", SAID)
        assert await alarmed(connection) == {}
        number = await ordered(connection)
        assert await supply_alarms(connection, ["line"], soon(0), shadow_mode=False) == []
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


@pytest.mark.parametrize("cause", ["theft", "customer_request", "safety"])
@pytest.mark.parametrize("kind", ["life_support", "protected"])
def test_who_is_protected_later_comes_back_but_from_what_is_off_for_safety(
    database_url: str, cause: Cause, kind: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await ordered(connection, cause, at=ARMED)
        await is_cut(connection, ARMED)
        mark = await set_mark(connection, kind, Marked(account="A1"), SAID)
        await sweep(connection, ARMED, soon(7))
        lit = cause != "safety"
        assert await supply_of(connection) == ("reconnect_commanded" if lit else "disconnected")
        (told,) = await orders(connection)
        assert (told["is_in_force"], told["ended_at"]) == (not lit, None)
        (point,) = await control_facts(connection, [1], soon(7))
        assert point.ordered == (None if lit else "safety")
        if lit:
            step = await take_step(connection, ARMED, "line", soon(8))
            assert step is not None
            assert step.command.action == "allow_close"
            assert await is_still_released(connection, step.command)
        # In force again when two persons say that nobody is protected; too old to cut anybody by.
        await lift_mark(connection, mark, {kind}, SAID)
        await agree_to_lift(connection, mark, "wang")
        assert [it["is_in_force"] for it in await orders(connection)] == [True]
        await end_order(connection, number, SAID)

    on(database_url, story)


def test_one_place_says_which_orders_are_in_force(database_url: str) -> None:
    """Of every cause, and of every way in which a point can have to be on."""
    ways: tuple[str | Marked, ...] = (
        *("", "protected", "life_support"),
        *(Marked(point="P1"), Marked(account="A1"), Marked(area="own"), Marked(line="line")),
        *(Marked(), Marked(point="P2"), Marked(account="A2"), Marked(area="other")),
    )
    reached = {it for it in ways[3:8] if isinstance(it, Marked)}

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        await site.take_over(connection)
        await connection.execute(
            "UPDATE point SET area = CASE number WHEN 'P1' THEN 'own' ELSE 'other' END"
        )
        for cause, way, kind in product(ORDERS, ways, ("life_support", "protected", "keep_power")):
            async with connection.transaction(force_rollback=True):
                number = await ask_for_order(connection, "P1", cause, SAID)
                await agree_to_order(connection, STRICT, number, "wang")
                if isinstance(way, Marked):
                    await set_mark(connection, kind, way, SAID)
                elif way:
                    await connection.execute(f"UPDATE point SET {way} = true WHERE number = 'P1'")
                has_to_be_on = way in ("protected", "life_support") or (
                    way in reached and kind != "keep_power"
                )
                in_force = cause == "safety" or not has_to_be_on
                first, other = await control_facts(connection, [1, 2], soon())
                assert (first.ordered, other.ordered) == (cause if in_force else None, None)
                assert await rows(connection, "SELECT id FROM order_in_force") == (
                    [number] if in_force else []
                )
                assert await rows(connection, "SELECT point_id FROM kept_off_points()") == (
                    [1] if in_force else []
                )

    on(database_url, story)


@pytest.mark.parametrize("cause", ORDERS)
@pytest.mark.parametrize("agreed", [True, False])
def test_what_is_about_a_customer_ends_when_the_point_is_no_longer_his(
    database_url: str, cause: Cause, agreed: bool
) -> None:
    ended = "SELECT ended_by, ended_why FROM cut_order"

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        number = await ask_for_order(connection, "P1", cause, SAID)
        if agreed:
            await agree_to_order(connection, ARMED, number, "wang")
            await is_cut(connection, ARMED)
        await connection.execute(TO_ANOTHER_DAY)
        assert await rows(connection, ended) == [(None, None)]
        await connection.execute(LEFT)
        why = ("daemon", "the point is no longer of account A1")
        assert await rows(connection, ended) == [(None, None) if cause == "safety" else why]
        await connection.execute("INSERT INTO point_account VALUES (1, 2, current_date)")
        await sweep(connection, ARMED, soon(7))
        lit = "reconnect_commanded" if cause != "safety" else "disconnected"
        assert await supply_of(connection) == (lit if agreed else "energised")

    on(database_url, story)


def test_who_is_given_a_point_that_is_worked_on_gets_it_lit_afterwards(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2)
        await connection.execute("UPDATE command SET state = 'expired' WHERE point_id = 2")
        await is_cut(connection, ARMED, NOW)
        mark = await set_mark(connection, "keep_off", Marked(point="P1"), SAID)
        # He owes, too, and had no notice.
        await file_document(connection, Assignment("P1", "A2", OPEN + DAY), SAID, soon(7))
        assert await supply_of(connection) == "disconnected"
        await lift_mark(connection, mark, {"keep_off"}, SAID)
        await sweep(connection, ARMED, soon(8))
        assert await supply_of(connection) == "reconnect_commanded"

    on(database_url, story)


@pytest.mark.parametrize("cause", ["arrears", "theft", "safety"])
def test_who_is_given_a_dark_point_gets_it_lit_but_where_it_is_off_for_safety(
    database_url: str, cause: Cause
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        if cause == "arrears":
            await exhausted(connection, 2)
            await connection.execute("UPDATE command SET state = 'expired' WHERE point_id = 2")
        else:
            await Site.of(2).take_over(connection)
            await ordered(connection, cause, at=ARMED)
        await is_cut(connection, ARMED, NOW if cause == "arrears" else None)
        # For arrears, who gets it owes, too, and had no notice.
        await file_document(connection, Assignment("P1", "A2", OPEN + DAY), SAID, soon(7))
        lit = cause != "safety"
        assert await supply_of(connection) == ("reconnect_commanded" if lit else "disconnected")

    on(database_url, story)


@pytest.mark.parametrize(
    "document",
    [Assignment("P1", "A2", OPEN + DAY), Release("P1", OPEN + DAY), Crossing("P1", "P2", None)],
    ids=lambda it: it.kind,
)
def test_no_trip_is_released_while_its_point_changes_hands(
    database_url: str, document: Document
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        await connection.execute("SET lock_timeout = '100ms'")
        async with await connect(database_url) as other, other.transaction():
            # As for the release of a trip.
            await ledger.lock_accounts(other, [1])
            with pytest.raises(LockNotAvailable):
                await file_document(connection, document, SAID, NOW)
        await file_document(connection, document, SAID, NOW)

    on(database_url, story)


def test_a_trip_does_not_leave_after_its_order_ended_with_its_customer(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await ordered(connection, "theft", at=ARMED)
        released = await take_step(connection, ARMED, "line", soon())
        assert released is not None
        assert await is_still_released(connection, released.command)
        await connection.execute(LEFT)
        assert not await is_still_released(connection, released.command)

    on(database_url, story)


def test_nobody_goes_to_cut_whom_no_order_in_force_names_any_more(database_url: str) -> None:
    jobs = "SELECT closed_by, result FROM field_job ORDER BY id"

    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await connection.execute(AGREED_LONG_AGO.format("4 hours").replace("safety", "theft"))
        await sweep(connection, STRICT, soon())
        assert await rows(connection, jobs) == [(None, None)]
        mark = await set_mark(connection, "life_support", Marked(point="P1"), SAID)
        await sweep(connection, STRICT, soon())
        closed = ("daemon", "the order is not in force any more")
        assert await rows(connection, jobs) == [closed]
        assert await alarmed(connection) == {}
        await lift_mark(connection, mark, {"life_support"}, SAID)
        await agree_to_lift(connection, mark, "wang")
        await sweep(connection, STRICT, soon())
        assert await rows(connection, jobs) == [closed, (None, None)]

    on(database_url, story)


def test_a_trip_for_arrears_stays_one_when_its_point_is_ordered_off(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        arrears = await sent(connection)
        await take_answer(connection, arrears, "unknown", "no answer", soon(0))
        number = await ordered(connection)
        (trip,) = await rows(connection, "SELECT cause FROM command")
        assert "ordered by" not in trip
        await connection.execute("UPDATE command SET state = 'persisted', next_at = now()")
        # Not sent again as the order's: the relay tells what became of it.
        assert await take_step(connection, ARMED, "line", soon(0)) is None
        step = await take_step(connection, ARMED, "line", soon(1))
        assert step is not None
        assert step.kind == "verify"
        await take_observation(connection, step.command, OPENED, soon(1))
        assert await rows(connection, "SELECT cut_for FROM point_supply") == ["arrears"]
        await end_order(connection, number, SAID)
        assert await supply_of(connection) == "disconnected"

    on(database_url, story)


def test_what_is_kept_off_is_no_reconnect_that_failed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await take_answer(connection, await sent(connection), "acked", "accepted", soon(0))
        await pay(connection, "A1", 1000)
        await connection.execute("UPDATE command SET created_at = now() - interval '1 hour'")

        async def failed(minutes: int) -> int:
            (point,) = await control_facts(connection, [1], soon(minutes))
            return point.failed_restores

        assert await failed(0) == 1
        number = await ordered(connection)
        assert await failed(11) == 0
        await end_order(connection, number, SAID)
        assert [await failed(minutes) for minutes in (9, 11)] == [0, 1]
        await set_mark(connection, "keep_off", Marked(line="line"), SAID)
        assert await failed(11) == 0
        await open_restore_jobs(connection)
        assert await rows(connection, "SELECT 1 FROM field_job") == []

    on(database_url, story)


def test_the_clock_of_a_reconnect_starts_when_nothing_keeps_it_off_any_more(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, site=Site.of(1, area="T-1"))
        await take_answer(connection, await sent(connection), "acked", "accepted", soon(0))
        await pay(connection, "A1", 1000)
        await connection.execute("UPDATE command SET created_at = now() - interval '5 hours'")

        async def late_by_min(over: str, *minutes: int) -> list[int]:
            """What is over kept it off, from and to so many minutes ago."""
            async with connection.transaction(force_rollback=True):
                await connection.execute(over.encode(), [timedelta(minutes=it) for it in minutes])
                await open_restore_jobs(connection)
                (point,) = await control_facts(connection, [1], soon(0))
                # The day that it may take begins at the same moment.
                waited = "SELECT extract(epoch FROM now() - due_at + interval '24 h')::int / 60"
                jobs = await rows(connection, f"{waited} FROM field_job")
                assert len(jobs) == point.failed_restores
                return jobs

        of_all = [KEPT_OFF.format("", ""), LIFTED.format("", ""), ORDERED_OFF]
        parts = {"point_id": "1", "account_id": "1", "area": "'T-1'", "line": "'line'"}
        of_parts = [KEPT_OFF.format(f", {of}", f", {name}") for of, name in parts.items()]
        for over in of_all + of_parts:
            assert await late_by_min(over, 200, 9) == []
            assert await late_by_min(over, 200, 11) == [11]
            # Asked for after that.
            assert await late_by_min(over, 400, 360) == [300]
        # Lifted before it began, of another place, or it kept nobody off.
        assert await late_by_min(LIFTED.format("", ""), -60, 9) == [300]
        assert await late_by_min(KEPT_OFF.format(", area", ", 'T-2'"), 200, 9) == [300]
        of_another_kind = KEPT_OFF.format("", "").replace("keep_off", "hold")
        assert await late_by_min(of_another_kind, 200, 9) == [300]

    on(database_url, story)


async def alarmed(connection: AsyncConnection[Any]) -> dict[str, str]:
    """Twenty minutes later."""
    found = await supply_alarms(connection, ["line"], soon(20), shadow_mode=False)
    return {kind: it.first for kind, it in alarms_of(found, soon(20)).items()}


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
