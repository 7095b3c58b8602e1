"""Since when a line's way is closed, and what of that is not written down yet."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from storage.gaps import Failures, Outage


class LineOutage:
    """The outage of one line: it begins down."""

    __slots__ = ("_line", "_next_at", "_since", "_written", "tries")

    def __init__(self, line: str, since: datetime) -> None:
        self.tries = 0
        """To open the way, in vain."""
        self._line = line
        self._since: datetime | None = since
        self._next_at: datetime | None = None
        self._written: Outage | Literal["none", "unknown"] = "unknown"
        """What was written down last; a former run may have left anything."""

    def turn(self, down_since: datetime | None) -> None:
        """The way was closed at this moment, or is open: None."""
        self._since = down_since
        self.tries = 0
        self._next_at = None

    def note_try(self, next_at: datetime) -> None:
        """The way could not be opened, or was lost; when that is tried next."""
        self.tries += 1
        self._next_at = next_at

    def drain(self, failures: Failures, reason: str) -> None:
        """Add what is new since the last time. `reason`: why the line is down, if it is."""
        outage = self._now(reason)
        if outage is None and self._written != "none":
            failures.ended.append(self._line)
        elif outage is not None and self._written != outage:
            failures.outages.append(outage)
        self._written = outage or "none"

    def write_again(self) -> None:
        """How it is could not be written down."""
        self._written = "unknown"

    def _now(self, reason: str) -> Outage | None:
        if self._since is None:
            return None
        return Outage(
            line=self._line,
            since=self._since,
            tries=self.tries,
            reason=reason,
            next_at=self._next_at,
        )
