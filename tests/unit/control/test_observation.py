"""What a look at the relay makes of a command, and when a person is told."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.control.commands import ALARM_AFTER, Judgement, judge, look_again
from daemon.control.observation import (
    Answer,
    Finding,
    judge_observation,
    state_after_answer,
)
from protocols.reading import RelayState

NOW = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)
EXPIRES = NOW + timedelta(hours=1)
LATE = NOW - ALARM_AFTER - timedelta(seconds=1)
OPEN, CLOSED = RelayState(True, True), RelayState(False, False)
READY = RelayState(True, False)


def found(
    action: str,
    relay: RelayState | None,
    *,
    created_at: datetime = NOW,
    sends: int = 3,
    checks: int = 1,
    expires_at: datetime = EXPIRES,
) -> Finding:
    return judge_observation(
        action,
        relay,
        sends=sends,
        checks=checks,
        created_at=created_at,
        expires_at=expires_at,
        now=NOW,
    )


def test_a_silent_meter_leaves_the_command_unknown_and_is_asked_again() -> None:
    finding = found("trip", None)
    again = look_again(NOW, 1)
    assert finding.judgement == Judgement("unknown", None, again, "meter is silent")
    assert (finding.alarm, finding.is_final) == (None, False)
    assert found("trip", None, created_at=NOW - ALARM_AFTER).alarm is None
    assert found("trip", None, created_at=LATE).alarm == "relay cannot be read"


@pytest.mark.parametrize(
    ("action", "relay", "alarm"),
    [
        ("trip", CLOSED, "relay does not follow"),
        ("close", OPEN, "relay does not follow"),
        ("allow_close", READY, None),  # waits for the customer's button
        ("trip", OPEN, None),
        ("close", CLOSED, None),
    ],
)
def test_a_relay_that_does_not_follow_in_time_is_an_alarm(
    action: str, relay: RelayState, alarm: str | None
) -> None:
    finding = found(action, relay, created_at=LATE)
    assert finding.alarm == alarm
    assert found(action, relay).alarm is None
    judgement = judge(action, relay, sends=3, checks=1, now=NOW, expires_at=EXPIRES)
    assert finding.judgement == judgement
    assert finding.is_final == (judgement.state in ("verified", "failed"))


@pytest.mark.parametrize(
    ("action", "answer", "sends_before", "state"),
    [
        ("trip", "refused", 0, "refused"),
        ("trip", "refused", 1, "verifying"),
        ("trip", "acked", 1, "acked"),
        ("trip", "unknown", 1, "unknown"),
        ("trip", "unauthorised", 0, "refused"),
        ("trip", "unauthorised", 1, "verifying"),
        ("close", "refused", 0, "persisted"),
        ("allow_close", "unauthorised", 1, "persisted"),
        ("close", "acked", 0, "acked"),
    ],
)
def test_a_refusal_ends_a_trip_that_was_not_sent_before_and_never_a_reconnect(
    action: str, answer: Answer, sends_before: int, state: str
) -> None:
    assert state_after_answer(action, answer, sends_before=sends_before) == state


def test_a_trip_that_the_meter_takes_no_more_is_over() -> None:
    finding = found("trip", CLOSED, created_at=LATE, expires_at=NOW - timedelta(hours=1))
    assert (finding.judgement.state, finding.is_final) == ("failed", True)
    assert finding.alarm is None
