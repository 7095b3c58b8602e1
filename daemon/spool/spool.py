"""The bounded set of files in which readings wait for a database that cannot store them."""

from __future__ import annotations

import fcntl
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

import structlog

from daemon import metrics
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.spool.record import WaitingReading, framed, waiting
from daemon.spool.segment import Segment
from protocols.errors import MeterdError

log = structlog.get_logger("spool")

SEGMENT_BYTES: Final = 2**20
"""A file is closed at this size: so much is dropped at once, and so much may be stored again."""
LEAST_SEGMENTS: Final = 16
"""A small bound is divided into so many files."""
WRITTEN_AT_ONCE: Final = 64


class Kind(Enum):
    """Whether a meter can tell a reading again, and how metrics and logs call it."""

    AGAIN = "with_memory"
    ONCE = "without_memory"


NAME: Final = re.compile(
    rf"(?P<number>\d{{12}})-(?P<kind>{'|'.join(kind.value for kind in Kind)})\.spool"
)


class SpoolInUse(MeterdError):
    """Another daemon has this data directory. The operator acts."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Some readings, those of one kind in the order of their arrival.

    `pieces`: of which files they are, how many of each, and where these end in it."""

    readings: Sequence[WaitingReading]
    pieces: Sequence[tuple[Segment, int, int]]


def kind_of(arrival: Arrival | PolledFreeze) -> Kind:
    """ONCE for the freeze of a meter without memory, which the host read at midnight (R04)."""
    is_polled = isinstance(arrival, PolledFreeze)
    return Kind.AGAIN if is_polled or arrival.freeze.host_offset is None else Kind.ONCE


class Spool:
    """Readings of both kinds, each in order of arrival, in at most `max_bytes`.

    When that is reached the oldest file of what meters can tell again goes first; what they cannot
    goes last. Every drop is counted, the first of a row is logged."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Heals what a former run left in the directory, which may take seconds."""
        self.dropped = dict.fromkeys(Kind, 0)
        """By kind, since the start."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // LEAST_SEGMENTS)
        self._segments: dict[Kind, deque[Segment]] = {kind: deque() for kind in Kind}
        self._open: dict[Kind, Segment] = {}
        """What is appended to."""
        self._unsynced: dict[Segment, None] = {}
        self._number = 0
        self._dropping: set[Kind] = set()
        for path in sorted(directory.iterdir()):
            name = NAME.fullmatch(path.name)
            if name is None:
                continue
            self._number = int(name["number"])
            segment = Segment.found(path)
            if segment is not None:
                self._segments[Kind(name["kind"])].append(segment)
        if self.readings:
            log.info("readings of a former run wait", readings=self.readings, bytes=self.size)

    # --- what is in it

    @property
    def readings(self) -> int:
        """Number of readings that are not stored."""
        return sum(segment.readings for segment in self._all())

    @property
    def size(self) -> int:
        """Bytes of its files, without what was set aside."""
        return sum(segment.size for segment in self._all())

    @property
    def is_half_full(self) -> bool:
        """True while more than half of what it may hold is taken."""
        return 2 * self.size > self._max_bytes

    @property
    def max_bytes(self) -> int:
        """How much it may hold."""
        return self._max_bytes

    @property
    def free_bytes(self) -> int | None:
        """Room on its disk for one without privileges; None where its directory cannot be seen."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    @property
    def oldest(self) -> datetime | None:
        """When the oldest arrived; None while it is empty."""
        firsts = [queue[0].oldest for queue in self._segments.values() if queue]
        return min((first for first in firsts if first is not None), default=None)

    def unstored(self) -> Iterator[WaitingReading]:
        """Every reading that is not stored now. May be iterated in a thread."""
        return _unstored(self._all())

    def _all(self) -> list[Segment]:
        return [segment for queue in self._segments.values() for segment in queue]

    # --- the way in

    def append(self, arrivals: Sequence[Arrival | PolledFreeze]) -> None:
        """Write these behind the others: no kill takes them, nor after `syncing` a power cut.

        OSError if the disk does not take them; some of them may be written then."""
        for kind in Kind:
            of_kind = [arrival for arrival in arrivals if kind_of(arrival) is kind]
            for first in range(0, len(of_kind), WRITTEN_AT_ONCE):
                self._write(kind, of_kind[first : first + WRITTEN_AT_ONCE])

    def syncing(self) -> Callable[[], None]:
        """What makes all that was appended until now durable; the call may run in a thread."""
        descriptors = [segment.descriptor() for segment in self._unsynced]
        for segment in self._unsynced:
            if segment not in self._open.values():
                segment.close()
        self._unsynced.clear()
        return lambda: _sync(self._directory, descriptors)

    def _write(self, kind: Kind, arrivals: Sequence[Arrival | PolledFreeze]) -> None:
        frames = b"".join(framed(waiting(arrival)) for arrival in arrivals)
        if not self._make_room(kind, len(frames)):
            self._count_drop(kind, len(arrivals))
            return
        segment = self._segment_for(kind, len(frames))
        is_new = segment.size == 0
        try:
            segment.append(frames, len(arrivals), arrivals[0].freeze.arrived_at)
        except OSError:
            if is_new:
                segment.remove()
            raise
        if is_new:
            self._segments[kind].append(segment)
            self._open[kind] = segment
        self._unsynced[segment] = None

    def _segment_for(self, kind: Kind, size: int) -> Segment:
        """The open file if so much fits into it, else a new one."""
        segment = self._open.get(kind)
        if segment is not None:
            if segment.size + size <= self._segment_bytes:
                return segment
            del self._open[kind]
            if segment not in self._unsynced:
                segment.close()
        self._number += 1
        return Segment(self._directory / f"{self._number:012d}-{kind.value}.spool")

    # --- when it is full

    def _make_room(self, kind: Kind, size: int) -> bool:
        """Drop what may go for a reading of this kind; False if there is no room even then."""
        victims = (Kind.AGAIN,) if kind is Kind.AGAIN else (Kind.AGAIN, Kind.ONCE)
        for victim in victims:
            while self.size + size > self._max_bytes and self._segments[victim]:
                segment = self._segments[victim][0]
                self._count_drop(victim, segment.readings)
                self._remove(segment)
        return self.size + size <= self._max_bytes

    def _count_drop(self, kind: Kind, readings: int) -> None:
        self.dropped[kind] += readings
        metrics.SPOOL_DROPPED.labels(kind.value).inc(readings)
        if kind not in self._dropping:
            self._dropping.add(kind)
            fate = "read again later" if kind is Kind.AGAIN else "lost"
            log.error("spool full, readings dropped", kind=kind.value, fate=fate)

    # --- the way out

    def next(self, most: int) -> Portion | None:
        """The next readings that were not given yet, at most so many; None at the end.

        What cannot be told again comes first."""
        readings: list[WaitingReading] = []
        pieces = []
        for kind in (Kind.ONCE, Kind.AGAIN):
            for segment in self._segments[kind]:
                if len(readings) == most:
                    break
                found = segment.read(most - len(readings))
                readings += found
                pieces.append((segment, len(found), segment.read_until))
        portion = Portion(readings, pieces)
        if readings:
            return portion
        # What is left, if anything, was damaged after it had been written.
        self.forget(portion)
        return None

    def put_back(self, portion: Portion) -> None:
        """They could not be stored: they are the next again."""
        for segment, _, _ in portion.pieces:
            segment.read_until = segment.stored_until

    def forget(self, portion: Portion) -> None:
        """They are stored."""
        for segment, count, until in portion.pieces:
            segment.stored_until = until
            segment.readings -= count
            if segment.stored_until == segment.size:
                self._remove(segment)
        if self._dropping and not self.is_half_full:
            self._dropping.clear()
            log.info("spool has room again", dropped=sum(self.dropped.values()))

    def _remove(self, segment: Segment) -> None:
        """Its readings are stored or dropped; it may be the one that is appended to."""
        for kind, queue in self._segments.items():
            if segment in queue:
                queue.remove(segment)
            if self._open.get(kind) is segment:
                del self._open[kind]
        self._unsynced.pop(segment, None)
        segment.remove()


@contextmanager
def open_spool(directory: Path, max_bytes: int) -> Iterator[Spool]:
    """The spool in this directory, which is made if need be.

    SpoolInUse if another daemon has it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolInUse(f"another meterd uses {directory}; stop it first") from None
        yield Spool(directory, max_bytes)


def _unstored(segments: Sequence[Segment]) -> Iterator[WaitingReading]:
    for segment in segments:
        with suppress(FileNotFoundError):  # it was stored or dropped meanwhile
            yield from segment.unstored()


def _sync(directory: Path, descriptors: Sequence[int | None]) -> None:
    """Sync and close these, and the names of the files."""
    try:
        for descriptor in descriptors:
            if descriptor is not None:
                os.fdatasync(descriptor)
    finally:
        for descriptor in descriptors:
            if descriptor is not None:
                os.close(descriptor)
    names = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(names)
    finally:
        os.close(names)
