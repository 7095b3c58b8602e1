"""Encode and decode of DL/T 645-2007 against the PyPI package `dlt645`, interleaved in one run.

Run it: `python tests/bench/bench_codec.py`. The work is one poll of a daily freeze: the request 4 x FE + 16 bytes, the
answer 4 x FE + 36 bytes with five energies. Judge the ratios; absolute times are those of one machine on one day.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from dlt645.common.transform import bcd_to_float
from dlt645.protocol.protocol import DLT645Protocol

from protocols.dlt645.bcd import decode_bcd
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import WAKE_UP, Decoder, Frame, encode
from protocols.dlt645.values import decode_values

ROUNDS = 9
CALLS = 2_000
IDENTIFIER = "05060101"
IDENTIFIER_WIRE = bytes.fromhex(IDENTIFIER)[::-1]
ADDRESS = "123456789012"
ADDRESS_WIRE = bytes.fromhex(ADDRESS)[::-1]
ENERGIES = ("56341200", "78560000", "12340000", "90120000", "56780000")
REGISTERS = bytes.fromhex("".join(ENERGIES))
ANSWER = WAKE_UP + encode(Frame(ADDRESS, 0x91, IDENTIFIER_WIRE + REGISTERS))
REQUEST = WAKE_UP + encode(Frame(ADDRESS, 0x11, IDENTIFIER_WIRE))


def our_request() -> bytes:
    return CODEC_2007.encode(Frame(ADDRESS, 0x11, IDENTIFIER_WIRE))


def their_request() -> bytes:
    return bytes(DLT645Protocol.build_frame(ADDRESS_WIRE, 0x11, IDENTIFIER_WIRE))


def our_frame() -> Frame:
    (frame,) = Decoder().feed(ANSWER)
    assert isinstance(frame, Frame)
    return frame


def their_frame() -> object:
    return DLT645Protocol.deserialize(ANSWER)


def our_energies() -> list[object]:
    data = our_frame().data
    return [decode_bcd(data[start : start + 4], 2) for start in range(4, 24, 4)]


def our_named_values() -> list[object]:
    return list(decode_values(IDENTIFIER, our_frame().data[4:]))


def their_energies() -> list[object]:
    data = DLT645Protocol.deserialize(ANSWER).data
    return [bcd_to_float(data[start : start + 4], "XXXXXX.XX", "little") for start in range(4, 24, 4)]


PAIRS: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
    ("encode a request", our_request, their_request),
    ("decode an answer to a frame", our_frame, their_frame),
    ("... and five energies", our_energies, their_energies),
    ("... and five named values", our_named_values, their_energies),
]


def microseconds(call: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time_ns()
    for _ in range(CALLS):
        call()
    return (time.process_time_ns() - start) / CALLS / 1000


def measure() -> list[tuple[str, float, float]]:
    """(what, ours, theirs) in us, medians over the rounds, ours and theirs measured in turn."""
    times: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what, _, _ in PAIRS}
    for _ in range(ROUNDS):
        for what, ours, theirs in PAIRS:
            times[what][0].append(microseconds(ours))
            times[what][1].append(microseconds(theirs))
    return [(what, statistics.median(ours), statistics.median(theirs)) for what, (ours, theirs) in times.items()]


def main() -> None:
    """Prove that both do the same work, then print the table as it stands in docs/speed.md."""
    assert our_request() == their_request() == REQUEST
    assert [float(str(energy)) for energy in our_energies()] == their_energies()
    print(f"{datetime.now(UTC).date()}, CPython {platform.python_version()}, {ROUNDS} rounds of {CALLS} calls\n")
    print("| work | meterd us | dlt645 us | times as fast |")
    print("|---|---:|---:|---:|")
    for what, ours, theirs in measure():
        print(f"| {what} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |")


if __name__ == "__main__":
    main()
