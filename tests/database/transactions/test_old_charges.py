"""What a slab, a minimum or the end of a bonus charges for earlier days cuts nobody that day, and
is named (money.md 15a, amendment 2)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.tariff_version import TOTAL, Ladder, TariffVersion
from daemon.billing.span_grace import GRACE
from daemon.transactions.account_entries import HouseholdBonus, approve_entry, file_entry
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import settle_marked
from daemon.transactions.day_close import close_days
from storage import archive, explanation
from storage.documents import Said
from tests.database.small_site import (
    ARMED,
    DAY,
    OPEN,
    ZONE,
    Site,
    freeze,
    intact,
    meters,
    noon,
    on,
    rows,
    store,
)

LI, WANG = Said("li", "seven people"), Said("wang", "")
START = date(2026, 1, 1)
KERALA = TariffVersion(
    "T",
    START,
    {},
    Ladder(
        "month",
        "slab",
        (Decimal(200), Decimal(250)),
        (Decimal("4.00"), Decimal("5.00"), Decimal("6.40")),
        whole_above_kwh=Decimal(250),
    ),
)
MINIMUM = TariffVersion("T", START, {TOTAL: Decimal("0.50")}, minimum_yuan=Decimal(31))
BY_MONTH = TariffVersion(
    "T", START, {}, Ladder("month", "price", (Decimal(1),), (Decimal("0.5"), Decimal(1)))
)


async def site(connection: AsyncConnection[Any], version: TariffVersion) -> None:
    files = replace(Site.of().rows(), tariffs=[tariff_row("T", version)])
    await Site.of().take_over(connection, OPEN)
    await archive.take_over(connection, files, noon(OPEN))


async def use(
    connection: AsyncConnection[Any], registers: Sequence[object], first: int = 0
) -> None:
    """A freeze each day, each at noon of its day."""
    meter = (await meters(connection))["P1"]
    for number, kwh in enumerate(registers, first):
        day = OPEN + number * DAY
        await store(connection, freeze(meter, day, str(kwh)), now=noon(day))


async def grace(connection: AsyncConnection[Any]) -> datetime | None:
    (until,) = await rows(connection, "SELECT span_grace_until FROM account")
    return until  # type: ignore[no-any-return]


async def reasons(connection: AsyncConnection[Any]) -> list[tuple[date, list[str]]]:
    """Of the movements that have some."""
    async with explanation.one_moment(connection):
        found = await explanation.movements(connection, "A1")
        told = [(it.day, list(it.reasons)) for it in found if it.reasons]
        for it in found:
            transaction = await explanation.transaction(connection, it.transaction)
            assert transaction is not None
            assert transaction.reasons == it.reasons
    return told


def test_a_slab_that_is_reached(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, KERALA)
        await use(connection, [100 + 12 * number for number in range(21)])
        assert await grace(connection) is None
        # 240 kWh cost 1000 yuan and cost 1536 now, more than three days of 48.
        await use(connection, ["351.00"], first=21)
        assert await grace(connection) == noon(OPEN + 21 * DAY) + GRACE
        assert await reasons(connection) == [(OPEN + 20 * DAY, ["slab reached"])]
        fen = "SELECT fen, first_day FROM old_charge"
        assert await rows(connection, fen) == [(53_600, OPEN)]
        assert await intact(connection)

    on(database_url, story)


def test_a_slab_reached_when_the_month_has_no_old_day(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, KERALA)
        await use(connection, [100, 340, 360])
        assert await grace(connection) is None
        assert await reasons(connection) == []

    on(database_url, story)


@pytest.mark.parametrize("closed_before", [30, 0])
def test_a_minimum_that_comes_with_the_last_day(database_url: str, closed_before: int) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, MINIMUM)
        await use(connection, [100 + Decimal("0.1") * number for number in range(32)])
        await close_days(connection, ZONE, noon(OPEN + closed_before * DAY))
        await settle_marked(connection, ARMED, noon(OPEN + 30 * DAY))
        assert await grace(connection) is None
        now = noon(OPEN + 31 * DAY)
        await close_days(connection, ZONE, now)
        await settle_marked(connection, ARMED, now)
        assert await grace(connection) == now + GRACE
        assert await rows(connection, "SELECT fen, first_day FROM old_charge") == [(2_945, OPEN)]
        assert [it for _, it in await reasons(connection)] == [["minimum"]]
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.parametrize("with_a_day", [False, True])
def test_a_bonus_that_ends(database_url: str, with_a_day: bool) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await site(connection, BY_MONTH)
        await file_entry(connection, HouseholdBonus("A1", START, Decimal(100)), LI, noon(OPEN))
        await use(connection, [100 + 3 * number for number in range(20)])
        ended = HouseholdBonus("A1", OPEN, Decimal(0))
        filed = await file_entry(connection, ended, LI, noon(OPEN))
        assert filed.number is not None
        await approve_entry(connection, filed.number, WANG)
        assert await grace(connection) is None
        now = noon(OPEN + 20 * DAY)
        if with_a_day:
            await use(connection, [160], first=20)
        else:
            await settle_marked(connection, ARMED, now)
        assert await grace(connection) == now + GRACE
        assert [it for _, it in await reasons(connection)] == [["bonus ended"]]
        # More of it gives money back, and is no reason to spare anybody.
        more = HouseholdBonus("A1", OPEN, Decimal(50))
        filed = await file_entry(connection, more, LI, now, corrects=True)
        assert filed.number is not None
        await approve_entry(connection, filed.number, WANG)
        await settle_marked(connection, ARMED, now + timedelta(hours=1))
        assert [it for _, it in await reasons(connection)] == [["bonus ended"]]
        assert await intact(connection)

    on(database_url, story)
