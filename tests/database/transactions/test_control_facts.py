"""What persons, documents and relays say reaches the guard: each fact by the row that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from daemon.control.guard import Policy
from daemon.control.trips import guard_trip, is_trip_due
from daemon.transactions.control_facts import control_facts
from daemon.transactions.release import is_still_released
from daemon.transactions.sweep import who_may_be_cut
from tests.database.small_site import ARMED, CUT_AT_ANY_TIME, NOW, SHADOW, TODAY, Site, on, rows
from tests.database.transactions.test_supply import exhausted, sent

POLICY = replace(CUT_AT_ANY_TIME, max_moves_per_hour=1, max_failed_restores=0)
GUARDED = replace(
    ARMED, policy=POLICY, profiles={"cn": replace(CUT_AT_ANY_TIME, written_required=True)}
)


async def reasons(
    connection: AsyncConnection[Any], policy: Policy = POLICY, now: datetime = NOW
) -> Mapping[str, set[str]]:
    """What the guard says of each point now."""
    points = await control_facts(connection, await all_accounts(connection), now)
    authority = replace(GUARDED, policy=policy)
    return {it.point: set(guard_trip(it, authority, now).verdict.reasons) for it in points}


async def not_narrower(connection: AsyncConnection[Any], policy: Policy = POLICY) -> list[int]:
    """Whom columns do not save: nobody is missing whom the guard would let be cut, but for an
    approval or because the site only watches."""
    authority = replace(GUARDED, policy=policy)
    found = await who_may_be_cut(connection, authority, NOW, 0, most=10)
    points = await control_facts(connection, await all_accounts(connection), NOW)
    open_to = {
        it.account_id
        for it in points
        if is_trip_due(it)
        and not {*guard_trip(it, authority, NOW).verdict.reasons}
        - {"APPROVAL_MISSING", "SHADOW_MODE"}
    }
    assert open_to <= set(found)
    return found


async def all_accounts(connection: AsyncConnection[Any]) -> list[int]:
    return await rows(connection, "SELECT id FROM account ORDER BY id")


def mark(kind: str, what: str) -> str:
    """A mark that began an hour ago; `what`: of which column and value."""
    column, value = what.split("=") if what else ("area", "NULL")
    return (
        f"INSERT INTO supply_mark (kind, {column}, from_at, actor, reason)"
        f" VALUES ('{kind}', {value}, now() - interval '1 hour', 'li', 'so it is')"
    )


ENDED = (
    "UPDATE supply_mark SET lift_actor = 'li', lift_reason = 'over', lift_asked_at = now(),"
    " lift_second = 'wang', lifted_at = now()"
)
AMNESTY = (
    "INSERT INTO supply_mark (kind, account_id, from_at, actor, reason, kw_per_minute, kw_per_point)"
    " VALUES ('amnesty', 1, now() - interval '1 hour', 'li', 'flood', 40, 4)"
)
BREAKER = (
    "INSERT INTO breaker (scope, name, cause, found, allowed, opened_at)"
    " VALUES ({}, 'trips_in_an_hour', 21, 20, now())"
)
DOCUMENT = (
    "INSERT INTO document (id, kind, point, actor, reason, waits, content)"
    " VALUES (1, {}, 'li', 'wrong', true, {})"
)
COMMAND = (
    "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, sends,"
    " sent_at, created_at, expires_at, next_at) SELECT gen_random_uuid(), 2, 2, 'x', 'line',"
    " 'close', 'paid', {0}, 1, now() - {1}, now() - {1}, now(), now()"
)
OPEN_COMMANDS = (
    "UPDATE point_supply SET supply_state = 'reconnect_commanded' WHERE point_id = 2;"
    + COMMAND.format("'verifying'", "interval '50 minutes'")
)
SAID = {
    "a hold of the site": (mark("hold", ""), {"HOLD"}, {"HOLD"}),
    "a hold of an area": (mark("hold", "area='T1'"), {"HOLD"}, set()),
    "a hold of another area": (mark("hold", "area='T9'"), set(), set()),
    "a hold of a line": (mark("hold", "line='one'"), {"HOLD"}, set()),
    "an amnesty of an account": (AMNESTY, {"HOLD"}, set()),
    "a protected point": (mark("protected", "point_id=1"), {"PROTECTED"}, set()),
    "life support": (mark("life_support", "account_id=1"), {"LIFE_SUPPORT"}, set()),
    "keep power": (mark("keep_power", "point_id=1"), {"LOCKED"}, set()),
    "a dispute": (mark("dispute", "account_id=1"), {"DISPUTE"}, set()),
    "a payment": (mark("payment_in_flight", "account_id=1"), {"PAYMENT_IN_FLIGHT"}, set()),
    "weather": (mark("weather", ""), {"WEATHER"}, {"WEATHER"}),
    "an outage": (mark("planned_outage", "area='T1'"), {"COMM_UNSTABLE"}, set()),
    "a mark that was lifted": (f"{mark('hold', '')}; {ENDED}", set(), set()),
    "a mark of tomorrow": (mark("hold", "").replace("- interval", "+ interval"), set(), set()),
    "a breaker": (BREAKER.format("'site', ''"), {"BREAKER_OPEN"}, {"BREAKER_OPEN"}),
    "a breaker of an area": (BREAKER.format("'area', 'T1'"), {"BREAKER_OPEN"}, set()),
    "a breaker of another area": (BREAKER.format("'area', 'T9'"), set(), set()),
    "a breaker of a line": (BREAKER.format("'line', 'one'"), {"BREAKER_OPEN"}, set()),
    "a breaker of another line": (BREAKER.format("'line', 'T1'"), set(), set()),
    "a breaker of the tariff": (
        BREAKER.format("'tariff', 'T'"),
        {"BREAKER_OPEN"},
        {"BREAKER_OPEN"},
    ),
    "a breaker of another tariff": (BREAKER.format("'tariff', 'T1'"), set(), set()),
    "a cut that is called wrongful": (mark("wrongful_cut", "account_id=1"), {"DISPUTE"}, set()),
    "a document that waits": (DOCUMENT.format("'ratio', 'P1'", "'{}'"), {"CORRECTION_OPEN"}, set()),
    "an entry that waits": (
        DOCUMENT.format("'used_elsewhere', NULL", """'{"account": "A1"}'"""),
        {"CORRECTION_OPEN"},
        set(),
    ),
    "a decision that waits": (
        "INSERT INTO decision (point_id, day, action, maker, reason, rev, takes_effect)"
        " VALUES (1, '2026-03-01', 'release', 'li', 'right', 0, false)",
        {"CORRECTION_OPEN"},
        set(),
    ),
    "a decision that was refused": (
        "INSERT INTO decision (point_id, day, action, maker, reason, rev, takes_effect)"
        " VALUES (1, '2026-03-01', 'release', 'li', 'right', 0, false);"
        "INSERT INTO decision_review (decision_id, actor, verdict) VALUES (1, 'wang', 'refused')",
        set(),
        set(),
    ),
    "unusual use": (
        "INSERT INTO finding (point_id, code, from_day, rev, active)"
        " VALUES (1, 'V14', '2026-03-01', 0, true)",
        {"USE_JUMP"},
        set(),
    ),
    "unusual use that was usual after all": (
        "INSERT INTO finding (point_id, code, from_day, rev, active)"
        " VALUES (1, 'V14', '2026-03-01', 0, true), (1, 'V14', '2026-03-01', 1, false)",
        set(),
        set(),
    ),
    "no relay": (
        "UPDATE installation SET has_relay = false WHERE point_id = 1",
        {"NO_RELAY"},
        set(),
    ),
    "a relay that moved": (
        COMMAND.format("'verified'", "interval '10 minutes'"),
        set(),
        {"RELAY_WEAR"},
    ),
    "a policy of its own": (
        "INSERT INTO account_policy (account_id, rev, profile, actor, reason)"
        " VALUES (1, 0, 'uk', 'li', 'x'), (1, 1, 'cn', 'li', 'asked')",
        {"NOTICE_MISSING"},
        set(),
    ),
    "a reconnect that is overdue": (
        OPEN_COMMANDS,
        {"RESTORE_CAPACITY"},
        {"RESTORE_CAPACITY", "RECONNECT_PENDING", "RELAY_WEAR"},
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_a_row_keeps_those_from_being_cut_of_whom_it_is(database_url: str, what: str) -> None:
    said, of_first, of_second = SAID[what]

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site()
        site.add(1, area="T1", line="one")
        site.add(2, area="T2", line="two")
        await exhausted(connection, site=site, authority=SHADOW)
        assert await reasons(connection) == {"P1": set(), "P2": set()}
        await connection.execute(said.encode())
        assert await reasons(connection) == {"P1": of_first, "P2": of_second}
        await not_narrower(connection)

    on(database_url, story)


NOTICE = (
    "INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen, actor,"
    " sent_at, delivered_at, receipt_actor) SELECT account_id, id, {}, 'paper', 'en', 'pay', 500,"
    " 'li', started_at, started_at, 'li' FROM arrears_episode"
)
REQUEST = (
    "INSERT INTO cut_request (account_id, episode_id, debt_fen, requester, reason, requested_at)"
    " SELECT account_id, id, 500, {}, 'owes', now() FROM arrears_episode"
)
APPROVAL = (
    "INSERT INTO approval (request_id, approver, approved_at, expires_at)"
    " SELECT 1, {}, started_at, started_at + interval '1 hour' FROM arrears_episode"
)
WITHDRAWN = "UPDATE approval SET withdrawn_at = now(), withdrawn_by = 'li'"


def test_notices_and_approvals_of_the_episode_reach_the_guard(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, authority=SHADOW)
        asked = replace(
            POLICY,
            written_required=True,
            written_min=timedelta(0),
            final_required=True,
            final_min=timedelta(0),
            approvals_required=2,
        )
        missing = {"NOTICE_MISSING", "FINAL_NOTICE_MISSING", "APPROVAL_MISSING"}
        assert await reasons(connection, asked) == {"P1": missing}
        assert await not_narrower(connection, asked) == []
        for said, mended in (
            (NOTICE.format("'written'"), {"NOTICE_MISSING"}),
            (NOTICE.format("'final'"), {"FINAL_NOTICE_MISSING"}),
            (REQUEST.format("'zhao'"), set()),
            (APPROVAL.format("'li'"), set()),
            (APPROVAL.format("'wang'"), {"APPROVAL_MISSING"}),
        ):
            await connection.execute(said.encode())
            missing = missing - mended
            assert await reasons(connection, asked) == {"P1": missing}
            is_told = not missing & {"NOTICE_MISSING", "FINAL_NOTICE_MISSING"}
            assert await not_narrower(connection, asked) == ([1] if is_told else [])
        await connection.execute(WITHDRAWN.encode())
        assert await reasons(connection, asked) == {"P1": {"APPROVAL_MISSING"}}
        # What was said of an episode that is over counts for no other.
        await connection.execute("UPDATE arrears_episode SET ended_at = now()")
        await connection.execute(
            "INSERT INTO arrears_episode (account_id, started_at)"
            " SELECT account_id, started_at FROM arrears_episode"
        )
        assert await reasons(connection, asked) == {
            "P1": {"NOTICE_MISSING", "FINAL_NOTICE_MISSING", "APPROVAL_MISSING"}
        }

    on(database_url, story)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", [1, 2]),
        ("UPDATE account SET state = 'closing' WHERE id = 1", [2]),
        ("UPDATE account SET credit_state = 'low' WHERE id = 1", [2]),
        ("UPDATE point SET protected = true WHERE id = 1", [2]),
        ("UPDATE point SET life_support = true WHERE id = 1", [2]),
        ("UPDATE installation SET has_relay = false WHERE point_id = 1", [2]),
        ("UPDATE point_supply SET relay_observed = 'open' WHERE point_id = 1", [2]),
        ("UPDATE point_supply SET supply_state = 'trip_commanded' WHERE point_id = 1", [2]),
        (BREAKER.format("'site', ''"), []),
        (BREAKER.format("'area', 'T1'"), [1, 2]),
        (
            "INSERT INTO account_policy (account_id, rev, profile, actor, reason)"
            " VALUES (1, 0, 'cn', 'li', 'x')",
            [2],
        ),
        (
            "INSERT INTO account_policy (account_id, rev, profile, actor, reason)"
            " VALUES (1, 0, 'gone', 'li', 'x')",
            [1, 2],
        ),
    ],
)
def test_whom_columns_save_the_guard_need_not_be_asked_about(
    database_url: str, said: str, found: list[int]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site()
        site.add(1, area="T1")
        site.add(2, area="T2")
        await exhausted(connection, site=site, authority=SHADOW)
        if said:
            await connection.execute(said.encode())
        assert await not_narrower(connection) == found

    on(database_url, story)


@pytest.mark.parametrize("kind", ["written", "final"])
@pytest.mark.parametrize("age", ["min", "max"])
def test_a_notice_counts_at_both_limits_of_its_age(database_url: str, kind: str, age: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, authority=SHADOW)
        limits = {f"{kind}_min": timedelta(hours=2), f"{kind}_max": timedelta(days=2)}
        asked: dict[str, Any] = {f"{kind}_required": True, **limits}
        policy = replace(POLICY, **asked)
        at = NOW - limits[f"{kind}_{age}"]
        beyond = timedelta(microseconds=-1 if age == "max" else 1)
        await connection.execute("UPDATE arrears_episode SET ended_at = now()")
        await connection.execute(
            "INSERT INTO arrears_episode (account_id, started_at) VALUES (1, %s)", [at]
        )
        await connection.execute(
            "INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen,"
            " actor, sent_at, delivered_at, receipt_actor)"
            " SELECT account_id, id, %s, 'paper', 'en', 'pay', 500, 'li', %s, %s, 'li'"
            " FROM arrears_episode WHERE ended_at IS NULL",
            [kind, at, at],
        )
        assert await not_narrower(connection, policy) == [1]
        authority = replace(GUARDED, policy=policy)
        assert await who_may_be_cut(connection, authority, NOW - beyond, 0, most=10) == []

    on(database_url, story)


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("hold", ""),
        ("hold", "line='line'"),
        ("dispute", "account_id=1"),
        ("protected", "point_id=1"),
    ],
)
def test_nothing_is_sent_after_somebody_said_so(database_url: str, kind: str, of: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        command = await sent(connection)
        await connection.execute(mark("hold", "line='another'").encode())
        assert await is_still_released(connection, command)
        await connection.execute(mark(kind, of).encode())
        assert not await is_still_released(connection, command)

    on(database_url, story)


@pytest.mark.parametrize("of", ["'site', ''", "'line', 'line'", "'tariff', 'T'"])
def test_no_trip_is_sent_after_a_breaker_opened(database_url: str, of: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        command = await sent(connection)
        await connection.execute(BREAKER.format("'line', 'another'").encode())
        assert await is_still_released(connection, command)
        await connection.execute(BREAKER.format(of).encode())
        assert not await is_still_released(connection, command)
        await connection.execute("UPDATE command SET action = 'close'")
        assert await is_still_released(connection, command)

    on(database_url, story)


SCANS = (
    "SELECT sum(seq_scan)::integer FROM pg_stat_xact_user_tables"
    " JOIN pg_inherits ON inhrelid = relid WHERE inhparent = 'slot'::regclass"
)


def test_what_was_planned_on_an_empty_month_reads_no_full_one(
    database_url: str, owner_url: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await connection.execute("SELECT make_partitions(%s)", [[TODAY.replace(day=1)]])
        async with await AsyncConnection.connect(owner_url, autocommit=True) as owner:
            await owner.execute("ANALYZE slot")
        await control_facts(connection, [1], NOW)
        async with connection.transaction():
            before = await rows(connection, SCANS)
            await control_facts(connection, [1], NOW)
            assert await rows(connection, SCANS) == before

    on(database_url, story)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_what_comes_after_facts_that_failed_is_planned_as_usual(
    database_url: str, owner_url: str, in_transaction: bool
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        await connection.execute("SET lock_timeout = '10ms'")
        async with (
            await AsyncConnection.connect(owner_url) as owner,
            owner.transaction(force_rollback=True),
        ):
            await owner.execute("LOCK TABLE teller IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LockNotAvailable):
                async with connection.transaction() if in_transaction else nullcontext():
                    await control_facts(connection, [1], NOW)
        for setting, usual in (("enable_seqscan", "on"), ("plan_cache_mode", "auto")):
            assert await rows(connection, f"SHOW {setting}") == [usual]

    on(database_url, story)
