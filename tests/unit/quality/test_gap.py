"""Runs of owed days that are not published: where they begin and end, why, and until when."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.gap import Causes, Gap, Lacking, Outage, Try, first_gap_day, gap_day, gaps_of

TODAY = date(2026, 5, 20)
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTHING = Causes({}, {}, ())


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def lacking(published: int = 0, withheld: int = 0, *, days: int = 6, **changes: Any) -> Lacking:
    """A point of which so many days are owed; bit 0 is today."""
    facts = {
        "point_id": 1,
        "point": "P1",
        "meter_id": 7,
        "address": "000000000001",
        "line": "bus-1",
        "protocol": "dlt645-2007",
        "first_day": ago(days - 1),
        "newest": TODAY,
        "published": published,
        "withheld": withheld,
    }
    return Lacking(**{**facts, **changes})


def one(point: Lacking, causes: Causes = NOTHING) -> Gap:
    (gap,) = gaps_of([point], causes)
    return gap


def spans(point: Lacking) -> list[tuple[int, int, str]]:
    """(age of the first, age of the last day, state)."""
    return [
        ((TODAY - gap.first_day).days, (TODAY - gap.last_day).days, gap.state)
        for gap in gaps_of([point], NOTHING)
    ]


def test_runs_are_as_long_as_they_can_be_and_the_withheld_stand_apart() -> None:
    assert spans(lacking(0b000001)) == [(5, 1, "missing")]
    assert spans(lacking(0b101011)) == [(4, 4, "missing"), (2, 2, "missing")]
    assert spans(lacking(0b100001, 0b001100)) == [
        (4, 4, "missing"),
        (3, 2, "withheld"),
        (1, 1, "missing"),
    ]
    assert spans(lacking(0b111111)) == []


@given(st.integers(1, 62), st.integers(0, 2**62 - 1), st.integers(0, 2**62 - 1))
def test_each_owed_day_that_is_not_published_is_in_one_gap(
    days: int, published: int, withheld: int
) -> None:
    withheld &= ~published
    told = {
        age: state
        for first, last, state in spans(lacking(published, withheld, days=days))
        for age in range(last, first + 1)
    }
    owed = {
        age: "withheld" if withheld >> age & 1 else "missing"
        for age in range(days)
        if not published >> age & 1
    }
    assert {age: "missing" if state == "lost" else state for age, state in told.items()} == owed


@pytest.mark.parametrize(
    ("hour", "minute", "day"),
    [(0, 5, date(2026, 5, 19)), (5, 59, date(2026, 5, 19)), (6, 0, TODAY), (23, 59, TODAY)],
)
def test_a_freeze_is_a_gap_from_six_on(hour: int, minute: int, day: date) -> None:
    now = datetime(2026, 5, 20, hour, minute, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert gap_day(now) == day


@pytest.mark.parametrize(
    ("now", "days", "first"),
    [
        (datetime(2026, 3, 16, 5, 59), 62, date(2026, 1, 14)),
        (datetime(2026, 3, 16, 6, 0), 62, date(2026, 1, 14)),
        (datetime(2026, 3, 15, 23, 59), 62, date(2026, 1, 13)),
        (datetime(2026, 3, 16, 0, 0), 1, date(2026, 3, 15)),
    ],
)
def test_what_a_meter_forgot_at_midnight_is_no_gap_until_the_morning(
    now: datetime, days: int, first: date
) -> None:
    assert first_gap_day(now, days) == first


def test_a_gap_tells_the_cause_of_its_last_try_and_all_tries() -> None:
    tries = {
        (7, ago(2)): Try("no_answer", 4, NOON, NOON + HOUR),
        (7, ago(1)): Try("refused", 2, NOON + HOUR, NOON + 2 * HOUR),
        (7, ago(9)): Try("bad_answer", 100, NOON + 9 * HOUR, NOON),
        (8, ago(1)): Try("bad_answer", 100, NOON + 9 * HOUR, NOON),
    }
    gap = one(lacking(0b111001), Causes(tries, {}, ()))
    assert (gap.cause, gap.tries, gap.last_at, gap.next_at) == (
        "refused",
        6,
        NOON + HOUR,
        NOON + 2 * HOUR,
    )


def test_a_gap_that_nobody_tried_says_so() -> None:
    gap = one(lacking(0b111110))
    assert (gap.cause, gap.tries, gap.last_at, gap.next_at) == ("not_asked", 0, None, None)


@pytest.mark.parametrize(
    ("down_since", "cause"), [(NOON - HOUR, "no_answer"), (NOON + HOUR, "no_route")]
)
def test_a_line_that_is_down_is_the_cause_of_what_was_not_tried_since(
    down_since: datetime, cause: str
) -> None:
    tries = {(7, TODAY): Try("no_answer", 1, NOON, NOON)}
    outages = {"bus-1": Outage(down_since, "refused", NOON + 2 * HOUR)}
    gap = one(lacking(0b111110), Causes(tries, outages, ()))
    assert (gap.cause, gap.detail, gap.next_at) == (cause, "refused", NOON + 2 * HOUR)


@pytest.mark.parametrize(
    ("published", "withheld", "cause"),
    [(0, 0, "never_answered"), (0b100000, 0, "no_answer"), (0, 0b100000, "no_answer")],
)
def test_a_meter_of_which_nothing_was_read_is_told_from_one_that_fell_silent(
    published: int, withheld: int, cause: str
) -> None:
    tries = {(7, TODAY): Try("no_answer", 1, NOON, NOON)}
    found = gaps_of([lacking(published, withheld)], Causes(tries, {}, ()))
    assert [gap.cause for gap in found if gap.state == "missing"] == [cause]


def test_a_meter_that_does_not_tell_the_newest_freeze_was_asked() -> None:
    """Between midnight and 06:00 that one is no gap yet, and nothing else is asked for."""
    tries = {(7, ago(-1)): Try("no_answer", 3, NOON, NOON + HOUR)}
    gap = one(lacking(0), Causes(tries, {}, ()))
    assert (gap.cause, gap.tries, gap.next_at) == ("never_answered", 0, NOON + HOUR)


def test_another_line_that_is_down_explains_nothing() -> None:
    outages = {"bus-2": Outage(NOON, "refused", None)}
    gap = one(lacking(0b111110), Causes({}, outages, ()))
    assert (gap.cause, gap.detail) == ("not_asked", "")


def test_what_is_withheld_because_of_the_clock_says_so() -> None:
    causes = Causes({}, {}, {(1, ago(1))})
    assert one(lacking(0b111101, 0b000010), causes).cause == "meter_clock"
    assert one(lacking(0b111011, 0b000100), causes).cause == "suspect"


@pytest.mark.parametrize(
    ("oldest", "newest", "state"), [(61, 61, "missing"), (62, 62, "lost"), (70, 61, "missing")]
)
def test_a_gap_is_lost_when_its_meter_has_forgotten_its_last_day(
    oldest: int, newest: int, state: str
) -> None:
    """62 freezes are kept, today's included."""
    missing = ((1 << oldest + 1) - 1) >> newest << newest
    gap = one(lacking(~missing & ((1 << 80) - 1), days=80))
    assert (gap.state, gap.kept_until) == (state, ago(oldest - 62))


def test_what_a_meter_without_memory_missed_is_lost_at_once() -> None:
    gap = one(lacking(0b111110, protocol="modbus-rtu"))
    assert (gap.state, gap.kept_until) == ("lost", TODAY)


def test_what_is_lost_is_not_tried_again() -> None:
    tries = {(7, TODAY): Try("no_answer", 2, NOON, NOON + HOUR)}
    gap = one(lacking(0b111110, protocol="modbus-rtu"), Causes(tries, {}, ()))
    assert (gap.state, gap.cause, gap.next_at) == ("lost", "no_answer", None)


def test_how_long_a_gateway_remembers_is_not_known() -> None:
    gap = one(lacking(days=80, protocol="mqtt"))
    assert (gap.state, gap.kept_until) == ("missing", None)


def test_what_is_withheld_was_collected_and_is_not_lost() -> None:
    gap = one(lacking(~(1 << 70) & ((1 << 80) - 1), 1 << 70, days=80))
    assert (gap.state, gap.kept_until) == ("withheld", None)
