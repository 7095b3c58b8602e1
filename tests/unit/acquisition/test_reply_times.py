"""What a line learns about its meters, held against a model that keeps everything in plain
numbers."""

from __future__ import annotations

from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daemon.acquisition.planning.reply_times import (
    BACK_OFF_AFTER,
    BACKED_OFF_REST,
    FIRST_BACKED_OFF_PAUSE_S,
    GUARD_S,
    LINE_SILENT_AFTER,
    LONGEST_LINE_PAUSE_S,
    RETURN_HELPS_EVERY_S,
    SUSPECT_PAUSE_S,
    ReplyTimeouts,
)
from tests.examples import examples

LONGEST_WAIT_S = 2.0
LONGEST_PAUSE_S = 900.0


def timeouts_of(count: int, *, longest_pause_s: float = LONGEST_PAUSE_S) -> ReplyTimeouts:
    return ReplyTimeouts(count, longest_wait_s=LONGEST_WAIT_S, longest_pause_s=longest_pause_s)


def may_ask(timeouts: ReplyTimeouts, now_s: float) -> set[int]:
    return {number for number, is_ready in enumerate(timeouts.ready(now_s)) if is_ready}


def waits_s(timeouts: ReplyTimeouts, meter: int) -> float:
    return timeouts.expect(meter)[0]


def back_off(timeouts: ReplyTimeouts, meter: int, now_s: float = 0.0) -> None:
    for _ in range(BACK_OFF_AFTER):
        timeouts.record_timeout(meter, now_s)


# --- how long an answer takes


def test_nobody_known_is_waited_for_as_long_as_allowed() -> None:
    wait_s, delay_s = timeouts_of(3).expect(0)
    assert wait_s == LONGEST_WAIT_S
    assert isnan(delay_s)


def test_the_wait_for_strangers_grows_while_all_are_silent() -> None:
    timeouts, waits = timeouts_of(9), []
    timeouts.first_wait_s = 0.1
    for meter in range(4):
        waits.append(waits_s(timeouts, 8))
        timeouts.record_timeout(meter, 0.0)
    assert waits == pytest.approx([0.1, 0.4, 1.6, LONGEST_WAIT_S])


def test_a_meter_is_waited_for_a_little_longer_than_it_takes() -> None:
    timeouts = timeouts_of(2)
    for _ in range(20):
        timeouts.record_delay(0, 0.2)
    assert waits_s(timeouts, 0) == pytest.approx(0.2 + GUARD_S, abs=0.01)


def test_a_stranger_is_taken_for_as_slow_as_the_slowest_that_is_known() -> None:
    timeouts = timeouts_of(3)
    timeouts.record_delay(0, 0.01)
    timeouts.record_delay(1, 0.5)
    assert waits_s(timeouts, 2) == pytest.approx(0.5 + GUARD_S, abs=0.01)


def test_a_meter_that_swings_is_waited_for_longer_than_a_steady_one() -> None:
    timeouts = timeouts_of(2)
    for number in range(40):
        timeouts.record_delay(0, 0.3)
        timeouts.record_delay(1, 0.1 if number % 2 else 0.5)
    assert waits_s(timeouts, 1) > waits_s(timeouts, 0) + 0.2


def test_a_backed_off_meter_and_a_silent_line_are_waited_for_as_long_as_allowed() -> None:
    timeouts = timeouts_of(3)
    timeouts.record_delay(0, 0.01)
    timeouts.record_delay(1, 0.01)
    timeouts.record_reply(1, 0.0)
    back_off(timeouts, 0)
    assert waits_s(timeouts, 0) == LONGEST_WAIT_S
    assert waits_s(timeouts, 1) < LONGEST_WAIT_S
    timeouts.record_timeout(1, 0.0)
    timeouts.record_timeout(2, 0.0)
    assert timeouts.line_is_silent
    assert waits_s(timeouts, 1) == LONGEST_WAIT_S


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 30)), max_size=60))
def test_every_wait_is_bounded_and_longer_than_what_it_usually_takes(
    took: list[tuple[int, float]],
) -> None:
    timeouts = timeouts_of(4)
    for meter, delay_s in took:
        timeouts.record_delay(meter, delay_s)
        for number in range(4):
            wait_s, usual_s = timeouts.expect(number)
            assert 0 < wait_s <= LONGEST_WAIT_S * 1.000001
            assert isnan(usual_s) or usual_s >= 0
            assert isnan(usual_s) or wait_s >= min(LONGEST_WAIT_S, usual_s + GUARD_S) - 1e-5


# --- who is asked


def test_a_silent_meter_is_asked_again_soon_and_a_backed_off_one_ever_more_rarely() -> None:
    timeouts = timeouts_of(1, longest_pause_s=300.0)
    pauses = []
    for _ in range(BACK_OFF_AFTER + 5):
        timeouts.record_timeout(0, 0.0)
        pauses.append(float(timeouts.ready_at()[0]))
    assert pauses[: BACK_OFF_AFTER - 1] == [SUSPECT_PAUSE_S] * (BACK_OFF_AFTER - 1)
    assert pauses[BACK_OFF_AFTER - 1 :] == [
        FIRST_BACKED_OFF_PAUSE_S,
        120.0,
        240.0,
        300.0,
        300.0,
        300.0,
    ]


def test_parking_is_told_once() -> None:
    timeouts = timeouts_of(1)
    assert [timeouts.record_timeout(0, 0.0) for _ in range(6)] == [
        None,
        None,
        "backed off",
        None,
        None,
        None,
    ]
    timeouts.unblock()
    assert timeouts.record_timeout(0, 0.0) is None
    assert timeouts.backed_off == 1


def test_one_answer_makes_a_backed_off_meter_well() -> None:
    timeouts = timeouts_of(1)
    back_off(timeouts, 0)
    timeouts.record_reply(0, 1.0)
    assert (timeouts.backed_off, timeouts.is_troubled, may_ask(timeouts, 0.0)) == (0, False, {0})


def test_the_line_is_silent_when_so_many_different_meters_were_one_after_another() -> None:
    timeouts = timeouts_of(LINE_SILENT_AFTER + 5)
    news = [timeouts.record_timeout(meter, 0.0) for meter in [0, *range(LINE_SILENT_AFTER)]]
    assert news == [None] * LINE_SILENT_AFTER + ["line silent"]
    assert timeouts.is_nobody_there


def test_a_short_line_is_silent_when_all_its_meters_are() -> None:
    timeouts = timeouts_of(3)
    assert [timeouts.record_timeout(meter, 0.0) for meter in (0, 1, 2)] == [
        None,
        None,
        "line silent",
    ]


def test_an_answer_in_between_begins_the_count_anew() -> None:
    timeouts = timeouts_of(3)
    timeouts.record_timeout(0, 0.0)
    timeouts.record_timeout(1, 0.0)
    timeouts.record_reply(2, 0.0)
    assert timeouts.record_timeout(2, 0.0) is None


def test_the_only_meter_of_a_line_is_backed_off_and_nobody_is_there() -> None:
    timeouts = timeouts_of(1)
    back_off(timeouts, 0)
    assert not timeouts.line_is_silent
    assert timeouts.is_nobody_there


def test_a_silent_line_is_probed_with_growing_pauses_and_told_of_once() -> None:
    timeouts = timeouts_of(2)
    timeouts.record_timeout(0, 0.0)
    news = [timeouts.record_timeout(1, 0.0)]
    pauses = []
    for _ in range(8):
        assert may_ask(timeouts, timeouts.ready_at()[0] - 0.01) == set()
        pauses.append(float(timeouts.ready_at()[0]))
        news.append(timeouts.record_timeout(0, 0.0))
    assert pauses == [
        1,
        2,
        4,
        8,
        16,
        LONGEST_LINE_PAUSE_S,
        LONGEST_LINE_PAUSE_S,
        LONGEST_LINE_PAUSE_S,
    ]
    assert news == ["line silent"] + [None] * 8


def test_a_silent_line_may_be_probed_by_any_of_its_meters() -> None:
    """Who of them is wanted, timeouts does not know; a probe of one that is not wanted would never
    be sent."""
    timeouts = timeouts_of(3)
    for meter in range(3):
        timeouts.record_timeout(meter, 0.0)
    assert may_ask(timeouts, 1.0) == {0, 1, 2}


def test_the_first_answer_ends_the_silence_of_the_line_for_everybody() -> None:
    timeouts = timeouts_of(3)
    back_off(timeouts, 0)
    timeouts.record_timeout(1, 0.0)
    assert timeouts.record_timeout(2, 0.0) == "line silent"
    assert timeouts.record_reply(1, 10.0)
    assert may_ask(timeouts, 10.0) == {0, 1, 2}
    assert not timeouts.record_reply(2, 10.0)


def test_a_line_that_is_opened_anew_is_probed_at_once_and_not_told_of_again() -> None:
    timeouts = timeouts_of(2)
    timeouts.record_timeout(0, 0.0)
    timeouts.record_timeout(1, 0.0)
    timeouts.unblock()
    assert may_ask(timeouts, 0.0) == {0, 1}
    assert timeouts.record_timeout(0, 0.0) is None
    assert timeouts.record_reply(1, 1.0)


def test_as_many_dead_meters_as_make_a_line_silent_do_so_a_few_times_only() -> None:
    """A building without power behind a concentrator: it must not stop the others round after
    round."""
    timeouts, dead = timeouts_of(LINE_SILENT_AFTER + 8), range(LINE_SILENT_AFTER)
    news, now_s = [], 0.0
    for _ in range(50):
        now_s += 3600
        ready = may_ask(timeouts, now_s)
        for meter in sorted(ready):
            if meter in dead:
                news.append(timeouts.record_timeout(meter, now_s))
            else:
                timeouts.record_reply(meter, now_s)
            if timeouts.line_is_silent:
                timeouts.record_reply(LINE_SILENT_AFTER, now_s + 1)
    assert news.count("line silent") <= BACK_OFF_AFTER
    assert timeouts.backed_off == LINE_SILENT_AFTER


def test_the_return_of_one_backed_off_meter_helps_the_others_but_not_all_the_time() -> None:
    timeouts = timeouts_of(4)
    timeouts.record_reply(3, 0.0)
    for meter in (0, 1, 2):
        back_off(timeouts, meter)
        timeouts.record_reply(3, 0.0)
    timeouts.record_reply(0, 10.0)
    assert may_ask(timeouts, 10.0) == {0, 1, 2, 3}
    for meter in (0, 1):
        back_off(timeouts, meter, 10.0)
        timeouts.record_reply(3, 10.0)
    timeouts.record_timeout(2, 10.0)
    timeouts.record_reply(0, 10.0 + RETURN_HELPS_EVERY_S)
    assert may_ask(timeouts, 11.0) == {0, 3}
    back_off(timeouts, 0, 11.0)
    timeouts.record_reply(0, 10.1 + RETURN_HELPS_EVERY_S)
    assert may_ask(timeouts, 11.0) == {0, 1, 2, 3}


def test_the_backed_off_together_take_only_a_share_of_the_line() -> None:
    timeouts = timeouts_of(5, longest_pause_s=1.0)
    for meter in (0, 1, 2):
        back_off(timeouts, meter)
        timeouts.record_reply(4, 0.0)
    assert may_ask(timeouts, BACKED_OFF_REST * LONGEST_WAIT_S - 0.1) == {3, 4}
    assert may_ask(timeouts, BACKED_OFF_REST * LONGEST_WAIT_S) == {0, 1, 2, 3, 4}
    doubtful = timeouts.doubtful()
    assert doubtful is not None
    assert doubtful.tolist() == [True, True, True, False, False]
    timeouts.record_reply(1, 7.0)
    assert timeouts.doubtful() is None, "one is back: perhaps all are"


# --- any order of events


class AnyOrder(RuleBasedStateMachine):
    """The same rules over a dictionary and a set, told in the order in which the field would tell
    them."""

    @initialize(count=st.integers(1, LINE_SILENT_AFTER + 4))
    def begin(self, count: int) -> None:
        self.count, self.now_s = count, 1000.0
        self.timeouts = timeouts_of(count)
        self.misses = dict.fromkeys(range(count), 0)
        self.until = dict.fromkeys(range(count), 0.0)
        self.row: set[int] = set()
        self.is_silent = False
        self.probes, self.probe_at, self.helped_at, self.backed_off_at = 0, 0.0, float("-inf"), 0.0

    def _open_all(self) -> None:
        self.row.clear()
        self.probes, self.probe_at, self.backed_off_at = 0, 0.0, 0.0
        self.misses = {meter: min(misses, BACK_OFF_AFTER) for meter, misses in self.misses.items()}
        self.until = dict.fromkeys(self.until, 0.0)

    @rule(seconds=st.sampled_from([0.1, 1.0, 31.0, 301.0, 5000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(data=st.data())
    def a_meter_is_silent(self, data: st.DataObject) -> None:
        meter = data.draw(st.integers(0, self.count - 1))
        news = self.timeouts.record_timeout(meter, self.now_s)
        if self.is_silent:
            self.probes += 1
            self.probe_at = self.now_s + min(LONGEST_LINE_PAUSE_S, 2.0**self.probes)
            assert news is None
            return
        if self.misses[meter] < BACK_OFF_AFTER:
            self.row.add(meter)
        self.misses[meter] += 1
        hoped_for = self.row | {
            other for other, misses in self.misses.items() if misses < BACK_OFF_AFTER
        }
        if len(self.row) > 1 and len(self.row) >= min(len(hoped_for), LINE_SILENT_AFTER):
            self.is_silent, self.probes, self.probe_at = True, 0, self.now_s + 1.0
            assert news == "line silent"
            return
        over = self.misses[meter] - BACK_OFF_AFTER
        if over >= 0:
            self.backed_off_at = self.now_s + BACKED_OFF_REST * LONGEST_WAIT_S
        pause_s = (
            SUSPECT_PAUSE_S
            if over < 0
            else min(LONGEST_PAUSE_S, FIRST_BACKED_OFF_PAUSE_S * 2.0**over)
        )
        self.until[meter] = self.now_s + pause_s
        assert news == ("backed off" if over == 0 else None)

    @rule(data=st.data())
    def a_meter_answers(self, data: st.DataObject) -> None:
        meter = data.draw(st.integers(0, self.count - 1))
        ended = self.timeouts.record_reply(meter, self.now_s)
        assert ended == self.is_silent
        self.row.clear()
        if self.is_silent:
            self.is_silent = False
            self._open_all()
        if self.misses[meter] >= BACK_OFF_AFTER:
            self.backed_off_at = 0.0
        if (
            self.misses[meter] >= BACK_OFF_AFTER
            and self.now_s - self.helped_at > RETURN_HELPS_EVERY_S
        ):
            self.helped_at = self.now_s
            self.until = dict.fromkeys(self.until, 0.0)
        if self.misses[meter]:
            self.misses[meter], self.until[meter] = 0, 0.0

    @rule()
    def the_way_is_opened(self) -> None:
        self.timeouts.unblock()
        self._open_all()

    @precondition(lambda self: hasattr(self, "timeouts"))
    @invariant()
    def both_say_the_same(self) -> None:
        backed_off = {meter for meter, misses in self.misses.items() if misses >= BACK_OFF_AFTER}
        ready = {meter for meter, until in self.until.items() if until <= self.now_s}
        if self.backed_off_at > self.now_s:
            ready -= backed_off
        if self.is_silent:
            ready = set(self.until) if self.probe_at <= self.now_s else set()
        assert may_ask(self.timeouts, self.now_s) == ready
        assert self.timeouts.line_is_silent == self.is_silent
        assert self.timeouts.backed_off == len(backed_off)
        assert self.timeouts.is_nobody_there == (self.is_silent or len(backed_off) == self.count)
        assert self.timeouts.is_troubled or not any(self.misses.values())
        assert (self.timeouts.ready_at() <= self.now_s + LONGEST_PAUSE_S).all()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(examples(100), stateful_step_count=60)
