"""How a decoded frame is told to people and to other programs, in every version of DL/T 645."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from protocols.dlt645.frame import BROADCAST, Frame
from protocols.dlt645.values import Value, try_values
from protocols.errors import FrameError

SEPARATORS: Final = " \t\r\n\v\f,;:|-_\"'[](){}"
HEX_DIGITS: Final = "0123456789abcdefABCDEF"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong. `bits`: the words of the meter's error word; empty when the frame itself is
    wrong."""

    bits: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Description:
    """One frame. `direction`: request or response; `identifier`: 8 digits DI3..DI0; `raw`: from 68
    to 16, in hex."""

    protocol: str
    direction: str
    address: str
    control: str
    function: str
    identifier: str | None
    values: tuple[Value, ...]
    error: Wrong | None
    follow: bool
    raw: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the fields by their names, values and error likewise."""
        values = [value._asdict() for value in self.values]
        error = self.error and {"bits": list(self.error.bits), "text": self.error.text}
        return {name: getattr(self, name) for name in self.__slots__} | {
            "values": values,
            "error": error,
        }


@dataclass(frozen=True, slots=True)
class SkippedBytes:
    """A stretch that is no frame, in hex, and why: noise, bad_checksum, truncated, bad_length or
    bad_end."""

    skipped: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"skipped": self.skipped, "reason": self.reason}


@dataclass(slots=True)
class Told:
    """What the data of a frame turned out to say: values as text, and in words what is wrong."""

    identifier: str | None = None
    values: list[Value] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, value: str | None, unit: str = "") -> None:
        """One value."""
        self.values.append(Value(name, value, unit))

    def add_bcd(self, name: str, data: bytes, unit: str = "") -> None:
        """Digits as written, most significant first; anything else than BCD is wrong and left
        out."""
        digits = data[::-1].hex().upper()
        if digits.isdigit():
            self.add(name, digits, unit)
        else:
            self.wrong.append(f"{name}: not BCD: {digits}")

    def add_hex(self, name: str, data: bytes) -> None:
        """Bytes as they are sent; nothing when there are none."""
        if data:
            self.add(name, data.hex().upper(), "hex")

    def add_known(self, data: bytes, *, whole: bool = True) -> None:
        """The data behind the identifier."""
        values, wrong = try_values(self.identifier or "", data, whole=whole)
        self.values += values
        self.wrong += wrong

    def refuse(self, word: int, bits: tuple[str, ...]) -> None:
        """An error word of the meter, before everything else that is wrong."""
        words = ", ".join(bits).replace("_", " ") or "no reason given"
        self.wrong.insert(0, f"the meter refused: {words} (ERR {word:02X})")

    def check_reply_address(self, address: str) -> None:
        """An answer carries the meter's own address, whatever was asked."""
        if address.startswith("AA"):
            self.wrong.append(
                f"the answer carries the wildcard {address} in place of the meter's own address"
            )
        elif address == BROADCAST:
            self.wrong.append(
                "the answer carries the broadcast address in place of the meter's own address"
            )


def tell_unknown(frame: Frame, told: Told) -> None:
    """Data that nobody can tell."""
    told.add_hex("data", frame.data)


def tell_address(frame: Frame, told: Told) -> None:
    """Six bytes of address."""
    if len(frame.data) != 6:
        told.wrong.append(f"an address has 6 bytes, not {len(frame.data)}")
        told.add_hex("data", frame.data)
    else:
        told.add_bcd("address", frame.data)


def tell_no_data(frame: Frame, told: Told) -> None:
    """A function that carries nothing."""
    if frame.data:
        told.wrong.append(f"has no data by the standard, this one has {len(frame.data)} bytes")
        told.add_hex("data", frame.data)


def tell_impossible_reply(frame: Frame, told: Told) -> None:
    """An answer to a broadcast of the time."""
    told.wrong.append("nobody answers a broadcast of the time")
    told.add_hex("data", frame.data)


def tell_broadcast_time(frame: Frame, told: Told) -> None:
    """ss mm hh DD MM YY."""
    if len(frame.data) != 6:
        told.wrong.append(f"a broadcast time has 6 data bytes, not {len(frame.data)}")
        told.add_hex("data", frame.data)
    else:
        told.add_bcd("time", frame.data, "YYMMDDhhmmss")


def parse_hex(text: str) -> bytes:
    """Bytes from what people paste: blanks, 0x, commas, colons ... between bytes. FrameError names
    the wrong place."""
    digits: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in SEPARATORS:
            at += 1
        elif text[at : at + 2] in ("0x", "0X"):
            at += 2
        else:
            for place in (at, at + 1):
                if place == len(text) or (place > at and text[place] in SEPARATORS):
                    raise FrameError(
                        f"half a byte at position {at + 1}: {_around(text, at)} (two digits make a byte)"
                    )
                if text[place] not in HEX_DIGITS:
                    raise FrameError(
                        f"no hexadecimal digit at position {place + 1}: {_around(text, place)}"
                    )
            digits.append(text[at : at + 2])
            at += 2
    return bytes.fromhex("".join(digits))


def _around(text: str, at: int) -> str:
    """The neighbourhood of the mistake, safe to print."""
    return repr(text[max(at - 8, 0) : at + 8])
