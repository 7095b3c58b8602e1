"""Modbus link layer: no split, no noise and no wrong byte deceives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymodbus.pdu.bit_message import ReadCoilsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.frame_search import MOST_NOISE_KEPT
from protocols.modbus.exchanges import codec_rtu, codec_tcp
from protocols.modbus.frame import (
    Decoder,
    Frame,
    encode_rtu,
    encode_tcp,
    parse,
    request,
    rtu_answers,
    rtu_requests,
    tcp_answers,
    tcp_requests,
)
from tests.examples import examples

Encode = Callable[[Frame], bytes]
FORMS = [
    pytest.param(encode_rtu, rtu_answers, id="rtu"),
    pytest.param(encode_tcp, tcp_answers, id="tcp"),
]

registers = st.binary(min_size=1, max_size=125).map(lambda half: half * 2)
answers = (
    st.builds(
        lambda data, function: bytes((function, len(data))) + data,
        registers,
        st.sampled_from([3, 4]),
    )
    | st.builds(lambda data: bytes((1, len(data))) + data, st.binary(min_size=1, max_size=250))
    | st.builds(
        lambda data, function: bytes((function,)) + data,
        st.binary(min_size=4, max_size=4),
        st.just(16),
    )
    | st.builds(
        lambda function, code: bytes((0x80 | function, code)),
        st.sampled_from([3, 4, 16]),
        st.integers(1, 11),
    )
)
frames = st.builds(Frame, st.integers(0, 247), answers, transaction=st.integers(0, 0xFFFF))
treacherous = st.lists(
    st.sampled_from([0x01, 0x03, 0x04, 0x10, 0x00, 0x02, 0x83]), max_size=40
).map(bytes)
RTU_ANSWER = bytes.fromhex("110304008D008EFBBD")
"""pymodbus-dev/pymodbus test/framer/test_framer.py line 125."""


def decode_all(decoder: Decoder, stream: bytes) -> list[Frame | Skipped]:
    return decoder.feed(stream) + decoder.flush()


@pytest.mark.parametrize(("encode", "decoder"), FORMS)
@given(frame=frames)
def test_decoding_is_the_inverse_of_encoding(
    encode: Encode, decoder: Callable[[], Decoder], frame: Frame
) -> None:
    (found,) = decode_all(decoder(), encode(frame))
    assert found == frame
    assert encode(found) == encode(frame)


@pytest.mark.parametrize(("encode", "decoder"), FORMS)
@given(frame=frames.filter(lambda frame: len(frame.pdu) < 20))
@examples(30)
def test_a_frame_survives_every_split_of_its_bytes(
    encode: Encode, decoder: Callable[[], Decoder], frame: Frame
) -> None:
    stream = encode(frame)
    for cut in range(len(stream) + 1):
        split = decoder()
        assert split.feed(stream[:cut]) + split.feed(stream[cut:]) == [frame]
        assert not split.pending
    single = decoder()
    assert [item for byte in stream for item in single.feed(bytes((byte,)))] == [frame]


@pytest.mark.parametrize(("encode", "decoder"), FORMS)
@given(data=st.data())
def test_the_split_of_a_stream_changes_nothing_and_every_byte_is_told_once(
    encode: Encode, decoder: Callable[[], Decoder], data: st.DataObject
) -> None:
    part = treacherous | st.binary(max_size=30) | frames.map(encode)
    stream = b"".join(data.draw(st.lists(part, max_size=6)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    split = decoder()
    found: list[Frame | Skipped] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += split.feed(stream[start:end])
    found += split.flush()
    assert found == decode_all(decoder(), stream)
    assert (
        b"".join(item.data if isinstance(item, Skipped) else encode(item) for item in found)
        == stream
    )
    assert not split.pending


@given(noise=treacherous | st.binary(max_size=300), frame=frames)
def test_noise_never_hides_the_frame_behind_it(noise: bytes, frame: Frame) -> None:
    found = decode_all(rtu_answers(), noise + encode_rtu(frame))
    assert found[-1] == frame or any(
        _overlaps(noise, item) for item in found if isinstance(item, Frame)
    )


def _overlaps(noise: bytes, found: Frame) -> bool:
    """Noise that holds the start of what is by itself a good frame, reaching into the next one."""
    return any(
        noise.endswith(encode_rtu(found)[:length]) for length in range(1, len(encode_rtu(found)))
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (ReadHoldingRegistersRequest(address=124, count=2), RTU_ANSWER),
        (ReadCoilsRequest(address=19, count=37), bytes.fromhex("110105CD6BB20E1B45E6")),
        (ReadHoldingRegistersRequest(address=0, count=22), bytes.fromhex(
            "05032C800016C4680000000000D4EC00000000000000000000000000000000009B376C42E7BC0ED07EF9EAFF00000467D7"
        )),
    ],
)  # fmt: skip
def test_no_single_wrong_byte_is_taken_for_the_answer(question: Any, answer: bytes) -> None:
    asked = request(answer[0], question)
    (found,) = decode_all(rtu_answers(), answer)
    assert isinstance(found, Frame)
    assert codec_rtu.is_answer(asked, found)
    for place in range(len(answer)):
        for wrong in range(256):
            if wrong == answer[place]:
                continue
            spoilt = answer[:place] + bytes((wrong,)) + answer[place + 1 :]
            for item in decode_all(rtu_answers(), spoilt):
                assert isinstance(item, Skipped) or not codec_rtu.is_answer(asked, item)


def test_a_wrong_checksum_and_a_broken_off_frame_are_told_with_their_reason() -> None:
    spoilt = RTU_ANSWER[:-1] + b"\0"
    assert decode_all(rtu_answers(), spoilt) == [Skipped(spoilt, "bad_checksum")]
    assert decode_all(rtu_answers(), RTU_ANSWER[:5]) == [Skipped(RTU_ANSWER[:5], "truncated")]
    assert decode_all(rtu_answers(), b"\xff\xff\xff\xff") == [Skipped(b"\xff\xff\xff\xff", "noise")]
    assert decode_all(tcp_answers(), bytes.fromhex("00010000FFFF1103")) == [
        Skipped(bytes.fromhex("00010000FFFF1103"), "bad_length")
    ]


def test_the_frame_behind_a_broken_one_comes_out() -> None:
    found = decode_all(rtu_answers(), RTU_ANSWER[:5] + RTU_ANSWER)
    assert found == [Skipped(RTU_ANSWER[:5], "bad_checksum"), Frame(17, RTU_ANSWER[1:-2])]


def test_an_echo_is_told_apart_from_the_answer() -> None:
    asked = request(17, ReadHoldingRegistersRequest(address=0x7C, count=2))
    echo, answer = decode_all(rtu_answers(), encode_rtu(asked) + RTU_ANSWER)
    assert echo == asked
    assert not codec_rtu.is_answer(asked, asked)
    assert codec_rtu.is_answer(asked, answer)  # type: ignore[arg-type]


def test_a_request_whose_register_reads_like_an_odd_byte_count_is_no_answer() -> None:
    asked = request(1, ReadHoldingRegistersRequest(address=0x0300, count=1))
    (found,) = decode_all(rtu_answers(), encode_rtu(asked))
    assert isinstance(found, Frame)
    assert found.is_request


@pytest.mark.parametrize(
    ("unit", "pdu"),
    [
        (18, "0304008D008E"),
        (17, "0404008D008E"),
        (17, "0302008D"),
        (17, "0306008D008E0000"),
        (17, "8402"),
    ],
)
def test_an_answer_of_another_unit_function_or_length_is_none(unit: int, pdu: str) -> None:
    asked = request(17, ReadHoldingRegistersRequest(address=0x7C, count=2))
    assert not codec_rtu.is_answer(asked, Frame(unit, bytes.fromhex(pdu)))


def test_an_exception_is_an_answer() -> None:
    asked = request(17, ReadHoldingRegistersRequest(address=0x7C, count=2))
    (answer,) = decode_all(rtu_answers(), encode_rtu(Frame(17, b"\x83\x02")))
    assert isinstance(answer, Frame)
    assert codec_rtu.is_answer(asked, answer)
    assert (answer.function, answer.exception) == (3, 2)


def test_over_tcp_an_answer_repeats_the_number_of_its_request() -> None:
    first, second = (request(1, ReadHoldingRegistersRequest(address=0, count=1)) for _ in range(2))
    answer = Frame(1, b"\x03\x02\x00\x05", transaction=second.transaction)
    assert codec_tcp.is_answer(second, answer)
    assert not codec_tcp.is_answer(first, answer)


def test_the_acknowledgement_of_a_write_names_register_and_count() -> None:
    asked = request(1, WriteMultipleRegistersRequest(address=0x1A, registers=[0]))
    assert codec_rtu.is_control(asked)
    assert codec_rtu.is_answer(asked, Frame(1, bytes.fromhex("10001A0001")))
    assert not codec_rtu.is_answer(asked, Frame(1, bytes.fromhex("10001B0001")))
    assert not codec_rtu.is_control(request(1, ReadHoldingRegistersRequest(address=0, count=1)))


@pytest.mark.parametrize("decoder", [rtu_requests, tcp_requests])
def test_a_meter_hears_requests_and_not_the_answers_of_others(
    decoder: Callable[[], Decoder],
) -> None:
    encode = encode_rtu if decoder is rtu_requests else encode_tcp
    asked = request(17, ReadHoldingRegistersRequest(address=0x7C, count=2))
    found = decode_all(decoder(), encode(Frame(17, RTU_ANSWER[1:-2])) + encode(asked))
    assert found[-1] == asked
    assert isinstance(found[0], Skipped)


def test_babble_does_not_fill_the_memory() -> None:
    decoder = rtu_answers()
    found = decoder.feed(b"\xff" * (2 * MOST_NOISE_KEPT + 10))
    assert [len(item.data) for item in found if isinstance(item, Skipped)] == [MOST_NOISE_KEPT] * 2
    decoder.reset()
    assert not decoder.pending
    assert decoder.flush() == []


@given(st.binary(max_size=260), st.booleans())
@example(pdu=b"\x2b", is_request=True)
@example(pdu=b"\x2b", is_request=False)
def test_nothing_that_comes_makes_it_fail(pdu: bytes, is_request: bool) -> None:
    try:
        parse(pdu, is_request=is_request)
    except FrameError:
        return


def test_what_modbus_cannot_carry_is_refused() -> None:
    for unit, message in (
        (256, ReadHoldingRegistersRequest(address=0, count=1)),
        (1, ReadHoldingRegistersRequest(address=0, count=126)),
        (1, ReadHoldingRegistersRequest(address=70000, count=1)),
    ):
        with pytest.raises(FrameError):
            request(unit, message)
