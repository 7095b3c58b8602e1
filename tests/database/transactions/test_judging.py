"""What days show after readings, limits and documents came, through the database."""

import random
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from daemon.quality.acceptance import closing
from daemon.quality.arrival import Arrival
from daemon.quality.judge import RULE_SET
from daemon.transactions.chain_facts import load_facts
from daemon.transactions.collect import collect, raw_reading, settle_marked
from daemon.transactions.decisions import DecisionRefused, Order, decide
from daemon.transactions.disputes import judge_waiting
from daemon.transactions.judging import arrival_tails, rejudge
from daemon.transactions.known_tails import KnownTails
from daemon.transactions.trial import foresee
from storage import archive, chains, judging, rule_sets
from storage.archive import BEGINNING, SiteMeter
from storage.settling import mark_points
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    balance,
    freeze,
    intact,
    links,
    noon,
    on,
    polled,
    rows,
    slots,
    store,
)
from tests.database.transactions.test_cost_of_a_batch import (
    MOST_STATEMENTS,
    counted,
    lengths_of_transactions,
)
from tests.examples import seeds

pytestmark = pytest.mark.hypertables


async def published(connection: AsyncConnection[Any], point: str = "P1") -> dict[date, int]:
    shown = await slots(connection, point)
    return {day: total // 100 for day, (state, total, _) in shown.items() if state == "published"}


async def judge_by(connection: AsyncConnection[Any], max_auto_span_days: int) -> None:
    """Take over what the site says now, and judge what that may change."""
    async with connection.transaction():
        await chains.lock_chains(connection)
        said = (await rule_sets.newest(connection)).thresholds
        becomes = {**said, "max_auto_span_days": max_auto_span_days}
        await judging.wait(
            connection, await rule_sets.follow(connection, RULE_SET, becomes, "tester")
        )
    await judge_waiting(connection, ZONE)


async def judged_again(connection: AsyncConnection[Any], points: int) -> list[Any]:
    """What the whole history of each point says otherwise than its days show."""
    async with connection.transaction(force_rollback=True):
        await chains.lock_chains(connection)
        judged = await rejudge(connection, dict.fromkeys(range(1, points + 1), BEGINNING), ZONE)
    return judged.rows


def test_one_wrong_value_is_withdrawn_when_the_third_value_stands_against_it(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        told = [100, 105, 110, 115, 480, 125, 130, 135]
        for n, kwh in enumerate(told[:-1]):
            await store(connection, freeze(meter, OPEN + n * DAY, kwh))
        assert (await published(connection))[OPEN + 4 * DAY] == 480
        assert await balance(connection, "A1") == -(480 - 100) * 50
        await store(connection, freeze(meter, OPEN + 7 * DAY, told[-1]))
        truth = {OPEN + n * DAY: kwh for n, kwh in enumerate(told) if kwh != 480}
        assert await published(connection) == truth
        assert await rows(connection, "SELECT error FROM not_settled") == []
        assert await balance(connection, "A1") == -(135 - 100) * 50
        assert (OPEN + 3 * DAY, OPEN + 5 * DAY, "billed") in await links(connection, "P1")
        journal = "SELECT state::text, actor FROM slot_journal WHERE day = %s AND total = 48000"
        assert await rows(connection, journal, OPEN + 4 * DAY) == [("published", "system")]
        assert await intact(connection)

    on(database_url, story)


def test_a_first_value_waits_for_the_second_one(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(first_registers_are_known=False)
        meter = (await site.take_over(connection))["P1"]
        await store(connection, freeze(meter, OPEN, 100))
        assert await slots(connection, "P1") == {OPEN: ("suspect", 10_000, ["V32"])}
        await store(connection, freeze(meter, OPEN + DAY, 103))
        assert await published(connection) == {OPEN: 100, OPEN + DAY: 103}
        assert await rows(connection, "SELECT count(*) FROM doubt") == [0]
        assert await balance(connection, "A1") == -150

    on(database_url, story)


def test_what_a_limit_withheld_is_published_when_the_limit_is_mended(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(max_daily_kwh=Decimal(1))
        meter = (await site.take_over(connection))["P1"]
        await connection.execute("UPDATE installation SET initial = '{10000}'")
        await store(connection, *(freeze(meter, OPEN + n * DAY, 100 + 9 * n) for n in range(20)))
        assert len(await published(connection)) < 3
        site.points[0]["max_daily_kwh"] = Decimal(10)
        async with connection.transaction():
            found = await archive.take_over(connection, site.rows(), noon(OPEN))
            judged = await rejudge(connection, found.limited, ZONE)
            await mark_points(connection, judged.changed, "limit")
        await settle_marked(connection, ARMED, NOW)
        assert len(await published(connection)) == 20
        assert await balance(connection, "A1") == -19 * 9 * 50

    on(database_url, story)


def test_use_that_waits_for_a_person_is_what_the_site_says_and_slots_name_the_rule_set(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(first_registers_are_known=False)
        meter = (await site.take_over(connection))["P1"]
        known = KnownTails()

        async def read(n: int) -> None:
            told = freeze(meter, OPEN + n * DAY, 100 + n)
            await collect(connection, [polled(told)], ZONE, known=known)
            await settle_marked(connection, ARMED, NOW)

        async def shown() -> list[Any]:
            asked = """SELECT day - %s, link_days, hold, rule_set
                       FROM slot LEFT JOIN doubt USING (point_id, day, kind) ORDER BY day"""
            return await rows(connection, asked, OPEN)

        for n in (0, 1, 2, 7):
            await read(n)
        assert await shown() == [(0, 0, None, 1), (1, 1, None, 1), (2, 1, None, 1), (7, 5, None, 1)]
        assert await balance(connection, "A1") == -7 * 50
        await judge_by(connection, 4)
        await settle_marked(connection, ARMED, NOW)
        assert (await shown())[-1] == (7, -5, "span", 2)
        assert await balance(connection, "A1") == -2 * 50
        await judge_by(connection, 4)
        await read(12)
        assert (await shown())[-1] == (12, -5, "span", 2)
        await judge_by(connection, 10)
        await read(22)
        await read(33)
        assert (await shown())[-4:] == [
            (7, 5, None, 3),
            (12, 5, None, 3),
            (22, 10, None, 3),
            (33, -11, "span", 3),
        ]
        assert await balance(connection, "A1") == -22 * 50
        asked = (
            "SELECT program, thresholds -> 'max_auto_span_days', actor FROM rule_set ORDER BY id"
        )
        assert await rows(connection, asked) == [
            (RULE_SET, 7, "daemon"),
            (RULE_SET, 4, "tester"),
            (RULE_SET, 10, "tester"),
        ]

    on(database_url, story)


def test_a_trial_of_other_rules_judges_who_is_named_and_looks_for_no_others(
    database_url: str,
) -> None:
    """It is made of some points at a time, and a look goes through all of the site."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, *(freeze(meter, OPEN + n * DAY, 100 + n) for n in (0, 1, 6)))
        before = await rule_sets.newest(connection)
        thresholds = {**before.thresholds, "max_auto_span_days": 4}
        async with connection.transaction():
            await chains.lock_chains(connection)
            with counted(connection) as given:
                found = await foresee(connection, {1: OPEN}, ZONE, NOW, thresholds=thresholds)
        assert sorted(found.effects) == [1]
        assert any("INSERT INTO rule_set" in it for it in given)
        assert [it for it in given if "touched" in it] == []
        assert await rule_sets.newest(connection) == before

    on(database_url, story)


def test_rules_that_changed_with_the_program_judge_every_point_again(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(2).take_over(connection)
        told = [freeze(meter, OPEN + n * DAY, 100 + n) for meter in found.values() for n in (0, 1)]
        await store(connection, *told)
        said = (await rule_sets.newest(connection)).thresholds
        assert await rule_sets.follow(connection, RULE_SET, said, "daemon") == {}
        assert await rule_sets.follow(connection, RULE_SET + 1, said, "daemon") == {
            meter.point_id: OPEN for meter in found.values()
        }

    on(database_url, story)


def test_a_second_read_of_the_same_registers_is_kept_and_changes_no_day(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, *(freeze(meter, OPEN + n * DAY, 100 + n) for n in range(3)))
        before = await slots(connection, "P1")
        again = freeze(meter, OPEN + DAY, 101).freeze
        later = replace(again, arrived_at=again.arrived_at + timedelta(hours=1))
        await store(connection, Arrival(meter, later))
        assert await rows(connection, "SELECT count(*) FROM reading") == [4]
        assert await slots(connection, "P1") == before

    on(database_url, story)


@pytest.mark.parametrize("seed", seeds(3))
def test_whatever_comes_in_whatever_order_the_whole_history_says_the_same(
    database_url: str, seed: int
) -> None:
    """Clean values are proved as arrays, the others in a window: both must say what all facts
    say."""
    points = 12

    async def story(connection: AsyncConnection[Any]) -> None:
        rng = random.Random(seed)
        known = KnownTails()
        site = Site.of(points, first_registers_are_known=seed % 2 == 0)
        found = await site.take_over(connection)
        arrivals = [
            arrival
            for number in range(1, points + 1)
            for arrival in a_life(rng, found[f"P{number}"], days=rng.choice((8, 40, 110)))
        ]
        if seed % 3:
            rng.shuffle(arrivals)
        changes = rng.sample(range(len(arrivals)), 2)
        while arrivals:
            if any(len(arrivals) <= it for it in changes):
                changes = [it for it in changes if len(arrivals) > it]
                await judge_by(connection, rng.choice((1, 3, 7, 14, 31)))
            count = rng.choice((1, 5, 60, 400))
            batch, arrivals = arrivals[:count], arrivals[count:]
            await collect(connection, list(map(polled, batch)), ZONE, known=known)
        assert await judged_again(connection, points) == []
        await settle_marked(connection, ARMED, NOW)
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.parametrize("seed", seeds(2))
def test_a_back_fill_shows_the_same_as_the_whole_history(database_url: str, seed: int) -> None:
    """Today's freeze first, then from the oldest day on, some days of a point at once.

    Some arrive live meanwhile, so that values lie ahead of those that are still to come."""
    points = 8

    async def story(connection: AsyncConnection[Any]) -> None:
        rng = random.Random(seed)
        known = KnownTails()
        site = Site.of(points, first_registers_are_known=seed % 2 == 0)
        found = await site.take_over(connection)
        await judge_by(connection, (3, 14)[seed % 2])
        lives = {it.point_id: a_life(rng, it, rng.choice((20, 62, 75))) for it in found.values()}
        lives = {point: [told[-1], *told[:-1]] for point, told in lives.items()}
        while any(lives.values()):
            most = rng.choice((1, 1, 3, 20))
            batch = []
            for point, told in lives.items():
                count = rng.randrange(most + 1)
                # What came live is the last of a few, ahead of the spool.
                ahead = rng.randrange(25) if rng.random() < 0.2 else 0
                batch += told[ahead : ahead + count]
                lives[point] = told[:ahead] + told[ahead + count :]
            await collect(connection, list(map(polled, batch)), ZONE, known=known)
            if rng.random() < 0.1:
                assert await judged_again(connection, points) == []
                await settle_marked(connection, ARMED, NOW)
        assert await judged_again(connection, points) == []
        await settle_marked(connection, ARMED, NOW)
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.parametrize("days_at_once", [1, 5])
def test_a_clean_back_fill_is_proved_as_arrays_and_holds_what_spans_the_days_still_owed(
    database_url: str, days_at_once: int
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(first_registers_are_known=False)
        meter = (await site.take_over(connection))["P1"]
        life = [freeze(meter, OPEN + n * DAY, 100 + n) for n in range(62)]
        newest = OPEN + 61 * DAY
        await collect(connection, [life.pop()], ZONE)
        links_to_newest = "SELECT link_days, hold FROM slot LEFT JOIN doubt USING (point_id, day, kind) WHERE day = %s"
        while life:
            batch, life = life[:days_at_once], life[days_at_once:]
            with counted(connection) as given:
                await collect(connection, batch, ZONE)
            assert judging.SQL["facts"] not in given
            length = (newest - batch[-1].freeze.frozen_at.date()).days
            shown = [(-length, "span") if length > 7 else (length, None)]
            assert await rows(connection, links_to_newest, newest) == shown
        assert len(await published(connection)) == 62
        assert await judged_again(connection, 1) == []

    on(database_url, story)


@pytest.mark.parametrize("seed", seeds(3))
def test_the_neighbours_of_plain_new_values_are_the_nearest_values_of_their_chains(
    database_url: str, seed: int
) -> None:
    """Gaps are of any length: what lies near is looked up day by day, what lies far by what is said
    of it."""
    points = 10

    async def story(connection: AsyncConnection[Any]) -> None:
        rng = random.Random(seed)
        found = await Site.of(points, first_registers_are_known=False).take_over(connection)
        batch = []
        for meter in found.values():
            n = rng.randrange(20)
            while n < 160:
                batch.append(freeze(meter, OPEN + n * DAY, 100 + n))
                n += rng.choice((1, 1, 1, 2, 5, 7, 8, 9, 10, 30, 80))
        rng.shuffle(batch)
        for first in range(0, len(batch), 30):
            await collect(connection, batch[first : first + 30], ZONE)
        nearest = (
            "SELECT (SELECT max(day) FROM slot WHERE point_id = %(point)s AND day < %(day)s), "
            "(SELECT min(day) FROM slot WHERE point_id = %(point)s AND day > %(day)s)"
        )
        plain = 0
        async with connection.transaction():
            await chains.begin(connection, [])
            for n in range(0, 165, 3):
                day = OPEN + n * DAY
                arrived = {
                    it.point_id: [raw_reading(freeze(it, day, 100 + n), ZONE)]
                    for it in found.values()
                }
                for point, tail in (await arrival_tails(connection, arrived)).items():
                    told = await connection.execute(nearest, {"point": point, "day": day})
                    if tail.is_plain:
                        plain += 1
                        assert (tail.before_day, tail.after_day) == await told.fetchone()
        assert plain > 30 * points

    on(database_url, story)


@pytest.mark.parametrize("seed", seeds(4))
def test_whatever_is_said_in_between_the_whole_history_says_the_same(
    database_url: str, seed: int
) -> None:
    """Closings, findings and decisions do not keep clean values from being proved as arrays."""
    points = 6

    async def story(connection: AsyncConnection[Any]) -> None:
        rng = random.Random(seed)
        known = KnownTails()
        site = Site.of(points, first_registers_are_known=seed % 2 == 0)
        found = await site.take_over(connection)
        lives = [a_life(rng, meter, days=120) for meter in found.values()]
        arrivals = sorted(
            (arrival for life in lives for arrival in life),
            # Some come late, and so among what was closed or decided meanwhile.
            key=lambda it: it.freeze.frozen_at + DAY * (rng.random() < 0.06) * rng.randrange(40),
        )
        while arrivals:
            count = rng.choice((6, 20, 60))
            batch, arrivals = arrivals[:count], arrivals[count:]
            await collect(connection, list(map(polled, batch)), ZONE, known=known)
            for _ in range(2):
                await somebody_says(rng, connection, rng.choice(list(found.values())))
        assert await judged_again(connection, points) == []
        await settle_marked(connection, ARMED, NOW)
        assert await intact(connection)

    on(database_url, story)


async def somebody_says(
    rng: random.Random, connection: AsyncConnection[Any], meter: SiteMeter
) -> None:
    """Close what is there, decide about a value, or find something of some days."""
    shown = await rows(
        connection,
        "SELECT day, total FROM slot LEFT JOIN doubt d USING (point_id, day, kind) "
        "WHERE point_id = %s ORDER BY d.day IS NULL, day",
        meter.point_id,
    )
    if not shown:
        return
    newest = max(day for day, _ in shown)
    first = newest + DAY * rng.choice((rng.randrange(-40, 0), rng.randrange(4)))
    kind = rng.choice(("closing", "finding", "clock_finding", "decision", "decision"))
    if kind == "decision":
        # What something is to be said of comes first.
        day, total = shown[min(rng.randrange(len(shown)), rng.randrange(len(shown)))]
        order = Order(
            point=meter.point,
            day=day,
            action=rng.choice(("release", "reject", "withdraw")),
            maker=f"clerk {rng.random()}",
            reason="seen",
            total=Decimal(total).scaleb(-2),
        )
        with suppress(DecisionRefused):
            await decide(connection, order)
        return
    async with connection.transaction():
        await chains.lock_chains(connection)
        if kind == "closing":
            await close(connection, meter.point_id, first)
        elif kind == "finding":
            await connection.execute(
                "INSERT INTO finding (point_id, code, from_day, to_day, rev, active) "
                "VALUES (%s, 'V25', %s, %s, %s, true) ON CONFLICT DO NOTHING",
                (meter.point_id, first, first + DAY * rng.randrange(3), rng.randrange(9)),
            )
        else:
            await connection.execute(
                "INSERT INTO clock_finding (meter_id, from_day, to_day, rev, skew_s) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (
                    meter.meter_id,
                    first,
                    first + DAY * rng.randrange(3),
                    rng.randrange(9),
                    rng.choice((0, 100, 400)),
                ),
            )
        judged = await rejudge(connection, {meter.point_id: BEGINNING}, ZONE)
        await mark_points(connection, judged.changed, "said")


async def close(connection: AsyncConnection[Any], point: int, through: date) -> None:
    """Close a period with what is published in it."""
    closed = closing(await load_facts(connection, point), through)
    published = {
        str(day): [
            int(register.scaleb(2))
            for register in (registers.total, *(rate for _, rate in registers.rates))
        ]
        for day, registers in closed.published
    }
    await connection.execute(
        "INSERT INTO closing (point_id, through_day, published, actor) VALUES (%s, %s, %s, 'clerk') "
        "ON CONFLICT DO NOTHING",
        (point, through, Jsonb(published)),
    )


def test_a_clean_value_behind_a_closing_and_what_is_settled_is_proved_as_an_array(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(3).take_over(connection)
        told = [100, 105, 900, 110, 115, 120, 125, 130]
        batch = [
            freeze(it, OPEN + n * DAY, kwh) for it in found.values() for n, kwh in enumerate(told)
        ]
        await collect(connection, batch, ZONE)
        reject = Order("P1", OPEN + 2 * DAY, "reject", "clerk", "seen", Decimal(900))
        await decide(connection, reject)
        await close(connection, 2, OPEN + 4 * DAY)
        await connection.execute(
            "INSERT INTO finding (point_id, code, from_day, rev, active) VALUES (1, 'V25', %s, 1, true)",
            (OPEN + DAY,),
        )
        await connection.execute(
            "INSERT INTO clock_finding VALUES (1, %s, %s, 1, 20)", (OPEN + DAY, OPEN + DAY)
        )
        values = {
            point: [raw_reading(freeze(found[point], OPEN + 8 * DAY, 135), ZONE)] for point in found
        }
        arrived = {found[point].point_id: told for point, told in values.items()}
        tails = await arrival_tails(connection, arrived)
        # The third has a value that nobody decided about, and no period was closed behind it.
        assert {it.point_id: it.is_plain for it in tails.values()} == {1: True, 2: True, 3: False}

    on(database_url, story)


@pytest.mark.parametrize(
    "said",
    [
        "INSERT INTO finding (point_id, code, from_day, rev, active) VALUES (1, 'V25', %s, 1, true)",
        "INSERT INTO clock_finding VALUES (1, %s, '2099-01-01', 1, 20)",
        "INSERT INTO closing (point_id, through_day, published, actor) VALUES (1, %s, '{}', 'clerk')",
        "INSERT INTO decision (point_id, day, action, total, maker, reason, rev, takes_effect) "
        "VALUES (1, %s, 'release', 1, 'clerk', 'seen', 1, true)",
    ],
    ids=["finding", "clock finding", "closing", "decision"],
)
def test_a_value_of_days_of_which_something_is_said_is_judged_by_itself(
    database_url: str, said: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await collect(connection, [freeze(meter, OPEN, 100), freeze(meter, OPEN + DAY, 105)], ZONE)
        for day, is_plain in ((OPEN + 2 * DAY, False), (OPEN + 3 * DAY, "clock" not in said)):
            async with connection.transaction(force_rollback=True):
                await connection.execute(said.encode(), (OPEN + 2 * DAY,))
                arrived = {1: [raw_reading(freeze(meter, day, 110), ZONE)]}
                assert (await arrival_tails(connection, arrived))[1].is_plain == is_plain

    on(database_url, story)


def a_life(rng: random.Random, meter: SiteMeter, days: int) -> list[Arrival]:
    """The freezes of a meter, with what goes wrong: gaps, junk, resets, second reads, clocks."""
    kind = rng.choice(("clean", "clean", "still", "gaps", "junk", "shift", "clock"))
    total = Decimal(100)
    life = []
    for n in range(days):
        total += 0 if kind == "still" and n > 5 else Decimal(rng.randrange(0, 2000)).scaleb(-2)
        if kind == "gaps" and rng.random() < 0.4:
            continue
        shown = total
        if kind == "junk" and rng.random() < 0.1:
            shown = total + rng.choice((-90, 300, 5000))
        if kind == "shift" and n > days // 2:
            shown = total / 10
        skew = timedelta(seconds=rng.choice((0, 90, 400))) if kind == "clock" else None
        shown = max(Decimal(0), shown).quantize(Decimal("0.01"))
        life.append(freeze(meter, OPEN + n * DAY, shown, skew=skew))
        if kind == "junk" and rng.random() < 0.1:
            life.append(freeze(meter, OPEN + n * DAY, total))
    return life


def test_a_transaction_takes_at_most_twelve_statements_whatever_comes(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(40).take_over(connection)
        meters = list(found.values())
        first = [freeze(meter, OPEN + n * DAY, 100 + n) for meter in meters for n in range(5)]
        batches = [
            first[:1],
            first,
            first,  # all of it is there
            [freeze(meter, OPEN + 5 * DAY, 105) for meter in meters],
            # Half of them are spikes, step back, or come a second time otherwise.
            [
                freeze(meter, OPEN + n * DAY, (106, 9000, 3)[n % 3])
                for meter in meters
                for n in (5, 6, 7)
            ],
        ]
        known = KnownTails()
        for batch in batches:
            with counted(connection) as given:
                await collect(connection, list(map(polled, batch)), ZONE, known=known)
            assert max(lengths_of_transactions(given)) <= MOST_STATEMENTS, given

    on(database_url, story)
