"""Whether the frame of a command may leave, and what an observed relay means for it."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.control.commands import judge, look_again, send_again, trip_obstacle, valid_for
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


def test_a_trip_that_could_not_get_there_in_time_is_watched_and_not_sent_again() -> None:
    expires_at = NOW + timedelta(seconds=59)
    judgement = judge("trip", CLOSED, sends=1, checks=0, now=NOW, expires_at=expires_at)
    assert (judgement.state, judgement.supply_state) == ("verifying", None)


@pytest.mark.parametrize("sends", [1, 2, 3])
def test_an_expired_trip_is_not_sent_again(sends: int) -> None:
    judgement = judge("trip", CLOSED, sends=sends, checks=0, now=LATER, expires_at=LATER)
    assert (judgement.state, judgement.supply_state) == ("failed", "energised")


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
