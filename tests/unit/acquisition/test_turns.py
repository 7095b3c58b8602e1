"""How much of a line's time each meter has."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import nan

import numpy as np
import pytest

from daemon.acquisition.planning.turns import MOST_AHEAD_S, TURN_S, Turns

QUICK_S, METERS = 0.04, 20


def waiting(*meters: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    mask = np.zeros(METERS, dtype=bool)
    mask[list(meters)] = True
    return mask


EVERY = waiting(*range(METERS))


def left(
    turns: Turns, who: np.ndarray[tuple[int], np.dtype[np.bool_]], takes_s: Sequence[float] = ()
) -> set[int]:
    takes = np.array(takes_s or [0.0] * METERS, dtype=np.float32)
    return set(np.flatnonzero(turns.left(who, takes)).tolist())


@pytest.mark.parametrize("slow_s", [0.05, 0.3, 2.0, 9.0])
def test_while_others_wait_a_slow_meter_has_as_much_time_as_each_of_them(slow_s: float) -> None:
    chance, turns = random.Random(1), Turns(METERS)
    had = [0.0] * METERS
    takes_s = [slow_s if number % 4 == 0 else QUICK_S for number in range(METERS)]
    while sum(had) < 400:
        number = chance.choice(sorted(left(turns, EVERY, takes_s)))
        turns.had(number, takes_s[number])
        had[number] += takes_s[number]
    quick, slow = [had[n] for n in range(METERS) if n % 4], had[::4]
    assert max(slow) <= min(quick) + QUICK_S + TURN_S
    assert min(slow) >= max(quick) - slow_s - TURN_S


def test_meters_that_are_alike_all_have_their_turn() -> None:
    turns = Turns(METERS)
    for number in range(METERS):
        turns.had(number, TURN_S)
    assert not turns.look()
    assert left(turns, EVERY) == set(range(METERS))


def test_when_the_others_want_nothing_a_slow_meter_has_the_line() -> None:
    turns = Turns(METERS)
    turns.had(3, 100.0)
    assert turns.look()
    assert left(turns, waiting(3, 4)) == {4}
    assert left(turns, waiting(3)) == {3}
    assert left(turns, waiting()) == set()


def test_whoever_was_away_has_saved_nothing_up() -> None:
    turns = Turns(METERS)
    for number in range(1, METERS):
        turns.had(number, 100.0)
    assert left(turns, EVERY ^ waiting(0)) == set(range(1, METERS))
    assert left(turns, EVERY) == set(range(METERS))


def test_whoever_cost_much_for_a_day_does_not_wait_for_a_day() -> None:
    turns = Turns(METERS)
    turns.had(0, 3600.0)
    assert left(turns, EVERY) == set(range(1, METERS))
    for number in range(1, METERS):
        turns.had(number, MOST_AHEAD_S)
    assert left(turns, EVERY) == set(range(METERS))


def test_a_delay_that_nobody_knows_is_none() -> None:
    turns = Turns(METERS)
    turns.had(0, nan)
    assert not turns.look()
    assert left(turns, EVERY) == set(range(METERS))


def test_a_line_of_one_meter_knows_no_turns() -> None:
    turns = Turns(1)
    turns.had(0, 100.0)
    assert not turns.look()
    assert not turns.are_uneven
