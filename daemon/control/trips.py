"""Trips: for which points one is asked for, what the guard says, and until when it is valid.
Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from daemon.control.authority import Authority
from daemon.control.commands import TRIP_EXPIRY
from daemon.control.facts import PointFacts, facts_for_guard
from daemon.control.guard import Facts, Policy, Verdict, evaluate, snapshot
from daemon.control.sources import FarEnd


@dataclass(frozen=True, slots=True)
class GuardedTrip:
    """What the guard says of a trip, with all it looked at.

    `snapshot` is stored with the command, for an auditor who replays it."""

    point: PointFacts
    facts: Facts
    verdict: Verdict
    snapshot: dict[str, object]

    @property
    def is_allowed(self) -> bool:
        """No rule of the guard fails."""
        return self.verdict.decision == "allow"


def is_trip_due(point: PointFacts) -> bool:
    """Whether money asks for a trip; the guard has not been heard yet."""
    return point.credit_state == "exhausted" and point.supply_state == "energised"


def guard_trip(
    point: PointFacts, authority: Authority, now: datetime, far_end: FarEnd | None = None
) -> GuardedTrip:
    """Hear the guard. I2: it is heard when a trip is asked for, and again before every send.

    `far_end`: who would get the frame; None while it is only asked for."""
    facts = facts_for_guard(point, authority, now, far_end)
    verdict = evaluate(authority.policy, facts)
    return GuardedTrip(point, facts, verdict, snapshot(authority.policy, facts, verdict))


def trip_expires_at(policy: Policy, zone: ZoneInfo, now: datetime) -> datetime:
    """When a trip that is asked for now is not sent any more.

    Control, command life cycle: 10 minutes after the guard was heard, never past the window's end
    (I12: in local time, also over a change of the clocks)."""
    expires_at = now + TRIP_EXPIRY
    if policy.window_end == time.max:
        return expires_at
    # As an instant of today's date in the zone: wall time plus a difference would be off by an hour
    # on the day that the clocks change.
    today = now.astimezone(zone).date()
    return min(expires_at, datetime.combine(today, policy.window_end, zone))
