"""The one read that happens a million times a day, prepared: energies of one identifier from one meter after another.

The request is two pieces laid side by side, one of the meter and one of the identifier. The head of the answer is known
before it comes and compared at once; its values come out of tables of all pairs of bytes. Whatever is not exactly as
expected - another meter, noise, a wrong checksum, a value that is no BCD - goes to the general decoder, which decides.
"""

from __future__ import annotations

from decimal import Decimal
from struct import Struct
from typing import Final
from zlib import adler32

from protocols.dlt645 import functions
from protocols.dlt645.bcd import ENERGY_WIDTH, decode_registers
from protocols.dlt645.exchanges import CODEC_2007, check
from protocols.dlt645.frame import END, OVERHEAD, WAKE_UP, Decoder, Frame, encode
from protocols.dlt645.identifiers import Kind, meaning
from protocols.errors import FrameError

DECIMALS: Final = 2
REGISTERS: Final = 5
LENGTH: Final = OVERHEAD + 4 + REGISTERS * ENERGY_WIDTH
_unpack: Final = Struct(f"<14s{2 * REGISTERS}HBB").unpack_from
"""From 68H on: head up to the identifier, pairs of data bytes, CS, 16H."""


class PreparedMeter:
    """What every request to one meter and every answer from it begin with."""

    __slots__ = ("address", "reply_head", "request_head", "request_sum")

    def __init__(self, address: str) -> None:
        """FrameError when `address` is not 12 digits."""
        start = encode(Frame(address, functions.READ))[:8]
        self.address = address
        self.request_head = WAKE_UP + start + bytes((functions.READ, ENERGY_WIDTH))
        self.request_sum = sum(self.request_head[len(WAKE_UP) :]) & 0xFF
        self.reply_head = start + bytes((functions.READ | 0x80,))


class PreparedRead:
    """Reads the energies behind one identifier, such as 05060101: total and four tariffs, what nearly every meter has.
    An answer with another number of registers is decoded all the same, more slowly."""

    __slots__ = ("_reply_tail", "_tails", "identifier")

    def __init__(self, identifier: str) -> None:
        """FrameError for an identifier whose values are not unsigned energies XXXXXX.XX."""
        known = meaning(identifier)
        fields = known.record.fields if known else ()
        if [(it.kind, it.width, it.decimals, it.signed) for it in fields] != [
            (Kind.NUMBER, ENERGY_WIDTH, DECIMALS, False)
        ]:
            raise FrameError(f"{identifier} cannot be prepared: it is no unsigned energy of the form XXXXXX.XX")
        self.identifier = identifier
        wire = encode(Frame("0" * 12, functions.READ, bytes.fromhex(identifier)[::-1]))[10:14]
        self._tails = tuple(wire + bytes(((head + sum(wire)) & 0xFF, END)) for head in range(256))
        self._reply_tail = bytes((LENGTH - OVERHEAD,)) + wire

    def request(self, meter: PreparedMeter) -> bytes:
        """The request as it goes on the line, wake-up included."""
        return meter.request_head + self._tails[meter.request_sum]

    def registers(self, meter: PreparedMeter, answer: bytes) -> tuple[int | None, ...]:
        """The registers of an answer in 0.01 kWh (kvarh), None where the meter has no data.

        `answer` is all that came for one request, wake-up included. FrameError when there is no answer in it or a value
        is no BCD, MeterRefused when the meter refuses.
        """
        low, high = _LOW, _HIGH
        at = answer.find(b"\x68")
        if 0 <= at == len(answer) - LENGTH:
            head, a, b, c, d, e, f, g, h, i, j, checksum, end = _unpack(answer, at)
            if (
                head == meter.reply_head + self._reply_tail
                and checksum == adler32(answer[at:-2]) - 1 & 0xFF  # why this is CS: `frame.checksum`
                and end == 0x16
            ):
                try:
                    return low[a] + high[b], low[c] + high[d], low[e] + high[f], low[g] + high[h], low[i] + high[j]
                except TypeError:
                    pass  # a pair that is no BCD: no data, or damaged by the meter itself
        return general_registers(meter.address, self.identifier, answer)


def general_registers(address: str, identifier: str, answer: bytes) -> tuple[int | None, ...]:
    """What `PreparedRead.registers` gives, by the general decoder: any number of registers, any noise around them."""
    request = Frame(address, functions.READ, bytes.fromhex(identifier)[::-1])
    decoder = Decoder()
    for item in decoder.feed(answer) + decoder.flush():
        if isinstance(item, Frame) and CODEC_2007.is_answer(request, item):
            check(item, identifier)
            return tuple(None if it is None else int(it.scaleb(DECIMALS)) for it in decode_registers(item.data[4:]))
    raise FrameError(f"no answer of meter {address} to {identifier}: {answer.hex(' ').upper() or 'nothing came'}")


def as_kwh(registers: tuple[int | None, ...]) -> tuple[Decimal | None, ...]:
    """Registers in 0.01 kWh as kWh with two decimals."""
    return tuple(None if register is None else Decimal(register).scaleb(-DECIMALS) for register in registers)


def _table() -> list[int]:
    """Two bytes as they are sent, as a little-endian number, to their four digits. What is no BCD is None, which cannot
    be added: a lie to the type checker that `PreparedRead.registers` answers for."""
    digits: list[int | None] = [None] * 256
    for tens in range(10):
        for ones in range(10):
            digits[(tens << 4 | ones) + 0x33 & 0xFF] = 10 * tens + ones
    return [None if a is None or b is None else 100 * b + a for b in digits for a in digits]  # type: ignore[misc]


_LOW: Final = _table()
_HIGH: Final = [pair if pair is None else 10_000 * pair for pair in _LOW]
