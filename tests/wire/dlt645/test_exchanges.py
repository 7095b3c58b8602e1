"""Exchanges played on scripts of (sent, received); bytes are written out, not made by our
encoder."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from protocols.dlt645 import exchanges
from protocols.dlt645.exchanges import (
    CODEC_2007,
    FreezeMoved,
    FrozenRegisters,
    RelayAction,
    StatusWord3,
)
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange, run_on_script

METER = "000000001600"


def asked(control: int, data: str = "", address: str = METER) -> Frame:
    return Frame(address, control, bytes.fromhex(data))


said = asked


def wall(*parts: int) -> datetime:
    """A meter's wall clock has no zone."""
    return datetime(*parts)  # type: ignore[arg-type]


def test_a_read_returns_the_data_after_the_identifier() -> None:
    script = [(asked(0x11, "00000100"), said(0x91, "00000100 56341200"))]
    assert run_on_script(exchanges.read(METER, "00010000"), script) == bytes.fromhex("56341200")


def test_follow_up_frames_are_joined_in_their_sequence() -> None:
    script = [
        (asked(0x11, "00FF0100"), said(0xB1, "00FF0100 5634")),
        (asked(0x12, "00FF0100 01"), said(0xB2, "00FF0100 1200 01")),
        (asked(0x12, "00FF0100 02"), said(0x92, "00FF0100 99 02")),
    ]
    assert run_on_script(exchanges.read(METER, "0001FF00"), script) == bytes.fromhex("5634120099")


def test_a_meter_that_never_ends_is_not_followed_for_ever() -> None:
    exchange = exchanges.read(METER, "00010000")
    next(exchange)
    request = exchange.send(said(0xB1, "00000100"))
    for _ in range(254):
        request = exchange.send(said(0xB2, f"00000100 00 {request.data[4]:02X}"))
    assert request.data[4] == 255
    with pytest.raises(FrameError, match="more than 255 follow-up frames"):
        exchange.send(said(0xB2, "00000100 00 FF"))


@pytest.mark.parametrize(
    ("word", "bits"),
    [
        (0x02, ("no_such_data",)),
        (0x04, ("password_or_unauthorised",)),
        (0x09, ("other", "baud_cannot_change")),
    ],
)
def test_an_abnormal_answer_is_a_refusal_with_its_bits(word: int, bits: tuple[str, ...]) -> None:
    script = [(asked(0x11, "00000100"), Frame(METER, 0xD1, bytes((word,))))]
    with pytest.raises(MeterRefused) as refusal:
        run_on_script(exchanges.read(METER, "00010000"), script)
    assert (refusal.value.address, refusal.value.asked, refusal.value.word) == (
        METER,
        "00010000",
        word,
    )
    assert refusal.value.bits == bits


@pytest.mark.parametrize("identifier", ["", "0001", "0001000G", "00 01 00 00", "0001000000"])
def test_what_is_no_identifier_is_refused_before_anything_is_sent(identifier: str) -> None:
    with pytest.raises(FrameError, match="8 hexadecimal digits"):
        next(exchanges.read(METER, identifier))


@pytest.mark.parametrize(
    ("identifier", "data", "energy"),
    [
        ("00010000", "56341200", Decimal("1234.56")),
        ("00000000", "56341280", Decimal("-1234.56")),
        ("002B0000", "56341280", Decimal("-1234.56")),
        ("00010000", "56341280", Decimal("801234.56")),
        ("00010000", "FFFFFFFF", None),
    ],
)
def test_energy_is_decimal_with_its_sign_or_none(
    identifier: str, data: str, energy: Decimal | None
) -> None:
    wire = bytes.fromhex(identifier)[::-1].hex()
    script = [(asked(0x11, wire), said(0x91, wire + data))]
    assert run_on_script(exchanges.read_energy(METER, identifier), script) == energy


@pytest.mark.parametrize("data", ["000000", "0000000003", "5634120078560000"])
def test_an_energy_of_another_length_is_refused(data: str) -> None:
    script = [(asked(0x11, "00000100"), said(0x91, "00000100" + data))]
    with pytest.raises(FrameError, match=f"{len(data) // 2} bytes, an energy has 4"):
        run_on_script(exchanges.read_energy(METER), script)


def test_a_total_that_is_told_in_place_of_a_block_has_the_width_of_one() -> None:
    script = [
        (asked(0x11, "00FF0100"), said(0xD1, "02")),
        (asked(0x11, "00000100"), said(0x91, "00000100 56341200 78560000")),
    ]
    with pytest.raises(FrameError, match="8 bytes, an energy has 4"):
        run_on_script(exchanges.read_registers(METER), script)


def test_a_status_word_of_another_length_is_refused() -> None:
    script = [(asked(0x11, "03050004"), said(0x91, "03050004 500000"))]
    with pytest.raises(FrameError, match="3 bytes, a status word has 2"):
        run_on_script(exchanges.read_status_word_3(METER), script)


def test_an_energy_that_is_too_short_is_refused() -> None:
    script = [(asked(0x11, "00000100"), said(0x91, "00000100 5634"))]
    with pytest.raises(FrameError, match="2 bytes, an energy has 4"):
        run_on_script(exchanges.read_energy(METER), script)


def test_the_address_is_asked_of_whoever_is_there() -> None:
    script = [(asked(0x13, address="AAAAAAAAAAAA"), said(0x93, "001600000000"))]
    assert run_on_script(exchanges.read_address(), script) == METER


def test_the_clock_is_date_and_time() -> None:
    script = [
        (asked(0x11, "01010004"), said(0x91, "01010004 01110116")),
        (asked(0x11, "02010004"), said(0x91, "02010004 555321")),
    ]
    assert run_on_script(exchanges.read_clock(METER), script) == wall(2016, 1, 11, 21, 53, 55)


def test_midnight_between_date_and_time_does_not_cost_a_day() -> None:
    script = [
        (asked(0x11, "01010004"), said(0x91, "01010004 01110116")),
        (asked(0x11, "02010004"), said(0x91, "02010004 010000")),
        (asked(0x11, "01010004"), said(0x91, "01010004 02120116")),
    ]
    assert run_on_script(exchanges.read_clock(METER), script) == wall(2016, 1, 12, 0, 0, 1)


def test_a_clock_that_tells_no_time_is_refused() -> None:
    script = [
        (asked(0x11, "01010004"), said(0x91, "01010004 00000000")),
        (asked(0x11, "02010004"), said(0x91, "02010004 000000")),
    ]
    with pytest.raises(FrameError, match="never set"):
        run_on_script(exchanges.read_clock(METER), script)


def test_status_word_3_tells_the_relay_from_the_command() -> None:
    script = [(asked(0x11, "03050004"), said(0x91, "03050004 5002"))]
    word = run_on_script(exchanges.read_status_word_3(METER), script)
    assert word == StatusWord3(0x0250)
    assert (word.relay_open, word.command_open, word.pre_trip_alarm, word.keep_power) == (
        True,
        True,
        False,
        False,
    )
    assert word.meter_type == 2
    assert StatusWord3(0x0040).command_open
    assert not StatusWord3(0x0040).relay_open
    assert StatusWord3(0x1080).pre_trip_alarm
    assert StatusWord3(0x1080).keep_power


STAMP = (asked(0x11, "01000605"), said(0x91, "01000605 0000091015"))
REGISTERS = (asked(0x11, "01010605"), said(0x91, "01010605 78560000 FFFFFFFF"))


def test_a_freeze_is_its_time_stamp_and_its_registers() -> None:
    frozen = run_on_script(exchanges.read_daily_freeze(METER, 1), [STAMP, REGISTERS])
    assert frozen == FrozenRegisters(wall(2015, 10, 9), (Decimal("56.78"), None))


def test_the_index_of_a_freeze_is_hexadecimal_in_its_identifier() -> None:
    script = [(asked(0x11, "3E000605"), said(0x91, "3E000605 0000000000"))]
    assert run_on_script(exchanges.read_daily_freeze(METER, 62), script) is None


@pytest.mark.parametrize("answer", [said(0x91, "01000605 FFFFFFFFFF"), said(0xD1, "02")])
def test_where_there_is_no_freeze_there_is_none(answer: Frame) -> None:
    assert run_on_script(exchanges.read_daily_freeze(METER, 1), [(STAMP[0], answer)]) is None


def test_a_refusal_for_another_reason_is_not_a_missing_freeze() -> None:
    with pytest.raises(MeterRefused):
        run_on_script(exchanges.read_daily_freeze(METER, 1), [(STAMP[0], said(0xD1, "04"))])


def test_a_confirmed_freeze_reads_its_stamp_again() -> None:
    frozen = run_on_script(
        exchanges.read_daily_freeze(METER, 1, confirm=True), [STAMP, REGISTERS, STAMP]
    )
    assert frozen is not None
    moved = (STAMP[0], said(0x91, "01000605 0000101015"))
    with pytest.raises(FreezeMoved, match="froze anew"):
        run_on_script(
            exchanges.read_daily_freeze(METER, 1, confirm=True), [STAMP, REGISTERS, moved]
        )


@pytest.mark.parametrize("data", ["", "785600", "7856000000"])
def test_registers_of_an_odd_length_are_refused(data: str) -> None:
    with pytest.raises(FrameError, match="not 4 for each register"):
        run_on_script(
            exchanges.read_daily_freeze(METER, 1),
            [STAMP, (REGISTERS[0], said(0x91, "01010605" + data))],
        )


def test_the_time_is_broadcast_in_bcd() -> None:
    request = asked(0x08, "004808200917", BROADCAST)
    script = [(request, request)]
    assert run_on_script(exchanges.set_clock(wall(2017, 9, 20, 8, 48, 0)), script) is None
    assert not CODEC_2007.has_answer(request)


def test_a_freeze_command_is_minute_hour_day_month_on_the_wire() -> None:
    script = [(asked(0x16, "30239912"), said(0x96))]
    run_on_script(exchanges.freeze(METER, "12992330"), script)
    with pytest.raises(MeterRefused):
        run_on_script(
            exchanges.freeze(METER, "12992330"), [(asked(0x16, "30239912"), said(0xD6, "01"))]
        )
    for pattern in ("1299233", "1299233A", "１２９９２３３０"):
        with pytest.raises(FrameError, match="MMDDhhmm"):
            next(exchanges.freeze(METER, pattern))


def test_a_control_command_is_built_as_a_logged_one() -> None:
    """The frame of vector d07-328, from a foreign master, but for its address."""
    script = [(asked(0x1C, "02000000 01000000 1B00 595923311226"), said(0x9C))]
    exchange = exchanges.control(
        METER,
        RelayAction.ALLOW_CLOSE,
        level="02",
        password="000000",
        operator="00000001",
        expires=wall(2026, 12, 31, 23, 59, 59),
    )
    assert run_on_script(exchange, script) is None


def control(**changes: Any) -> Exchange[Frame, None]:
    how = {
        "level": "02",
        "password": "123456",
        "operator": "00000001",
        "expires": wall(2026, 1, 1),
        **changes,
    }
    return exchanges.control(how.pop("address", METER), RelayAction.TRIP, **how)


def test_a_refused_control_command_raises() -> None:
    request = next(control())
    assert request.data[:4] == bytes.fromhex("02563412")
    with pytest.raises(MeterRefused, match="control trip: password or unauthorised"):
        run_on_script(control(), [(request, said(0xDC, "04"))])


@pytest.mark.parametrize(
    "changes",
    [
        {"address": BROADCAST},
        {"address": "AAAAAAAAAAAA"},
        {"address": "AA0000001600"},
        {"level": "2"},
        {"password": "12345"},
        {"operator": "1"},
        {"duration": 256},
    ],
    ids=str,
)
def test_a_control_command_to_many_or_with_wrong_parts_is_not_built(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(FrameError) as error:
        next(control(**changes))
    assert "12345" not in str(error.value)


READ = asked(0x11, "00000100")


@pytest.mark.parametrize(
    ("request_", "frame", "is_answer"),
    [
        (READ, said(0x91, "00000100 00"), True),
        (READ, said(0xB1, "00000100 00"), True),
        (READ, said(0xD1, "02"), True),
        (READ, said(0x91, "00000200 00"), False),
        (READ, said(0x91, "0000"), False),
        (READ, said(0x91), False),
        (READ, said(0x92, "00000100 00"), False),
        (READ, READ, False),
        (READ, said(0x91, "00000100 00", "000000001601"), False),
        (asked(0x11, "00000100", "AAAAAAAAAAAA"), said(0x91, "00000100 00"), True),
        (asked(0x11, "00000100", "AAAAAAAA1600"), said(0x91, "00000100 00"), True),
        (asked(0x11, "00000100", "AAAAAAAA1601"), said(0x91, "00000100 00"), False),
        (asked(0x12, "00000100 02"), said(0x92, "00000100 99 02"), True),
        (asked(0x12, "00000100 02"), said(0x92, "00000100 99 01"), False),
        (asked(0x12, "00000100 02"), said(0x92, "00000200 99 02"), False),
        (asked(0x12, "00000100 02"), said(0x92, "00000100"), False),
        (asked(0x13), said(0x93, "001600000000"), True),
        (asked(0x13), said(0x93, "00160000"), False),
        (asked(0x1C), said(0x9C), True),
        (asked(0x1C), said(0x94), False),
    ],
)
def test_only_the_answer_to_the_question_is_an_answer(
    request_: Frame, frame: Frame, is_answer: bool
) -> None:
    assert CODEC_2007.is_answer(request_, frame) is is_answer


def test_only_1c_is_control_and_only_broadcasts_stay_without_answer() -> None:
    assert [code for code in range(0x20) if CODEC_2007.is_control(Frame(METER, code))] == [0x1C]
    assert [code for code in range(0x20) if not CODEC_2007.has_answer(Frame(METER, code))] == [0x08]
    assert not CODEC_2007.has_answer(asked(0x16, "99999999", BROADCAST))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([], "wants more"),
        ([(asked(0x11, "00000200"), said(0x91))], "expected"),
        ([(READ, said(0x91, "00000100 00")), (READ, said(0x91))], "ended before the script"),
    ],
)
def test_a_script_fails_on_another_request_and_on_an_unread_answer(
    script: list[Any], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        run_on_script(exchanges.read(METER, "00010000"), script)
