"""Whom a line asks who it is: each meter at first contact, then every month."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.acquisition.planning.first_contacts import EVERY_DAYS, LONGEST_PAUSE_S, FirstContacts

TODAY = date(2026, 5, 20)
ALL = np.ones(3, dtype=bool)


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_a_meter_that_never_told_it_comes_first_then_the_one_that_told_it_longest_ago() -> None:
    plan = FirstContacts([days_ago(40), days_ago(31), None])
    asked = []
    for _ in range(3):
        number = plan.next(TODAY, 0.0, ALL)
        assert number is not None
        asked.append(number)
        plan.told(number, TODAY)
    assert asked == [2, 0, 1]
    assert plan.next(TODAY, 0.0, ALL) is None


@pytest.mark.parametrize(("days", "is_due"), [(EVERY_DAYS - 1, False), (EVERY_DAYS, True)])
def test_a_meter_is_asked_again_after_a_month(days: int, is_due: bool) -> None:
    plan = FirstContacts([None])
    plan.told(0, TODAY)
    later = TODAY + timedelta(days=days)
    assert (plan.next(later, 0.0, ALL[:1]) == 0) == is_due


def test_a_meter_that_may_not_be_asked_now_is_not() -> None:
    plan = FirstContacts([None, None, None])
    assert plan.next(TODAY, 0.0, np.array([False, True, False])) == 1


def test_a_meter_that_has_no_number_is_never_asked_again() -> None:
    plan = FirstContacts([None])
    plan.give_up(0)
    assert plan.next(TODAY + timedelta(days=1000), 1e9, ALL[:1]) is None


@given(st.integers(1, 40))
def test_the_pauses_after_tries_in_vain_grow_up_to_a_day(tries: int) -> None:
    plan = FirstContacts([None])
    now_s = 0.0
    pauses: list[float] = []
    for _ in range(tries):
        is_first = plan.put_off(0, now_s)
        assert is_first == (not pauses)
        waited_s = 0.0
        while plan.next(TODAY, now_s + waited_s, ALL[:1]) is None:
            waited_s += 900.0
        pauses.append(waited_s)
        now_s += waited_s
    assert pauses[0] == 3600.0
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S


def test_another_meter_is_asked_while_one_pauses() -> None:
    plan = FirstContacts([None, days_ago(40)])
    plan.put_off(0, 0.0)
    assert plan.next(TODAY, 1.0, ALL[:2]) == 1
