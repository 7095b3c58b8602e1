"""What a bill says of meters and of what they showed, from the links of an account."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.billing.links import Link, Piece, midnight
from daemon.billing.proof.bill import AgreedFact, LinkFact, MeterFact, PointFact, ReadingFact
from daemon.billing.proof.measured import Known, NotSettled, Shown, measured

ZONE = ZoneInfo("Asia/Shanghai")
FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (1, 2, 3))
NOON = datetime(2026, 3, 1, 4, tzinfo=UTC)
ARRIVED = datetime(2026, 3, 2, 1, tzinfo=UTC)
POINT = PointFact("P7", ("peak", "flat"), "flat")


def known(**shown: tuple[int, ...]) -> Known:
    """What point 7 shows by day of March: `d1=(100,)`."""
    values = {(7, date(2026, 3, int(day[1:]))): Shown(it, "frozen") for day, it in shown.items()}
    return Known({7: POINT}, {3: "000000000003", 4: "000000000004"}, values, {(7, NOON): 12})


def link(first: date, last: date, begins: tuple[int, ...], ends: tuple[int, ...]) -> Link:
    return Link(7, first, last, 3, begins, ends, 10_000, 2, Decimal(20))


def over_noon(final: tuple[int, ...], initial: tuple[int, ...], meter: int = 3) -> Link:
    """100 -> `final` and `initial` -> 140, of one meter that began anew, or of two."""
    start, end = midnight(FIRST, ZONE), midnight(SECOND, ZONE)
    facts = (10_000, 2, Decimal(20))
    pieces = (
        Piece(start, NOON, 3, (100,), final, *facts),
        Piece(NOON, end, meter, initial, (140,), *facts),
    )
    return replace_pieces(link(FIRST, SECOND, (100,), (140,)), pieces)


def replace_pieces(of: Link, pieces: tuple[Piece, ...]) -> Link:
    return of._replace(pieces=pieces, meter_id=pieces[-1].meter_id)


def test_a_link_is_told_with_its_meter_and_what_that_showed_at_both_ends() -> None:
    shown = Shown((130, 40, 90), "read beside midnight", ARRIVED, ARRIVED)
    told = known(d1=(100, 30, 70))
    told = replace(told, shown={**told.shown, (7, SECOND): shown})
    found = measured([link(FIRST, SECOND, (100, 30), (130, 40))], told, ZONE)
    start, end = midnight(FIRST, ZONE), midnight(SECOND, ZONE)
    assert found.points == [POINT]
    assert found.meters == [MeterFact(1, "P7", "000000000003", Decimal(20), 10_000, 2)]
    assert found.links == [
        LinkFact(1, start, end, {"total": 100, "peak": 30}, {"total": 130, "peak": 40}, None)
    ]
    registers = {"total": 130, "peak": 40, "flat": 90}
    assert found.readings == [
        ReadingFact(1, start, {"total": 100, "peak": 30, "flat": 70}, "frozen"),
        ReadingFact(1, end, registers, "read beside midnight", ARRIVED, ARRIVED),
    ]


@pytest.mark.parametrize(
    ("begins", "ends"), [((100, 30), (130, 40, 90)), ((100, 30, 70), (130, 40))]
)
def test_a_link_names_the_registers_that_both_ends_tell(
    begins: tuple[int, ...], ends: tuple[int, ...]
) -> None:
    (told,) = measured([link(FIRST, SECOND, begins, ends)], known(d1=begins, d2=ends), ZONE).links
    assert isinstance(told, LinkFact)
    assert told.begins == {"total": 100, "peak": 30}
    assert told.ends == {"total": 130, "peak": 40}


def test_a_link_that_is_held_says_why() -> None:
    held = link(FIRST, SECOND, (100,), (130,))._replace(hold="span")
    (told,) = measured([held], known(**SHOWN), ZONE).links
    assert told.held == "span"


def test_links_of_one_meter_and_point_are_told_with_them_once() -> None:
    links = [link(FIRST, SECOND, (100,), (130,)), link(SECOND, THIRD, (130,), (140,))]
    found = measured(links, known(d1=(100,), d2=(130,), d3=(140,)), ZONE)
    assert (len(found.points), len(found.meters), len(found.readings)) == (1, 1, 3)
    assert [it.meter for it in found.links if isinstance(it, LinkFact)] == [1, 1]


@pytest.mark.parametrize("facts", [{"ratio": Decimal(10)}, {"modulus": 1000}, {"decimals": 1}])
def test_another_ratio_or_register_is_another_meter(facts: dict[str, Any]) -> None:
    other = link(SECOND, THIRD, (130,), (140,))._replace(**facts)
    found = measured([link(FIRST, SECOND, (100,), (130,)), other], known(**SHOWN), ZONE)
    assert [it.number for it in found.meters] == [1, 2]


SHOWN = {"d1": (100,), "d2": (130,), "d3": (140,)}


def test_inside_a_link_registers_are_those_of_a_document() -> None:
    found = measured([over_noon((120,), (20,), meter=4)], known(d1=(100,), d2=(140,)), ZONE)
    at_noon = [it for it in found.readings if it.at == NOON]
    assert at_noon == [
        ReadingFact(1, NOON, {"total": 120}, "document 12"),
        ReadingFact(2, NOON, {"total": 20}, "document 12"),
    ]
    unnumbered = replace(known(d1=(100,), d2=(140,)), documents={})
    found = measured([over_noon((120,), (20,), meter=4)], unnumbered, ZONE)
    assert {it.source for it in found.readings if it.at == NOON} == {"document"}


def test_a_register_that_began_anew_is_another_meter_from_then_on() -> None:
    """At one moment it shows two values."""
    some = known(d1=(100,), d2=(140,), d3=(150,))
    found = measured([over_noon((120,), (20,)), link(SECOND, THIRD, (140,), (150,))], some, ZONE)
    assert [it.meter for it in found.links if isinstance(it, LinkFact)] == [1, 2, 2]
    assert [it.registers for it in found.readings if it.at == NOON] == [
        {"total": 120},
        {"total": 20},
    ]


def test_a_document_at_which_the_register_went_on_begins_no_other_meter() -> None:
    found = measured([over_noon((120,), (120,))], known(d1=(100,), d2=(140,)), ZONE)
    assert [it.meter for it in found.links if isinstance(it, LinkFact)] == [1, 1]


def test_use_that_somebody_told_has_no_registers() -> None:
    agreed = Link(7, FIRST, SECOND, 3, (0,), (1234,), 0, 2, Decimal(1), "span")
    found = measured([agreed], known(), ZONE)
    start, end = midnight(FIRST, ZONE), midnight(SECOND, ZONE)
    assert found.links == [AgreedFact("P7", start, end, Decimal("12.34"), "span")]
    assert (found.meters, found.readings, found.points) == ([], [], [POINT])
    both = measured([agreed, link(SECOND, THIRD, (130,), (140,))], known(**SHOWN), ZONE)
    assert [type(it) for it in both.links] == [AgreedFact, LinkFact]


@pytest.mark.parametrize("shown", [{"d1": (100,)}, {"d1": (100,), "d2": (131,)}])
def test_what_is_published_otherwise_than_it_was_billed_is_not_proved(
    shown: dict[str, tuple[int, ...]],
) -> None:
    with pytest.raises(NotSettled) as refused:
        measured([link(FIRST, SECOND, (100,), (130,))], known(**shown), ZONE)
    assert str(refused.value) == (
        "point P7, 2026-03-02: what is published is not what was billed; it is settled soon, then "
        "ask again"
    )
