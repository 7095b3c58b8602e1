"""Event records of a simulated meter: how often something happened to it, and the last ten times,
in wire order."""

from __future__ import annotations

from typing import Final

KEPT: Final = 10
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
    ("04010000", "033006"),
    ("04020000", "033006"),
    ("040100", "033005"),
    ("040200", "033005"),
    ("040008", "033007"),
    ("040300", "033008"),
    ("04000601", "033009"),
    ("04000602", "03300A"),
    ("04000603", "03300B"),
    ("04000B", "03300C"),
)
"""What is counted besides when a parameter is written whose identifier begins so."""
ALL: Final = "FFFFFFFF"
_NEVER_CLEARED: Final = (METER_CLEAR, EVENT_CLEAR)


class Records:
    """The records of one meter, by kind of event."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[int, list[bytes]]] = {}

    def add(self, kind: str, record: bytes = b"") -> None:
        """It happened once more."""
        times, last = self._counted.get(kind, (0, []))
        self._counted[kind] = times + 1, [record, *last[: KEPT - 1]]

    def count(self, kind: str) -> int:
        """How often it happened since the records were cleared."""
        return self._counted.get(kind, (0, []))[0]

    def last(self, kind: str, number: int) -> bytes | None:
        """The record with that number (1 is the newest)."""
        last = self._counted.get(kind, (0, []))[1]
        return last[number - 1] if 0 < number <= len(last) else None

    def clear(self, identifier: str = ALL) -> None:
        """Forget all events or one class, DI3 DI2 DI1 FF; that the meter or its events were cleared
        stays."""
        for kind in list(self._counted):
            if kind not in _NEVER_CLEARED and is_in(kind, identifier):
                del self._counted[kind]


def is_in(kind: str, identifier: str) -> bool:
    """True when clearing the events of this identifier clears that kind."""
    return identifier == ALL or identifier.startswith(kind)
