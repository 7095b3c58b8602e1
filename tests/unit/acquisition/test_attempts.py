"""What became of the last try of a slot, until it is written down."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from daemon.acquisition.meter_port import GatewayAnswered, NoFreeze, NotSent
from daemon.acquisition.planning.attempts import Attempt, Attempts, Cause
from daemon.acquisition.slots import cause_of
from protocols.dlt645.exchanges import FreezeMoved
from protocols.errors import FrameError, MeterRefused, NoReply

DAY = date(2026, 5, 19)
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)


def later(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_tries_are_counted_and_the_last_one_says_why() -> None:
    attempts = Attempts()
    attempts.note(3, DAY, "no_answer", NOON)
    attempts.note(3, DAY, "refused", later(5))
    attempts.note(4, DAY, "no_answer", later(6))
    assert attempts.drain() == [
        Attempt(3, DAY, "refused", 2, later(5)),
        Attempt(4, DAY, "no_answer", 1, later(6)),
    ]


def test_what_was_written_down_is_not_counted_twice() -> None:
    attempts = Attempts()
    attempts.note(3, DAY, "no_answer", NOON)
    attempts.drain()
    assert attempts.drain() == []


def test_what_could_not_be_written_down_counts_with_the_next() -> None:
    attempts = Attempts()
    attempts.note(3, DAY, "no_answer", NOON)
    attempts.note(4, DAY, "no_answer", NOON)
    drained = attempts.drain()
    attempts.note(3, DAY, "meter_clock", later(1))
    for attempt in drained:
        attempts.put_back(attempt)
    assert sorted(attempts.drain(), key=lambda attempt: attempt.number) == [
        Attempt(3, DAY, "meter_clock", 2, later(1)),
        Attempt(4, DAY, "no_answer", 1, NOON),
    ]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NoReply("silent"), "no_answer"),
        (NotSent("the broker refused it"), "no_route"),
        (MeterRefused("1", "a freeze", 4, ()), "refused"),
        (GatewayAnswered("refused", ""), "refused"),
        (GatewayAnswered("expired", ""), "no_answer"),
        (GatewayAnswered("no_data", ""), "no_freeze"),
        (NoFreeze("no_freeze", ""), "no_freeze"),
        (NoFreeze("wrong_stamp", ""), "wrong_stamp"),
        (NoFreeze("meter_clock", ""), "meter_clock"),
        (FrameError("no BCD"), "bad_answer"),
        (FreezeMoved("froze anew"), "bad_answer"),
    ],
)
def test_each_way_to_fail_has_its_cause(error: Any, cause: Cause) -> None:
    assert cause_of(error) == cause
