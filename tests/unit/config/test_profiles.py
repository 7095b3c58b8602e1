"""Register profiles: values and their word orders, the files that come with the program, every
mistake at once."""

from __future__ import annotations

import struct
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.problems import ConfigError
from config.profiles import load_profile, parse_profile, shipped_profiles
from protocols.errors import FrameError
from protocols.modbus.probing import best, guesses, readings
from protocols.modbus.profile import (
    ORDERS,
    TYPES,
    Item,
    Order,
    Profile,
    RegisterType,
    SerialNumber,
    width,
)
from protocols.modbus.values import (
    LONG,
    decode,
    decode_serial,
    encode,
    encode_serial,
    interpret,
    ordered,
    unordered,
)
from protocols.reading import Quantity

DOCS = Path(__file__).parents[3] / "docs" / "modbus.md"
ENERGY = Quantity.FORWARD_ACTIVE_ENERGY
LARGEST = Decimal("3.4028235e38")


def item(type_: RegisterType = "uint32", order: Order = "ABCD", **what: Any) -> Item:
    return Item(ENERGY, 3, 0, type_, order, **what)


# Values


@pytest.mark.parametrize(
    ("order", "registers"),
    [("ABCD", "449A51EC"), ("CDAB", "51EC449A"), ("BADC", "9A44EC51"), ("DCBA", "EC519A44")],
)
def test_a_float_is_read_in_each_word_order(order: Order, registers: str) -> None:
    """1234.56 is 44 9A 51 EC in IEEE 754."""
    words = tuple(int(registers[at : at + 4], 16) for at in (0, 4))
    assert decode(item("float32", order), words) == Decimal("1234.56")
    assert encode(item("float32", order), Decimal("1234.56")) == words


def test_64_bits_have_their_words_reversed() -> None:
    words = (0x0011, 0x2233, 0x4455, 0x6677)
    assert ordered(words, "CDAB").hex() == "6677445522330011"
    assert ordered(words, "BADC").hex() == "1100332255447766"
    assert ordered(words, "DCBA").hex() == "7766554433221100"


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=4), st.sampled_from(ORDERS))
def test_each_order_is_undone_by_itself(words: list[int], order: Order) -> None:
    assert unordered(ordered(words, order), order) == tuple(words)


@given(st.integers(0, 13_107_199))
@example(13_107_199)
def test_a_float32_keeps_every_hundredth_up_to_131072(hundredths: int) -> None:
    value = Decimal(hundredths).scaleb(-2)
    assert interpret(struct.pack(">f", float(value)), "float32") == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(3.4028234663852886e38)
@example(1e-45)
def test_the_decimal_of_a_float32_rounds_to_that_float_and_no_shorter_one_does(
    value: float,
) -> None:
    data = struct.pack(">f", value)
    number = interpret(data, "float32")
    assert number is not None
    assert struct.pack(">f", abs(float(number))) == struct.pack(">f", abs(value))
    digits = len(number.normalize(Context(prec=60)).as_tuple().digits)
    assert digits <= 9
    if digits > 1:
        shorter = Decimal(f"{value:.{digits - 1}g}")
        assert abs(shorter) > LARGEST or struct.pack(">f", float(shorter)) != data


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5.960464477539063e-08)
def test_the_decimal_of_a_float64_is_what_python_prints(value: float) -> None:
    assert interpret(struct.pack(">d", value), "float64") == Decimal(repr(value))


@given(
    st.sampled_from([type_ for type_ in TYPES if "int" in type_]),
    st.sampled_from(ORDERS),
    st.data(),
)
def test_integers_come_back_from_their_registers(
    type_: RegisterType, order: Order, data: st.DataObject
) -> None:
    bits = 16 * width(type_)
    least, most = (
        (0, 2**bits - 1) if type_.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    most -= type_ in LONG  # full, it is no value
    value = Decimal(data.draw(st.integers(least, most))) * Decimal("0.01")
    own = item(type_, order, factor=Decimal("0.01"))
    assert decode(own, encode(own, value)) == value


@pytest.mark.parametrize("type_", [type_ for type_ in TYPES if type_.startswith(("bcd", "mod"))])
def test_digits_that_are_all_ones_are_no_value(type_: RegisterType) -> None:
    assert decode(item(type_), (0xFFFF,) * width(type_)) is None


def test_no_value_is_none() -> None:
    pattern = frozenset({bytes.fromhex("FFFFFFFF")})
    assert decode(item(not_available=pattern), (0xFFFF, 0xFFFF)) is None
    assert (
        decode(
            item(order="CDAB", not_available=frozenset({bytes.fromhex("80000000")})), (0, 0x8000)
        )
        is None
    )
    for bits in ("7FC00000", "FFC00000", "7F800000", "FF800000", "FFFFFFFF"):
        assert decode(item("float32"), (int(bits[:4], 16), int(bits[4:], 16))) is None
    assert encode(item(not_available=pattern), None) == (0xFFFF, 0xFFFF)
    assert decode(item("float32"), encode(item("float32"), None)) is None
    with pytest.raises(FrameError, match="no pattern"):
        encode(item(), None)


def test_what_a_type_cannot_hold_is_refused() -> None:
    with pytest.raises(FrameError, match=r"does not fit into int16 x 0\.001"):
        encode(item("int16", factor=Decimal("0.001")), Decimal(40))
    with pytest.raises(FrameError, match="uint32 has 4 bytes, not 2"):
        decode(item(), (1,))


# The files


def test_the_shipped_profiles_are_those_of_the_document() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert len(shipped_profiles()) == 40
    for name in shipped_profiles():
        profile = load_profile(name)
        assert f"`{name}`" in text
        assert profile.name == name
        assert profile.source
        assert profile.registers()[0] is ENERGY


def test_registers_are_counted_from_0_whatever_the_file_counts_from() -> None:
    energy = load_profile("schneider-iem3000").item(ENERGY)
    assert energy is not None
    assert (energy.register, energy.count, energy.factor) == (0x0C83, 4, Decimal("0.001"))


def test_an_unsigned_counter_wraps_at_its_width_unless_the_file_knows_better() -> None:
    energy = load_profile("hiking-dds238-4w").item(ENERGY)
    assert energy is not None
    assert energy.modulus == Decimal("42949672.96")
    assert GOOD.item(ENERGY) == item("uint32", factor=Decimal("0.001"), modulus=Decimal("999.999"))


FILE = (
    """
title = "Test"
source = ["a sheet"]
address_base = 1
function = 3
type = "uint32"
order = "ABCD"
not_available = ["FFFFFFFF", "7FFF"]
[block]
limit = 10
[quantity]
forward_active_energy = { register = 1, unit = "Wh", modulus = 999999, not_available = [] }
"""
    'active_power = { register = 4, unit = "kW", scale = 0.1, type = "int16", '
    'order = "BADC", function = 4 }\n'
)
GOOD = parse_profile(FILE, "test", "test.toml")


def test_an_item_may_differ_from_the_rest_of_its_profile() -> None:
    power = Item(
        Quantity.ACTIVE_POWER,
        4,
        3,
        "int16",
        "BADC",
        Decimal("0.1"),
        frozenset({bytes.fromhex("7FFF")}),
    )
    assert GOOD.items[1] == power
    assert decode(power, (0xFF7F,)) is None
    assert decode(power, (0xFEFF,)) == Decimal("-0.2")


MISTAKES = {
    "12: quantity.forward_active_energy.unit: 'kW'; forward_active_energy has a unit of kWh": (
        'unit = "Wh", modulus',
        'unit = "kW", modulus',
    ),
    "12: quantity.forward_active_energy.skale: unknown key (did you mean scale?)": (
        "modulus = 999999",
        "skale = 1",
    ),
    "12: quantity.forward_active_energy.register: 0 is outside the registers 1 to 65536": (
        "register = 1,",
        "register = 0,",
    ),
    "12: quantity.forward_active_energy.scale: must be a number above 0, not 0": (
        "modulus = 999999",
        "scale = 0",
    ),
    "13: quantity.active_power.register: int16 from here on overlaps forward_active_energy": (
        'register = 4, unit = "kW", scale = 0.1, type = "int16", order = "BADC", function = 4',
        'register = 2, unit = "kW", type = "int16"',
    ),
    "13: quantity.active_power.order: 'BACD' is none of ABCD, CDAB, BADC, DCBA (did you "
    "mean BADC?)": (
        '"BADC"',
        '"BACD"',
    ),
    "13: quantity.active_power.function: 1 is neither 3 nor 4": ("function = 4", "function = 1"),
    "3: source: lists too little: at least 1": (
        '["a sheet"]',
        "[]",
    ),
    "8: not_available.0: 'XY' is not 4, 8, 12 or 16 hexadecimal digits": ('"FFFFFFFF"', '"XY"'),
    "10: block.limit: 126 is too large: at most 125": ("limit = 10", "limit = 126"),
    "10: block.limit: forward_active_energy alone has 2 registers": ("limit = 10", "limit = 1"),
    "11: block.holes.0: first register 0x0005 is behind the last 0x0003": (
        "limit = 10",
        "limit = 10\nholes = [[5, 3]]",
    ),
    "13: quantity.forward_active_energy.register: lies in one of the holes of the block": (
        "limit = 10",
        "limit = 10\nholes = [[2, 3]]",
    ),
    "11: quantity: has no forward_active_energy, which is what a meter is read for": (
        "forward_active_energy",
        "reverse_active_energy",
    ),
    "13: quantity.active_power.register: 65537 is outside the registers 1 to 65536": (
        "register = 4",
        "register = 65537",
    ),
    "12: quantity.forward_active_energy.register: 65536 is outside the registers 1 to 65536": (
        "register = 1,",
        "register = 65536,",
    ),
    "12: quantity.forward_active_energy.not_available: FFFF has 2 bytes, uint32 has 4": (
        "not_available = []",
        'not_available = ["FFFF"]',
    ),
    "11: block.readable.0: 0 is outside the registers 1 to 65536": (
        "limit = 10",
        "limit = 10\nreadable = [[0, 3]]",
    ),
    "11: block.holes.0: 1 is outside the registers 1 to 65536": (
        "limit = 10",
        "limit = 10\nholes = [[1, 65537]]",
    ),
    "12: quantity.forward_active_energy.mask: has more bits than uint32": (
        "modulus = 999999",
        "mask = 0x1FFFFFFFF",
    ),
    "12: quantity.forward_active_energy.mask: 0xf0f has a gap: the bits of one value lie together": (
        "modulus = 999999",
        "mask = 0x0F0F",
    ),
    "13: quantity.active_power.mask: is for uint16, uint32 and uint64, not for int16": (
        "scale = 0.1",
        "mask = 3",
    ),
    "12: quantity.forward_active_energy.scale_register: is one of the registers of the value itself"
    "": (
        "modulus = 999999",
        "scale_register = 2",
    ),
    "12: quantity.forward_active_energy.scale_register: 0 is outside the registers 1 to 65536": (
        "modulus = 999999",
        "scale_register = 0",
    ),
    "10: block.limit: forward_active_energy alone has 20 registers": (
        "modulus = 999999",
        "scale_register = 20",
    ),
    "9: relay.confirm: is missing": (
        "[block]",
        "[relay]\nwrite = { function = 6, register = 1, trip = 0, close = 1 }\n[block]",
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_told_with_its_line(message: str) -> None:
    wrong = FILE.replace(*MISTAKES[message], 1)
    assert wrong != FILE
    with pytest.raises(ConfigError) as caught:
        parse_profile(wrong, "test", "test.toml")
    told = [str(problem).removeprefix("test.toml:") for problem in caught.value.problems]
    assert message in told


@pytest.mark.parametrize(
    ("type_", "registers", "number"),
    [
        # Modulo 10000, the most significant register first: 1234 x 10000 + 5678.
        ("mod10k", "04D2162E", 12345678),
        ("mod10k48", "000104D2162E", 112345678),
        ("mod10k64", "0000000104D2162E", 112345678),
        ("bcd16", "1234", 1234),
        ("bcd32", "12345678", 12345678),
        ("bcd48", "000012345678", 12345678),
        ("bcd64", "0000000012345678", 12345678),
    ],
)
def test_digits_in_registers_are_read_and_written(
    type_: RegisterType, registers: str, number: int
) -> None:
    words = tuple(int(registers[at : at + 4], 16) for at in range(0, len(registers), 4))
    assert decode(item(type_), words) == number
    assert encode(item(type_), Decimal(number)) == words
    assert decode(item(type_, "CDAB"), words[::-1]) == number


@pytest.mark.parametrize(
    ("type_", "words", "told"),
    [
        ("bcd32", (0x12AB, 0), "not BCD: 12AB0000"),
        ("mod10k", (1, 10_000), "a register holds 10000"),
    ],
)
def test_what_is_no_digit_is_told(type_: RegisterType, words: tuple[int, ...], told: str) -> None:
    with pytest.raises(FrameError, match=told):
        decode(item(type_), words)


@pytest.mark.parametrize(("type_", "value"), [("bcd16", 10_000), ("mod10k", 10**8), ("bcd32", -1)])
def test_digits_that_do_not_fit_are_refused(type_: RegisterType, value: int) -> None:
    with pytest.raises(FrameError, match="does not fit"):
        encode(item(type_), Decimal(value))


def test_a_register_may_hold_several_values_in_its_bits() -> None:
    high = item("uint16", mask=0xFF00)
    low = item("uint16", mask=0x00FF)
    assert decode(high, (0x1234,)) == 0x12
    assert decode(low, (0x1234,)) == 0x34
    assert encode(high, Decimal(0x12)) == (0x1200,)
    with pytest.raises(FrameError, match="does not fit"):
        encode(low, Decimal(0x134))


BITS = FILE.replace(
    'register = 4, unit = "kW", scale = 0.1, type = "int16", order = "BADC", function = 4',
    'register = 4, unit = "kW", type = "uint16", mask = 0x00FF',
)


def test_two_quantities_share_a_register_whose_bits_they_part() -> None:
    more = 'power_factor = { register = 4, type = "uint16", mask = 0xFF00 }\n'
    profile = parse_profile(BITS + more, "test", "test.toml")
    assert [item.mask for item in profile.items] == [None, 0x00FF, 0xFF00]
    overlapping = more.replace("0xFF00", "0xFF80")
    with pytest.raises(ConfigError, match="overlaps active_power"):
        parse_profile(BITS + overlapping, "test", "test.toml")


@pytest.mark.parametrize(
    ("scale", "value"),
    [(0, "1.234"), (2, "123.4"), (0xFFFE, "0.01234"), (0x8000, None)],
)
def test_a_meter_tells_the_power_of_ten_itself(scale: int, value: str | None) -> None:
    """SunSpec: sunssf is a signed power of ten, 8000 says that the point is not there."""
    energy = item("uint32", factor=Decimal("0.001"), scale_register=8)
    assert decode(energy, (0, 1234), scale) == (None if value is None else Decimal(value))
    assert (energy.first, energy.last, energy.span) == (0, 8, 9)


def test_a_scale_that_is_no_power_of_ten_is_told() -> None:
    with pytest.raises(FrameError, match="the scale register holds 300"):
        decode(item("uint32", scale_register=8), (0, 1), 300)


@pytest.mark.parametrize(
    ("change", "modulus"),
    [
        ('type = "mod10k"', "100000"),
        ('type = "bcd32"', "100000"),
        ("mask = 0xFFFFFF", "16777.216"),
        ("scale_register = 8", None),
    ],
)
def test_a_counter_wraps_where_its_form_ends(change: str, modulus: str | None) -> None:
    text = FILE.replace("modulus = 999999", change)
    energy = parse_profile(text, "test", "test.toml").item(ENERGY)
    assert energy is not None
    assert energy.modulus == (None if modulus is None else Decimal(modulus))


def test_all_mistakes_are_told_at_once() -> None:
    wrong = (
        FILE.replace("limit = 10", "limit = 0")
        .replace('"BADC"', '"X"')
        .replace("address_base", "adress_base")
    )
    with pytest.raises(ConfigError) as caught:
        parse_profile(wrong, "test", "test.toml")
    assert [(problem.line, problem.where) for problem in caught.value.problems] == [
        (1, "address_base"),
        (4, "adress_base"),
        (10, "block.limit"),
        (13, "quantity.active_power.order"),
    ]


RELAY = """
[relay]
write = { function = 5, register = 1, trip = 0, close = 1 }
confirm = { function = 1, register = 1, open = 1, closed = 0, mask = 1 }
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("close = 1", "close = 2", ["relay.write.trip"]),
        ("close = 1", "close = 0", ["relay.write.close", "relay.write.trip"]),
        ("function = 5, register = 1", "function = 5, register = 0", ["relay.write.register"]),
        ("function = 1, register = 1", "function = 1, register = 0", ["relay.confirm.register"]),
        ("open = 1, closed = 0", "open = 1, closed = 1", ["relay.confirm.closed"]),
        ("open = 1, closed = 0", "open = 2, closed = 0", ["relay.confirm.open"]),
        (
            "function = 1, register = 1, open = 1",
            "function = 3, register = 1, open = 2",
            ["relay.confirm.open"],
        ),
    ],
)
def test_a_relay_that_cannot_be_right_is_told(old: str, new: str, told: list[str]) -> None:
    assert parse_profile(FILE + RELAY, "test", "test.toml").relay is not None
    assert old in RELAY
    with pytest.raises(ConfigError) as caught:
        parse_profile(FILE + RELAY.replace(old, new), "test", "test.toml")
    assert [problem.where for problem in caught.value.problems] == told


def test_quantities_of_two_functions_may_have_one_register() -> None:
    same = FILE.replace("register = 4", "register = 1")
    assert parse_profile(same, "test", "test.toml").item(Quantity.ACTIVE_POWER) is not None


def test_a_profile_of_a_site_is_given_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(FILE, encoding="utf-8")
    assert load_profile(tmp_path / "own.toml").name == "own"
    with pytest.raises(ConfigError, match=r"nowhere\.toml:1: file: cannot be read: No such file"):
        load_profile(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"did you mean eastron-sdm630\?"):
        load_profile("eastron-sdm631")
    with pytest.raises(ConfigError, match="is no TOML"):
        parse_profile("=", "test", "test.toml")


# Probing


def test_a_probe_finds_the_right_reading_of_a_known_meter() -> None:
    """Registers of an Eastron: 230.1 V, 50 Hz, 1234.56 kWh, high word first."""
    data = struct.pack(">fff", 230.1, 50.0, 1234.56)
    words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, 12, 2)]
    found = [
        (it.register, it.type, it.order, it.guesses[0].quantity, it.guesses[0].value)
        for it in best(readings(0, words))
    ]
    assert found == [
        (0, "float32", "ABCD", "voltage", Decimal("230.1")),
        (2, "float32", "ABCD", "frequency", Decimal(50)),
        (4, "float32", "ABCD", "energy", Decimal("1234.56")),
    ]


def test_a_probe_tells_every_reading_and_no_value_that_is_none() -> None:
    assert len(list(readings(7, [0x4371, 0x199A]))) == 2 * 4 + 3 * 4
    assert len(list(readings(7, [0x7FC0, 0x0000]))) == 2 * 4 + 3 * 4 - 1
    assert guesses(Decimal(2301), "uint16")[0].scale == Decimal("0.1")
    assert guesses(Decimal(-5), "int16") == ()


def test_an_integer_meter_is_recognised_too() -> None:
    """Registers of a DDS238 as logged in dzlabing/dds238: 230.4 V, 0.62 A, 50.0 Hz."""
    found = {
        it.register: it.guesses[0]
        for it in best(readings(0x0C, [2304, 62, 131, 0xFFFE, 917, 5000]))
    }
    assert (found[0x0C].quantity, found[0x0C].value) == ("voltage", Decimal("230.4"))
    assert (found[0x10].quantity, found[0x10].value) == ("power_factor", Decimal("0.917"))
    assert (found[0x11].quantity, found[0x11].value) == ("frequency", Decimal("50.00"))


def test_a_profile_is_a_value() -> None:
    assert isinstance(GOOD, Profile)
    assert parse_profile(FILE, "test", "test.toml") == GOOD


# Serial numbers


@pytest.mark.parametrize(
    ("serial", "registers", "number"),
    [
        (SerialNumber(3, 0, 2, "ABCD"), "0012D687", "1234567"),
        (SerialNumber(3, 0, 2, "CDAB"), "D6870012", "1234567"),
        (SerialNumber(3, 0, 4, "ABCD", is_text=True), "53473230 32360000", "SG2026"),
        (SerialNumber(3, 0, 4, "BADC", is_text=True), "47533032 36320000", "SG2026"),
        (SerialNumber(3, 0, 2, "ABCD"), "00000000", None),
        (SerialNumber(3, 0, 2, "ABCD"), "FFFFFFFF", None),
        (SerialNumber(3, 0, 2, "ABCD", is_text=True), "20202020", None),
    ],
)
def test_a_serial_number_is_a_number_or_a_text(
    serial: SerialNumber, registers: str, number: str | None
) -> None:
    data = bytes.fromhex(registers)
    words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    assert decode_serial(serial, words) == number
    if number is not None:
        assert encode_serial(serial, number) == tuple(words)


def test_a_serial_number_that_cannot_be_printed_is_refused() -> None:
    serial = SerialNumber(3, 0, 2, "ABCD", is_text=True)
    with pytest.raises(FrameError, match="cannot be printed"):
        decode_serial(serial, [0x5301, 0x4748])


def test_every_mistake_of_a_serial_number_is_told_with_its_place() -> None:
    def told(serial: str) -> list[str]:
        text = f"""
title = "t"
source = ["s"]
address_base = 1
function = 3
type = "uint32"
order = "ABCD"
[block]
limit = 8
[serial]
{serial}
[quantity]
forward_active_energy = {{ register = 1, unit = "kWh" }}
"""
        with pytest.raises(ConfigError) as error:
            parse_profile(text, "p", "p.toml")
        return [str(problem) for problem in error.value.problems]

    assert told('register = 130\ntype = "float32"')[0].startswith(
        "p.toml:12: serial.type: 'float32'"
    )
    assert "needs the number of its registers" in told('register = 130\ntype = "ascii"')[0]
    assert "leave it out" in told('register = 130\ntype = "uint32"\ncount = 2')[0]
    assert "outside the registers" in told('register = 0\ntype = "uint32"')[0]
    assert "alone has 9 registers" in told('register = 130\ntype = "ascii"\ncount = 9')[0]
    assert "did you mean type" in told('register = 130\ntypo = "uint32"')[1]
