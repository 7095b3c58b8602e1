"""What a person confirmed is the use that was seen then, and no other one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

from hypothesis import event, given
from hypothesis import strategies as st

from daemon.quality.acceptance import refusal, with_seen
from daemon.quality.facts import LinkRelease
from daemon.quality.uses import Use, uses_of
from tests.examples import examples
from tests.unit.quality.point import Point, day, kwh

LIMIT = 40


def point_of(*totals: int | None) -> Point:
    return Point(limit=str(LIMIT)).values(*totals)


def use_on(point: Point, number: int) -> Use:
    return uses_of(point.verdict, point.facts.zone)[day(number)]


def released(point: Point, first: int, last: int, agreed: str | None = None) -> Point:
    """Two persons released the use between two days, as it is."""
    use = use_on(point, last)
    assert use.hold is not None
    assert use.days == last - first
    number = len(point.facts.link_releases) + 1
    told = None if agreed is None else Decimal(agreed)
    return point.add(LinkRelease(day(first), day(last), use.shown_kwh, number, told))


def test_a_value_that_was_released_is_billed_from_the_one_that_stood_before_it() -> None:
    point = point_of(100, 105, 500).says("release", 3, 500)
    assert use_on(point, 3) == Use(1)


def test_nobody_who_released_the_first_value_saw_one_that_was_collected_later() -> None:
    point = point_of(None, None, 500, 505).says("release", 3, 500)
    assert use_on(point, 4) == Use(1)
    assert use_on(point.value(2, 0, after_h=72), 3) == Use(1, "spike")


def test_nobody_who_released_a_value_saw_one_before_it_that_was_not_believed_then() -> None:
    """A false 0 with a wrong clock was read before the release, and a finding clears it later."""
    point = Point(limit="40").value(1, 0, skew_s=420).value(2, 5000).value(3, 5005)
    point.says("release", 2, 5000)
    assert point.published() == {2: "5000", 3: "5005"}
    point.clock(1, 1, 0)
    assert point.published() == {1: "0", 2: "5000", 3: "5005"}
    assert use_on(point, 2) == Use(1, "spike")


def test_a_release_stands_for_no_other_ratio() -> None:
    point = point_of(100, 105, 500).says("release", 3, 500)
    assert use_on(point.ratio(1, "80", rev=1), 3) == Use(1, "spike")
    assert use_on(point.ratio(1, "1", rev=2), 3) == Use(1)


def test_a_release_stands_for_no_other_first_register_of_the_meter() -> None:
    def told(initial: int) -> Point:
        point = point_of(100, 105)
        return point.exchange(point.midnight(2, 12), initial=kwh(initial), final=kwh(106))

    point = told(450).value(3, 500).says("release", 3, 500)
    assert use_on(point, 3).hold is None
    again = told(0)
    again.add(point.facts.reads[2]).add(point.facts.decisions[0])
    assert use_on(again, 3).hold == "spike"


def test_a_release_of_the_value_before_it_says_nothing_of_the_use_behind() -> None:
    point = point_of(100, 500, 900).says("release", 3, 900).says("release", 2, 500)
    assert (use_on(point, 2), use_on(point, 3)) == (Use(1), Use(1, "spike"))
    assert use_on(point.says("release", 3, 900), 3) == Use(1)


def test_held_use_that_was_released_is_billed() -> None:
    long = point_of(100, *[None] * 8, 110)
    assert use_on(long, 10) == Use(9, "span")
    assert use_on(released(long, 1, 10), 10) == Use(9)
    far = point_of(100, 105).exchange(Point().midnight(3, 12), initial=kwh(0), final=kwh(6000))
    far.values(2, 4, first=4)
    assert use_on(far, 4).hold == "spike"
    assert use_on(released(far, 2, 4), 4).hold is None


def test_a_released_use_is_released_by_its_kwh_too() -> None:
    """10 kWh were released; a ratio that is told later makes 800 of them."""
    point = released(point_of(100, *[None] * 8, 110), 1, 10)
    assert use_on(point, 10) == Use(9)
    assert use_on(point.ratio(1, "80", rev=1), 10) == Use(9, "span")
    assert use_on(released(point, 1, 10), 10) == Use(9)
    assert use_on(point.ratio(1, "1", rev=2), 10) == Use(9)


def test_what_was_agreed_upon_is_billed_while_registers_show_no_more_of_it() -> None:
    def lost(before: int) -> Point:
        point = point_of(before - 5, before)
        return point.exchange(point.midnight(2, 12), initial=kwh(3), final=None).values(
            10, 15, first=3
        )

    point = released(lost(105), 2, 3, agreed="25")
    assert use_on(point, 3) == Use(1, None, Decimal(25), is_agreed=True)
    (said,) = point.facts.link_releases
    told = point_of(100, 105)
    told.exchange(told.midnight(2, 12), initial=kwh(3), final=kwh(500)).values(10, 15, first=3)
    assert use_on(told.add(said), 3) == Use(1, "spike", Decimal(402))
    assert use_on(point.ratio(1, "80", rev=1), 3).hold == "final_lost"


def test_what_was_agreed_upon_last_counts() -> None:
    point = point_of(100, 105)
    point.exchange(point.midnight(2, 12), initial=kwh(3), final=None).values(10, 15, first=3)
    shown = released(point, 2, 3, agreed="25").facts.link_releases[0].kwh
    point.add(LinkRelease(day(2), day(3), shown, 2, Decimal(30)))
    assert use_on(point, 3).kwh == 30


# --- whatever comes behind a person's word ---------------------------------------------------------

Billed = tuple[date, date, Decimal]


def billed(point: Point) -> set[Billed]:
    uses = uses_of(point.verdict, point.facts.zone)
    return {
        (on - timedelta(days=it.days), on, it.shown_kwh)
        for on, it in uses.items()
        if it.days and it.hold is None
    }


def beyond(point: Point) -> set[Billed]:
    """What is billed and more than the limit allows."""
    return {
        (first, last, used)
        for first, last, used in billed(point)
        if used > LIMIT * (last - first).days * ratio_on(point, first)
    }


def ratio_on(point: Point, first: date) -> Decimal:
    told = [it for it in point.facts.ratios if not isinstance(it.at, datetime) and it.at <= first]
    return max(told, key=lambda it: (it.at, it.rev)).ratio if told else Decimal(1)


def read(draw: st.DrawFn, point: Point, number: int) -> None:
    total = 5000 + 10 * number + draw(st.sampled_from([0, 0, 0, -5000, 300, 600]))
    skew_s = draw(st.sampled_from([0, 0, 420]))
    point.value(number, max(0, total), after_h=draw(st.integers(0, 90)), skew_s=skew_s)


def release_value(draw: st.DrawFn, point: Point, number: int) -> None:
    told = [it.registers.total for it in point.facts.reads if it.day == day(number)]
    if told:
        decision = point.decision("release", number, str(draw(st.sampled_from(told))))
        if refusal(point.facts, decision) is None:
            point.add(with_seen(point.facts, decision))


def release_links(_: st.DrawFn, point: Point, number: int) -> None:
    for on, use in uses_of(point.verdict, point.facts.zone).items():
        if use.hold in ("spike", "span"):
            said = len(point.facts.link_releases) + 1
            first = on - timedelta(days=use.days)
            point.add(LinkRelease(first, on, use.shown_kwh, said))


def find_clock(draw: st.DrawFn, point: Point, number: int) -> None:
    skew_s = draw(st.sampled_from([0, 0, 420]))
    point.clock(number, number + 2, skew_s, len(point.facts.clock_findings))


def tell_ratio(draw: st.DrawFn, point: Point, _: int) -> None:
    ratio = draw(st.sampled_from(["1", "2", "80"]))
    point.ratio(1, ratio, rev=len(point.facts.ratios))


HAPPENS = [*[read] * 6, *[release_value] * 4, release_links, find_clock, tell_ratio]


@st.composite
def lives(draw: st.DrawFn) -> tuple[Point, set[Billed]]:
    """Random facts of nine days, and what was billed when somebody released something."""
    point = Point(limit=str(LIMIT))
    seen: set[Billed] = set()
    for _ in range(draw(st.integers(6, 22))):
        happens = draw(st.sampled_from(HAPPENS))
        happens(draw, point, draw(st.integers(1, 9)))
        if happens in (release_value, release_links):
            seen |= billed(point)
    return point, seen


@examples(300)
@given(lives())
def test_more_than_the_limit_is_billed_only_as_somebody_saw_it(
    life: tuple[Point, set[Billed]],
) -> None:
    point, seen = life
    found = beyond(point)
    event(f"beyond the limit: {len(found)}")
    assert found <= seen


@examples(300)
@given(lives())
def test_what_two_persons_released_is_billed_as_long_as_it_is_the_same(
    life: tuple[Point, set[Billed]],
) -> None:
    point, _ = life
    said = {(it.start, it.end, it.kwh) for it in point.facts.link_releases}
    uses = uses_of(point.verdict, point.facts.zone)
    held = {
        (on - timedelta(days=it.days), on, it.shown_kwh)
        for on, it in uses.items()
        if it.hold in ("spike", "span")
    }
    event(f"released: {bool(said)}")
    assert not said & held
