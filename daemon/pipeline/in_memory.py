"""What waits in memory: the readings that meters can tell again, while the database stores."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from daemon.quality.arrival import Arrival, PolledFreeze


class InMemory:
    """A queue, and what was taken out of it and is not stored yet."""

    __slots__ = ("batch", "queue")

    def __init__(self) -> None:
        self.queue: deque[Arrival | PolledFreeze] = deque()
        self.batch: list[Arrival | PolledFreeze] = []

    def __len__(self) -> int:
        return len(self.queue) + len(self.batch)

    @property
    def oldest(self) -> datetime | None:
        """When the one that waits longest arrived; None without any."""
        firsts = [waiting[0].freeze.arrived_at for waiting in (self.batch, self.queue) if waiting]
        return min(firsts, default=None)

    def fill_batch(self, most: int) -> None:
        """Take out what is first, up to a batch of so many."""
        for _ in range(min(len(self.queue), most - len(self.batch))):
            self.batch.append(self.queue.popleft())

    def queue_batch_again(self) -> None:
        """The batch goes first again; it stays a batch too, for whoever is storing it."""
        self.queue.extendleft(reversed(self.batch))
