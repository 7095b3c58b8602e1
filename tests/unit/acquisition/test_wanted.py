"""The plan of a line against a dictionary of its slots."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.acquisition.planning.wanted import Wanted, first_day
from daemon.quality.freeze import MEMORY_DAYS
from tests.examples import examples
from tests.presence import presence

FIRST_S, LONGEST_S = 10.0, 300.0
YEAR_END = date(2025, 12, 20)
ONE_DAY = timedelta(days=1)
NO_PAUSE = np.zeros(1)


def rebuild(plan: Wanted, meters: int, slots: Iterable[tuple[int, date]] = ()) -> None:
    bitmaps, newest = presence(slots)
    plan.rebuild([bitmaps.get(meter, 0) for meter in range(meters)], newest)


@dataclass
class Model:
    """Slots that have a value, pauses of slots, from when each meter may be asked, nothing else."""

    installed: list[date]
    days: int
    today: date
    filled: set[tuple[int, date]] = field(default_factory=set)
    taken: set[tuple[int, date]] = field(default_factory=set)
    slot_pause: dict[tuple[int, date], tuple[float, int]] = field(default_factory=dict)
    meter_pause: list[float] = field(default_factory=lambda: [0.0] * 3)
    asked_at: dict[int, float] = field(default_factory=dict)

    def memory(self) -> list[date]:
        return [self.today, *(self.today - n * ONE_DAY for n in range(self.days - 1, 0, -1))]

    def roll(self, today: date) -> None:
        """One midnight back is waited out; further back, nothing is known any more."""
        if today < self.today - ONE_DAY:
            self.filled, self.taken, self.slot_pause, self.today = set(), set(), {}, today
        self.today = max(self.today, today)

    def owed(self, meter: int, day: date) -> bool:
        return day in self.memory() and day >= self.installed[meter]

    def wanted(self, meter: int, day: date) -> bool:
        return self.owed(meter, day) and (meter, day) not in self.filled | self.taken

    def ready_at(self, meter: int, day: date) -> float:
        return max(self.slot_pause.get((meter, day), (0, 0))[0], self.meter_pause[meter])

    def jobs(self, now_s: float, most: int, only_today: bool) -> list[tuple[int, date]]:
        found: list[tuple[int, date]] = []
        before = dict(self.asked_at)
        days = [
            (day, is_again)
            for is_again in (False, True)
            for day in self.memory()
            if not only_today or day == self.today
        ]
        for day, is_again in days:
            ready = [
                m
                for m in range(len(self.installed))
                if self.wanted(m, day) and self.ready_at(m, day) <= now_s
            ]
            ready = [
                m for m in ready if (day != self.today and (m, day) in self.slot_pause) == is_again
            ]
            asked = sorted(ready, key=lambda m: (before.get(m, 0), m))[: most - len(found)]
            self.asked_at |= dict.fromkeys(asked, now_s)
            found += [(meter, day) for meter in asked]
        return found

    def next_at(self) -> float | None:
        slots = [
            (m, d) for m in range(len(self.installed)) for d in self.memory() if self.wanted(m, d)
        ]
        return min((self.ready_at(*slot) for slot in slots), default=None)


meters = st.integers(0, 2)
ages = st.integers(-2, 70)
actions = st.one_of(
    st.tuples(st.just("fill"), meters, ages),
    st.tuples(st.just("take"), meters, ages),
    st.tuples(st.just("not_there"), meters, st.sampled_from([0, 1, 30, 60, 61])),
    st.tuples(st.just("pause"), meters, st.sampled_from([0.0, 3.0, 50.0])),
    st.tuples(st.just("rebuild"), st.sets(st.tuples(meters, ages), max_size=12)),
    st.tuples(st.just("roll"), st.sampled_from([1, 1, 1, 2, 5, 61, 62, 63, 200, 0, -1, -7, -63])),
    st.tuples(
        st.just("jobs"),
        st.sampled_from([0.0, 1.0, 10.0, 45.0, 400.0]),
        st.sampled_from([1, 2, 7]),
        st.booleans(),
    ),
)


@given(
    installed=st.lists(st.integers(-80, 5), min_size=3, max_size=3),
    days=st.sampled_from([1, 2, 31, 61, 62, 99]),
    sequence=st.lists(actions, max_size=40),
)
@examples(150)
def test_the_plan_is_that_of_the_model_over_any_sequence(
    installed: list[int], days: int, sequence: list[tuple[Any, ...]]
) -> None:
    dates = [YEAR_END + n * ONE_DAY for n in installed]
    plan = Wanted(dates, days=days, today=YEAR_END)
    model = Model(dates, min(days, MEMORY_DAYS), YEAR_END)
    now_s = 1.0
    for name, *arguments in sequence:
        match name:
            case "fill" | "take":
                meter, age = arguments
                day = model.today - age * ONE_DAY
                getattr(plan, name)(meter, day)
                if day in model.memory():
                    (model.filled if name == "fill" else model.taken).add((meter, day))
            case "not_there":
                slot = (arguments[0], model.today - arguments[1] * ONE_DAY)
                tries = model.slot_pause.get(slot, (0, 0))[1]
                plan.not_there(*slot, now_s, first_s=FIRST_S, longest_s=LONGEST_S)
                model.slot_pause[slot] = (now_s + min(LONGEST_S, FIRST_S * 2**tries), tries + 1)
            case "pause":
                model.meter_pause[arguments[0]] = now_s + arguments[1]
            case "rebuild":
                present = {(meter, model.today - age * ONE_DAY) for meter, age in arguments[0]}
                rebuild(plan, len(model.installed), present)
                model.filled = {(meter, day) for meter, day in present if day in model.memory()}
                model.taken = set()
            case "roll":
                plan.roll(model.today + arguments[0] * ONE_DAY)
                model.roll(model.today + arguments[0] * ONE_DAY)
            case "jobs":
                now_s += arguments[0]
                ready = np.array(model.meter_pause) <= now_s
                found = plan.jobs(now_s, ready, arguments[1], only_today=arguments[2])
                assert found == model.jobs(now_s, *arguments[1:])
        assert plan.next_at(np.array(model.meter_pause)) == model.next_at()
        for age in (-1, 0, 1, days - 1, days, 30, 61, 62):
            day = model.today - age * ONE_DAY
            assert [plan.is_wanted(m, day) for m in range(3)] == [
                model.wanted(m, day) for m in range(3)
            ]
        owed = [(m, day) for m in range(3) for day in model.memory() if model.owed(m, day)]
        assert plan.counts() == (
            sum(s not in model.filled for s in owed),
            sum(s in model.filled for s in owed),
        )


def first_job(plan: Wanted, now_s: float) -> tuple[int, date] | None:
    jobs = plan.jobs(now_s, np.ones(plan._mask.shape, dtype=bool), 1)
    return jobs[0] if jobs else None


def drained(plan: Wanted, now_s: float = 0.0) -> list[tuple[int, date]]:
    found = []
    while (slot := first_job(plan, now_s)) is not None:
        found.append(slot)
        plan.take(*slot)
        now_s += 1
    return found


def test_today_comes_first_then_the_slots_that_fall_out_of_the_memory_soonest() -> None:
    today = date(2026, 1, 2)
    plan = Wanted([date(2025, 12, 30), date(2025, 12, 31)], days=4, today=today)
    assert drained(plan) == [
        (0, today),
        (1, today),
        (0, date(2025, 12, 30)),
        (1, date(2025, 12, 31)),
        (0, date(2025, 12, 31)),
        (1, date(2026, 1, 1)),
        (0, date(2026, 1, 1)),
    ]


def test_what_was_asked_for_in_vain_waits_until_the_others_were_asked() -> None:
    """Meters that never had the oldest days must not keep the line from the days that they have."""
    today = date(2026, 3, 16)
    plan = Wanted([date(2020, 1, 1)] * 20, days=3, today=today)
    all_of_them, now_s = np.ones(20, dtype=bool), 0.0
    oldest = today - 2 * ONE_DAY
    for _ in range(20):
        for meter, day in plan.jobs(now_s, all_of_them, 1):
            plan.take(meter, day)
    for meter in range(20):
        plan.not_there(meter, oldest, now_s, first_s=1.0, longest_s=1.0)
    assert {day for _, day in plan.jobs(now_s + 5, all_of_them, 20)} == {today - ONE_DAY}


def test_of_the_doubtful_one_is_asked_and_each_in_its_turn() -> None:
    today = date(2026, 3, 16)
    plan = Wanted([date(2020, 1, 1)] * 4, days=1, today=today)
    doubtful = np.array([False, True, True, True])
    asked = [
        [m for m, _ in plan.jobs(float(now_s), np.ones(4, dtype=bool), 9, doubtful=doubtful)]
        for now_s in range(1, 7)
    ]
    assert [sorted(it) for it in asked] == [[0, 1], [0, 2], [0, 3]] * 2


def test_a_silent_line_is_probed_by_who_was_not_silent_before_whatever_its_day() -> None:
    today = date(2026, 3, 16)
    plan = Wanted([date(2020, 1, 1)] * 3, days=2, today=today)
    plan.fill(2, today)
    doubtful, ready = np.array([True, True, False]), np.ones(3, dtype=bool)
    assert plan.jobs(1.0, ready, 1, doubtful=doubtful, in_turn=True) == [(2, today - ONE_DAY)]
    assert plan.jobs(2.0, ready, 1, in_turn=True) == [(0, today)]


def test_a_slot_before_the_meter_was_there_is_never_asked_for() -> None:
    installed = date(2026, 3, 1)
    plan = Wanted([installed], days=62, today=installed - ONE_DAY)
    assert drained(plan) == []
    assert plan.counts() == (0, 0)
    plan.roll(installed + 2 * ONE_DAY)
    assert [day for _, day in drained(plan)] == [installed + n * ONE_DAY for n in (2, 0, 1)]


def test_every_midnight_of_two_years_is_asked_for_once_although_the_ring_wraps() -> None:
    today = date(2024, 2, 27)
    plan = Wanted([today], days=62, today=today)
    asked = []
    for n in range(731):
        plan.roll(today + n * ONE_DAY)
        for slot in drained(plan):
            asked.append(slot[1])
            plan.fill(*slot)
    assert asked == [today + n * ONE_DAY for n in range(731)]


@pytest.mark.parametrize("away", [1, 30, 61, 62, 63, 500])
def test_after_days_without_a_roll_all_that_the_meter_remembers_is_wanted(away: int) -> None:
    today = date(2025, 12, 31)
    plan = Wanted([today - 100 * ONE_DAY], days=62, today=today)
    for slot in drained(plan):
        plan.fill(*slot)
    plan.roll(today + away * ONE_DAY)
    assert len(drained(plan)) == min(away, 62)


def test_a_value_on_its_way_is_not_asked_for_twice_and_not_counted_as_present() -> None:
    today = date(2026, 3, 1)
    plan = Wanted([today], days=1, today=today)
    plan.take(0, today)
    assert (first_job(plan, 0), plan.next_at(NO_PAUSE), plan.counts()) == (None, None, (1, 0))
    rebuild(plan, 1)  # it never arrived
    assert first_job(plan, 0) == (0, today)
    plan.fill(0, today)
    assert plan.counts() == (0, 1)


def test_the_pause_of_a_day_that_fell_out_of_the_memory_is_not_that_of_the_new_day_in_its_place() -> (
    None
):
    today = date(2026, 3, 1)
    plan = Wanted([today - 61 * ONE_DAY], days=62, today=today)
    plan.not_there(0, today - 61 * ONE_DAY, 0.0, first_s=FIRST_S, longest_s=LONGEST_S)
    plan.roll(today + ONE_DAY)
    assert first_job(plan, 1.0) == (0, today + ONE_DAY)


def test_a_step_back_over_midnight_takes_nothing_away() -> None:
    today = date(2026, 3, 1)
    plan = Wanted([today - 9 * ONE_DAY], days=10, today=today)
    plan.fill(0, today)
    plan.roll(today - ONE_DAY)
    assert not plan.is_wanted(0, today)
    assert plan.counts() == (9, 1)


def test_a_clock_that_was_far_ahead_is_followed_back() -> None:
    today = date(2026, 3, 1)
    plan = Wanted([today - 9 * ONE_DAY], days=10, today=today)
    plan.fill(0, today)
    plan.roll(date(2030, 1, 1))
    plan.roll(today)
    assert first_job(plan, 0) == (0, today)
    rebuild(plan, 1, [(0, today)])
    assert plan.counts() == (9, 1)
    assert first_job(plan, 0) == (0, today - 9 * ONE_DAY)


def test_the_oldest_of_so_many_days_counts_today() -> None:
    assert first_day(date(2026, 3, 1), 1) == date(2026, 3, 1)
    assert first_day(date(2026, 3, 1), 62) == first_day(date(2026, 3, 1), 99) == date(2025, 12, 30)


# --- what can be had no more


def test_missing_slots_that_leave_the_memory_are_told_when_midnight_passes() -> None:
    plan = Wanted([YEAR_END - 9 * ONE_DAY] * 2, days=10, today=YEAR_END)
    rebuild(plan, 2, [(0, YEAR_END - 9 * ONE_DAY)])
    assert plan.roll(YEAR_END) is None
    assert plan.roll(YEAR_END + ONE_DAY) == [1]
    assert plan.roll(YEAR_END + 3 * ONE_DAY) == [0, 0, 1, 1]


def test_days_before_the_installation_are_never_lost() -> None:
    plan = Wanted([YEAR_END], days=5, today=YEAR_END)
    assert plan.roll(YEAR_END + 4 * ONE_DAY) == []
    assert plan.roll(YEAR_END + 5 * ONE_DAY) == [0]


def test_a_clock_that_is_followed_back_loses_nothing() -> None:
    plan = Wanted([YEAR_END - 9 * ONE_DAY], days=10, today=YEAR_END)
    assert plan.roll(YEAR_END - 5 * ONE_DAY) == []


def test_slots_are_about_to_be_lost_two_days_before_they_are() -> None:
    first = YEAR_END - 9 * ONE_DAY
    plan = Wanted([first, first], days=10, today=YEAR_END)
    rebuild(plan, 2, [(0, first), (0, first + ONE_DAY), (1, first)])
    assert plan.leaving(2) == [1]
    rebuild(plan, 2, [(1, first)])
    assert plan.leaving(2) == [0, 0, 1]


def test_what_a_meter_froze_before_it_was_taken_in_is_read_and_is_no_loss() -> None:
    first = YEAR_END - 9 * ONE_DAY
    days = [YEAR_END, first + ONE_DAY, date.max]
    plan = Wanted([first] * 3, days=10, today=YEAR_END, taken_in_on=days)
    assert plan.is_wanted(0, first)
    assert plan.leaving(2) == [1]
    assert plan.roll(YEAR_END + ONE_DAY) == []
    assert plan.roll(YEAR_END + 2 * ONE_DAY) == [1]


def test_where_only_today_is_collected_nothing_is_about_to_be_lost() -> None:
    assert Wanted([YEAR_END - ONE_DAY], days=1, today=YEAR_END).leaving(2) == []


@given(st.integers(1, MEMORY_DAYS), st.sets(st.integers(0, 70)), st.integers(1, 70))
def test_what_is_lost_is_what_was_missing_and_is_out_of_the_window(
    days: int, present: set[int], passed: int
) -> None:
    """Against a set of ages."""
    plan = Wanted([date(2020, 1, 1)], days=days, today=YEAR_END)
    rebuild(plan, 1, [(0, YEAR_END - age * ONE_DAY) for age in present if age < days])
    missing = set(range(days)) - present
    lost = plan.roll(YEAR_END + passed * ONE_DAY)
    assert lost == [0] * len([age for age in missing if age + passed >= days])


def test_todays_freeze_is_lacking_until_it_is_there_pauses_or_its_meter_may_not_be_asked() -> None:
    plan = Wanted([YEAR_END - ONE_DAY], days=5, today=YEAR_END)
    everyone = np.ones(1, dtype=bool)
    assert plan.has_today(0.0, everyone)
    assert not plan.has_today(0.0, ~everyone)
    plan.not_there(0, YEAR_END, 0.0, first_s=FIRST_S, longest_s=LONGEST_S)
    assert not plan.has_today(FIRST_S - 1, everyone)
    assert plan.has_today(FIRST_S, everyone)
    assert plan.paused_until(0, YEAR_END) == FIRST_S
    plan.take(0, YEAR_END)
    assert not plan.has_today(FIRST_S, everyone)
