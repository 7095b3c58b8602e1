"""The life of a command, as pure decisions.

Whether its frame may leave, what an observed relay means for it, and when to look again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from daemon.quality.freeze import CLOCK_LIMIT
from protocols.reading import RelayState

TRIP_EXPIRY = timedelta(minutes=10)
RECONNECT_EXPIRY = timedelta(hours=24)
RECONNECT_LATE = timedelta(minutes=10)
"""Who is not back by then is waited for by nobody in vain: a person goes there."""
MOST_TRIP_SENDS = 3
LATE_AFTER_RESTART = timedelta(seconds=60)
MIN_VALIDITY = timedelta(minutes=1)
"""A frame that expires sooner could be over before a slow line has delivered it: a trip is then not
sent any more, a reconnect is valid for so long all the same."""
ALARM_AFTER = timedelta(minutes=15)
"""A relay that has not followed its command by then is a matter for a person."""
TRY_AGAIN_AFTER = timedelta(minutes=5)
"""A command that failed for good is not followed by the next one for the same point before this."""
TRY_AGAIN_AFTER_REFUSAL = timedelta(hours=1)
"""A meter that refuses may count wrong passwords and lock itself."""
LATE_TRIP_LOOK_EVERY = timedelta(minutes=1)
"""So often a relay is looked at that a frame of an earlier trip may still open."""
_AFTER_REFUSAL = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=1),
)
"""Before a reconnect that its meter refused is sent again: it may count wrong passwords."""
PROBE_EVERY = timedelta(minutes=1)
"""So often one reconnect of the site is tried while meters refuse our password."""
_LOOK_AFTER_S = (5, 15, 60, 300, 900, 3600)
"""A relay needs 3-4 s to move and be seen; then ever more seldom."""
_RESEND_AFTER_S = (5, 15, 60, 300, 900, 1800)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a command. `supply_state` None leaves the point as it is."""

    state: str
    supply_state: str | None
    next_at: datetime
    detail: str


def after_restart(
    action: str,
    state: str,
    *,
    sends: int,
    created_at: datetime,
    expires_at: datetime,
    now: datetime,
    shadow_mode: bool,
) -> Literal["verifying", "expired"] | None:
    """What a command that is open becomes when a daemon starts; None leaves it as it is.

    What may be on its way is looked at before anything else, and a trip that nobody sent is never
    sent late, nor in shadow mode. Reconnects go on."""
    if state in ("sent", "acked", "unknown"):
        return "verifying"
    if state != "persisted" or action != "trip":
        return None
    if sends:
        return "verifying"
    is_late = now - created_at > LATE_AFTER_RESTART or now >= expires_at
    return "expired" if is_late or shadow_mode else None


def ended_trip(sends: int) -> Literal["cancelled", "superseded"]:
    """What a trip becomes whose point is to be on: one that was sent is followed by a reconnect."""
    return "superseded" if sends else "cancelled"


def is_just_tried(state: str, created_at: datetime, now: datetime) -> bool:
    """Whether a command that ended so in vain is too young to be followed by the next.

    One of the time to come is of a clock that was ahead."""
    pause = TRY_AGAIN_AFTER_REFUSAL if state == "refused" else TRY_AGAIN_AFTER
    return timedelta(0) <= now - created_at < pause


def after_refusal(now: datetime, sends: int) -> datetime:
    """When to send a reconnect again that the meter refused when it was sent `sends` times before;
    there is no last time."""
    return now + _AFTER_REFUSAL[min(sends, len(_AFTER_REFUSAL) - 1)]


def may_probe(state: str, sent_at: datetime, now: datetime) -> bool:
    """Whether a reconnect may be sent while meters refuse our password.

    `state`, `sent_at`: of the reconnect of the site that was sent last. One that was taken shows
    that the others may be, too; else one a minute is tried."""
    return state in ("acked", "verifying", "verified") or now - sent_at >= PROBE_EVERY


def trip_obstacle(
    *,
    now: datetime,
    expires_at: datetime,
    local_now: datetime,
    meter_clock: datetime | None,
    carrier: str,
    doubt: str = "",
) -> str:
    """Why a trip that was released may not leave now; empty when it may.

    `meter_clock`: what the meter's clock shows at `local_now`, the site's wall clock; None when it
    shows none. `carrier`: why the line would not bring it to the meter at once, empty when it does.
    `doubt`: what speaks against the host's clock, by which all else is judged."""
    if doubt:
        return f"host clock doubted: {doubt}"
    if expires_at - now < MIN_VALIDITY:
        return "expires before it could get there"
    # DL/T 645-2007: the expiry in a control frame (1CH) is by the meter's clock.
    if meter_clock is not None and abs(meter_clock - local_now) > CLOCK_LIMIT:
        return f"meter clock shows {meter_clock}"
    return carrier


def valid_for(action: str, now: datetime, expires_at: datetime) -> timedelta:
    """How long the meter may execute a control frame that leaves now.

    A trip that is executed later than its guard looked would cut a supply that was paid for
    meanwhile: never a moment past its expiry."""
    left = expires_at - now
    return min(TRIP_EXPIRY, left if action == "trip" else max(left, MIN_VALIDITY))


def is_over(expires_at: datetime, now: datetime) -> bool:
    """Whether no frame of a trip that expires then can be executed any more.

    The meter compares by its own clock, which somebody may set while the frame is on its way."""
    return now >= expires_at + CLOCK_LIMIT


def is_look_due(
    expires_at: datetime, seen_at: datetime, now: datetime, *, is_ordered_open: bool
) -> bool:
    """Whether the relay of a supply that is on is looked at again (I3).

    A frame of an earlier trip, which expires then, may have come since it was seen.
    `is_ordered_open`: one has come, and the meter holds it back."""
    if is_over(expires_at, seen_at) and not is_ordered_open:
        return False
    is_seen_once_more = is_over(expires_at, now) and not is_over(expires_at, seen_at)
    return is_seen_once_more or now - seen_at >= LATE_TRIP_LOOK_EVERY


def look_again(now: datetime, checks: int) -> datetime:
    """When to read the relay's state after `checks` readings."""
    return now + timedelta(seconds=_LOOK_AFTER_S[min(checks, len(_LOOK_AFTER_S) - 1)])


def send_again(now: datetime, sends: int) -> datetime:
    """When to send a reconnect again after `sends` sends; there is no last one."""
    return now + timedelta(seconds=_RESEND_AFTER_S[min(max(sends, 1), len(_RESEND_AFTER_S)) - 1])


def judge(
    action: str,
    relay: RelayState,
    *,
    sends: int,
    checks: int,
    now: datetime,
    expires_at: datetime,
) -> Judgement:
    """What the relay, as it was read, means for a command that may have reached the meter.

    Only the relay itself proves anything. Ordered open and not open is a trip that the meter will
    execute later."""
    if action == "trip":
        return _judge_trip(
            relay,
            sends=sends,
            checks=checks,
            now=now,
            expires_at=expires_at,
        )
    # Status word 3 (04 00 05 03): bit 4 is the relay, bit 6 the command. I14: only bit 4 proves.
    if not relay.relay_open and not relay.command_open:
        return Judgement(
            "verified",
            "energised",
            now,
            "relay closed",
        )
    if relay.relay_open and not relay.command_open and action == "allow_close":
        return Judgement(
            "verifying",
            "wait_customer_button",
            look_again(now, checks),
            "ready, waits for the button",
        )
    if relay.relay_open and not relay.command_open and checks < 2:
        return Judgement(
            "verifying",
            None,
            look_again(now, checks),
            "accepted, relay still open",
        )
    return Judgement(
        "persisted",
        "reconnect_commanded",
        send_again(now, sends),
        "not closed, sending again",
    )


def _judge_trip(
    relay: RelayState,
    *,
    sends: int,
    checks: int,
    now: datetime,
    expires_at: datetime,
) -> Judgement:
    if relay.relay_open:
        return Judgement(
            "verified",
            "disconnected",
            now,
            "relay open",
        )
    if relay.command_open:
        return Judgement(
            "verifying",
            None,
            look_again(now, checks),
            "accepted, relay not open yet",
        )
    # I2: the guard decides again before each send.
    if sends < MOST_TRIP_SENDS and expires_at - now >= MIN_VALIDITY:
        return Judgement(
            "persisted",
            None,
            now,
            "relay closed, guard and send again",
        )
    # The frame holds its expiry: until then the meter may still execute it.
    if not is_over(expires_at, now):
        return Judgement(
            "verifying",
            None,
            look_again(now, checks),
            f"relay closed after {sends} sends, may come late",
        )
    return Judgement(
        "failed",
        "energised",
        now,
        f"relay closed after {sends} sends, and the meter takes it no more",
    )
