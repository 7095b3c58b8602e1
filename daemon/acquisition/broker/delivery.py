"""Which messages of a gateway wait until their readings are safe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

from daemon.acquisition.parts import ReadingSink
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze, RelayRead
from daemon.quality.freeze import freeze_day

Slot = tuple[int, date]
"""(meter id, day)."""


class Delivery:
    """A ReadingSink that remembers what was submitted until it is safe.

    A message is acknowledged when its reading is in the database, or on disk while that cannot
    store: until then the broker keeps it, so neither a crash nor a lost broker loses one, and one
    that comes twice changes nothing.
    """

    __slots__ = ("_sink", "_unstored")

    def __init__(self, sink: ReadingSink) -> None:
        self._sink = sink
        self._unstored: dict[Slot, list[Callable[[], None]]] = {}
        """From the moment a value is submitted until it is safe: what acknowledges the messages
        that wait for it."""

    def submit(self, arrival: Arrival | PolledFreeze) -> bool:
        """See ReadingSink."""
        freeze = arrival.freeze
        day = freeze_day(freeze.frozen_at)
        # It fills no slot, so `safe` never comes for it.
        if day is None:
            return self._sink.submit(arrival)
        slot = (arrival.meter.meter_id, day)
        is_new = slot not in self._unstored
        # Before it is handed on: it may be safe before that returns. Where there is no room it is
        # submitted again, and a message that brings the same value meanwhile waits with it.
        self._unstored.setdefault(slot, [])
        try:
            return self._sink.submit(arrival)
        except BaseException:
            if is_new:
                del self._unstored[slot]
            raise

    def identified(self, read: IdentityRead) -> bool:
        """See ReadingSink."""
        return self._sink.identified(read)

    def relay_seen(self, read: RelayRead) -> bool:
        """See ReadingSink."""
        return self._sink.relay_seen(read)

    def keep(self, slot: Slot, acknowledge: Callable[[], None]) -> bool:
        """Let a message wait for a slot's value; False if that is safe already."""
        waiting = self._unstored.get(slot)
        if waiting is None:
            return False
        waiting.append(acknowledge)
        return True

    def safe(self, slot: Slot) -> None:
        """The slot's value cannot be lost any more: the broker may forget what brought it."""
        for acknowledge in self._unstored.pop(slot, ()):
            acknowledge()

    def rebuild(self, present: Mapping[int, int], newest: date) -> None:
        """See Line. What waits and is stored is acknowledged."""
        for meter_id, day in list(self._unstored):
            age = (newest - day).days
            if age < 0:
                continue
            bitmap = present.get(meter_id, 0)
            if bitmap >> age & 1:
                self.safe((meter_id, day))

    def forget_messages(self) -> None:
        """The connection is another one: the broker sends again what was not acknowledged."""
        for waiting in self._unstored.values():
            waiting.clear()
