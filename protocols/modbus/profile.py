"""What stands in which register of a kind of meter.

Pure values; `config/profiles.py` reads them from TOML files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, get_args

from protocols.reading import Quantity

RegisterType = Literal[
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "bcd16",
    "bcd32",
    "bcd48",
    "bcd64",
    "mod10k",
    "mod10k48",
    "mod10k64",
]
"""`bcd...`: four decimal digits in each register. `mod10k...`: each register counts to 9999, so two
of them have eight digits."""
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
"""How the bytes of a value lie on the wire, A the most significant: ABCD as they should, CDAB with
its words swapped, BADC with the bytes of each word swapped, DCBA both. Of 64 bits the words are
reversed, not swapped in pairs."""
TYPES: Final[tuple[RegisterType, ...]] = get_args(RegisterType)
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
LAST_REGISTER: Final = 0xFFFF
TARIFFS: Final = (
    Quantity.FORWARD_ACTIVE_ENERGY_T1,
    Quantity.FORWARD_ACTIVE_ENERGY_T2,
    Quantity.FORWARD_ACTIVE_ENERGY_T3,
    Quantity.FORWARD_ACTIVE_ENERGY_T4,
)


_BITS: Final = re.compile(r"(16|32|48|64)$")


def width(type_: RegisterType) -> int:
    """Registers of a value."""
    bits = _BITS.search(type_)
    return int(bits[1]) // 16 if bits else 2


@dataclass(frozen=True, slots=True)
class Item:
    """Where one quantity is, and how it is to be read.

    `register` counts from 0, as in the PDU (documents that count from 1 say one more). What is read
    times `factor` is in the quantity's unit. `not_available`: bit patterns, most significant byte
    first, that mean "no value". `modulus`: where the counter wraps to 0, in the quantity's unit.
    `mask`: the bits of an unsigned number that hold the value, which begins at the lowest of them.
    `scale_register`: where the meter tells the power of ten that the number is to be multiplied by.
    """

    quantity: Quantity
    function: int
    register: int
    type: RegisterType
    order: Order
    factor: Decimal = Decimal(1)
    not_available: frozenset[bytes] = frozenset()
    modulus: Decimal | None = None
    mask: int | None = None
    scale_register: int | None = None

    @property
    def count(self) -> int:
        """Registers of the value."""
        return width(self.type)

    @property
    def first(self) -> int:
        """The first register that is read for it: its own, or that of its scale before it."""
        if self.scale_register is None:
            return self.register
        return min(self.register, self.scale_register)

    @property
    def last(self) -> int:
        """The last register that is read for it."""
        own = self.register + self.count - 1
        # Value and scale come in one answer: a meter may change both at once.
        return own if self.scale_register is None else max(own, self.scale_register)

    @property
    def span(self) -> int:
        """How many registers are read for it."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Span:
    """Registers `first` to `last`, both included."""

    first: int
    last: int

    def covers(self, first: int, last: int) -> bool:
        """True when all of these registers are inside."""
        return self.first <= first and last <= self.last

    def touches(self, first: int, last: int) -> bool:
        """True when at least one of these registers is inside."""
        return self.first <= last and first <= self.last


@dataclass(frozen=True, slots=True)
class Relay:
    """How a relay is moved and how its state is read back: never from the answer to the write.

    Written with `write_function` (5, 6 or 16). The state is `confirm_mask` of the register or bit
    that `confirm_function` (1 to 4) reads; anything but `open` and `closed` is no state."""

    write_function: int
    write_register: int
    trip: int
    close: int
    confirm_function: int
    confirm_register: int
    open: int
    closed: int
    confirm_mask: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class SerialNumber:
    """Where a kind of meter tells which one it is: `count` registers from `register` on.

    An unsigned integer, or with `is_text` ASCII, the first character first."""

    function: int
    register: int
    count: int
    order: Order
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """The register map of a kind of meter, and what reads it stands.

    `limit`: most registers in one read. `readable`: spans in which registers between the known ones
    may be read along; elsewhere only registers that lie side by side go into one read. `holes`:
    never to be read over."""

    name: str
    title: str
    source: tuple[str, ...]
    items: tuple[Item, ...]
    limit: int
    readable: tuple[Span, ...] = ()
    holes: tuple[Span, ...] = ()
    relay: Relay | None = None
    serial: SerialNumber | None = None

    def item(self, quantity: Quantity) -> Item | None:
        """Where the quantity is, None when this kind of meter does not have it."""
        return next((item for item in self.items if item.quantity is quantity), None)

    def quantities(self) -> tuple[Quantity, ...]:
        """All that this kind of meter has, in the order of the file."""
        return tuple(item.quantity for item in self.items)

    def registers(self) -> tuple[Quantity, ...]:
        """What a bill needs: the forward active total, then the tariffs that there are."""
        tariffs = [quantity for quantity in TARIFFS if self.item(quantity) is not None]
        return (Quantity.FORWARD_ACTIVE_ENERGY, *tariffs)

    def may_read_along(self, function: int, first: int, last: int) -> bool:
        """True when these registers may be asked for although they are not needed."""
        if first > last:
            return True
        if first < 0 or last > LAST_REGISTER:
            return False
        if any(hole.touches(first, last) for hole in self.holes):
            return False
        known = [Span(item.first, item.last) for item in self.items if item.function == function]
        return any(span.covers(first, last) for span in (*self.readable, *known))
