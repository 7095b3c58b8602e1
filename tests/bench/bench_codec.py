"""Encode and decode of DL/T 645-2007 against the PyPI package `dlt645`, interleaved in one run.

Run it: `python tests/bench/bench_codec.py`. The work is one poll of a daily freeze: the request 4 x
FE + 16 bytes, the answer 4 x FE + 36 bytes with five energies. Judge the ratios; absolute times are
those of one machine on one day."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from dlt645.common.transform import bcd_to_float
from dlt645.protocol.protocol import DLT645Protocol

from protocols.dlt645.bcd import decode_registers
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import WAKE_UP, Decoder, Frame, encode
from protocols.dlt645.prepared.energies import decode_registers as decode_batch
from protocols.dlt645.prepared.one import PreparedEnergies, PreparedMeter
from protocols.dlt645.values import decode_values

ROUNDS = 15
CALLS = 2_000
BATCH = 10_000
IDENTIFIER = "05060101"
IDENTIFIER_WIRE = bytes.fromhex(IDENTIFIER)[::-1]
ADDRESS = "123456789012"
ADDRESS_WIRE = bytes.fromhex(ADDRESS)[::-1]
ENERGIES = ("56341200", "78560000", "12340000", "90120000", "56780000")
REGISTERS = bytes.fromhex("".join(ENERGIES))
ANSWER = WAKE_UP + encode(Frame(ADDRESS, 0x91, IDENTIFIER_WIRE + REGISTERS))
REQUEST = WAKE_UP + encode(Frame(ADDRESS, 0x11, IDENTIFIER_WIRE))
PREPARED = PreparedEnergies(IDENTIFIER)
METER = PreparedMeter(ADDRESS)
REPLY_HEAD = PREPARED.reply_head(METER)
STORED = [
    encode(
        Frame(f"{number:012d}", 0x91, IDENTIFIER_WIRE + bytes.fromhex(f"{number:08d}")[::-1] * 5)
    )
    for number in range(BATCH)
]
JOINED = b"".join(STORED)


def our_request() -> bytes:
    return CODEC_2007.encode(Frame(ADDRESS, 0x11, IDENTIFIER_WIRE))


def our_prepared_request() -> bytes:
    return PREPARED.request(METER)


def their_request() -> bytes:
    return bytes(DLT645Protocol.build_frame(ADDRESS_WIRE, 0x11, IDENTIFIER_WIRE))


def our_frame() -> Frame:
    (frame,) = Decoder().feed(ANSWER)
    assert isinstance(frame, Frame)
    return frame


def their_frame() -> object:
    return DLT645Protocol.deserialize(ANSWER)


def our_prepared_energies() -> object:
    return PREPARED.energies(REPLY_HEAD, ANSWER)


def our_energies() -> object:
    (frame,) = Decoder().feed(ANSWER)
    return decode_registers(frame.data[4:])


def our_named_values() -> object:
    (frame,) = Decoder().feed(ANSWER)
    return decode_values(IDENTIFIER, frame.data[4:])


def their_energies() -> list[object]:
    data = DLT645Protocol.deserialize(ANSWER).data
    return [
        bcd_to_float(data[start : start + 4], "XXXXXX.XX", "little") for start in range(4, 24, 4)
    ]


def our_batch() -> object:
    return decode_batch(JOINED, IDENTIFIER, registers=5)


def our_batch_of_pieces() -> object:
    return decode_batch(b"".join(STORED), IDENTIFIER, registers=5)


def our_batch_of_integers() -> object:
    return decode_batch(b"".join(STORED), IDENTIFIER, registers=5).hundredths.tolist()


PAIRS: list[tuple[str, int, Callable[[], object], Callable[[], object], int]] = [
    ("encode a request, prepared", 20, our_prepared_request, their_request, 1),
    ("decode an answer to five energies, prepared", 25, our_prepared_energies, their_energies, 1),
    ("encode a request, general", 0, our_request, their_request, 1),
    ("decode an answer to a frame, general", 5, our_frame, their_frame, 1),
    ("... and five energies (`Decimal`)", 5, our_energies, their_energies, 1),
    ("... and five named values with units", 0, our_named_values, their_energies, 1),
    (
        "decode 10,000 stored answers with numpy, each",
        100,
        our_batch_of_pieces,
        their_energies,
        BATCH,
    ),
    ("... of one recording", 0, our_batch, their_energies, BATCH),
    ("... and made Python integers", 0, our_batch_of_integers, their_energies, BATCH),
]
"""(what, the goal as a factor, ours, theirs, how many answers one call of ours decodes)"""


def microseconds(call: Callable[[], object], calls: int, of_each: int) -> float:
    """CPU time of one call, or of one answer of those that a call decodes."""
    start = time.process_time_ns()
    for _ in range(calls):
        call()
    return (time.process_time_ns() - start) / calls / of_each / 1000


def measure() -> list[tuple[str, int, float, float, float]]:
    """(what, goal, ours, theirs, ratio): medians over the rounds, ours and theirs measured in
    turn."""
    rows: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what, *_ in PAIRS}
    for _ in range(ROUNDS):
        for what, _, ours, theirs, of_each in PAIRS:
            rows[what][0].append(microseconds(ours, 4 if of_each > 1 else CALLS, of_each))
            rows[what][1].append(microseconds(theirs, CALLS // 4, 1))
    return [
        (
            what,
            goal,
            statistics.median(rows[what][0]),
            statistics.median(rows[what][1]),
            statistics.median(their / our for our, their in zip(*rows[what], strict=True)),
        )
        for what, goal, *_ in PAIRS
    ]


def main() -> None:
    """Prove that both do the same work, then print the table as it stands in docs/speed.md."""
    assert our_request() == our_prepared_request() == their_request() == REQUEST
    energies = their_energies()
    assert [float(str(energy)) for energy in our_energies()] == energies  # type: ignore[attr-defined]
    assert [energy / 100 for energy in our_prepared_energies()] == energies  # type: ignore[attr-defined]
    assert our_batch_of_integers() == [[number] * 5 for number in range(BATCH)]
    print(
        f"{datetime.now(UTC).date()}, CPython {platform.python_version()}, medians of {ROUNDS} rounds\n"
    )
    print("| work | meterd us | dlt645 us | times as fast | goal |")
    print("|---|---:|---:|---:|---:|")
    for what, goal, ours, theirs, ratio in measure():
        print(f"| {what} | {ours:.3f} | {theirs:.2f} | {ratio:.1f} | {goal or '-'} |")


if __name__ == "__main__":
    main()
