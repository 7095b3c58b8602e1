"""Which of a gateway and its devices are there, by their own reports or by a last will."""

from __future__ import annotations

import structlog

log = structlog.get_logger("gateway")


class Presence:
    """One gateway's. It counts as there until it reports otherwise."""

    __slots__ = ("_line", "away", "is_online")

    def __init__(self, line: str) -> None:
        self._line = line
        self.is_online = True
        """False while the gateway itself is gone."""
        self.away: set[str] = set()
        """Its devices that are."""

    def is_reachable(self, device: str) -> bool:
        """True if a command would get to this device at once."""
        return self.is_online and device not in self.away

    def note_gateway(self, *, is_online: bool) -> None:
        """The gateway came or went."""
        if is_online != self.is_online:
            write = log.info if is_online else log.warning
            write(
                "gateway presence",
                line=self._line,
                online=is_online,
            )
        self.is_online = is_online

    def note_device(self, device: str, *, is_online: bool) -> None:
        """One of its devices came or went."""
        if is_online:
            self.away.discard(device)
        else:
            self.away.add(device)
