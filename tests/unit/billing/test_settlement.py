"""Whatever the order in which use comes, goes and days are closed: what is posted is the bill."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_version import Fixed, Ladder, TariffVersion, Versions
from daemon.billing.month_use import MonthUse, VersionUse, add, decoded, encoded
from daemon.billing.posting import Stream
from daemon.billing.pricing import Terms, days_of, rounded_fen
from daemon.billing.settlement import (
    Book,
    Month,
    Moved,
    charging_versions,
    is_posted,
    moved_fen,
    posted_now,
)
from daemon.billing.use import Use
from tests.unit.billing.exact_account import Story, bill
from tests.unit.billing.stories import seeds, story
from tests.unit.billing.test_pricing import terms_of, uses_of

ZONE = ZoneInfo("UTC")
JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))


def settled(months: dict[date, Month], told: Story, closed: set[date], since: date) -> Moved:
    """Post what is due of an account from a month on."""
    book = Book(1, terms_of(told), since, months)
    moved = moved_fen([book], closed, ZONE)[1]
    for stream, fen in moved.items():
        posted = book.month(stream.period).posted_fen
        posted[stream.component] = posted.get(stream.component, 0) + fen
    return moved


def posted_of(months: dict[date, Month]) -> dict[tuple[str, str], int]:
    return {
        (f"{month:%Y-%m}", component): fen
        for month, kept in months.items()
        for component, fen in kept.posted_fen.items()
        if fen
    }


def due_of(told: Story) -> dict[tuple[str, str], int]:
    return {stream: fen for stream, yuan in bill(told).items() if (fen := rounded_fen(yuan))}


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(0, 2**32))
def test_any_order_of_use_and_closed_days_comes_to_the_bill(seed: int, order: int) -> None:
    told, chance = story(seed), Random(order)
    terms = terms_of(told)
    versions = terms.versions
    uses = uses_of(told, terms)
    # Each is told wrongly first, or taken out and put in again, as corrections do.
    events: list[tuple[int, Use]] = [(1, use) for use in uses]
    events += [(sign, use) for use in chance.sample(uses, len(uses) // 4) for sign in (1, -1)]
    chance.shuffle(events)
    events.sort(key=lambda event: -event[0])  # nothing is taken out that was not put in
    days = sorted(told.closed)
    chance.shuffle(days)
    months: dict[date, Month] = {}
    closed: set[date] = set()
    total = 0
    while events or days:
        for sign, use in events[:9]:
            add(months.setdefault(use.month, Month()).use, use, sign, versions)
        touched = [use.month for _, use in events[:9]] + [day.replace(day=1) for day in days[:9]]
        closed |= set(days[:9])
        events, days = events[9:], days[9:]
        total += sum(settled(months, told, closed, min(touched)).values())
    assert posted_of(months) == due_of(told)
    assert total == sum(due_of(told).values())
    assert settled(months, told, closed, date(2026, 1, 1)) == {}


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 2**32))
def test_by_months_the_same_is_posted_of_the_months_that_are_over(seed: int, order: int) -> None:
    told, chance = story(seed), Random(order)
    terms = replace(terms_of(told), is_by_month=True)
    events = uses_of(told, terms)
    days = sorted(told.closed)
    chance.shuffle(events)
    chance.shuffle(days)
    months: dict[date, Month] = {}
    closed: set[date] = set()
    while events or days:
        for use in events[:9]:
            add(months.setdefault(use.month, Month()).use, use, 1, terms.versions)
        closed |= set(days[:9])
        touched = [use.month for use in events[:9]] + [day.replace(day=1) for day in days[:9]]
        events, days = events[9:], days[9:]
        book = Book(1, terms, min(touched), months)
        for stream, fen in posted_now(book, moved_fen([book], closed, ZONE)[1], closed).items():
            posted = book.month(stream.period).posted_fen
            posted[stream.component] = posted.get(stream.component, 0) + fen
    over = {month for month in months if is_posted(terms, month, closed)}
    due = {(month, code): fen for (month, code), fen in due_of(told).items()}
    names = {f"{month:%Y-%m}" for month in over}
    assert posted_of(months) == {it: fen for it, fen in due.items() if it[0] in names}


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_what_was_posted_wrongly_is_mended_by_the_next_event(seed: int) -> None:
    told = story(seed)
    terms = terms_of(told)
    months: dict[date, Month] = {}
    for use in uses_of(told, terms):
        kept = months.setdefault(use.month, Month())
        add(kept.use, use, 1, terms.versions)
        kept.posted_fen = {"energy": 12345, "surcharge_that_was": -1}
    settled(months, told, set(told.closed), date(2026, 1, 1))
    assert posted_of(months) == due_of(told)


def test_months_before_the_first_that_is_asked_for_are_left_alone() -> None:
    told = story(4)
    terms = terms_of(told)
    months: dict[date, Month] = {}
    for use in uses_of(told, terms):
        add(months.setdefault(use.month, Month()).use, use, 1, terms.versions)
    since = max(months)
    moved = settled(months, told, set(told.closed), since)
    assert moved
    assert {stream.period for stream in moved} == {since}


def matrix(fee: str | None = None) -> Versions:
    """Peak and valley in two steps by year, and a fee by day."""
    cells = (
        {"peak": Decimal(1), "valley": Decimal("0.5")},
        {"peak": Decimal(2), "valley": Decimal(1)},
    )
    ladder = Ladder("year", "matrix", (Decimal(100),), matrix=cells)
    fixed = None if fee is None else Fixed(daily_yuan=Decimal(fee))
    return Versions((TariffVersion("M", JANUARY, {}, ladder=ladder, fixed=fixed),))


def part(month: date, peak: int, valley: int) -> Use:
    kwh = {"total": peak + valley, "peak": peak, "valley": valley}
    registers = {name: it * 10**8 for name, it in kwh.items()}
    return Use(month, 0, registers, datetime.combine(month, time(), UTC))


def test_a_matrix_is_settled_by_its_links_against_what_was_posted() -> None:
    months = {
        JANUARY: Month(posted_fen={"energy": 1}),
        FEBRUARY: Month(posted_fen={"energy": 8_000, "tier": 5}),
        MARCH: Month(posted_fen={"energy": 7}),
    }
    # The way of February lies half in either step: 20 x 1 + 20 x 0.5 + 20 x 2 + 20 x 1 yuan.
    parts = [part(JANUARY, 60, 0), part(FEBRUARY, 40, 40)]
    book = Book(1, Terms(matrix()), FEBRUARY, months, parts)
    flat = Versions((TariffVersion("F", JANUARY, {"total": Decimal(2)}),))
    other = Book(2, Terms(flat), FEBRUARY, {FEBRUARY: Month({0: VersionUse(1, 0, (10**8,))})})
    assert moved_fen([book, other], set(), ZONE) == {
        1: {
            Stream(FEBRUARY, "energy"): 1_000,
            Stream(FEBRUARY, "tier"): -5,
            Stream(MARCH, "energy"): -7,
        },
        2: {Stream(FEBRUARY, "energy"): 200},
    }


def test_days_that_cost_by_themselves_are_charged_beside_a_matrix() -> None:
    book = Book(1, Terms(matrix(fee="0.3")), JANUARY)
    closed = {date(2025, 12, 31), JANUARY, date(2026, 1, 2), FEBRUARY}
    assert moved_fen([book], closed, ZONE) == {
        1: {Stream(JANUARY, "fixed"): 60, Stream(FEBRUARY, "fixed"): 30}
    }


def kept(kwh: int, **posted_fen: int) -> Month:
    """A month under the first version."""
    return Month({0: VersionUse(1, 0, (kwh * 10**8,))}, posted_fen)


def of(**terms: Any) -> Versions:
    told = {"energy": {"total": Decimal(1)}} | terms
    return Versions((TariffVersion("V", date(2025, 1, 1), **told),))


BY_YEAR = Ladder("year", "price", (Decimal(100),), (Decimal(1), Decimal(3)))
BY_MONTH = Ladder("month", "price", (Decimal(100),), (Decimal(1), Decimal(3)))


@pytest.mark.parametrize(
    ("ladder", "february_yuan"),
    [(BY_YEAR, 30 + 60), (BY_MONTH, 50), (None, 50)],
)
def test_what_a_month_costs_depends_on_those_before_it_in_a_year_of_steps(
    ladder: Ladder | None, february_yuan: int
) -> None:
    months = {
        date(2025, 12, 1): kept(500),
        JANUARY: kept(70, energy=7_000),
        FEBRUARY: kept(50),
        MARCH: kept(60, energy=18_000 if ladder is BY_YEAR else 6_000),
    }
    book = Book(1, Terms(of(ladder=ladder)), JANUARY, months)
    assert moved_fen([book], set(), ZONE) == {1: {Stream(FEBRUARY, "energy"): 100 * february_yuan}}


@pytest.mark.parametrize(
    ("terms", "component", "fen"),
    [
        ({"fixed": Fixed(daily_yuan=Decimal(2))}, "fixed", {JANUARY: 400, FEBRUARY: 5_600}),
        ({"minimum_yuan": Decimal(7)}, "minimum", {FEBRUARY: 700}),
        ({}, "", {}),
    ],
)
def test_closed_days_are_charged_where_days_cost_something_also_without_use(
    terms: dict[str, Any], component: str, fen: dict[date, int]
) -> None:
    closed = {date(2026, 1, 5), date(2026, 1, 6), *days_of(FEBRUARY), date(2025, 12, 31)}
    book = Book(1, Terms(of(**terms)), JANUARY)
    expected = {Stream(month, component): it for month, it in fen.items()}
    assert moved_fen([book], closed, ZONE) == {1: expected}
    assert book.months == {}


def test_accounts_of_different_tariffs_and_months_are_settled_beside_each_other() -> None:
    cheap, dear = of(), of(energy={"total": Decimal(9)})
    books = [
        Book(1, Terms(cheap), JANUARY, {JANUARY: kept(1), FEBRUARY: kept(2, energy=150)}),
        Book(2, Terms(dear), JANUARY, {FEBRUARY: kept(3)}),
        Book(3, Terms(cheap), FEBRUARY, {JANUARY: kept(4), FEBRUARY: kept(5, tier=1)}),
        Book(4, Terms(cheap), JANUARY),
    ]
    january, february = Stream(JANUARY, "energy"), Stream(FEBRUARY, "energy")
    assert moved_fen(books, {JANUARY}, ZONE) == {
        1: {january: 100, february: 50},
        2: {february: 2_700},
        3: {february: 500, Stream(FEBRUARY, "tier"): -1},
        4: {},
    }


uses = st.dictionaries(
    st.integers(0, 3),
    st.builds(
        VersionUse,
        st.integers(1, 40),
        st.integers(0, 3),
        st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5).map(tuple),
    ),
)


@given(uses, st.permutations([11, 5, 300, 8]))
def test_use_is_read_as_it_was_stored(kept: MonthUse, numbers: list[int]) -> None:
    assert decoded(encoded(kept, numbers), numbers) == kept
    if kept:
        assert decoded(encoded(kept, numbers), [1, 2, 3, 4]) is None


def test_who_came_back_to_a_tariff_keeps_both_its_uses_of_a_month() -> None:
    kept = {n: VersionUse(n + 1, 0, (100 * n,)) for n in range(5)}
    numbers = [7, 9, 7, 9, 7]
    stored = encoded(kept, numbers)
    # What is stored is read by every later release.
    assert stored[::5] == [7, 9, 7 + 2**32, 9 + 2**32, 7 + 2 * 2**32]
    assert decoded(stored, numbers) == kept


@pytest.mark.parametrize(
    ("closed", "charging"),
    [
        ([], {0}),
        (["2026-02-20"], {0}),
        (["2026-02-25", "2026-02-26"], {0, 1}),
        (["2026-02-25", "2026-03-31"], {0, 1, 2}),
    ],
)
def test_a_version_charges_who_has_use_of_it_or_days_that_cost_by_themselves(
    closed: list[str], charging: set[int]
) -> None:
    starts = (date(2026, 1, 1), date(2026, 2, 24), date(2026, 3, 10))
    fee = Fixed(daily_yuan=Decimal(1))
    versions = Versions(
        tuple(TariffVersion(str(it), it, {"total": Decimal(1)}, fixed=fee) for it in starts)
    )
    terms = Terms(versions, opened=date(2026, 2, 21))
    months = {date(2026, 2, 1): Month({0: VersionUse(1, 0, (5,))})}
    book = Book(1, terms, date(2026, 2, 1), months)
    days = [date.fromisoformat(it) for it in closed]
    assert charging_versions(book, days) == charging


@pytest.mark.parametrize(
    ("opened", "last_day", "closed", "charging"),
    [
        (date(2026, 2, 21), None, ["2026-02-25", "2026-02-26"], {1}),
        (None, None, ["2026-02-25"], {1}),
        (date(2026, 3, 15), None, ["2026-01-05", "2026-03-20"], {2}),
        (None, date(2026, 2, 26), ["2026-02-25", "2026-03-20"], {1}),
        # Days before every version cost nothing, and those behind them do.
        (None, None, ["2025-12-30", "2026-01-05"], {0}),
        (None, None, ["2025-12-30"], set()),
    ],
)
def test_days_are_charged_by_the_versions_of_the_account_in_service(
    opened: date | None, last_day: date | None, closed: list[str], charging: set[int]
) -> None:
    starts = (date(2026, 1, 1), date(2026, 2, 24), date(2026, 3, 10))
    fee = Fixed(daily_yuan=Decimal(1))
    versions = Versions(tuple(TariffVersion(str(it), it, {}, fixed=fee) for it in starts))
    book = Book(1, Terms(versions, opened=opened, last_day=last_day), JANUARY)
    assert charging_versions(book, [date.fromisoformat(it) for it in closed]) == charging


def test_a_stream_has_an_order_of_months_first() -> None:
    march, april = date(2026, 3, 1), date(2026, 4, 1)
    streams = [Stream(april, "energy"), Stream(march, "tier"), Stream(march, "energy")]
    assert [it.component for it in sorted(streams)] == ["energy", "tier", "energy"]


@pytest.mark.parametrize(
    ("last_day", "closed", "posted"),
    [
        (None, set(), False),
        (None, {date(2026, 2, 27)}, False),
        (None, {date(2026, 2, 28)}, True),
        (date(2026, 2, 10), {date(2026, 2, 9)}, False),
        (date(2026, 2, 10), {date(2026, 2, 10)}, True),
        (date(2026, 3, 10), {date(2026, 2, 28)}, True),
        (date(2026, 3, 10), {date(2026, 3, 10)}, False),
        # What a month behind the last day is given back waits for its first day.
        (date(2026, 1, 31), {date(2026, 1, 31)}, False),
        (date(2026, 1, 31), {FEBRUARY}, True),
    ],
)
def test_who_is_settled_by_months_pays_when_the_month_or_the_account_has_ended(
    last_day: date | None, closed: set[date], posted: bool
) -> None:
    versions = Versions((TariffVersion("F@1", JANUARY, {}),))
    moved: Moved = {Stream(FEBRUARY, "energy"): 5}
    by_month = Terms(versions, last_day=last_day, is_by_month=True)
    assert posted_now(Book(1, by_month, JANUARY), moved, closed) == (moved if posted else {})
    by_day = Terms(versions, last_day=last_day)
    assert posted_now(Book(1, by_day, JANUARY), moved, closed) == moved
