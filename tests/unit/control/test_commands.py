"""Whether the frame of a command may leave, and what an observed relay means for it."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.control.commands import (
    ALARM_AFTER,
    RECONNECT_EXPIRY,
    RECONNECT_LATE,
    TRIP_EXPIRY,
    Judgement,
    after_refusal,
    after_restart,
    ended_trip,
    is_just_tried,
    is_look_due,
    judge,
    look_again,
    may_probe,
    send_again,
    trip_obstacle,
    valid_for,
)
from protocols.dlt645.exchanges import StatusWord3
from protocols.reading import RelayState

NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
CLOSED = RelayState(relay_open=False, command_open=False)
OPEN = RelayState(relay_open=True, command_open=True)
# The meter will open later (a delay, or a current above its limit).
PENDING = RelayState(relay_open=False, command_open=True)
# It waits for the customer's button, or is about to close.
READY = RelayState(relay_open=True, command_open=False)


def test_the_times_are_those_of_the_specification() -> None:
    """Control, command life cycle 3 and service levels."""
    assert timedelta(minutes=10) == TRIP_EXPIRY
    assert timedelta(hours=24) == RECONNECT_EXPIRY
    assert timedelta(minutes=10) == RECONNECT_LATE
    assert timedelta(minutes=15) == ALARM_AFTER


def seconds(count: int) -> datetime:
    return NOW + timedelta(seconds=count)


@pytest.mark.parametrize(
    ("action", "relay", "sends", "checks", "state", "supply_state", "next_at"),
    [
        # a trip is done when bit 4 says so, whatever bit 6 says
        ("trip", OPEN, 1, 0, "verified", "disconnected", NOW),
        ("trip", READY, 1, 0, "verified", "disconnected", NOW),
        # delayed: accepted, not open; neither done nor sent again
        ("trip", PENDING, 1, 0, "verifying", None, seconds(5)),
        ("trip", PENDING, 1, 1, "verifying", None, seconds(15)),
        ("trip", PENDING, 3, 9, "verifying", None, seconds(3600)),
        # not taken: back to the guard, three sends in all
        ("trip", CLOSED, 1, 0, "persisted", None, NOW),
        ("trip", CLOSED, 2, 1, "persisted", None, NOW),
        ("trip", CLOSED, 3, 2, "verifying", None, seconds(60)),  # a frame of it may still come late
        # restored when the relay is closed and no trip waits in the meter
        ("close", CLOSED, 1, 0, "verified", "energised", NOW),
        ("allow_close", CLOSED, 1, 0, "verified", "energised", NOW),
        ("allow_close", CLOSED, 7, 40, "verified", "energised", NOW),
        # a delayed trip is still in the meter although the relay is closed: keep sending
        ("close", PENDING, 1, 0, "persisted", "reconnect_commanded", seconds(5)),
        ("allow_close", PENDING, 2, 0, "persisted", "reconnect_commanded", seconds(15)),
        # allow_close is done by the customer's button, which may take for ever
        ("allow_close", READY, 1, 0, "verifying", "wait_customer_button", seconds(5)),
        ("allow_close", READY, 1, 30, "verifying", "wait_customer_button", seconds(3600)),
        # close: the relay gets two looks to move, then the frame is sent again
        ("close", READY, 1, 0, "verifying", None, seconds(5)),
        ("close", READY, 1, 1, "verifying", None, seconds(15)),
        ("close", READY, 1, 2, "persisted", "reconnect_commanded", seconds(5)),
        # refused by silence or a stuck relay: for ever, ever more seldom
        ("close", OPEN, 1, 0, "persisted", "reconnect_commanded", seconds(5)),
        ("close", OPEN, 4, 9, "persisted", "reconnect_commanded", seconds(300)),
        ("allow_close", OPEN, 99, 99, "persisted", "reconnect_commanded", seconds(1800)),
    ],
)
def test_what_status_word_3_makes_of_a_command(
    action: str,
    relay: RelayState,
    sends: int,
    checks: int,
    state: str,
    supply_state: str | None,
    next_at: datetime,
) -> None:
    judgement = judge(action, relay, sends=sends, checks=checks, now=NOW, expires_at=LATER)
    assert (judgement.state, judgement.supply_state, judgement.next_at) == (
        state,
        supply_state,
        next_at,
    )


@pytest.mark.parametrize(
    ("action", "relay", "detail"),
    [
        ("trip", OPEN, "relay open"),
        ("trip", PENDING, "accepted, relay not open yet"),
        ("trip", CLOSED, "relay closed, guard and send again"),
        ("close", CLOSED, "relay closed"),
        ("allow_close", READY, "ready, waits for the button"),
        ("close", READY, "accepted, relay still open"),
        ("close", OPEN, "not closed, sending again"),
    ],
)
def test_what_the_relay_was_is_told(action: str, relay: RelayState, detail: str) -> None:
    assert judge(action, relay, sends=2, checks=1, now=NOW, expires_at=LATER).detail == detail


def test_a_trip_that_could_not_get_there_in_time_is_watched_and_not_sent_again() -> None:
    expires_at = NOW + timedelta(seconds=59)
    judgement = judge("trip", CLOSED, sends=1, checks=0, now=NOW, expires_at=expires_at)
    assert (judgement.state, judgement.supply_state) == ("verifying", None)
    in_time = NOW + timedelta(seconds=60)
    assert (
        judge("trip", CLOSED, sends=1, checks=0, now=NOW, expires_at=in_time).state == "persisted"
    )


@pytest.mark.parametrize("sends", [1, 2, 3])
def test_an_expired_trip_is_not_sent_again(sends: int) -> None:
    over_at = LATER + timedelta(minutes=5)
    judgement = judge("trip", CLOSED, sends=sends, checks=0, now=over_at, expires_at=LATER)
    detail = f"relay closed after {sends} sends, and the meter takes it no more"
    assert judgement == Judgement("failed", "energised", over_at, detail)


def test_a_trip_is_over_only_when_a_meter_whose_clock_was_set_back_takes_it_no_more() -> None:
    nearly = LATER + timedelta(minutes=5) - timedelta(microseconds=1)
    judgement = judge("trip", CLOSED, sends=3, checks=0, now=nearly, expires_at=LATER)
    assert (judgement.state, judgement.supply_state) == ("verifying", None)
    assert judgement.detail == "relay closed after 3 sends, may come late"


@pytest.mark.parametrize(
    ("seen_s", "now_s", "is_ordered_open", "is_due"),
    [
        # Each minute while it may come, by a trip that is valid for 600 s and taken until 900 s.
        (100, 159, False, False),
        (100, 160, False, True),
        # Once more when it can come no more.
        (880, 899, False, False),
        (880, 900, False, True),
        (899, 999, False, True),
        (900, 990, False, False),
        # One that has come and is held back is waited for.
        (900, 959, True, False),
        (900, 960, True, True),
    ],
)
def test_a_relay_is_looked_at_until_no_earlier_trip_can_open_it(
    seen_s: int, now_s: int, is_ordered_open: bool, is_due: bool
) -> None:
    expires_at = NOW + timedelta(seconds=600)
    seen_at, now = NOW + timedelta(seconds=seen_s), NOW + timedelta(seconds=now_s)
    assert is_look_due(expires_at, seen_at, now, is_ordered_open=is_ordered_open) is is_due


def test_an_expired_trip_that_the_meter_accepted_is_still_watched() -> None:
    assert judge("trip", PENDING, sends=3, checks=0, now=LATER, expires_at=NOW).state == "verifying"
    assert (
        judge("trip", OPEN, sends=1, checks=0, now=LATER, expires_at=NOW).supply_state
        == "disconnected"
    )


def test_keep_power_and_the_meters_type_do_not_confuse_the_relay() -> None:
    word = StatusWord3(0x1000 | 0x0200 | 0x0080)
    relay = RelayState(word.relay_open, word.command_open, word.keep_power)
    assert judge("close", relay, sends=1, checks=0, now=NOW, expires_at=LATER).state == "verified"


def test_the_relay_is_not_looked_at_before_five_seconds_and_ever_more_seldom() -> None:
    waits = [(look_again(NOW, checks) - NOW).total_seconds() for checks in range(8)]
    assert waits == [5, 15, 60, 300, 900, 3600, 3600, 3600]


def test_a_reconnect_is_sent_for_ever() -> None:
    waits = [(send_again(NOW, sends) - NOW).total_seconds() for sends in range(1, 9)]
    assert waits == [5, 15, 60, 300, 900, 1800, 1800, 1800]


LOCAL_NOON = datetime(2026, 3, 16, 12)


@pytest.mark.parametrize(
    ("expires_s", "clock_off_s", "carrier", "obstacle"),
    [
        (60, 0, "", ""),
        (60, 300, "", ""),
        (60, -300, "", ""),
        (60, None, "", ""),
        (59, 0, "", "expires before it could get there"),
        (0, 301, "offline", "expires before it could get there"),
        (60, 301, "", "meter clock shows 2026-03-16 12:05:01"),
        (60, -301, "offline", "meter clock shows 2026-03-16 11:54:59"),
        (60, None, "offline", "offline"),
    ],
)
def test_a_trip_leaves_only_in_time_to_a_meter_that_knows_the_time(
    expires_s: int, clock_off_s: int | None, carrier: str, obstacle: str
) -> None:
    found = trip_obstacle(
        now=NOW,
        expires_at=NOW + timedelta(seconds=expires_s),
        local_now=LOCAL_NOON,
        meter_clock=(None if clock_off_s is None else LOCAL_NOON + timedelta(seconds=clock_off_s)),
        carrier=carrier,
    )
    assert found == obstacle


def test_no_trip_leaves_while_the_host_clock_is_doubted_and_why_is_its_answer() -> None:
    found = trip_obstacle(
        now=NOW,
        expires_at=NOW + timedelta(hours=1),
        local_now=LOCAL_NOON,
        meter_clock=LOCAL_NOON,
        carrier="",
        doubt="it was stepped",
    )
    assert found == "host clock doubted: it was stepped"


@pytest.mark.parametrize(
    ("action", "expires_s", "valid_s"),
    [
        ("trip", 3600, 600),
        ("trip", 601, 600),
        ("trip", 599, 599),
        ("trip", 59, 59),
        ("trip", -9, -9),
        ("close", 3600, 600),
        ("close", 61, 61),
        ("close", 59, 60),
        ("allow_close", -9, 60),
    ],
)
def test_a_frame_is_valid_until_its_command_expires_and_a_reconnect_at_least_a_minute(
    action: str, expires_s: int, valid_s: int
) -> None:
    expires_at = NOW + timedelta(seconds=expires_s)
    assert valid_for(action, NOW, expires_at) == timedelta(seconds=valid_s)


@pytest.mark.parametrize(
    ("action", "state", "sends", "becomes"),
    [
        ("trip", "sent", 1, "verifying"),
        ("trip", "acked", 1, "verifying"),
        ("close", "unknown", 2, "verifying"),
        ("trip", "verifying", 1, None),
        ("close", "verifying", 1, None),
        ("trip", "persisted", 0, None),
        ("trip", "persisted", 1, "verifying"),
        ("close", "persisted", 0, None),
        ("allow_close", "persisted", 3, None),
    ],
)
def test_after_a_restart_what_may_be_on_its_way_is_looked_at_and_reconnects_go_on(
    action: str, state: str, sends: int, becomes: str | None
) -> None:
    found = after_restart(
        action,
        state,
        sends=sends,
        created_at=NOW,
        expires_at=LATER,
        now=NOW,
        shadow_mode=False,
    )
    assert found == becomes


@pytest.mark.parametrize(
    ("age_s", "valid_s", "shadow_mode", "is_expired"),
    [
        (60, 1, False, False),
        (60.1, 1, False, True),
        (0, 0, False, True),
        (0, 1, True, True),
        (0, 1, False, False),
    ],
)
def test_a_trip_that_nobody_sent_is_not_sent_late_nor_in_shadow_mode(
    age_s: float, valid_s: float, shadow_mode: bool, is_expired: bool
) -> None:
    found = after_restart(
        "trip",
        "persisted",
        sends=0,
        created_at=NOW - timedelta(seconds=age_s),
        expires_at=NOW + timedelta(seconds=valid_s),
        now=NOW,
        shadow_mode=shadow_mode,
    )
    assert found == ("expired" if is_expired else None)


def test_a_trip_that_may_have_reached_its_meter_is_superseded_and_not_cancelled() -> None:
    assert [ended_trip(sends) for sends in (0, 1, 3)] == ["cancelled", "superseded", "superseded"]


@pytest.mark.parametrize(
    ("state", "pause_s"),
    [("expired", 300), ("cancelled", 300), ("failed", 300), ("refused", 3600)],
)
def test_what_ended_in_vain_is_not_followed_at_once(state: str, pause_s: int) -> None:
    assert is_just_tried(state, NOW, seconds(pause_s - 1))
    assert is_just_tried(state, NOW, NOW)
    assert not is_just_tried(state, NOW, seconds(pause_s))
    assert not is_just_tried(state, seconds(1), NOW)


def test_a_reconnect_that_is_refused_is_sent_again_ever_more_seldom_and_never_dropped() -> None:
    minutes = [(after_refusal(NOW, sends) - NOW) / timedelta(minutes=1) for sends in range(6)]
    assert minutes == [1, 5, 30, 60, 60, 60]


@pytest.mark.parametrize(
    ("state", "age_s", "may"),
    [
        ("acked", 0, True),
        ("verifying", 0, True),
        ("verified", 0, True),
        ("persisted", 59, False),
        ("persisted", 60, True),
        ("sent", 59, False),
        ("unknown", 59, False),
        ("superseded", 59, False),
    ],
)
def test_while_passwords_are_refused_one_reconnect_is_tried_at_a_time(
    state: str, age_s: int, may: bool
) -> None:
    assert may_probe(state, NOW, seconds(age_s)) is may
