"""What is set in a meter, played on scripts of (sent, received); bytes of vectors where there are
any."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from protocols.dlt645 import exchanges, writing
from protocols.dlt645.exchanges import CODEC_2007, RelayAction
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.dlt645.load_records import decode_load_records
from protocols.dlt645.values import decode_values
from protocols.dlt645.writing import Authority
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange, run_on_script

METER = "000000001600"
AUTHORITY = Authority("02", "123456", "00000001")
ON_THE_WIRE = "02563412 01000000"


def asked(control: int, data: str = "", address: str = METER) -> Frame:
    return Frame(address, control, bytes.fromhex(data))


def frame_of(text: str) -> Frame:
    (frame,) = Decoder().feed(bytes.fromhex(text))
    assert isinstance(frame, Frame)
    return frame


def wall(*parts: int) -> datetime:
    """A meter's wall clock has no zone."""
    return datetime(*parts)  # type: ignore[arg-type]


def control(
    address: str, action: RelayAction, level: str, expires: datetime, **more: Any
) -> Exchange[Frame, None]:
    how = {"password": "000000", "operator": "00000000", **more}
    return exchanges.control(address, action, level=level, expires=expires, **how)


@pytest.mark.parametrize(
    ("vector", "exchange"),
    [
        (
            "FEFEFEFE68123456781012681506456789AB43468A16",  # d07-106
            writing.write_address("131078563412", "121078563412"),
        ),
        (
            "FEFEFEFE68121078563412681604CCCCCCCC5016",  # d07-310
            exchanges.freeze("123456781012", "99999999"),
        ),
        (
            "68999999999999680806337B3B533C4A3616",  # d07-191
            exchanges.set_clock(wall(2017, 9, 20, 8, 48, 0)),
        ),
        (
            "FEFEFEFE6804002810192068140E3434933735333333646464646F339916",  # d07-038
            writing.write(
                "201910280004", "04600101", b"\x3c\x00", Authority("02", "000000", "31313131")
            ),
        ),
        (
            "FEFEFEFE6895430219121868140E3333353D35333333333333333333E716",  # d07-120
            writing.write("181219024395", "0A020000", bytes(2), Authority("02", "000000")),
        ),
        (
            "FEFE68298184280000681C1035333333333333334D333333333434CC3916",  # d07-035
            control("000028848129", RelayAction.TRIP, "02", wall(2099, 1, 1)),
        ),
        (
            "68111111111111681C1033333333333333334D3357744845384B5516",  # d07-040
            control("111111111111", RelayAction.TRIP, "00", wall(2018, 5, 12, 15, 41, 24)),
        ),
        (
            "FEFEFEFE68090051050326681C1035333333333333334E348C8C566445CC8316",  # d07-031: its N2 is 01
            control(
                "260305510009",
                RelayAction.ALLOW_CLOSE,
                "02",
                wall(2099, 12, 31, 23, 59, 59),
                duration=1,
            ),
        ),
        (
            "68010000000000" + "6803083433333A333333337C16",  # d07-267
            writing.security("000000000001", "07000001", "00000000"),
        ),
    ],
)
def test_a_command_is_built_as_a_logged_one(vector: str, exchange: Exchange[Frame, Any]) -> None:
    assert encode(next(exchange)) == bytes.fromhex(vector).lstrip(b"\xfe")


@pytest.mark.parametrize(
    ("exchange", "request_", "reply"),
    [
        (
            lambda: writing.write(METER, "04000103", b"\x15", AUTHORITY),
            (0x14, "03010004" + ON_THE_WIRE + "15"),
            "",
        ),
        (lambda: writing.write_address("000000001601", METER), (0x15, "011600000000"), ""),
        (lambda: writing.change_baud(METER, 9600), (0x17, "20"), "20"),
        (
            lambda: writing.change_password(METER, 2, AUTHORITY, Authority("03", "654321")),
            (0x18, "030C0004 02563412 03214365"),
            "03214365",
        ),
        (lambda: writing.clear_demand(METER, AUTHORITY), (0x19, ON_THE_WIRE), ""),
        (lambda: writing.clear_meter(METER, AUTHORITY), (0x1A, ON_THE_WIRE), ""),
        (lambda: writing.clear_events(METER, AUTHORITY), (0x1B, ON_THE_WIRE + "FFFFFFFF"), ""),
        (
            lambda: writing.clear_events(METER, AUTHORITY, "033000FF"),
            (0x1B, ON_THE_WIRE + "FF003003"),
            "",
        ),
        (
            lambda: writing.security(METER, "07000001", "00000001", b"\xab"),
            (0x03, "01000007 01000000 AB"),
            "01000007 CDEF",
        ),
        (
            lambda: writing.send_opaque(METER, 0x1C, bytes(range(28))),
            (0x1C, bytes(range(28)).hex()),
            "",
        ),
    ],
)
def test_what_is_sent_and_what_a_refusal_becomes(
    exchange: Callable[[], Exchange[Frame, Any]], request_: tuple[int, str], reply: str
) -> None:
    sent = asked(*request_)
    run_on_script(exchange(), [(sent, asked(sent.control | 0x80, reply))])
    with pytest.raises(MeterRefused) as refusal:
        run_on_script(exchange(), [(sent, asked(sent.control | 0xC0, "04"))])
    assert refusal.value.bits == ("password_or_unauthorised",)
    assert CODEC_2007.is_answer(sent, asked(sent.control | 0x80, reply))
    assert "123456" not in str(refusal.value)


def test_every_relay_action_has_its_n1() -> None:
    n1 = [next(control(METER, action, "02", wall(2026, 1, 1))).data[8] for action in RelayAction]
    assert n1 == [0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x2A, 0x2B, 0x3A, 0x3B]


def test_the_security_error_word_has_two_bytes() -> None:
    request = next(writing.security(METER, "07000001", "00000000"))
    with pytest.raises(MeterRefused) as refusal:
        run_on_script(
            writing.security(METER, "07000001", "00000000"), [(request, asked(0xC3, "0201"))]
        )
    assert refusal.value.word == 0x0102


def test_what_it_returns_is_what_the_meter_confirmed() -> None:
    confirmed = run_on_script(
        writing.change_baud(METER, 9600), [(asked(0x17, "20"), asked(0x97, "08"))]
    )
    assert confirmed == 2400
    with pytest.raises(FrameError, match="answered a change"):
        run_on_script(writing.change_baud(METER, 9600), [(asked(0x17, "20"), asked(0x97, "03"))])
    for damaged in ("", "2020"):
        with pytest.raises(FrameError, match="answered a change"):
            run_on_script(
                writing.change_baud(METER, 9600), [(asked(0x17, "20"), asked(0x97, damaged))]
            )
    answer = (asked(0x18, "010C0004 02563412 02563412"), asked(0x98, "02111111"))
    with pytest.raises(FrameError, match="another password"):
        run_on_script(writing.change_password(METER, 0, AUTHORITY, AUTHORITY), [answer])


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        (lambda: writing.write(METER, "04000103", b"", AUTHORITY), "nothing to write"),
        (lambda: writing.write(METER, "04000103", bytes(39), AUTHORITY), "at most 50 data bytes"),
        (
            lambda: writing.write("AAAAAAAAAAAA", "04000103", b"\1", AUTHORITY),
            "not the address of one meter",
        ),
        (lambda: writing.clear_meter("999999999999", AUTHORITY), "not the address of one meter"),
        (lambda: writing.write_address("99999999999"), "12 digits"),
        (lambda: writing.write_address("999999999999"), "12 digits"),
        (lambda: writing.change_baud(METER, 115200), "none of 600"),
        (lambda: writing.change_password(METER, 10, AUTHORITY, AUTHORITY), "no password 10"),
        (lambda: writing.clear_meter(METER, Authority("2", "123456")), "level is not 2 digits"),
        (lambda: writing.clear_meter(METER, Authority("02", "12345")), "password is not 6 digits"),
        (lambda: writing.send_opaque(METER, 0x11, b""), "carries no opaque payload"),
        (lambda: exchanges.read_load_records(METER, "06000001", 0), "1 to 99"),
    ],
)
def test_what_cannot_be_written_down_is_never_sent(
    exchange: Callable[[], Exchange[Frame, Any]], words: str
) -> None:
    with pytest.raises(FrameError, match=words) as error:
        next(exchange())
    assert "12345" not in str(error.value)


def test_a_password_is_not_in_the_text_of_an_authority_and_its_frames_are_secret() -> None:
    assert "123456" not in repr(AUTHORITY)
    secret = [code for code in range(0x20) if CODEC_2007.has_secret(Frame(METER, code))]
    assert secret == [0x03, 0x14, 0x18, 0x19, 0x1A, 0x1B, 0x1C]


def test_a_meter_may_answer_from_its_new_address() -> None:
    request = asked(0x15, "011600000000")
    assert CODEC_2007.is_answer(request, asked(0x95, address="000000001601"))
    assert not CODEC_2007.is_answer(request, asked(0x95, address="000000001602"))


@pytest.mark.parametrize(
    ("identifier", "text", "data"),
    [
        ("04000103", "15", "15"),
        ("04001001", "50.00", "00500000"),
        ("04000101", "16011101", "01110116"),
        ("04000B01", "0100", "0001"),
        ("04000B02", "9999", "9999"),
        ("04000106", "0000000000", "0000000000"),
        ("04000102", "235959", "595923"),
        ("04010001", "233014", "143023"),
        ("04000307", "100", "000100"),
        ("04000901", "0x3F", "3F"),
        ("04020000", "010101,060102", "010101 020106"),
        ("04000404", "220V", "56303232"),
        (
            "028011FF",
            f"0102030405060708,220.0,0.0,0.0,{'12' * 29},0.01,{'34' * 16},0x0102",
            f"0102030405060708 0022 0000 0000 {'12' * 29} 01000000 {'34' * 16} 0201",
        ),
    ],
)
def test_what_a_person_writes_becomes_bytes_and_back(identifier: str, text: str, data: str) -> None:
    assert writing.encode_value(identifier, text) == bytes.fromhex(data)
    back = [
        value.value
        for value in decode_values(identifier, bytes.fromhex(data))
        if value.value != "no"
    ]
    assert [part for part in back if part] == text.split(",")


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("04000103", "abc"),
        ("04000103", "100"),
        ("04000101", "160111"),
        ("04010000", "010101,06010"),
        ("04000901", "3"),
        ("04E00000", "1"),
        ("04000103", "1,2"),
        ("06000001", "1"),
        ("04000102", "240000"),
        ("04000102", "٠٨٠٠٠٠"),
        ("04000102", "086000"),
        ("04000102", "080060"),
        ("04000101", "26130101"),
        ("04000101", "26013201"),
        ("04000101", "26013107"),
    ],
)
def test_what_does_not_fit_is_refused(identifier: str, text: str) -> None:
    with pytest.raises(FrameError):
        writing.encode_value(identifier, text)


RECORD = (
    "A0A0 {length} 0012010226"
    "2322 FFFF FFFF 004500 FFFFFF FFFFFF 0050 AA AA AA 56341200 00000000 00000000 01000080 AA AA AA {sum} E5"
)


def record(length_counts_end: bool) -> bytes:
    body = bytes.fromhex(RECORD.format(length="00", sum="00"))
    body = body[:2] + bytes((len(body) - 3 - (0 if length_counts_end else 2),)) + body[3:]
    return body[:-2] + bytes((sum(body[:-2]) & 0xFF,)) + body[-1:]


@pytest.mark.parametrize("length_counts_end", [True, False])
def test_load_records_are_read_with_count_and_time(length_counts_end: bool) -> None:
    data = record(length_counts_end)
    script = [
        (asked(0x11, "01000006 05 0012010226"), asked(0xB1, "01000006" + data[:20].hex())),
        (asked(0x12, "01000006 01"), asked(0x92, "01000006" + (data[20:] + data).hex() + "01")),
    ]
    records = run_on_script(
        exchanges.read_load_records(METER, "06000001", 5, wall(2026, 2, 1, 12, 0)), script
    )
    assert len(records) == 2
    assert records[0] == records[1]
    assert records[0].stored_at == wall(2026, 2, 1, 12, 0)
    told = {name: value for name, value, _ in records[0].values}
    assert told["voltage_a"] == Decimal("222.3")
    assert told["voltage_b"] is None
    assert told["current_a"] == Decimal("4.500")
    assert told["forward_active_energy"] == Decimal("1234.56")
    assert told["combined_reactive_2_energy"] == Decimal("-0.01")
    assert "active_power" not in told
    values = decode_values("06000001", data)
    assert values[0] == ("load_record_since_1_time", "2602011200", "YYMMDDhhmm")
    assert values[1] == ("load_record_since_1_voltage_a", "222.3", "V")


def test_each_block_of_a_load_record_has_its_values() -> None:
    blocks = (
        "2322 2322 FFFF 004500 004580 FFFFFF 0050",
        "563412 563492" + "010000" * 6,
        "0010 0090 0005 0005",
        "78563412 01000000 01000000 01000080",
        "01000000 02000000 03000000 04000000",
        "563412 563492",
    )
    body = bytes.fromhex("A0A0 00 0012010226" + "".join(f"{block}AA" for block in blocks))
    body = body[:2] + bytes((len(body) - 3,)) + body[3:]
    (told,) = decode_load_records(body + bytes((sum(body) & 0xFF, 0xE5)))
    assert [f"{value} {unit}".rstrip() for _, value, unit in told.values] == [
        *("222.3 V", "222.3 V", "None V", "4.500 A", "-4.500 A", "None A", "50.00 Hz"),
        *("12.3456 kW", "-12.3456 kW", "0.0001 kW", "0.0001 kW", *["0.0001 kvar"] * 4),
        *("1.000", "-1.000", "0.500", "0.500"),
        *("123456.78 kWh", "0.01 kWh", "0.01 kvarh", "-0.01 kvarh"),
        *("0.01 kvarh", "0.02 kvarh", "0.03 kvarh", "0.04 kvarh"),
        *("12.3456 kW", "-12.3456 kvar"),
    ]


def test_bytes_behind_the_blocks_of_a_load_record_are_refused() -> None:
    body = record(length_counts_end=False)[:-2]
    longer = body[:2] + bytes((body[2] + 1,)) + body[3:] + b"\0"
    with pytest.raises(FrameError, match="1 bytes behind the 6 blocks"):
        decode_load_records(longer + bytes((sum(longer) & 0xFF, 0xE5)))


def test_no_single_wrong_byte_of_a_load_record_is_taken() -> None:
    good = record(length_counts_end=False)
    for place in range(len(good)):
        for change in (1, 0x10, 0x80):
            spoiled = good[:place] + bytes((good[place] ^ change,)) + good[place + 1 :]
            with pytest.raises(FrameError):
                decode_load_records(spoiled)


FREEZE_PARTS = (
    "0000091015"
    + "78560000" * 3
    + "11000000" * 3
    + "00000080" * 6
    + "22000000" * 12
    + "0010000000091015" * 6
    + "000100" * 8
)


def test_the_block_of_a_freeze_takes_its_tariffs_from_the_length() -> None:
    values = decode_values("0506FF01", bytes.fromhex(FREEZE_PARTS))
    told = {value.name: value.value for value in values}
    assert told["daily_freeze_time_last_1"] == "1510090000"
    assert told["daily_freeze_forward_active_energy_tariff_2_last_1"] == "56.78"
    assert told["daily_freeze_combined_reactive_1_energy_last_1"] == "0.00"
    assert told["daily_freeze_reverse_active_maximum_demand_time_tariff_2_last_1"] == "1510090000"
    assert told["daily_freeze_reactive_power_c_last_1"] == "0.0100"
    assert len(values) == 1 + 3 * 8 + 2 * 2 * 3 + 8
    assert "tariff_3" not in "".join(told)


def test_a_freeze_block_may_have_an_aa_behind_each_part() -> None:
    widths = [5, *[12] * 8, 24, 24, 24]
    data, at, separated = bytes.fromhex(FREEZE_PARTS), 0, b""
    for width in widths:
        separated += data[at : at + width] + b"\xaa"
        at += width
    assert decode_values("0506FF01", separated) == decode_values("0506FF01", data)
    assert decode_values("0506FF01", separated[:-1]) == decode_values("0506FF01", data)
    assert decode_values("0506FF01", data[:-1]) == [("data", data[:-1].hex().upper(), "hex")]
