"""How many come back at once after an amnesty."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.control.ramp import WINDOW, Ramp, amnesty_of, cause_of, next_portion

MINUTE = 60


@pytest.mark.parametrize(
    ("kw_per_minute", "kw_per_point", "points"),
    [(400, 4, 100), (403, 4, 100), (4, 4, 1), (3, 4, 0)],
)
def test_a_ramp_is_so_many_points(kw_per_minute: int, kw_per_point: int, points: int) -> None:
    assert Ramp(kw_per_minute, kw_per_point).points_per_minute == points


@pytest.mark.parametrize(
    ("under_way", "next_ones"), [(0, "abc"), (1, "ab"), (2, "a"), (3, ""), (9, "")]
)
def test_who_is_under_way_takes_a_place(under_way: int, next_ones: str) -> None:
    assert next_portion(Ramp(12, 4), under_way, "abcd") == next_ones


def test_a_reconnect_of_an_amnesty_names_it() -> None:
    assert cause_of(17) == "amnesty 17"  # as it is stored
    assert amnesty_of(cause_of(17)) == 17
    assert amnesty_of("payment pay:counter:1") is None


def test_the_window_is_the_minute_of_which_the_ramp_speaks() -> None:
    assert timedelta(seconds=MINUTE) == WINDOW


@given(
    most=st.integers(1, 40),
    steps=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), min_size=80, max_size=80),
)
def test_two_thousand_never_exceed_it_however_lines_send(
    most: int, steps: list[tuple[int, int]]
) -> None:
    """Every step some seconds pass, and lines send as many of what waits for them as they can."""
    ramp = Ramp(4 * most, 4)
    waiting, unsent, sent = 2000, 0, list[int]()
    now = 0
    for seconds, line_sends in steps:
        now += seconds
        lately = sum(at > now - MINUTE for at in sent)
        portion = len(next_portion(ramp, lately + unsent, range(waiting)))
        waiting, unsent = waiting - portion, unsent + portion
        leaving = min(unsent, line_sends)
        sent += [now] * leaving
        unsent -= leaving
        assert sum(at > now - MINUTE for at in sent) <= most
