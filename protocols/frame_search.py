"""The search for frames in a stream of bytes, as every decoder does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from protocols.exchange import Skipped

F = TypeVar("F")

MOST_NOISE_KEPT: Final = 65_536
"""Bytes. A line that only babbles must not fill the memory: longer noise is reported in pieces."""


class FrameSearch(ABC, Generic[F]):
    """Cuts a byte stream into frames, resynchronising after noise.

    After a false start ONE byte is dropped and the search goes on, so no noise hides a frame behind
    it for longer than until `flush`. The result does not depend on how the stream was split into
    `feed` calls."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = bytearray()
        self._reason = ""
        self._reason_at = 0
        """Where in `_dropped` the false start lies that gave the reason."""

    @abstractmethod
    def _look(self, start: int, *, at_end: bool) -> tuple[int, str, F | None]:
        """What stands at a place in `_kept`: length and frame, or the reason why there is none.

        Without either, more bytes are needed; never so when `at_end`: none follows."""

    @abstractmethod
    def _noise_ahead(self, start: int) -> int:
        """Bytes from this place on that are known to begin no frame; 0 where a look is due."""

    @property
    def pending(self) -> bool:
        """True while bytes may become a frame, or dropped ones are not yet reported."""
        return bool(self._kept or self._dropped)

    def feed(self, data: bytes) -> list[F | Skipped]:
        """Frames and skipped stretches that became certain, in order of appearance."""
        self._kept += data
        return self._scan(at_end=False)

    def flush(self) -> list[F | Skipped]:
        """Treat what was kept as all there is.

        An unfinished frame is reported as truncated and searched for frames."""
        found = self._scan(at_end=True)
        if self._dropped:
            found.append(self._take(len(self._dropped)))
        return found

    def reset(self) -> None:
        """Forget everything kept."""
        self._kept.clear()
        self._take(len(self._dropped))

    def _scan(self, *, at_end: bool) -> list[F | Skipped]:
        found: list[F | Skipped] = []
        start = 0
        while start < len(self._kept):
            noise = self._noise_ahead(start)
            if noise:
                self._drop(found, self._kept[start : start + noise], "noise")
                start += noise
                continue
            length, reason, frame = self._look(start, at_end=at_end)
            if frame is not None:
                if self._dropped:
                    self._report_dropped(found)
                found.append(frame)
                start += length
            elif reason:
                self._drop(found, self._kept[start : start + 1], reason)
                start += 1
            else:
                break
        del self._kept[:start]
        return found

    def _drop(self, found: list[F | Skipped], data: bytearray, reason: str) -> None:
        """Keep dropped bytes together as one stretch: its first false start says most about it."""
        if not self._reason or (self._reason == "noise" and reason != "noise"):
            self._reason = reason
            self._reason_at = len(self._dropped)
        self._dropped += data
        while len(self._dropped) >= MOST_NOISE_KEPT:
            found.append(self._take(MOST_NOISE_KEPT))
            self._reason = reason if self._dropped else ""

    def _report_dropped(self, found: list[F | Skipped]) -> None:
        """The stretch that ends where a frame begins."""
        found.append(self._take(len(self._dropped)))

    def _take(self, count: int) -> Skipped:
        taken = Skipped(bytes(self._dropped[:count]), self._reason)
        del self._dropped[:count]
        self._reason = ""
        self._reason_at = 0
        return taken
