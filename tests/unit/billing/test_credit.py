"""The credit state: equality belongs to the better state, and an episode outlasts a part
payment."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.billing.credit import Credit, Thresholds, credit_state, next_credit

THRESHOLDS = Thresholds(warn_fen=3000, trip_fen=0, reconnect_fen=500, credit_limit_fen=1000)
NOW = datetime(2026, 3, 6, 1, 10, tzinfo=UTC)
EARLIER = NOW - timedelta(days=2)


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
def test_the_state_at_each_threshold(balance_fen: int, state: str) -> None:
    assert credit_state(balance_fen, THRESHOLDS) == state


def test_without_credit_the_floor_is_the_trip_threshold() -> None:
    thresholds = Thresholds(warn_fen=3000, trip_fen=100, reconnect_fen=100)
    assert thresholds.floor_fen == 100
    assert [credit_state(balance, thresholds) for balance in (100, 99)] == ["low", "exhausted"]


@pytest.mark.parametrize(
    ("balance_fen", "started_at", "expected"),
    [
        (-1001, None, Credit("exhausted", NOW)),
        (-1001, EARLIER, Credit("exhausted", EARLIER)),
        (-1000, None, Credit("emergency", None)),
        (-1000, EARLIER, Credit("emergency", EARLIER)),
        (499, EARLIER, Credit("low", EARLIER)),
        (500, EARLIER, Credit("low", None)),
        (3000, EARLIER, Credit("good", None)),
    ],
)
def test_an_episode_begins_exhausted_and_ends_at_the_reconnect_threshold(
    balance_fen: int, started_at: datetime | None, expected: Credit
) -> None:
    assert next_credit(balance_fen, THRESHOLDS, started_at, NOW) == expected
