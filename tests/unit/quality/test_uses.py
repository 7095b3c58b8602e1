"""Which use ends with which day: documents inside a day, substitutes, spans."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from daemon.quality.uses import Use, uses_of
from daemon.quality.verdict import ChainValue, DayState, Held, Link, State, Verdict

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
    outside = verdict({0: "substituted", 7: "published", 14: "substituted"})
    assert uses_of(outside, ZONE) == {at(7): Use(7), at(14): Use(7)}


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


def test_a_substitute_behind_the_last_value_goes_on() -> None:
    judged = verdict({0: "published", 2: "substituted", 11: "substituted"})
    assert uses_of(judged, ZONE) == {at(2): Use(2), at(11): Use(9, "span")}


def test_a_substitute_leads_to_the_first_value() -> None:
    judged = verdict(
        {0: "substituted", 9: "substituted", 12: "published", 13: "published"},
        Link(at(12), at(13), Decimal(1)),
    )
    assert uses_of(judged, ZONE) == {at(9): Use(9, "span"), at(12): Use(3), at(13): Use(1)}


@pytest.mark.parametrize("began", [noon(1), noon(2, 0)])
def test_no_substitute_leads_over_the_beginning_of_another_meter(began: datetime) -> None:
    behind = verdict({0: "published", 1: "substituted", 2: "substituted"})
    assert uses_of(behind, ZONE, [noon(-1), began]) == {at(1): Use(1)}
    before = verdict({0: "substituted", 2: "published"})
    assert uses_of(before, ZONE, [noon(-1), began]) == {}
