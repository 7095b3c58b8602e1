"""What is wrong with a gateway's messages, logged once each."""

from __future__ import annotations

import structlog

log = structlog.get_logger("gateway")

MAX_COMPLAINTS = 50
"""A gateway that sends nonsense under ever new topics must not fill the memory, nor the log."""


class Complaints:
    """The complaints about one gateway."""

    __slots__ = ("_line", "_made")

    def __init__(self, line: str) -> None:
        self._line = line
        self._made: set[str] = set()

    def complain(
        self,
        about: str,
        what: str,
        error: str,
    ) -> None:
        """Log it as a warning, unless there was one `about` the same."""
        if about in self._made or len(self._made) >= MAX_COMPLAINTS:
            return
        self._made.add(about)
        log.warning(
            what,
            line=self._line,
            error=error,
        )
        if len(self._made) == MAX_COMPLAINTS:
            log.warning("what else is wrong is counted and not told", line=self._line)
