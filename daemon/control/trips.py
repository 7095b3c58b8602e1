"""Trips: for which points one is asked for, what the guard says, and until when it is valid.
Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time
from zoneinfo import ZoneInfo

from daemon.control.authority import Authority
from daemon.control.commands import TRIP_EXPIRY
from daemon.control.facts import PointFacts, facts_for_guard, facts_of_nobody
from daemon.control.guard import (
    ANNOUNCED_FOR,
    Facts,
    Notice,
    Policy,
    Verdict,
    approvals_needed,
    evaluate,
    snapshot,
)
from daemon.control.sources import FarEnd


@dataclass(frozen=True, slots=True)
class GuardedTrip:
    """What the guard says of a trip, with all it looked at.

    `snapshot` is stored with the command, for an auditor who replays it."""

    point: PointFacts
    policy: Policy
    facts: Facts
    verdict: Verdict

    @property
    def snapshot(self) -> dict[str, object]:
        """All inputs and the verdict; made only where it is stored."""
        return snapshot(self.policy, self.facts, self.verdict)

    @property
    def is_allowed(self) -> bool:
        """No rule of the guard fails."""
        return self.verdict.decision == "allow"


def is_trip_due(point: PointFacts) -> bool:
    """Whether money or an order asks for a trip; the guard has not been heard yet."""
    is_wanted = point.credit_state == "exhausted" or point.ordered is not None
    return is_wanted and point.supply_state == "energised"


def guard_trip(
    point: PointFacts, authority: Authority, now: datetime, far_end: FarEnd | None = None
) -> GuardedTrip:
    """Hear the guard. I2: it is heard when a trip is asked for, and again before every send.

    `far_end`: who would get the frame; None while it is only asked for."""
    facts = facts_for_guard(point, authority, now, far_end)
    policy = authority.policy_for(point.profile)
    return GuardedTrip(point, policy, facts, evaluate(policy, facts))


def waits_for_settling(trip: GuardedTrip) -> bool:
    """Whether all that speaks against a trip is that its account is being settled right now: in a
    moment the guard knows more."""
    is_being_settled = trip.point.newest_state in ("unsettled", "unjudged")
    return is_being_settled and trip.verdict.reasons == ("READING_NOT_PUBLISHED",)


def is_any_possible(policy: Policy, authority: Authority, now: datetime) -> bool:
    """Whether anybody may be cut by this policy now.

    The guard is heard about a supply of which all else speaks for it: what it denies then, it
    denies of every one. That the site only watches does not count: whom it would cut is told."""
    facts = facts_of_nobody(policy, authority, now)
    return evaluate(replace(policy, shadow=False), facts).decision != "deny"


def trip_expires_at(trip: GuardedTrip, zone: ZoneInfo, now: datetime) -> datetime:
    """When a trip that is allowed now is not sent any more.

    Control, command life cycle: 10 minutes after the guard was heard, never past the window's end
    (I12: in local time, also over a change of the clocks), the final notice's time or the
    approvals'."""
    ends = [now + TRIP_EXPIRY, *_limits(trip.policy, trip.facts)]
    if trip.policy.window_end != time.max and trip.facts.cause != "safety":
        # As an instant of today's date in the zone: wall time plus a difference would be off by an
        # hour on the day that the clocks change.
        today = now.astimezone(zone).date()
        ends.append(datetime.combine(today, trip.policy.window_end, zone))
    return min(ends)


def _limits(policy: Policy, facts: Facts) -> Iterator[datetime]:
    if approvals_needed(policy, facts):
        yield from (it.expires_at for it in facts.approvals if it.expires_at > facts.now)
    finals = [_span(it, policy) for it in facts.notices if it.kind == "final"]
    # One that allows no cut yet does not prolong one that still does.
    good = [span[1] for span in finals if span is not None and span[0] <= facts.now <= span[1]]
    if policy.final_required and good and facts.cause == "arrears":
        yield max(good)


def _span(notice: Notice, policy: Policy) -> tuple[datetime, datetime] | None:
    """From when to when a final notice allows a cut, both included; never while it is only sent."""
    at, planned = notice.delivered_at, notice.planned_at
    if at is None:
        return None
    begin, end = at + policy.final_min, at + policy.final_max
    if planned is None:
        return begin, end
    return max(begin, planned), min(end, planned + ANNOUNCED_FOR)
