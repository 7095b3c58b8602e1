"""Months are closed while readings come in any order: what they cost is whole, and nothing enters
them."""

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.explanation import account_month, explain_day
from daemon.transactions.month_close import close_month
from storage import explanation
from storage.documents import Said
from tests.database.proven import proven
from tests.database.small_site import (
    DAY,
    TODAY,
    ZONE,
    Site,
    balance,
    freeze,
    intact,
    on,
    rows,
    store,
)
from tests.unit.exact_money import Price, exact_by_month, rounded

OPENING = date(2026, 3, 28)
PRICES = [Price(date(2026, 1, 1), Decimal("0.5283")), Price(date(2026, 4, 2), Decimal("0.61"))]
LI = Said("li", "it was exported")
ENTERED = """
    SELECT j.id FROM journal j JOIN closed_month c ON j.recorded_at > c.at
    WHERE date_trunc('month', j.value_date) = c.month
       OR EXISTS (SELECT FROM posting_stream s WHERE s.id = ANY(j.streams) AND s.period = c.month)
"""
CHARGED = """
    SELECT s.about_month, -sum(l.fen)::bigint FROM journal j
    CROSS JOIN LATERAL unnest(j.accounts, j.amounts, j.streams) AS l (account, fen, stream)
    JOIN posting_stream s ON s.id = l.stream WHERE l.account > 0 GROUP BY 1 ORDER BY 1
"""


def register(day: int) -> int:
    """0.01 kWh."""
    return 10_000 + day * 1_000 + (day * 37) % 97


async def billed(connection: AsyncConnection[Any], **changes: Any) -> Any:
    """The meter of a site that is billed from the 28th of March on."""
    site = Site(tariffs=[("T", *price) for price in PRICES])
    site.add(1, opened_on=OPENING, **changes)
    return (await site.take_over(connection))["P1"]


@pytest.mark.parametrize("seed", range(6))
def test_a_month_and_its_adjustments_come_to_its_price_in_any_order(
    database_url: str, seed: int
) -> None:
    chance = random.Random(seed)
    days = chance.sample(range(1, 40), 12)
    events: list[int | date] = [*days]
    closings = sorted(chance.sample(range(len(days) + 1), 2))
    events.insert(closings[1], date(2026, 4, 1))
    events.insert(closings[0], date(2026, 3, 1))

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await billed(connection)
        chain = {OPENING: register(0)}
        await store(connection, freeze(meter, OPENING, Decimal(register(0)).scaleb(-2)))
        for event in events:
            if isinstance(event, date):
                await close_month(connection, event, LI, TODAY)
                continue
            day = OPENING + event * DAY
            chain[day] = register(event)
            await store(connection, freeze(meter, day, Decimal(chain[day]).scaleb(-2)))
            owed = {it: rounded(yuan) for it, yuan in exact_by_month(chain, PRICES).items()}
            found = {month: fen for month, fen in await rows(connection, CHARGED) if fen}
            assert found == {month: fen for month, fen in owed.items() if fen}
            assert await balance(connection, "A1") == -sum(owed.values())
        assert await rows(connection, ENTERED) == []
        assert await intact(connection)
        await proven(connection)

    on(database_url, story)


def test_a_span_over_the_end_of_a_month_counts_in_each_for_what_it_used(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await billed(connection)
        for day in (0, 6):
            await store(connection, freeze(meter, OPENING + day * DAY, 100 + day))
        posted = "SELECT value_date, -fen FROM journal ORDER BY id"
        # Four days at 0.5283, then two: the price changes on the 2nd.
        owed = [(date(2026, 3, 31), 211), (date(2026, 4, 2), 114)]
        assert await rows(connection, posted) == owed
        async with explanation.one_moment(connection):
            told = [
                await account_month(connection, "A1", month, ZONE)
                for month in (date(2026, 3, 1), date(2026, 4, 1))
            ]
            explained = await explain_day(connection, "A1", OPENING, ZONE)
        assert [(it.opening_fen, it.posted_fen) for it in told] == [
            (0, {"energy": 211}),
            (-211, {"energy": 114}),
        ]
        assert [(it.before_fen, it.with_fen, it.now_fen) for it in explained.streams] == [
            (0, 211, 211),
            (0, 114, 114),
        ]
        bills = await proven(connection)
        assert [it.money.opening_fen for it in bills][:2] == [0, -211]
        for number in (1, 2):
            (charge,) = await rows(
                connection, f"SELECT id FROM journal ORDER BY id LIMIT 1 OFFSET {number - 1}"
            )
            (link,) = await explanation.billed_with(connection, charge)
            assert (link.from_day, link.to_day) == (OPENING, OPENING + 6 * DAY)

    on(database_url, story)


def test_a_charge_that_is_dated_in_another_month_is_found(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await billed(connection)
        for day in (0, 1):
            await store(connection, freeze(meter, OPENING + day * DAY, 100 + day))
        assert await intact(connection)
        await connection.execute(
            "INSERT INTO journal (value_date, kind, account, other_account, fen, stream)"
            " SELECT value_date + 31, kind, account, other_account, fen, stream FROM journal"
        )
        assert not await intact(connection)

    on(database_url, story)
