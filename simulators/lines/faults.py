"""Faults as values: what goes wrong on the way between a meter and its reader, seeded and so
repeatable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from protocols.dlt645.frame import Frame, encode
from simulators.state.seeded import below, happens, throw

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


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with some of the requests.

    `every`: with each Nth request only. `permille`: with that many of 1000, by chance. `delay_ms`:
    how much later a late answer comes, or the pause between the pieces of a split one."""

    kind: FaultKind
    every: int = 1
    permille: int = 1000
    delay_ms: int | None = None

    def strikes(self, key: int, request_number: int) -> bool:
        """Does it happen to this request (counted from 1)? `key` is the series of chance of the
        place it is at."""
        return request_number % self.every == 0 and happens(
            key ^ KINDS.index(self.kind), request_number, self.permille
        )


class Piece(NamedTuple):
    """Some bytes, `after_ms` after the request's end (an echo) or after the moment at which an
    answer begins."""

    after_ms: int
    data: bytes


def strike(faults: Iterable[Fault], key: int, request_number: int) -> tuple[Fault, ...]:
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


def spoil_bytes(answer: bytes, faults: Sequence[Fault], key: int) -> list[Piece]:
    """Likewise, for the answer of any protocol, which must be foreign already if it is to be."""
    pieces = [Piece(0, answer)]
    for number, fault in enumerate(faults):
        match fault.kind:
            case "lost_answer":
                pieces = []
            case "noise_before":
                pieces = [Piece(0, noise(key, number)), *pieces]
            case "noise_after":
                pieces = [*pieces, Piece(pieces[-1].after_ms if pieces else 0, noise(key, number))]
            case "noise_instead":
                pieces = [Piece(0, noise(key, number))]
            case "wrong_checksum":
                pieces = [Piece(after, _wrong_checksum(data)) for after, data in pieces]
            case "late":
                later = LATE_MS if fault.delay_ms is None else fault.delay_ms
                pieces = [Piece(after + later, data) for after, data in pieces]
            case "duplicate":
                pieces = [*pieces, *pieces]
            case "split":
                pieces = _split(pieces, SPLIT_GAP_MS if fault.delay_ms is None else fault.delay_ms)
            case _:
                pass
    return pieces


def noise(key: int, number: int) -> bytes:
    """1 to LONGEST_NOISE bytes that are no frame, rich in 68, 16 and FE: what mistakes are made
    with."""
    length = 1 + below(key, 31 * number, LONGEST_NOISE)
    bits = (throw(key, 31 * number + 1 + position) for position in range(length))
    return bytes(
        b"\x68\x16\xfe\xff"[bit & 3] if bit >> 8 & 3 == 0 else bit >> 16 & 0xFF for bit in bits
    )


def _wrong_checksum(data: bytes) -> bytes:
    return data[:-2] + bytes((data[-2] ^ 0x5A,)) + data[-1:] if len(data) > 2 else data


def _split(pieces: list[Piece], gap_ms: int) -> list[Piece]:
    """Three pieces of each."""
    parts = []
    for after, data in pieces:
        third = max(1, len(data) // 3)
        parts += [Piece(after, data[:third]), Piece(after + gap_ms, data[third : 2 * third])]
        parts += [Piece(after + 2 * gap_ms, data[2 * third :])]
    return [piece for piece in parts if piece.data]
