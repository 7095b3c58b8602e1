"""Which links a published chain has, and which of those in force they replace."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.links import (
    END_OF_TIME,
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
from daemon.quality.chain import MAX_AUTO_SPAN_DAYS
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
    week, longer = (links_of([0, n])[0] for n in (MAX_AUTO_SPAN_DAYS, 8))
    assert (week.is_held, longer.is_held) == (False, True)


def test_a_register_that_rolled_over_ends_below_where_it_begins() -> None:
    (rolled,) = chain_links(1, [ChainPoint(on_day(0), 990), ChainPoint(on_day(1), 5)], MODULUS)
    (plain,) = chain_links(1, [ChainPoint(on_day(0), 5), ChainPoint(on_day(1), 15)], MODULUS)
    assert (rolled.ends, plain.ends) == (5, 15)


ONE_METER = {7: MeterRegister(MODULUS, 2)}
ONE_RATIO = ((on_day(0), Decimal(1)),)


def test_a_link_has_the_ratio_in_force_at_its_beginning() -> None:
    # R06
    history = PointHistory(((on_day(0), Decimal(1)), (on_day(1), Decimal(80))), ONE_METER)
    values = [
        ChainValue(on_day(0), 7, 100),
        ChainValue(on_day(1), 7, 110, link_days=1),
        ChainValue(on_day(2), 7, 120, link_days=1),
    ]
    assert [link.ratio for link in dated_links(1, values, history)] == [1, 80]


def test_a_link_is_held_as_it_was_judged() -> None:
    values = [
        ChainValue(on_day(1), 7, 100),
        ChainValue(on_day(3), 7, 120, link_days=-2, hold="ratio"),
        ChainValue(on_day(4), 7, 125, link_days=1),
    ]
    links = dated_links(1, values, PointHistory(ONE_RATIO, ONE_METER))
    assert [(link.days, link.hold) for link in links] == [(2, "ratio"), (1, None)]


def test_values_that_were_not_linked_have_no_link() -> None:
    registers = {**ONE_METER, 8: MeterRegister(10_000, 1)}
    values = [
        ChainValue(on_day(0), 7, 100),
        ChainValue(on_day(1), 7, 110, link_days=1),
        ChainValue(on_day(2), 8, 0),
        ChainValue(on_day(3), 8, 6, link_days=1),
        # judged as linked to a day that is not there any more
        ChainValue(on_day(5), 8, 9, link_days=1),
    ]
    links = dated_links(1, values, PointHistory(ONE_RATIO, registers))
    told = [(link.from_day, link.to_day, link.meter_id, link.decimals) for link in links]
    assert told == [(on_day(0), on_day(1), 7, 2), (on_day(2), on_day(3), 8, 1)]
    assert [link.modulus for link in links] == [MODULUS, 10_000]


def test_use_over_an_exchange_is_what_documents_told_with_every_decimal() -> None:
    values = [
        ChainValue(on_day(0), 7, 100),
        ChainValue(on_day(1), 8, 3, link_days=1, kwh=Decimal("2.405")),
    ]
    (link,) = dated_links(1, values, PointHistory(ONE_RATIO, ONE_METER))
    assert (link.delta, link.decimals, link.ratio, link.meter_id) == (2405, 3, Decimal(1), 8)


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
