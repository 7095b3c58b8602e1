"""Faults as values: what goes wrong on the way between a meter and its reader.

They are seeded and so repeatable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from protocols.dlt645.frame import Frame, encode
from simulators.state.seeded import below, happens, random_bits

FaultKind = Literal[
    "lost_request",
    "lost_answer",
    "noise_before",
    "noise_after",
    "noise_instead",
    "wrong_checksum",
    "late",
    "foreign",
    "duplicate",
    "split",
    "echo",
    "retained",
]
KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
LONGEST_NOISE: Final = 24
LATE_MS: Final = 3000
SPLIT_GAP_MS: Final = 40
_FRAME_BYTES: Final = b"\x68\x16\xfe\xff"


@dataclass(frozen=True, slots=True)
class Fault:
    """A mishap of some of the requests.

    `every`: of each Nth request only. `permille`: of that many of 1000, at random. `delay_ms`: how
    much later a late answer comes, or the pause between the pieces of a split one."""

    kind: FaultKind
    every: int = 1
    permille: int = 1000
    delay_ms: int | None = None

    def strikes(self, key: int, request_number: int) -> bool:
        """True when it happens to this request (counted from 1).

        `key` is the series of random numbers of the place it is at."""
        if request_number % self.every:
            return False
        own_key = key ^ KINDS.index(self.kind)
        return happens(own_key, request_number, self.permille)

    def delay_or(self, usual_ms: int) -> int:
        """Its delay in ms, the usual one when none was given."""
        return usual_ms if self.delay_ms is None else self.delay_ms


class Piece(NamedTuple):
    """Some bytes of an answer or of an echo.

    They come `after_ms` after the request's end (an echo) or after the moment at which an answer
    begins."""

    after_ms: int
    data: bytes


def strike(
    faults: Iterable[Fault],
    key: int,
    request_number: int,
) -> tuple[Fault, ...]:
    """The faults that happen to this request."""
    return tuple(fault for fault in faults if fault.strikes(key, request_number))


def spoil(
    answer: Frame,
    wake_up: int,
    faults: Sequence[Fault],
    key: int,
    other_address: str,
) -> list[Piece]:
    """The answer as it comes out of the line: its pieces, in order. `key` makes the noise."""
    if any(fault.kind == "foreign" for fault in faults):
        answer = answer._replace(address=other_address)
    return spoil_bytes(b"\xfe" * wake_up + encode(answer), faults, key)


def spoil_bytes(
    answer: bytes,
    faults: Sequence[Fault],
    key: int,
) -> list[Piece]:
    """Likewise, for the answer of any protocol, which must be foreign already if it is to be."""
    pieces = [Piece(0, answer)]
    for number, fault in enumerate(faults):
        pieces = _spoilt(pieces, fault, noise(key, number))
    return pieces


def noise(key: int, number: int) -> bytes:
    """1 to LONGEST_NOISE bytes that are no frame.

    They are rich in 68, 16 and FE: what mistakes are made with."""
    first = 31 * number
    length = 1 + below(key, first, LONGEST_NOISE)
    entries = range(first + 1, first + 1 + length)
    return bytes(_noise_byte(random_bits(key, entry)) for entry in entries)


def _noise_byte(bits: int) -> int:
    is_of_a_frame = bits >> 8 & 3 == 0
    return _FRAME_BYTES[bits & 3] if is_of_a_frame else bits >> 16 & 0xFF


def _spoilt(
    pieces: list[Piece],
    fault: Fault,
    noise: bytes,
) -> list[Piece]:
    match fault.kind:
        case "lost_answer":
            return []
        case "noise_before":
            return [Piece(0, noise), *pieces]
        case "noise_after":
            return [*pieces, Piece(_end_ms(pieces), noise)]
        case "noise_instead":
            return [Piece(0, noise)]
        case "wrong_checksum":
            return _with_wrong_checksums(pieces)
        case "late":
            return _later(pieces, fault.delay_or(LATE_MS))
        case "duplicate":
            return pieces * 2
        case "split":
            return _split(pieces, fault.delay_or(SPLIT_GAP_MS))
    return pieces  # the others happen to the request, or to the answer before it is encoded


def _end_ms(pieces: list[Piece]) -> int:
    return pieces[-1].after_ms if pieces else 0


def _with_wrong_checksums(pieces: list[Piece]) -> list[Piece]:
    return [Piece(after_ms, _wrong_checksum(data)) for after_ms, data in pieces]


def _wrong_checksum(data: bytes) -> bytes:
    if len(data) <= 2:
        return data
    checksum = data[-2] ^ 0x5A
    return data[:-2] + bytes((checksum,)) + data[-1:]


def _later(pieces: list[Piece], delay_ms: int) -> list[Piece]:
    return [Piece(after_ms + delay_ms, data) for after_ms, data in pieces]


def _split(pieces: list[Piece], gap_ms: int) -> list[Piece]:
    """Three pieces of each."""
    parts = []
    for after_ms, data in pieces:
        third = max(1, len(data) // 3)
        for number in range(3):
            begin = number * third
            part = data[begin:] if number == 2 else data[begin : begin + third]
            parts.append(Piece(after_ms + number * gap_ms, part))
    return [piece for piece in parts if piece.data]
