"""Which use ends with which day: documents inside a day, substitutes, spans."""

import random
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from daemon.quality.codes import NOT_SHOWN
from daemon.quality.facts import Installation
from daemon.quality.judge import judge
from daemon.quality.uses import Use, uses_of
from daemon.quality.verdict import ChainValue, DayState, Held, Link, State, Verdict
from tests.examples import seeds
from tests.unit.quality.point import MARCH, Point, kwh

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2026, 3, 1)


def at(day: int) -> date:
    return FIRST + timedelta(days=day)


def noon(day: int, hour: int = 12) -> datetime:
    return datetime.combine(at(day), time(hour), ZONE)


def verdict(days: dict[int, State], *links: Link) -> Verdict:
    chain = [day for day, state in days.items() if state == "published"]
    return Verdict(
        days={at(day): DayState(state, Decimal(day)) for day, state in days.items()},
        chain=tuple(ChainValue(at(day), Decimal(day)) for day in chain),
        links=links,
    )


def test_nothing_is_used_where_nothing_is_linked() -> None:
    assert uses_of(verdict({}), ZONE) == {}


def test_a_link_ends_with_its_day() -> None:
    judged = verdict({0: "published", 3: "published"}, Link(at(0), at(3), Decimal(3)))
    assert uses_of(judged, ZONE) == {at(3): Use(3)}


def test_links_over_a_document_are_drawn_together() -> None:
    judged = verdict(
        {0: "published", 1: "published"},
        Link(at(0), noon(0), Decimal(3)),
        Link(noon(0), at(1), Decimal(2)),
    )
    assert uses_of(judged, ZONE) == {at(1): Use(1, None, Decimal(5))}


def test_a_document_at_midnight_ends_the_use_of_the_day_before() -> None:
    judged = verdict(
        {0: "published", 1: "published", 2: "published"},
        Link(at(0), noon(1, 0), Decimal(3)),
        Link(at(1), at(2), Decimal(2)),
    )
    assert uses_of(judged, ZONE) == {at(1): Use(1, None, Decimal(3)), at(2): Use(1)}


def test_a_document_at_the_last_midnight_ends_a_use_before_anything_follows() -> None:
    judged = verdict(
        {0: "published", 1: "published"},
        Link(at(0), noon(1, 0), Decimal(3)),
    )
    assert uses_of(judged, ZONE) == {at(1): Use(1, None, Decimal(3))}


def test_what_no_register_shows_is_held_with_its_reason() -> None:
    judged = verdict(
        {0: "published", 1: "published"},
        Link(at(0), noon(0), None, "final_lost"),
        Link(noon(0), at(1), Decimal(2)),
    )
    assert uses_of(judged, ZONE)[at(1)].hold == "final_lost"


def test_a_substitute_splits_a_span_into_what_is_short_enough() -> None:
    judged = verdict(
        {0: "published", 4: "substituted", 12: "published"},
        Link(at(0), at(12), Decimal(12), "span"),
    )
    assert uses_of(judged, ZONE) == {at(4): Use(4), at(12): Use(8, "span")}


def test_a_piece_of_seven_days_is_billed_and_one_of_eight_is_held() -> None:
    judged = verdict(
        {0: "published", 7: "substituted", 15: "published"},
        Link(at(0), at(15), Decimal(15), "span"),
    )
    assert uses_of(judged, ZONE) == {at(7): Use(7), at(15): Use(8, "span")}


def test_how_long_a_piece_may_be_is_what_the_links_were_judged_by() -> None:
    judged = verdict(
        {0: "published", 4: "substituted", 9: "published"},
        Link(at(0), at(9), Decimal(9), "span"),
    )
    assert uses_of(replace(judged, max_auto_span_days=4), ZONE) == {
        at(4): Use(4),
        at(9): Use(5, "span"),
    }


def behind_a_document(held: Held | None, *, ratio: int = 2) -> Verdict:
    """A register of 0 that was written down at noon, a substitute of 4, and a reading of 12."""
    judged = verdict(
        {4: "substituted", 12: "published"},
        Link(noon(0), at(12), Decimal(12 * ratio), held, Decimal(ratio)),
    )
    return replace(judged, chain=(ChainValue(noon(0), Decimal(0)), *judged.chain))


def test_a_substitute_splits_what_a_document_begins() -> None:
    assert uses_of(behind_a_document("span"), ZONE) == {
        at(4): Use(4, None, Decimal(8)),
        at(12): Use(8, "span"),
    }
    assert uses_of(behind_a_document("ratio"), ZONE)[at(12)] == Use(8, "ratio")


def test_a_substitute_on_either_side_of_an_exchange_splits_the_use_over_it() -> None:
    judged = verdict(
        {0: "published", 2: "substituted", 5: "substituted", 15: "published"},
        Link(at(0), noon(3), Decimal(30), ratio=Decimal(10)),
        Link(noon(3), at(15), Decimal(24), "span", Decimal(2)),
    )
    registers = (ChainValue(noon(3), Decimal(3)), ChainValue(noon(3), Decimal(3)))
    chain = (judged.chain[0], *registers, judged.chain[1])
    assert uses_of(replace(judged, chain=chain), ZONE) == {
        at(2): Use(2),
        at(5): Use(3, None, Decimal(10 + 4)),
        at(15): Use(10, "span"),
    }


def test_a_register_that_turned_over_between_substitutes_is_what_the_others_leave() -> None:
    judged = verdict(
        {1: "substituted", 5: "published"}, Link(noon(0), at(5), Decimal(100 - 95 + 5))
    )
    chain = (ChainValue(noon(0), Decimal(95)), *judged.chain)
    assert uses_of(replace(judged, chain=chain), ZONE) == {
        at(1): Use(1, None, Decimal(6)),
        at(5): Use(4),
    }


@pytest.mark.parametrize(
    ("totals", "shares"), [((95, 95, 5), ("0", "0.5")), ((95, 5, 5), ("10", "0.5"))]
)
def test_beside_a_register_that_turned_over_half_a_kwh_and_none_stay_what_they_are(
    totals: tuple[int, ...], shares: tuple[str, str]
) -> None:
    document = Decimal("5.5")
    judged = verdict(
        {1: "substituted", 2: "substituted", 3: "published"},
        Link(noon(0), noon(2), Decimal("10.5")),
        Link(noon(2), at(3), Decimal(0)),
    )
    days = {at(n): replace(judged.days[at(n)], total=Decimal(totals[n])) for n in (1, 2)}
    chain = (ChainValue(noon(0), Decimal(totals[0])), ChainValue(noon(2), document))
    found = uses_of(replace(judged, days={**judged.days, **days}, chain=chain), ZONE)
    first, last = map(Decimal, shares)
    assert found == {at(1): Use(1, None, first), at(2): Use(1), at(3): Use(1, None, last)}


def test_what_no_register_shows_is_held_before_what_is_only_long_or_of_two_ratios() -> None:
    held: Held
    for held in ("final_lost", "initial_lost", "backward"):
        judged = verdict(
            {0: "published", 1: "published"},
            Link(at(0), noon(0), Decimal(1), "ratio"),
            Link(noon(0), at(1), None, held),
        )
        assert uses_of(judged, ZONE)[at(1)] == Use(1, held, Decimal(1))


def test_seven_days_are_seven_days_also_where_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for first in (date(2026, 3, 26), date(2026, 10, 22)):
        seventh, last = first + timedelta(days=7), first + timedelta(days=14)
        values: dict[date, State] = {
            first: "published",
            seventh: "substituted",
            last: "published",
        }
        judged = Verdict(
            days={day: DayState(state, Decimal(0)) for day, state in values.items()},
            chain=(ChainValue(first, Decimal(0)), ChainValue(last, Decimal(0))),
            links=(Link(first, last, Decimal(0), "span"),),
        )
        assert uses_of(judged, berlin) == {seventh: Use(7), last: Use(7)}
        document = datetime.combine(first, time(0, 30), berlin)
        links = (Link(document, last, Decimal(0), "span"),)
        chain = (ChainValue(document, Decimal(0)), judged.chain[1])
        found = uses_of(replace(judged, links=links, chain=chain), berlin)
        assert found == {seventh: Use(7, None, Decimal(0)), last: Use(7)}


def test_of_a_day_of_which_nothing_is_known_no_use_is() -> None:
    assert Use() == Use(0, None, None)


def test_where_no_register_shows_the_use_a_substitute_splits_nothing() -> None:
    judged = verdict(
        {0: "published", 2: "substituted", 4: "published"},
        Link(at(0), noon(3), None, "final_lost"),
        Link(noon(3), at(4), Decimal(1)),
    )
    registers = (ChainValue(noon(3), Decimal(3)),)
    chain = (judged.chain[0], *registers, judged.chain[1])
    assert uses_of(replace(judged, chain=chain), ZONE) == {at(4): Use(4, "final_lost", Decimal(1))}


def test_a_substitute_launders_no_spike() -> None:
    judged = verdict(
        {0: "published", 2: "substituted", 4: "published"},
        Link(at(0), at(4), Decimal(400), "spike"),
    )
    assert uses_of(judged, ZONE) == {at(2): Use(2, "spike"), at(4): Use(2, "spike")}


# --- before the first value of the chain, and behind the last -------------------------------------


def uses(point: Point) -> dict[int, Use]:
    """By the number of the day."""
    found = uses_of(judge(point.facts), point.facts.zone)
    return {(day - MARCH).days + 1: use for day, use in found.items()}


def test_a_substitute_behind_the_last_value_goes_on() -> None:
    point = Point().values(100, 105).says("substitute", 4, 110).says("substitute", 13, 120)
    assert uses(point) == {2: Use(1), 4: Use(2), 13: Use(9, "span")}


def test_a_substitute_leads_to_the_first_value() -> None:
    point = Point().values(130, 135, first=13)
    point.says("substitute", 1, 100).says("substitute", 10, 120)
    assert uses(point) == {10: Use(9, "span"), 13: Use(3), 14: Use(1)}


def test_outside_the_chain_seven_days_are_billed_too_and_eight_are_held() -> None:
    held: list[tuple[int, Held | None]] = [(7, None), (8, "span")]
    for days, hold in held:
        point = Point().values(130, 135, first=10).says("substitute", 10 - days, 120)
        point.says("substitute", 11 + days, 140)
        assert uses(point) == {10: Use(days, hold), 11: Use(1), 11 + days: Use(days, hold)}


def test_a_substitute_outside_the_chain_launders_no_spike() -> None:
    point = Point(limit="40").values(500, 505, first=3)
    point.says("substitute", 2, 100).says("substitute", 5, 900)
    assert uses(point) == {3: Use(1, "spike"), 4: Use(1), 5: Use(1, "spike")}


def test_a_substitute_outside_the_chain_is_too_far_by_a_step_and_not_before() -> None:
    point = Point(limit="40").values(500, 505, first=3)
    point.says("substitute", 2, 460).says("substitute", 5, "545.01")
    assert uses(point) == {3: Use(1), 4: Use(1), 5: Use(1, "spike")}


def test_outside_the_chain_a_change_of_the_ratio_is_held_too() -> None:
    point = Point().ratio(1, "10").ratio(4, "80").values(100, 105).says("substitute", 5, 110)
    assert uses(point)[5] == Use(3, "ratio")


def exchanged(number: int, hour: int) -> Point:
    """Of the old meter only what a person said, and its final register, at a ratio of 10."""
    point = Point().ratio(1, "10").says("substitute", 1, 5000).says("substitute", 2, 5010)
    return point.exchange(point.midnight(number, hour), initial=kwh(0), final=kwh(5210))


def test_a_substitute_leads_to_the_final_register_of_a_meter_without_a_reading() -> None:
    point = exchanged(3, 12).values(2, 3, first=4)
    assert uses(point) == {2: Use(1), 4: Use(2, None, Decimal(2000 + 20)), 5: Use(1)}


def test_a_meter_that_began_at_the_midnight_of_a_reading_ends_the_use_of_the_one_before() -> None:
    point = exchanged(3, 0).values(0, 3, first=3)
    assert uses(point) == {2: Use(1), 3: Use(1, None, Decimal(2000)), 4: Use(1)}


def test_a_meter_that_began_at_the_midnight_of_a_substitute_does_so_too() -> None:
    point = exchanged(3, 0).values(1, 3, first=4).says("substitute", 3, 0)
    assert uses(point) == {2: Use(1), 3: Use(1, None, Decimal(2000)), 4: Use(1), 5: Use(1)}


def test_a_substitute_goes_on_from_the_initial_register_of_a_meter_without_a_reading() -> None:
    point = Point().ratio(1, "10").values(100, 105)
    point.exchange(point.midnight(2, 14), initial=kwh(3), final=kwh(108)).says("substitute", 4, 7)
    assert uses(point) == {2: Use(1), 4: Use(2, None, Decimal(30 + 40))}


@pytest.mark.parametrize("hour", [0, 12])
def test_what_no_register_shows_between_substitutes_of_two_meters_is_held(hour: int) -> None:
    behind = Point().values(100, 105)
    behind.exchange(behind.midnight(4, hour)).says("substitute", 3, 110).says("substitute", 5, 9)
    lost = Use(2, "final_lost", Decimal(0))
    assert uses(behind) == {2: Use(1), 3: Use(1), 5: lost}
    before = Point().says("substitute", 2, 100)
    before.exchange(before.midnight(3, hour)).values(5, 6, first=4)
    assert uses(before) == {4: lost, 5: Use(1)}


@pytest.mark.parametrize("hour", [0, 12])
def test_a_substitute_inside_what_was_lost_with_a_meter_leaves_less_of_it(hour: int) -> None:
    point = Point(limit="40").ratio(1, "10").values(100, 105)
    point.exchange(point.midnight(6, hour)).values(7, 9, first=10)
    assert uses(point) == {2: Use(1), 10: Use(8, "final_lost", Decimal(0)), 11: Use(1)}
    point.says("substitute", 4, 110).says("substitute", 8, 3)
    lost = Use(4, "final_lost", Decimal(0))
    assert uses(point) == {2: Use(1), 4: Use(2), 8: lost, 10: Use(2), 11: Use(1)}
    # No reading bears it out: what is more than the limit allows waits for a person.
    point.says("substitute", 5, 2000)
    assert uses(point)[5] == Use(1, "spike")


def test_a_substitute_inside_what_no_first_register_shows_leaves_less_of_it() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3, 12), final=kwh(109)).values(7, 9, first=6)
    point.says("substitute", 5, 3)
    held = Use(3, "initial_lost", Decimal(4))
    assert uses(point) == {2: Use(1), 5: held, 6: Use(1), 7: Use(1)}


def test_what_was_lost_with_a_meter_is_held_once() -> None:
    point = Point().values(100, 105).says("substitute", 4, 110)
    point.exchange(point.midnight(5, 12)).says("substitute", 6, 5).says("substitute", 8, 9)
    lost = Use(2, "final_lost", Decimal(0))
    assert uses(point) == {2: Use(1), 4: Use(2), 6: lost, 8: Use(2)}
    point = Point().values(100, 105).exchange(Point().midnight(5, 12)).says("substitute", 8, 9)
    assert uses(point) == {2: Use(1), 8: Use(6, "final_lost", Decimal(0))}


def test_what_was_lost_before_a_meter_began_with_a_substitute_is_held() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3), initial=kwh(0)).says("substitute", 3, 2)
    assert uses(point) == {2: Use(1), 3: Use(1, "final_lost", Decimal(2))}


def test_a_meter_of_which_nothing_is_known_between_two_substitutes_is_held() -> None:
    point = Point().values(100, 105).says("substitute", 3, 110)
    point.exchange(point.midnight(4), final=kwh(112))
    point.exchange(point.midnight(5), initial=kwh(0)).says("substitute", 5, 3)
    assert uses(point) == {2: Use(1), 3: Use(1), 5: Use(2, "final_lost", Decimal(2 + 3))}


def lost_with_meters(installations: list[Installation], start: datetime, end: datetime) -> bool:
    """Whether a register is unknown of the meters that began between two values."""
    began = [it for it in installations if start < it.at <= end]
    until = [*(it.at for it in began[1:]), end]
    return any(
        it.old_final is None or (it.initial is None and it.at < ended)
        for it, ended in zip(began, until, strict=False)
    )


def meters_that_come_and_go(seed: int) -> Point:
    """Up to three exchanges, of which some registers are known; days that are read or said."""
    chance = random.Random(seed)
    point = Point().values(100, 100)
    days = chance.randint(4, 9)
    exchanged = {chance.randint(3, days): chance.choice((0, 0, 12)) for _ in range(3)}
    total = 100
    for number in range(3, days + 1):
        total += chance.choice((0, 1, 5))
        hour = exchanged.get(number)
        known = [kwh(it) if chance.random() < 0.5 else None for it in (0, total)]
        if hour is not None:
            at = point.midnight(number, hour)
            point.exchange(at, serial=f"B{number}", initial=known[0], final=known[1])
        shown = total if hour != 0 else 3
        told = chance.choice(("read", "said", "said", "nothing"))
        if told == "read":
            point.value(number, shown)
        if told == "said":
            point.says("substitute", number, shown)
        total = 3 if hour is not None else total
    return point


@pytest.mark.parametrize("seed", seeds(200))
def test_a_use_leads_from_each_value_to_the_next_and_is_held_where_a_register_is_unknown(
    seed: int,
) -> None:
    point = meters_that_come_and_go(seed)
    verdict = judge(point.facts)
    shown = [day for day, it in verdict.days.items() if it.state in ("published", "substituted")]
    found = uses_of(verdict, point.facts.zone)
    for before, day in pairwise(shown):
        assert found[day].days == (day - before).days
        start, end = (point.midnight((it - MARCH).days + 1) for it in (before, day))
        is_lost = lost_with_meters([*point.facts.installations], start, end)
        assert (found[day].hold in NOT_SHOWN) == is_lost


# --- more than the limit allows, to a register that only a person stands behind -------------------


def exchanged_far(*totals: int | None) -> Point:
    """A meter was exchanged at noon of day 3, and its final register was typed as 6000."""
    point = Point(limit="40").values(*totals)
    point.exchange(point.midnight(3, 12), initial=kwh(0), final=kwh(6000))
    return point.values(2, 4, first=4)


@pytest.mark.parametrize("totals", [(590, 595, 598), (None, None, 0)])
def test_a_final_register_that_is_too_far_bills_nobody(totals: tuple[int | None, ...]) -> None:
    """Mistyped, or behind a first value that was a false 0. What the judge says is not changed."""
    point = exchanged_far(*totals)
    assert [held for *_, held in point.links()] == [None] * len(point.links())
    found = uses(point)
    assert (found[4].hold, found[5].hold) == ("spike", None)


def test_a_final_register_is_too_far_by_a_step_and_not_before() -> None:
    def hold(final: str) -> Held | None:
        point = Point(limit="40").values(590, 595, 598)
        point.exchange(point.midnight(3, 12), initial=kwh(0), final=kwh(final))
        return uses(point.values(2, 4, first=4))[4].hold

    assert (hold("618.00"), hold("618.01")) == (None, "spike")


def test_no_register_goes_on_by_a_quarter_of_its_turn_whatever_the_limit() -> None:
    def hold(final: str) -> Held | None:
        point = Point(limit="9999", modulus="1000").values(90, 95, 98)
        point.exchange(point.midnight(3, 12), initial=kwh(0), final=kwh(final))
        return uses(point.values(2, 4, first=4))[4].hold

    assert (hold("347.99"), hold("348.00")) == (None, "spike")


def test_a_ratio_register_that_is_too_far_bills_nobody() -> None:
    point = Point(limit="40").ratio(1, "10").values(100, 105).ratio(3, "80", kwh(5000))
    link = point.verdict.links[-1]
    assert (link.kwh, link.held, link.hold) == (Decimal(48950), None, "spike")
    assert link.allowed_kwh == 400


def test_what_a_closing_named_is_not_billed_from_a_value_that_came_later() -> None:
    point = Point(limit="40").values(500, 505, first=3).closed(4)
    point.value(2, 0, after_h=72)
    assert uses(point) == {3: Use(1, "spike"), 4: Use(1)}


def test_a_limit_that_was_lowered_holds_nothing_that_was_closed() -> None:
    point = Point(limit="40").values(100, 130, 160).closed(3).max_daily(1, "10", rev=1)
    assert uses(point) == {2: Use(1), 3: Use(1)}


def test_a_substitute_holds_no_less_of_a_long_link_that_is_too_far() -> None:
    point = Point(limit="40").values(100, 105)
    point.exchange(point.midnight(14, 12), initial=kwh(0), final=kwh(6000)).values(2, first=15)
    point.says("substitute", 9, 150)
    found = uses(point)
    assert (found[9], found[15].hold) == (Use(7, "spike"), "spike")


# --- where nothing was ever published -------------------------------------------------------------


def test_substitutes_bill_a_point_of_which_nothing_was_ever_published() -> None:
    point = Point(limit="40").says("substitute", 1, 100).says("substitute", 3, 120)
    assert uses(point) == {3: Use(2)}
    assert uses(point.value(5, 125)) == {3: Use(2)}, "the only reading waits for a second one"
    assert uses(point.value(6, 130)) == {3: Use(2), 5: Use(2), 6: Use(1)}


def test_one_substitute_alone_shows_no_use() -> None:
    assert uses(Point(limit="40").says("substitute", 1, 100)) == {}


def test_substitutes_of_a_point_without_readings_are_held_beyond_the_limit() -> None:
    point = Point(limit="40").says("substitute", 1, 100).says("substitute", 3, 181)
    assert uses(point) == {3: Use(2, "spike")}


def test_between_substitutes_of_two_meters_that_were_never_read_use_was_lost() -> None:
    point = Point(limit="40").says("substitute", 1, 100)
    point.exchange(point.midnight(3, 12)).says("substitute", 5, 20)
    found = uses(point)
    assert (found[5].days, found[5].hold) == (4, "final_lost")
