"""The life of a command, as pure decisions: what an observed relay means for it, and when to look
again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from protocols.reading import RelayState
from storage.supply import Command

TRIP_EXPIRY = timedelta(minutes=10)
RECONNECT_EXPIRY = timedelta(hours=24)
MOST_TRIP_SENDS = 3
LATE_AFTER_RESTART = timedelta(seconds=60)
CLOCK_LIMIT = timedelta(minutes=5)
"""No trip goes to a meter whose clock is further off: its expiry would mean nothing."""
ALARM_AFTER = timedelta(minutes=15)
"""A relay that has not followed its command by then is a matter for a person."""
TRY_AGAIN_AFTER = timedelta(minutes=5)
"""A command that failed for good is not followed by the next one for the same point before this."""
TRY_AGAIN_AFTER_REFUSAL = timedelta(hours=1)
"""A meter that refuses may count wrong passwords and lock itself."""
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
    """What the relay, as the meter tells it, says about a command that may have reached the meter.

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
    if not relay.relay_open and not relay.command_open:
        return Judgement("verified", "energised", now, "relay closed")
    if relay.relay_open and not relay.command_open and action == "allow_close":
        return Judgement(
            "verifying",
            "wait_customer_button",
            look_again(now, checks),
            "ready, waits for the button",
        )
    if relay.relay_open and not relay.command_open and checks < 2:
        return Judgement("verifying", None, look_again(now, checks), "accepted, relay still open")
    return Judgement(
        "persisted", "reconnect_commanded", send_again(now, sends), "not closed, sending again"
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
        return Judgement("verified", "disconnected", now, "relay open")
    if relay.command_open:
        return Judgement("verifying", None, look_again(now, checks), "accepted, relay not open yet")
    if sends < MOST_TRIP_SENDS and now < expires_at:
        return Judgement("persisted", None, now, "relay closed, guard and send again")
    if now < expires_at:
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


@dataclass(frozen=True, slots=True)
class CommandStep:
    """What a line has to do with a command: send its control frame, or verify the relay."""

    kind: Literal["send", "verify"]
    command: Command
