"""Values without rates where the price needs them: their use goes on to the next that has them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.tariff_version import TOTAL, TariffVersion
from daemon.billing.standstill import REASONS, REMEMBERED
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.decisions import DecisionRefused, Order, approve, decide
from storage import archive, standstill
from storage.archive import SiteMeter
from storage.standstill import Question
from tests.database.proven import proven
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    TODAY,
    Site,
    balance,
    freeze,
    intact,
    noon,
    on,
    rows,
    store,
)

BY_RATES = {"peak": Decimal(1), "flat": Decimal("0.1")}
ALWAYS = [TariffVersion("T", date(2026, 1, 1), BY_RATES)]
FROM_THE_THIRD_DAY = [
    TariffVersion("T", date(2026, 1, 1), {TOTAL: Decimal("0.5")}),
    TariffVersion("T", OPEN + 2 * DAY, BY_RATES),
]
LINKS = "SELECT from_day - %s, to_day - %s, hold FROM link ORDER BY 1"


async def a_site(
    connection: AsyncConnection[Any], versions: Iterable[TariffVersion], **about: Any
) -> SiteMeter:
    site = Site.of(1, rates="peak flat", residual_rate="flat", **about)
    await site.take_over(connection)
    tariffs = [tariff_row("T", version) for version in versions]
    await archive.take_over(connection, replace(site.rows(), tariffs=tariffs), noon(TODAY))
    (meter,) = await archive.site_meters(connection)
    return meter


async def told(
    connection: AsyncConnection[Any], meter: SiteMeter, days: Iterable[int], without: set[int]
) -> None:
    """Freezes of 4 kWh a day, one of them at the peak."""
    for n in days:
        rates = [] if n in without else [Decimal(40 + n), Decimal(60 + 3 * n)]
        await store(connection, freeze(meter, OPEN + n * DAY, 100 + 4 * n, rates=rates))


async def links(connection: AsyncConnection[Any]) -> list[Any]:
    return await rows(connection, LINKS, OPEN, OPEN)


def test_a_late_value_inside_use_that_goes_on_loses_nothing_of_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, ALWAYS)
        await told(connection, meter, [0, 1, 2, 4, 5, 6, 7], without={4, 5})
        linked = [(0, 1, None), (1, 2, None), (2, 6, None), (6, 7, None)]
        assert await links(connection) == linked
        before = await balance(connection, "A1")
        await told(connection, meter, [3], without={3})
        assert await links(connection) == linked
        assert await balance(connection, "A1") == before
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [0, 4, 3, 2, 1], [3, 4, 1, 2, 0]])
def test_use_before_the_price_needs_rates_ends_where_it_ends_in_any_order(
    database_url: str, order: list[int]
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, FROM_THE_THIRD_DAY)
        await told(connection, meter, order, without={1, 2})
        assert await links(connection) == [
            (0, 1, None),
            (1, 2, None),
            (2, 3, "rates"),
            (3, 4, None),
        ]
        assert await balance(connection, "A1") == -400 - 130

    on(database_url, story)


def test_use_without_rates_is_named_and_its_next_step_ends_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, FROM_THE_THIRD_DAY)
        await told(connection, meter, [0, 1], without=set())
        await substitute(connection, Decimal(108))
        await told(connection, meter, [3, 4], without=set())
        assert (2, 3, "rates") in await links(connection)
        asked = Question(OPEN + 4 * DAY, ["line"], REMEMBERED)
        (found,) = await standstill.standing(connection, asked)
        assert (found.reason, found.held_from) == ("no_rates", OPEN + 2 * DAY)
        await substitute(connection, Decimal(108), Decimal(42), Decimal(66))
        assert await standstill.standing(connection, asked) == []
        assert await balance(connection, "A1") == -400 - 130 - 130

    on(database_url, story)


def test_a_reading_without_rates_on_the_first_day_that_needs_them_has_a_way_out(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, FROM_THE_THIRD_DAY)
        await told(connection, meter, range(5), without={2})
        asked = Question(OPEN + 4 * DAY, ["line"], REMEMBERED)
        (found,) = await standstill.standing(connection, asked)
        assert found.reason == "no_rates"
        step = REASONS["no_rates"].next_step.format(found)
        assert step.index(f"meterd quality withdraw P1 {found.held_to} ") < step.index(
            f"meterd quality substitute P1 {found.held_to} "
        )
        withdrawn = Order("P1", OPEN + 2 * DAY, "withdraw", "li", "no rates", total=Decimal(108))
        await decide(connection, withdrawn)
        await substitute(connection, Decimal(108), Decimal(42), Decimal(66))
        assert await standstill.standing(connection, asked) == []
        assert await balance(connection, "A1") == -400 - 130 - 130
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.parametrize("peak", [39, 44])
def test_a_substitute_whose_rates_would_turn_over_is_refused(database_url: str, peak: int) -> None:
    """Else a step back of one rate is billed as a whole turn of its register."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await a_site(connection, ALWAYS)
        await told(connection, meter, [0, 1, 3], without=set())
        with pytest.raises(DecisionRefused) as refused:
            await substitute(connection, Decimal(108), Decimal(peak), Decimal(108 - peak))
        assert refused.value.reason == "does_not_fit"
        assert await balance(connection, "A1") == -3 * 130

    on(database_url, story)


def test_a_substitute_of_a_total_that_turned_over_adds_up(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        known = {"first_registers_are_known": False}
        meter = await a_site(connection, ALWAYS, modulus=10_600, **known)
        for n, total in ((0, 100), (1, 104), (3, 6)):
            rates = [Decimal(40 + n), Decimal(60 + 3 * n)]
            await store(connection, freeze(meter, OPEN + n * DAY, total, rates=rates))
        await substitute(connection, Decimal(2), Decimal(42), Decimal(66))
        assert await links(connection) == [(n, n + 1, None) for n in range(3)]
        assert await balance(connection, "A1") == -3 * 130
        assert await proven(connection)

    on(database_url, story)


async def substitute(connection: AsyncConnection[Any], total: Decimal, *rates: Decimal) -> None:
    """Of the third day, by two persons."""
    order = Order(
        *("P1", OPEN + 2 * DAY, "substitute", "li", "read by hand"),
        total=total,
        rates=rates,
        method="S2",
        evidence="photo",
    )
    done = await decide(connection, order)
    await approve(connection, done.number, "wang", "seen")
    await settle_marked(connection, ARMED, NOW)
