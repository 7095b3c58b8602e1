"""What a simulated meter says behind all the identifiers: against recorded bytes, and against what
happened to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from protocols.dlt645 import exchanges, writing
from protocols.dlt645.exchanges import RelayAction
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.dlt645.identifiers import VARIABLES, records
from protocols.dlt645.values import decode_values
from protocols.dlt645.writing import Authority
from protocols.errors import MeterRefused
from simulators.bench.scenario import parse_scenario, site_clock
from simulators.dlt645.meter import SimulatedMeter
from simulators.dlt645.meter_1997 import SimulatedMeter1997
from simulators.lines.bus import SimulatedBus
from simulators.state.load import MWH_PER_KWH, SHAPES, LoadCurve
from simulators.state.relay import Relay
from simulators.state.spec import Outages
from tests.simulated_meters import simulated_meter, simulated_meter_of
from tests.wire.simulators.test_settings import run

METER = "000000000006"
NOON = datetime(2026, 5, 20, 12, 0)
AUTHORITY = Authority("02", "000000", "00000042")
T = TypeVar("T")


class SettableTime:
    """Site time that a test moves."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **what: float) -> None:
        self.at += timedelta(**what)


def read(meter: SimulatedMeter, identifier: str) -> bytes:
    return run(meter, exchanges.read(meter.address, identifier))


def told(meter: SimulatedMeter, identifier: str) -> dict[str, str | None]:
    return {value.name: value.value for value in decode_values(identifier, read(meter, identifier))}


def count(meter: SimulatedMeter, identifier: str) -> int:
    return int(read(meter, identifier)[::-1].hex())


def control(meter: SimulatedMeter, action: RelayAction) -> None:
    secret: dict[str, Any] = {"level": "02", "password": "000000", "operator": "00000042"}
    run(meter, exchanges.control(meter.address, action, expires=datetime(2099, 1, 1), **secret))


def steady(kilowatts: str, **what: Any) -> SimulatedMeter:
    """A meter with the same load at all times."""
    curve = LoadCurve(
        int(Decimal(kilowatts) * 24 * MWH_PER_KWH), SHAPES["flat"], daily_spread_permille=0
    )
    return simulated_meter(**{"address": METER, "curve": curve, **what})


def ask(meter: SimulatedMeter, request: str) -> str:
    (frame,) = Decoder().feed(bytes.fromhex(request))
    assert isinstance(frame, Frame)
    answer = meter.answer(frame)
    return encode(answer).hex().upper() if answer else ""


# Against bytes that were recorded elsewhere; the vectors' numbers are in the comments.


def test_a_maximum_demand_as_another_meter_told_it() -> None:
    time = SettableTime(datetime(2023, 1, 1, 11, 45))
    meter = steady("7.8912", address="121078563412", now=time, installed=date(2023, 1, 1))
    run(meter, writing.clear_demand(meter.address, AUTHORITY))
    time.pass_by(minutes=15)
    answer = meter.answer(Frame(meter.address, 0x11, bytes.fromhex("00000101")))
    assert answer
    assert encode(answer) == bytes.fromhex(
        "6812345678101268910C3333343445BC3A3345343456E216"
    )  # d07-301


def test_a_voltage_of_the_load_profile_as_another_meter_told_it() -> None:
    at = datetime(2022, 8, 25, 13, 20)
    meter = steady(
        "0",
        address="049830300004",
        now=lambda: at,
        installed=date(2022, 1, 1),
        voltage_v=Decimal(223),
    )
    answer = meter.answer(Frame(meter.address, 0x11, bytes.fromhex("01011006")))
    assert answer
    assert encode(answer) == bytes.fromhex(
        "6804003030980468910B343443393346583B5563556916"
    )  # d07-261


def test_a_reverse_energy_of_a_tariff_as_another_meter_told_it() -> None:
    meter = steady("1", address="010008401512", now=lambda: NOON)
    answer = meter.answer(Frame(meter.address, 0x11, bytes.fromhex("00030200")))
    assert answer
    assert encode(answer) == bytes.fromhex("6812154008000168910833363533333333337616")  # d07-112


def test_a_new_address_needs_the_programming_key_and_silence_says_that_it_was_not_pressed() -> None:
    request = "68123456781012681506456789AB43468A16"  # d07-106
    meter = steady("1", address="121078563412", now=lambda: NOON)
    assert ask(meter, request) == ""
    assert meter.address == "121078563412"
    meter.access.programming_key = True
    bus = SimulatedBus([meter])
    (asked,) = Decoder().feed(bytes.fromhex(request))
    assert isinstance(asked, Frame)
    assert bus.answer(asked)
    assert meter.address == "131078563412"
    assert bus.answer(Frame("131078563412", 0x13))
    assert not bus.answer(Frame("121078563412", 0x13))


def test_a_baud_word_that_is_none_is_refused_with_its_bit() -> None:
    meter = steady("1", address="201912010001", now=lambda: NOON)
    refused = meter.answer(
        Frame(meter.address, 0x17, b"\xd5")
    )  # what d07-156 says when it is taken as it was sent
    assert refused == Frame(meter.address, 0xD7, b"\x08")
    assert run(meter, writing.change_baud(meter.address, 9600)) == 9600
    assert told(meter, "04000703") == {"baud_word_3": "0x20"}


# All identifiers

REFUSED = {
    "028011FF": "a vendor's own",
    "0A020000": "a vendor's own",
    "04000C": "passwords are never read",
    "040300": "no holiday was set",
    "040600": "prices by steps of the first generation",
    "040601": "prices by steps of the first generation",
    "040602": "prices by steps of the first generation",
    "040603": "prices by steps of the first generation",
    **{
        f"00{base + item:02X}": "harmonics and losses are not reckoned"
        for base in (0x80, 0x94, 0xA8, 0xBC)
        for item in range(7)
    },
    **{
        f"01{base + item:02X}": "a demand is that of all phases"
        for base in (0x15, 0x29, 0x3D)
        for item in range(10)
    },
    **{f"{item:02X}": "nothing happens in the grid" for item in (*range(0x10, 0x14), 0x18)},
    **{f"{item:02X}": "nothing happens in the grid" for item in (0x19, 0x1A)},
    "04000308": "it shows nothing",
    "04000D": "its coefficients are not told",
    "04001104": "it reports nothing by itself",
    "04001301": "it has no radio",
    "0409": "nothing happens in the grid",
    **{
        f"0504{item:02X}": "an hourly freeze has the totals alone"
        for item in (*range(3, 0x0B), 0x10)
    },
}


def identifiers() -> Iterator[str]:
    """Each pattern of the table with the least, the second and the greatest value of its variable
    parts, and FF."""
    for record in records():
        if record.pattern.startswith("06cc"):
            continue  # asked with a number
        found = [""]
        for part in (record.pattern[place : place + 2] for place in range(0, 8, 2)):
            variable = VARIABLES.get(part)
            numbers: list[int] = []
            if variable:
                numbers = [variable.lowest, min(variable.lowest + 1, variable.highest)]
                numbers += list(range(8)) if part == "kk" else []
                numbers += [variable.block] if variable.block else []
            words = [f"{number:02X}" for number in dict.fromkeys(numbers)] if variable else [part]
            found = [
                begin + word
                for begin in found
                for word in words
                if not (word == "FF" and "FF" in begin)
            ]
        yield from found


@pytest.mark.parametrize("phases", [1, 3])
def test_every_identifier_of_the_table_is_answered_in_its_form_but_the_named_ones(
    phases: int,
) -> None:
    prepaid = {"remaining_yuan": Decimal("12.50"), "remaining_kwh": Decimal("7.00")}
    meter = simulated_meter(METER, now=lambda: NOON, phases=phases, frame_limit=60, **prepaid)
    answered = 0
    for identifier in identifiers():
        expected = next(
            (why for begin, why in REFUSED.items() if identifier.startswith(begin)), None
        )
        try:
            values = decode_values(identifier, read(meter, identifier))
        except MeterRefused:
            assert expected, identifier
        else:
            assert not expected, identifier
            assert values, identifier
            assert {value.name for value in values}.isdisjoint({"undecoded_tail", "data"}), (
                identifier
            )
            answered += 1
    assert answered > 740


def test_load_records_of_a_class_have_its_block_alone() -> None:
    meter = simulated_meter(METER, now=lambda: NOON)
    names = [
        [
            name
            for name, _, _ in run(
                meter, exchanges.read_load_records(METER, f"06{number:02X}0002", 1)
            )[0].values
        ]
        for number in range(7)
    ]
    assert names[0] == [name for of_class in names[1:] for name in of_class]
    assert [of_class[0] for of_class in names[1:]] == [
        "voltage_a",
        "active_power",
        "power_factor",
        "forward_active_energy",
        "quadrant_1_reactive_energy",
        "active_demand",
    ]
    (record,) = run(meter, exchanges.read_load_records(METER, "06000002", 1))
    values = {name: value for name, value, _ in record.values}
    assert values["forward_active_energy"] == meter.state.true_register(NOON)
    assert (
        str(values["quadrant_1_reactive_energy"])
        == told(meter, "00050000")["quadrant_1_reactive_energy"]
    )
    assert values["combined_reactive_2_energy"] == values["quadrant_4_reactive_energy"] == 0


# Settlements and freezes


def test_a_settlement_has_the_energies_of_the_daily_freeze_of_its_midnight() -> None:
    meter = simulated_meter(METER, now=lambda: NOON)
    assert told(meter, "00FE0001") == {"settlement_time_last_1": "2605010000"}
    assert read(meter, "0001FF01") == read(
        meter, "05060114"
    )  # the 1st is 19 midnights before the 20th
    assert read(meter, "00010002") == read(meter, "05060132")[:4]
    assert read(meter, "000100FF")[:12] == b"".join(
        read(meter, f"000100{day:02X}") for day in range(3)
    )
    assert read(meter, "05000101") == read(meter, "0001FF01")  # so the monthly scheduled freeze


def test_another_settlement_day_and_hour() -> None:
    meter = simulated_meter(METER, now=lambda: NOON)
    run(
        meter, writing.write(METER, "04000B02", writing.encode_value("04000B02", "1506"), AUTHORITY)
    )
    assert [told(meter, f"00FE00{number:02X}") for number in (1, 2)] == [
        {"settlement_time_last_1": "2605150600"},
        {"settlement_time_last_2": "2605010000"},
    ]
    assert read(meter, "00010001") == encode_energy(meter, datetime(2026, 5, 15, 6))


def test_before_the_first_settlement_there_is_no_data() -> None:
    new: dict[str, Any] = {"now": lambda: NOON, "installed": date(2026, 5, 2)}
    assert read(simulated_meter(METER, **new), "00010001") == b"\xff" * 4
    assert read(simulated_meter(METER, **new), "01010001") == b"\xff" * 3 + bytes(5)
    with pytest.raises(MeterRefused, match="no such data"):
        read(simulated_meter(METER, **new, empty_freeze="refuse"), "00010001")


def test_a_scheduled_freeze_follows_the_pattern_of_command_16() -> None:
    time = SettableTime(NOON)
    meter = simulated_meter(METER, now=time)
    run(meter, exchanges.freeze(METER, "99990630"))
    assert read(meter, "05000001") == bytes(5)
    time.pass_by(days=2)
    assert read(meter, "05000001") == bytes.fromhex("3006220526")
    assert read(meter, "05000002") == bytes.fromhex("3006210526")
    assert read(meter, "05000003") == bytes(5)
    assert read(meter, "05000101")[:4] == encode_energy(meter, datetime(2026, 5, 22, 6, 30))
    for pattern in ("13990000", "99320000", "99992400", "99999960", "0A010000"):
        refused = meter.answer(Frame(METER, 0x16, bytes.fromhex(pattern)[::-1]))
        assert refused == Frame(METER, 0xD6, b"\x01")


def test_an_hourly_freeze_has_the_totals_of_the_full_hour() -> None:
    meter = simulated_meter(METER, now=lambda: NOON + timedelta(minutes=20))
    assert read(meter, "0504FF01") == bytes.fromhex("0012200526") + encode_energy(
        meter, NOON
    ) + bytes(4)
    assert read(meter, "05040003") == bytes.fromhex("0010200526")


def test_the_switch_to_the_second_prices_freezes_and_shows_in_status_and_price() -> None:
    time = SettableTime(NOON)
    meter = simulated_meter(METER, now=time)
    run(
        meter,
        writing.write(METER, "04050203", writing.encode_value("04050203", "0.6100"), AUTHORITY),
    )
    run(meter, writing.write(METER, "04000108", bytes.fromhex("0013200526"), AUTHORITY))
    assert read(meter, "05050001") == bytes(5)
    assert told(meter, "02800020") == {"price": "0.5500"}
    time.pass_by(hours=2)
    assert read(meter, "05050001") == bytes.fromhex("0013200526")
    assert read(meter, "05050101")[:4] == encode_energy(meter, NOON + timedelta(hours=1))
    assert told(meter, "04000503")["price_set"] == "backup"
    assert told(meter, "02800020") == {"price": "0.6100"}


def encode_energy(meter: SimulatedMeter, at: datetime) -> bytes:
    return bytes.fromhex(f"{int(meter.state.true_register(at) * 100):08d}")[::-1]


# Demand


@pytest.mark.parametrize("days_with_trips", [0, 3])
def test_the_maximum_demand_is_the_greatest_mean_of_fifteen_minutes_since_the_settlement(
    days_with_trips: int,
) -> None:
    """Against every minute of the month, also with a relay that was opened in the middle of the
    greatest hour."""
    time = SettableTime(datetime(2026, 5, 1))
    meter = simulated_meter(
        METER, now=time, curve=LoadCurve(24 * MWH_PER_KWH, key=5), relay=Relay(has_button=False)
    )
    for day in range(1, 1 + days_with_trips):
        time.at = datetime(2026, 5, day, 19, 7)
        control(meter, RelayAction.TRIP)
        time.at = datetime(2026, 5, day, 20, 11, 30)
        control(meter, RelayAction.ALLOW_CLOSE)
    time.at = datetime(2026, 5, 4, 9, 30)
    quarter = timedelta(minutes=15)
    minutes = (int((time() - datetime(2026, 5, 1)) / timedelta(minutes=1))) + 1
    ends = [
        datetime(2026, 5, 1, 0, 15) + timedelta(minutes=number) for number in range(minutes - 15)
    ]
    energies = [
        meter.state.energy_mwh(end)[0] - meter.state.energy_mwh(end - quarter)[0] for end in ends
    ]
    found = told(meter, "01010000")
    assert Decimal(found["forward_active_maximum_demand"] or "") == Decimal(
        max(energies) * 4 // 100
    ).scaleb(-4)
    ended = next(
        end for end, energy in zip(ends, energies, strict=True) if energy >= max(energies) - 3
    )
    assert found["forward_active_maximum_demand_time"] == f"{ended:%y%m%d%H%M}"
    tariffs = told(meter, "0101FF00")
    assert max(
        Decimal(tariffs[f"forward_active_maximum_demand_tariff_{it}"] or "") for it in (1, 2, 3, 4)
    ) == Decimal(found["forward_active_maximum_demand"] or "")


def test_a_load_shorter_than_the_demand_period_counts_from_when_it_is_whole() -> None:
    time = SettableTime(datetime(2026, 5, 1))
    meter = steady("3", now=time)
    control(meter, RelayAction.TRIP)
    time.at = datetime(2026, 5, 2, 19, 53)
    control(meter, RelayAction.CLOSE)
    time.at = datetime(2026, 5, 2, 20, 1)
    control(meter, RelayAction.TRIP)
    time.pass_by(days=1)
    assert told(meter, "01010000") == {
        "forward_active_maximum_demand": "1.6000",  # 8 of 15 minutes
        "forward_active_maximum_demand_time": "2605022001",
    }


def test_a_cleared_demand_begins_again_and_what_it_was_stays_in_a_record() -> None:
    time = SettableTime()
    meter = steady("2.5", now=time)
    assert told(meter, "01010000") == {
        "forward_active_maximum_demand": "2.5000",
        "forward_active_maximum_demand_time": "2605010015",
    }
    before = read(meter, "01010000")
    assert told(meter, "01050000")["quadrant_1_reactive_maximum_demand"] == "0.8250"
    last_month = read(meter, "01010001")
    run(meter, writing.clear_demand(METER, AUTHORITY))
    assert read(meter, "01010000") == bytes(8)
    assert read(meter, "01010001") == last_month
    assert count(meter, "03300200") == 1
    record = read(meter, "03300201")
    assert len(record) == 202
    assert record[:18] == bytes.fromhex("000012200526 42000000") + before
    time.pass_by(minutes=14)
    assert read(meter, "01010000") == bytes(8)
    time.pass_by(minutes=1)
    assert told(meter, "01010000")["forward_active_maximum_demand_time"] == "2605201215"
    with pytest.raises(MeterRefused, match="password"):
        run(meter, writing.clear_demand(METER, Authority("02", "111111")))


def test_the_demand_period_is_the_one_that_was_set() -> None:
    meter = steady("2.5", now=lambda: NOON)
    run(meter, writing.write(METER, "04000103", b"\x60", AUTHORITY))
    assert told(meter, "01010000")["forward_active_maximum_demand_time"] == "2605010100"


# Records


def test_trips_and_closes_are_recorded_with_time_operator_and_register() -> None:
    time = SettableTime()
    meter = steady("3", now=time, relay=Relay(trip_delay=timedelta(seconds=90)))
    control(meter, RelayAction.TRIP)
    assert count(meter, "1D000001") == 0
    time.pass_by(hours=1)
    register = encode_energy(meter, NOON + timedelta(seconds=90))
    record = read(meter, "1D00FF01")
    assert len(record) == 34
    assert record[:18] == bytes.fromhex("300112200526 42000000") + register + bytes(4)
    assert [read(meter, f"1D00{part:02X}01") for part in (1, 2, 3)] == [
        record[:6],
        record[6:10],
        register,
    ]
    control(meter, RelayAction.CLOSE)
    assert (count(meter, "1D000001"), count(meter, "1E000001")) == (1, 1)
    assert read(meter, "1E00FF01")[10:14] == register
    meter.state.force_relay(to_open=True)
    assert read(meter, "1D000201") == bytes(4)
    assert read(meter, "1D00FF02") == record


def test_events_are_cleared_by_class_or_all_and_the_clearing_stays() -> None:
    meter = steady("3", now=lambda: NOON, outages=Outages({date(2026, 5, 3)}))
    control(meter, RelayAction.TRIP)
    control(meter, RelayAction.CLOSE)
    run(meter, writing.clear_events(METER, AUTHORITY, "1D0000FF"))
    assert (count(meter, "1D000001"), count(meter, "1E000001"), count(meter, "03110000")) == (
        0,
        1,
        1,
    )
    assert read(meter, "1D00FF01") == bytes(6) + b"\xff" * 28
    run(meter, writing.clear_events(METER, AUTHORITY))
    assert (count(meter, "1E000001"), count(meter, "03110000"), count(meter, "03300300")) == (
        0,
        0,
        2,
    )
    assert read(meter, "03300301") == bytes.fromhex("000012200526 42000000 FFFFFFFF")
    assert read(meter, "03300302") == bytes.fromhex("000012200526 42000000 FF00001D")
    with pytest.raises(MeterRefused, match="other"):
        run(meter, writing.clear_events(METER, AUTHORITY, "1D000001"))


def test_a_write_is_recorded_with_its_identifier_and_by_its_table() -> None:
    meter = steady("3", now=lambda: NOON)
    run(meter, writing.write(METER, "04000B01", b"\x00\x02", AUTHORITY))
    run(meter, writing.write(METER, "04000103", b"\x30", AUTHORITY))
    with pytest.raises(MeterRefused):
        run(meter, writing.write(METER, "04000103", b"\xaa", AUTHORITY))
    assert [count(meter, f"0330{kind:02X}00") for kind in (0x00, 0x05, 0x0C)] == [2, 0, 1]
    assert read(meter, "03300001") == bytes.fromhex("000012200526 42000000 03010004") + b"\xff" * 36
    assert read(meter, "03300002")[10:14] == bytes.fromhex("010B0004")


def test_a_clock_setting_is_recorded_with_both_times() -> None:
    meter = steady("3", now=lambda: NOON)
    run(meter, writing.write_time(METER, NOON + timedelta(minutes=7), AUTHORITY))
    run(meter, writing.write_date(METER, NOON + timedelta(days=1), AUTHORITY))
    assert count(meter, "03300400") == 2
    assert read(meter, "03300402") == bytes.fromhex("42000000 000012200526 000712200526")
    assert read(meter, "03300401") == bytes.fromhex("42000000 000712200526 000712210526")


def test_a_midnight_without_power_is_a_power_failure() -> None:
    meter = steady("3", now=lambda: NOON, outages=Outages({date(2026, 5, 3), date(2026, 4, 9)}))
    assert count(meter, "03110000") == 2
    assert read(meter, "03110001") == bytes.fromhex("005923020526 000100030526")
    assert read(meter, "03110002")[3:6] == bytes.fromhex("080426")


def test_a_meter_clear_needs_the_key_and_leaves_the_record_of_what_was() -> None:
    time = SettableTime()
    meter = steady("3", now=time, initial_kwh=Decimal("1234.56"), phases=3)
    with pytest.raises(MeterRefused, match="password"):
        run(meter, writing.clear_meter(METER, AUTHORITY))
    meter.access.programming_key = True
    assert told(meter, "04000503")["programming_permitted"] == "yes"
    control(meter, RelayAction.TRIP)
    control(meter, RelayAction.CLOSE)
    before = read(meter, "00010000")
    run(meter, writing.clear_meter(METER, AUTHORITY))
    assert read(meter, "0001FF00") == bytes(20)
    assert read(meter, "05060101") == b"\xff" * 20
    assert read(meter, "00010001") == b"\xff" * 4
    assert count(meter, "1D000001") == 0
    record = read(meter, "03300101")
    assert len(record) == 106
    assert record[10:14] == before
    time.pass_by(hours=2)
    assert told(meter, "00010000") == {"forward_active_energy": "6.00"}
    run(meter, writing.clear_meter(METER, AUTHORITY))
    time.pass_by(hours=1)
    assert told(meter, "00010000") == {"forward_active_energy": "3.00"}


def test_a_prepaid_meter_was_bought_once_what_remains() -> None:
    meter = steady("3", now=lambda: NOON, remaining_yuan=Decimal("198.56"), meter_type=2)
    assert told(meter, "00900200") == {"remaining_amount": "198.56"}
    assert told(meter, "03330301") == {"amount_bought_last_1": "198.56"}
    assert told(meter, "03330201") == {"purchase_count_last_1": "1"}
    assert told(meter, "05080201")["daily_freeze_remaining_amount_last_1"] == "198.56"
    for of_energy in ("00900100", "03320201"):
        with pytest.raises(MeterRefused):
            read(meter, of_energy)
    overdrawn = steady("3", now=lambda: NOON, remaining_kwh=Decimal("-2.50"), meter_type=1)
    assert told(overdrawn, "00900101") == {"overdraft_energy": "2.50"}
    assert told(overdrawn, "04000501")["overdraft"] == "yes"


# What is not so when other things are so


def test_energies_agree_with_each_other() -> None:
    meter = simulated_meter(METER, now=lambda: NOON, phases=3, initial_kwh=Decimal(5000))
    total = Decimal(told(meter, "00010000")["forward_active_energy"] or "")
    phases = [
        Decimal(next(iter(told(meter, it).values())) or "")
        for it in ("00150000", "00290000", "003D0000")
    ]
    assert 0 <= total - sum(phases) <= Decimal("0.03")
    reactive = Decimal(told(meter, "00050000")["quadrant_1_reactive_energy"] or "")
    apparent = Decimal(told(meter, "00090000")["forward_apparent_energy"] or "")
    assert abs((total**2 + reactive**2).sqrt() - apparent) < total / 1000
    assert read(meter, "00030000") == read(meter, "00050000")
    for kind in (3, 5, 9):
        first, *tariffs = (int(part or "0") for part in digits(read(meter, f"00{kind:02X}FF00")))
        assert abs(first - sum(tariffs)) <= 4


def digits(data: bytes) -> list[str]:
    return [data[place : place + 4][::-1].hex() for place in range(0, len(data), 4)]


def test_a_past_load_record_does_not_know_that_the_relay_opened_later() -> None:
    meter = steady("3", now=lambda: NOON + timedelta(minutes=30))
    before = run(meter, exchanges.read_load_records(METER, "06000002", 1))
    control(meter, RelayAction.TRIP)
    assert run(meter, exchanges.read_load_records(METER, "06000002", 1)) == before
    assert ("active_power", Decimal("3.0000"), "kW") in before[0].values


def test_voltage_statistics_count_the_hours_outside_the_limits() -> None:
    meter = simulated_meter(METER, now=lambda: NOON, curve=LoadCurve(24 * MWH_PER_KWH))
    assert told(meter, "03100100")["voltage_pass_rate_a"] == "100.00"
    run(
        meter,
        writing.write(METER, "04000E04", writing.encode_value("04000E04", "219.5"), AUTHORITY),
    )
    found = told(meter, "03100100")
    assert found["voltage_monitored_time_a"] == str(60 * (19 * 24 + 12))
    assert (
        Decimal(found["voltage_pass_rate_a"] or "") + Decimal(found["voltage_limit_rate_a"] or "")
        == 100
    )
    assert (
        0 < int(found["voltage_under_time_a"] or "") < int(found["voltage_monitored_time_a"] or "")
    )
    assert (
        Decimal(found["voltage_lowest_a"] or "")
        < Decimal("219.5")
        < Decimal(found["voltage_highest_a"] or "")
    )


def test_voltage_statistics_before_the_first_settlement_begin_with_the_installation() -> None:
    meter = simulated_meter(METER, now=lambda: NOON, installed=date(2026, 5, 15))
    minutes = told(meter, "03100100")["voltage_monitored_time_a"]
    assert minutes == str(60 * (5 * 24 + 12))


# The security module

OPAQUE_TRIP = bytes.fromhex("98000000 42000000 1A00000000010199 0000000000000000 AABBCCDD")


def test_a_meter_without_a_security_module_refuses_function_03_with_two_bytes() -> None:
    with pytest.raises(MeterRefused) as refusal:
        run(steady("3", now=lambda: NOON), writing.security(METER, "07000001", "00000000"))
    assert refusal.value.word == 0x0001


def test_with_a_security_module_only_what_it_opens_is_obeyed() -> None:
    meter = steady("3", now=lambda: NOON, security_module=True)
    with pytest.raises(MeterRefused, match="password"):
        control(meter, RelayAction.TRIP)
    with pytest.raises(MeterRefused, match="password"):
        run(meter, writing.send_opaque(METER, 0x1C, OPAQUE_TRIP))
    with pytest.raises(MeterRefused) as refusal:
        run(meter, writing.security(METER, "07010101", "00000042"))
    assert refusal.value.word == 0x0008
    assert (
        len(run(meter, writing.security(METER, "07000001", "00000000"))) == 12
    )  # asked for in d07-267
    assert read(meter, "04000503") == bytes.fromhex("0020")
    assert run(meter, writing.send_opaque(METER, 0x1C, OPAQUE_TRIP)) == b""
    assert meter.state.relay.is_open
    assert read(meter, "1D000201") == bytes.fromhex("42000000")
    assert run(meter, writing.security(METER, "07010101", "00000042")) == b""
    opaque_write = bytes.fromhex("03010004 99000000 42000000 30 AABBCCDD")
    run(meter, writing.send_opaque(METER, 0x14, opaque_write))
    assert read(meter, "04000103") == b"\x30"


# The version of 1997


def test_demands_and_past_months_in_the_older_version() -> None:
    def asked(meter: SimulatedMeter, identifier: str) -> bytes:
        answer = meter.answer(Frame(METER, 0x01, bytes.fromhex(identifier)[::-1]))
        assert answer
        assert answer.control == 0x81, identifier
        return answer.data[2:]

    curve = LoadCurve(
        int(Decimal("2.5") * 24 * MWH_PER_KWH), SHAPES["flat"], daily_spread_permille=0
    )
    old = simulated_meter_of(SimulatedMeter1997, METER, now=lambda: NOON, curve=curve)
    new = simulated_meter(METER, now=lambda: NOON, curve=curve)
    assert asked(old, "A010") == bytes.fromhex("005002")
    assert asked(old, "B010") == bytes.fromhex("15000105")
    assert asked(old, "B410") == bytes.fromhex("15000104")
    assert asked(old, "A01F")[-1:] == b"\xaa"
    assert asked(old, "9410") == read(new, "00010001")
    assert asked(old, "9810") == read(new, "00010002")
    assert asked(old, "911F")[:-1] == read(new, "0003FF00")
    assert asked(old, "B211") == bytes(4)
    assert asked(old, "C331") == bytes.fromhex("040000")
    cleared = old.answer(Frame(METER, 0x10))
    assert cleared == Frame(METER, 0xD0, b"\x04")
    old.access.programming_key = True
    assert old.answer(Frame(METER, 0x10)) == Frame(METER, 0x90)
    assert asked(old, "A010") == bytes(3)
    assert asked(old, "B211") == bytes.fromhex("00122005")
    assert asked(old, "B213") == bytes.fromhex("0100")


def test_a_scenario_presses_the_key_and_builds_in_the_module() -> None:
    scenario = parse_scenario(
        f'[lines.a]\nport = 0\n[[meters]]\nline = "a"\naddress = "{METER}"\n'
        "programming_key = true\nsecurity_module = true\nremaining_kwh = 7.5\n"
    )
    meter = scenario.build(site_clock(scenario.zone))["a"].meters[METER]
    assert isinstance(meter, SimulatedMeter)
    assert meter.access.programming_key
    assert meter.access.security
    assert told(meter, "00900100") == {"remaining_energy": "7.50"}
