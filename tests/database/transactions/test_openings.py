"""The opening freeze of a point: nothing is billed without it, whenever it goes or comes (R41)."""

from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.decisions import approve, decide
from storage.archive import SiteMeter
from tests.database.small_site import (
    DAY,
    OPEN,
    SHADOW,
    Site,
    balance,
    freeze,
    intact,
    links,
    meters,
    on,
    rows,
    store,
)
from tests.database.transactions.test_decisions import order, settle

pytestmark = pytest.mark.hypertables

USE_FEN = 500
A1_STATE = "SELECT state FROM account WHERE number = 'A1'"
SUBSTITUTE = order("substitute", 0, "100.50", method="S2", evidence="photo 7")


async def told(connection: AsyncConnection[Any], meter: SiteMeter, days: range) -> None:
    """It used 5 kWh on each of these days."""
    for day in days:
        await store(connection, freeze(meter, OPEN + day * DAY, 100 + 5 * day), authority=SHADOW)


async def point(connection: AsyncConnection[Any], days: range) -> None:
    site = Site.of(first_registers_are_known=False)
    await told(connection, (await site.take_over(connection, OPEN))["P1"], days)


async def rejected(connection: AsyncConnection[Any]) -> None:
    await point(connection, range(3))
    assert await balance(connection, "A1") == -USE_FEN
    await decide(connection, order("reject", 0, "100"))
    await settle(connection)


async def substituted(connection: AsyncConnection[Any]) -> None:
    number = (await decide(connection, SUBSTITUTE)).number
    await approve(connection, number, "Li")
    await settle(connection)


def test_what_was_billed_behind_an_opening_freeze_that_goes_is_given_back(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await rejected(connection)
        assert await links(connection, "P1") == []
        assert await balance(connection, "A1") == 0
        assert await intact(connection)

    on(database_url, story)


def test_it_is_billed_again_when_the_opening_freeze_comes_back(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await rejected(connection)
        await decide(connection, order("release", 0, "100"))
        await settle(connection)
        assert await balance(connection, "A1") == -USE_FEN
        assert await intact(connection)

    on(database_url, story)


def test_a_substitute_opens_a_point(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await rejected(connection)
        await substituted(connection)
        assert await balance(connection, "A1") == -475, "9.50 kWh at 0.50"
        assert await links(connection, "P1") == [
            (OPEN, OPEN + DAY, "billed"),
            (OPEN + DAY, OPEN + 2 * DAY, "billed"),
        ]

    on(database_url, story)


def test_it_is_the_same_when_it_went_before_anything_was_billed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await point(connection, range(1))
        await decide(connection, order("reject", 0, "100"))
        await told(connection, (await meters(connection))["P1"], range(1, 3))
        await settle(connection)
        assert (await links(connection, "P1"), await balance(connection, "A1")) == ([], 0)

    on(database_url, story)


@pytest.mark.parametrize(
    ("state", "then"), [("pending", "active"), ("closing", "closing"), ("closed", "closed")]
)
def test_only_what_waits_for_its_opening_freeze_becomes_active(
    database_url: str, state: str, then: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await point(connection, range(1))
        await connection.execute("UPDATE account SET state = %s", (state,))
        await told(connection, (await meters(connection))["P1"], range(1, 3))
        assert await rows(connection, "SELECT state FROM account") == [then]

    on(database_url, story)


def test_an_account_is_active_when_the_last_of_its_opening_freezes_is_there(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site(first_registers_are_known=False)
        site.add(1)
        site.add(2, account="A1")
        found = await site.take_over(connection, OPEN)
        await told(connection, found["P1"], range(2))
        assert await rows(connection, A1_STATE) == ["pending"]
        await told(connection, found["P2"], range(2))
        assert await rows(connection, A1_STATE) == ["active"]

    on(database_url, story)
