"""Register profiles of Modbus meters: the shipped TOML files, and those of a site.

docs/modbus.md tells every key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
)

from config import wrong_settings
from config.problems import ConfigError, Problem, did_you_mean
from config.toml_lines import Path as Place
from config.toml_lines import line_of, locate, parse_toml, toml_text
from protocols.modbus.functions import BIT_READS, MOST_REGISTERS
from protocols.modbus.profile import (
    ORDERS,
    TYPES,
    Item,
    Order,
    Profile,
    RegisterType,
    Relay,
    SerialNumber,
    Span,
    width,
)
from protocols.reading import Quantity

SHIPPED: Final = files("config") / "profiles"
QUANTITIES: Final = {quantity.label: quantity for quantity in Quantity}
LEAST_SCALE: Final = Decimal("1e-9")
MOST_SCALE: Final = Decimal(1_000_000_000)
ENERGY_UNITS: Final = frozenset({"kWh", "kvarh"})
LAST_REGISTER: Final = 0xFFFF
WRITE_COIL: Final = 5
"""Function of Modbus that writes one bit."""
SERIAL_TYPES: Final = ("uint16", "uint32", "uint64", "ascii")
MOST_SERIAL_REGISTERS: Final = 16
"""Of a serial number that is a text: 32 characters."""
PREFIXES: Final = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    "k": Decimal(1000),
    "M": Decimal(1_000_000),
}


def _one_of(*words: str) -> BeforeValidator:
    def check(value: object) -> object:
        if value not in words:
            raise ValueError(
                f"{value!r} is none of {', '.join(words)}{did_you_mean(str(value), words)}"
            )
        return value

    return BeforeValidator(check)


def _number(value: object) -> Decimal:
    """TOML's numbers come as int or Decimal: no float has been near them."""
    refusal = f"must be a number above 0, not {value!r}"
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(refusal)
    if not Decimal(value).is_finite() or value <= 0:
        raise ValueError(refusal)
    if not LEAST_SCALE <= value <= MOST_SCALE:
        raise ValueError(f"must be between {LEAST_SCALE} and {MOST_SCALE}, not {value}")
    return Decimal(value)


def _pattern(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch("([0-9A-Fa-f]{4}){1,4}", value):
        raise ValueError(f"{value!r} is not 4, 8, 12 or 16 hexadecimal digits")
    return bytes.fromhex(value)


def _span(value: object) -> object:
    if not isinstance(value, list) or len(value) != 2 or not all(type(end) is int for end in value):
        raise ValueError(f"must be [first, last] register, not {value!r}")
    if value[0] > value[1]:
        raise ValueError(f"first register {value[0]:#06x} is behind the last {value[1]:#06x}")
    return tuple(value)


Register = Annotated[StrictInt, Field(ge=0, le=0x1FFFF)]
Word = Annotated[StrictInt, Field(ge=0, le=0xFFFF)]
Number = Annotated[Decimal, BeforeValidator(_number)]
Patterns = list[Annotated[bytes, BeforeValidator(_pattern)]]
Type = Annotated[RegisterType, _one_of(*TYPES)]
WordOrder = Annotated[Order, _one_of(*ORDERS)]
RegisterFunction = Literal[3, 4]


class _Table(BaseModel):
    # Few sites have Modbus meters: the validators are built with the first profile that is read.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class _Quantity(_Table):
    at: Register = Field(alias="register")
    unit: StrictStr | None = None
    scale: Number = Decimal(1)
    function: RegisterFunction | None = None
    type: Type | None = None
    order: WordOrder | None = None
    not_available: Patterns | None = None
    modulus: Number | None = None
    mask: Annotated[StrictInt, Field(ge=1, lt=1 << 64)] | None = None
    scale_register: Register | None = None


class _Block(_Table):
    limit: Annotated[StrictInt, Field(ge=1, le=MOST_REGISTERS)]
    readable: list[Annotated[tuple[int, int], BeforeValidator(_span)]] = Field(default_factory=list)
    holes: list[Annotated[tuple[int, int], BeforeValidator(_span)]] = Field(default_factory=list)


class _Write(_Table):
    function: Literal[5, 6, 16]
    at: Register = Field(alias="register")
    trip: Word
    close: Word


class _Confirm(_Table):
    function: Literal[1, 2, 3, 4]
    at: Register = Field(alias="register")
    open: Word
    closed: Word
    mask: Word = 0xFFFF


class _Relay(_Table):
    write: _Write
    confirm: _Confirm


class _Serial(_Table):
    at: Register = Field(alias="register")
    type: Annotated[str, _one_of(*SERIAL_TYPES)]
    count: Annotated[StrictInt, Field(ge=1, le=MOST_SERIAL_REGISTERS)] | None = None
    function: RegisterFunction | None = None
    order: WordOrder | None = None


class _File(_Table):
    title: StrictStr
    source: Annotated[list[StrictStr], Field(min_length=1)]
    address_base: Literal[0, 1, 30001, 40001]
    function: RegisterFunction
    type: Type
    order: WordOrder
    not_available: Patterns = Field(default_factory=list)
    block: _Block
    quantity: Annotated[dict[Annotated[str, _one_of(*QUANTITIES)], _Quantity], Field(min_length=1)]
    relay: _Relay | None = None
    serial: _Serial | None = None


@cache
def shipped_profiles() -> tuple[str, ...]:
    """The names of the profiles that come with the program."""
    names = [file.name for file in SHIPPED.iterdir() if file.name.endswith(".toml")]
    return tuple(sorted(name.removesuffix(".toml") for name in names))


def load_profile(name_or_path: str | Path) -> Profile:
    """A shipped profile by its name, or that of a site by the path of its TOML file.

    ConfigError with all mistakes."""
    shown = str(name_or_path)
    if "/" not in shown and not shown.endswith(".toml"):
        return _shipped_profile(shown)
    path = Path(name_or_path)
    return parse_profile(toml_text(path, shown), path.stem, shown)


def _shipped_profile(name: str) -> Profile:
    known = shipped_profiles()
    if name not in known:
        message = (
            f"no profile comes with this name{did_you_mean(name, known)}; "
            f"there are {', '.join(known)}; "
            "a file of your own is given by its path, ending in .toml"
        )
        raise ConfigError([Problem(name, 1, "profile", message)])
    file = f"{name}.toml"
    return parse_profile((SHIPPED / file).read_text(encoding="utf-8"), name, file)


def parse_profile(text: str, name: str, file: str) -> Profile:
    """A profile from its TOML text; `file` is how mistakes name it."""
    content = parse_toml(text, file, Decimal)
    # Python's parser tells no lines; a second walk finds where the keys stand.
    lines = locate(text)

    def problems_at(mistakes: Iterable[tuple[Place, str]]) -> list[Problem]:
        return [
            Problem(file, line_of(lines, place), ".".join(map(str, place)) or "file", message)
            for place, message in mistakes
        ]

    try:
        table = _File.model_validate(content)
    except ValidationError as error:
        raise ConfigError(problems_at(map(_in_words, error.errors()))) from None
    if problems := problems_at(_cross_checks(table)):
        raise ConfigError(problems)
    return _profile(table, name)


def _in_words(mistake: Any) -> tuple[Place, str]:
    place: Place = tuple(part for part in mistake["loc"] if part != "[key]")
    if mistake["type"] == "extra_forbidden":
        return place, f"unknown key{did_you_mean(str(place[-1]), _known_keys(place[:-1]))}"
    return place, wrong_settings.in_words(mistake)


def _known_keys(place: Place) -> Iterable[str]:
    tables: dict[Any, type[_Table]] = {
        "block": _Block,
        "relay": _Relay,
        "write": _Write,
        "confirm": _Confirm,
        "serial": _Serial,
    }
    if len(place) == 2 and place[0] == "quantity":
        table: type[_Table] = _Quantity
    else:
        table = tables.get(place[-1] if place else None, _File)
    return [field.alias or name for name, field in table.model_fields.items()]


def _cross_checks(table: _File) -> Iterator[tuple[Place, str]]:
    """What is wrong although every key by itself is right."""
    if Quantity.FORWARD_ACTIVE_ENERGY.label not in table.quantity:
        yield ("quantity",), "has no forward_active_energy, which is what a meter is read for"
    holes = [_moved(hole, table.address_base) for hole in table.block.holes]
    taken: dict[tuple[int, int], str] = {}
    for label, row in table.quantity.items():
        span = _read_span(row, table)
        yield from _quantity_checks(label, row, table)
        yield from _form_checks(label, row, table)
        yield from _overlaps(label, row, table, taken)
        if any(hole.touches(span[0], span[-1]) for hole in holes):
            yield ("quantity", label, "register"), "lies in one of the holes of the block"
        if len(span) > table.block.limit:
            yield ("block", "limit"), f"{label} alone has {len(span)} registers"
    yield from _block_checks(table.block, table.address_base)
    if table.relay:
        yield from _relay_checks(table.relay, table.address_base)
    if table.serial:
        yield from _serial_checks(table.serial, table)


def _registers(row: _Quantity, table: _File) -> range:
    """The registers of a quantity, counted from 0."""
    first = row.at - table.address_base
    return range(first, first + width(row.type or table.type))


def _read_span(row: _Quantity, table: _File) -> range:
    """The registers that are read for a quantity: from its own to that of its scale."""
    own = _registers(row, table)
    if row.scale_register is None:
        return own
    scale = row.scale_register - table.address_base
    return range(min(own[0], scale), max(own[-1], scale) + 1)


def _form_checks(label: str, row: _Quantity, table: _File) -> Iterator[tuple[Place, str]]:
    """A mask belongs to unsigned integers, a scale register to integers of any kind."""
    place = ("quantity", label)
    type_ = row.type or table.type
    if row.mask is not None:
        if not type_.startswith("uint"):
            yield (*place, "mask"), f"is for uint16, uint32 and uint64, not for {type_}"
        elif row.mask >> 16 * width(type_):
            yield (*place, "mask"), f"has more bits than {type_}"
        elif row.mask & row.mask + (row.mask & -row.mask):
            yield (*place, "mask"), f"{row.mask:#x} has a gap: the bits of one value lie together"
    if row.scale_register is None:
        return
    if type_.startswith("float"):
        yield (*place, "scale_register"), f"a {type_} has its own exponent; leave it out"
    if not 0 <= row.scale_register - table.address_base <= LAST_REGISTER:
        yield (*place, "scale_register"), _outside(row.scale_register, table.address_base)
    elif row.scale_register - table.address_base in _registers(row, table):
        yield (*place, "scale_register"), "is one of the registers of the value itself"


def _quantity_checks(label: str, row: _Quantity, table: _File) -> Iterator[tuple[Place, str]]:
    place = ("quantity", label)
    registers = _registers(row, table)
    if registers[0] < 0 or registers[-1] > LAST_REGISTER:
        yield (*place, "register"), _outside(row.at, table.address_base)
    quantity = QUANTITIES[label]
    if _in_unit(row.unit, quantity) is None:
        wanted = f"a unit of {quantity.unit}" if quantity.unit else "no unit"
        given = "is missing" if row.unit is None else repr(row.unit)
        yield (*place, "unit"), f"{given}; {label} has {wanted}"
    type_ = row.type or table.type
    size = 2 * width(type_)
    for pattern in row.not_available or ():
        if len(pattern) != size:
            shown = pattern.hex().upper()
            message = f"{shown} has {len(pattern)} bytes, {type_} has {size}"
            yield (*place, "not_available"), message


def _overlaps(
    label: str, row: _Quantity, table: _File, taken: dict[tuple[int, int], str]
) -> Iterator[tuple[Place, str]]:
    """A register that another quantity has already, unless each has its own bits of it.

    `taken`: (function, register) -> its quantity; those of this one are added."""
    function = row.function or table.function
    for register in _registers(row, table):
        other = taken.setdefault((function, register), label)
        if other != label and not _part_bits(row, table.quantity[other]):
            message = f"{row.type or table.type} from here on overlaps {other}"
            yield ("quantity", label, "register"), message
            return


def _part_bits(one: _Quantity, other: _Quantity) -> bool:
    if one.mask is None or other.mask is None:
        return False
    return one.at == other.at and not one.mask & other.mask


def _block_checks(block: _Block, base: int) -> Iterator[tuple[Place, str]]:
    for key, spans in (("readable", block.readable), ("holes", block.holes)):
        for index, ends in enumerate(spans):
            span = _moved(ends, base)
            if span.first < 0 or span.last > LAST_REGISTER:
                yield ("block", key, index), _outside(ends[0], base)


def _relay_checks(relay: _Relay, base: int) -> Iterator[tuple[Place, str]]:
    yield from _write_checks(relay.write)
    yield from _confirm_checks(relay.confirm)
    for key, register in (("write", relay.write.at), ("confirm", relay.confirm.at)):
        if not 0 <= register - base <= LAST_REGISTER:
            yield ("relay", key, "register"), _outside(register, base)


def _serial_checks(serial: _Serial, table: _File) -> Iterator[tuple[Place, str]]:
    is_text = serial.type == "ascii"
    if is_text and serial.count is None:
        yield ("serial", "count"), "a text needs the number of its registers"
    if not is_text and serial.count is not None:
        yield ("serial", "count"), f"{serial.type} has its own number of registers: leave it out"
    first = serial.at - table.address_base
    last = first + _serial_count(serial) - 1
    if first < 0 or last > LAST_REGISTER:
        yield ("serial", "register"), _outside(serial.at, table.address_base)
    if _serial_count(serial) > table.block.limit:
        yield ("block", "limit"), f"the serial number alone has {_serial_count(serial)} registers"


def _serial_count(serial: _Serial) -> int:
    if serial.type == "ascii":
        return serial.count or 1
    return int(serial.type.removeprefix("uint")) // 16


def _write_checks(write: _Write) -> Iterator[tuple[Place, str]]:
    if write.trip == write.close:
        yield ("relay", "write", "close"), "the same value as for trip"
    if write.function == WRITE_COIL and {write.trip, write.close} != {0, 1}:
        yield ("relay", "write", "trip"), "a coil (function 5) is written with 0 or 1"


def _confirm_checks(confirm: _Confirm) -> Iterator[tuple[Place, str]]:
    if confirm.open == confirm.closed:
        yield ("relay", "confirm", "closed"), "the same value as for open"
    if confirm.function in BIT_READS:
        seen = 1
        reason = "a bit is 0 or 1"
    else:
        seen = confirm.mask
        reason = "has bits that the mask hides"
    for key, value in (("open", confirm.open), ("closed", confirm.closed)):
        if value & ~seen:
            yield ("relay", "confirm", key), reason


def _profile(table: _File, name: str) -> Profile:
    base = table.address_base
    return Profile(
        name=name,
        title=table.title,
        source=tuple(table.source),
        items=tuple(_item(label, row, table) for label, row in table.quantity.items()),
        limit=table.block.limit,
        readable=tuple(_moved(span, base) for span in table.block.readable),
        holes=tuple(_moved(span, base) for span in table.block.holes),
        relay=_relay(table.relay, base) if table.relay else None,
        serial=_serial(table.serial, table) if table.serial else None,
    )


def _item(label: str, row: _Quantity, table: _File) -> Item:
    type_ = row.type or table.type
    in_unit = _in_unit(row.unit, QUANTITIES[label])
    assert in_unit is not None, "an unknown unit got through the checks"
    patterns = table.not_available if row.not_available is None else row.not_available
    size = 2 * width(type_)
    return Item(
        quantity=QUANTITIES[label],
        function=row.function or table.function,
        register=row.at - table.address_base,
        type=type_,
        order=row.order or table.order,
        factor=row.scale * in_unit,
        # Patterns for the whole file fit the types of some quantities only.
        not_available=frozenset(pattern for pattern in patterns if len(pattern) == size),
        modulus=_modulus(row, type_, QUANTITIES[label], in_unit),
        mask=row.mask,
        scale_register=(
            None if row.scale_register is None else row.scale_register - table.address_base
        ),
    )


def _modulus(
    row: _Quantity, type_: RegisterType, quantity: Quantity, in_unit: Decimal
) -> Decimal | None:
    """Where a register starts again, in the quantity's unit, as the file says.

    Otherwise an energy that counts in unsigned integers or digits does when they are full; where
    that is, is not known beforehand of one whose scale the meter tells."""
    if row.modulus is not None:
        return row.modulus * in_unit
    if quantity.unit not in ENERGY_UNITS or row.scale_register is not None:
        return None
    if row.mask is not None:
        values = row.mask // (row.mask & -row.mask) + 1
    elif type_.startswith("uint"):
        values = 1 << 16 * width(type_)
    elif type_.startswith(("bcd", "mod10k")):
        values = 10_000 ** width(type_)
    else:
        return None
    return values * (row.scale * in_unit)


def _relay(relay: _Relay, base: int) -> Relay:
    return Relay(
        write_function=relay.write.function,
        write_register=relay.write.at - base,
        trip=relay.write.trip,
        close=relay.write.close,
        confirm_function=relay.confirm.function,
        confirm_register=relay.confirm.at - base,
        open=relay.confirm.open,
        closed=relay.confirm.closed,
        confirm_mask=relay.confirm.mask,
    )


def _serial(serial: _Serial, table: _File) -> SerialNumber:
    return SerialNumber(
        function=serial.function or table.function,
        register=serial.at - table.address_base,
        count=_serial_count(serial),
        order=serial.order or table.order,
        is_text=serial.type == "ascii",
    )


def _in_unit(unit: str | None, quantity: Quantity) -> Decimal | None:
    """What one of the file's unit is in the quantity's own.

    None when it measures something else."""
    own = quantity.unit
    if (unit or "") == own:
        return Decimal(1)
    if unit is None or not own:
        return None
    # Quantities are in kWh, kW, kvar ... or in V, A, Hz: one letter in front is all that differs.
    plain = own.removeprefix("k")
    in_plain = {prefix + plain: size for prefix, size in PREFIXES.items()}
    return in_plain[unit] / in_plain[own] if unit in in_plain else None


def _moved(ends: tuple[int, int], base: int) -> Span:
    return Span(ends[0] - base, ends[1] - base)


def _outside(register: int, base: int) -> str:
    return f"{register} is outside the registers {base} to {base + LAST_REGISTER}"
