"""Days of the site are closed in order when they have been over for half an hour."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.day_close import DAY, Closed, days_to_close, late_days, next_to_close

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
SANTIAGO = ZoneInfo("America/Santiago")
OPENING = date(2026, 3, 1)


def march(day: int) -> date:
    return date(2026, 3, day)


def shanghai(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    ("now", "closed", "due"),
    [
        (shanghai(2, 0, 29), None, []),
        (shanghai(2, 0, 30), None, [march(1)]),
        (shanghai(3, 0, 29), (march(1), march(1)), []),
        (shanghai(3, 0, 30), (march(1), march(1)), [march(2)]),
        (shanghai(9, 12), (march(1), march(1)), [march(day) for day in range(2, 9)]),
        (shanghai(4, 12), (march(3), march(3)), [march(1), march(2)]),
        (shanghai(5, 12), (march(3), march(3)), [march(1), march(2), march(4)]),
        (shanghai(1, 12) - 9 * DAY, None, []),
        # A clock that was put back opens no day again.
        (shanghai(1, 12), (march(1), march(5)), []),
    ],
)
def test_which_days_are_due(now: datetime, closed: Closed | None, due: list[date]) -> None:
    assert days_to_close(now, SHANGHAI, OPENING, closed) == due


@pytest.mark.parametrize(
    ("zone", "day", "ends_at"),
    [
        # 23 hours, 25 hours, and a midnight that clocks skip.
        (BERLIN, date(2026, 3, 29), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (BERLIN, date(2026, 10, 25), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        (SANTIAGO, date(2026, 9, 5), datetime(2026, 9, 6, 4, tzinfo=UTC)),
        (SANTIAGO, date(2026, 9, 6), datetime(2026, 9, 7, 3, tzinfo=UTC)),
    ],
)
def test_where_clocks_change_a_day_ends_when_the_next_begins(
    zone: ZoneInfo, day: date, ends_at: datetime
) -> None:
    closed = (OPENING, day - DAY)
    due_at = ends_at + timedelta(minutes=30)
    assert days_to_close(due_at - timedelta(seconds=1), zone, OPENING, closed) == []
    assert days_to_close(due_at, zone, OPENING, closed) == [day]


@given(
    st.sampled_from([SHANGHAI, BERLIN, SANTIAGO]),
    st.lists(
        st.tuples(
            st.datetimes(datetime(2026, 3, 1), datetime(2026, 12, 1), timezones=st.just(UTC)),
            st.integers(0, 90),
        ),
        min_size=1,
    ),
)
def test_whenever_one_looks_and_whoever_opens_no_day_is_skipped_nor_closed_twice(
    zone: ZoneInfo, looks: list[tuple[datetime, int]]
) -> None:
    closed: list[date] = []
    opening = date(2026, 6, 1)
    for now, earlier in looks:
        opening = min(opening, date(2026, 6, 1) - earlier * DAY)
        known = (min(closed), max(closed)) if closed else None
        due = days_to_close(now, zone, opening, known)
        assert due == sorted(due)
        assert not set(due) & set(closed)
        closed += due
        if closed:
            first = min(closed)
            assert sorted(closed) == [first + n * DAY for n in range(len(closed))]
            assert first == opening
            assert next_to_close(opening, (first, max(closed))) == max(closed) + DAY


@pytest.mark.parametrize(
    ("closed", "following"),
    [
        (None, OPENING),
        ((march(1), march(5)), march(6)),
        # An account was opened from days before all that are closed.
        ((march(2), march(5)), OPENING),
    ],
)
def test_the_next_day_is_the_first_that_is_not_closed(
    closed: Closed | None, following: date
) -> None:
    assert next_to_close(OPENING, closed) == following


@pytest.mark.parametrize(
    ("now", "late"),
    [(shanghai(2, 1, 59), 0), (shanghai(2, 2), 1), (shanghai(9, 12), 8)],
)
def test_a_day_is_late_when_it_has_been_over_for_two_hours(now: datetime, late: int) -> None:
    assert late_days(now, SHANGHAI, OPENING) == late
