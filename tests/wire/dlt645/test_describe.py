"""`describe` tells every frame, breaks on none, and keeps secrets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.describe.frames import Description, describe, describe_stream, parse_hex
from protocols.dlt645.describe.recordings import cut
from protocols.dlt645.frame import Frame, raw
from protocols.errors import FrameError
from tests.examples import examples

METER = "000000001600"


def described(control: int, data: str = "", address: str = METER) -> Description:
    return describe(Frame(address, control, bytes.fromhex(data)))


def values(description: Description) -> dict[str, str | None]:
    return {value.name: value.value for value in description.values}


@given(st.binary(max_size=400))
def test_no_bytes_make_it_crash(data: bytes) -> None:
    describe_stream(data)


KNOWN = st.sampled_from([b"\0\0\1\0", b"\0\xff\1\0", b"\1\1\0\4", b"\3\5\0\4"])


@given(
    st.text("0123456789ABCDEF", min_size=12, max_size=12),
    st.integers(0, 255),
    st.binary(max_size=255) | st.builds(bytes.__add__, KNOWN, st.binary(max_size=40)),
)
@examples(300)
def test_every_frame_is_told_with_the_bytes_it_came_from(
    address: str, control: int, data: bytes
) -> None:
    frame = Frame(address, control, data)
    (description,) = describe_stream(raw(frame))
    assert isinstance(description, Description)
    assert bytes.fromhex(description.raw) == raw(frame)
    assert description.address == address
    assert description.error is None or description.error.text


@pytest.mark.parametrize(
    ("control", "data", "words"),
    [
        (0x91, "", "no identifier"),
        (0x91, "00000100", "without data"),
        (0x91, "00000100 5634", "needs 4"),
        (0x91, "00000100 0A000000", "not BCD: 0000000A"),
        (0x92, "00000100", "without sequence"),
        (0x93, "0016", "6 bytes"),
        (0x94, "00", "no data by the standard"),
        (0x95, "001600000000", "no data by the standard"),
        (0x9C, "00", "no data by the standard"),
        (0x96, "99999999", "no data by the standard"),
        (0x88, "", "nobody answers"),
        (0xD1, "", "one error byte"),
        (0x11, "000001", "no identifier"),
        (0x11, "00000100 0000", "4, 5"),
        (0x11, "01000006 05 1E12150B1A", "not BCD: 1A0B15121E"),
        (0x14, "01010004 02000000 00000000", "without a value"),
        (0x14, "01010004", "12 bytes"),
        (0x14, "00010000 02000000 00000000 00", "cannot be written"),
        (0x14, "0100001D 02000000 00000000 000000", "cannot be written"),
        (0x19, "", "8 data bytes"),
        (0x1A, "02000000", "8 data bytes"),
        (0x1B, "02000000 00000000", "12 data bytes"),
        (0x1C, "99000000 00000000 1A00 595923311226 AB", "16 data bytes"),
        (0x14, "04000101 02000000 00000000 01110116", "04000101 sent with its bytes in reverse"),
        (0x08, "1E12150B0C1A", "not BCD"),
        (0x08, "00", "6 data bytes"),
        (0x16, "1E121508", "not BCD"),
        (0x16, "12312359", "no such hour: 31"),
        (0x16, "60000101", "no such minute: 60"),
        (0x16, "00000001", "no such day: 00"),
        (0x16, "", "4 data bytes"),
        (0x17, "", "1 data byte"),
        (0x19, "01010004 02000000 00000000", "8 data bytes"),
        (0x1B, "", "12 data bytes"),
        (0x1C, "02000000 00000000 1A", "16 data bytes"),
        (0x1C, "02000000 00000000 1900 595923311226", "no such control action: 19"),
        (0x1C, "02000000 00000000 1A00 3B3B171F0C1A", "expiry: not BCD"),
        (0x13, "00", "no data by the standard"),
    ],
)
def test_what_breaks_the_standard_is_an_error_without_bits(
    control: int, data: str, words: str
) -> None:
    error = described(control, data).error
    assert error is not None
    assert error.bits == ()
    assert words in error.text


@pytest.mark.parametrize(
    ("control", "data", "words"),
    [
        (0x10, "02", "4 bytes"),
        (0x0F, "02000000", "8 data bytes"),
        (0x04, "10C0 02000000", "a write has"),
        (0x84, "00", "no data by the standard"),
        (0x8F, "02", "no data by the standard"),
        (0x0C, "", "1 data byte"),
        (0x0A, "0016", "6 bytes"),
        (0x81, "10", "no identifier"),
        (0x81, "1090", "without data"),
    ],
)
def test_what_breaks_the_standard_of_1997_is_an_error_without_bits(
    control: int, data: str, words: str
) -> None:
    description = described(control, data)
    assert description.protocol == "dlt645-1997"
    assert description.error is not None
    assert description.error.bits == ()
    assert words in description.error.text


@pytest.mark.parametrize("address", ["AAAAAAAAAAAA", "AAAAAA001600", "999999999999"])
def test_an_answer_without_its_own_address_is_wrong_but_read(address: str) -> None:
    description = described(0x91, "00000100 56341200", address)
    assert description.error is not None
    assert values(description) == {"forward_active_energy": "1234.56"}


def test_a_refusal_is_told_in_bits_and_words() -> None:
    description = described(0xD4, "06")
    assert description.error is not None
    assert description.error.bits == ("no_such_data", "password_or_unauthorised")
    assert "no such data, password or unauthorised (ERR 06)" in description.error.text
    assert description.function == "write"


@pytest.mark.parametrize(
    ("control", "data", "expected"),
    [
        (0x11, "01000006 05", {"blocks": "05"}),
        (0x11, "01000006 05 0012010226", {"blocks": "05", "from_time": "2602011200"}),
        (0x12, "00000100 02", {"sequence": "2"}),
        (0x92, "00000100 5634 02", {"sequence": "2", "data": "5634"}),
        (0x15, "001600000000", {"address": METER}),
        (0x17, "08", {"baud_code": "08", "baud": "2400"}),
        (0x97, "20", {"baud_code": "20", "baud": "9600"}),
        (0x16, "30239912", {"freeze_at": "12992330"}),
        (0x08, "004808200917", {"time": "170920084800"}),
        (0x1A, "02563412 01000000", {"level": "02", "operator": "00000001"}),
        (0x98, "02563412", {"new_level": "02"}),
        (
            0x03,
            "01000007 01000000 AB",
            {"identifier": "07000001", "operator": "00000001", "data": "AB"},
        ),
        (0x83, "01000007 AB", {"identifier": "07000001", "data": "AB"}),
        (
            0x14,
            "01010004 02563412 01000000 01110116",
            {"level": "02", "operator": "00000001", "date": "16011101"},
        ),
        (
            0x1C,
            "98563412 01000000" + "AB" * 20,
            {"level": "98", "operator": "00000001", "ciphertext": "AB" * 20},
        ),
        (
            0x14,
            "01100004 98563412 01000000" + "12" * 20,
            {"level": "98", "operator": "00000001", "ciphertext": "12" * 20},
        ),
        (
            0x14,
            "01100004 99563412 01000000 00200000 ABABABAB",
            {"level": "99", "operator": "00000001", "mac": "ABABABAB", "alarm_1_amount": "20.00"},
        ),
        (
            0x14,
            "01010004 99563412 01000000 01110116",
            {"level": "99", "operator": "00000001", "date": "16011101"},
        ),
        (
            0x14,
            "02020004 99563412 01000000 08",
            {"level": "99", "operator": "00000001", "day_tables": "8"},
        ),
        (
            0x1A,
            "98563412 01000000" + "AB" * 20,
            {"level": "98", "operator": "00000001", "ciphertext": "AB" * 20},
        ),
        (
            0x19,
            "99563412 01000000 ABABABAB",
            {"level": "99", "operator": "00000001", "mac": "ABABABAB"},
        ),
        (
            0x1B,
            "98563412 01000000" + "AB" * 20,
            {"level": "98", "operator": "00000001", "ciphertext": "AB" * 20},
        ),
        (
            0x1C,
            "99563412 01000000 1A00 595923311226 ABABABAB",
            {
                "level": "99",
                "operator": "00000001",
                "mac": "ABABABAB",
                "n1": "1A",
                "action": "trip",
                "n2": "00",
                "expiry": "261231235959",
            },
        ),
        (
            0x1C,
            "02563412 01000000" + "AB" * 20,
            {"level": "02", "operator": "00000001", "ciphertext": "AB" * 20},
        ),
        (0x05, "0102", {"data": "0102"}),
    ],
)
def test_requests_and_answers_are_told_field_by_field(
    control: int, data: str, expected: dict[str, str]
) -> None:
    description = described(control, data)
    assert values(description) == expected
    assert description.error is None


def test_a_refusal_comes_before_what_else_is_wrong() -> None:
    error = described(0xD1, "02", "AAAAAAAAAAAA").error
    assert error is not None
    assert error.text.startswith("the meter refused: no such data (ERR 02); the answer carries")


def test_data_that_go_on_in_another_frame_may_end_inside_a_value() -> None:
    assert described(0xB1, "00FF0100 56341200 7856").error is None
    assert described(0x91, "00FF0100 56341200 7856").error is not None


def test_a_recording_that_begins_with_noise_is_not_cut_at_its_length() -> None:
    frame = raw(Frame(METER, 0x91, bytes.fromhex("0000010056341200")))
    assert cut(b"\xfe\xfe" + frame) == [b"\xfe\xfe" + frame]
    assert cut(b"\x00\xfe" + frame) is None


def test_the_error_word_of_the_security_module_has_two_bytes() -> None:
    description = described(0xC3, "0201")
    assert description.protocol == "dlt645-2007"
    assert values(description) == {"security_error": "0102"}
    assert description.error is not None
    assert description.error.text == "the meter refused: security error word 0102"


def test_identifiers_of_commands_are_told() -> None:
    assert described(0x1B, "02000000 00000000 FFFFFFFF").identifier == "FFFFFFFF"
    assert described(0x1B, "99000000 00000000 FF003003 ABABABAB").identifier == "033000FF"
    assert described(0x18, "030C0004 02111111 02222222").identifier == "04000C03"
    assert described(0x03, "01000007 00000000").identifier is None


@pytest.mark.parametrize(
    ("control", "data"),
    [
        (0x14, "01010004 02563412 01000000 01110116"),
        (0x1C, "02563412 01000000 1A00 595923311226"),
        (0x18, "030C0004 02563412 02563412"),
        (0x98, "02563412"),
        (0x19, "02563412 01000000"),
    ],
)
def test_a_password_is_told_only_as_raw_bytes(control: int, data: str) -> None:
    description = described(control, data)
    assert description.error is None
    assert "123456" not in str((description.values, description.error))
    assert "563412" not in str((description.values, description.error))


@pytest.mark.parametrize(
    "text",
    [
        "68AA16",
        "68 aa 16",
        "0x68,0xAA,0x16",
        "68:AA:16",
        "68-aa-16",
        " 68\n AA\t16\r\n",
        "[0x68, 0xAA, 0x16]",
    ],
)
def test_hexadecimal_is_read_as_people_paste_it(text: str) -> None:
    assert parse_hex(text) == b"\x68\xaa\x16"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("68XY", "no hexadecimal digit at position 3"),
        ("681G", "no hexadecimal digit at position 4"),
        ("686", "half a byte at position 3"),
        ("6 8", "half a byte at position 1"),
        ("68 ٣٣", "no hexadecimal digit at position 4"),
    ],
)
def test_what_is_no_hexadecimal_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        parse_hex(text)


@given(st.text())
def test_no_text_makes_the_reading_of_hexadecimal_crash(text: str) -> None:
    with suppress(FrameError):
        parse_hex(text)
