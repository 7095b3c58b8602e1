"""What a line reads again: at once and after an hour, never in a loop, and with a share of it."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.acquisition.planning.rereads import (
    AGAIN_AFTER_S,
    LONGEST_PAUSE_S,
    MOST_READS,
    SHARE,
    Doubt,
    Rereads,
)

DAY = date(2026, 5, 19)
SLOT = (0, DAY)
ONE_READ = Doubt(0, DAY, 1, 10.0)


def anyone(number: int) -> bool:
    return True


def plan_of(*doubts: Doubt, now_s: float = 0.0) -> Rereads:
    plan = Rereads()
    plan.refresh(doubts, now_s)
    return plan


def test_a_value_that_was_read_once_is_asked_for_at_once() -> None:
    assert plan_of(ONE_READ).next(0.0, anyone) == SLOT


def test_it_is_asked_for_again_an_hour_after_that_and_not_before() -> None:
    plan = plan_of(ONE_READ)
    plan.tried(SLOT, 0.0, 1.0)
    assert plan.next(AGAIN_AFTER_S, anyone) is None
    assert plan.next(AGAIN_AFTER_S + 1.0, anyone) == SLOT


def test_a_restart_between_the_two_asks_an_hour_after_the_last_read() -> None:
    """What the database tells: two reads, the last one half an hour ago."""
    plan = plan_of(Doubt(0, DAY, 2, 1800.0), now_s=100.0)
    assert plan.next(1899.0, anyone) is None
    assert plan.next(1900.0, anyone) == SLOT


def test_what_is_settled_meanwhile_is_asked_for_no_more() -> None:
    plan = plan_of(ONE_READ)
    plan.tried(SLOT, 0.0, 1.0)
    plan.refresh([], 2.0)
    assert not plan
    assert plan.next(1e9, anyone) is None


def test_a_refresh_forgets_no_pause() -> None:
    plan = plan_of(ONE_READ)
    plan.tried(SLOT, 0.0, 1.0)
    assert not plan.refresh([ONE_READ], 2.0)
    assert plan.next(AGAIN_AFTER_S, anyone) is None
    assert plan.next(AGAIN_AFTER_S + 1.0, anyone) == SLOT


def test_after_the_third_read_the_meter_is_left_in_peace() -> None:
    assert not plan_of(Doubt(0, DAY, MOST_READS, 1e6))


def test_a_meter_that_may_not_be_asked_now_keeps_no_other_from_being_asked() -> None:
    plan = plan_of(ONE_READ, Doubt(1, DAY, 1, 5.0))
    assert plan.next(0.0, lambda number: number == 1) == (1, DAY)


@given(st.integers(2, 30))
def test_a_dead_meter_is_asked_after_pauses_that_grow_up_to_a_day(tries: int) -> None:
    plan = plan_of(ONE_READ)
    asked_at: list[float] = []
    now_s = 0.0
    while len(asked_at) < tries:
        if plan.next(now_s, anyone) == SLOT:
            asked_at.append(now_s)
            plan.tried(SLOT, now_s, now_s + 1.0)
        next_at = plan.next_at()
        assert next_at is not None
        assert next_at > now_s
        now_s = next_at
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses[0] >= AGAIN_AFTER_S
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S + 1.0


@given(st.lists(st.floats(0.01, 5.0), min_size=2, max_size=30))
def test_others_have_three_quarters_of_the_line(lasting_s: list[float]) -> None:
    doubts = [Doubt(number, DAY, 1, 0.0) for number in range(len(lasting_s))]
    plan = plan_of(*doubts)
    now_s = 0.0
    busy_s = 0.0
    for took_s in lasting_s:
        slot = plan.next(now_s, anyone)
        assert slot is not None
        plan.tried(slot, now_s, now_s + took_s)
        busy_s += took_s
        next_at = plan.next_at()
        assert next_at is not None
        assert plan.next(now_s + took_s, anyone) is None
        now_s += took_s / SHARE + 1e-6
    assert busy_s <= SHARE * now_s + 1e-3


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.floats(0, 1e4)),
        max_size=12,
    )
)
def test_only_what_is_open_is_asked_for(rows: list[tuple[int, int, int, float]]) -> None:
    doubts = [
        Doubt(number, DAY - timedelta(days=ago), reads, age_s) for number, ago, reads, age_s in rows
    ]
    plan = plan_of(*doubts)
    open_slots = {(doubt.number, doubt.day) for doubt in doubts if doubt.reads < MOST_READS}
    seen = set()
    now_s = 1e5
    while (slot := plan.next(now_s, anyone)) is not None:
        seen.add(slot)
        plan.tried(slot, now_s, now_s)
    assert seen == open_slots


@pytest.mark.parametrize("doubts", [(), (ONE_READ,)])
def test_the_plan_knows_whether_there_is_anything(doubts: tuple[Doubt, ...]) -> None:
    plan = plan_of(*doubts)
    assert bool(plan) == bool(doubts)
    assert (plan.next_at() is None) == (not doubts)
