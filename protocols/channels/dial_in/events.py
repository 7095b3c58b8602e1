"""What happens where terminals dial in."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final


class DialInEvent(StrEnum):
    """The value is the label of the metric and the key in the log."""

    ACCEPTED = "accepted"
    """A connection was taken."""
    ACCEPT_PAUSED = "accept_pauses"
    """Connections have to wait in the backlog: the rate limit, or too many are not registered."""
    REFUSED_ADDRESS = "refused_address"
    NO_DESCRIPTORS = "no_descriptors"
    TLS_FAILED = "tls_failed"
    REGISTERED = "registered"
    REGISTRATION_INVALID = "registration_timeouts"
    """No registration came, or not in time."""
    UNKNOWN = "unknown"
    """A terminal registered that is no line."""
    REPLACED = "replaced"
    """A terminal registered again while it still had a session: the older one ends."""
    REPLACED_FROM_ELSEWHERE = "replaced_from_elsewhere"
    """The same, and the newer session comes from another address."""
    CONTESTED = "contested"
    """A second caller said a terminal's id, and the session that is there answered a question: the
    caller is refused."""
    PING_PONG = "ping_pong"
    """Callers from several addresses replace each other again and again."""
    SOURCE_REFUSED = "source_refused"
    """A caller said a terminal's id without what is asked of those who speak for it."""
    OUTDATED = "outdated"
    """A connection registered after a newer one of the same terminal had: it ends."""
    SILENT = "silent_closed"
    FLOODED = "flooded"
    """A terminal sent heartbeats without end: it is hung up on."""
    CLOSED = "closed"
    """The session of a line ended, whoever closed it."""
    HEARTBEAT = "heartbeats"


COUNTED_ONLY: Final = frozenset(
    {
        DialInEvent.ACCEPTED,
        DialInEvent.ACCEPT_PAUSED,
        DialInEvent.OUTDATED,
        DialInEvent.HEARTBEAT,
    }
)
"""Too frequent, or too little to act on, to be told one by one."""

OnEvent = Callable[[DialInEvent, str, str], None]
"""(event, terminal or "" where it is not known, detail)."""


class DialInEvents:
    """Counts of all events since the listener was made.

    Those that are not COUNTED_ONLY are told to `on_event` too.
    """

    __slots__ = ("counts", "on_event")

    def __init__(self, on_event: OnEvent) -> None:
        # No Counter: its += takes three times as long (Python 3.11), and heartbeats are many.
        self.counts = dict.fromkeys(DialInEvent, 0)
        self.on_event = on_event

    def count(self, event: DialInEvent, times: int = 1) -> None:
        """Count an event that is COUNTED_ONLY."""
        self.counts[event] += times

    def report(self, event: DialInEvent, terminal: str, detail: str) -> None:
        """Count an event and tell it."""
        self.counts[event] += 1
        self.on_event(event, terminal, detail)
