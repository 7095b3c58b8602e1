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
    """What decides about supply besides the facts."""

    policy: Policy
    zone: ZoneInfo
    """The site's: windows and days are local."""
    shadow_mode: bool
    """I16: no control frame leaves the process."""
    started_at: datetime
    """R99: the start holds trips back for a while."""
    hold: SiteHold | None = None
    """None where no other process can exist."""
