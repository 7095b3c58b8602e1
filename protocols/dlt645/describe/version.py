"""What makes a version of the standard, and what the data of one of its frames say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from protocols.dlt645.bcd import digits_of
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.dlt645.functions import error_bits
from protocols.dlt645.values import Value, try_values


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the standard: all in which its frames differ from those of another."""

    protocol: str
    """The name in `meterd decode --protocol`."""
    identifier_width: int
    """Bytes."""
    function_names: Mapping[int, str]
    error_names: tuple[str, ...]
    """The bits of the error word, bit 0 first."""
    requests: Mapping[int, Describer]
    """By function, as `replies` and `refusals`."""
    replies: Mapping[int, Describer]
    refusals: Mapping[int, Describer] = field(default_factory=dict)
    """Abnormal answers that carry something else than one error byte."""


@dataclass(slots=True)
class DataDescription:
    """What the data of a frame turn out to say: values as text, and in words what is wrong."""

    version: Version
    identifier: str | None = None
    values: list[Value] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    error_bits: tuple[str, ...] = ()

    def take_identifier(self, data: bytes) -> bytes | None:
        """The data behind the identifier, which is kept; None when they are too short for one."""
        width = self.version.identifier_width
        if len(data) < width:
            self.errors.append(f"no identifier: {len(data)} data bytes, an identifier has {width}")
            self.add_hex("data", data)
            return None
        self.identifier = digits_of(data[:width])
        return data[width:]

    def add(self, name: str, value: str | None, unit: str = "") -> None:
        """One value."""
        self.values.append(Value(name, value, unit))

    def add_bcd(self, name: str, data: bytes, unit: str = "") -> None:
        """Digits as written, most significant first; anything else than BCD is an error."""
        digits = digits_of(data)
        if digits.isdigit():
            self.add(name, digits, unit)
        else:
            self.errors.append(f"{name}: not BCD: {digits}")

    def add_byte(self, name: str, byte: int) -> None:
        """One byte as two digits."""
        self.add(name, f"{byte:02X}")

    def add_hex(self, name: str, data: bytes) -> None:
        """Bytes as they are sent; nothing when there are none."""
        if data:
            self.add(name, data.hex().upper(), "hex")

    def add_wrong_data(self, error: str, data: bytes) -> None:
        """Data that are not what the standard demands: the reason, and the bytes as sent."""
        self.errors.append(error)
        self.add_hex("data", data)

    def add_known(self, data: bytes, *, whole: bool = True) -> None:
        """The data behind the identifier."""
        values, errors = try_values(self.identifier or "", data, whole=whole)
        self.values += values
        self.errors += errors

    def add_refusal(self, word: int) -> None:
        """An error word of the meter, before everything else that is wrong."""
        self.error_bits = error_bits(word, self.version.error_names)
        words = ", ".join(self.error_bits).replace("_", " ") or "no reason given"
        self.errors.insert(0, f"the meter refused: {words} (ERR {word:02X})")

    def check_reply_address(self, address: str) -> None:
        """An answer carries the meter's own address, whatever was asked."""
        in_its_place = ""
        if address.startswith("AA"):
            in_its_place = f"wildcard {address}"
        elif address == BROADCAST:
            in_its_place = "broadcast address"
        if in_its_place:
            self.errors.append(
                f"the answer carries the {in_its_place} in place of the meter's own address"
            )


Describer = Callable[[Frame, DataDescription], None]
"""Adds what the data of a frame say."""
