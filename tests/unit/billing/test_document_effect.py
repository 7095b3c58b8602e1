"""What a document changes is the difference of two pictures, told in days."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.document_effect import Holding, Picture, effect, in_words
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
