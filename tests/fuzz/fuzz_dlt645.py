"""Coverage-guided fuzzing of the DL/T 645 decoder and of what `meterd decode` says about its frames, with atheris.

Run it: `python tests/fuzz/fuzz_dlt645.py -atheris_runs=10000000 -seed=1 -timeout=5 -max_len=600`. Each input is decoded
as it is, whole and in two pieces, and as the data of a well-formed frame; what ends the run is an exception, a frame
that does not encode to the bytes it came from, a result that depends on the split, or five seconds for one input.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["protocols"]):
    from protocols.dlt645.describe import PROTOCOLS, describe, describe_stream
    from protocols.dlt645.frame import Decoder, Frame, raw
    from protocols.dlt645.prepared import PreparedMeter, PreparedRead
    from protocols.errors import FrameError

IDENTIFIERS = (
    "00010000",
    "0001FF00",
    "05060101",
    "0506FF01",
    "0201FF00",
    "06000001",
    "040005FF",
    "03300D01",
    "04000403",
)
ADDRESS = "000000001600"
PREPARED = PreparedRead("05060101")
METER = PreparedMeter(ADDRESS)


def decode(data: bytes) -> None:
    """Whole and split, the same frames and skipped stretches; every frame comes from its own bytes."""
    decoder = Decoder()
    whole = decoder.feed(data) + decoder.flush()
    middle = data[0] % (len(data) + 1) if data else 0
    split = decoder.feed(data[:middle]) + decoder.feed(data[middle:]) + decoder.flush()
    assert split == whole
    for item in whole:
        if isinstance(item, Frame):
            assert raw(item) in data
    describe_stream(data)


def tell(data: bytes) -> None:
    """The input as control byte, identifier and data of a frame that arrived whole."""
    if len(data) < 2:
        return
    identifier = bytes.fromhex(IDENTIFIERS[data[1] % len(IDENTIFIERS)])[::-1]
    for body in (data[2:257], (identifier + data[2:])[:255]):
        frame = Frame(ADDRESS, data[0], body)
        (item,) = Decoder().feed(raw(frame))
        assert item == frame
        for protocol in PROTOCOLS:
            describe(frame, protocol)


def prepared(data: bytes) -> None:
    """An answer to a prepared read: taken, or refused with a FrameError."""
    answer = raw(Frame(ADDRESS, 0x91, bytes.fromhex("01010605") + data[:20]))
    with suppress(FrameError):
        PREPARED.registers(METER, answer)
    with suppress(FrameError):
        PREPARED.registers(METER, data)


TARGETS = (decode, tell, prepared)


def test_one_input(data: bytes) -> None:
    """What atheris calls; the first byte chooses what is done with the others."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
