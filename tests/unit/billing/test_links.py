"""Which links a published chain has, and which of those in force they replace."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.links import (
    END_OF_TIME,
    ChainValue,
    Link,
    LinkInForce,
    Meter,
    PointHistory,
    Ratio,
    Span,
    advance,
    changed_links,
    dated_links,
    is_told,
    midnight,
    span_to_link,
    with_rates,
)

ZONE = ZoneInfo("UTC")
FIRST = date(2026, 3, 1)
MODULUS = 1000


def on_day(number: int) -> date:
    return FIRST + timedelta(days=number)


def at(number: int, hour: int = 0) -> datetime:
    return datetime.combine(on_day(number), datetime.min.time(), UTC) + timedelta(hours=hour)


def ratio(number: int, times: int, hour: int | None = None, *registers: int) -> Ratio:
    """From 00:00 of a day, or from an hour of the day before it."""
    since = at(number) if hour is None else at(number - 1, hour)
    return Ratio(on_day(number), since, Decimal(times), registers or None)


ONE_METER = (Meter(7, at(0), MODULUS, 2),)
ONE_RATIO = (ratio(0, 1),)
PLAIN = PointHistory(ONE_RATIO, ONE_METER)


def chain(*totals: tuple[int, ...], kwh: Decimal | None = None) -> list[ChainValue]:
    return [
        ChainValue(on_day(n), 7, registers, link_days=min(n, 1), kwh=kwh)
        for n, registers in enumerate(totals)
    ]


def test_a_link_that_was_judged_leads_over_a_substitute_that_divides_nothing() -> None:
    """Over a document no register shows what was used up to the substitute."""
    exchanged = PointHistory(
        ONE_RATIO,
        (Meter(7, at(0), MODULUS, 2, None, (500,)), Meter(8, at(1, 12), MODULUS, 2, (3,))),
    )
    values = [
        ChainValue(on_day(0), 7, (100,)),
        ChainValue(on_day(1), 7, (300,)),
        ChainValue(on_day(2), 8, (7,), link_days=2, kwh=Decimal("4.04")),
    ]
    (link,) = dated_links(1, values, exchanged, ZONE)
    assert (link.from_day, link.to_day) == (on_day(0), on_day(2))
    assert [piece.advanced for piece in link.pieces] == [(400,), (4,)]


def links_of(days: Iterable[int]) -> list[Link]:
    there = sorted(days)
    values = [
        ChainValue(on_day(n), 7, (10 * n,), link_days=n - before)
        for before, n in zip([there[0], *there], there, strict=False)
    ]
    return dated_links(1, values, PLAIN, ZONE)


@pytest.mark.parametrize(
    ("begins", "ends", "advanced"),
    [
        ((990,), (5,), (15,)),
        ((5, 1, 2), (15, 1, 3), (10, 0, 1)),
        ((990, 990), (5, 995), (15, 5)),
        ((5, 1), (15,), (10,)),
    ],
)
def test_a_register_that_passes_its_modulus_rolled_over(
    begins: tuple[int, ...], ends: tuple[int, ...], advanced: tuple[int, ...]
) -> None:
    assert advance(begins, ends, MODULUS) == advanced


def test_a_link_has_the_ratio_in_force_at_its_beginning() -> None:
    # R06
    history = PointHistory((ratio(0, 1), ratio(1, 80)), ONE_METER)
    links = dated_links(1, chain((100,), (110,), (120,)), history, ZONE)
    assert [link.ratio for link in links] == [1, 80]


def test_a_link_is_held_as_it_was_judged() -> None:
    values = [
        ChainValue(on_day(1), 7, (100,)),
        ChainValue(on_day(3), 7, (120,), link_days=-2, hold="ratio"),
        ChainValue(on_day(4), 7, (125,), link_days=1),
    ]
    links = dated_links(1, values, PLAIN, ZONE)
    assert [(link.days, link.hold) for link in links] == [(2, "ratio"), (1, None)]


def test_values_that_were_not_linked_have_no_link() -> None:
    history = PointHistory(ONE_RATIO, (*ONE_METER, Meter(8, at(2), 10_000, 1)))
    values = [
        ChainValue(on_day(0), 7, (100,)),
        ChainValue(on_day(1), 7, (110,), link_days=1),
        ChainValue(on_day(2), 8, (0,)),
        ChainValue(on_day(3), 8, (6,), link_days=1),
        # judged as linked to a day that is not there any more
        ChainValue(on_day(5), 8, (9,), link_days=1),
    ]
    links = dated_links(1, values, history, ZONE)
    told = [(link.from_day, link.to_day, link.meter_id, link.decimals) for link in links]
    assert told == [(on_day(0), on_day(1), 7, 2), (on_day(2), on_day(3), 8, 1)]
    assert [link.modulus for link in links] == [MODULUS, 10_000]


OLD = Meter(7, at(0), MODULUS, 2, final=(130, 40))
NEW = Meter(8, at(0, 14), 10_000, 1, initial=(3, 1))


def over_an_exchange(
    kwh: str, *, is_agreed: bool = False, final: tuple[int, ...] | None = OLD.final
) -> Link:
    old = OLD._replace(final=final)
    history = PointHistory((ratio(0, 2), ratio(1, 10, 14)), (old, NEW))
    values = [
        ChainValue(on_day(0), 7, (100, 30)),
        ChainValue(on_day(1), 8, (8, 5), link_days=1, kwh=Decimal(kwh), is_agreed=is_agreed),
    ]
    (link,) = dated_links(1, values, history, ZONE)
    return link


def test_use_over_an_exchange_is_what_each_meter_shows_under_its_ratio() -> None:
    # O08: 0.30 kWh x 2 of the old meter, 0.5 kWh x 10 of the new one
    link = over_an_exchange("5.6")
    shown = [(it.meter_id, it.advanced, it.decimals, it.ratio) for it in link.pieces]
    assert shown == [(7, (30, 10), 2, Decimal(2)), (8, (5, 4), 1, Decimal(10))]
    assert [(it.start, it.end) for it in link.pieces] == [(at(0), at(0, 14)), (at(0, 14), at(1))]
    assert (link.meter_id, link.begins, link.ends) == (8, (100, 30), (8, 5))


@pytest.mark.parametrize(
    ("kwh", "changes"),
    [
        ("5.6", {"final": None}),
        # what was judged counts, whatever the documents come to
        ("2.405", {}),
        ("5.6", {"is_agreed": True}),
    ],
)
def test_use_that_no_register_shows_is_what_was_told_with_every_decimal(
    kwh: str, changes: dict[str, Any]
) -> None:
    link = over_an_exchange(kwh, **changes)
    assert link.pieces == ()
    shown = Decimal(link.ends[0] - link.begins[0]).scaleb(-link.decimals)
    assert (shown, link.ratio, link.meter_id, link.modulus) == (Decimal(kwh), Decimal(1), 8, 0)


def test_an_exchange_at_midnight_belongs_to_the_day_that_ends() -> None:
    new = NEW._replace(from_at=at(1))
    history = PointHistory((ratio(0, 1),), (OLD, new))
    values = [
        ChainValue(on_day(0), 7, (100, 30)),
        ChainValue(on_day(1), 8, (3, 1), link_days=1, kwh=Decimal("0.3")),
    ]
    (link,) = dated_links(1, values, history, ZONE)
    assert [(it.meter_id, it.advanced) for it in link.pieces] == [(7, (30, 10)), (8, (0, 0))]


@pytest.mark.parametrize("registers", [(5, 1), (3, 2)])
def test_use_from_what_was_told_to_what_was_read_of_one_midnight_is_billed(
    registers: tuple[int, int],
) -> None:
    history = PointHistory((ratio(0, 1),), (OLD, NEW._replace(from_at=at(1))))
    values = [
        ChainValue(on_day(0), 7, (100, 30)),
        ChainValue(on_day(1), 8, registers, link_days=1, kwh=Decimal(27 + registers[0]) / 100),
    ]
    (link,) = dated_links(1, values, history, ZONE)
    assert is_told(link)
    assert Decimal(link.ends[0]).scaleb(-link.decimals) == values[1].kwh


def test_another_ratio_in_mid_day_cuts_the_link_where_its_registers_were_read() -> None:
    history = PointHistory((ratio(0, 1), ratio(1, 10, 6, 120, 35)), ONE_METER)
    values = chain((100, 30), (130, 45), kwh=Decimal("1.2"))
    (link,) = dated_links(1, values, history, ZONE)
    assert [(it.advanced, it.ratio) for it in link.pieces] == [
        ((20, 5), Decimal(1)),
        ((10, 10), Decimal(10)),
    ]


def test_a_substitute_without_rates_is_no_end_of_a_link_that_needs_them() -> None:
    links = dated_links(1, chain((100, 30), (110,), (120, 50), (125, 51)), PLAIN, ZONE)
    whole = with_rates(links, lambda first, last: 1, ZONE)
    assert [(link.from_day, link.to_day) for link in whole] == [
        (on_day(0), on_day(2)),
        (on_day(2), on_day(3)),
    ]
    assert whole[0].ends == (120, 50)
    assert not any(link.hold for link in whole)


def test_a_substitute_without_rates_beside_an_exchange_is_no_end_of_a_link_either() -> None:
    history = PointHistory((ratio(0, 1),), (OLD, NEW))
    values = [
        ChainValue(on_day(0), 7, (100, 30)),
        ChainValue(on_day(2), 8, (9,), link_days=2, kwh=Decimal("0.9")),
        ChainValue(on_day(3), 8, (11, 4), link_days=1),
    ]
    assert [len(link.pieces) for link in dated_links(1, values, history, ZONE)] == [2, 0]
    (whole,) = with_rates(dated_links(1, values, history, ZONE), lambda first, last: 1, ZONE)
    read = dated_links(
        1, [values[0], values[2]._replace(link_days=3, kwh=Decimal("1.1"))], history, ZONE
    )
    assert whole == read[0]


def test_a_substitute_without_rates_on_the_day_before_an_exchange_is_none_either() -> None:
    history = PointHistory((ratio(0, 1),), (OLD, NEW._replace(from_at=at(1, 14))))
    values = [
        ChainValue(on_day(0), 7, (100, 30)),
        ChainValue(on_day(1), 7, (110,), link_days=1),
        ChainValue(on_day(2), 8, (8, 5), link_days=1, kwh=Decimal("0.7")),
    ]
    (whole,) = with_rates(dated_links(1, values, history, ZONE), lambda first, last: 1, ZONE)
    read = [values[0], values[2]._replace(link_days=2, kwh=Decimal("0.8"))]
    assert [whole] == dated_links(1, read, history, ZONE)


def test_use_waits_for_the_next_value_with_rates() -> None:
    links = dated_links(1, chain((100, 30), (110, 31), (120,)), PLAIN, ZONE)
    assert [link.hold for link in with_rates(links, lambda first, last: 1, ZONE)] == [None, "rates"]
    assert [(link.days, link.hold) for link in with_rates(links, lambda first, last: 2, ZONE)] == [
        (2, "rates")
    ]


@given(
    was=st.sets(st.integers(0, 12), min_size=1),
    late=st.sets(st.integers(0, 12)),
)
def test_what_is_in_force_afterwards_is_the_chain_and_no_link_is_replaced_by_its_equal(
    was: set[int], late: set[int]
) -> None:
    in_force = [LinkInForce(1, link, number) for number, link in enumerate(links_of(was))]
    links = links_of(was | late)
    leaving, coming = changed_links(links, in_force)
    staying = [old.link for old in in_force if old not in leaving]
    assert sorted(staying + coming, key=lambda link: link.from_day) == links
    assert not {old.link.span for old in leaving} & {link.span for link in coming}


@pytest.mark.parametrize(
    ("published", "opening", "expected"),
    [
        # nothing is linked yet: the whole chain is, from the opening freeze on
        ((on_day(3), on_day(5)), (on_day(0), None), Span(1, on_day(0), END_OF_TIME)),
        # the links before the first new day stay as they are
        ((on_day(3), on_day(5)), (on_day(0), on_day(2)), Span(1, on_day(2), on_day(5))),
        ((on_day(0), on_day(0)), (on_day(0), None), Span(1, on_day(0), END_OF_TIME)),
        # days before the opening belong to nobody's bill
        ((on_day(0), on_day(1)), (on_day(2), None), None),
    ],
)
def test_the_span_whose_links_may_change(
    published: tuple[date, date], opening: tuple[date, date | None], expected: Span | None
) -> None:
    assert span_to_link(1, published, *opening) == expected


def test_the_register_of_a_meter_is_that_of_its_last_installation() -> None:
    again = Meter(7, at(3), 10_000, 1)
    history = PointHistory((ratio(0, 1), ratio(2, 5)), (*ONE_METER, Meter(8, at(1), 100, 3), again))
    values = [ChainValue(on_day(n), 7, (10 * n,), link_days=1) for n in (4, 5)]
    (link,) = dated_links(9, values, history, ZONE)
    assert link == Link(9, on_day(4), on_day(5), 7, (40,), (50,), 10_000, 1, Decimal(5))
    assert (link.days, link.span) == (1, Span(9, on_day(4), on_day(5)))
    (piece,) = link.in_pieces(ZONE)
    assert (piece.start, piece.end) == (at(4), at(5))
    assert piece[2:] == (7, (40,), (50,), 10_000, 1, Decimal(5))


@pytest.mark.parametrize("kwh", ["120", "0", "0.0100", "1E+3", "7.5"])
def test_use_that_was_told_is_written_in_the_fewest_steps(kwh: str) -> None:
    values = chain((5,), (5,), kwh=Decimal(kwh))
    values[1] = values[1]._replace(is_agreed=True, hold="agreed")
    (link,) = dated_links(1, values, PLAIN, ZONE)
    assert (link.hold, link.span) == ("agreed", Span(1, on_day(0), on_day(1)))
    assert (link.begins, link.pieces, link.ratio) == ((0,), (), Decimal(1))
    assert Decimal(link.ends[0]).scaleb(-link.decimals) == Decimal(kwh)
    assert link.decimals == {"0.0100": 2, "7.5": 1}.get(kwh, 0)


def test_a_point_that_no_meter_served_yet_has_the_use_that_was_judged() -> None:
    history = PointHistory(ONE_RATIO, (Meter(8, at(0, 14), 10_000, 1, initial=(3,)),))
    (link,) = dated_links(1, chain((100,), (8,), kwh=Decimal("0.5")), history, ZONE)
    assert (link.pieces, link.ends, link.decimals) == ((), (5,), 1)


def test_documents_before_and_after_a_link_do_not_cut_it() -> None:
    earlier = Meter(6, at(0, -30), 100, 0, final=(99,))
    later = Meter(9, at(1, 1), 100, 0, initial=(0,))
    history = PointHistory(
        (ratio(-2, 3), ratio(0, 2), ratio(1, 10, 24, 0), ratio(3, 7)), (earlier, OLD, later)
    )
    (link,) = dated_links(1, chain((100, 30), (130, 40), kwh=Decimal("0.6")), history, ZONE)
    (piece,) = link.pieces
    assert (piece.meter_id, piece.advanced, piece.ratio) == (7, (30, 10), Decimal(2))
    assert (piece.start, piece.end) == (at(0), at(1))
    assert (piece.modulus, piece.decimals) == (MODULUS, 2)


@pytest.mark.parametrize("where", ["initial", "final"])
def test_a_register_that_nobody_read_at_an_exchange_leaves_what_was_judged(where: str) -> None:
    history = PointHistory(
        ONE_RATIO,
        (
            OLD._replace(final=None if where == "final" else OLD.final),
            NEW._replace(initial=None if where == "initial" else NEW.initial),
        ),
    )
    values = [
        ChainValue(on_day(0), 7, (100, 30)),
        ChainValue(on_day(1), 8, (8, 5), link_days=1, kwh=Decimal("0.8")),
    ]
    (link,) = dated_links(1, values, history, ZONE)
    assert (link.pieces, link.ends) == ((), (8,))


def test_a_held_link_over_a_document_stays_held() -> None:
    history = PointHistory((ratio(0, 1), ratio(1, 10, 6, 120)), ONE_METER)
    values = chain((100,), (130,), kwh=Decimal("1.2"))
    values[1] = values[1]._replace(hold="gap", link_days=-1)
    (link,) = dated_links(1, values, history, ZONE)
    assert (link.hold, len(link.pieces)) == ("gap", 2)
    assert (link.from_day, link.to_day, link.point_id) == (on_day(0), on_day(1), 1)
    assert (link.ratio, link.modulus, link.decimals) == (Decimal(10), MODULUS, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"hold": "gap"},
        {"meter_id": 8},
        {"modulus": 10_000},
        {"modulus": 0},
        {"decimals": 1},
        {"ratio": Decimal(2)},
    ],
)
@pytest.mark.parametrize("changed", [0, 1])
def test_only_links_of_one_meter_and_ratio_are_joined_for_their_rates(
    change: dict[str, Any], changed: int
) -> None:
    links = dated_links(1, chain((100, 30), (110,), (120, 50)), PLAIN, ZONE)
    links[changed] = links[changed]._replace(**change)
    assert len(with_rates(links, lambda first, last: 1, ZONE)) == 2


def test_links_that_do_not_meet_are_not_joined() -> None:
    first, _, last = dated_links(1, chain((100, 30), (110,), (120,), (130, 50)), PLAIN, ZONE)
    assert [it.hold for it in with_rates([first, last], lambda first, last: 1, ZONE)] == [
        "rates"
    ] * 2


def test_each_link_is_asked_for_rates_by_its_own_days() -> None:
    links = dated_links(1, chain((100, 30), (110,), (120,), (130,)), PLAIN, ZONE)
    days = [(0, 1, 1), (0, 2, 0), (2, 3, 0)]
    asked = {(on_day(first), on_day(last)): count for first, last, count in days}
    whole = with_rates(links, lambda first, last: asked[first, last], ZONE)
    assert [(it.days, it.ends, it.hold) for it in whole] == [(2, (120,), None), (1, (130,), None)]


def test_a_link_over_a_document_shows_its_rates_in_every_piece() -> None:
    (link,) = dated_links(1, chain((100, 30), (120, 50)), PLAIN, ZONE)
    (whole,) = link.in_pieces(ZONE)
    for piece in (whole, whole._replace(begins=(100,)), whole._replace(ends=(120,))):
        told = link._replace(pieces=(whole, piece))
        expected = None if piece == whole else "rates"
        assert [it.hold for it in with_rates([told], lambda first, last: 1, ZONE)] == [expected]


@pytest.mark.parametrize("change", [{"begins": (100,)}, {"ends": (120,)}])
def test_either_end_without_rates_holds_a_link_that_is_not_told_or_held(
    change: dict[str, Any],
) -> None:
    (link,) = dated_links(1, chain((100, 30), (120, 50)), PLAIN, ZONE)
    link = link._replace(**change)

    def hold_of(it: Link) -> str | None:
        (found,) = with_rates([it], lambda first, last: 1, ZONE)
        return found.hold

    assert hold_of(link) == "rates"
    assert hold_of(link._replace(hold="gap")) == "gap"
    assert hold_of(link._replace(modulus=0)) is None
    assert [it.hold for it in with_rates([link], lambda first, last: 0, ZONE)] == [None]


def test_the_opening_day_itself_may_change_links() -> None:
    opening = on_day(2)
    assert span_to_link(1, (on_day(0), opening), opening, None) == Span(1, opening, END_OF_TIME)
    assert span_to_link(1, (on_day(0), on_day(1)), opening, None) is None


def test_a_day_begins_when_the_clocks_of_the_zone_say_so() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert midnight(date(2026, 3, 29), berlin) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert midnight(date(2026, 3, 30), berlin) == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert midnight(FIRST, berlin).tzinfo is UTC


def test_days_begin_at_the_midnights_of_the_site() -> None:
    shanghai = ZoneInfo("Asia/Shanghai")
    # 17:00 UTC is the next day there already.
    history = PointHistory((ratio(-1, 1), ratio(1, 10, 17, 995)), (OLD._replace(from_at=at(-9)),))
    values = [
        ChainValue(on_day(1), 7, (990,)),
        ChainValue(on_day(2), 7, (5,), link_days=1, kwh=Decimal("1.05")),
    ]
    (link,) = dated_links(1, values, history, shanghai)
    assert [(it.start, it.end, it.advanced) for it in link.pieces] == [
        (at(0, 16), at(0, 17), (5,)),
        (at(0, 17), at(1, 16), (10,)),
    ]
    (whole,) = link._replace(pieces=()).in_pieces(shanghai)
    assert (whole.start, whole.end) == (at(0, 16), at(1, 16))


def test_the_end_of_time_is_behind_every_day() -> None:
    assert on_day(2_000_000) < END_OF_TIME
