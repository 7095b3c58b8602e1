"""Billed or named: every point that is not billed to yesterday, with the reason."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.billing.standstill import REASONS, REMEMBERED
from daemon.transactions.decisions import Order, decide
from storage import standstill
from storage.standstill import Question, Standing
from tests.database.small_site import DAY, OPEN, SHADOW, Site, freeze, noon, on, store

pytestmark = pytest.mark.hypertables
DUE = OPEN + 4 * DAY


async def one(
    connection: AsyncConnection[Any],
    due: date = DUE,
    lines: Collection[str] = ("line",),
) -> Standing | None:
    found = await standstill.standing(connection, Question(due, lines, REMEMBERED))
    assert len(found) <= 1
    return found[0] if found else None


def told(
    database_url: str,
    site: Site,
    values: dict[int, str],
    *,
    sql: str = "",
    lines: Collection[str] = ("line",),
) -> Standing | None:
    """What is said of the site's only point after it told these registers.

    `values`: by days since the opening day."""
    result: list[Standing | None] = []

    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await site.take_over(connection, OPEN)
        for day, kwh in values.items():
            await store(connection, freeze(meters["P1"], OPEN + day * DAY, kwh), authority=SHADOW)
        if sql:
            await connection.execute(sql.encode())
        result.append(await one(connection, lines=lines))

    on(database_url, story)
    return result[0]


EVERY_DAY = {0: "100", 1: "105", 2: "110", 3: "115", 4: "120"}


def test_a_point_that_is_billed_to_yesterday_is_not_named(database_url: str) -> None:
    assert told(database_url, Site.of(), EVERY_DAY) is None


def test_what_is_missing_stands_since_the_day_up_to_which_it_is_billed(database_url: str) -> None:
    found = told(database_url, Site.of(), {0: "100", 1: "105", 2: "110"})
    assert found is not None
    assert (found.reason, found.since, found.age_days) == ("missing", OPEN + 2 * DAY, 2)


def test_of_a_site_that_went_dark_each_point_is_named_since_its_own_day(database_url: str) -> None:
    read = {"P1": 1, "P2": 4, "P3": 9, "P4": 10}

    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(4).take_over(connection, OPEN)
        for point, days in read.items():
            batch = [freeze(meters[point], OPEN + n * DAY, 100 + n) for n in range(days + 1)]
            await store(connection, *batch, authority=SHADOW)
        for later in (1, 2, 40):
            asked = Question(OPEN + (10 + later) * DAY, ("line",), REMEMBERED)
            found = await standstill.standing(connection, asked)
            assert {it.point: it.since for it in found} == {
                point: OPEN + days * DAY for point, days in read.items()
            }

    on(database_url, story)


def test_a_withheld_value_is_named_with_its_codes(database_url: str) -> None:
    found = told(database_url, Site.of(), EVERY_DAY | {3: "3", 4: "4"})
    assert found is not None
    assert (found.reason, found.doubt_day, found.since) == (
        "withheld",
        OPEN + 3 * DAY,
        OPEN + 2 * DAY,
    )
    assert any(code.startswith("V07") for code in found.codes)


def test_a_held_span_is_named_though_later_days_are_billed(database_url: str) -> None:
    site = Site.of(opened_on=OPEN - 20 * DAY)
    values = {-20: "10", -19: "11", **EVERY_DAY}
    found = told(database_url, site, values)
    assert found is not None
    assert (found.reason, found.hold) == ("held", "span")
    assert (found.held_from, found.held_to) == (OPEN - 19 * DAY, OPEN)


def test_the_opening_freeze_is_asked_for_by_name(database_url: str) -> None:
    found = told(database_url, Site.of(), {1: "105", 2: "110", 3: "115", 4: "120"})
    assert found is not None
    assert (found.reason, found.since) == ("no_opening_freeze", OPEN)


@pytest.mark.parametrize(
    ("reason", "sql"),
    [
        ("no_account", "DELETE FROM point_account"),
        ("account_pending", "UPDATE account SET state = 'pending', agreement = NULL"),
        ("no_meter", "DELETE FROM installation"),
        ("no_tariff", "UPDATE account SET tariff_id = 'gone'"),
        (
            "not_settled",
            "INSERT INTO not_settled (account_id, not_before, error) SELECT id, now(), 'a mistake' FROM account",
        ),
        (
            "not_judged",
            "INSERT INTO to_judge (point_id, from_day, error) "
            "SELECT id, '2026-03-01', 'a mistake' FROM point",
        ),
    ],
)
def test_what_is_wrong_with_the_archive_goes_before_what_is_missing(
    database_url: str, reason: str, sql: str
) -> None:
    found = told(database_url, Site.of(), {}, sql=sql)
    assert found is not None
    assert found.reason == reason


def test_a_line_that_does_not_run_is_why_its_freezes_are_missing(database_url: str) -> None:
    found = told(database_url, Site.of(), {0: "100", 1: "105"}, lines=("another",))
    assert found is not None
    assert found.reason == "line_disabled"


def test_a_day_that_the_meter_has_forgotten_is_lost(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of().take_over(connection, OPEN)
        await store(connection, freeze(meters["P1"], OPEN, "100"), authority=SHADOW)
        await store(connection, freeze(meters["P1"], OPEN + DAY, "105"), authority=SHADOW)
        for days, reason in ((62, "missing"), (63, "lost")):
            found = await one(connection, OPEN + DAY + days * DAY)
            assert found is not None
            assert (found.reason, found.lacks) == (reason, OPEN + 2 * DAY)
        # What is named for it is taken: the day up to which the point is billed has a reading.
        told = Order("P1", OPEN + 2 * DAY, "substitute", "li", "photo", Decimal(110), method="S2")
        assert (await decide(connection, told)).waits_for == 1

    on(database_url, story)


@pytest.mark.parametrize(
    "changes",
    [
        {"opened_on": DUE},
        {"installed_on": DUE, "opened_on": OPEN},
    ],
)
def test_what_begins_today_owes_nothing_of_yesterday(
    database_url: str, changes: dict[str, Any]
) -> None:
    assert told(database_url, Site.of(**changes), {}) is None


def test_the_counts_are_those_of_the_list(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(3)
        meters = await site.take_over(connection, OPEN)
        await store(connection, freeze(meters["P1"], OPEN, "100"), authority=SHADOW)
        await connection.execute("UPDATE account SET agreement = NULL WHERE number = 'A3'")
        asked = Question(DUE, ["line"], REMEMBERED)
        found = await standstill.standing(connection, asked)
        assert {row.reason for row in found} <= set(REASONS)
        counted = await standstill.counts(connection, asked, [0, 1, 2])
        of_reasons = counted.of_reasons
        assert sum(points for points, _ in of_reasons.values()) == len(found) == 3
        assert of_reasons["account_pending"] == (1, 4)
        assert sum(counted.of_ages) == len([row for row in found if row.account]) == 3
        assert counted.of_ages[:2] == [0, 0]

    on(database_url, story)


@pytest.mark.parametrize("is_given_away", [False, True])
def test_an_account_that_cannot_be_settled_is_named_though_its_days_are_billed(
    database_url: str, is_given_away: bool
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(2).take_over(connection, OPEN)
        for point in ("P1", "P2"):
            told = [freeze(meters[point], OPEN + n * DAY, 100 + n) for n in range(5)]
            await store(connection, *told, authority=SHADOW)
        if is_given_away:
            await connection.execute(
                "UPDATE point_account x SET account_id = a.id FROM account a, point p "
                "WHERE p.id = x.point_id AND (p.number, a.number) = ('P1', 'A2')"
            )
            await connection.execute(
                "INSERT INTO point_account (point_id, account_id, from_day, to_day) "
                "SELECT p.id, a.id, '2025-01-01', '2026-01-01' FROM account a, point p "
                "WHERE (p.number, a.number) = ('P1', 'A1')"
            )
        await connection.execute(
            "INSERT INTO to_settle (account_id, from_day, to_day, cause, since) "
            "SELECT id, %s, %s, 'tariff', %s FROM account WHERE number = 'A1'",
            (OPEN, OPEN, noon(DUE - 3 * DAY)),
        )
        await connection.execute(
            "INSERT INTO not_settled (account_id, not_before, error) "
            "SELECT id, now(), 'no register tells the rate peak' FROM account WHERE number = 'A1'"
        )
        (found,) = await standstill.standing(connection, Question(DUE, ("line",), REMEMBERED))
        assert (found.point, found.account, found.reason, found.age_days, found.error) == (
            *("P1", "A1", "not_settled", 3, "no register tells the rate peak"),
        )

    on(database_url, story)
