"""What a batch may cost: statements, writes of a replay, and how long accounts are locked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import count, pairwise
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.quality.arrival import Arrival
from daemon.transactions.collect import (
    ACCOUNTS_AT_ONCE,
    JUDGE_WITHIN_S,
    LEAST_ACCOUNTS,
    collect,
    settle_marked,
)
from daemon.transactions.disputes import judge_waiting
from daemon.transactions.judging import POINTS_AT_ONCE
from daemon.transactions.known_tails import KnownTails
from daemon.transactions.next_days import usual_pace
from daemon.transactions.portions import next_portion
from storage.archive import SiteMeter
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    balance,
    everything,
    freeze,
    meters,
    on,
    polled,
    rows,
    slots,
)

pytestmark = pytest.mark.hypertables

MOST_STATEMENTS = 12
POINTS = 12
LONG_AGO = timedelta(days=200)


@contextmanager
def counted(connection: AsyncConnection[Any]) -> Iterator[list[str]]:
    """The statements that the connection is given meanwhile; COPY is one, BEGIN and COMMIT none."""
    given: list[str] = []

    class CountingCursor(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
            given.append(str(query))
            return await super().execute(query, *arguments, **options)

        def copy(self, statement: Any, *arguments: Any, **options: Any) -> Any:
            given.append(str(statement))
            return super().copy(statement, *arguments, **options)

    usual = connection.cursor_factory
    connection.cursor_factory = CountingCursor
    yield given
    connection.cursor_factory = usual


def lengths_of_transactions(given: Sequence[str]) -> list[int]:
    """The statements of each: it begins with the lock on the chains."""
    begun = [n for n, it in enumerate(given) if "begin_batch" in it or "xact_lock" in it]
    return [b - a for a, b in pairwise([*begun, len(given)])]


def everything_at_once(found: dict[str, SiteMeter], day: date) -> list[Arrival]:
    """A batch in which everything is that a batch can have: clean, backward, too much, standing
    still, late, read again, refused, before its day, with a stamp, of another meter."""
    arrivals = [
        freeze(found["P1"], day, 110),
        freeze(found["P2"], day, 90),
        freeze(found["P3"], day, 5000),
        freeze(found["P4"], day, 100),
        freeze(found["P5"], day + 9 * DAY, 130),
        freeze(found["P6"], day - DAY, 100),
        freeze(found["P7"], day, 110, skew=timedelta(minutes=6)),
        freeze(found["P8"], day, 110, rates=[Decimal(50), Decimal(20)]),
        freeze(found["P9"], date(2025, 1, 1), 3),
        freeze(found["P10"], day, 110, at=time(1)),
    ]
    other = freeze(found["P11"], day, 110)
    arrivals.append(replace(other, freeze=replace(other.freeze, serial="999999999999")))
    refused = freeze(found["P12"], day - DAY, 100)
    late = refused.freeze.arrived_at + timedelta(hours=1)
    arrivals.append(replace(refused, freeze=replace(refused.freeze, registers=(), arrived_at=late)))
    return arrivals


async def with_first_values(connection: AsyncConnection[Any], points: int) -> dict[str, SiteMeter]:
    found = await Site.of(points).take_over(connection)
    await collect(connection, [freeze(meter, OPEN, 100) for meter in found.values()], ZONE)
    return found


def test_a_batch_takes_at_most_twelve_statements_whatever_is_in_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, POINTS)
        for n in (1, 2, 3):
            batch = everything_at_once(found, OPEN + n * DAY)
            with counted(connection) as given:
                await collect(connection, batch, ZONE)
            assert len(given) <= MOST_STATEMENTS

    on(database_url, story)


def test_a_batch_takes_no_more_where_some_of_it_is_proved_by_memory(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        known = KnownTails()
        found = await with_first_values(connection, 2 * POINTS)
        for n in (1, 2):
            of_day = [polled(freeze(it, OPEN + n * DAY, 100 + n)) for it in found.values()]
            await collect(connection, of_day, ZONE, known=known)
        some = dict(list(found.items())[:POINTS])
        next_values = [
            polled(freeze(it, OPEN + 3 * DAY, 103)) for it in list(found.values())[POINTS:]
        ]
        batch = [*everything_at_once(some, OPEN + 3 * DAY), *next_values]
        with counted(connection) as given:
            await collect(connection, batch, ZONE, known=known)
        assert "known (account_id, day)" in given[-1]
        assert len(given) <= MOST_STATEMENTS

    on(database_url, story)


def test_a_batch_of_clean_values_takes_six_statements(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, POINTS)
        batch = [freeze(meter, OPEN + DAY, 101) for meter in found.values()]
        with counted(connection) as given:
            await collect(connection, batch, ZONE)
        assert len(given) == 6
        assert (await slots(connection, "P1"))[OPEN + DAY] == ("published", 10_100, [])

    on(database_url, story)


def test_a_batch_of_a_back_fill_takes_seven_statements(database_url: str) -> None:
    """One more than the next day: what lies behind the new values follows them now."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, POINTS)
        batches = [[freeze(it, OPEN + n * DAY, 100 + n) for it in found.values()] for n in (30, 1)]
        await collect(connection, batches[0], ZONE)
        with counted(connection) as given:
            await collect(connection, batches[1], ZONE)
        assert len(given) == 7
        held = (
            "SELECT DISTINCT link_days, hold FROM slot JOIN doubt USING (point_id, day, kind) "
            "WHERE day = %s"
        )
        assert await rows(connection, held, OPEN + 30 * DAY) == [(-29, "span")]

    on(database_url, story)


def test_a_batch_of_a_back_fill_with_a_dispute_takes_at_most_twelve_statements(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, 4)
        newest = OPEN + 30 * DAY
        await collect(connection, [freeze(found["P1"], newest, 130)], ZONE)
        batch = [
            freeze(found["P1"], OPEN + DAY, 101),
            freeze(found["P2"], OPEN + DAY, 9000),
            freeze(found["P3"], OPEN, 100),
            freeze(found["P3"], OPEN + DAY, 101),
        ]
        with counted(connection) as given:
            await collect(connection, batch, ZONE)
        assert len(given) <= MOST_STATEMENTS
        links = "SELECT day, link_days FROM slot WHERE point_id = 1 ORDER BY day"
        told = [(OPEN + DAY, 1), (newest, -29)]
        assert (await rows(connection, links))[1:] == told

    on(database_url, story)


def test_a_batch_takes_no_more_where_a_point_is_judged_from_its_first_day_and_another_begins(
    database_url: str,
) -> None:
    """P1 was reset: what it told long ago stands against that, so no window of days is enough."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(3, first_registers_are_known=False).take_over(connection)
        last = OPEN + LONG_AGO
        for first in range(0, LONG_AGO.days, 60):
            of_days = range(first, min(first + 60, LONG_AGO.days))
            history = [freeze(found["P1"], OPEN + n * DAY, 100 + n) for n in of_days]
            await collect(connection, history, ZONE)
        batch = [
            freeze(found["P1"], last, 3),
            freeze(found["P2"], last, 110, at=time(1)),
            freeze(found["P3"], last - DAY, 100),
            freeze(found["P3"], last, 101),
        ]
        with counted(connection) as given:
            await collect(connection, batch, ZONE)
        assert max(lengths_of_transactions(given)) <= MOST_STATEMENTS
        assert (await slots(connection, "P1"))[last] == ("suspect", 300, ["V07"])
        assert (await slots(connection, "P3"))[last] == ("published", 10_100, [])

    on(database_url, story)


def test_a_replay_writes_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, POINTS)
        batch = everything_at_once(found, OPEN + DAY)
        first = await collect(connection, batch, ZONE)
        before = await everything(connection)
        # What was there of which no slot tells is found out once more by the way.
        for again in (batch[:8], batch[8:], batch):
            async with connection.transaction():
                collected = await collect(connection, again, ZONE)
                # Whoever writes has a number: without one there is neither a row nor a log of it.
                assert await rows(connection, "SELECT pg_current_xact_id_if_assigned()") == [None]
        assert collected.present == first.present
        assert await everything(connection) == before

    on(database_url, story)


def test_a_reading_that_no_slot_tells_of_is_kept_once(database_url: str) -> None:
    """Here a slot was lost by hand: the reading is believed to be new, and is not."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, 2)
        batch = [freeze(meter, OPEN + DAY, 110) for meter in found.values()]
        await collect(connection, batch, ZONE)
        await connection.execute("DELETE FROM slot WHERE day = %s AND point_id = 1", (OPEN + DAY,))
        await collect(connection, [*batch, freeze(found["P2"], OPEN + 2 * DAY, 120)], ZONE)
        assert await rows(connection, "SELECT count(*) FROM reading") == [5]
        assert (await slots(connection, "P2"))[OPEN + 2 * DAY] == ("published", 12_000, [])

    on(database_url, story)


def test_a_batch_that_begins_anew_has_stored_nothing_twice(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, 2)
        await collect(connection, [freeze(found["P1"], OPEN - DAY, 90)], ZONE)
        same = freeze(found["P1"], OPEN + DAY, 110)
        await collect(connection, [same, same, freeze(found["P2"], OPEN + DAY, 110)], ZONE)
        assert await rows(connection, "SELECT count(*) FROM reading") == [5]

    on(database_url, story)


# --- how long points in dispute keep others from judging ------------------------------------------


async def in_dispute(connection: AsyncConnection[Any], points: int) -> list[Arrival]:
    """Three values each behind a spike that was published: they have to be judged by themselves."""
    found = await with_first_values(connection, points)
    spikes = [freeze(meter, OPEN + DAY, 300) for meter in found.values()]
    await collect(connection, spikes, ZONE)
    return [freeze(m, OPEN + n * DAY, 100 + n) for m in found.values() for n in (2, 3, 4)]


PUBLISHED = "SELECT count(*) FROM slot WHERE state = 'published'"


@pytest.mark.parametrize(("takes_s", "transactions"), [(0.0, 3), (0.5, 20)])
def test_points_in_dispute_are_judged_in_transactions_of_fifty_milliseconds(
    database_url: str, takes_s: float, transactions: int
) -> None:
    """Of 56 points 20 are taken first; half a second for them means two next time, and half a
    second for two means one by one."""
    points = 2 * POINTS_AT_ONCE + 16 if takes_s == 0 else POINTS_AT_ONCE + 20

    async def story(connection: AsyncConnection[Any]) -> None:
        batch = await in_dispute(connection, points)
        looks: list[float] = []

        def clock() -> float:
            # Every second look ends a transaction.
            looks.append(takes_s * ((len(looks) + 1) // 2))
            return looks[-1]

        with counted(connection) as given:
            collected = await collect(connection, batch, ZONE, clock)
        # The last one began and found nothing.
        assert len(looks) == 2 * transactions + 1
        assert len(collected.present) == len(batch)
        assert await rows(connection, PUBLISHED) == [4 * points]
        assert await rows(connection, "SELECT count(DISTINCT account_id) FROM to_settle") == [
            points
        ]
        lengths = lengths_of_transactions(given)
        assert len(lengths) == transactions + 2
        assert max(lengths) <= MOST_STATEMENTS

    on(database_url, story)


def test_a_batch_leaves_to_the_sweep_what_it_has_no_time_to_judge(database_url: str) -> None:
    points = 2 * POINTS_AT_ONCE

    async def story(connection: AsyncConnection[Any]) -> None:
        batch = await in_dispute(connection, points)
        ticks = count()
        await collect(connection, batch, ZONE, lambda: JUDGE_WITHIN_S * next(ticks))
        assert await rows(connection, "SELECT count(*) FROM to_judge") == [POINTS_AT_ONCE]
        await judge_waiting(connection, ZONE)
        assert await rows(connection, PUBLISHED) == [4 * points]

    on(database_url, story)


def test_what_waits_to_be_judged_is_found_again_after_a_kill(database_url: str) -> None:
    points = 3 * POINTS_AT_ONCE

    class Killed(Exception):
        pass

    async def story(connection: AsyncConnection[Any]) -> None:
        batch = await in_dispute(connection, points)
        looks: list[None] = []

        def clock() -> float:
            looks.append(None)
            if len(looks) == 3:
                raise Killed
            return 0.0

        with pytest.raises(Killed):
            await collect(connection, batch, ZONE, clock)
        assert await rows(connection, "SELECT count(*) FROM reading") == [5 * points]
        assert await rows(connection, "SELECT count(*) FROM to_judge") == [2 * POINTS_AT_ONCE]
        # A new value of a point that waits is not proved by what its days show now.
        waiting = (await meters(connection))[f"P{points}"]
        await collect(connection, [freeze(waiting, OPEN + 5 * DAY, 105)], ZONE)
        await judge_waiting(connection, ZONE)
        assert await rows(connection, "SELECT count(*) FROM to_judge") == [0]
        assert await rows(connection, PUBLISHED) == [4 * points + 1]
        before = await everything(connection)
        await collect(connection, batch, ZONE)
        assert await everything(connection) == before

    on(database_url, story)


@pytest.mark.parametrize("points", [1, 3, POINTS_AT_ONCE + 1])
def test_a_point_that_cannot_be_judged_keeps_its_mark_and_holds_nobody_up(
    database_url: str, points: int
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        batch = await in_dispute(connection, points)
        # A release of nothing is no fact that anybody could judge by.
        await connection.execute(
            "INSERT INTO decision (point_id, day, action, maker, reason, rev, takes_effect) "
            "VALUES (1, %s, 'release', 'clerk', 'seen', 1, true)",
            (OPEN,),
        )
        await collect(connection, batch, ZONE)
        (mark,) = await rows(connection, "SELECT point_id, from_day, error FROM to_judge")
        assert mark[:2] == (1, OPEN + 2 * DAY)
        assert "a total" in mark[2]
        assert await rows(connection, PUBLISHED) == [4 * (points - 1) + 2]

    on(database_url, story)


# --- how long accounts are locked -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settled", "took_s", "at_once"),
    [
        (50, 0.0, ACCOUNTS_AT_ONCE),
        (50, 0.02, ACCOUNTS_AT_ONCE),
        (50, 0.05, 50),
        (50, 0.1, 25),
        (50, 60.0, LEAST_ACCOUNTS),
        (12, 0.03, 20),
        (1, 0.06, LEAST_ACCOUNTS),
    ],
)
def test_accounts_are_locked_for_fifty_milliseconds_or_fifty_at_once(
    settled: int, took_s: float, at_once: int
) -> None:
    """Where a transaction takes longer by itself, one for each account would hold up nobody less."""
    assert next_portion(settled, took_s, ACCOUNTS_AT_ONCE, LEAST_ACCOUNTS) == at_once


@pytest.mark.parametrize(("took_s", "at_once"), [(0.025, 1000), (0.05, 500), (0.2, 125), (9, 50)])
def test_many_accounts_are_locked_for_fifty_milliseconds_or_are_fifty(
    took_s: float, at_once: int
) -> None:
    pace = usual_pace()
    assert next_portion(500, took_s, pace.most, pace.fewest) == at_once


@pytest.mark.parametrize(("takes_s", "at_once"), [(0.0, [50, 40]), (0.5, [50, 12, 12, 12, 4])])
def test_what_takes_long_is_settled_in_more_transactions(
    database_url: str, takes_s: float, at_once: list[int]
) -> None:
    """Of 90 accounts that opened long ago, and so go one by one, 50 are taken first; half a second
    for them means five next time, but no fewer than a dozen are taken at once."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = await with_first_values(connection, 90)
        await collect(connection, [freeze(m, OPEN + DAY, 110) for m in found.values()], ZONE)
        looks: list[float] = []

        def clock() -> float:
            # Every second look ends a transaction.
            looks.append(takes_s * ((len(looks) + 1) // 2))
            return looks[-1]

        await settle_marked(connection, ARMED, NOW, clock)
        charged = (
            "SELECT count(*) FROM journal GROUP BY xmin::text::bigint ORDER BY xmin::text::bigint"
        )
        assert await rows(connection, charged) == at_once
        assert await balance(connection, "A90") == -500

    on(database_url, story)
