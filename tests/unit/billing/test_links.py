"""Which links a published chain has, and which of those in force they replace."""

from collections.abc import Iterable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.links import (
    END_OF_TIME,
    Link,
    LinkInForce,
    Span,
    chain_links,
    changed_links,
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
