"""Many points as arrays say what each says alone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.facts import Facts, Installation, Limit, Read, Registers
from daemon.quality.fleet import MISSING, CleanPoints, Freezes, clean_points
from daemon.quality.judge import judge
from daemon.quality.local_time import midnight_s
from daemon.quality.verdict import DayState, Held, Link
from tests.examples import examples

# The clocks go forward on the 29th, so that a day of 23 hours is among them.
ZONE = ZoneInfo("Europe/Berlin")
FIRST = date(2026, 3, 10)
DAYS = 45
MODULUS = 1_000
MAX_DAILY = 40


@st.composite
def point(draw: st.DrawFn) -> Facts:
    """A register that goes on, rests, turns over, is read on most days, and at times is wrong."""
    pace = draw(st.sampled_from([0, 0, 3, 20, 39, 40]))
    total = draw(st.integers(0, MODULUS - 1))
    odd = draw(st.dictionaries(st.integers(0, DAYS - 1), st.integers(-5, MODULUS + 5), max_size=2))
    unread = draw(st.sets(st.integers(0, DAYS - 1), max_size=30))
    with_rates = draw(st.booleans())
    reads = []
    for number in range(DAYS):
        if number in unread:
            total += pace
            continue
        shown = odd.get(number, total % MODULUS)
        half = Decimal(shown // 2)
        rates = (("peak", half), ("valley", shown - half)) if with_rates else ()
        read_at = datetime(2026, 3, 10, tzinfo=UTC) + timedelta(days=number)
        day = FIRST + timedelta(days=number)
        reads.append(Read(day, Registers(Decimal(shown), rates), read_at))
        total += draw(st.integers(0, 2)) if pace == 3 else pace
    installation = Installation(
        at=datetime(2026, 3, 1, tzinfo=ZONE),
        serial="A",
        modulus=Decimal(MODULUS),
        decimals=0,
        wire_decimals=0,
    )
    return Facts(ZONE, (installation,), (Limit(FIRST, Decimal(MAX_DAILY)),), reads=tuple(reads))


def freezes(points: Sequence[Facts], span_days: int = 7) -> Freezes:
    totals = np.full((len(points), DAYS), MISSING)
    rates = np.full((2, len(points), DAYS), MISSING)
    plain = np.ones(len(points), dtype=bool)
    for number, facts in enumerate(points):
        for read in facts.reads:
            told = (read.registers.total, *(rate for _, rate in read.registers.rates))
            day = (read.day - FIRST).days
            # A register below 0 cannot be told from a missing one.
            plain[number] &= min(told) >= 0
            totals[number, day] = told[0]
            rates[:, number, day] = told[1:] or MISSING
    every = np.ones(len(points), dtype=np.int64)
    return Freezes(
        totals=totals,
        modulus=every * MODULUS,
        max_daily=every * MAX_DAILY,
        wire_steps=every,
        midnight_s=np.array(
            [midnight_s(ZONE, "zone", FIRST + timedelta(days=n)) for n in range(DAYS)]
        ),
        plain=plain,
        confirmed=np.zeros(len(points), dtype=bool),
        unchanged_days=0 * every,
        rates=rates,
        max_auto_span_days=span_days,
    )


def states(arrays: Freezes, proved: CleanPoints, number: int) -> dict[date, DayState]:
    found = {}
    for day in np.flatnonzero(arrays.totals[number] >= 0):
        total = Decimal(int(arrays.totals[number, day]))
        if proved.waits[number]:
            state = DayState("suspect", total, ("V32",), "wait")
        else:
            codes = ("V10",) if proved.unchanged[number, day] else ()
            state = DayState("published", total, codes)
        found[FIRST + timedelta(days=int(day))] = state
    return found


def links(arrays: Freezes, proved: CleanPoints, number: int) -> tuple[Link, ...]:
    found: list[Link] = []
    days = [int(day) for day in np.flatnonzero(arrays.totals[number] >= 0)]
    for start, end in pairwise(days):
        advance = (int(arrays.totals[number, end]) - int(arrays.totals[number, start])) % MODULUS
        held: Held | None = "span" if proved.spans[number, end] else None
        whole = [FIRST + timedelta(days=it) for it in (start, end)]
        found.append(Link(whole[0], whole[1], Decimal(advance), held))
    return tuple(found)


@examples(60)
@given(st.lists(point(), min_size=1, max_size=4), st.sampled_from([7, 1, 2, 3, 14, 31]))
def test_arrays_say_what_each_point_says_alone(points: list[Facts], span_days: int) -> None:
    points = [replace(it, max_auto_span_days=span_days) for it in points]
    arrays = freezes(points, span_days)
    proved = clean_points(arrays)
    for number in map(int, np.flatnonzero(proved.clean)):
        facts = points[number]
        alone = judge(facts)
        assert states(arrays, proved, number) == alone.days
        assert links(arrays, proved, number) == alone.links
        assert len(alone.chain) == (0 if proved.waits[number] else len(facts.reads))


@given(st.integers(0, 39), st.integers(0, MODULUS - 1), st.sets(st.integers(0, DAYS - 1)))
def test_an_honest_point_is_proved_clean(pace: int, total: int, unread: set[int]) -> None:
    shown = [(total + pace * n) % MODULUS if n not in unread else MISSING for n in range(DAYS)]
    # Further than a quarter turn nobody can say how often the register turned over.
    gaps = np.diff([n for n in range(DAYS) if n not in unread], prepend=0)
    every = np.ones(1, dtype=np.int64)
    proved = clean_points(
        Freezes(
            totals=np.array([shown]),
            modulus=every * MODULUS,
            max_daily=every * MAX_DAILY,
            wire_steps=every,
            midnight_s=np.arange(DAYS) * 86_400,
            plain=np.ones(1, dtype=bool),
            confirmed=np.zeros(1, dtype=bool),
            unchanged_days=0 * every,
        )
    )
    assert proved.clean[0] or max(gaps, default=0) * pace >= MODULUS / 4


@pytest.mark.parametrize("first", range(9))
def test_seven_days_without_a_value_hold_the_link_and_six_do_not_wherever_they_begin(
    first: int,
) -> None:
    totals = np.full((2, 18), 7)
    for number, unread in enumerate((6, 7)):
        totals[number, first + 1 : first + 1 + unread] = MISSING
    every = np.ones(2, dtype=np.int64)
    proved = clean_points(
        Freezes(
            totals=totals,
            modulus=every * MODULUS,
            max_daily=every,
            wire_steps=every,
            midnight_s=np.arange(18) * 86_400,
            plain=np.ones(2, dtype=bool),
            confirmed=np.zeros(2, dtype=bool),
            unchanged_days=0 * every,
        )
    )
    assert np.argwhere(proved.spans).tolist() == [[1, first + 8]]


@given(st.integers(1, 60), st.integers(0, 60))
def test_how_long_the_total_stood_still_before_the_first_day_counts(before: int, days: int) -> None:
    totals = np.array([[MISSING] * 2 + [7] * days]).reshape(1, -1)
    every = np.ones(1, dtype=np.int64)
    proved = clean_points(
        Freezes(
            totals=totals,
            modulus=every * MODULUS,
            max_daily=every,
            wire_steps=every,
            midnight_s=np.arange(totals.shape[1]) * 86_400,
            plain=np.ones(1, dtype=bool),
            confirmed=np.ones(1, dtype=bool),
            unchanged_days=every * before,
        )
    )
    assert proved.unchanged[0].tolist() == [False, False, *(before + n >= 30 for n in range(days))]


@examples(60)
@given(st.lists(point(), min_size=1, max_size=4))
def test_registers_of_many_digits_are_proved_like_those_of_few(points: list[Facts]) -> None:
    scale = 10**7  # more than 32 bits hold
    few = freezes(points)
    assert few.rates is not None
    many = replace(
        few,
        totals=np.where(few.totals < 0, few.totals, few.totals * scale),
        rates=np.where(few.rates < 0, few.rates, few.rates * scale),
        modulus=few.modulus * scale,
        max_daily=few.max_daily * scale,
        wire_steps=few.wire_steps * scale,
    )
    of_few = clean_points(few)
    of_many = clean_points(many)
    assert of_many.clean.tolist() == of_few.clean.tolist()
    clean = of_few.clean
    assert of_many.waits[clean].tolist() == of_few.waits[clean].tolist()
    assert of_many.unchanged[clean].tolist() == of_few.unchanged[clean].tolist()
    assert of_many.spans[clean].tolist() == of_few.spans[clean].tolist()


def test_a_register_of_too_many_digits_is_not_taken_for_what_is_left_of_it() -> None:
    every = np.ones(1, dtype=np.int64)
    proved = clean_points(
        Freezes(
            totals=np.array([[5, 2**32 + 6, 7]]),
            modulus=every * MODULUS,
            max_daily=every * MAX_DAILY,
            wire_steps=every,
            midnight_s=np.arange(3) * 86_400,
            plain=np.ones(1, dtype=bool),
            confirmed=np.zeros(1, dtype=bool),
            unchanged_days=0 * every,
        )
    )
    assert not proved.clean[0]
