"""What a simulated 2007 meter lets itself be set, over its own answers to literal bytes and to our
exchanges."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TypeVar

import pytest

from protocols.dlt645 import exchanges, writing
from protocols.dlt645.frame import Frame
from protocols.dlt645.writing import Authority
from protocols.errors import MeterRefused
from protocols.exchange import Exchange
from simulators.dlt645.meter import SimulatedMeter
from simulators.state.load import MWH_PER_KWH, LoadCurve
from tests.simulated_meters import simulated_meter

METER = "000000001600"
NOW = datetime(2026, 3, 2, 12, 30, 0)
AUTHORITY = Authority("02", "123456")
T = TypeVar("T")


def run(meter: SimulatedMeter, exchange: Exchange[Frame, T]) -> T:
    try:
        request = next(exchange)
        while True:
            answer = meter.answer(request)
            assert answer is not None
            assert exchanges.CODEC_2007.is_answer(request, answer)
            request = exchange.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


@pytest.fixture
def meter() -> SimulatedMeter:
    curve = LoadCurve(mwh_per_day=24 * MWH_PER_KWH)
    return simulated_meter(METER, now=lambda: NOW, curve=curve, password="123456", frame_limit=60)


def test_a_parameter_is_kept(meter: SimulatedMeter) -> None:
    assert run(meter, exchanges.read(METER, "04001001")) == bytes.fromhex("00200000")
    run(meter, writing.write(METER, "04001001", bytes.fromhex("00500000"), AUTHORITY))
    assert run(meter, exchanges.read(METER, "04001001")) == bytes.fromhex("00500000")
    run(meter, writing.write(METER, "04000103", b"\x60", AUTHORITY))
    assert run(meter, exchanges.read(METER, "04000103")) == b"\x60"
    other = simulated_meter(METER, now=lambda: NOW)
    assert run(other, exchanges.read(METER, "04001001")) == bytes.fromhex("00200000")


@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        ("04001001", b"\1"),
        ("04000401", bytes(6)),
        ("04000503", bytes(2)),
        ("04EE0000", b"\1"),
        ("04010000", bytes(4)),
    ],
)
def test_what_cannot_be_set_is_refused(
    meter: SimulatedMeter, identifier: str, value: bytes
) -> None:
    with pytest.raises(MeterRefused, match="no such data"):
        run(meter, writing.write(METER, identifier, value, AUTHORITY))


def test_a_table_is_written_whole(meter: SimulatedMeter) -> None:
    table = writing.encode_value("04010000", "010101,060102")
    run(meter, writing.write(METER, "04010000", table, AUTHORITY))
    assert run(meter, exchanges.read(METER, "04010000")) == table


def test_after_a_change_of_password_the_old_one_opens_nothing(meter: SimulatedMeter) -> None:
    new = Authority("02", "654321")
    run(meter, writing.change_password(METER, 2, AUTHORITY, new))
    with pytest.raises(MeterRefused, match="password"):
        run(meter, writing.clear_events(METER, AUTHORITY))
    run(meter, writing.clear_events(METER, new))
    run(meter, writing.clear_demand(METER, new))
    with pytest.raises(MeterRefused, match="password"):
        run(meter, writing.change_password(METER, 2, AUTHORITY, new))


def test_the_speed_is_confirmed_and_what_needs_the_key_is_refused(meter: SimulatedMeter) -> None:
    assert run(meter, writing.change_baud(METER, 9600)) == 9600
    with pytest.raises(MeterRefused):
        run(meter, writing.clear_meter(METER, AUTHORITY))
    assert meter.answer(next(writing.write_address("000000001601", METER))) is None


def test_load_records_come_by_number_and_by_time(meter: SimulatedMeter) -> None:
    latest = run(meter, exchanges.read_load_records(METER, "06000002", 2))
    assert [record.stored_at for record in latest] == [
        NOW.replace(minute=0),
        NOW.replace(hour=11, minute=0),
    ]
    values = {name: value for name, value, _ in latest[0].values}
    assert values["voltage_a"] == Decimal("219.5")
    assert values["voltage_b"] is None
    assert values["frequency"] == Decimal("50.00")
    shown = Decimal(meter.state.registers(NOW.replace(minute=0))[0]).scaleb(-2)
    assert values["forward_active_energy"] == shown
    since = datetime(2026, 3, 2, 3, 30)
    by_time = run(meter, exchanges.read_load_records(METER, "06000001", 3, since))
    assert [record.stored_at.hour for record in by_time if record.stored_at] == [4, 5, 6]
    earliest = run(meter, exchanges.read_load_records(METER, "06000000", 1))
    assert earliest[0].stored_at == datetime(2025, 12, 30, 13, 0)


@pytest.mark.parametrize(
    "data",
    [
        "02000006",
        "02000006 0A",
        "01000006 01",
        "02000706 01",
        "02000006 01 0000020326",
        "00000100 01",
    ],
)
def test_what_is_no_question_for_load_records_is_no_such_data(
    meter: SimulatedMeter, data: str
) -> None:
    answer = meter.answer(Frame(METER, 0x11, bytes.fromhex(data)))
    assert answer == Frame(METER, 0xD1, b"\x02")
