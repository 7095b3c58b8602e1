"""Which policy lets be cut who was not."""

from dataclasses import replace
from datetime import date, time, timedelta
from typing import Any

import pytest

from daemon.control.guard import Policy
from daemon.control.policies import widened

HOUR = timedelta(hours=1)
STRICT = Policy(
    holidays=frozenset({date(2026, 10, 1)}),
    min_debt_fen=500,
    startup_hold=HOUR / 4,
    max_relay_age=24 * HOUR,
    shadow=True,
)
WIDER: list[tuple[dict[str, Any], str]] = [
    ({"approvals_required": 0}, "approvals_required"),
    ({"approvals_of_several": 0}, "approvals_of_several"),
    ({"min_debt_fen": 499}, "min_debt_fen"),
    ({"startup_hold": HOUR / 4 - timedelta.resolution}, "startup_hold"),
    ({"new_tariff_days": 1}, "new_tariff_days"),
    ({"window_start": time(8, 59)}, "window_start"),
    ({"window_end": time(15, 1)}, "window_end"),
    ({"max_reading_age": 37 * HOUR}, "max_reading_age"),
    ({"max_failed_restores": 6}, "max_failed_restores"),
    ({"max_moves_per_hour": 3}, "max_moves_per_hour"),
    ({"max_moves_per_day": 7}, "max_moves_per_day"),
    ({"max_clocks_apart": timedelta(seconds=6)}, "max_clocks_apart"),
    ({"working_days_only": False}, "working_days_only"),
    ({"no_trip_on_eve": False}, "no_trip_on_eve"),
    ({"shadow": False}, "shadow"),
    ({"holidays": frozenset()}, "holidays"),
    ({"makeup_workdays": frozenset({date(2026, 10, 10)})}, "makeup_workdays"),
    ({"written_required": False}, "written_required"),
    ({"written_min": 71 * HOUR}, "written_min"),
    ({"written_max": 169 * HOUR}, "written_max"),
    ({"final_required": False}, "final_required"),
    ({"final_min": HOUR / 3}, "final_min"),
    ({"final_max": 25 * HOUR}, "final_max"),
    ({"max_relay_age": None}, "max_relay_age"),
    ({"max_relay_age": 25 * HOUR}, "max_relay_age"),
]


@pytest.mark.parametrize(("change", "name"), WIDER)
def test_what_asks_for_less_is_wider_and_the_way_back_is_not(
    change: dict[str, Any], name: str
) -> None:
    wider = replace(STRICT, **change)
    assert widened(STRICT, wider) == [name]
    assert widened(wider, STRICT) == []


def test_the_same_is_not_wider() -> None:
    assert widened(STRICT, STRICT) == []


def test_every_field_is_looked_at() -> None:
    assert {name for _, name in WIDER} == set(Policy.__dataclass_fields__)


def test_ages_of_a_notice_that_nobody_asked_for_say_nothing() -> None:
    without = replace(STRICT, written_required=False, final_required=False)
    asked = replace(STRICT, written_min=HOUR, written_max=1000 * HOUR, final_max=99 * HOUR)
    assert widened(without, asked) == []


def test_days_off_say_nothing_where_days_are_not_asked_for() -> None:
    every_day = replace(STRICT, working_days_only=False, no_trip_on_eve=False)
    assert widened(every_day, replace(every_day, holidays=frozenset())) == []
    eve = replace(STRICT, working_days_only=False)
    assert widened(eve, replace(eve, holidays=frozenset())) == ["holidays"]
    days = replace(STRICT, no_trip_on_eve=False)
    assert widened(days, replace(days, holidays=frozenset())) == ["holidays"]
