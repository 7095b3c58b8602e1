"""What a document changes is the difference of two pictures, told in days."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.document_effect import (
    NOTHING,
    ChangedDay,
    Effect,
    Holding,
    Multiplied,
    Picture,
    effect,
    in_words,
)
from daemon.quality.verdict import DayState, Link, Verdict

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2026, 3, 1)
DAY = timedelta(days=1)


def picture(*holdings: Holding, days: int = 6, kwh: int = 5, ratio: int = 1) -> Picture:
    """A point that uses so much every day."""
    states = {FIRST + n * DAY: DayState("published", Decimal(100 + kwh * n)) for n in range(days)}
    links = tuple(
        Link(FIRST + n * DAY, FIRST + (n + 1) * DAY, Decimal(kwh * ratio)) for n in range(days - 1)
    )
    return Picture(Verdict(states, (), links), holdings, ZONE)


WHOLE = [(FIRST, FIRST + 5 * DAY)]
A = Holding("A", FIRST, None)


def test_the_same_picture_again_is_no_effect() -> None:
    found = effect(picture(A), picture(A), WHOLE)
    assert found.is_empty
    assert found == NOTHING
    assert in_words("P", found) == ["P: nothing changes for any day so far"]


@given(st.integers(0, 5))
def test_of_a_point_handed_over_the_days_behind_are_given_back_and_no_other(day: int) -> None:
    handed = FIRST + day * DAY
    after = picture(Holding("A", FIRST, handed), Holding("B", handed, None))
    found = effect(picture(A), after, WHOLE)
    assert found.given_back == {FIRST + n * DAY for n in range(day, 5)} == found.moved
    assert {use.account for use in found.come} <= {"B"}
    assert found.openings[handed] == 100 + 5 * day


def test_days_that_are_not_billed_yet_are_not_moved() -> None:
    found = effect(picture(A), picture(A, ratio=10), [(FIRST, FIRST + 2 * DAY)])
    assert found.moved == {FIRST, FIRST + DAY}
    assert found.given_back == set()
    assert in_words("P", found) == ["P: use of 25 kWh becomes 250 kWh"]


def test_use_up_to_a_moment_belongs_to_who_has_the_point_on_that_day() -> None:
    moment = datetime(2026, 3, 6, 2, 30, tzinfo=UTC)  # 10:30 in Shanghai
    link = Link(FIRST + 5 * DAY, moment, Decimal(2))
    verdict = Verdict({}, (), (link,))
    for end, account in ((FIRST + 5 * DAY, None), (FIRST + 6 * DAY, "A")):
        (use,) = Picture(verdict, (Holding("A", FIRST, end),), ZONE).uses()
        assert use.account == account


def test_each_kind_of_change_of_a_day_has_its_word() -> None:
    published = DayState("published", Decimal(1))
    suspect = DayState("suspect", Decimal(1), ("V08",), "person")
    remarked = DayState("published", Decimal(1), ("V33",))
    cases = [
        (suspect, published, "published"),
        (published, suspect, "withdrawn"),
        (None, suspect, "withheld"),
        (published, remarked, "remark"),
        (published, None, "dropped"),
    ]
    for before, after, word in cases:
        was, becomes = (
            Picture(Verdict({FIRST: it} if it else {}, (), ()), (), ZONE) for it in (before, after)
        )
        (found,) = effect(was, becomes, []).days
        assert found.change == word


def test_a_hand_over_is_told_with_what_is_given_back_and_where_the_next_one_opens() -> None:
    handed = FIRST + 4 * DAY
    after = picture(Holding("A", FIRST, handed), Holding("B", handed, None))
    assert in_words("P", effect(picture(A), after, WHOLE)) == [
        "P: from 2026-03-05 on billed to B; 1 day is given back; opening register 120"
    ]


def test_an_opening_that_is_not_published_yet_is_told() -> None:
    begins = Holding("A", FIRST + 9 * DAY, None)
    assert in_words("P", effect(picture(), picture(begins), [])) == [
        "P: from 2026-03-10 on billed to A; the freeze of 2026-03-10, its opening register, "
        "is not published yet"
    ]


def test_a_point_that_nobody_has_any_more_is_told() -> None:
    ended = Holding("A", FIRST, FIRST + 3 * DAY)
    (told,) = in_words("P", effect(picture(A), picture(ended), WHOLE))
    assert told == (
        "P: from 2026-03-04 on billed to nobody, until then to A; 2 days are given back"
    )


def test_days_that_change_are_told_with_the_use_that_comes_to_light() -> None:
    suspect = DayState("suspect", Decimal(1), ("V08",), "person")
    withheld = {FIRST + n * DAY: suspect for n in range(6)}
    nothing = Picture(Verdict(withheld, (), ()), (A,), ZONE)
    assert in_words("P", effect(nothing, picture(A), [])) == [
        "P: 6 days are published (2026-03-01 to 2026-03-06)",
        "P: 25 kWh of use come to light",
    ]
    one = Picture(Verdict({FIRST: suspect}, (), ()), (), ZONE)
    assert in_words("P", effect(Picture(Verdict({}, (), ()), (), ZONE), one, [])) == [
        "P: 1 day is withheld (2026-03-01)"
    ]


def test_any_difference_is_an_effect() -> None:
    """Days that are billed are moved by the others, and openings tell of holdings."""
    published = ChangedDay(FIRST, "published", None, DayState("published", Decimal(1)))
    (use,) = picture(A, days=2).uses()
    alone: list[dict[str, Any]] = [
        {"days": (published,)},
        {"gone": (use,)},
        {"come": (use,)},
        {"holdings": (A,)},
        {"ended": (A,)},
    ]
    for told in alone:
        assert not replace(NOTHING, **told).is_empty
    assert Effect((), (), (), (), {}, (), frozenset(), frozenset()) == NOTHING


def test_use_that_is_released_by_a_document_is_other_use() -> None:
    link = Link(FIRST, FIRST + 9 * DAY, Decimal(5), "span")
    held = Picture(Verdict({}, (), (link,)), (A,), ZONE)
    freed = Picture(Verdict({}, (), (replace(link, held=None),)), (A,), ZONE)
    found = effect(held, freed, [(FIRST, FIRST + 9 * DAY)])
    assert len(found.moved) == 9
    assert [it.held for it in (*found.gone, *found.come)] == ["span", None]


def test_a_changed_day_is_told_with_what_it_showed_and_shows() -> None:
    suspect, published = DayState("suspect", Decimal(1)), DayState("published", Decimal(2))
    was, becomes = (Picture(Verdict({FIRST: it}, (), ()), (), ZONE) for it in (suspect, published))
    assert effect(was, becomes, []).days == (ChangedDay(FIRST, "published", suspect, published),)


def test_a_substitute_counts_as_published() -> None:
    states = {
        "substituted": DayState("substituted", Decimal(1)),
        "published": DayState("published", Decimal(1)),
        "suspect": DayState("suspect", Decimal(1)),
    }
    cases = [
        ("suspect", "substituted", "published"),
        ("substituted", "suspect", "withdrawn"),
        ("substituted", "published", "remark"),
        ("published", "substituted", "remark"),
    ]
    for before, after, word in cases:
        was, becomes = (
            Picture(Verdict({FIRST: states[it]}, (), ()), (), ZONE) for it in (before, after)
        )
        (found,) = effect(was, becomes, []).days
        assert found.change == word


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ((1, 0), (2, 0), {1}),
        ((1, 12), (2, 0), {1}),
        ((1, 12), (1, 13), {1}),
        ((1, 12), (1, 12), {1}),
        ((1, 0), (1, 0), {1}),
        ((1, 23), (2, 1), {1, 2}),
        ((1, 0), (3, 1), {1, 2, 3}),
    ],
)
def test_use_between_moments_moves_the_days_of_the_zone_that_it_touches(
    start: tuple[int, int], end: tuple[int, int], days: set[int]
) -> None:
    begins, ends = (datetime(2026, 3, *it, tzinfo=ZONE).astimezone(UTC) for it in (start, end))
    was = Picture(Verdict({}, (), (Link(begins, ends, Decimal(1)),)), (A,), ZONE)
    nothing = Picture(Verdict({}, (), ()), (A,), ZONE)
    found = effect(was, nothing, [(FIRST - DAY, FIRST + 9 * DAY)])
    assert found.moved == found.given_back == {date(2026, 3, day) for day in days}
    assert {it.account for it in found.gone} == {"A"}
    dearer = Picture(Verdict({}, (), (Link(begins, ends, Decimal(2)),)), (A,), ZONE)
    found = effect(was, dearer, [(FIRST - DAY, FIRST + 9 * DAY)])
    assert found.moved == {date(2026, 3, day) for day in days}
    assert not found.given_back


def test_days_of_each_change_are_told_by_themselves() -> None:
    published, suspect = DayState("published", Decimal(1)), DayState("suspect", Decimal(1))
    was = Picture(Verdict({FIRST: published, FIRST + DAY: suspect}, (), ()), (), ZONE)
    becomes = Picture(Verdict({FIRST: suspect}, (), ()), (), ZONE)
    assert in_words("P", effect(was, becomes, [])) == [
        "P: 1 day is withdrawn (2026-03-01)",
        "P: 1 day is of no use, since another meter serves then or none yet (2026-03-02)",
    ]


def test_use_of_which_no_register_tells_adds_nothing() -> None:
    links = (Link(FIRST, FIRST + DAY, None), Link(FIRST + DAY, FIRST + 2 * DAY, Decimal(7)))
    found = effect(
        Picture(Verdict({}, (), ()), (A,), ZONE), Picture(Verdict({}, (), links), (A,), ZONE), []
    )
    assert in_words("P", found) == ["P: 7 kWh of use come to light"]
    unknown = Picture(Verdict({}, (), links[:1]), (A,), ZONE)
    assert in_words("P", effect(Picture(Verdict({}, (), ()), (A,), ZONE), unknown, [])) == [
        "P: nothing changes for any day so far"
    ]


@pytest.mark.parametrize(
    ("before", "after", "others"),
    [
        ({0: 1}, {0: 1}, {}),
        ({0: 1}, {0: 1, 5: 80}, {5: 80}),
        # It is taken back, told of another day, and told at all.
        ({0: 1, 5: 80}, {0: 1}, {5: 1}),
        ({0: 1, 5: 80}, {0: 1, 7: 80}, {5: 1}),
        ({0: 1, 7: 80}, {0: 1, 5: 80}, {5: 80}),
        ({0: 1, 5: 80, 9: 40}, {0: 1, 5: 30, 9: 40}, {5: 30}),
        ({}, {3: 80}, {3: 80}),
        ({0: 1, 3: 80}, {3: 80}, {}),
    ],
)
def test_the_register_counts_otherwise_from_where_it_does(
    before: dict[int, int], after: dict[int, int], others: dict[int, int]
) -> None:
    def told(ratios: dict[int, int]) -> tuple[Multiplied, ...]:
        midnight = datetime(2026, 3, 1, tzinfo=ZONE)
        return tuple(Multiplied(midnight + n * DAY, Decimal(it)) for n, it in ratios.items())

    found = effect(
        replace(picture(A), ratios=told(before)), replace(picture(A), ratios=told(after)), WHOLE
    )
    assert found.ratios == told(others)
    assert found.is_empty == (not others)
