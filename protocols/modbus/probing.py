"""What a block of registers could mean: types, word orders and scales that are plausible.

For a meter whose register list is missing or wrong. A hint, not a proof: compare with the meter's
display."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from protocols.modbus.profile import ORDERS, Order, RegisterType, width
from protocols.modbus.values import interpret, ordered

SCALES: Final = (Decimal(1), Decimal("0.1"), Decimal("0.01"), Decimal("0.001"))
PROBED: Final[tuple[RegisterType, ...]] = (
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
)
ORDERS_OF_ONE: Final[tuple[Order, ...]] = ("ABCD", "BADC")
"""A single register has no words to swap."""


@dataclass(frozen=True, slots=True)
class Plausible:
    """The range of a quantity of a low-voltage supply, and the scales that meters give it.

    `of_integer`, `of_float`: the scales in an integer and in a float register, the usual one first.
    `widths`: in how many registers. `weight`: how much a hit says, more the narrower the range is.
    """

    quantity: str
    unit: str
    least: Decimal
    most: Decimal
    of_integer: tuple[Decimal, ...]
    of_float: tuple[Decimal, ...]
    widths: tuple[int, ...]
    weight: int


ONE, TENTH, HUNDREDTH, THOUSANDTH = SCALES
PLAUSIBLE: Final = (
    Plausible(
        "voltage",
        "V",
        Decimal(180),
        Decimal(260),
        (TENTH, HUNDREDTH, ONE),
        (ONE, TENTH),
        (1, 2),
        3,
    ),
    Plausible(
        "frequency",
        "Hz",
        Decimal(49),
        Decimal(51),
        (HUNDREDTH, TENTH),
        (ONE, HUNDREDTH),
        (1, 2),
        3,
    ),
    Plausible(
        "power_factor",
        "",
        Decimal("0.5"),
        Decimal(1),
        (THOUSANDTH,),
        (ONE, THOUSANDTH),
        (1, 2),
        2,
    ),
    Plausible(
        "energy",
        "kWh",
        Decimal(10),
        Decimal(999_999),
        (HUNDREDTH, THOUSANDTH, ONE),
        (ONE, THOUSANDTH),
        (2, 4),
        2,
    ),
    Plausible(
        "current",
        "A",
        Decimal("0.05"),
        Decimal(100),
        (HUNDREDTH, THOUSANDTH),
        (ONE, THOUSANDTH),
        (1, 2),
        1,
    ),
)
WEIGHT_OF_FLOAT: Final = 3
USUAL_ORDERS: Final[dict[Order, int]] = {"ABCD": 2, "CDAB": 1}


@dataclass(frozen=True, slots=True)
class Guess:
    """What a number could be: `value` is number x scale, in `unit`."""

    quantity: str
    value: Decimal
    unit: str
    scale: Decimal
    weight: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the registers from `register` on; `number` is not yet scaled.

    The best guess comes first.
    """

    register: int
    type: RegisterType
    order: Order
    number: Decimal
    guesses: tuple[Guess, ...]

    @property
    def registers(self) -> range:
        """The registers that it is made of."""
        return range(self.register, self.register + width(self.type))

    @property
    def weight(self) -> int:
        """How much speaks for it; 0 when it looks like nothing."""
        if not self.guesses:
            return 0
        weight = self.guesses[0].weight + USUAL_ORDERS.get(self.order, 0)
        # Few patterns make a sensible float by chance.
        return weight + WEIGHT_OF_FLOAT if self.type.startswith("float") else weight


def readings(first: int, registers: Sequence[int]) -> Iterator[Reading]:
    """Every reading of every register of the block that begins at `first`, plausible or not.

    A type that does not fit any more at the end of the block is left out; so are NaN and infinity.
    """
    for at in range(len(registers)):
        for type_ in PROBED:
            words = registers[at : at + width(type_)]
            if len(words) < width(type_):
                continue
            for order in ORDERS_OF_ONE if len(words) == 1 else ORDERS:
                number = interpret(ordered(words, order), type_)
                if number is not None:
                    yield Reading(
                        first + at,
                        type_,
                        order,
                        number,
                        guesses(number, type_),
                    )


def guesses(number: Decimal, type_: RegisterType) -> tuple[Guess, ...]:
    """What the number could be, at each scale that makes it plausible, likeliest first.

    None of these quantities is negative: the signed integers look like nothing, the unsigned read
    the same.
    """
    if type_.startswith("int"):
        return ()
    found: list[Guess] = []
    for known in PLAUSIBLE:
        if width(type_) in known.widths:
            scales = known.of_float if type_.startswith("float") else known.of_integer
            found += _guesses_of(known, number, scales)
    return tuple(sorted(found, key=lambda guess: -guess.weight))


def _guesses_of(known: Plausible, number: Decimal, scales: Sequence[Decimal]) -> Iterator[Guess]:
    for scale in scales:
        value = number * scale
        if known.least <= value <= known.most:
            weight = known.weight + (scale == scales[0])
            yield Guess(known.quantity, value, known.unit, scale, weight)


def best(all_readings: Iterable[Reading]) -> list[Reading]:
    """The likeliest readings that share no register, in the order of the registers."""
    taken: set[int] = set()
    chosen = []
    for reading in sorted(all_readings, key=lambda reading: -reading.weight):
        if reading.guesses and taken.isdisjoint(reading.registers):
            taken.update(reading.registers)
            chosen.append(reading)
    return sorted(chosen, key=lambda reading: reading.register)
