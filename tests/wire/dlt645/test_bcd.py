"""Packed BCD and times."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.bcd import decode_bcd, decode_time, encode_bcd, encode_time, is_missing
from protocols.errors import FrameError


@given(st.integers(1, 8), st.integers(0, 4), st.booleans(), st.data())
def test_decoding_is_the_inverse_of_encoding(
    width: int, decimals: int, signed: bool, data: st.DataObject
) -> None:
    decimals = min(decimals, 2 * width - 1)
    most = 8 * 10 ** (2 * width - 1) - 1 if signed else 10 ** (2 * width) - 1
    number = Decimal(data.draw(st.integers(-most if signed else 0, most))).scaleb(-decimals)
    encoded = encode_bcd(number, width, decimals, signed=signed)
    assert len(encoded) == width
    decoded = decode_bcd(encoded, decimals, signed=signed)
    assert decoded == number
    assert decoded.as_tuple().exponent == -decimals


@pytest.mark.parametrize(
    ("data", "decimals", "signed", "text"),
    [
        ("56341200", 2, False, "1234.56"),
        ("00000000", 2, False, "0.00"),
        ("191581", 3, True, "-11.519"),
        ("191581", 3, False, "811.519"),
        ("000080", 3, True, "0.000"),
        ("99999999", 2, False, "999999.99"),
        ("27", 0, False, "27"),
    ],
)
def test_numbers_keep_their_decimals(data: str, decimals: int, signed: bool, text: str) -> None:
    assert str(decode_bcd(bytes.fromhex(data), decimals, signed=signed)) == text


@pytest.mark.parametrize("data", ["0A980100", "FF000000", "000000F0", ""])
def test_a_nibble_over_9_is_refused(data: str) -> None:
    with pytest.raises(FrameError, match="not BCD"):
        decode_bcd(bytes.fromhex(data), 2)


def test_the_sign_bit_hides_no_bad_digit() -> None:
    with pytest.raises(FrameError, match="not BCD: FA15"):
        decode_bcd(bytes.fromhex("15FA"), 0, signed=True)


@pytest.mark.parametrize(
    ("value", "width", "decimals", "signed"),
    [
        (Decimal("0.001"), 4, 2, False),
        (Decimal(-1), 4, 2, False),
        (Decimal(1_000_000), 4, 2, False),
        (Decimal(800_000), 4, 2, True),
        (Decimal("NaN"), 4, 2, True),
        (Decimal("Infinity"), 4, 2, True),
        (Decimal("sNaN"), 4, 2, True),
        (Decimal("1e999999999"), 4, 2, False),
        (Decimal("1e-999999999"), 4, 2, False),
        (Decimal("1.000000000000000000000000000000001"), 4, 2, False),
    ],
)
def test_a_number_that_does_not_fit_is_refused(
    value: Decimal, width: int, decimals: int, signed: bool
) -> None:
    with pytest.raises(FrameError):
        encode_bcd(value, width, decimals, signed=signed)


@pytest.mark.parametrize(
    ("data", "missing"),
    [("FFFF", True), ("EEEEEEEE", True), ("FFEE", False), ("", False), ("0000", False)],
)
def test_ff_and_ee_mean_no_data(data: str, missing: bool) -> None:
    assert is_missing(bytes.fromhex(data)) is missing


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
def test_times_survive_the_wire(at: datetime) -> None:
    at = at.replace(microsecond=0)
    layout = "ss mm hh WW DD MM YY"
    decoded = decode_time(encode_time(at, layout), layout)
    assert decoded == (None if not any(encode_time(at, layout)) else at)


def test_the_weekday_is_0_on_sunday() -> None:
    assert encode_time(datetime(2026, 11, 22), "WW DD MM YY") == bytes.fromhex("00221126")


@pytest.mark.parametrize("data", ["0000000000", "FFFFFFFFFF", "EEEEEEEEEE"])
def test_a_time_never_set_is_none(data: str) -> None:
    assert decode_time(bytes.fromhex(data), "mm hh DD MM YY") is None


@pytest.mark.parametrize(
    ("data", "words"),
    [("1E12150B1A", "not BCD"), ("0000320126", "no such time"), ("00000101", "4 bytes")],
)
def test_what_is_no_time_is_refused(data: str, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        decode_time(bytes.fromhex(data), "mm hh DD MM YY")
