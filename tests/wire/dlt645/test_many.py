"""Reads of many meters at once must ask and accept exactly what the reads of one do."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.dlt645.prepared import many, steps
from protocols.dlt645.prepared.one import (
    PreparedEnergies,
    PreparedMeter,
    midnight_stamp,
    time_of_day,
)
from protocols.dlt645.prepared.steps import reads_of

STEPS = (steps.CLOCK, steps.STAMP, steps.ENERGIES)
WIDTHS = (3, 5, 20)
addresses = st.integers(0, 10**12 - 1).map(lambda number: f"{number:012d}")
questions = st.tuples(addresses, st.sampled_from(STEPS), st.integers(1, 62))


def rows(asked: list[tuple[str, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wire = np.frombuffer(
        many.wire_addresses(address for address, *_ in asked), dtype=np.uint8
    ).reshape(-1, 6)
    reads, nths = (np.array([question[at] for question in asked], dtype=np.uint8) for at in (1, 2))
    return wire, reads, nths


@given(st.lists(questions, min_size=1, max_size=20))
def test_many_ask_what_each_would(asked: list[tuple[str, int, int]]) -> None:
    heads = many.heads(*rows(asked))
    requests = many.requests(heads)
    for (address, read, nth), head, request in zip(asked, heads, requests, strict=True):
        meter, prepared = PreparedMeter(address), reads_of(nth)[read]
        assert head.tobytes() == prepared.reply_head(meter)
        assert request.tobytes() == prepared.request(meter)


@st.composite
def spoilt(draw: st.DrawFn, answer: bytes) -> bytes:
    """A good answer, or one with something wrong or around it."""
    data = bytearray(b"\xfe" * draw(st.integers(0, 5)) + answer)
    match draw(st.sampled_from(("good", "flipped", "cut", "before", "behind", "sum", "end"))):
        case "flipped":
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
        case "cut":
            del data[draw(st.integers(0, len(data) - 1)) :]
        case "before":
            data[:0] = draw(st.binary(max_size=4))
        case "behind":
            data += draw(st.binary(max_size=4))
        case "sum":  # two mistakes that leave the checksum as it was
            at = draw(st.integers(0, len(data) - 4))
            data[at], data[at + 1] = data[at] + 1 & 0xFF, data[at + 1] - 1 & 0xFF
        case "end":
            data[-1] = 0x17
    return bytes(data)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[tuple[str, int, int], bytes]:
    """A question, and what came for it: often the answer to it, sometimes to another one."""
    asked = draw(questions)
    address, read, nth = draw(st.sampled_from((asked, asked, asked, draw(questions))))
    wire = bytes.fromhex(reads_of(nth)[read].identifier)[::-1]
    digits = st.integers(0, 99).map(lambda pair: int(f"{pair:02d}", 16))
    byte = draw(st.sampled_from((digits, digits, st.integers(0, 255))))
    width = draw(st.sampled_from((WIDTHS[read],) * 5 + WIDTHS))
    data = bytes(draw(st.lists(byte, min_size=width, max_size=width)))
    return asked, draw(spoilt(encode(Frame(address, 0x91, wire + data))))


@given(st.lists(exchanges(), min_size=1, max_size=20))
def test_many_accept_what_each_would(came: list[tuple[tuple[str, int, int], bytes]]) -> None:
    heads = many.heads(*rows([asked for asked, _ in came]))
    laid = many.laid(answer for _, answer in came)
    for at, ((address, read, nth), answer) in enumerate(came):
        prepared, head = reads_of(nth)[read], heads[at].tobytes()
        row = laid[at : at + 1]
        (is_good,) = many.are_good(row, heads[at : at + 1], read).tolist()
        if read == steps.ENERGIES:
            assert isinstance(prepared, PreparedEnergies)
            registers = many.energies(row)[0].tolist()
            found = tuple(registers) if is_good and min(registers) >= 0 else None
            alone = prepared.energies(head, answer) if len(answer) <= many.LONGEST else None
            assert found == alone, (address, answer.hex())
            continue
        data = prepared.data(head, answer) if len(answer) <= many.LONGEST else None
        assert is_good == (data is not None), answer.hex()
        if data is not None and read == steps.CLOCK:
            (seconds,) = many.times_of_day(row).tolist()
            assert (None if seconds < 0 else seconds) == time_of_day(data)
        elif data is not None:
            assert many.stamps(row)[0].tobytes() == data


@pytest.mark.parametrize(
    ("sent", "seconds"), [("000000", 0), ("595923", 86_399), ("563412", 45_296)]
)
def test_a_time_of_day_is_told_in_seconds(sent: str, seconds: int) -> None:
    answer = encode(Frame("000000000001", 0x91, bytes.fromhex("02010004" + sent)))
    assert many.times_of_day(many.laid([answer])).tolist() == [seconds]


@pytest.mark.parametrize(
    "sent", ["600000", "006000", "000024", "0A0000", "000099", "FFFFFF", "A00000"]
)
def test_what_is_no_time_of_day_is_negative(sent: str) -> None:
    answer = encode(Frame("000000000001", 0x91, bytes.fromhex("02010004" + sent)))
    assert many.times_of_day(many.laid([answer])).tolist() == [-1]


def test_a_stamp_of_midnight_is_the_expected_one() -> None:
    answer = encode(Frame("000000000001", 0x91, bytes.fromhex("01000605" + "0000160326")))
    assert many.stamps(many.laid([answer]))[0].tobytes() == midnight_stamp(
        date(2026, 3, 16).toordinal()
    )


@given(st.lists(exchanges(), max_size=8), st.integers(0, 9), st.binary(max_size=30))
def test_frames_that_follow_each_other_are_told_apart(
    came: list[tuple[tuple[str, int, int], bytes]], most: int, rest: bytes
) -> None:
    """Nothing is lost, whatever it is; good frames are found where the decoder finds them."""
    data = b"".join(answer for _, answer in came) + rest
    found, left = many.apart(data, most)
    assert b"".join(found) + left == data
    assert len(found) <= most


@pytest.mark.parametrize("noise", [b"\x55", b"\xfe\x00", b"\x00\xfe", b"\x16"])
def test_a_frame_behind_noise_is_left_with_what_follows_it(noise: bytes) -> None:
    good = encode(Frame("000000000001", 0x91, bytes(24)))
    assert many.apart(good + noise + good + good, 9) == ([good], noise + good + good)


@given(st.lists(questions, min_size=1, max_size=8), st.integers(0, 60))
def test_good_frames_are_told_apart_and_a_part_is_left(
    asked: list[tuple[str, int, int]], cut: int
) -> None:
    frames = [
        Frame(address, 0x91, bytes.fromhex(reads_of(nth)[read].identifier)[::-1] + bytes(nth))
        for address, read, nth in asked
    ]
    answers = [b"\xfe" * (len(it.data) % 5) + encode(it) for it in frames]
    part = answers[0][: min(cut, len(answers[0]) - 1)]
    assert many.apart(b"".join(answers) + part, len(answers) + 1) == (answers, part)
    decoder = Decoder()
    assert len(decoder.feed(b"".join(answers))) == len(answers)
