"""What was kept long enough goes; what money or a decision refers to stays."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from daemon.ticks import forget_old
from daemon.transactions.forget import forget
from storage import retention
from storage.database import Pool, connect

pytestmark = pytest.mark.hypertables

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD = date(2015, 3, 2)
YOUNG = date(2026, 2, 20)


def arrange(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def ask(url: str, question: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(question.encode()).fetchall()


def days_of_site(days: Sequence[date]) -> list[str]:
    """One point whose meter told a register on each of these days."""
    made = [
        "INSERT INTO point (number) VALUES ('P1')",
        "INSERT INTO meter (address, line, protocol) VALUES ('000000000001', 'bus', 'dlt645-2007')",
    ]
    for number, day in enumerate(days, 1):
        made += [
            f"SELECT make_partitions(ARRAY[date '{day.replace(day=1)}'])",
            "INSERT INTO reading (id, arrived_at, day, meter_id, kind, source, decode_version, total) "
            f"VALUES ({number}, '{day}', '{day}', 1, 1, 1, 1, {number})",
            "INSERT INTO slot (day, point_id, kind, meter_id, total, reading_id, rule_set) "
            f"VALUES ('{day}', 1, 1, 1, {number}, {number}, 1)",
        ]
    return made


def forgotten(url: str, now: datetime = NOW) -> dict[str, int]:
    """What went, by table, where anything went."""

    async def story() -> dict[str, int]:
        async with Pool(url, most=2) as pool:
            gone: Counter[str] = Counter()
            async for table, rows in forget(pool, now):
                gone[table] += rows
            return +gone

    return asyncio.run(story())


def test_whole_months_of_readings_go_with_their_slots_and_doubts(database_url: str) -> None:
    old = [OLD, OLD + timedelta(days=1), OLD + timedelta(days=90)]
    ((months,),) = ask(database_url, "SELECT count(*) FROM months_of('slot')")
    arrange(database_url, *days_of_site([*old, YOUNG]))
    arrange(
        database_url,
        f"INSERT INTO doubt (point_id, day, kind, codes) VALUES (1, '{OLD}', 1, '{{V08}}')",
    )
    assert forgotten(database_url) == {"reading": 3, "slot": 3}
    assert ask(database_url, "SELECT day FROM reading") == [(YOUNG,)]
    assert ask(database_url, "SELECT day FROM slot") == [(YOUNG,)]
    assert ask(database_url, "SELECT count(*) FROM doubt") == [(0,)]
    assert ask(database_url, "SELECT count(*) FROM months_of('slot')") == [(months + 1,)]
    assert forgotten(database_url) == {}


def test_nothing_goes_before_its_time(database_url: str) -> None:
    arrange(database_url, *days_of_site([OLD, YOUNG]))
    assert forgotten(database_url, datetime(2021, 3, 1, tzinfo=UTC)) == {}
    assert forgotten(database_url, datetime(2021, 5, 2, tzinfo=UTC)) == {"reading": 1, "slot": 1}


def test_readings_and_slots_go_together_after_the_longer_of_both_times(
    database_url: str, owner_url: str
) -> None:
    arrange(database_url, *days_of_site([OLD, YOUNG]))
    arrange(owner_url, "UPDATE retention SET keep = '20 years' WHERE table_name = 'slot'")
    assert forgotten(database_url) == {}
    arrange(owner_url, "UPDATE retention SET keep = NULL WHERE table_name = 'slot'")
    assert forgotten(database_url) == {}


MONEY = """
INSERT INTO account (number, tariff_id, state, agreement, opened_on, warn_fen, trip_fen, reconnect_fen)
VALUES ('A1', 't', 'active', 'yes', '{opened}', 0, 0, 0)
"""
LINK = f"""
INSERT INTO link (point_id, account_id, from_day, to_day, meter_id, used_total, end_total, modulus, decimals, ratio)
VALUES (1, 1, '{OLD - timedelta(days=60)}', '{OLD}', 1, 1, 1, 100, 2, 1)
"""
DECISION = f"""
INSERT INTO decision (point_id, day, action, maker, reason, rev, takes_effect)
VALUES (1, '{OLD}', 'reject', 'li', 'it is false', 1, true)
"""


@pytest.mark.parametrize(
    "referring",
    [
        [MONEY.format(opened=OLD)],
        [MONEY.format(opened=YOUNG), LINK],
        [DECISION],
        [
            "INSERT INTO closing (point_id, through_day, published, actor) "
            f"VALUES (1, '{YOUNG}', '{{}}', 'li')"
        ],
    ],
    ids=["an open account", "a link", "a decision", "a closing"],
)
def test_a_month_that_money_or_a_decision_refers_to_stays(
    database_url: str, referring: list[str]
) -> None:
    arrange(database_url, *days_of_site([OLD, YOUNG]), *referring)
    assert forgotten(database_url) == {}


def test_a_month_behind_one_that_stays_goes(database_url: str) -> None:
    later = OLD + timedelta(days=400)
    arrange(database_url, *days_of_site([OLD, later, YOUNG]), DECISION)
    assert forgotten(database_url) == {"reading": 1, "slot": 1}
    assert ask(database_url, "SELECT day FROM slot ORDER BY day") == [(OLD,), (YOUNG,)]


def test_a_clock_that_runs_ahead_deletes_nothing(database_url: str) -> None:
    """Neither the time that the daemon says counts further than the server's, nor that further
    than what meters told last."""
    arrange(database_url, *days_of_site([OLD]))
    assert forgotten(database_url, datetime(2199, 1, 1, tzinfo=UTC)) == {}


def test_rows_go_in_portions_and_what_is_needed_stays(database_url: str, owner_url: str) -> None:
    arrange(database_url, *days_of_site([YOUNG]))
    arrange(
        owner_url,
        "INSERT INTO attempt SELECT date '2020-01-01', n, 1, 'no_answer', now(), now() "
        "FROM generate_series(1, 4500) n",
        f"INSERT INTO attempt VALUES ('{YOUNG}', 1, 1, 'no_answer', now(), now())",
        "INSERT INTO slot_journal (changed_at, actor, day, point_id, kind, revision, state, rule_set) VALUES "
        "('2015-01-01', 'li', '2015-01-01', 1, 1, 0, 'published', 1), "
        f"('2015-01-01', 'li', '{YOUNG}', 1, 1, 0, 'published', 1), "
        "(now(), 'li', '2015-01-01', 1, 1, 0, 'published', 1)",
        "INSERT INTO guard_verdict (point_id, at, decision, reasons, facts) VALUES "
        "(1, '2015-01-01', 'deny', '{}', '{}'), (1, '2015-01-02', 'allow', '{}', '{}')",
        "INSERT INTO dead_letter (content, reason, replayed_at, actor) VALUES "
        "('{\"a\": 1}', 'x', '2015-01-01', 'li'), ('{\"a\": 2}', 'x', now(), 'li')",
        "INSERT INTO dead_letter (at, content, reason) VALUES ('2015-01-01', '{\"a\": 3}', 'x')",
    )
    assert forgotten(database_url) == {
        "attempt": 4500,
        "slot_journal": 1,
        "guard_verdict": 1,
        "dead_letter": 1,
    }
    assert ask(database_url, "SELECT day FROM attempt") == [(YOUNG,)]
    assert ask(database_url, "SELECT decision FROM guard_verdict") == [("allow",)]
    assert ask(database_url, "SELECT content ->> 'a' FROM dead_letter ORDER BY 1") == [
        ("2",),
        ("3",),
    ]
    assert forgotten(database_url) == {}


@pytest.mark.parametrize("table", ["journal", "decision", "reading", "slot"])
def test_no_row_of_another_table_is_deleted(database_url: str, table: str) -> None:
    async def story() -> None:
        async with await connect(database_url) as connection:
            with pytest.raises(psycopg.DataError):
                await retention.forget_rows(connection, table, NOW, 1)

    asyncio.run(story())


@pytest.mark.parametrize("table", ["journal", "document", "decision", "decision_review"])
def test_not_even_the_owner_gives_a_time_to_what_is_kept_for_ever(
    owner_url: str, table: str
) -> None:
    with psycopg.connect(owner_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE retention SET keep = '30 years' WHERE table_name = %s", (table,))


def test_readings_are_kept_for_three_years_at_least(owner_url: str) -> None:
    with psycopg.connect(owner_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE retention SET keep = '35 months' WHERE table_name = 'reading'")


def test_whoever_works_with_the_tables_is_not_kept_waiting(database_url: str) -> None:
    """While somebody reads them nothing is dropped, and a third one goes on beside both."""
    arrange(database_url, *days_of_site([OLD, YOUNG]))

    async def drop_one(pool: Pool) -> dict[str, int]:
        async with pool.connection() as connection:
            return await retention.forget_month(connection, NOW)

    async def story() -> None:
        async with Pool(database_url, most=4) as pool:
            async with pool.connection() as reader, reader.transaction():
                await reader.execute("SELECT * FROM slot")
                dropping = asyncio.ensure_future(drop_one(pool))
                async with pool.connection() as collecting:
                    await collecting.execute("SET lock_timeout = '20ms'")
                    while not dropping.done():
                        await collecting.execute(
                            "UPDATE slot SET revision = revision + 1 WHERE day = %s", (YOUNG,)
                        )
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await dropping
            assert (await drop_one(pool))["slot"] == 1

    asyncio.run(story())


def test_it_is_told_when_the_oldest_row_goes_and_what_needs_it(database_url: str) -> None:
    arrange(database_url, *days_of_site([OLD, YOUNG]))

    def told() -> retention.Kept:
        async def story() -> retention.Kept:
            async with await connect(database_url) as connection:
                kept = await retention.kept(connection)
                return next(row for row in kept if row.table_name == "slot")

        return asyncio.run(story())

    slots = told()
    assert (slots.keep, slots.needed_by) == ("6 years", None)
    assert slots.goes_at is not None
    assert datetime(2021, 3, 1, tzinfo=UTC) < slots.goes_at <= datetime(2021, 5, 2, tzinfo=UTC)
    arrange(database_url, DECISION)
    assert told().needed_by == "a decision"
    arrange(database_url, MONEY.format(opened=OLD))
    assert told().needed_by == "money"


def test_a_tick_counts_what_went_and_how_old_the_oldest_is(database_url: str) -> None:
    arrange(database_url, *days_of_site([OLD, YOUNG]))
    before = metric("meterd_retention_deleted_rows_total", table="reading")

    async def story() -> None:
        async with Pool(database_url, most=2) as pool:
            await forget_old(pool, NOW)

    asyncio.run(story())
    assert metric("meterd_retention_deleted_rows_total", table="reading") == before + 1
    age_s = metric("meterd_retention_oldest_age_seconds", table="reading")
    assert age_s == (NOW.date() - YOUNG).total_seconds()
    assert metric("meterd_retention_last_success_timestamp_seconds") == NOW.timestamp()


def test_a_tick_that_fails_has_counted_what_went_and_is_no_success(database_url: str) -> None:
    arrange(database_url, *days_of_site([OLD, YOUNG]))
    arrange(
        database_url,
        "INSERT INTO attempt VALUES ('2020-01-01', 1, 1, 'no_answer', now(), now())",
    )
    before = metric("meterd_retention_deleted_rows_total", table="attempt")
    succeeded_at = metric("meterd_retention_last_success_timestamp_seconds")

    async def story() -> None:
        async with (
            Pool(database_url, most=2) as pool,
            pool.connection() as reader,
            reader.transaction(),
        ):
            await reader.execute("SELECT * FROM slot")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await forget_old(pool, NOW + timedelta(days=1))

    asyncio.run(story())
    assert metric("meterd_retention_deleted_rows_total", table="attempt") == before + 1
    assert metric("meterd_retention_last_success_timestamp_seconds") == succeeded_at


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
