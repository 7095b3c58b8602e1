"""What a process remembers of chains is what the database says, or is not remembered."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon import metrics
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.known_tails import MOST_CHANGES, KnownTails, NextValues
from storage import judging
from storage.archive import SiteMeter
from storage.retention import forget_rows
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    balance,
    connect,
    freeze,
    intact,
    on,
    polled,
    rows,
    slots,
)
from tests.database.transactions.test_cost_of_a_batch import counted
from tests.database.transactions.test_judging import judge_by, judged_again
from tests.examples import seeds

pytestmark = pytest.mark.hypertables

Batch = list[Arrival | PolledFreeze]
RATES = [Decimal(25)] * 4
SHOWN = (
    "SELECT json_agg((day, state, total, revision, link_days) ORDER BY day) FROM slot "
    "GROUP BY point_id ORDER BY point_id",
    "SELECT json_agg((from_day, to_day, l.begins, l.ends, hold) ORDER BY from_day) FROM link l "
    "GROUP BY point_id ORDER BY point_id",
)


def day_of(found: dict[str, SiteMeter], n: int, points: Sequence[str] = ()) -> Batch:
    """The freezes of a day, with four rates, as lines poll them."""
    return [
        polled(
            freeze(
                found[point], OPEN + n * DAY, 100 + 4 * n, rates=[Decimal(25 + n)] * 4, skew=skew
            )
        )
        for point, skew in zip(points or found, [None, timedelta(seconds=7)] * 20, strict=False)
    ]


async def knowing(
    connection: AsyncConnection[Any], points: int = 4, most_changes: int = MOST_CHANGES
) -> tuple[dict[str, SiteMeter], KnownTails]:
    """A site of which every point is known by its third day."""
    known = KnownTails(most_changes)
    found = await Site.of(points).take_over(connection)
    for n in range(3):
        await collect(connection, day_of(found, n), ZONE, known=known)
    return found, known


async def proved(connection: AsyncConnection[Any], known: KnownTails, batch: Batch) -> NextValues:
    """What is known of these values by now."""
    async with connection.transaction():
        await known.begin(connection, [OPEN])
        return known.next_values(batch, ZONE)


def test_the_next_values_of_known_points_take_four_statements_and_no_look_at_chains(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        with counted(connection) as given:
            collected = await collect(connection, day_of(found, 3), ZONE, known=known)
        # The lock with what was changed, and COPY of readings, slots and marks.
        assert len(given) == 4
        assert sorted(collected.present) == sorted(
            (meter.meter_id, OPEN + 3 * DAY) for meter in found.values()
        )
        with counted(connection) as given:
            again = await collect(connection, day_of(found, 3), ZONE, known=known)
        assert len(given) == 1
        assert sorted(again.present) == sorted(collected.present)
        await settle_marked(connection, ARMED, NOW)
        assert await balance(connection, "A1") == -3 * 4 * 50
        assert await intact(connection)

    on(database_url, story)


def test_nothing_is_remembered_under_another_rule_set(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        assert len((await proved(connection, known, day_of(found, 7))).positions) == 4
        await judge_by(connection, 4)
        assert not (await proved(connection, known, day_of(found, 7))).positions
        # Known again by their next values: the longest link is another one now.
        await collect(connection, day_of(found, 3), ZONE, known=known)
        assert len((await proved(connection, known, day_of(found, 7))).positions) == 4
        assert not (await proved(connection, known, day_of(found, 8))).positions

    on(database_url, story)


def test_what_is_stored_by_memory_is_what_is_stored_without_it(database_url: str) -> None:
    """Every second point is told in a way that is never remembered."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(8).take_over(connection)
        known = KnownTails()
        remembered = 0
        for n in range(9):
            batch: Batch = []
            for number, meter in enumerate(found.values()):
                is_wrong = n == 4 and number < 2
                told = freeze(meter, OPEN + n * DAY, 100 + (5000 if is_wrong else 3) * n)
                batch.append(told if number % 2 else polled(told))
            if n == 6:
                batch = batch[2:]
            remembered += len((await proved(connection, known, batch)).positions)
            await collect(connection, batch, ZONE, known=known)
            await settle_marked(connection, ARMED, NOW)
        assert remembered > 16
        assert await intact(connection)
        for pair in (("P1", "P2"), ("P3", "P4")):
            one, other = [await slots(connection, point) for point in pair]
            assert one == other
        for what in SHOWN:
            of_points = await rows(connection, what)
            assert len(of_points) == 8
            assert of_points[0:4:2] == of_points[1:4:2]
            assert of_points[4:8:2] == of_points[5:8:2]

    on(database_url, story)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO finding (point_id, code, from_day, rev, active) VALUES (1, 'V25', '2026-01-01', 1, true)",
        "INSERT INTO decision (point_id, day, action, total, maker, reason, rev, takes_effect) "
        "VALUES (1, '2026-01-01', 'release', 0, 'Li', 'seen', 1, true)",
        "INSERT INTO closing (point_id, through_day, published, actor) VALUES (1, '2026-01-01', '{}', 'Li')",
        "INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh) VALUES (1, '2026-01-01', 7, 1)",
        "UPDATE point_limit SET max_daily_kwh = 1 WHERE point_id = 1",
        "INSERT INTO point_ratio (point_id, from_day, ratio) VALUES (1, '2026-01-01', 7)",
        "UPDATE installation SET modulus = 7 WHERE point_id = 1",
        "DELETE FROM installation WHERE point_id = 1",
        "INSERT INTO doubt (point_id, day, kind, codes) VALUES (1, '2026-01-01', 1, '{V05}')",
        "INSERT INTO to_judge (point_id, from_day) VALUES (1, '2026-01-01')",
        "UPDATE point_account SET to_day = '2027-01-01' WHERE point_id = 1",
        "INSERT INTO clock_finding (meter_id, from_day, to_day, rev, skew_s) "
        "SELECT meter_id, '2026-01-01', '2026-01-01', 1, 7 FROM installation WHERE point_id = 1",
        "INSERT INTO clock_setting (meter_id, clock, rev) "
        "SELECT meter_id, 'standard', 1 FROM installation WHERE point_id = 1",
        "INSERT INTO other_serial (meter_id, from_at, serial) "
        "SELECT meter_id, now(), '7' FROM installation WHERE point_id = 1",
    ],
)
def test_a_point_of_which_any_fact_was_changed_is_not_known_any_more(
    database_url: str, change: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        assert len((await proved(connection, known, day_of(found, 3))).positions) == 4
        async with await connect(database_url) as other:
            await other.execute(change.encode())
        assert (await proved(connection, known, day_of(found, 3))).positions == {1, 2, 3}

    on(database_url, story)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO slot (day, point_id, kind, rule_set) VALUES ('2026-01-01', 1, 1, 1)",
        "UPDATE slot SET total = 7 WHERE point_id = 1",
        "DELETE FROM slot WHERE point_id = 1",
        # A server that lost its last transactions, or another one that never had them.
        "TRUNCATE chain_change",
        "DELETE FROM chain_change WHERE id = (SELECT max(id) FROM chain_change)",
    ],
)
@pytest.mark.parametrize("is_seen", [True, False])
def test_where_it_is_not_known_which_chains_changed_nothing_is_known(
    database_url: str, owner_url: str, change: str, is_seen: bool
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        if is_seen:
            await proved(connection, known, [])
        async with await connect(owner_url) as other:
            await other.execute("SELECT make_partitions('{2026-01-01}')")
            await other.execute(change.encode())
        assert (await proved(connection, known, day_of(found, 3))).positions == set()
        await connection.execute("DELETE FROM slot WHERE day = '2026-01-01'")

    on(database_url, story)


def test_a_point_whose_days_show_something_else_is_not_known_any_more(database_url: str) -> None:
    """Whatever made them: a new set of rules changes no fact."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        day = OPEN + 2 * DAY
        (shown,) = [it for it in await judging.slots(connection, {1: day}) if it.day == day]
        async with await connect(database_url) as other:
            await judging.put_slots(other, [replace(shown, total=10700)])
        assert (await proved(connection, known, day_of(found, 3))).positions == {1, 2, 3}
        await judging.put_slots(connection, [shown])

    on(database_url, story)


def test_a_point_of_whose_later_days_something_is_said_is_not_known(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        known = KnownTails()
        found = await Site.of(2).take_over(connection)
        await connection.execute(
            "INSERT INTO finding (point_id, code, from_day, rev, active) VALUES (1, 'V25', %s, 1, true)",
            (OPEN + 4 * DAY,),
        )
        for n in range(4):
            await collect(connection, day_of(found, n), ZONE, known=known)
        assert (await proved(connection, known, day_of(found, 4))).positions == {1}

    on(database_url, story)


@pytest.mark.parametrize("seed", seeds(3))
def test_points_come_and_go_and_each_is_known_by_its_own_last_value(
    database_url: str, seed: int
) -> None:
    """Two days at once are a chain of their own; what has a fifth rate has no place."""

    async def story(connection: AsyncConnection[Any]) -> None:
        rng = random.Random(seed)
        found = await Site.of(6).take_over(connection)
        known = KnownTails()
        told = dict.fromkeys(found, 0)
        for _ in range(25):
            batch: Batch = []
            expected = set()
            for number, (point, meter) in enumerate(found.items(), 1):
                days = rng.choice((0, 1, 1, 1, 2))
                if number > 2 and days == 1 and told[point] >= 2:
                    expected.add(len(batch))
                for n in range(told[point], told[point] + days):
                    rates = [Decimal(20 + number * n)] * 5 if number <= 2 else []
                    value = freeze(meter, OPEN + n * DAY, 100 + 5 * number * n, rates=rates)
                    batch.append(polled(value))
                told[point] += days
            assert (await proved(connection, known, batch)).positions == expected
            await collect(connection, batch, ZONE, known=known)
        assert await judged_again(connection, 6) == []
        await settle_marked(connection, ARMED, NOW)
        for number, days in enumerate(told.values(), 1):
            assert await balance(connection, f"A{number}") == -5 * number * (days - 1) * 50
        assert await intact(connection)

    on(database_url, story)


def test_what_another_process_stores_is_not_known_and_both_agree(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        other = KnownTails()
        for n in range(3, 9):
            who = (known, other)[n % 2]
            await collect(connection, day_of(found, n), ZONE, known=who)
            batch = day_of(found, n + 1)
            assert (await proved(connection, (other, known)[n % 2], batch)).positions == set()
        assert await intact(connection)
        assert len(await slots(connection, "P1")) == 9

    on(database_url, story)


def test_a_batch_that_is_not_committed_is_forgotten(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        unknown = replace(found["P1"], meter_id=2**40)
        batch = [*day_of(found, 3), polled(freeze(unknown, OPEN + 3 * DAY, 7))]
        with pytest.raises(psycopg.Error):
            await collect(connection, batch, ZONE, known=known)
        assert (await proved(connection, known, day_of(found, 3))).positions == set()
        await collect(connection, day_of(found, 3), ZONE, known=known)
        assert len(await slots(connection, "P1")) == 4

    on(database_url, story)


def test_a_value_that_is_no_clean_next_one_is_left_to_the_judge(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection, points=9)
        day = OPEN + 3 * DAY
        wrong = [
            freeze(found["P1"], day, 5000, rates=[Decimal(1250)] * 4),  # too much
            freeze(found["P2"], day, 90, rates=RATES),  # backward
            freeze(found["P3"], day, 108, rates=[Decimal(27)] * 4),  # stands still
            freeze(found["P4"], day, 112, rates=[Decimal(20)] * 4),  # rates do not add up
            freeze(found["P5"], day, 112),  # fewer registers
            freeze(found["P6"], OPEN + 10 * DAY, 140, rates=[Decimal(35)] * 4),  # too long a span
            freeze(found["P7"], OPEN + 2 * DAY, 108, rates=[Decimal(27)] * 4),  # told already
            freeze(found["P8"], day, 112, rates=[Decimal(28)] * 4, skew=timedelta(minutes=2)),
        ]
        good = freeze(found["P9"], day, 112, rates=[Decimal(28)] * 4)
        batch = [polled(it) for it in (*wrong, good)]
        assert (await proved(connection, known, batch)).positions == {6, 8}
        # Two values of a point are a chain of their own.
        assert (await proved(connection, known, [*batch, polled(good)])).positions == {6}

    on(database_url, story)


def test_what_was_noted_long_ago_goes_and_what_is_known_stays(
    database_url: str, owner_url: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        await connection.execute("UPDATE point_limit SET max_daily_kwh = 7 WHERE point_id = 1")
        await proved(connection, known, [])
        async with await connect(owner_url) as owner:
            await owner.execute("UPDATE chain_change SET at = '2020-01-01'")
        noted = await rows(connection, "SELECT count(*) FROM chain_change")
        assert await forget_rows(connection, "chain_change", NOW, 1000) == noted[0] - 1
        assert len((await proved(connection, known, day_of(found, 3))).positions) == 3

    on(database_url, story)


def test_what_was_noted_late_by_its_number_does_not_go_before_what_is_seen(
    database_url: str, owner_url: str
) -> None:
    """A transaction that waited for the lock notes a moment before that of the one in front."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        await proved(connection, known, [])
        (seen,) = await rows(connection, "SELECT max(id) FROM chain_change")
        await connection.execute("UPDATE point_limit SET max_daily_kwh = 7 WHERE point_id = 1")
        await connection.execute("INSERT INTO chain_change (point_id) VALUES (77)")
        async with await connect(owner_url) as owner:
            await owner.execute("UPDATE chain_change SET at = '2020-01-01' WHERE id <> %s", (seen,))
        await forget_rows(connection, "chain_change", NOW, 1000)
        assert (await proved(connection, known, day_of(found, 3))).positions == {1, 2, 3}

    on(database_url, story)


def test_behind_too_many_changes_nothing_is_known_until_it_is_learned_anew(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection, most_changes=20)
        change = "INSERT INTO chain_change (point_id) SELECT 77 FROM generate_series(1, %s)"
        await proved(connection, known, [])
        await connection.execute(change, (18,))
        assert len((await proved(connection, known, day_of(found, 3))).positions) == 4
        await connection.execute(change, (19,))
        assert (await proved(connection, known, day_of(found, 3))).positions == set()
        for n in range(3, 6):
            await collect(connection, day_of(found, n), ZONE, known=known)
        assert len((await proved(connection, known, day_of(found, 6))).positions) == 4

    on(database_url, story)


@pytest.mark.parametrize(("facts", "names", "still_known"), [(49_999, [1], 3), (50_000, [None], 0)])
def test_facts_by_the_ten_thousand_are_noted_once_and_nothing_is_known_behind_them(
    database_url: str, facts: int, names: list[int | None], still_known: int
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        (last,) = await rows(connection, "SELECT max(id) FROM chain_change")
        await connection.execute(
            "INSERT INTO finding (point_id, code, from_day, rev, active) "
            "SELECT 1, 'V25', '2026-01-01', n, false FROM generate_series(1, %s) n",
            (facts,),
        )
        noted = "SELECT point_id FROM chain_change WHERE id > %s"
        assert await rows(connection, noted, last) == names
        assert len((await proved(connection, known, day_of(found, 3))).positions) == still_known

    on(database_url, story)


def test_a_point_whose_meter_tells_another_serial_is_not_known(database_url: str) -> None:
    """What came before that and is stored behind it is the meter's own; what comes then is not."""

    async def story(connection: AsyncConnection[Any]) -> None:
        known = KnownTails()
        found = await Site.of(2).take_over(connection)
        await connection.execute(
            "INSERT INTO other_serial (meter_id, from_at, serial) "
            "SELECT meter_id, '2099-01-01', '7' FROM installation WHERE point_id = 1"
        )
        for n in range(3):
            await collect(connection, day_of(found, n), ZONE, known=known)
        assert (await proved(connection, known, day_of(found, 3))).positions == {1}

    on(database_url, story)


def test_a_value_below_zero_is_no_missing_one(database_url: str) -> None:
    """V06, of what is remembered, of what is asked for, and of a back-fill."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(3).take_over(connection)
        known = KnownTails()
        for n in range(3):
            batch = [polled(freeze(it, OPEN + n * DAY, 100 + 4 * n)) for it in found.values()]
            await collect(connection, batch, ZONE, known=known)
        wrong = [freeze(it, OPEN + 3 * DAY, Decimal("-0.01")) for it in found.values()]
        behind = freeze(found["P3"], OPEN + 4 * DAY, 116)
        assert (await proved(connection, known, [polled(wrong[0])])).positions == set()
        await collect(connection, [polled(wrong[0]), wrong[1], wrong[2], behind], ZONE, known=known)
        shown = "SELECT point_id FROM slot WHERE total < 0 AND state = 'published'"
        assert await rows(connection, shown) == []
        await settle_marked(connection, ARMED, NOW)
        assert await intact(connection)

    on(database_url, story)


def test_what_is_stored_by_memory_is_counted_as_published(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection)
        before = metrics.SLOTS_DECIDED.labels("published")._value.get()
        for _ in range(2):
            await collect(connection, day_of(found, 3), ZONE, known=known)
        assert metrics.SLOTS_DECIDED.labels("published")._value.get() == before + 4

    on(database_url, story)


def test_there_is_room_for_as_many_points_as_come(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found, known = await knowing(connection, points=9)
        assert len((await proved(connection, known, day_of(found, 3))).positions) == 9

    on(database_url, story)
