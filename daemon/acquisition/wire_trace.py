"""The live frames of one line: into the log, and to those who watch (`meterd trace`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.channels.conversation import Wire

Watcher = Callable[[str, str], None]
"""(tx or rx, the bytes as hex digits or words instead of a password)."""


class WireTrace:
    """Stands where a Conversation wants a logger for its wire trace."""

    __slots__ = ("_log", "watchers")

    def __init__(self, log: Wire | None) -> None:
        self._log = log
        self.watchers: set[Watcher] = set()

    @property
    def is_open(self) -> bool:
        """True while there is a log or a watcher: bytes that are not shown are not formatted."""
        return self._log is not None or bool(self.watchers)

    def info(self, event: str, **fields: Any) -> None:
        """One piece of bytes, `direction` and `bytes` as the Conversation shows it."""
        if self._log is not None:
            self._log.info(event, **fields)
        for watcher in tuple(self.watchers):
            watcher(fields["direction"], fields["bytes"])
