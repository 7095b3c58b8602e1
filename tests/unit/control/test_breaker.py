"""When the breaker opens: each limit at its edge, and what is not counted."""

from dataclasses import replace
from typing import Any

import pytest

from daemon.control.breaker import (
    COMMANDS,
    DAYS,
    SITE,
    Figures,
    Group,
    Limits,
    Opening,
    groups_to_count,
    openings,
    usual_pause,
)

AREA = Group("area", "T1")
QUIET = Figures(trips={})
EVERY_DAY = [*range(0, 24 * 10, 12)]
"""Somebody paid every twelve hours, for ten days."""


def opened(
    figures: Figures, sizes: dict[Group, int] | None = None, limits: Limits | None = None
) -> list[Opening]:
    return [*openings(figures, sizes or {}, limits or Limits())]


def figures(**changes: Any) -> Figures:
    return replace(QUIET, **changes)


def test_nothing_happens() -> None:
    assert opened(QUIET) == []
    assert groups_to_count(QUIET, Limits()) == []


def test_the_words_and_spans_that_the_database_is_asked_with() -> None:
    assert SITE == ("site", "")
    assert (DAYS, COMMANDS) == (30, 50)


NOTHING_IS_ALLOWED = Limits(
    hour=0,
    hour_permille=1000,
    day=0,
    day_permille=1000,
    group_hour=0,
    group_permille=1000,
    failed_commands=0,
    wrongful_trips=0,
)
"""But the whole of a fleet, or of a group."""


def test_what_was_not_counted_is_nothing() -> None:
    assert opened(QUIET, limits=NOTHING_IS_ALLOWED) == []
    assert groups_to_count(QUIET, NOTHING_IS_ALLOWED) == []
    assert opened(figures(paid_hours=EVERY_DAY)) == []


def test_a_fleet_of_which_no_size_is_known_is_nobody() -> None:
    found = opened(figures(trips={SITE: (1, 1)}, exhausted_today=1), {}, NOTHING_IS_ALLOWED)
    assert [(it.cause, it.allowed) for it in found] == [
        ("trips_in_an_hour", 0),
        ("trips_in_a_day", 0),
        ("exhausted_today", 0),
    ]


def test_a_group_of_which_no_size_is_known_is_nobody() -> None:
    crowded = figures(trips={AREA: (1, 1)})
    assert opened(crowded, {SITE: 10}, NOTHING_IS_ALLOWED) == [(AREA, "trips_in_an_hour", 1, 0)]
    # Nor is it less than a fleet of which none is known.
    assert opened(crowded, {}, NOTHING_IS_ALLOWED) == []


@pytest.mark.parametrize(
    ("trips", "fleet", "cause", "allowed"),
    [
        ((20, 20), 100, None, 0),
        ((21, 21), 100, "trips_in_an_hour", 20),
        ((0, 100), 100, None, 0),
        ((0, 101), 100, "trips_in_a_day", 100),
        ((50, 50), 10_000, None, 0),
        ((51, 51), 10_000, "trips_in_an_hour", 50),
        ((0, 200), 10_000, None, 0),
        ((0, 201), 10_000, "trips_in_a_day", 200),
        ((21, 21), 4200, None, 0),
        ((21, 21), 4199, "trips_in_an_hour", 20.995),
    ],
)
def test_trips_of_the_site(
    trips: tuple[int, int], fleet: int, cause: str | None, allowed: float
) -> None:
    found = opened(figures(trips={SITE: trips}), {SITE: fleet})
    most = max(trips)
    assert found == ([] if cause is None else [(SITE, cause, most, allowed)])


@pytest.mark.parametrize(
    ("hour", "size", "opens"),
    [(3, 10, False), (4, 10, True), (4, 40, False), (4, 39, True), (5, 50, False), (6, 50, True)],
)
def test_trips_of_a_group(hour: int, size: int, *, opens: bool) -> None:
    found = opened(figures(trips={AREA: (hour, 99)}), {SITE: 1000, AREA: size})
    assert found == ([(AREA, "trips_in_an_hour", hour, max(3, size / 10))] if opens else [])


def test_a_group_that_is_the_whole_fleet_has_the_limit_of_the_site() -> None:
    crowded = figures(trips={AREA: (20, 20), SITE: (20, 20)})
    assert opened(crowded, {SITE: 50, AREA: 50}) == []
    assert opened(crowded, {SITE: 50, AREA: 49}) == [(AREA, "trips_in_an_hour", 20, 4.9)]


@pytest.mark.parametrize(
    ("today", "before", "fleet", "allowed"),
    [
        (20, [], 600, None),
        (21, [], 600, 20),
        (600, [2] * 30, 600, 20),
        (50, [10] * 30, 600, None),
        (51, [10] * 30, 600, 50),
        # On fewer than half of the days: usually nobody.
        (600, [500] * 14, 600, 20),
        (600, [500] * 16, 600, None),
        (1000, [], 200_000, None),
        (1001, [], 200_000, 1000),
    ],
)
def test_many_accounts_are_exhausted_at_once(
    today: int, before: list[int], fleet: int, allowed: float | None
) -> None:
    found = opened(figures(exhausted_today=today, exhausted_before=before), {SITE: fleet})
    assert found == ([] if allowed is None else [(SITE, "exhausted_today", today, allowed)])


@pytest.mark.parametrize(
    ("paid_hours", "silent", "allowed"),
    [
        (EVERY_DAY, 36.0, None),
        (EVERY_DAY, 36.1, 36),
        (EVERY_DAY, None, None),
        # Nobody knows what is usual.
        ([0, 24, 48, 72, 96, 120], 500.0, None),
        ([0, 24, 48, 72, 96, 120, 144], 72.5, 72),
        ([], 500.0, None),
    ],
)
def test_payments_stay_out(
    paid_hours: list[int], silent: float | None, allowed: float | None
) -> None:
    found = opened(figures(paid_hours=paid_hours, silent_hours=silent))
    assert found == ([] if allowed is None else [(SITE, "payments_silent", silent, allowed)])


def test_the_usual_pause_is_the_night_and_not_the_one_that_was_longest() -> None:
    days = [day * 24 + hour for day in range(9) for hour in range(14)]
    assert usual_pause(days, 7) == 11
    # Nobody paid for three days once.
    assert usual_pause([*days, *(hour + 12 * 24 for hour in days)], 7) == 11
    assert usual_pause(reversed(days), 7) == 11


def test_a_pause_is_of_the_day_on_which_it_ended() -> None:
    # Twice a day on four days, every hour on three.
    seldom = [day * 24 + hour for day in range(4) for hour in (0, 23)]
    assert usual_pause([*seldom, *range(4 * 24, 7 * 24)], 7) == 23


def test_many_payments_on_few_days_say_nothing() -> None:
    assert usual_pause(range(24 * 6), 7) is None


def test_a_busy_channel_has_a_pause_of_an_hour() -> None:
    assert usual_pause(range(24 * 8), 7) == 1


@pytest.mark.parametrize(("failed", "opens"), [(10, False), (11, True)])
def test_commands_fail(failed: int, *, opens: bool) -> None:
    found = opened(figures(failed_commands=failed))
    assert found == ([(SITE, "commands_fail", failed, 10)] if opens else [])


@pytest.mark.parametrize(("reports", "opens"), [(2, False), (3, True)])
def test_customers_say_that_they_were_cut_wrongly(reports: int, *, opens: bool) -> None:
    found = opened(figures(wrongful_trips=reports))
    assert found == ([(SITE, "wrongful_trips", reports, 2)] if opens else [])


def test_everything_at_once_is_told_of_each() -> None:
    found = opened(
        figures(
            trips={SITE: (30, 200), AREA: (8, 8)},
            exhausted_today=100,
            failed_commands=50,
            wrongful_trips=9,
        ),
        {SITE: 400, AREA: 20},
    )
    assert [(group, cause) for group, cause, _, _ in found] == [
        (SITE, "trips_in_an_hour"),
        (SITE, "trips_in_a_day"),
        (AREA, "trips_in_an_hour"),
        (SITE, "exhausted_today"),
        (SITE, "commands_fail"),
        (SITE, "wrongful_trips"),
    ]


@pytest.mark.parametrize(
    ("known", "counted"),
    [
        ({"trips": {SITE: (20, 100), AREA: (3, 30)}}, []),
        ({"trips": {SITE: (21, 21)}}, [SITE]),
        ({"trips": {SITE: (0, 101)}}, [SITE]),
        ({"trips": {SITE: (4, 4), AREA: (4, 4)}}, [SITE, AREA]),
        ({"exhausted_today": 20}, []),
        ({"exhausted_today": 21}, [SITE]),
    ],
)
def test_only_of_crowded_groups_the_size_is_asked_for(
    known: dict[str, Any], counted: list[Group]
) -> None:
    assert groups_to_count(figures(**known), Limits()) == counted
