"""What persons say of values: what counts at once, what waits for another, what is refused."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.transactions.collect import settle_marked
from daemon.transactions.decisions import Decided, DecisionRefused, Order, approve, decide, refuse
from storage import decisions
from storage.archive import SiteMeter
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
    SHADOW,
    Site,
    freeze,
    on,
    slots,
    store,
)

pytestmark = pytest.mark.hypertables


def order(action: str, day: int, total: str | None = None, **more: Any) -> Order:
    said: dict[str, Any] = {"maker": "Wang", "reason": "seen on site", **more}
    return Order(
        point="P1",
        day=OPEN + day * DAY,
        action=action,  # type: ignore[arg-type]
        total=None if total is None else Decimal(total),
        **said,
    )


async def told(connection: AsyncConnection[Any], values: dict[int, str]) -> SiteMeter:
    """Point P1 told these registers, by days since the opening."""
    meter = (await Site.of().take_over(connection, OPEN))["P1"]
    # Somebody wrote down that it began with 0: its first value needs no second one.
    await connection.execute("UPDATE installation SET initial = '{0}'")
    for day, kwh in values.items():
        await store(connection, freeze(meter, OPEN + day * DAY, kwh), authority=SHADOW)
    return meter


async def state(connection: AsyncConnection[Any], day: int) -> tuple[str, int]:
    shown, total, _ = (await slots(connection, "P1"))[OPEN + day * DAY]
    return shown, total


async def settle(connection: AsyncConnection[Any]) -> None:
    await settle_marked(connection, SHADOW, NOW)


def story_of(database_url: str, story: Callable[[AsyncConnection[Any]], Awaitable[None]]) -> None:
    on(database_url, story)


async def refused_as(found: Awaitable[Decided]) -> str:
    with pytest.raises(DecisionRefused) as refused:
        await found
    return refused.value.reason


SPIKE = {0: "1000", 1: "1410"}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (order("release", 1, "1411"), "no_such_value"),
        (order("reject", 1, "7"), "no_such_value"),
        (order("release", 1, "1410.001"), "not_a_register"),
        (order("release_link", 1, from_day=OPEN), "no_held_link"),
        (order("substitute", 0, "1", method="S2", evidence="photo"), "has_reading"),
        (order("substitute", 3, "1", method="S2", evidence="photo"), "does_not_fit"),
        (order("substitute", 3, "1001", method="S4", evidence="x"), "no_neighbours"),
        (order("substitute", 3, "1001", method="S5", evidence="x"), "no_basis"),
    ],
)
def test_what_may_not_be_is_refused_by_name(database_url: str, wanted: Order, reason: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, SPIKE)
        assert await refused_as(decide(connection, wanted)) == reason
        assert await decisions.decisions(connection) == []

    story_of(database_url, story)


def test_a_release_below_what_is_published_before_needs_a_document(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105", 2: "3"})
        wanted = order("release", 2, "3")
        assert await refused_as(decide(connection, wanted)) == "backward_needs_document"

    story_of(database_url, story)


GAP = {0: "100", 1: "105", 3: "115"}


def test_a_substitute_counts_when_another_person_approved_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S2", evidence="photo 7")
        made = await decide(connection, wanted)
        assert made.waits_for == 1
        approved = await approve(connection, made.number, "Li")
        assert approved.waits_for == 0
        assert approved.changes[OPEN + 2 * DAY].state == "substituted"
        (found,) = await decisions.decisions(connection)
        assert found.state == "counts"

    story_of(database_url, story)


@pytest.mark.parametrize("who", ["Wang", "wang"])
def test_a_substitute_approved_by_its_author_is_refused(database_url: str, who: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S2", evidence="photo 7")
        made = await decide(connection, wanted)
        assert await refused_as(approve(connection, made.number, who)) == "same_person"
        with pytest.raises(psycopg.errors.CheckViolation):
            await decisions.review(connection, made.number, who, "approved", "")

    story_of(database_url, story)


def test_an_agreed_value_needs_two_others(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S6", evidence="protocol 3")
        made = await decide(connection, wanted)
        assert made.waits_for == 2
        assert (await approve(connection, made.number, "Li")).waits_for == 1
        assert await refused_as(approve(connection, made.number, "Li")) == "same_person"
        assert (await approve(connection, made.number, "Zhao")).waits_for == 0
        (found,) = await decisions.decisions(connection)
        assert found.state == "counts"

    story_of(database_url, story)


def test_what_was_refused_cannot_be_approved(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S2", evidence="photo 7")
        made = await decide(connection, wanted)
        await refuse(connection, made.number, "Wang", "a mistake of mine")
        assert await refused_as(approve(connection, made.number, "Li")) == "not_waiting"

    story_of(database_url, story)
