"""The credit state: equality belongs to the better state."""

import pytest

from daemon.billing.credit import Thresholds, credit_state

THRESHOLDS = Thresholds(warn=3000, trip=0, reconnect=500, credit_limit=1000)


@pytest.mark.parametrize(
    ("balance_fen", "state"),
    [
        (3001, "good"),
        (3000, "good"),
        (2999, "low"),
        (0, "low"),
        (-1, "emergency"),
        (-1000, "emergency"),
        (-1001, "exhausted"),
    ],
)
def test_the_state_at_each_threshold(balance_fen, state):
    assert credit_state(balance_fen, THRESHOLDS) == state


def test_without_credit_the_floor_is_the_trip_threshold():
    thresholds = Thresholds(warn=3000, trip=100, reconnect=100)
    assert thresholds.floor == 100
    assert [credit_state(balance, thresholds) for balance in (100, 99)] == ["low", "exhausted"]
