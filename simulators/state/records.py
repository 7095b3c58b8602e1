"""Event records of a simulated meter, in wire order.

How often something happened to it, and the last ten times."""

from __future__ import annotations

from datetime import datetime
from typing import Final

KEPT: Final = 10
"""Records of one kind that are kept; the counter goes on."""
POWER_FAILURE: Final = "0311"
PROGRAMMING: Final = "033000"
METER_CLEAR: Final = "033001"
DEMAND_CLEAR: Final = "033002"
EVENT_CLEAR: Final = "033003"
CLOCK_SET: Final = "033004"
TRIP: Final = "1D00"
CLOSE: Final = "1E00"
"""Kinds of event, by how their identifiers begin."""
PROGRAMMED: Final = (
    ("04010000", "033006"),  # time zones
    ("04020000", "033006"),  # time zones
    ("040100", "033005"),  # day tables
    ("040200", "033005"),  # day tables
    ("040008", "033007"),  # rest day
    ("040300", "033008"),  # holiday
    ("04000601", "033009"),  # active combination
    ("04000602", "03300A"),  # reactive combination 1
    ("04000603", "03300B"),  # reactive combination 2
    ("04000B", "03300C"),  # settlement day
)
"""What is counted besides when a parameter is written whose identifier begins so."""
ALL: Final = "FFFFFFFF"
_NEVER_CLEARED: Final = (METER_CLEAR, EVENT_CLEAR)


class Records:
    """The records of one meter, by kind of event."""

    def __init__(self) -> None:
        self.power_failures_since = datetime.min  # noqa: DTZ901
        """Power failures follow from the midnights without power; these count since then."""
        self._counts: dict[str, int] = {}
        self._newest_first: dict[str, list[bytes]] = {}

    def add(self, kind: str, record: bytes = b"") -> None:
        """One more event of a kind."""
        self._counts[kind] = self.count(kind) + 1
        earlier = self._newest_first.get(kind, [])
        self._newest_first[kind] = [record, *earlier[: KEPT - 1]]

    def count(self, kind: str) -> int:
        """Number of events since the records were cleared."""
        return self._counts.get(kind, 0)

    def last(self, kind: str, number: int) -> bytes | None:
        """The record with that number (1 is the newest)."""
        records = self._newest_first.get(kind, [])
        return records[number - 1] if 0 < number <= len(records) else None

    def clear(self, at: datetime, identifier: str = ALL) -> None:
        """Forget all events or one class, DI3 DI2 DI1 FF.

        That the meter or its events were cleared stays."""
        for kind in list(self._counts):
            if kind not in _NEVER_CLEARED and _is_cleared_by(identifier, kind):
                del self._counts[kind]
                del self._newest_first[kind]
        if _is_cleared_by(identifier, POWER_FAILURE):
            self.power_failures_since = at


def _is_cleared_by(identifier: str, kind: str) -> bool:
    return identifier == ALL or identifier.startswith(kind)
