"""What becomes of an order to a meter, by what is known and what the meter shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.control.meter_orders import (
    Next,
    What,
    after_answer,
    after_look,
    before_send,
    put_off,
)
from daemon.control.observation import Answer
from protocols.reading import RelayState

NOW = datetime(2026, 3, 16, 4, tzinfo=UTC)
SOON = NOW + timedelta(seconds=5)
CLOSED, KEPT = RelayState(False, False), RelayState(False, False, keep_power=True)
WARNING = RelayState(False, False, alarm=True)
OPEN, TRIPPING = RelayState(True, True), RelayState(False, True)
READY = RelayState(True, False)


@dataclass(frozen=True)
class Ordered:
    what: What = "keep_power"
    is_on: bool = True
    state: str = "persisted"
    sends: int = 0
    checks: int = 0
    made_at: datetime = NOW
    meter_id: int = 1


KEEP = Ordered()
END = Ordered(is_on=False)
WARN = Ordered("alarm")
CALM = Ordered("alarm", is_on=False)


def before(order: Ordered, relay: RelayState | None, **facts: Any) -> Next | None:
    known = {"is_wanted": order.is_on, "is_held_on": True, "has_command": False}
    return before_send(order, relay, NOW, **{**known, **facts})


@pytest.mark.parametrize("order", [KEEP, WARN, CALM, END])
def test_its_frame_may_leave_to_a_meter_that_is_on(order: Ordered) -> None:
    assert before(order, KEPT if order is END else CLOSED) is None


@pytest.mark.parametrize("relay", [OPEN, TRIPPING, READY])
@pytest.mark.parametrize("order", [KEEP, WARN])
def test_nothing_is_switched_on_in_a_meter_whose_relay_is_not_closed(
    order: Ordered, relay: RelayState
) -> None:
    assert before(order, relay) == Next("persisted", SOON, "the supply is not on")


def test_nothing_is_switched_on_where_the_supply_is_held_off_or_a_command_is_open() -> None:
    for order in (KEEP, WARN):
        off = before(order, CLOSED, is_held_on=False)
        assert off == Next("persisted", SOON, "the supply is not on")
    for order in (KEEP, WARN, CALM):
        waits = before(order, CLOSED, has_command=True)
        assert waits == Next("persisted", SOON, "a supply command is open")


def test_what_keeps_power_is_ended_in_a_tripped_meter_too() -> None:
    assert before(END, replace(OPEN, keep_power=True), is_held_on=False) is None
    assert before(CALM, OPEN, is_held_on=False) is None


def test_nothing_is_sent_that_is_so_already_and_a_warning_is_not_always_shown() -> None:
    done = Next("verified", None, "it is so already", is_proved=True)
    assert before(KEEP, KEPT) == done
    assert before(END, CLOSED) == done
    assert before(WARN, WARNING) is None
    assert before(CALM, CLOSED) is None


@pytest.mark.parametrize("order", [KEEP, END, WARN, CALM])
def test_what_is_wanted_no_more_is_not_sent(order: Ordered) -> None:
    for relay in (CLOSED, None):
        ended = before(order, relay, is_wanted=not order.is_on)
        assert ended == Next("cancelled", None, "it is otherwise by now")


def test_a_silent_meter_is_asked_ever_more_seldom_and_after_a_day_no_more() -> None:
    assert before(KEEP, None) == Next("persisted", SOON, "the meter is silent")
    later = before(replace(KEEP, checks=4), None)
    assert later == Next("persisted", NOW + timedelta(minutes=15), "the meter is silent")
    day = timedelta(days=1)
    assert put_off(replace(KEEP, made_at=NOW - day), "why", NOW) == Next("failed", None, "why")
    almost = replace(KEEP, made_at=NOW - day + timedelta(seconds=1))
    assert put_off(almost, "why", NOW) == Next("persisted", SOON, "why")


@pytest.mark.parametrize(
    ("answer", "state", "next_at"),
    [
        ("acked", "acked", SOON),
        ("unknown", "unknown", SOON),
        ("refused", "refused", None),
        ("unauthorised", "refused", None),
    ],
)
def test_an_answer(answer: Answer, state: str, next_at: datetime | None) -> None:
    assert after_answer(answer, "why", NOW) == Next(state, next_at, "why")


@pytest.mark.parametrize(
    ("order", "relay", "shown"),
    [(KEEP, KEPT, 12), (END, CLOSED, 12), (WARN, WARNING, 7)],
)
@pytest.mark.parametrize("state", ["sent", "acked", "unknown"])
def test_the_status_word_proves_it(
    order: Ordered, relay: RelayState, shown: int, state: str
) -> None:
    sent = replace(order, state=state, sends=3)
    detail = f"bit {shown} of status word 3"
    assert after_look(sent, relay, NOW) == Next("verified", None, detail, is_proved=True)


def test_that_a_meter_shows_no_warning_does_not_prove_that_it_was_told_to_end_it() -> None:
    for state in ("sent", "unknown"):
        lost = replace(CALM, state=state, sends=1)
        next_at = NOW + timedelta(minutes=1)
        assert after_look(lost, CLOSED, NOW) == Next(
            "persisted", next_at, "not so, it is sent again"
        )
    told = replace(CALM, state="acked", sends=1)
    proved = Next("verified", None, "bit 7 of status word 3", is_proved=True)
    assert after_look(told, CLOSED, NOW) == proved


def test_what_was_accepted_may_be_shown_later_and_a_warning_never() -> None:
    for checks, after_s in ((0, 5), (1, 15), (2, 60)):
        for order, relay in ((KEEP, CLOSED), (WARN, CLOSED)):
            accepted = replace(order, state="acked", sends=1, checks=checks)
            next_at = NOW + timedelta(seconds=after_s)
            assert after_look(accepted, relay, NOW) == Next(
                "acked", next_at, "accepted, and not shown yet"
            )
    accepted = replace(WARN, state="acked", sends=1, checks=3)
    assert after_look(accepted, CLOSED, NOW) == Next(
        "acked", None, "accepted; the meter does not show it", is_proved=True
    )
    accepted = replace(KEEP, state="acked", sends=1, checks=3)
    assert after_look(accepted, CLOSED, NOW) == Next(
        "persisted", NOW + timedelta(minutes=1), "not so, it is sent again"
    )


def test_it_is_sent_three_times_with_growing_pauses() -> None:
    for sends, minutes in ((1, 1), (2, 5)):
        unknown = replace(KEEP, state="unknown", sends=sends)
        next_at = NOW + timedelta(minutes=minutes)
        assert after_look(unknown, CLOSED, NOW) == Next(
            "persisted", next_at, "not so, it is sent again"
        )
    last = replace(KEEP, state="unknown", sends=3)
    assert after_look(last, CLOSED, NOW) == Next("failed", None, "not so after 3 sends")


@pytest.mark.parametrize(
    ("state", "stays"), [("sent", "unknown"), ("unknown", "unknown"), ("acked", "acked")]
)
def test_a_silent_meter_says_nothing_of_its_frame(state: str, stays: str) -> None:
    sent = replace(KEEP, state=state, sends=1)
    assert after_look(sent, None, NOW) == Next(stays, SOON, "the meter is silent")
