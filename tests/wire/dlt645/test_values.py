"""What the identifiers mean."""

from __future__ import annotations

import csv
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.identifiers import VARIABLES, meaning
from protocols.dlt645.values import Value, decode_values, try_values
from protocols.errors import FrameError


def values_of(identifier: str, data: str) -> list[tuple[str, str | None, str]]:
    return [
        (value.name, value.value, value.unit)
        for value in decode_values(identifier, bytes.fromhex(data))
    ]


@pytest.mark.parametrize(
    ("identifier", "data", "expected"),
    [
        ("00010000", "56341200", [("forward_active_energy", "1234.56", "kWh")]),
        ("00000400", "56341280", [("combined_active_energy_tariff_4", "-1234.56", "kWh")]),
        ("00010001", "00000000", [("forward_active_energy_settlement_1", "0.00", "kWh")]),
        ("0001010C", "00000000", [("forward_active_energy_tariff_1_settlement_12", "0.00", "kWh")]),
        ("00290000", "00000000", [("forward_active_energy_b", "0.00", "kWh")]),
        ("02010100", "0180", [("voltage_a", "800.1", "V")]),
        ("02020300", "000080", [("current_c", "0.000", "A")]),
        ("02030000", "563412", [("active_power", "12.3456", "kW")]),
        ("02060100", "0090", [("power_factor_a", "-1.000", "")]),
        ("02800002", "9949", [("frequency", "49.99", "Hz")]),
        ("02800007", "5180", [("temperature", "-5.1", "°C")]),
        ("00900200", "56980100", [("remaining_amount", "198.56", "yuan")]),
        ("04000102", "000000", [("time", "000000", "hhmmss")]),
        ("0400010C", "55532101110116", [("clock", "16011101215355", "YYMMDDWWhhmmss")]),
        ("05060001", "0000091015", [("daily_freeze_time_last_1", "1510090000", "YYMMDDhhmm")]),
        ("0504000A", "FFFFFFFFFF", [("hourly_freeze_time_last_10", None, "YYMMDDhhmm")]),
        ("04000401", "001600000000", [("address", "000000001600", "")]),
        ("04000404", "56302E303232", [("rated_voltage", "220.0V", "")]),
        ("04000408", "00322E30", [("reactive_class", "0.2", "")]),
        ("04010000", "010107", [("time_zone_set_1_1", "070101", "MMDDNN")]),
        ("04010002", "011508", [("day_table_set_1_2_1", "081501", "hhmmNN")]),
        ("04050102", "45670000", [("price_set_1_tariff_2", "0.6745", "yuan/kWh")]),
    ],
)
def test_an_identifier_gives_its_named_values(
    identifier: str, data: str, expected: list[tuple[str, str | None, str]]
) -> None:
    assert values_of(identifier, data) == expected


def test_the_number_of_tariffs_follows_from_the_length() -> None:
    for tariffs in (0, 4, 63):
        names = [name for name, _, _ in values_of("0001FF00", "00000000" * (1 + tariffs))]
        assert names == [
            "forward_active_energy",
            *(f"forward_active_energy_tariff_{n + 1}" for n in range(tariffs)),
        ]


def test_a_block_of_phases_counts_from_the_right_one() -> None:
    assert [name for name, _, _ in values_of("0201FF00", "0000FFFF0000")] == [
        "voltage_a",
        "voltage_b",
        "voltage_c",
    ]
    names = [name for name, _, _ in values_of("0203FF00", "000000" * 4)]
    assert names == ["active_power", "active_power_a", "active_power_b", "active_power_c"]


def test_a_block_of_prices_has_no_total() -> None:
    names = [name for name, _, _ in values_of("040501FF", "4567000089670000")]
    assert names == ["price_set_1_tariff_1", "price_set_1_tariff_2"]


def test_a_demand_is_a_value_and_its_time() -> None:
    assert values_of("01010000", "1289070012010123") == [
        ("forward_active_maximum_demand", "7.8912", "kW"),
        ("forward_active_maximum_demand_time", "2301011200", "YYMMDDhhmm"),
    ]
    assert len(values_of("0101FF00", "1289070012010123" * 5)) == 10


def test_a_trip_record_has_its_eight_fields() -> None:
    values = values_of("1D00FF01", "595923311226 01000000" + "00000000" * 6)
    assert values[:2] == [
        ("trip_time_last_1", "261231235959", "YYMMDDhhmmss"),
        ("trip_operator_last_1", "00000001", ""),
    ]
    assert [unit for _, _, unit in values[2:]] == ["kWh"] * 2 + ["kvarh"] * 4


def test_status_word_3_is_explained() -> None:
    values = values_of("04000503", "5002")
    assert values[0] == ("status_word_3", "0x0250", "")
    words = {name: value for name, value, _ in values[1:]}
    assert words["relay"] == "open"
    assert words["relay_command"] == "open"
    assert words["meter_type"] == "prepaid_by_money"
    assert words["supply"] == "main"
    assert "pre_trip_alarm" not in words
    assert {name: value for name, value, _ in values_of("04000503", "8000")}[
        "pre_trip_alarm"
    ] == "yes"
    assert {name: value for name, value, _ in values_of("04000503", "FFFF")}["relay"] == "open"


PHASE_BITS = (
    "voltage_loss",
    "under_voltage",
    "over_voltage",
    "current_loss",
    "over_current",
    "overload",
    "power_reversal",
    "phase_break",
    "current_break",
)
STATUS_FLAGS = {
    1: {
        2: "clock_battery_low",
        3: "reading_battery_low",
        4: "active_power_reverse",
        5: "reactive_power_reverse",
    }
    | {
        8: "control_circuit_error",
        9: "security_module_error",
        12: "program_error",
        13: "memory_error",
    }
    | {14: "overdraft", 15: "clock_error"},
    2: {0: "active_reverse_a", 1: "active_reverse_b", 2: "active_reverse_c"}
    | {4: "reactive_reverse_a", 5: "reactive_reverse_b", 6: "reactive_reverse_c"},
    3: {
        3: "programming_permitted",
        7: "pre_trip_alarm",
        12: "keep_power",
        13: "identity_authenticated",
    }
    | {14: "local_account_not_open", 15: "remote_account_not_open"},
    4: {bit: f"{name}_a" for bit, name in enumerate(PHASE_BITS)},
    5: {bit: f"{name}_b" for bit, name in enumerate(PHASE_BITS)},
    6: {bit: f"{name}_c" for bit, name in enumerate(PHASE_BITS)},
    7: dict(
        enumerate(
            (
                "voltage_sequence_wrong",
                "current_sequence_wrong",
                "voltage_unbalance",
                "current_unbalance",
                "auxiliary_power_loss",
                "power_failure",
                "demand_over_limit",
                "power_factor_low",
                "severe_current_unbalance",
            )
        )
    ),
}


@pytest.mark.parametrize("word", STATUS_FLAGS)
def test_each_bit_of_a_status_word_has_its_meaning(word: int) -> None:
    told = {
        bit: [
            name
            for name, text, _ in decode_values(f"0400050{word}", (1 << bit).to_bytes(2, "little"))
            if text == "yes"
        ]
        for bit in range(16)
    }
    assert {bit: names for bit, names in told.items() if names} == {
        bit: [name] for bit, name in STATUS_FLAGS[word].items()
    }


@pytest.mark.parametrize(
    ("word", "bits", "name", "text"),
    [
        (1, 0x0002, "demand_mode", "block"),
        (3, 0x0001, "day_slot_set", "second"),
        (3, 0x0002, "supply", "auxiliary"),
        (3, 0x0004, "supply", "battery"),
        (3, 0x0010, "relay", "open"),
        (3, 0x0020, "time_zone_set", "second"),
        (3, 0x0040, "relay_command", "open"),
        (3, 0x0100, "meter_type", "prepaid_by_energy"),
        (3, 0x0200, "meter_type", "prepaid_by_money"),
        (3, 0x0400, "price_set", "backup"),
        (3, 0x0800, "ladder_set", "backup"),
    ],
)
def test_the_choices_of_a_status_word_have_their_meaning(
    word: int, bits: int, name: str, text: str
) -> None:
    changed = set(decode_values(f"0400050{word}", bits.to_bytes(2, "little"))) - set(
        decode_values(f"0400050{word}", bytes(2))
    )
    assert {(it.name, it.value) for it in changed} == {
        (f"status_word_{word}", f"0x{bits:04X}"),
        (name, text),
    }


def test_all_status_words_come_in_one_block() -> None:
    values = values_of("040005FF", "0000" * 6 + "2000")
    assert [name for name, _, _ in values if name.startswith("status_word_")] == [
        f"status_word_{n}" for n in range(1, 8)
    ]
    assert values[-1] == ("power_failure", "yes", "")


@pytest.mark.parametrize(
    ("last", "name", "beyond"),
    [
        ("00013F00", "forward_active_energy_tariff_63", "00014000"),
        ("0001000C", "forward_active_energy_settlement_12", "0001000D"),
        ("0001FF00", "forward_active_energy", "0001FFFF"),
        ("02010300", "voltage_c", "02010400"),
        ("020A0115", "voltage_harmonic_a_harmonic_21", "020A0116"),
        ("040300FE", "holiday_254", "040300FF"),
        ("04050101", "price_set_1_tariff_1", "04050100"),
        ("050700FE", "ladder_switch_freeze_time_last_254", "05080001"),
        ("901E", "forward_active_energy_tariff_14", "907E"),
        ("B613", "voltage_c", "B614"),
    ],
)
def test_a_variable_part_has_its_limits(last: str, name: str, beyond: str) -> None:
    found = meaning(last)
    assert found is not None
    assert found.name(found.record.fields[0], 0) == name
    assert meaning(beyond) is None


@pytest.mark.parametrize("missing", ["FFFFFFFF", "EEEEEEEE"])
def test_no_data_is_none_never_a_number(missing: str) -> None:
    assert values_of("00010000", missing) == [("forward_active_energy", None, "kWh")]


def test_what_the_table_lacks_is_given_as_it_came() -> None:
    assert values_of("02801234", "00010A") == [("data", "00010A", "hex")]


def test_a_vendors_own_record_of_another_length_is_given_as_it_came() -> None:
    assert values_of("028011FF", "00010A") == [("data", "00010A", "hex")]


def test_bytes_behind_the_last_field_are_told() -> None:
    values, wrong = try_values("00000000", bytes.fromhex("0000000003"))
    assert values == [
        Value("combined_active_energy", "0.00", "kWh"),
        Value("undecoded_tail", "03", "hex"),
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("identifier", "data", "width"),
    [("00010000", 5, 4), ("04000102", 6, 3), ("04000503", 3, 2), ("9010", 6, 4), ("C011", 4, 3)],
)
def test_an_answer_longer_than_its_identifier_is_none(
    identifier: str, data: int, width: int
) -> None:
    with pytest.raises(FrameError, match=f"{identifier}: {data} bytes, {identifier} has {width}"):
        decode_values(identifier, bytes(data))


def test_a_bad_digit_is_named_and_the_good_values_are_kept() -> None:
    data = bytes.fromhex("563412000A00000078560000")
    with pytest.raises(
        FrameError, match="0001FF00: forward_active_energy_tariff_1: not BCD: 0000000A"
    ):
        decode_values("0001FF00", data)
    values, wrong = try_values("0001FF00", data)
    assert [value.value for value in values] == ["1234.56", "56.78"]
    assert wrong == ["forward_active_energy_tariff_1: not BCD: 0000000A"]


def test_too_few_bytes_are_refused_unless_more_follow() -> None:
    with pytest.raises(FrameError, match="forward_active_energy: 2 bytes, needs 4"):
        decode_values("00010000", bytes(2))
    with pytest.raises(FrameError, match="forward_active_energy_tariff_1: 2 bytes, needs 4"):
        decode_values("0001FF00", bytes(6))
    assert try_values("0001FF00", bytes(6), whole=False) == (
        [Value("forward_active_energy", "0.00", "kWh"), Value("undecoded_tail", "0000", "hex")],
        [],
    )


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=255))
def test_no_data_make_it_crash(identifier: bytes, data: bytes) -> None:
    try_values(identifier.hex().upper(), data)


@pytest.mark.parametrize(
    "identifier", ["00014000", "0001000D", "02010400", "05080001", "050600FF", "04000503FF"[:8]]
)
def test_only_what_the_standard_has_is_known(identifier: str) -> None:
    assert (meaning(identifier) is not None) is (identifier == "04000503")


@pytest.mark.parametrize("name", ["identifiers.csv", "identifiers_1997.csv"])
def test_every_row_of_the_tables_is_reached_and_has_its_names_and_a_source(name: str) -> None:
    text = files("protocols.dlt645").joinpath(name).read_text(encoding="utf-8")
    size = 1 if "1997" in name else 2
    for row in csv.DictReader(text.splitlines()):
        assert None not in row.values()
        assert row["source"], row
        assert re.search("[\u4e00-\u9fff]", row["chinese"]), row
        assert sorted(re.findall(r"{\w+}", row["name"])) == sorted(
            re.findall(r"{\w+}", row["chinese"])
        ), row
        pattern = row["identifier"]
        parts = [pattern[i : i + size] for i in range(0, len(pattern), size)]
        lowest = [
            f"{VARIABLES[part].lowest:0{size}X}" if part in VARIABLES else part for part in parts
        ]
        identifier = "".join(lowest)
        if pattern.startswith("05kkFF"):
            identifier = "0506FF01"
        known = meaning(identifier)
        assert known is not None, row
        assert known.record.pattern == pattern, f"{pattern} is hidden by {known.record.pattern}"
