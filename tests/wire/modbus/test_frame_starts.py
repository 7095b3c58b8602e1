"""What is found out beforehand about long recordings changes nothing but the time that they
take."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocols.exchange import Skipped
from protocols.frame_search import MOST_NOISE_KEPT
from protocols.modbus.describe import describe_any
from protocols.modbus.frame import (
    AS_METER,
    AS_MONITOR,
    Decoder,
    Frame,
    FrameStarts,
    Look,
    Rules,
    encode_rtu,
    encode_tcp,
    look_rtu,
    look_tcp,
)
from protocols.modbus.frame_starts import BLOCK, frame_starts_rtu, frame_starts_tcp

Looking = Callable[[bytes, bool, Rules], Look]
FindingStarts = Callable[[bytes, Rules], FrameStarts]
FORMS = [
    pytest.param(look_rtu, frame_starts_rtu, id="rtu"),
    pytest.param(look_tcp, frame_starts_tcp, id="tcp"),
]
ANSWER = Frame(17, bytes.fromhex("0304008D008E"))
LONGEST_ANSWER = Frame(1, bytes((20, 251)) + bytes(range(251)))
"""No frame may be longer: 256 bytes as RTU, 254 bytes behind the header as TCP."""


def decode_all(decoder: Decoder, stream: bytes) -> list[Frame | Skipped]:
    return decoder.feed(stream) + decoder.flush()


def odd_recording(chance: random.Random) -> bytes:
    """Frames, false starts, babble of one byte and noise, in any order."""
    pieces: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randrange(1, 3000)),
        lambda: (
            bytes((chance.choice((0, 1, 3, 16, 20, 23, 24, 43, 255)),)) * chance.randrange(1, 800)
        ),
        lambda: b"\x01\x03\xfa" * chance.randrange(1, 300),
        lambda: b"\0\1\0\0\0\6\1" * chance.randrange(1, 50),
        lambda: encode_rtu(Frame(chance.randrange(256), b"\3\4" + chance.randbytes(4))),
        lambda: encode_rtu(
            Frame(1, bytes((16, 0, 1, 0, 100, 200)) + chance.randbytes(200), is_request=True)
        ),
        lambda: encode_rtu(LONGEST_ANSWER),
        lambda: encode_tcp(
            Frame(1, b"\3\4" + chance.randbytes(4), transaction=chance.randrange(65536))
        ),
        lambda: encode_rtu(ANSWER)[:-1],
        lambda: bytes(chance.choice((1, BLOCK, MOST_NOISE_KEPT + 7))),
    ]
    return b"".join(chance.choice(pieces)() for _ in range(chance.randrange(1, 60)))


@pytest.mark.parametrize("rules", [AS_MONITOR, AS_METER], ids=["monitor", "meter"])
@pytest.mark.parametrize(("look", "find_starts"), FORMS)
@pytest.mark.parametrize("seed", range(8))
def test_a_recording_whose_frame_starts_are_sought_first_reads_the_same(
    look: Looking, find_starts: FindingStarts, rules: Rules, seed: int
) -> None:
    data = odd_recording(random.Random(seed))
    assert decode_all(Decoder(look, rules, find_starts), data) == decode_all(
        Decoder(look, rules), data
    )


@pytest.mark.parametrize("place", [0, 1, BLOCK - 260, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
@pytest.mark.parametrize("frame", [ANSWER, LONGEST_ANSWER, Frame(9, b"\x83\x02")])
@pytest.mark.parametrize(
    ("encode", "look", "find_starts"),
    [
        pytest.param(encode_rtu, look_rtu, frame_starts_rtu, id="rtu"),
        pytest.param(encode_tcp, look_tcp, frame_starts_tcp, id="tcp"),
    ],
)
def test_a_frame_is_found_wherever_it_stands(
    encode: Callable[[Frame], bytes],
    look: Looking,
    find_starts: FindingStarts,
    frame: Frame,
    place: int,
) -> None:
    data = b"\xee" * place + encode(frame) + b"\xee" * BLOCK
    told = decode_all(Decoder(look, AS_MONITOR, find_starts), data)
    assert [item for item in told if isinstance(item, Frame)] == [frame]


@pytest.mark.parametrize(
    "babble", [b"\x01\x03\xfa", b"\x17", b"\x14", b"\x0f", b"\0", b"\0\0\0\0\0\xfe"], ids=repr
)
@pytest.mark.parametrize(("look", "find_starts"), FORMS)
def test_a_recording_without_frames_is_hardly_looked_at(
    look: Looking, find_starts: FindingStarts, babble: bytes
) -> None:
    looks = 0

    def counted(data: bytes, at_end: bool, rules: Rules) -> Look:
        nonlocal looks
        looks += 1
        return look(data, at_end, rules)

    data = (babble * MOST_NOISE_KEPT)[:MOST_NOISE_KEPT]
    decode_all(Decoder(counted, AS_MONITOR, find_starts), data)
    assert looks < len(data) / 100


def test_the_frame_starts_of_a_long_recording_are_sought_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[int] = []

    def noted(data: bytes, rules: Rules) -> FrameStarts:
        lengths.append(len(data))
        return frame_starts_rtu(data, rules)

    monkeypatch.setattr("protocols.modbus.frame_starts.frame_starts_rtu", noted)
    data = b"\x01\x03\xfa" * BLOCK
    assert [item["reason"] for item in describe_any(data)] == ["bad_checksum"]
    assert lengths == [len(data)]
