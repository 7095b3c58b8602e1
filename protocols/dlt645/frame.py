"""DL/T 645 link layer: one frame to bytes and a stream of bytes to frames.

A frame is 68 A0..A5 68 C L DATA CS 16. Its end follows from L; CS and 16H confirm it. A 16H inside
means nothing."""

from __future__ import annotations

from typing import Final, NamedTuple
from zlib import adler32

from protocols.errors import FrameError
from protocols.exchange import Skipped

START: Final = 0x68
END: Final = 0x16
WAKE_UP: Final = b"\xfe\xfe\xfe\xfe"
"""Sent before a request; any number of FE before a frame is accepted. Not part of the frame nor of
its checksum."""
OVERHEAD: Final = 12
HEADER: Final = 10
SECOND_START: Final = 7
"""Where the second 68H stands in a frame."""
LONGEST_READ: Final = 200
"""L of a read answer at the most (C8H). A longer frame with a good checksum is still accepted."""
EXACT_ADLER: Final = 256
"""Bytes whose sum surely stays below 65521 - 1: 256 x 255 does."""
MOST_NOISE_KEPT: Final = 65_536
"""A line that only babbles must not fill the memory: longer noise is reported in pieces."""
BROADCAST: Final = "999999999999"
ANY_ADDRESS: Final = "AAAAAAAAAAAA"

_ADD_33: Final = bytes((i + 0x33) & 0xFF for i in range(256))
_SUBTRACT_33: Final = bytes((i - 0x33) & 0xFF for i in range(256))
_ADDRESS_DIGITS: Final = frozenset("0123456789A")


class Frame(NamedTuple):
    """One frame. `address`: 12 digits as printed on the meter, most significant first; `data`
    without the +33H."""

    address: str
    control: int
    data: bytes = b""

    @property
    def function(self) -> int:
        """D4..D0 of the control byte."""
        return self.control & 0x1F

    @property
    def is_response(self) -> bool:
        """D7: sent by the meter."""
        return bool(self.control & 0x80)

    @property
    def is_abnormal(self) -> bool:
        """D6: the meter refuses."""
        return bool(self.control & 0x40)

    @property
    def has_more(self) -> bool:
        """D5: a follow-up frame exists."""
        return bool(self.control & 0x20)


def encode(frame: Frame) -> bytes:
    """The bytes from 68H to 16H, without wake-up. FrameError on an address that no meter has or
    over 255 data bytes."""
    if len(frame.address) != 12 or not _ADDRESS_DIGITS.issuperset(frame.address):
        raise FrameError(f"address {frame.address!r} is not 12 digits (A = any digit)")
    return raw(frame)


def raw(frame: Frame) -> bytes:
    """Like `encode`, for any 12 hexadecimal digits of address: the bytes that a decoded frame came
    from."""
    if len(frame.data) > 255:
        raise FrameError(f"{len(frame.data)} data bytes do not fit into one frame (at most 255)")
    body = b"".join(
        (
            b"\x68",
            bytes.fromhex(frame.address)[::-1],
            bytes((START, frame.control, len(frame.data))),
            frame.data.translate(_ADD_33),
        )
    )
    return body + bytes((checksum(body), END))


def subtract_33(data: bytes) -> bytes:
    """Data as they are meant, from data as they are sent: each byte has 33H added on the line."""
    return data.translate(_SUBTRACT_33)


def checksum(body: bytes | bytearray) -> int:
    """CS of the bytes from 68H on: their sum modulo 256.

    Adler-32 keeps 1 + the sum modulo 65521 in its lower half, which is the sum itself up to 256
    bytes, and is faster."""
    return (adler32(body) - 1 if len(body) <= EXACT_ADLER else sum(body)) & 0xFF


class Decoder:
    """Cuts a byte stream into frames, resynchronising after noise.

    After a wrong checksum or end ONE byte is dropped and the search goes on, so no noise hides a
    frame behind it. FE bytes directly before a frame are its wake-up and are not reported. The
    result does not depend on how the stream was split into `feed` calls."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = bytearray()
        self._reason = ""
        self._reason_at = 0
        """Where in `_dropped` the false start lies that gave the reason."""

    @property
    def pending(self) -> bool:
        """True while bytes are kept that may become a frame, or dropped ones are not yet
        reported."""
        return bool(self._kept or self._dropped)

    def feed(self, data: bytes) -> list[Frame | Skipped]:
        """Frames and skipped stretches that became certain with these bytes, in order of
        appearance."""
        if not self._kept and not self._dropped and (frame := _only_frame(data)):
            return [frame]
        self._kept += data
        return self._scan(at_end=False)

    def flush(self) -> list[Frame | Skipped]:
        """Treat what was kept as all there is: an unfinished frame is reported as truncated and
        searched for frames."""
        found = self._scan(at_end=True)
        if self._dropped:
            found.append(self._take(len(self._dropped)))
        return found

    def reset(self) -> None:
        """Forget everything kept."""
        self._kept.clear()
        self._take(len(self._dropped))

    def _scan(self, *, at_end: bool) -> list[Frame | Skipped]:
        found: list[Frame | Skipped] = []
        kept = self._kept
        start = 0
        while start < len(kept):
            next_start = kept.find(START, start)
            if next_start != start:
                next_start = len(kept) if next_start < 0 else next_start
                self._drop(found, kept[start:next_start], "noise")
                start = next_start
                continue
            length, reason = _look(kept, start)
            if length:
                self._report_before_frame(found)
                found.append(_frame(kept, start))
                start += length
            elif reason or at_end:
                unfinished = (
                    "bad_length" if _declared_length(kept, start) > LONGEST_READ else "truncated"
                )
                self._drop(found, kept[start : start + 1], reason or unfinished)
                start += 1
            else:
                break
        del kept[:start]
        return found

    def _drop(self, found: list[Frame | Skipped], data: bytearray, reason: str) -> None:
        """Keep dropped bytes together as one stretch; the failure of its first false start says
        most about it."""
        if not self._reason or (self._reason == "noise" and reason != "noise"):
            self._reason, self._reason_at = reason, len(self._dropped)
        self._dropped += data
        while len(self._dropped) >= MOST_NOISE_KEPT:
            found.append(self._take(MOST_NOISE_KEPT))
            self._reason = reason if self._dropped else ""

    def _report_before_frame(self, found: list[Frame | Skipped]) -> None:
        """FE at the end of the stretch is the frame's wake-up. A false start whose second 68H is
        the frame's own start was no damaged frame."""
        if len(self._dropped) - self._reason_at <= SECOND_START:
            self._reason = "noise"
        stretch = self._take(len(self._dropped))
        data = stretch.data.rstrip(WAKE_UP[:1])
        if data:
            found.append(Skipped(data, stretch.reason))

    def _take(self, count: int) -> Skipped:
        taken = Skipped(bytes(self._dropped[:count]), self._reason)
        del self._dropped[:count]
        self._reason, self._reason_at = "", 0
        return taken


def _only_frame(data: bytes) -> Frame | None:
    """The frame, if the bytes are one with its wake-up and nothing else: the usual case, told
    without the search."""
    body = data.lstrip(WAKE_UP[:1])
    if (
        len(body) < OVERHEAD
        or body[0] != START
        or body[SECOND_START] != START
        or body[9] + OVERHEAD != len(body)
        or body[-1] != END
        or checksum(body[:-2]) != body[-2]
    ):
        return None
    return _frame(body, 0)


def _declared_length(kept: bytearray, start: int) -> int:
    return (
        kept[start + 9]
        if start + HEADER <= len(kept) and kept[start + SECOND_START] == START
        else 0
    )


def _look(kept: bytearray, start: int) -> tuple[int, str]:
    """(length of the frame at `start`, "") when it is one; (0, reason) when it is none; (0, "")
    when more is needed."""
    have = len(kept) - start
    if have > SECOND_START and kept[start + SECOND_START] != START:
        return 0, "noise"
    if have < HEADER:
        return 0, ""
    length = kept[start + 9] + OVERHEAD
    if have < length:
        return 0, ""
    last = start + length - 1
    if checksum(kept[start : last - 1]) != kept[last - 1]:
        return 0, "bad_checksum"
    if kept[last] != END:
        return 0, "bad_end"
    return length, ""


def _frame(kept: bytes | bytearray, start: int) -> Frame:
    data_at = start + HEADER
    return Frame(
        kept[start + 6 : start : -1].hex().upper(),
        kept[start + 8],
        bytes(kept[data_at : data_at + kept[start + 9]].translate(_SUBTRACT_33)),
    )
