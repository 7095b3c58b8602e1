"""The fast ways say what the general decoder says, for good and for bad frames."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import WAKE_UP, Decoder, Frame, checksum, encode, raw
from protocols.dlt645.prepared import energies as batch
from protocols.dlt645.prepared.one import (
    REQUEST_LENGTH,
    PreparedEnergies,
    PreparedMeter,
    PreparedRead,
    as_kwh,
    general_registers,
)
from protocols.errors import FrameError, MeterRefused

ADDRESS = "000000001600"
IDENTIFIER = "05060101"
WIRE = bytes.fromhex("01010605")
READ = PreparedEnergies(IDENTIFIER)
METER = PreparedMeter(ADDRESS)
GOOD = Frame(ADDRESS, 0x91, WIRE + bytes.fromhex("56341200 78560000 12340000 90120000 56780099"))


def outcome(call: Callable[[], Any]) -> object:
    try:
        return call()
    except (FrameError, MeterRefused) as error:
        return type(error), str(error)


def both(answer: bytes) -> None:
    fast = outcome(lambda: READ.registers(METER, answer))
    assert fast == outcome(lambda: general_registers(ADDRESS, IDENTIFIER, answer))


DIGITS = st.binary(min_size=4, max_size=4).map(
    lambda data: bytes(10 * (it >> 4) // 16 << 4 | it % 10 for it in data)
)
REGISTER = DIGITS | st.binary(min_size=4, max_size=4) | st.sampled_from([b"\xff" * 4, b"\xee" * 4])
ADDRESSES = st.just(ADDRESS) | st.text("0123456789", min_size=12, max_size=12)
NOISE = st.binary(max_size=6) | st.sampled_from([b"", b"\xfe" * 4, b"\x68", b"\x68\xfe\xfe"])


@given(st.text("0123456789", min_size=12, max_size=12), st.binary(min_size=4, max_size=4))
def test_a_prepared_request_is_the_general_one(address: str, last_bytes: bytes) -> None:
    identifier = f"0506{1 + last_bytes[0] % 2:02X}{1 + last_bytes[1] % 62:02X}"
    general = CODEC_2007.encode(Frame(address, 0x11, bytes.fromhex(identifier)[::-1]))
    assert PreparedEnergies(identifier).request(PreparedMeter(address)) == general


@given(
    ADDRESSES,
    st.sampled_from([0x91, 0xB1, 0xD1, 0x92, 0x11]),
    st.just(WIRE) | st.binary(max_size=4),
    st.lists(REGISTER, max_size=7),
    NOISE,
    NOISE,
)
def test_prepared_and_general_say_the_same_of_every_frame(
    address: str, control: int, wire: bytes, registers: list[bytes], before: bytes, after: bytes
) -> None:
    both(before + encode(Frame(address, control, wire + b"".join(registers))) + after)


@given(st.lists(DIGITS, min_size=5, max_size=5))
def test_five_good_registers_are_numbers(registers: list[bytes]) -> None:
    answer = encode(Frame(ADDRESS, 0x91, WIRE + b"".join(registers)))
    expected = tuple(int(register[::-1].hex()) for register in registers)
    assert (
        READ.registers(METER, answer) == general_registers(ADDRESS, IDENTIFIER, answer) == expected
    )
    assert as_kwh(expected) == tuple(Decimal(it).scaleb(-2) for it in expected)


def test_no_single_wrong_byte_is_taken() -> None:
    good = encode(GOOD)
    expected = READ.registers(METER, good)
    for place in range(len(good)):
        for byte in range(256):
            if byte != good[place]:
                spoiled = good[:place] + bytes((byte,)) + good[place + 1 :]
                with pytest.raises((FrameError, MeterRefused)):
                    READ.registers(METER, spoiled)
    assert expected == (123456, 5678, 3412, 1290, 99007856)


@given(st.integers(0, 47), st.integers(0, 255), st.booleans())
def test_prepared_and_general_say_the_same_of_a_damaged_frame(
    place: int, byte: int, mend_checksum: bool
) -> None:
    """With a checksum that fits the damage, it is another frame or another value."""
    spoiled = bytearray(encode(GOOD))
    spoiled[place % len(spoiled)] = byte
    if mend_checksum:
        spoiled[-2] = checksum(spoiled[:-2])
    both(bytes(spoiled))


@given(st.binary(max_size=80))
def test_prepared_and_general_say_the_same_of_any_bytes(data: bytes) -> None:
    both(data)
    both(data[:35].replace(b"\x68", b""))


def test_bytes_without_a_start_of_the_length_of_a_frame_less_one_are_no_answer() -> None:
    with pytest.raises(FrameError, match="no answer of meter"):
        READ.registers(METER, bytes(35))


def test_no_data_is_none_and_a_refusal_is_raised() -> None:
    missing = Frame(
        ADDRESS, 0x91, WIRE + bytes.fromhex("56341200 FFFFFFFF EEEEEEEE 00000000 FFFFFFFF")
    )
    assert READ.registers(METER, encode(missing)) == (123456, None, None, 0, None)
    assert as_kwh((None, 5)) == (None, Decimal("0.05"))
    with pytest.raises(MeterRefused):
        READ.registers(METER, encode(Frame(ADDRESS, 0xD1, b"\x02")))


@pytest.mark.parametrize("identifier", ["00000000", "02010100", "01010000", "12345678", "05060001"])
def test_only_unsigned_energies_can_be_prepared(identifier: str) -> None:
    with pytest.raises(FrameError, match="cannot be prepared"):
        PreparedEnergies(identifier)


@given(st.binary(max_size=300))
def test_the_checksum_is_the_sum_whatever_the_length(data: bytes) -> None:
    assert checksum(data) == sum(data) & 0xFF


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 258, 265])
def test_the_checksum_of_the_largest_bytes_is_exact(length: int) -> None:
    assert checksum(b"\xff" * length) == 0xFF * length & 0xFF


BATCH_FRAMES = st.lists(
    st.builds(
        Frame,
        ADDRESSES,
        st.sampled_from([0x91, 0x91, 0x91, 0xB1, 0x11]),
        st.builds(
            bytes.__add__,
            st.sampled_from([WIRE, WIRE, b"\0\xff\1\0"]),
            st.tuples(REGISTER, REGISTER).map(b"".join),
        ),
    ),
    max_size=12,
)


@given(BATCH_FRAMES, st.integers(0, 10_000), st.integers(0, 255))
def test_a_batch_says_of_each_frame_what_the_general_decoder_says(
    frames: list[Frame], place: int, byte: int
) -> None:
    joined = bytearray(b"".join(map(encode, frames)))
    if joined:
        joined[place % len(joined)] = byte
    hundredths, good = batch.decode_registers(bytes(joined), IDENTIFIER, registers=2)
    assert len(hundredths) == len(good) == len(frames)
    for number in range(len(frames)):
        alone = bytes(joined[24 * number : 24 * number + 24])
        found = Decoder().feed(alone)
        frame = (
            found[0] if found and isinstance(found[0], Frame) and raw(found[0]) == alone else None
        )
        assert good[number] == (
            frame is not None and frame.control == 0x91 and frame.data[:4] == WIRE
        )
        if good[number]:
            assert frame is not None
            general = outcome(partial(general_registers, frame.address, IDENTIFIER, alone))
            batched = [
                None if value == batch.NO_VALUE else value for value in hundredths[number].tolist()
            ]
            if isinstance(general, tuple) and general[0] is FrameError:
                assert None in batched
            else:
                assert list(general) == batched  # type: ignore[call-overload]


def test_a_batch_of_another_length_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no frames of 24 bytes"):
        batch.decode_registers(bytes(25), IDENTIFIER, registers=2)
    with pytest.raises(ValueError, match="63 registers do not fit"):
        batch.decode_registers(b"", IDENTIFIER, registers=63)
    assert batch.decode_registers(b"", IDENTIFIER, registers=2).hundredths.dtype == np.int64


def test_the_sum_of_every_request_is_that_of_the_codec() -> None:
    reads = [
        PreparedRead("04000102", 3),
        *(PreparedEnergies(f"050601{nth:02X}") for nth in range(1, 63)),
    ]
    for number in range(1000):
        address = f"{number * 987_654_321 % 10**12:012d}"
        meter = PreparedMeter(address)
        for read in reads:
            request = read.request(meter)
            assert request == WAKE_UP + encode(
                Frame(address, 0x11, bytes.fromhex(read.identifier)[::-1])
            )
            assert len(request) == REQUEST_LENGTH
