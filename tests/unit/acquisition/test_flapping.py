"""What is told of a way that opens and closes."""

from __future__ import annotations

from daemon.acquisition.planning.flapping import STEADY_S, TOLD_AGAIN_S, TOLD_EACH, Flapping


def lives(flapping: Flapping, times: int, *, now_s: float = 0.0, lasts_s: float = 0.5) -> list[str]:
    """What is told when the way is opened and lost so many times."""
    told = []
    for _ in range(times):
        told += ["line up"] if flapping.opened(now_s) else []
        now_s += lasts_s
        told.append(flapping.lost(now_s))
    return [event for event in told if event]


def test_the_first_times_are_told_one_by_one_and_all_others_in_one_line() -> None:
    flapping = Flapping()
    told = lives(flapping, 1000)
    assert told == ["line up", "line down"] * TOLD_EACH + ["line up", "line flaps"]
    assert flapping.times == 1000


def test_it_is_told_again_after_an_hour_with_the_count() -> None:
    flapping = Flapping()
    lives(flapping, 10)
    assert lives(flapping, 10, now_s=TOLD_AGAIN_S - 10) == []
    assert lives(flapping, 10, now_s=TOLD_AGAIN_S + 10) == ["line flaps"]
    assert flapping.times == 30


def test_a_way_that_stays_open_for_long_is_told_each_time() -> None:
    assert lives(Flapping(), 5, lasts_s=STEADY_S) == ["line up", "line down"] * 5


def test_a_way_that_became_steady_is_told_like_any_other() -> None:
    flapping = Flapping()
    lives(flapping, 10)
    assert flapping.steady()
    assert not flapping.steady()
    assert lives(flapping, 1, now_s=100.0) == ["line up", "line down"]
