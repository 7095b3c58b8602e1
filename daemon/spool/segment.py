"""One file of the spool: the newest of its kind is appended to, the oldest is read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from daemon import metrics
from daemon.spool.record import Span, UnknownRecord, WaitingReading, decode, spans

log = structlog.get_logger("spool")

BAD_SUFFIX: Final = ".bad"


class Segment:
    """A file of records, and how much of it is read and stored. `readings`: not stored yet."""

    __slots__ = ("_descriptor", "oldest", "path", "read_until", "readings", "size", "stored_until")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.readings = 0
        self.oldest: datetime | None = None
        """When the first of them arrived."""
        self.read_until = 0
        self.stored_until = 0
        self._descriptor: int | None = None

    @classmethod
    def found(cls, path: Path) -> Segment | None:
        """What a former run left, healed; None, and no file, if no reading is in it.

        A torn tail is cut; what is damaged or unknown is set aside in a file beside it."""
        segment = cls(path)
        data = path.read_bytes()
        kept = bytearray()
        end = 0
        for span in spans(data):
            end = span.end
            reading = _reading(span)
            if reading is None:
                _set_aside(path, data[span.start : span.end])
                continue
            kept += data[span.start : span.end]
            segment.readings += 1
            segment.oldest = segment.oldest or reading.arrived_at
        if end < len(data):
            log.warning("torn record cut", file=path.name, bytes=len(data) - end)
        segment.size = len(kept)
        if not kept:
            path.unlink()
            return None
        if len(kept) < len(data):
            _replace(path, bytes(kept))
        return segment

    def append(self, frames: bytes, readings: int, arrived_at: datetime) -> None:
        """Write whole frames; OSError leaves the file as it was."""
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
        # At its place, not at the file's end: a write that failed before may have left a part.
        written = os.pwrite(self._descriptor, frames, self.size)
        if written < len(frames):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.size += written
        self.readings += readings
        self.oldest = self.oldest or arrived_at

    def descriptor(self) -> int | None:
        """A descriptor of one's own, to be synced and closed; None once nothing is appended."""
        return None if self._descriptor is None else os.dup(self._descriptor)

    def read(self, most: int) -> list[WaitingReading]:
        """The next readings, at most so many; they count as read."""
        found: list[WaitingReading] = []
        data = self._bytes(self.read_until)
        for span in spans(data):
            if len(found) == most:
                return found
            reading = _reading(span)
            if reading is None:
                _set_aside(self.path, data[span.start : span.end])
            else:
                found.append(reading)
            self.read_until += span.end - span.start
        self.read_until = self.size
        return found

    def unstored(self) -> Iterator[WaitingReading]:
        """All that are not stored yet; they do not count as read."""
        for span in spans(self._bytes(self.stored_until)):
            reading = _reading(span)
            if reading is not None:
                yield reading

    def close(self) -> None:
        """Nothing more is appended."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Its readings are stored, or dropped."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _bytes(self, start: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(self.size - start)


def _reading(span: Span) -> WaitingReading | None:
    """None for what is damaged, or written by another program."""
    if span.payload is None:
        return None
    try:
        return decode(span.payload)
    except UnknownRecord:
        return None


def _set_aside(path: Path, data: bytes) -> None:
    """Keep what cannot be read in a file beside it: a newer program, or a person, may."""
    aside = path.with_name(path.name + BAD_SUFFIX)
    with aside.open("ab") as file:
        file.write(data)
        os.fsync(file.fileno())
    metrics.SPOOL_BAD.inc()
    log.error("record cannot be read and is set aside", file=aside.name, bytes=len(data))


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    beside.replace(path)
