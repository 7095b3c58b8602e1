"""DL/T 645-1997: exchanges on scripts of literal bytes, the map to 2007, and the simulated meter of
that version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from protocols.channels.conversation import Conversation, Timing
from protocols.channels.tcp import TcpChannel
from protocols.dlt645 import exchanges, exchanges_1997
from protocols.dlt645.exchanges_1997 import CODEC_1997
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.dlt645.identifiers import meaning, records, to_1997, to_2007
from protocols.dlt645.values import decode_values
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange, run_on_script
from simulators.bench.scenario import parse_scenario, site_clock
from simulators.dlt645.meter_1997 import SimulatedMeter1997
from simulators.lines.stream_lines import serve_tcp
from simulators.state.load import LoadCurve
from tests.simulated_meters import simulated_meter, simulated_meter_of

METER = "000000001600"
NOON = datetime(2026, 3, 1, 12, 0, 5)
SECRET = {"level": "02", "password": "123456"}


def frame_of(text: str) -> Frame:
    (frame,) = Decoder().feed(bytes.fromhex(text))
    assert isinstance(frame, Frame)
    return frame


def asked(control: int, data: str = "", address: str = METER) -> Frame:
    return Frame(address, control, bytes.fromhex(data))


@pytest.mark.parametrize(
    ("exchange", "request_", "answer", "result"),
    [
        (
            lambda: exchanges_1997.read_energy("138000130754"),
            "6854071300801368010243C3DA16",  # d97-051
            "6854071300801368810643C3343333332B16",  # d97-052
            Decimal("0.01"),
        ),
        (
            lambda: exchanges_1997.read("000000000003", "B611"),
            "6803000000000068010244E90316",  # d97-048
            "6803000000000068810444E93334EC16",  # d97-049
            bytes.fromhex("0001"),
        ),
        (
            lambda: exchanges_1997.read_registers("000000000075"),
            None,
            "6875000000000068811F52C363C63A345B685333B7C86333B48B5B336A365B333333333333333333DD5F16",  # d97-045
            tuple(
                map(
                    Decimal,
                    ["10793.30", "2035.28", "3095.84", "2858.81", "2803.37", "0.00", "0.00"],
                )
            ),
        ),
        (
            lambda: exchanges_1997.read("999999999999", "C030"),
            "6899999999999968010263F3BF16",  # d97-027
            "FEFEFEFE6834691708172068810563F33349334E16",  # d97-028, the only meter of the line answers
            bytes.fromhex("001600"),
        ),
    ],
)
def test_a_logged_exchange_is_played_byte_for_byte(
    exchange: Callable[[], Exchange[Frame, Any]], request_: str | None, answer: str, result: object
) -> None:
    request = next(exchange())
    assert request_ is None or encode(request) == bytes.fromhex(request_)
    assert CODEC_1997.is_answer(request, frame_of(answer))
    assert run_on_script(exchange(), [(request, frame_of(answer))]) == result


def test_a_logged_refusal_has_the_bits_of_1997() -> None:
    request = next(exchanges_1997.read("201708176934", "9010"))
    refused = frame_of("FEFEFEFE6834691708172068C10135BA16")  # d97-026
    with pytest.raises(MeterRefused) as refusal:
        run_on_script(exchanges_1997.read("201708176934", "9010"), [(request, refused)])
    assert refusal.value.bits == ("data_identifier",)
    assert CODEC_1997.is_answer(request, refused)


@pytest.mark.parametrize(
    ("exchange", "request_"),
    [
        (
            lambda: exchanges_1997.write(METER, "C211", b"\x50\x00", **SECRET),
            (0x04, "11C2 02563412 5000"),
        ),
        (
            lambda: exchanges_1997.write_address("000000001601"),
            (0x0A, "011600000000", "999999999999"),
        ),
        (lambda: exchanges_1997.change_baud(METER, 0x08), (0x0C, "08")),
        (
            lambda: exchanges_1997.change_password(METER, level="02", old="123456", new="654321"),
            (0x0F, "02563412 02214365"),
        ),
        (lambda: exchanges_1997.clear_demand(METER), (0x10, "")),
        (lambda: exchanges_1997.read_again(METER, "9010"), (0x03, "1090")),
    ],
)
def test_what_is_sent_and_what_a_refusal_becomes(
    exchange: Callable[[], Exchange[Frame, Any]], request_: tuple[Any, ...]
) -> None:
    sent = asked(*request_)
    with pytest.raises(MeterRefused) as refusal:
        run_on_script(exchange(), [(sent, asked(sent.control | 0xC0, "04"))])
    assert refusal.value.bits == ("password",)
    run_on_script(
        exchange(), [(sent, asked(sent.control | 0x80, "1090" if sent.control == 3 else ""))]
    )


def test_midnight_between_date_and_time_does_not_cost_a_day() -> None:
    script = [
        (asked(0x01, "10C0"), asked(0x81, "10C0 01110116")),
        (asked(0x01, "11C0"), asked(0x81, "11C0 010000")),
        (asked(0x01, "10C0"), asked(0x81, "10C0 02120116")),
    ]
    assert run_on_script(exchanges_1997.read_clock(METER), script) == datetime(2016, 1, 12, 0, 0, 1)


def test_follow_up_frames_without_end_are_refused() -> None:
    more = asked(0xA1, "1F90 00000000")
    script = [
        (asked(0x01, "1F90"), more),
        *[(asked(0x02, "1F90"), more._replace(control=0xA2))] * 255,
    ]
    with pytest.raises(FrameError, match="more than 255 follow-up frames"):
        run_on_script(exchanges_1997.read(METER, "901F"), script)


@pytest.mark.parametrize(
    ("value", "words"), [(b"", "nothing to write"), (bytes(45), "at most 50 data bytes")]
)
def test_what_cannot_be_written_down_is_never_sent(value: bytes, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        next(exchanges_1997.write(METER, "C010", value, **SECRET))


@pytest.mark.parametrize("control", [0x01, 0x02, 0x03])
def test_an_answer_has_the_identifier_of_the_question(control: int) -> None:
    request = asked(control, "1090")
    assert CODEC_1997.is_answer(request, asked(control | 0x80, "1090 00"))
    assert not CODEC_1997.is_answer(request, asked(control | 0x80, "2090 00"))
    assert not CODEC_1997.is_answer(request, asked(control | 0x80))
    assert CODEC_1997.is_answer(request, asked(control | 0xC0, "02"))


def test_frames_with_a_password_are_secret() -> None:
    assert [code for code in range(0x20) if CODEC_1997.has_secret(Frame(METER, code))] == [
        0x04,
        0x0F,
    ]


def test_follow_up_frames_have_no_number() -> None:
    script = [
        (asked(0x01, "1F90"), asked(0xA1, "1F90 5634")),
        (asked(0x02, "1F90"), asked(0xA2, "1F90 12")),
        (asked(0x02, "1F90"), asked(0x82, "1F90 00AA")),
    ]
    assert run_on_script(exchanges_1997.read(METER, "901F"), script) == bytes.fromhex("56341200AA")


@pytest.mark.parametrize(
    ("in_2007", "in_1997"),
    [
        ("00010000", "9010"),
        ("00010400", "9014"),
        ("0001FF00", "901F"),
        ("00020000", "9020"),
        ("00050000", "9130"),
        ("00080000", "9140"),
        ("00060000", "9150"),
        ("00070000", "9160"),
        ("00010001", "9410"),
        ("00010002", "9810"),
        ("01010000", "A010"),
        ("02010100", "B611"),
        ("0202FF00", "B62F"),
        ("02030000", "B630"),
        ("04000101", "C010"),
        ("04000402", "C032"),
        ("00010F00", None),
        ("00010003", None),
        ("05060101", None),
        ("FFFFFFFF", None),
    ],
)
def test_quantities_of_2007_have_their_identifier_of_1997(
    in_2007: str, in_1997: str | None
) -> None:
    assert to_1997(in_2007) == in_1997
    if in_1997:
        assert to_2007(in_1997) == in_2007


def test_the_map_leads_to_identifiers_that_the_2007_table_has() -> None:
    for record in records("1997"):
        identifier = "".join("1" if letter in "tpqn" else letter for letter in record.pattern)
        if record.pattern_2007:
            found = to_2007(identifier)
            assert found is not None
            assert meaning(found) is not None, record.pattern


def test_elements_of_a_block_may_be_separated() -> None:
    apart = decode_values("901F", bytes.fromhex("56341200AA78560000AA"))
    assert apart == decode_values("901F", bytes.fromhex("5634120078560000"))
    assert [value.value for value in apart] == ["1234.56", "56.78"]
    assert decode_values("B621", bytes.fromhex("3412")) == [("current_a", "12.34", "A")]


@pytest.mark.parametrize("identifier", ["", "90", "90100", "901G", "00010000"])
def test_what_is_no_identifier_is_refused_before_anything_is_sent(identifier: str) -> None:
    with pytest.raises(FrameError, match="4 hexadecimal digits"):
        next(exchanges_1997.read(METER, identifier))


def meter(**changes: Any) -> SimulatedMeter1997:
    no_load = LoadCurve(mwh_per_day=0)
    return simulated_meter_of(
        SimulatedMeter1997,
        METER,
        now=lambda: NOON,
        curve=no_load,
        initial_kwh=Decimal("1234.56"),
        password="123456",
        **changes,
    )


def test_the_simulated_meter_answers_in_the_older_version_alone() -> None:
    simulated = meter()
    answer = simulated.answer(asked(0x01, "1090"))
    assert answer == asked(0x81, "1090 56341200")
    assert simulated.answer(asked(0x11, "00000100")) is None
    assert simulated.answer(asked(0x01, "1090", "AAAAAAAAAAAA")) is None
    assert simulated.answer(asked(0x01, "1090", "999999999999")) == answer
    assert simulated.answer(asked(0x01, "12C2")) == asked(0xC1, "02")
    assert simulated.answer(asked(0x03, "1090")) == asked(0xC3, "02")
    assert simulated.answer(asked(0x01, "11B6")) == asked(0x81, "11B6 2002")
    assert simulated.answer(asked(0x03, "11B6")) == asked(0x83, "11B6 2002")
    assert simulated.answer(asked(0x01, "12B6")) == asked(0x81, "12B6 FFFF")
    assert simulated.answer(asked(0x01, "32C0")) == asked(0x81, "32C0 001600000000")
    assert simulated.answer(asked(0x04, "11C0 02000000 000000")) == asked(0xC4, "04")
    assert simulated.answer(asked(0x04, "11C0 02563412 000099")) == asked(0xC4, "01")
    assert simulated.answer(asked(0x10)) == asked(0xD0, "04")


def test_a_meter_of_each_version_shares_a_line_and_the_clock_is_set() -> None:
    async def story() -> None:
        old = meter(frame_limit=16)
        new = simulated_meter("000000000001", now=lambda: NOON)
        async with serve_tcp([old, new]) as line, TcpChannel("127.0.0.1", line.port) as channel:
            timing = Timing(reply_timeout_s=2.0, retries=0)
            speaks_1997 = Conversation(channel, CODEC_1997, line="test", timing=timing)
            registers = await speaks_1997.run(exchanges_1997.read_registers(METER))
            assert registers == tuple(Decimal(it).scaleb(-2) for it in old.state.registers(NOON))
            assert len(registers) == 5
            to = datetime(2026, 3, 2, 0, 0, 30)
            await speaks_1997.run(exchanges_1997.set_clock(METER, to, **SECRET))
            assert await speaks_1997.run(exchanges_1997.read_clock(METER)) == to
            speaks_2007 = Conversation(channel, exchanges.CODEC_2007, line="test", timing=timing)
            assert await speaks_2007.run(exchanges.read_registers("000000000001"))

    asyncio.run(story())


def test_a_scenario_says_which_version_a_fleet_speaks() -> None:
    scenario = parse_scenario(
        '[lines.a]\nport = 0\n[[meters]]\nline = "a"\naddress = "000000001600"\nprotocol = "dlt645-1997"\n'
    )
    bus = scenario.build(site_clock(scenario.zone))["a"]
    assert isinstance(bus.meters[METER], SimulatedMeter1997)
