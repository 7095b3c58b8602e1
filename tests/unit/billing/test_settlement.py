"""Settlement against exact fractions: whatever the order of arrival, what is posted is the rounded
exact sum."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.links import Link, chain_links
from daemon.billing.settlement import (
    Postings,
    PricedLink,
    Stream,
    StreamState,
    price_link,
    settle,
    to_fen,
)
from daemon.billing.tariff import Tariff, TariffVersion
from daemon.quality.chain import MAX_AUTO_SPAN_DAYS
from daemon.quality.register import ChainPoint
from tests.examples import examples
from tests.unit.exact_money import exact_by_month, rounded

ZONE = ZoneInfo("Asia/Shanghai")
MODULUS = 100_000_000
FIRST = date(2026, 2, 20)
PRICES = [
    TariffVersion("T", date(2026, 1, 1), Decimal("0.5283")),
    TariffVersion("T", date(2026, 3, 1), Decimal("0.55555555")),
    TariffVersion("T", date(2026, 3, 4), Decimal(0)),
    TariffVersion("T", date(2026, 3, 6), Decimal("1.005")),
]
TARIFF = Tariff(tuple(PRICES))


def price(link: Link, *, ratio: Decimal = Decimal(1), zone: ZoneInfo = ZONE) -> PricedLink:
    return price_link(link, ratio=ratio, decimals=2, tariff=TARIFF, zone=zone)


@dataclass
class Book:
    """One point's chain, settled reading by reading."""

    ratio: Decimal = Decimal(1)
    chain: dict[date, int] = field(default_factory=dict)
    streams: dict[Stream, StreamState] = field(default_factory=dict)

    def arrive(self, readings: Iterable[tuple[date, int]]) -> list[Postings]:
        was = self.links()
        self.chain |= dict(readings)
        now = self.links()
        settlement = settle(
            self.streams,
            removed=[price(link, ratio=self.ratio) for link in was if link not in now],
            added=[price(link, ratio=self.ratio) for link in now if link not in was],
        )
        self.streams |= settlement.streams
        return settlement.postings

    def links(self) -> list[Link]:
        return chain_links(1, [ChainPoint(*item) for item in sorted(self.chain.items())], MODULUS)

    def posted(self) -> dict[date, int]:
        return {
            stream.period: state.posted_fen
            for stream, state in self.streams.items()
            if state.posted_fen
        }


readings_with_gaps = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 30_000)), min_size=1, max_size=12
)


def chain_of(start: int, steps: list[tuple[int, int]]) -> dict[date, int]:
    chain = {FIRST: start}
    day = FIRST
    total = start
    for days, use in steps:
        day += timedelta(days=days)
        total = (total + use) % MODULUS
        chain[day] = total
    return chain


@given(
    start=st.sampled_from([0, 100_000, MODULUS - 20_000]),
    steps=readings_with_gaps,
    ratio=st.sampled_from(["1", "60", "0.3", "1000"]),
    data=st.data(),
)
@examples(150)
def test_any_order_of_arrival_posts_the_rounded_exact_sum_of_each_month(
    start: int, steps: list[tuple[int, int]], ratio: str, data: st.DataObject
) -> None:
    chain = chain_of(start, steps)
    order = data.draw(st.permutations(sorted(chain.items())))
    batches = [order]
    if cuts := sorted(data.draw(st.sets(st.integers(1, len(order) - 1)))):
        batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    book = Book(Decimal(ratio))
    for batch in batches:
        book.arrive(batch)
        for state in book.streams.values():
            assert state.posted_fen == to_fen(state.exact_yuan)
            assert abs(Fraction(state.exact_yuan) * 100 - state.posted_fen) <= Fraction(1, 2)
    expected = {
        month: rounded(yuan)
        for month, yuan in exact_by_month(chain, PRICES, ratio=Decimal(ratio)).items()
    }
    assert book.posted() == {month: fen for month, fen in expected.items() if fen}


@given(steps=readings_with_gaps, data=st.data())
@examples(60)
def test_use_is_never_credited_unless_a_late_reading_corrects_a_span(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    book = Book()
    for item in data.draw(st.permutations(sorted(chain_of(0, steps).items()))):
        for postings in book.arrive([item]):
            if postings.replaced is None:
                assert all(fen > 0 for fen in postings.fen.values())


@given(steps=readings_with_gaps)
def test_each_posting_in_order_of_time_is_within_a_fen_of_its_exact_price(
    steps: list[tuple[int, int]],
) -> None:
    book = Book()
    for item in sorted(chain_of(0, steps).items()):
        for postings in book.arrive([item]):
            exact: dict[Stream, Fraction] = {}
            for charge in (charge for link in postings.links for charge in link.charges):
                exact[charge.stream] = exact.get(charge.stream, Fraction(0)) + Fraction(
                    charge.exact_yuan
                )
            for stream, yuan in exact.items():
                assert abs(postings.fen.get(stream, 0) - yuan * 100) <= 1


@given(
    first=st.dates(date(2026, 1, 1), date(2026, 12, 1)),
    days=st.integers(1, MAX_AUTO_SPAN_DAYS),
    delta=st.integers(0, 10**8),
    ratio=st.sampled_from([Decimal(1), Decimal("0.3"), Decimal(1000)]),
    zone=st.sampled_from([ZONE, ZoneInfo("Europe/Berlin")]),
)
def test_the_parts_of_a_span_stay_on_the_register_and_add_up_exactly(
    first: date, days: int, delta: int, ratio: Decimal, zone: ZoneInfo
) -> None:
    link = Link(1, first, first + timedelta(days=days), delta)
    charges = price(link, ratio=ratio, zone=zone).charges
    assert sum((charge.kwh for charge in charges), Decimal(0)) == Decimal(delta).scaleb(-2) * ratio
    for charge in charges:
        steps = charge.kwh / ratio * 100
        assert steps >= 0
        assert steps == int(steps)
        assert charge.exact_yuan == charge.kwh * charge.version.price_yuan_per_kwh
    assert [charge.is_estimated_split for charge in charges] == [len(charges) > 1] * len(charges)


def test_a_span_over_the_night_of_the_clock_change_is_split_by_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    tariff = Tariff(
        (
            TariffVersion("T", date(2026, 1, 1), Decimal(1)),
            TariffVersion("T", date(2026, 3, 30), Decimal(2)),
        )
    )
    link = Link(
        1, date(2026, 3, 29), date(2026, 3, 31), 47_000
    )  # the 29th has 23 hours, the 30th has 24
    charges = price_link(link, ratio=Decimal(1), decimals=2, tariff=tariff, zone=berlin).charges
    assert [charge.kwh for charge in charges] == [Decimal("230.00"), Decimal("240.00")]
    start, end = (
        datetime.combine(day, time(), berlin).astimezone(UTC)
        for day in (link.from_day, link.to_day)
    )
    assert end - start == timedelta(hours=47)


def test_nothing_removed_and_nothing_added_moves_nothing() -> None:
    streams = {Stream(date(2026, 3, 1), "energy"): StreamState(Decimal("1.234"), 123)}
    settlement = settle(streams, removed=[], added=[])
    assert (settlement.postings, settlement.streams) == ([], {})


def test_a_link_taken_out_and_put_back_moves_nothing() -> None:
    link = price(Link(1, date(2026, 3, 1), date(2026, 3, 2), 1234))
    ((charge,),) = (link.charges,)
    streams = {charge.stream: StreamState(charge.exact_yuan, to_fen(charge.exact_yuan))}
    settlement = settle(streams, removed=[link], added=[link])
    assert [postings.fen for postings in settlement.postings] == [{}]
    assert settlement.streams == streams


def test_a_stream_whose_posted_sum_was_wrong_is_mended_by_the_next_link() -> None:
    link = price(Link(1, date(2026, 2, 20), date(2026, 2, 21), 1000))
    stream = Stream(date(2026, 2, 1), "energy")
    settlement = settle({stream: StreamState(Decimal("1.00"), 90)}, removed=[], added=[link])
    assert settlement.streams[stream] == StreamState(Decimal("6.2830"), 628)
    assert settlement.postings[0].fen == {stream: 628 - 90}


@pytest.mark.parametrize(
    ("yuan", "fen"),
    [
        ("0.005", 1),
        ("-0.005", -1),
        ("0.0049999", 0),
        ("1.005", 101),
        ("-1.005", -101),
        ("2.675", 268),
        ("0", 0),
    ],
)
def test_half_a_fen_is_rounded_away_from_zero(yuan: str, fen: int) -> None:
    assert to_fen(Decimal(yuan)) == fen
    assert rounded(Fraction(yuan)) == fen


def test_a_span_of_more_than_seven_days_waits_and_costs_nothing() -> None:
    seven = price(Link(1, date(2026, 2, 20), date(2026, 2, 27), 1000))
    eight = price(Link(1, date(2026, 2, 20), date(2026, 2, 28), 1000, hold="span"))
    assert [len(seven.charges), len(eight.charges)] == [1, 0]


def test_use_before_the_first_price_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"no tariff version is in force on 2025-12-31, the use of point 1"
    ):
        price(Link(1, date(2025, 12, 31), date(2026, 1, 2), 10))


def test_the_version_of_a_day_starts_at_its_midnight() -> None:
    days = [
        date(2025, 12, 31),
        date(2026, 1, 1),
        date(2026, 2, 28),
        date(2026, 3, 1),
        date(2026, 3, 4),
    ]
    assert [TARIFF.version_on(day) for day in days] == [
        None,
        PRICES[0],
        PRICES[0],
        PRICES[1],
        PRICES[2],
    ]
    assert TARIFF.cuts_between(date(2026, 3, 1), date(2026, 3, 6)) == [date(2026, 3, 4)]


def test_a_tariff_with_two_versions_of_one_day_is_a_programmers_error() -> None:
    with pytest.raises(AssertionError, match="one a day"):
        Tariff((PRICES[0], PRICES[0]))


@pytest.mark.parametrize("late", [date(2026, 2, 22), date(2026, 3, 1), date(2026, 3, 2)])
def test_a_late_reading_is_one_group_with_the_span_it_replaces(late: date) -> None:
    book = Book()
    book.arrive([(date(2026, 2, 21), 0), (date(2026, 2, 28), 1000)])
    book.arrive([(date(2026, 3, 3), 2000)])
    postings = book.arrive([(late, 500 if late < date(2026, 2, 28) else 1500)])
    ((only,),) = (postings,)
    assert only.replaced is not None
    assert only.replaced.from_day < late < only.replaced.to_day
    assert [(p.link.from_day, p.link.to_day) for p in only.links] == [
        (only.replaced.from_day, late),
        (late, only.replaced.to_day),
    ]
