"""Whose relay a line looks at next: each every day, and at once where somebody waits for it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from daemon.acquisition.planning.relay_looks import AGAIN_S, NO_ROOM_S, SHARE, RelayLooks

TODAY = date(2026, 5, 20)
YESTERDAY = TODAY - timedelta(days=1)
ALL = np.ones(3, dtype=bool)


def test_a_relay_that_was_never_seen_comes_first_and_each_is_seen_once_a_day() -> None:
    looks = RelayLooks([TODAY, YESTERDAY, None])
    asked = []
    while (number := looks.next_due(TODAY, 0.0, ALL, others_wait=True)) is not None:
        asked.append(number)
        looks.seen(number, TODAY)
    assert asked == [2, 1]
    assert looks.next_due(TODAY + timedelta(days=1), 0.0, ALL, others_wait=True) == 0


def test_one_that_somebody_waits_for_comes_although_it_was_seen_today_or_in_vain() -> None:
    looks = RelayLooks([TODAY, None])
    looks.put_off(1, 0.0)
    for number in (1, 0):
        looks.ask(number, AGAIN_S)
    assert looks.is_asked
    assert looks.next_asked() == 1
    looks.seen(1, TODAY)
    assert looks.next_asked() == 0
    looks.put_off(0, 0.0)
    assert looks.next_asked() is None
    assert not looks.is_asked


def test_a_meter_that_is_silent_is_asked_once_a_minute_however_often_somebody_wants_it() -> None:
    looks = RelayLooks([TODAY])
    looks.ask(0, 0.0)
    looks.put_off(0, 1.0)
    looks.ask(0, 1.0 + AGAIN_S - 0.1)
    assert looks.next_asked() is None
    looks.ask(0, 1.0 + AGAIN_S)
    assert looks.next_asked() == 0
    looks.seen(0, TODAY)
    looks.ask(0, 1.0 + AGAIN_S)
    assert looks.next_asked() == 0


def test_one_that_was_asked_for_in_vain_is_due_after_a_pause() -> None:
    looks = RelayLooks([TODAY])
    looks.ask(0, 0.0)
    assert looks.put_off(0, 0.0)
    assert looks.next_due(TODAY, 1.0, ALL[:1], others_wait=True) is None
    assert looks.next_due(TODAY, 3600.0, ALL[:1], others_wait=True) == 0


def test_a_meter_without_a_relay_is_never_looked_at_not_even_when_asked_for() -> None:
    looks = RelayLooks([None])
    looks.give_up(0)
    looks.ask(0, 0.0)
    looks.give_up(0)
    assert looks.next_asked() is None
    assert looks.next_due(TODAY + timedelta(days=400), 1e9, ALL[:1], others_wait=True) is None


def test_looks_have_a_share_of_the_line() -> None:
    looks = RelayLooks([None, None])
    looks.rest(10.0, 11.0)
    ends_s = 11.0 + 1.0 * (1 / SHARE - 1)
    assert looks.next_due(TODAY, ends_s - 0.1, ALL[:2], others_wait=True) is None
    assert looks.next_due(TODAY, ends_s - 0.1, ALL[:2], others_wait=False) == 0
    assert looks.next_due(TODAY, ends_s, ALL[:2], others_wait=True) == 0


@pytest.mark.parametrize("others_wait", [False, True])
def test_what_found_no_room_is_due_again_after_a_minute(others_wait: bool) -> None:
    looks = RelayLooks([None])
    looks.ask(0, 0.0)
    looks.no_room(0, 100.0)
    assert looks.next_asked() is None
    assert looks.next_due(TODAY, 100.0 + NO_ROOM_S - 1, ALL[:1], others_wait=others_wait) is None
    assert looks.next_due(TODAY, 100.0 + NO_ROOM_S, ALL[:1], others_wait=others_wait) == 0
