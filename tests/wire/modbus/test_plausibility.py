"""Values that a profile reads of a meter that it does not fit are told, not printed as measured."""

from __future__ import annotations

from decimal import Decimal

import pytest

from config.profiles import load_profile
from protocols.modbus.plausibility import implausible
from protocols.modbus.values import decode
from protocols.reading import Quantity
from tests.wire.modbus.test_vectors import VECTORS

FORWARD = Quantity.FORWARD_ACTIVE_ENERGY
REVERSE = Quantity.REVERSE_ACTIVE_ENERGY
COMBINED = Quantity.COMBINED_ACTIVE_ENERGY


@pytest.mark.parametrize(
    ("quantity", "value", "told"),
    [
        (FORWARD, "-9.87337e+29", "forward_active_energy -9.87337e+29 kWh: must be from 0 to"),
        (FORWARD, "1e10", "forward_active_energy"),
        (FORWARD, "1.7e-38", "too small to be measured"),
        (Quantity.VOLTAGE, "-1", "voltage -1 V: must be from 0 to 1000000"),
        (Quantity.FREQUENCY, "230", "frequency 230 Hz: must be from 45 to 65"),
        (Quantity.POWER_FACTOR, "1.5", "power_factor 1.5: must be from"),
        (Quantity.CURRENT, "-2e5", "current"),
        (Quantity.ACTIVE_POWER, "2e6", "active_power"),
    ],
)
def test_what_no_meter_means_is_told(quantity: Quantity, value: str, told: str) -> None:
    (words,) = implausible({quantity: Decimal(value)})
    assert told in words


@pytest.mark.parametrize(
    "found",
    [
        {FORWARD: "0", Quantity.FREQUENCY: "0", Quantity.VOLTAGE: "0"},
        {FORWARD: "999999.99", Quantity.CURRENT: "-5", Quantity.ACTIVE_POWER: "-3"},
        {FORWARD: None, Quantity.VOLTAGE: "20000"},
        {COMBINED: "72.91", FORWARD: "60.24", REVERSE: "12.67"},
        {COMBINED: "100.9", FORWARD: "100", REVERSE: None},
        {COMBINED: "40", FORWARD: "60.24", REVERSE: "12.67"},
    ],
)
def test_what_a_meter_can_mean_is_not(found: dict[Quantity, str | None]) -> None:
    values = {key: None if value is None else Decimal(value) for key, value in found.items()}
    assert implausible(values) == []


@pytest.mark.parametrize("name", ["hiking-dds238", "abb-b23"])
def test_a_counter_that_is_full_to_the_last_bit_is_no_value(name: str) -> None:
    found = read(name, [0xFFFF] * 0x10000)
    assert found[FORWARD] is None


def read(name: str, registers: list[int]) -> dict[Quantity, Decimal | None]:
    """What a profile makes of a block from register 0 on."""
    return {
        item.quantity: decode(item, registers[item.register : item.register + item.count])
        for item in load_profile(name).items
    }


def registers_of(vector: str) -> list[int]:
    (found,) = (each for each in VECTORS if each["id"] == vector)
    data = bytes.fromhex(found["meaning"]["data"])
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def test_a_captured_dds238_reads_as_its_owner_prints_it_and_nothing_is_told() -> None:
    found = read("hiking-dds238", registers_of("nmb-026"))
    assert (found[COMBINED], found[REVERSE], found[FORWARD]) == (
        Decimal("72.91"),
        Decimal("12.67"),
        Decimal("60.24"),
    )
    assert implausible(found) == []


def test_version_1_of_a_dds238_is_told_from_version_2() -> None:
    """Version 1 has its directions at 0004 and 0006, where version 2 has nothing."""
    registers = registers_of("nmb-026")
    version_1 = [*registers[:4], *registers[8:12], 0, 0, 0, 0, *registers[12:]]
    (told,) = implausible(read("hiking-dds238", version_1))
    assert told.startswith("combined_active_energy 72.91 kWh: far above forward")
    found = read("hiking-dds238-v1", version_1)
    assert (found[FORWARD], found[REVERSE]) == (Decimal("60.24"), Decimal("12.67"))
    assert implausible(found) == []


@pytest.mark.parametrize("vector", ["nmb-041", "nmb-042", "nmb-045"])
def test_a_captured_pzem_reads_as_its_log_says(vector: str) -> None:
    (found,) = (each for each in VECTORS if each["id"] == vector)
    volts, amperes, watts, watt_hours = map(Decimal, found["meaning"]["values_pzem"])
    told = read("peacefair-pzem", registers_of(vector))
    assert told[Quantity.VOLTAGE] == volts
    assert told[Quantity.CURRENT] == amperes
    assert told[Quantity.ACTIVE_POWER] == watts / 1000
    assert told[FORWARD] == watt_hours / 1000


def test_only_models_with_a_relay_have_one_in_their_profile() -> None:
    with_relay = {
        name
        for name in ("hiking-dds238", "hiking-dds238-v1", "hiking-dds238-4w")
        if load_profile(name).relay
    }
    assert with_relay == {"hiking-dds238-4w"}
