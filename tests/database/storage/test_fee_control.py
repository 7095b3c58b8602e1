"""What was done to a customer is his record, and nobody else's (R40)."""

import re
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.cli.record_words import CHINESE
from storage.fee_control import record, trips
from tests.database.small_site import DAY, NOW, OPEN, TODAY, ZONE, Site, on, pay, rows

pytestmark = pytest.mark.hypertables
GIVEN = OPEN + 20 * DAY
SAID_OF = ["command", "field_job", "supply_mark", "notice", "cut_order", "guard_verdict"]
SAID_IN = ("state", "kind", "cause", "decision", "action")
WORDS = (
    "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'"
    " AND conrelid = ANY(%s::regclass[]) AND pg_get_constraintdef(oid) ~ %s"
)
COMMAND = (
    "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, guard,"
    " created_at, expires_at, next_at) SELECT %s::uuid, p.id, m.id, '1', 'line', 'trip', 'arrears',"
    " 'persisted', '{}', %s, %s, %s FROM point p, meter m WHERE p.number = %s AND m.address = %s"
)
FIRST, SECOND = "aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaab-0000-0000-0000-000000000002"


def at(day: Any, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour), ZONE)


async def a_site(connection: AsyncConnection[Any]) -> None:
    """P1 was A1's to a day, and is A2's since; both were told of a cut of it."""
    await Site.of(2).take_over(connection)
    await connection.execute(
        "UPDATE point_account x SET to_day = %s FROM point p WHERE p.id = point_id AND number = 'P1'",
        (GIVEN,),
    )
    await connection.execute(
        "INSERT INTO point_account (point_id, account_id, from_day) "
        "SELECT p.id, a.id, %s FROM point p, account a WHERE p.number = 'P1' AND a.number = 'A2'",
        (GIVEN,),
    )
    await connection.execute(
        "INSERT INTO guard_verdict (point_id, at, decision, reasons, facts) "
        "SELECT p.id, v.at, 'deny', ARRAY[v.reason], '{}' FROM point p, "
        "(VALUES (%s::timestamptz, 'HOLD'), (%s, 'DISPUTE')) v (at, reason) WHERE p.number = 'P1'",
        (at(GIVEN - DAY), at(GIVEN, 0)),
    )


async def events(connection: AsyncConnection[Any], account: str, **when: Any) -> list[Any]:
    return [
        (it.event, it.point, it.actor, it.facts)
        for it in await record(connection, account, ZONE, **when)
    ]


def test_what_happened_to_a_point_is_of_who_had_it_then(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        denied = {"decision": "deny"}
        assert await events(connection, "A1") == [
            ("guard", "P1", None, denied | {"reasons": ["HOLD"]})
        ]
        assert await events(connection, "A2") == [
            ("guard", "P1", None, denied | {"reasons": ["DISPUTE"]})
        ]

    on(database_url, story)


def test_marks_of_all_that_a_point_is_part_of_are_told_while_it_is_the_customers(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        before = at(GIVEN - 5 * DAY)
        marks = [
            ("hold", None, None, None, None, before, before + timedelta(hours=1)),
            ("hold", "elsewhere", None, None, None, before, None),
            ("weather", None, "line", None, None, before, None),
            ("dispute", None, None, "A1", None, before, None),
            ("keep_power", None, None, None, "P1", before, None),
            ("keep_power", None, None, None, "P2", before, None),
            ("dispute", None, None, None, "P1", before, before + timedelta(hours=1)),
        ]
        for kind, area, line, account, point, since, until in marks:
            await connection.execute(
                "INSERT INTO supply_mark (kind, area, line, account_id, point_id, from_at, to_at,"
                " actor, reason) SELECT %s, %s, %s, (SELECT id FROM account WHERE number = %s),"
                " (SELECT id FROM point WHERE number = %s), %s, %s, 'li', 'so'",
                (kind, area, line, account, point, since, until),
            )
        until = at(GIVEN - 2 * DAY)
        found = [
            (it.facts["kind"], it.point, it.actor)
            for it in await record(connection, "A1", ZONE, until=until)
        ]
        assert sorted(found, key=str) == [
            ("dispute", "P1", "li"),
            ("dispute", None, "li"),
            ("hold", None, "li"),
            ("keep_power", "P1", "li"),
            ("weather", None, "li"),
        ]
        # A2 had P2 all the time; why marks of P1 were set before it came is A1's matter.
        told = await record(connection, "A2", ZONE)
        assert sorted(it.facts["kind"] for it in told if it.event == "mark set") == [
            *("hold", "keep_power", "weather")
        ]

    on(database_url, story)


def test_what_becomes_of_marks_orders_and_jobs_behind_a_hand_over_is_of_the_next(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        before, after = at(GIVEN - DAY), at(GIVEN + DAY)
        await connection.execute(
            "INSERT INTO supply_mark (kind, point_id, from_at, actor, reason, lift_actor, lift_reason,"
            " lift_asked_at, lifted_at) SELECT 'dispute', id, %s, 'li', 'a', 'wu', 'b', %s, %s"
            " FROM point WHERE number = 'P1'",
            (before, after, after),
        )
        await connection.execute(
            "INSERT INTO cut_order (point_id, cause, actor, reason, asked_at, ended_at, ended_by,"
            " ended_why) SELECT id, 'safety', 'li', 'a', %s, %s, 'wu', 'b'"
            " FROM point WHERE number = 'P1'",
            (before, after),
        )
        await connection.execute(
            "INSERT INTO field_job (kind, point_id, cause, opened_at, due_at, closed_at, closed_by,"
            " result) SELECT 'restore', id, 'a', %s, %s, %s, 'wu', 'b'"
            " FROM point WHERE number = 'P1'",
            (before, before, after),
        )
        told = {
            account: [it.event for it in await record(connection, account, ZONE)]
            for account in ("A1", "A2")
        }
        assert sorted(told["A1"]) == ["guard", "job opened", "mark set", "order asked for"]
        assert sorted(told["A2"]) == ["guard", "job closed", "mark lifted", "order ended"]

    on(database_url, story)


def test_payments_and_episodes_are_told_within_the_days_asked_for(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        await pay(connection, "A1", 500)
        ((event, _, actor, facts),) = await events(connection, "A1", since=at(TODAY - DAY))
        assert (event, actor, facts["fen"], facts["channel"]) == (
            "paid",
            "role:channel",
            500,
            "counter",
        )
        assert await events(connection, "A1", until=at(OPEN)) == []

    on(database_url, story)


def test_a_cut_is_found_by_what_its_id_begins_with(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        for id_, day in ((FIRST, GIVEN - DAY), (SECOND, GIVEN)):
            moment = at(day)
            address = f"{1:012d}"
            await connection.execute(
                "UPDATE command SET state = 'failed' WHERE state = 'persisted'"
            )
            await connection.execute(COMMAND, (id_, moment, NOW, NOW, "P1", address))
        assert len(await trips(connection, "aaaa", ZONE)) == 2
        (first,) = await trips(connection, "aaaaaaaa", ZONE)
        assert (str(first.id), first.point, first.account, first.sent_at) == (
            *(FIRST, "P1", "A1"),
            None,
        )
        (second,) = await trips(connection, SECOND, ZONE)
        assert second.account == "A2"
        assert await trips(connection, "%", ZONE) == []

    on(database_url, story)


def test_a_cut_that_money_has_nothing_to_do_with_is_not_told_from_debts_of_years_ago(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await a_site(connection)
        await connection.execute(
            "INSERT INTO arrears_episode (account_id, started_at, ended_at) SELECT id, %s, %s"
            " FROM account WHERE number = 'A1'",
            (at(OPEN), at(OPEN + DAY)),
        )
        address = f"{1:012d}"
        await connection.execute(COMMAND, (FIRST, at(OPEN + 9 * DAY), NOW, NOW, "P1", address))
        (safety,) = await trips(connection, FIRST, ZONE)
        assert (safety.account, safety.since) == ("A1", None)
        await connection.execute("UPDATE arrears_episode SET ended_at = %s", (at(OPEN + 10 * DAY),))
        (cut,) = await trips(connection, FIRST, ZONE)
        assert cut.since == at(OPEN)

    on(database_url, story)


def test_every_word_that_the_database_may_keep_of_it_is_told_in_chinese(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        pattern = rf"^CHECK \(\(\(?({'|'.join(SAID_IN)})\M.* = ANY"
        told = await rows(connection, WORDS, SAID_OF, pattern)
        words = {word for it in told for word in re.findall(r"'(\w+)'", it)}
        assert len(words) > 30
        assert words - set(CHINESE) == set()

    on(database_url, story)
