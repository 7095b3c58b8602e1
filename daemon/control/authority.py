"""What decides about supply besides the facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from daemon.control.guard import Policy


@dataclass(slots=True)
class SiteHold:
    """The database process whose lock makes this daemon the only one to act; 0 while it is lost."""

    database_process: int = 0


@dataclass(frozen=True, slots=True)
class Authority:
    """What decides about supply besides the facts: the policy, the site's zone, shadow mode, the
    daemon's start, and the hold on the site (None where no other process can exist)."""

    policy: Policy
    zone: ZoneInfo
    shadow_mode: bool
    started_at: datetime
    hold: SiteHold | None = None
