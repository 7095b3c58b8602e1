"""Which slots are planned where meters fail, whatever carries the line."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from daemon.acquisition.jobs import Jobs
from daemon.acquisition.planning.reply_times import BACK_OFF_AFTER
from daemon.acquisition.slots import wanted_slots
from protocols.errors import FrameError, NoReply
from tests.line_parts import line_parts
from tests.unit.acquisition.test_on_demand import a_meter

NOON = datetime(2026, 3, 16, 4, tzinfo=UTC)
METERS, DAYS, LONG_S = 6, 5, 1000.0
MANY = METERS * DAYS


def jobs() -> Jobs:
    meters = [a_meter(number, "1") for number in range(METERS)]
    parts = line_parts("1", meters, backfill_days=DAYS, now=lambda: NOON)
    return Jobs(parts, has_memory=[True] * METERS, longest_wait_s=1.0)


def fail(line: Jobs, number: int, took_s: float) -> None:
    line.record_lack(number, took_s)


def planned(line: Jobs) -> list[int]:
    """The meters of the plan, one for each slot."""
    return [number for number, _ in wanted_slots(line, MANY)]


def told(line: Jobs) -> list[int]:
    """The meters in the order in which they are read, one for each slot, until all is."""
    numbers = []
    while slots := wanted_slots(line, MANY):
        for number, day in slots:
            line.wanted.take(number, day)
            numbers.append(number)
    return numbers


def test_without_a_failure_everybody_is_planned() -> None:
    assert sorted(set(planned(jobs()))) == list(range(METERS))


def test_whoever_failed_has_one_slot_when_its_share_allows_it_and_none_before() -> None:
    line = jobs()
    for number in (1, 4):
        fail(line, number, took_s=0.0)
    plan = planned(line)
    assert plan[0] in (1, 4)
    assert {1, 4}.isdisjoint(plan[1:])
    assert len(plan) == 1 + (METERS - 2) * DAYS
    fail(line, 1, took_s=LONG_S)
    assert {1, 4}.isdisjoint(planned(line))


def test_when_the_others_have_told_all_whoever_failed_has_the_whole_line() -> None:
    line = jobs()
    fail(line, 1, took_s=LONG_S)
    assert told(line)[-DAYS:] == [1] * DAYS


def test_whoever_told_what_was_asked_for_is_planned_like_the_others() -> None:
    line = jobs()
    fail(line, 1, took_s=0.0)
    line.record_reply(1)
    assert sorted(set(planned(line))) == list(range(METERS))


@pytest.mark.parametrize("error", [FrameError("noise"), NoReply("silence")])
def test_an_answer_to_another_question_clears_nobody(error: Exception) -> None:
    line = jobs()
    for _ in range(3):
        if isinstance(error, NoReply):
            line.record_timeout(1, str(error), took_s=0.0)
        else:
            line.record_refusal(1, NOON.date(), error, took_s=0.0)
        line.heard_from(1, False)
    assert line.reply_timeouts.backed_off == 1
    line.heard_from(1, True)
    assert line.reply_timeouts.backed_off == 0


def test_whoever_had_more_than_its_turn_waits_for_the_others_and_not_for_ever() -> None:
    line = jobs()
    line.turns.had(1, LONG_S)
    numbers = told(line)
    assert numbers[-DAYS:] == [1] * DAYS
    assert 1 not in numbers[:-DAYS]


def test_where_turns_are_uneven_each_has_one_slot_before_it_is_looked_again() -> None:
    line = jobs()
    assert len(planned(line)) == MANY
    line.turns.had(1, LONG_S)
    assert sorted(planned(line)) == [0, 2, 3, 4, 5]


def test_whoever_cannot_be_asked_keeps_nobody_waiting() -> None:
    """One that is backed off has had the least of the line, and one that has told all."""
    line = jobs()
    for _ in range(BACK_OFF_AFTER):
        line.reply_timeouts.record_timeout(2, time.monotonic())
    for day in [day for number, day in wanted_slots(line, MANY) if number == 3]:
        line.wanted.take(3, day)
    for number in (0, 1, 4, 5):
        line.turns.had(number, LONG_S)
    assert set(planned(line)) >= {0, 1, 4, 5}
