"""What decides about supply besides the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from daemon.control.breaker import Limits
from daemon.control.clocks import Clocks
from daemon.control.guard import Policy


@dataclass(slots=True)
class SiteHold:
    """What makes this daemon the only one to act.

    `token`: a number that grows each time anybody takes the site, and never repeats; 0 while it is
    lost. `last_session`: the database process that has the lock and its beginning, also when it is
    lost."""

    token: int = 0
    last_session: tuple[int, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """What decides about supply besides the facts."""

    policy: Policy
    zone: ZoneInfo
    """The site's: windows and days are local."""
    shadow_mode: bool
    """I16: no control frame leaves the process."""
    running_for: Callable[[], timedelta]
    """R99: the start holds trips back for a while, which no step of a clock shortens."""
    hold: SiteHold | None = None
    """None where no other process can exist."""
    profiles: Mapping[str, Policy] = field(default_factory=dict)
    """By name, for accounts that are not cut by the site's."""
    clocks: Clocks = field(default_factory=Clocks)
    limits: Limits = field(default_factory=Limits)
    """Beyond these the breaker opens; no setting raises them."""
    meter_alarm: bool = False
    """R88: the meter itself warns whose money is low."""

    def policy_for(self, profile: str | None) -> Policy:
        """Of an account with this profile; the site's where there is none of the name."""
        if profile is None:
            return self.policy
        return self.profiles.get(profile, self.policy)
