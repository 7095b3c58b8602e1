"""DL/T 645 link layer: one frame to bytes and a stream of bytes to frames.

A frame is 68 A0..A5 68 C L DATA CS 16, in both versions. Its end follows from L; CS and 16H confirm
it. A 16H inside means nothing."""

from __future__ import annotations

from typing import Final, NamedTuple
from zlib import adler32

from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.frame_search import FrameSearch

START: Final = 0x68
END: Final = 0x16
FE: Final = b"\xfe"
# Meters were seen to send 0 to 4 FE before an answer: any number is accepted, four are sent.
WAKE_UP: Final = 4 * FE
"""Sent before a request. Not part of the frame nor of its checksum."""
OVERHEAD: Final = 12
"""Bytes of a frame without its data."""
HEADER: Final = 10
SECOND_START: Final = 7
"""Where the second 68H stands in a frame."""
LENGTH_AT: Final = 9
"""Where byte L stands in a frame."""
LONGEST_READ: Final = 200
"""L of a read answer at the most (C8H). A longer frame with a good checksum is still accepted."""
EXACT_ADLER: Final = 256
"""Bytes whose sum surely stays below 65521 - 1: 256 x 255 does."""
# Only the time (08) and freezes (16) are broadcast, and no meter answers.
BROADCAST: Final = "999999999999"
# A meter answers from its real address, never from AA..AA.
ANY_ADDRESS: Final = "AAAAAAAAAAAA"

# Every data byte has 33H added on the line; address, C, L and CS have not.
_ADD_33: Final = bytes(byte + 0x33 & 0xFF for byte in range(256))
_SUBTRACT_33: Final = bytes(byte - 0x33 & 0xFF for byte in range(256))
_ADDRESS_DIGITS: Final = frozenset("0123456789A")


class Frame(NamedTuple):
    """One frame.

    `address`: 12 digits as printed on the meter, most significant first; `data` without the
    +33H."""

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
    """The bytes from 68H to 16H, without wake-up.

    FrameError on an address that no meter has or over 255 data bytes."""
    if len(frame.address) != 12 or not _ADDRESS_DIGITS.issuperset(frame.address):
        raise FrameError(f"address {frame.address!r} is not 12 digits (A = any digit)")
    return raw(frame)


def raw(frame: Frame) -> bytes:
    """Like `encode`, for any 12 hexadecimal digits of address.

    These are the bytes that a decoded frame came from."""
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
    """Data as they are meant, from data as they are sent."""
    return data.translate(_SUBTRACT_33)


def checksum(body: bytes | bytearray) -> int:
    """CS of the bytes from 68H on: their sum modulo 256. It may be 00."""
    # Adler-32 keeps 1 + the sum modulo 65521 in its lower half, which is the sum itself up to 256
    # bytes, and is faster.
    if len(body) <= EXACT_ADLER:
        return adler32(body) - 1 & 0xFF
    return sum(body) & 0xFF


class Decoder(FrameSearch[Frame]):
    """Cuts a byte stream into frames, resynchronising after noise.

    FE bytes directly before a frame are its wake-up and are not reported."""

    def feed(self, data: bytes) -> list[Frame | Skipped]:
        """Frames and skipped stretches that became certain, in order of appearance."""
        if not self._kept and not self._dropped:
            frame = _only_frame(data)
            if frame is not None:
                return [frame]
        return super().feed(data)

    def _noise_ahead(self, start: int) -> int:
        place = self._kept.find(START, start)
        end = len(self._kept) if place < 0 else place
        return end - start

    def _look(self, start: int, *, at_end: bool) -> tuple[int, str, Frame | None]:
        length, reason = _look(self._kept, start)
        if length:
            return length, "", _frame(self._kept, start)
        if at_end and not reason:
            reason = "truncated"
            if _declared_length(self._kept, start) > LONGEST_READ:
                reason = "bad_length"
        return 0, reason, None

    def _report_dropped(self, found: list[Frame | Skipped]) -> None:
        """Without the wake-up of the frame that follows."""
        # A false start whose second 68H is the frame's own start was no damaged frame.
        if len(self._dropped) - self._reason_at <= SECOND_START:
            self._reason = "noise"
        stretch = self._take(len(self._dropped))
        data = stretch.data.rstrip(FE)
        if data:
            found.append(Skipped(data, stretch.reason))


def _only_frame(data: bytes) -> Frame | None:
    """The frame, if the bytes are one with its wake-up and nothing else.

    This is the usual case, decided without the search."""
    body = data.lstrip(FE)
    if len(body) < OVERHEAD or body[LENGTH_AT] + OVERHEAD != len(body):
        return None
    if body[0] != START or body[SECOND_START] != START or body[-1] != END:
        return None
    if checksum(body[:-2]) != body[-2]:
        return None
    return _frame(body, 0)


def _declared_length(kept: bytearray, start: int) -> int:
    """L, or 0 where it has not come yet or stands in no frame."""
    has_header = start + HEADER <= len(kept) and kept[start + SECOND_START] == START
    return kept[start + LENGTH_AT] if has_header else 0


def _look(kept: bytearray, start: int) -> tuple[int, str]:
    """The length of the frame at `start`, or the reason why there is none.

    Neither when more bytes are needed."""
    have = len(kept) - start
    if have > SECOND_START and kept[start + SECOND_START] != START:
        return 0, "noise"
    if have < HEADER:
        return 0, ""
    length = kept[start + LENGTH_AT] + OVERHEAD
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
    data_end = data_at + kept[start + LENGTH_AT]
    return Frame(
        kept[start + 6 : start : -1].hex().upper(),
        kept[start + 8],
        bytes(kept[data_at:data_end].translate(_SUBTRACT_33)),
    )
