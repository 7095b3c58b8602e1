"""A simulated meter against bytes that others wrote or captured, and against its own arithmetic."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.frame import Decoder, Frame, encode
from simulators.dlt645.meter import SimulatedMeter
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.state.clock import MeterClock
from simulators.state.load import MWH_PER_DIGIT, MWH_PER_KWH, RATES, SHAPES, LoadCurve
from simulators.state.meter import MeterEvent
from simulators.state.relay import Relay, RelayKind
from simulators.state.spec import Outages
from tests.simulated_meters import simulated_meter

NO_LOAD = LoadCurve(mwh_per_day=0)
NOON = datetime(2026, 5, 2, 12, 0, 0)


class SettableTime:
    """Site time that a test moves."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **what: float) -> None:
        self.at += timedelta(**what)


def ask(meter: SimulatedMeter, request_hex: str) -> str:
    """The whole answer, wake-up included, as hex; "" for silence."""
    (request,) = (
        item for item in Decoder().feed(bytes.fromhex(request_hex)) if isinstance(item, Frame)
    )
    reply = meter.answer(request)
    return (b"\xfe" * meter.wake_up + encode(reply)).hex().upper() if reply else ""


def answered(meter: SimulatedMeter, request: Frame) -> Frame:
    """The answer to a request that is not left without one."""
    reply = meter.answer(request)
    assert reply is not None
    return reply


def refuses(meter: SimulatedMeter, identifier: str) -> bool:
    """Whether a read is answered with D1 02: there is no such data."""
    reply = answered(meter, Frame(meter.address, 0x11, bytes.fromhex(identifier)[::-1]))
    return (reply.control, reply.data) == (0xD1, b"\x02")


def read(meter: SimulatedMeter, identifier: str) -> bytes:
    """The data of an answer, with its follow-up frames."""
    reply = answered(meter, Frame(meter.address, 0x11, bytes.fromhex(identifier)[::-1]))
    assert reply.control in (0x91, 0xB1)
    assert reply.data[:4] == bytes.fromhex(identifier)[::-1]
    data = reply.data[4:]
    sequence = 0
    while reply.has_more:
        sequence += 1
        asked = bytes.fromhex(identifier)[::-1] + bytes((sequence,))
        reply = answered(meter, Frame(meter.address, 0x12, asked))
        assert reply.data[:4] + reply.data[-1:] == asked
        data += reply.data[4:-1]
    return data


def plain(address: str, at: datetime = NOON, **what: Any) -> SimulatedMeter2007:
    """A meter without load, that answers without FE."""
    return simulated_meter(address, now=lambda: at, **{"curve": NO_LOAD, "wake_up": 0, **what})


# Answers that were recorded elsewhere: (meter, request, answer). The name is the one of the vector.
RECORDED = {
    "d07-002/003 address of any meter": (
        plain("201000000012"),
        "68AAAAAAAAAAAA681300DF16",
        "681200000010206893064533333343531F16",
    ),
    "d07-319/320 6.78 kWh, as logged behind a terminal": (
        plain("151230011061", initial_kwh=Decimal("6.78")),
        "68611001301215681104333334337B16",
        "6861100130121568910833333433AB3933334916",
    ),
    "d07-007/008 voltages, no phase B and C": (
        plain("201000000012", voltage_v=Decimal("225.6")),
        "6812000000102068110433323435F516",
        "6812000000102068910A333234358955323232322116",
    ),
    "d07-010 date and weekday": (
        plain("201000000012", datetime(2016, 1, 11, 21, 53, 55), installed=date(2015, 1, 1)),
        "6812000000102068110434343337F916",
        "6812000000102068910834343337344434497216",
    ),
    "d07-011/012 time": (
        plain("201000000012", datetime(2016, 1, 11, 21, 53, 55), installed=date(2015, 1, 1)),
        "6812000000102068110435343337FA16",
        "6812000000102068910735343337888654DF16",
    ),
    "d07-014 time of the newest daily freeze": (
        plain("201000000012", datetime(2015, 10, 9, 17, 0), installed=date(2015, 1, 1)),
        "6812000000102068110434333938FF16",
        "681200000010206891093433393833333C4348B116",
    ),
    "d07-240 a daily freeze of five registers": (
        plain("000000000006", wake_up=4),
        "6806000000000068110434343938C416",
        "FEFEFEFE680600000000006891183434393833333333333333333333333333333333333333335416",
    ),
    "d07-016 remaining amount": (
        plain("201000000012", remaining_yuan=Decimal("198.56")),
        "681200000010206811043335C3338516",
        "681200000010206891083335C33389CB3433C416",
    ),
    "d07-022 trip count": (
        plain("201000000012"),
        "68120000001020681104343333501116",
        "68120000001020689107343333503333332D16",
    ),
    "d07-228/232 address as data": (
        plain("000000000033"),
        "FEFEFEFE6833000000000068110434373337ED16",
        "6833000000000068910A34373337663333333333D816",
    ),
    "d07-324/326 status word 3 of a closed relay": (
        plain("151230011061"),
        "68611001301215681104363833378616",
        "686110013012156891063638333733336E16",
    ),
    "d07-092 a settlement that there has not been": (
        plain("398192000337", installed=date(2026, 5, 2), empty_freeze="refuse"),
        "6837030092813968110434333A333F16",
        "6837030092813968D101355D16",
    ),
    "d07-288 a follow-up that was never begun": (
        plain("123456781012", wake_up=4),
        "6812107856341268120533323435341F16",
        "FEFEFEFE6812107856341268D201350E16",
    ),
    "d07-290 a write with a wrong password": (
        plain("123456781012", wake_up=4),
        "6812107856341268140F353433373533333433333333886645CA16",
        "FEFEFEFE6812107856341268D401371216",
    ),
    "d07-305 freeze now": (
        plain("121078563412", wake_up=4),
        "68123456781012681604CCCCCCCC5016",
        "FEFEFEFE681234567810126896009C16",
    ),
    "d07-040/041 a trip before its expiry": (
        plain(
            "111111111111",
            datetime(2018, 5, 12, 15, 41, 23),
            installed=date(2018, 1, 1),
            level="00",
        ),
        "68111111111111681C1033333333333333334D3357744845384B5516",
        "68111111111111689C00D216",
    ),
    "g1376-013/014 a trip with a password, as logged behind a terminal": (
        plain("151230011061", password="020637"),
        "68611001301215681C10356A3935343333334D333333336345CC2C16",
        "68611001301215689C003516",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers(name: str) -> None:
    meter, request, answer = RECORDED[name]
    assert ask(meter, request) == answer


def test_a_trip_and_the_close_that_follows_in_the_status_word_of_a_logged_exchange() -> None:
    meter = plain("151230011061", password="020637", relay=Relay(has_button=False))
    status = "68611001301215681104363833378616"
    ask(meter, "68611001301215681C10356A3935343333334D333333336345CC2C16")
    assert ask(meter, status) == "68611001301215689106363833378333BE16"  # 0050H: bits 4 and 6
    ask(meter, "68611001301215681C10356A3935343333334E333333336345CC2D16")
    assert ask(meter, status) == "686110013012156891063638333733336E16"  # d07-326, 0000H


def test_an_expired_trip_is_refused_and_nothing_moves() -> None:
    meter = plain(
        "111111111111", datetime(2018, 5, 12, 15, 41, 25), installed=date(2018, 1, 1), level="00"
    )
    assert (
        ask(meter, RECORDED["d07-040/041 a trip before its expiry"][1])
        == "6811111111111168DC01344716"
    )
    assert not meter.state.relay.moves


def test_expiry_is_judged_by_the_clock_of_the_meter() -> None:
    true = datetime(2018, 5, 12, 15, 0)
    fast = MeterClock(true, true + timedelta(hours=1))
    meter = plain("111111111111", true, installed=date(2018, 1, 1), level="00", clock=fast)
    assert (
        ask(meter, RECORDED["d07-040/041 a trip before its expiry"][1])
        == "6811111111111168DC01344716"
    )


def test_broadcast_time_is_taken_in_silence() -> None:
    true = datetime(2017, 9, 20, 8, 46)
    meter = plain("201000000012", true, installed=date(2017, 1, 1))
    assert ask(meter, "68999999999999680806337B3B533C4A3616") == ""  # d07-191: 2017-09-20 08:48:00
    assert meter.state.clock.shows(true) == datetime(2017, 9, 20, 8, 48)


BROADCAST_REFUSALS = {
    "more than five minutes off": (datetime(2026, 5, 2, 12, 0), datetime(2026, 5, 2, 12, 5, 1)),
    "before midnight": (datetime(2026, 5, 2, 23, 55, 1), datetime(2026, 5, 2, 23, 55, 1)),
    "after midnight": (datetime(2026, 5, 2, 0, 4, 59), datetime(2026, 5, 2, 0, 4, 59)),
    "would end near midnight": (datetime(2026, 5, 2, 23, 54), datetime(2026, 5, 2, 23, 56)),
}


@pytest.mark.parametrize("name", BROADCAST_REFUSALS)
def test_broadcast_time_within_its_limits_only(name: str) -> None:
    shown, to = BROADCAST_REFUSALS[name]
    meter = plain("000000000006", shown)
    broadcast(meter, to)
    assert meter.state.clock.shows(shown) == shown


def test_broadcast_time_once_a_day() -> None:
    time = SettableTime()
    meter = simulated_meter("000000000006", now=time)
    broadcast(meter, NOON + timedelta(minutes=1))
    broadcast(meter, NOON + timedelta(minutes=2))
    assert meter.state.clock.shows(NOON) == NOON + timedelta(minutes=1)
    time.pass_by(days=1)
    broadcast(meter, time() + timedelta(minutes=2))
    assert meter.state.clock.shows(time()) == time() + timedelta(minutes=2)


def broadcast(meter: SimulatedMeter, to: datetime) -> None:
    data = bytes.fromhex(f"{to:%S%M%H%d%m%y}")
    assert meter.answer(Frame("999999999999", 0x08, data)) is None


def test_the_clock_is_written_with_the_password_only() -> None:
    meter = plain("111111111111")
    payload = "02010004" + "02 000000 01000000" + "553321"  # 04000102 := 21:33:55
    assert (
        answered(
            meter, Frame("111111111111", 0x14, bytes.fromhex(payload.replace("02 00", "03 00")))
        ).control
        == 0xD4
    )
    reply = answered(meter, Frame("111111111111", 0x14, bytes.fromhex(payload)))
    assert encode(reply).hex().upper() == "68111111111111689400CA16"  # d07-108
    assert meter.state.clock.shows(NOON) == datetime(2026, 5, 2, 21, 33, 55)


SILENT = {
    "another meter": Frame("000000000007", 0x11, bytes(4)),
    "a broadcast read": Frame("999999999999", 0x11, bytes(4)),
    "a trip to any meter": Frame(
        "AAAAAAAAAAAA", 0x1C, bytes.fromhex("02000000010000001A00000000311299")
    ),
    "a trip to all meters": Frame(
        "999999999999", 0x1C, bytes.fromhex("02000000010000001A00000000311299")
    ),
    "its own kind of answer": Frame("000000000006", 0x91, bytes(8)),
    "a function of the 1997 standard": Frame("000000000006", 0x01, bytes(2)),
    "an abbreviated address that is not its own": Frame("AAAAAAAA0007", 0x11, bytes(4)),
}


@pytest.mark.parametrize("name", SILENT)
def test_silence_for(name: str) -> None:
    meter = plain("000000000006")
    assert meter.answer(SILENT[name]) is None
    assert not meter.state.relay.moves


identifiers = st.one_of(
    st.binary(min_size=4, max_size=4),
    st.builds(
        lambda head, ii, nn: bytes((nn, ii)) + bytes.fromhex(head)[::-1],
        st.sampled_from(
            [
                "0001",
                "0015",
                "0090",
                "00FE",
                "0101",
                "0201",
                "0202",
                "0203",
                "0206",
                "0280",
                "0310",
                "0311",
                "0330",
                "0333",
                "0400",
                "0401",
                "0405",
                "0500",
                "0501",
                "0502",
                "0504",
                "0506",
                "0508",
                "0600",
                "0610",
                "0700",
                "1D00",
            ]
        ),
        st.integers(0, 255),
        st.integers(0, 255),
    ),
    st.sampled_from(
        ["03010004", "04010004", "08010004", "010B0004", "030E0004", "02120004", "04120004"]
    ).map(bytes.fromhex),
)
payloads = st.one_of(
    st.binary(max_size=24),
    identifiers,
    st.builds(
        lambda di, rest: di + bytes.fromhex("0200000001000000") + rest,
        identifiers,
        st.binary(max_size=8),
    ),
    st.builds(
        lambda rest: bytes.fromhex("0200000001000000") + rest, st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda di, count: di + bytes((count,)) + bytes.fromhex("0000010526"),
        identifiers,
        st.integers(0, 255),
    ),
)


@given(
    st.lists(st.tuples(st.integers(0, 0x3F), payloads, st.integers(0, 200_000)), max_size=12),
    st.sampled_from([0, 8, 500, 10**6]),
    st.sampled_from(
        [{}, {"programming_key": True, "phases": 3}, {"security_module": True, "tariffs": 0}]
    ),
)
def test_no_request_whatever_it_holds_breaks_a_meter(
    requests: list[tuple[int, bytes, int]], kwh_per_day: int, what: dict[str, Any]
) -> None:
    time = SettableTime()
    curve = LoadCurve(kwh_per_day * MWH_PER_KWH)
    meter = simulated_meter(
        "000000000006", now=time, curve=curve, frame_limit=60, outages=Outages(permille=20), **what
    )
    for control, data, passed_s in requests:
        reply = meter.answer(Frame("000000000006", control, data))
        assert reply is None or (
            reply.is_response and reply.function == control & 0x1F and len(reply.data) <= 60
        )
        time.pass_by(seconds=passed_s)
    meter.state.true_register(time())


def test_a_load_that_the_display_cannot_show_does_not_become_negative() -> None:
    huge = plain("000000000006", curve=LoadCurve(10**6 * MWH_PER_KWH))
    assert (read(huge, "02030000"), read(huge, "02020100")) == (b"\x99\x99\x79", b"\x99\x99\x79")


def test_an_abbreviated_read_is_answered_with_the_real_address() -> None:
    assert (
        answered(
            plain("000000000006"), Frame("AAAAAAAAAA06", 0x11, bytes.fromhex("00000100"))
        ).address
        == "000000000006"
    )


CONTROL_REFUSALS = {
    "wrong password": ("02010000010000001A00000000311299", 0x04),
    "wrong level": ("04000000010000001A00000000311299", 0x04),
    "expiry of zeros": ("02000000010000001A00000000000000", 0x01),
    "expiry that is no time": ("02000000010000001A00000000321399", 0x01),
    "expiry in binary": ("02000000010000001A000A0B0C0D0E1A", 0x01),
    "trip for no time": ("02000000010000001D00000000311299", 0x01),
    "no such command": ("02000000010000007700000000311299", 0x01),
    "too short": ("02000000010000001A00", 0x01),
}


@pytest.mark.parametrize("name", CONTROL_REFUSALS)
def test_control_is_refused_for(name: str) -> None:
    payload, error = CONTROL_REFUSALS[name]
    meter = plain("000000000006")
    reply = answered(meter, Frame("000000000006", 0x1C, bytes.fromhex(payload)))
    assert (reply.control, reply.data) == (0xDC, bytes((error,)))
    assert not meter.state.relay.moves
    assert [event.kind for event in meter.state.events] == ["control"]


def command(meter: SimulatedMeter, action: int, duration: int = 0) -> int:
    """The relay bits of status word 3 after a control command that must be accepted."""
    payload = (
        bytes.fromhex("0200000001000000")
        + bytes((action, duration))
        + bytes.fromhex("000000311299")
    )
    assert answered(meter, Frame(meter.address, 0x1C, payload)).control == 0x9C
    return status(meter)


def status(meter: SimulatedMeter) -> int:
    return int.from_bytes(read(meter, "04000503"), "little")


def test_an_internal_relay_waits_for_the_button_after_allow_close() -> None:
    meter = plain("000000000006")
    assert command(meter, 0x1A) == 0x0050
    meter.state.press_button()
    assert status(meter) == 0x0050
    assert command(meter, 0x1B) == 0x0010
    meter.state.press_button()
    assert status(meter) == 0x0000


@pytest.mark.parametrize(
    "relay", [Relay(RelayKind.EXTERNAL), Relay(has_button=False)], ids=["external", "no button"]
)
def test_allow_close_closes_where_nobody_need_press(relay: Relay) -> None:
    meter = plain("000000000006", relay=relay)
    command(meter, 0x1A)
    assert command(meter, 0x1B) == 0x0000


def test_a_direct_close_needs_no_button() -> None:
    meter = plain("000000000006")
    command(meter, 0x1A)
    assert command(meter, 0x1C) == 0x0000


def test_a_delayed_trip_is_commanded_long_before_it_is_open() -> None:
    time = SettableTime()
    meter = simulated_meter("000000000006", now=time, relay=Relay(trip_delay=timedelta(seconds=90)))
    assert command(meter, 0x1A) == 0x0040
    time.pass_by(seconds=89)
    assert status(meter) == 0x0040
    time.pass_by(seconds=10)
    assert status(meter) == 0x0050
    assert meter.state.relay.moves == [(NOON + timedelta(seconds=90), True)]


def test_a_close_takes_back_a_trip_that_has_not_happened_yet() -> None:
    time = SettableTime()
    meter = simulated_meter("000000000006", now=time, relay=Relay(trip_delay=timedelta(seconds=90)))
    command(meter, 0x1A)
    assert command(meter, 0x1B) == 0x0000
    time.pass_by(hours=1)
    assert status(meter) == 0x0000


@pytest.mark.parametrize(("action", "after"), [(0x1D, 0x0010), (0x1E, 0x0000)])
def test_a_trip_for_a_time_ends_by_itself(action: int, after: int) -> None:
    time = SettableTime()
    meter = simulated_meter("000000000006", now=time)
    assert command(meter, action, duration=2) == 0x0050
    time.pass_by(minutes=9, seconds=59)
    assert status(meter) == 0x0050
    time.pass_by(seconds=1)
    assert status(meter) == after


def test_a_stuck_relay_accepts_and_stays_closed() -> None:
    assert command(plain("000000000006", relay=Relay(is_stuck=True)), 0x1A) == 0x0040


def test_keep_power_refuses_a_trip_and_brings_a_tripped_meter_back() -> None:
    meter = plain("000000000006", relay=Relay(RelayKind.EXTERNAL))
    command(meter, 0x1A)
    assert command(meter, 0x3A) == 0x1000
    trip = bytes.fromhex("02000000010000001A00000000311299")
    assert answered(meter, Frame(meter.address, 0x1C, trip)).control == 0xDC
    assert command(meter, 0x3B) == 0x0000
    assert command(meter, 0x1A) == 0x0050


def test_a_meter_without_relay_refuses_every_command_of_one() -> None:
    meter = plain("000000000006", relay=Relay(RelayKind.NONE))
    for action in "1A", "1B", "1C", "1D", "3A":
        payload = bytes.fromhex("0200000001000000" + action + "01000000311299")
        assert answered(meter, Frame(meter.address, 0x1C, payload)).control == 0xDC


def test_the_relay_counts_its_movements() -> None:
    meter = plain("000000000006")
    for action in (0x1A, 0x1A, 0x1C, 0x1A):
        command(meter, action)
    assert (read(meter, "1D000001"), read(meter, "1E000001")) == (b"\x02\x00\x00", b"\x01\x00\x00")


def test_alarm_and_meter_type_are_in_the_status_word() -> None:
    meter = plain("000000000006", meter_type=2)
    assert command(meter, 0x2A) == 0x0280
    assert command(meter, 0x2B) == 0x0200
    assert read(meter, "040005FF") == bytes.fromhex("0000 0000 0002 0000 0000 0000 0000")


def test_the_journal_tells_the_command_with_its_expiry_and_the_movement() -> None:
    heard: list[MeterEvent] = []
    meter = plain("000000000006", journal=heard.append)
    command(meter, 0x1A)
    assert [(event.kind, event.at, event.address) for event in heard] == [
        ("control", NOON, "000000000006"),
        ("relay", NOON, "000000000006"),
    ]
    assert heard[0].detail == {
        "action": "1A",
        "duration": "00",
        "level": "02",
        "operator": "00000001",
        "expires": "991231000000",
        "answer": "9C",
    }
    assert heard[1].detail == {"state": "open"}
    assert list(meter.state.events) == heard


def test_a_long_block_comes_in_numbered_parts_that_may_be_asked_again() -> None:
    whole = read(plain("000000000006"), "0506FF01")
    assert len(whole) == 5 + 8 * 20 + 2 * 40 + 24
    meter = plain("000000000006", frame_limit=20)
    assert read(meter, "0506FF01") == whole
    block = bytes.fromhex("01FF0605")
    first = answered(meter, Frame(meter.address, 0x11, block))
    assert first.control == 0xB1
    assert len(first.data) == 20
    third = answered(meter, Frame(meter.address, 0x12, block + b"\x03"))
    assert (third.control, len(third.data), third.data[-1]) == (0xB2, 20, 3)
    assert meter.answer(Frame(meter.address, 0x12, block + b"\x03")) == third
    unasked = Frame(meter.address, 0x12, b"\x00\xff\x01\x00\x01")
    assert answered(meter, unasked).control == 0xD2


def test_a_day_that_was_never_frozen() -> None:
    new: dict[str, Any] = {"installed": date(2026, 5, 1), "tariffs": 0}
    assert read(plain("000000000006", **new), "05060001") == bytes.fromhex("0000020526")
    assert read(plain("000000000006", **new), "05060002") == bytes(5)
    assert read(plain("000000000006", **new), "05060102") == b"\xff" * 4
    assert read(plain("000000000006", empty_freeze="ff", **new), "05060002") == b"\xff" * 5
    assert refuses(plain("000000000006", empty_freeze="refuse", **new), "05060002")


def test_a_midnight_without_power_shifts_the_numbers() -> None:
    meter = plain("000000000006", outages=Outages({date(2026, 5, 1)}))
    assert [read(meter, f"050600{number:02X}")[2] for number in (1, 2, 3)] == [0x02, 0x30, 0x29]


def test_the_meter_remembers_62_days() -> None:
    meter = plain("000000000006")
    assert read(meter, "0506003E") == bytes.fromhex("0000020326")
    assert refuses(meter, "0506003F")
    assert refuses(meter, "05060000")


def test_freeze_now_keeps_the_last_three() -> None:
    time = SettableTime()
    meter = simulated_meter("000000000006", now=time)
    assert read(meter, "05010001") == bytes(5)
    for _ in range(4):
        meter.answer(Frame("999999999999", 0x16, b"\x99" * 4))
        time.pass_by(minutes=10)
    assert [read(meter, f"050100{number:02X}")[0] for number in (1, 2, 3)] == [0x30, 0x20, 0x10]
    assert len(meter.state.instant_freezes) == 3
    frozen = read(meter, "05010102")
    assert frozen == b"".join(
        bytes.fromhex(f"{it:08d}")[::-1]
        for it in meter.state.registers(NOON + timedelta(minutes=20))
    )


def test_a_clock_set_over_midnight_skips_or_repeats_a_freeze() -> None:
    time = SettableTime(datetime(2026, 5, 2, 23, 0))
    meter = simulated_meter("000000000006", now=time)
    meter.state.clock.set(time(), datetime(2026, 5, 3, 1, 0))
    time.pass_by(hours=24)
    assert stamps(meter, time())[:2] == [datetime(2026, 5, 4), datetime(2026, 5, 2)]
    meter.state.clock.set(time(), datetime(2026, 5, 3, 23, 30))
    time.pass_by(hours=1)
    assert stamps(meter, time())[:3] == [
        datetime(2026, 5, 4),
        datetime(2026, 5, 4),
        datetime(2026, 5, 2),
    ]


def test_a_wrong_freeze_tells_another_total_with_rates_that_add_up_to_it() -> None:
    wrong = {NOON.date() - timedelta(days=1): Decimal("90000.55")}
    meter = simulated_meter("000000000006", now=lambda: NOON, wrong_freezes=wrong)
    honest = simulated_meter("000000000006", now=lambda: NOON)
    told = read(meter, "05060102")
    total, *rates = (int(told[at : at + 4][::-1].hex()) for at in range(0, 20, 4))
    assert total == sum(rates) == 9000055
    assert read(meter, "05060002") == read(honest, "05060002")
    assert read(meter, "05060101") == read(honest, "05060101")


def test_a_meter_refuses_what_it_is_told_to_refuse_and_nothing_else() -> None:
    meter = simulated_meter("000000000006", now=lambda: NOON, refused=frozenset(["0001FF00"]))
    refusal = meter.answer(Frame(meter.address, 0x11, bytes.fromhex("00FF0100")))
    assert refusal is not None
    assert (refusal.function, refusal.is_abnormal, refusal.data) == (0x11, True, b"\x02")
    assert len(read(meter, "00010000")) == 4


def stamps(meter: SimulatedMeter, at: datetime) -> list[datetime]:
    return [freeze.stamp for freeze in meter.state.daily_freezes(at)]


# Energy

curves = st.builds(
    LoadCurve,
    mwh_per_day=st.integers(0, 500 * MWH_PER_KWH),
    shape=st.sampled_from(list(SHAPES.values())),
    key=st.integers(0, 2**64 - 1),
    daily_spread_permille=st.integers(0, 500),
)
times = st.datetimes(datetime(2019, 1, 1), datetime(2031, 1, 1))
short = st.timedeltas(timedelta(0), timedelta(days=3))


@given(
    curves, times, st.one_of(short, st.just(timedelta(microseconds=1)), st.just(timedelta(hours=1)))
)
def test_no_register_falls_while_time_grows(
    curve: LoadCurve, at: datetime, passed: timedelta
) -> None:
    assert all(map(int.__le__, curve.energy_mwh(at, RATES), curve.energy_mwh(at + passed, RATES)))


@given(curves, st.dates(date(2019, 1, 1), date(2030, 12, 31)))
def test_energy_does_not_jump_at_midnight(curve: LoadCurve, day: date) -> None:
    midnight = datetime(day.year, day.month, day.day)
    before = curve.energy_mwh(midnight - timedelta(microseconds=1), RATES)
    steps = [
        after - early
        for early, after in zip(before, curve.energy_mwh(midnight, RATES), strict=True)
    ]
    assert max(steps) <= 3


@given(curves)
def test_the_mean_of_many_days_is_the_one_that_was_asked_for(curve: LoadCurve) -> None:
    begin, end = (curve.energy_mwh(datetime(year, 1, 1))[0] for year in (2022, 2026))
    days = (date(2026, 1, 1) - date(2022, 1, 1)).days
    assert abs((end - begin) - days * curve.mwh_per_day) <= curve.mwh_per_day


@given(curves, times)
def test_power_is_the_slope_of_energy(curve: LoadCurve, at: datetime) -> None:
    hour = at.replace(minute=0, second=0, microsecond=0)
    used = curve.energy_mwh(hour + timedelta(hours=1))[0] - curve.energy_mwh(hour)[0]
    assert abs(used - curve.power_mw(at)) <= 1


@given(curves, st.datetimes(datetime(2024, 1, 2), datetime(2031, 1, 1)), st.integers(0, 99_999_999))
def test_rates_sum_to_the_total_within_one_digit_each(
    curve: LoadCurve, at: datetime, initial: int
) -> None:
    meter = simulated_meter(
        "000000000006", now=lambda: at, curve=curve, initial_kwh=Decimal(initial).scaleb(-2)
    )
    total, *rates = meter.state.registers(at)
    wrapped = (sum(rates) - total + 50_000_000) % 100_000_000 - 50_000_000
    assert abs(wrapped) <= RATES


def test_before_its_installation_a_meter_shows_the_initial_register() -> None:
    meter = simulated_meter(
        "000000000006", now=SettableTime(), installed=NOON.date(), initial_kwh=Decimal("17.05")
    )
    assert (
        meter.state.true_register(NOON - timedelta(days=9))
        == meter.state.true_register(datetime(2026, 5, 2))
        == Decimal("17.05")
    )


def test_a_register_starts_again_after_999999_99() -> None:
    time = SettableTime()
    curve = LoadCurve(24 * MWH_PER_KWH, SHAPES["flat"], daily_spread_permille=0)
    meter = simulated_meter(
        "000000000006",
        now=time,
        curve=curve,
        installed=NOON.date(),
        initial_kwh=Decimal("999999.00"),
        tariffs=0,
    )
    assert meter.state.true_register(datetime(2026, 5, 2, 0, 59, 59)) == Decimal("999999.99")
    assert meter.state.true_register(datetime(2026, 5, 2, 1, 30)) == Decimal("0.50")


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 3 * 86_400)), max_size=8),
    st.integers(0, 40 * 86_400),
)
def test_the_true_register_is_the_curve_without_the_time_that_the_relay_was_open(
    moves: list[tuple[bool, int]], later_s: int
) -> None:
    """Against an independent sum over the closed stretches."""
    time = SettableTime(datetime(2026, 1, 1, 7, 13, 5))
    curve = LoadCurve(37 * MWH_PER_KWH, key=11)
    meter = simulated_meter(
        "000000000006", now=time, curve=curve, installed=time().date(), tariffs=0
    )
    begin = datetime(2026, 1, 1)
    closed_since: datetime | None = begin
    closed: list[tuple[datetime, datetime]] = []
    for to_open, after_s in moves:
        time.pass_by(seconds=after_s)
        meter.state.force_relay(to_open=to_open)
        if to_open and closed_since:
            closed.append((closed_since, time()))
            closed_since = None
        elif not to_open and not closed_since:
            closed_since = time()
    time.pass_by(days=45)
    if closed_since:
        closed.append((closed_since, time()))
    at = begin + timedelta(seconds=later_s)
    flowed = sum(
        curve.energy_mwh(min(until, at))[0] - curve.energy_mwh(since)[0]
        for since, until in closed
        if since <= at
    )
    assert meter.state.true_register(at) == Decimal(flowed // MWH_PER_DIGIT).scaleb(-2)


def test_nothing_flows_through_an_open_relay() -> None:
    time = SettableTime()
    meter = simulated_meter("000000000006", now=time)
    command(meter, 0x1A)
    before = read(meter, "0001FF00")
    time.pass_by(days=3)
    assert read(meter, "0001FF00") == before
    assert read(meter, "02030000") == bytes(3)
    assert read(meter, "05060101") == read(meter, "05060103") == before
    command(meter, 0x1C)
    time.pass_by(hours=1)
    assert read(meter, "00010000") != before[:4]


@given(times, st.integers(-60_000_000, 60_000_000), st.integers(0, 400 * 86_400_000_000))
def test_the_clock_finds_the_true_time_of_each_of_its_midnights(
    set_at: datetime, drift_us: int, passed_us: int
) -> None:
    clock = MeterClock(set_at, set_at + timedelta(seconds=40), drift_us)
    microsecond = timedelta(microseconds=1)
    for midnight in list(clock.midnights(set_at + timedelta(microseconds=passed_us)))[:3]:
        true = clock.true_time(midnight)
        assert clock.shows(true) >= midnight.stamp > clock.shows(true - microsecond)


@given(
    st.integers(-300, 300),
    st.integers(-20_000_000, 20_000_000),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
)
def test_a_freeze_read_answers_the_true_register_of_the_meters_own_midnight(
    offset_s: int, drift_us: int, at: datetime
) -> None:
    installed = datetime(2025, 12, 1)
    clock = MeterClock(installed, installed + timedelta(seconds=offset_s), drift_us)
    meter = simulated_meter(
        "000000000006",
        now=lambda: at,
        installed=installed.date(),
        clock=clock,
        outages=Outages(permille=150),
    )
    freezes = list(meter.state.daily_freezes(at))
    days = [freeze.stamp for freeze in freezes]
    assert days == sorted(set(days), reverse=True)
    assert all(day.time() == datetime.min.time() for day in days)
    for number, freeze in list(enumerate(freezes, 1))[:4]:
        assert read(meter, f"050600{number:02X}") == bytes.fromhex(f"0000{freeze.stamp:%d%m%y}")
        told = Decimal(int(read(meter, f"050601{number:02X}")[:4][::-1].hex())).scaleb(-2)
        assert told == meter.state.true_register(freeze.at)
        assert meter.state.clock.shows(freeze.at).replace(second=0, microsecond=0) == freeze.stamp


def test_the_past_does_not_depend_on_when_the_program_was_started() -> None:
    early = simulated_meter("000000000006", now=lambda: datetime(2026, 5, 2, 8))
    late = simulated_meter("000000000006", now=lambda: datetime(2026, 5, 9, 23, 59))
    days = [datetime(2026, 5, 2) - timedelta(days=back) for back in range(62)]
    assert [early.state.true_register(day) for day in days] == [
        late.state.true_register(day) for day in days
    ]
    assert len({early.state.true_register(day) for day in days}) == 62
