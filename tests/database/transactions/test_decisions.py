"""What persons say of values: what counts at once, what waits for another, what is refused."""

from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.transactions.collect import settle_marked
from daemon.transactions.decisions import Decided, DecisionRefused, Order, approve, decide, refuse
from daemon.transactions.documents.filing import approve as approve_document
from daemon.transactions.documents.filing import file_document
from daemon.transactions.documents.ratio_change import RatioChange
from storage import decisions, history
from storage.archive import SiteMeter
from storage.documents import Said
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
    SHADOW,
    Site,
    balance,
    freeze,
    links,
    on,
    rows,
    slots,
    store,
)

pytestmark = pytest.mark.hypertables


def order(action: Any, day: int, total: str | None = None, **more: Any) -> Order:
    said: dict[str, Any] = {"maker": "Wang", "reason": "seen on site", **more}
    return Order(
        point="P1",
        day=OPEN + day * DAY,
        action=action,
        total=None if total is None else Decimal(total),
        **said,
    )


async def told(connection: AsyncConnection[Any], values: dict[int, str]) -> SiteMeter:
    """Point P1 told these registers, by days since the opening."""
    meter = (await Site.of().take_over(connection, OPEN))["P1"]
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


def test_a_spike_that_one_person_releases_is_billed_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, SPIKE)
        assert await state(connection, 1) == ("suspect", 141000)
        decided = await decide(connection, order("release", 1, "1410"))
        assert decided.waits_for == 0
        await settle(connection)
        assert await state(connection, 1) == ("published", 141000)
        assert await balance(connection, "A1") == -20_500, "Q2: 410 kWh at 0.50"

    story_of(database_url, story)


def test_a_value_collected_after_a_release_is_no_beginning_that_anybody_saw(
    database_url: str,
) -> None:
    """The first value of a point was released; a false 0 of the day before it comes later."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await told(connection, {1: "5000", 2: "5005"})
        await decide(connection, order("release", 1, "5000"))
        await store(connection, freeze(meter, OPEN, "0"), authority=SHADOW)
        spans = await rows(connection, "SELECT from_day, hold FROM link ORDER BY 1")
        assert spans == [(OPEN, "spike"), (OPEN + DAY, None)]

    on(database_url, story)


def test_the_journal_names_who_released(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await told(connection, SPIKE)
        await decide(connection, order("release", 1, "1410"))
        found = await history.slot_versions(connection, meter.point_id, OPEN + DAY, OPEN + DAY)
        assert [(it.state, it.changed_by) for it in found] == [
            ("suspect", "Wang"),
            ("published", None),
        ]

    story_of(database_url, story)


def test_a_value_that_is_withdrawn_gives_its_money_back(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105", 2: "110"})
        assert await balance(connection, "A1") == -500
        await decide(connection, order("withdraw", 2, "110"))
        await settle(connection)
        assert (await state(connection, 2))[0] == "suspect"
        assert await balance(connection, "A1") == -250

    story_of(database_url, story)


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
        assert OPEN + 2 * DAY not in await slots(connection, "P1")
        assert (await approve(connection, made.number, "Li")).waits_for == 0
        assert await state(connection, 2) == ("substituted", 11000)

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
        assert OPEN + 2 * DAY not in await slots(connection, "P1")

    story_of(database_url, story)


def test_an_agreed_value_needs_two_others(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S6", evidence="protocol 3")
        made = await decide(connection, wanted)
        assert made.waits_for == 2
        assert (await approve(connection, made.number, "Li")).waits_for == 1
        assert await refused_as(approve(connection, made.number, "Li")) == "same_person"
        assert OPEN + 2 * DAY not in await slots(connection, "P1")
        assert (await approve(connection, made.number, "Zhao")).waits_for == 0
        assert await state(connection, 2) == ("substituted", 11000)

    story_of(database_url, story)


def test_a_genuine_value_takes_the_place_of_a_substitute(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await told(connection, {0: "100", 1: "115.30", 3: "120"})
        wanted = order("substitute", 2, "118.10", method="S4", evidence="interpolated")
        made = await decide(connection, wanted)
        await approve(connection, made.number, "Li")
        await settle(connection)
        assert await links(connection, "P1") == days_linked(0, 1, 2, 3)
        late = freeze(meter, OPEN + 2 * DAY, "117.95")
        await store(connection, late, authority=SHADOW)
        assert await state(connection, 2) == ("published", 11795)
        (revision,) = await rows(
            connection, "SELECT revision FROM slot WHERE day = %s", OPEN + 2 * DAY
        )
        assert revision >= 1, "Q5: a new revision"
        assert await balance(connection, "A1") == -1000, "Q5: money nets"

    story_of(database_url, story)


def days_linked(*days: int) -> list[tuple[date, date, str]]:
    return [(OPEN + first * DAY, OPEN + last * DAY, "billed") for first, last in pairwise(days)]


def test_a_held_span_is_billed_when_two_persons_say_so(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105", 10: "150"})
        assert (OPEN + DAY, OPEN + 10 * DAY, "held") in await links(connection, "P1")
        made = await decide(connection, order("release_link", 10, from_day=OPEN + DAY))
        assert made.waits_for == 1
        await settle(connection)
        assert await balance(connection, "A1") == -250
        await approve(connection, made.number, "Li")
        await settle(connection)
        assert (OPEN + DAY, OPEN + 10 * DAY, "billed") in await links(connection, "P1")
        assert await balance(connection, "A1") == -2500

    story_of(database_url, story)


def test_who_approves_held_use_approves_that_use_and_no_other(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105", 10: "150", 11: "151"})
        made = await decide(connection, order("release_link", 10, from_day=OPEN + DAY))
        await decide(connection, order("reject", 1, "105"))
        other = await decide(
            connection, order("substitute", 1, "120", method="S2", evidence="photo 3")
        )
        await approve(connection, other.number, "Li")
        assert await refused_as(approve(connection, made.number, "Li")) == "other_use"
        anew = await decide(connection, order("release_link", 10, from_day=OPEN + DAY))
        await approve(connection, anew.number, "Li")
        await settle(connection)
        assert await balance(connection, "A1") == -51 * 50

    story_of(database_url, story)


def test_what_two_persons_released_is_no_release_of_more_by_another_ratio(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105", 10: "150"})
        made = await decide(connection, order("release_link", 10, from_day=OPEN + DAY))
        await approve(connection, made.number, "Li")
        await settle(connection)
        assert await balance(connection, "A1") == -50 * 50
        again = order("release_link", 10, from_day=OPEN + DAY, reason="once more")
        assert await refused_as(decide(connection, again)) == "released_already"

        ratio = RatioChange("P1", OPEN, Decimal(80), None)
        filed = await file_document(connection, ratio, Said("Wang", "new transformers"), NOW)
        assert filed.number is not None
        await approve_document(connection, filed.number, Said("Li", "as told"), NOW)
        await settle(connection)
        assert (OPEN + DAY, OPEN + 10 * DAY, "held") in await links(connection, "P1")
        assert await balance(connection, "A1") == -5 * 80 * 50

        anew = await decide(connection, again)
        await approve(connection, anew.number, "Li")
        await settle(connection)
        assert await balance(connection, "A1") == -50 * 80 * 50

    story_of(database_url, story)


def test_a_substitute_on_the_opening_day_is_billed_from_though_a_document_began_the_meter(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "90", 1: "105", 2: "110"})
        await decide(connection, order("reject", 0, "90"))
        made = await decide(
            connection, order("substitute", 0, "100", method="S2", evidence="photo 3")
        )
        await approve(connection, made.number, "Li")
        await settle(connection)
        assert await links(connection, "P1") == days_linked(0, 1, 2)
        assert await balance(connection, "A1") == -10 * 50

    story_of(database_url, story)


def test_a_substitute_beyond_the_limit_is_held(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105"})
        for total, held in (("485", "billed"), ("486", "held")):
            wanted = order("substitute", 2, total, method="S2", evidence="photo 3")
            made = await decide(connection, wanted)
            await approve(connection, made.number, "Li")
            await settle(connection)
            assert (await links(connection, "P1"))[-1][2] == held

    story_of(database_url, story)


def test_a_point_that_was_never_read_is_billed_by_substitutes(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = await told(connection, {})
        for day, total in ((0, "100"), (3, "115"), (5, "120")):
            wanted = order("substitute", day, total, method="S2", evidence=f"photo {day}")
            made = await decide(connection, wanted)
            await approve(connection, made.number, "Li")
        await settle(connection)
        assert await links(connection, "P1") == days_linked(0, 3, 5)
        assert await balance(connection, "A1") == -20 * 50
        # What is read later goes on from there.
        read = [freeze(meter, OPEN + day * DAY, kwh) for day, kwh in ((6, "125"), (7, "130"))]
        await store(connection, *read, authority=SHADOW)
        assert await balance(connection, "A1") == -30 * 50

    story_of(database_url, story)


def test_a_substitute_splits_a_held_span(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, {0: "100", 1: "105", 10: "150"})
        wanted = order("substitute", 5, "125", method="S4", evidence="interpolated")
        made = await decide(connection, wanted)
        await approve(connection, made.number, "Li")
        await settle(connection)
        assert await links(connection, "P1") == days_linked(0, 1, 5, 10)

    story_of(database_url, story)


def test_a_substitute_that_is_withdrawn_shows_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S2", evidence="photo 7")
        made = await decide(connection, wanted)
        await approve(connection, made.number, "Li")
        await decide(connection, order("withdraw", 2, "110"))
        assert OPEN + 2 * DAY not in await slots(connection, "P1")

    story_of(database_url, story)


def test_what_was_refused_cannot_be_approved(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S2", evidence="photo 7")
        made = await decide(connection, wanted)
        await refuse(connection, made.number, "Wang", "a mistake of mine")
        assert await refused_as(approve(connection, made.number, "Li")) == "not_waiting"

    story_of(database_url, story)


@pytest.mark.parametrize(
    ("wanted", "waits_for"),
    [
        (order("withdraw", 1, "105"), 0),
        (order("substitute", 2, "110", method="S2", evidence="photo"), 1),
    ],
)
def test_who_says_the_same_again_because_no_answer_came_says_it_once(
    database_url: str, wanted: Order, waits_for: int
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        first = await decide(connection, wanted)
        again = await decide(connection, wanted)
        assert (again.number, again.waits_for) == (first.number, waits_for)
        assert len(await decisions.decisions(connection)) == 1

    story_of(database_url, story)


def test_what_was_refused_can_be_said_again(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await told(connection, GAP)
        wanted = order("substitute", 2, "110", method="S2", evidence="photo")
        first = await decide(connection, wanted)
        await refuse(connection, first.number, "Chen", "no photo")
        again = await decide(connection, wanted)
        assert again.number != first.number

    story_of(database_url, story)
