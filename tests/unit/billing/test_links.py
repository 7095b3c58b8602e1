"""Which links a published chain has, and which of those in force they replace."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.links import (
    END_OF_TIME,
    MAX_AUTO_SPAN_DAYS,
    ChainValue,
    Link,
    LinkInForce,
    MeterRegister,
    PointHistory,
    Span,
    chain_links,
    changed_links,
    dated_links,
    span_to_link,
)
from daemon.quality.register import ChainPoint

FIRST = date(2026, 3, 1)
MODULUS = 1000


def on_day(number: int) -> date:
    return FIRST + timedelta(days=number)


def links_of(days: Iterable[int]) -> list[Link]:
    return chain_links(1, [ChainPoint(on_day(n), 10 * n) for n in sorted(days)], MODULUS)


def test_a_register_that_passes_its_modulus_rolled_over() -> None:
    chain = [ChainPoint(on_day(0), 990), ChainPoint(on_day(1), 5)]
    assert chain_links(1, chain, MODULUS) == [
        Link(1, on_day(0), on_day(1), 15, True, begins=990, modulus=MODULUS)
    ]


def test_a_link_longer_than_a_week_is_held() -> None:
    week, longer = (Link(1, FIRST, on_day(n), 1) for n in (MAX_AUTO_SPAN_DAYS, 8))
    assert (week.is_held, longer.is_held) == (False, True)


def test_a_register_that_rolled_over_ends_below_where_it_begins() -> None:
    (rolled,) = chain_links(1, [ChainPoint(on_day(0), 990), ChainPoint(on_day(1), 5)], MODULUS)
    (plain,) = chain_links(1, [ChainPoint(on_day(0), 5), ChainPoint(on_day(1), 15)], MODULUS)
    assert (rolled.ends, plain.ends) == (5, 15)


def dated(history: PointHistory, *values: tuple[int, int, int]) -> list[Link]:
    return dated_links(
        1, [ChainValue(on_day(n), meter, total) for n, meter, total in values], history
    )


ONE_METER = {7: MeterRegister(MODULUS, 2)}


def test_a_link_has_the_ratio_in_force_at_its_beginning() -> None:
    # R06
    history = PointHistory(((on_day(0), Decimal(1)), (on_day(1), Decimal(80))), ONE_METER)
    links = dated(history, (0, 7, 100), (1, 7, 110), (2, 7, 120))
    assert [link.ratio for link in links] == [1, 80]


def test_a_link_inside_which_the_ratio_changes_is_held() -> None:
    history = PointHistory(((on_day(0), Decimal(1)), (on_day(2), Decimal(80))), ONE_METER)
    (link,) = dated(history, (1, 7, 100), (3, 7, 120))
    assert link.hold == "ratio"
    for first, last in ((1, 2), (2, 3)):
        (link,) = dated(history, (first, 7, 100), (last, 7, 120))
        assert not link.is_held


def test_no_link_leads_from_one_meter_to_the_next() -> None:
    registers = {**ONE_METER, 8: MeterRegister(10_000, 1)}
    history = PointHistory(((on_day(0), Decimal(1)),), registers)
    links = dated(history, (0, 7, 100), (1, 7, 110), (2, 8, 0), (3, 8, 6))
    told = [(link.from_day, link.to_day, link.meter_id, link.decimals) for link in links]
    assert told == [(on_day(0), on_day(1), 7, 2), (on_day(2), on_day(3), 8, 1)]
    assert [link.modulus for link in links] == [MODULUS, 10_000]


@given(
    was=st.sets(st.integers(0, 12), min_size=1),
    late=st.sets(st.integers(0, 12)),
)
def test_what_is_in_force_afterwards_is_the_chain_and_no_link_is_replaced_by_its_equal(
    was: set[int], late: set[int]
) -> None:
    in_force = [LinkInForce(number, 0, link) for number, link in enumerate(links_of(was))]
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
