"""Coverage-guided fuzzing of the DL/T 645 decoder and of what `meterd decode` says about its
frames, with atheris.

Run it: `make fuzz`. The first byte of an input chooses what is done with the others: they are a
stream, decoded whole and in two pieces; the data of a well-formed frame, told in either version of
the standard; or the answer to a prepared read. What ends the run is an exception, a frame that does
not encode to the bytes it came from, a result that depends on the split, a difference between the
prepared and the general decoder, or five seconds for one input."""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["protocols"]):
    from protocols.dlt645.describe.frames import PROTOCOLS, VERSIONS, describe
    from protocols.dlt645.frame import Decoder, Frame, raw
    from protocols.dlt645.prepared.one import PreparedEnergies, PreparedMeter, general_registers
    from protocols.errors import FrameError, MeterRefused

IDENTIFIERS = [
    bytes.fromhex(identifier)[::-1]
    for identifier in (
        "00010000",
        "0001FF00",
        "05060101",
        "0506FF01",
        "0201FF00",
        "06000001",
        "040005FF",
        "03300D01",
        "04000403",
        "1D00FF01",
    )
]
ADDRESS = "000000001600"
PREPARED = PreparedEnergies("05060101")
METER = PreparedMeter(ADDRESS)


def decode(data: bytes) -> None:
    """Whole and split, the same frames and skipped stretches; every frame comes from its own
    bytes."""
    decoder = Decoder()
    whole = decoder.feed(data) + decoder.flush()
    middle = data[-1] % (len(data) + 1) if data else 0
    split = decoder.feed(data[:middle]) + decoder.feed(data[middle:]) + decoder.flush()
    assert split == whole
    for item in whole:
        if isinstance(item, Frame):
            assert raw(item) in data
            describe(item)


def tell(data: bytes) -> None:
    """The control byte, what to do, and the data of a frame that arrived whole: any, or those of a
    known identifier."""
    if len(data) < 2:
        return
    control, how, body = data[0], data[1], data[2:257]
    if how & 1:
        body = (IDENTIFIERS[(how >> 2) % len(IDENTIFIERS)] + body)[:255]
    frame = Frame(ADDRESS, control, body)
    assert Decoder().feed(raw(frame)) == [frame]
    describe(frame, VERSIONS[PROTOCOLS[how >> 1 & 1]])


def prepared(data: bytes) -> None:
    """An answer to a prepared read, or anything in its place."""
    answer = (
        raw(Frame(ADDRESS, 0x91, bytes.fromhex("01010605") + data[1:21]))
        if data[:1] < b"\x80"
        else data[1:]
    )
    assert _outcome(lambda: PREPARED.registers(METER, answer)) == _outcome(
        lambda: general_registers(ADDRESS, "05060101", answer)
    )


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (FrameError, MeterRefused) as error:
        return str(error)


TARGETS = (decode, tell, prepared)


def test_one_input(data: bytes) -> None:
    """What atheris calls; the first byte chooses what is done with the others."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
