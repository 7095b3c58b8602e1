"""The reads that happen a million times a day, prepared: the same identifiers from one meter after
another.

A request is two pieces laid side by side, one of the meter and one of the identifier. The head of
its answer is known before it comes; values come out of tables. Whatever is not exactly as
expected, be it another meter, noise, a wrong checksum or a value that is no BCD, goes to the
general decoder, which decides."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from struct import Struct
from typing import Final
from zlib import adler32

from protocols.dlt645 import functions
from protocols.dlt645.bcd import ENERGY_WIDTH, decode_registers, encode_time
from protocols.dlt645.exchanges import CODEC_2007, STAMP
from protocols.dlt645.frame import END, OVERHEAD, WAKE_UP, Decoder, Frame
from protocols.dlt645.identifiers import Kind, meaning
from protocols.dlt645.messages import check
from protocols.errors import FrameError

DECIMALS: Final = 2
HUNDREDTH: Final = Decimal("0.01")
REGISTERS: Final = 5
"""The total and four tariffs: what nearly every meter has."""
HEAD: Final = 14
"""A frame from 68H up to its identifier."""
REQUEST_LENGTH: Final = len(WAKE_UP) + OVERHEAD + 4
"""Bytes of every request, wake-up included."""
LENGTH: Final = OVERHEAD + 4 + REGISTERS * ENERGY_WIDTH
_unpack: Final = Struct(f"<{HEAD}s{2 * REGISTERS}HBB").unpack_from
"""A whole answer with five energies: head, pairs of data bytes, CS, 16H."""


_ENDS: Final = tuple(bytes((total & 0xFF, END)) for total in range(2 * 0x100 - 1))
"""The last two bytes of a request by the sum of its two pieces."""


class PreparedMeter:
    """What every request to one meter and every answer from it begin with."""

    __slots__ = ("address", "reply_head", "request_head", "request_sum")

    def __init__(self, address: str) -> None:
        """FrameError when `address` is not 12 digits."""
        if len(address) != 12 or not (address.isascii() and address.isdigit()):
            raise FrameError(f"{address!r} is no meter address of 12 digits")
        start = b"\x68" + bytes.fromhex(address)[::-1] + b"\x68"
        self.address = address
        self.request_head = WAKE_UP + start + bytes((functions.READ, ENERGY_WIDTH))
        self.request_sum = sum(self.request_head[len(WAKE_UP) :]) & 0xFF
        self.reply_head = start + bytes((functions.READ | 0x80,))


class PreparedRead:
    """Reads one identifier whose data have `width` bytes."""

    __slots__ = ("_sum", "_wire", "identifier", "reply_length", "reply_tail")

    def __init__(self, identifier: str, width: int) -> None:
        wire = sent(bytes.fromhex(identifier)[::-1])
        self.identifier = identifier
        self._wire = wire
        self._sum = sum(wire) & 0xFF
        self.reply_tail = bytes((4 + width,)) + wire
        self.reply_length = len(WAKE_UP) + OVERHEAD + 4 + width
        """Of the whole answer with the wake-up that most meters send."""

    def request(self, meter: PreparedMeter) -> bytes:
        """The request as it goes on the line, wake-up included."""
        return meter.request_head + self._wire + _ENDS[meter.request_sum + self._sum]

    def reply_head(self, meter: PreparedMeter) -> bytes:
        """What an answer of this meter begins with behind its wake-up: HEAD bytes."""
        return meter.reply_head + self.reply_tail

    def data(self, head: bytes, answer: bytes) -> bytes | None:
        """The data as they are sent (+33H); None if `answer` is not exactly one good answer with
        this head."""
        at = answer.find(b"\x68")
        if (
            0 <= at == len(answer) - head[9] - OVERHEAD
            and answer.startswith(head, at)
            # Why this is CS: see `frame.checksum`, whose call would cost as much again.
            and answer[-2] == adler32(answer[at:-2]) - 1 & 0xFF
            and answer[-1] == END
        ):
            return answer[at + HEAD : -2]
        return None


class PreparedEnergies(PreparedRead):
    """Reads the energies behind one identifier, such as 05060101: total and four tariffs.

    An answer with another number of registers is decoded all the same, more slowly."""

    __slots__ = ()

    def __init__(self, identifier: str) -> None:
        """FrameError for an identifier whose values are not unsigned energies XXXXXX.XX."""
        known = meaning(identifier)
        fields = known.record.fields if known else ()
        forms = [(field.kind, field.width, field.decimals, field.signed) for field in fields]
        if forms != [(Kind.NUMBER, ENERGY_WIDTH, DECIMALS, False)]:
            raise FrameError(
                f"{identifier} cannot be prepared: it is no unsigned energy of the form XXXXXX.XX"
            )
        super().__init__(identifier, REGISTERS * ENERGY_WIDTH)

    def registers(self, meter: PreparedMeter, answer: bytes) -> tuple[int | None, ...]:
        """The registers of an answer in 0.01 kWh (kvarh), None where the meter has no data.

        `answer` is all that came for one request, wake-up included. FrameError when there is no
        answer in it or a value is no BCD, MeterRefused when the meter refuses."""
        known = self.energies(self.reply_head(meter), answer)
        if known is None:
            return general_registers(meter.address, self.identifier, answer)
        return known

    def energies(self, head: bytes, answer: bytes) -> tuple[int, ...] | None:
        """Five registers in 0.01 kWh.

        None if `answer` is not exactly one good answer with this head, or if one of them is no
        number: the general decoder says why."""
        low = _LOW
        high = _HIGH
        at = answer.find(b"\x68")
        if 0 <= at == len(answer) - LENGTH:
            found, a, b, c, d, e, f, g, h, i, j, checksum, end = _unpack(answer, at)
            if found == head and checksum == adler32(answer[at:-2]) - 1 & 0xFF and end == END:
                try:
                    return (
                        low[a] + high[b],
                        low[c] + high[d],
                        low[e] + high[f],
                        low[g] + high[h],
                        low[i] + high[j],
                    )
                except TypeError:
                    pass
        return None


def sent(data: bytes) -> bytes:
    """The data as they are sent (+33H)."""
    return bytes(byte + 0x33 & 0xFF for byte in data)


def time_of_day(data: bytes) -> int | None:
    """Seconds since 00:00 from ss mm hh (04000102) as they are sent (+33H), or None.

    None if that is no time of day."""
    # 33H is 00 as it is sent: with it behind, one byte is a pair of the table.
    seconds, minutes, hours = (_LOW[byte | 0x3300] for byte in data)
    if None in (seconds, minutes, hours):
        return None
    is_time = seconds < 60 and minutes < 60 and hours < 24
    return 3600 * hours + 60 * minutes + seconds if is_time else None


@cache
def midnight_stamp(day: int) -> bytes:
    """The stamp of the freeze of this day's 00:00 (050600NN), mm hh DD MM YY as it is sent (+33H).

    `day`: its number (date.toordinal)."""
    return sent(encode_time(datetime.combine(date.fromordinal(day), time()), STAMP))


def energies_of(frame: Frame) -> tuple[int | None, ...]:
    """The registers of an answer that was decoded in general, in 0.01 kWh.

    FrameError for what is no BCD."""
    registers = decode_registers(frame.data[4:])
    return tuple(
        None if register is None else int(register.scaleb(DECIMALS)) for register in registers
    )


def general_registers(address: str, identifier: str, answer: bytes) -> tuple[int | None, ...]:
    """What `PreparedEnergies.registers` gives, by the general decoder.

    It takes any number of registers, and any noise around them."""
    request = Frame(address, functions.READ, bytes.fromhex(identifier)[::-1])
    decoder = Decoder()
    for item in decoder.feed(answer) + decoder.flush():
        if isinstance(item, Frame) and CODEC_2007.is_answer(request, item):
            check(item, identifier)
            return energies_of(item)
    raise FrameError(
        f"no answer of meter {address} to {identifier}: {answer.hex(' ').upper() or 'nothing came'}"
    )


def as_kwh(registers: tuple[int | None, ...]) -> tuple[Decimal | None, ...]:
    """Registers in 0.01 kWh as kWh with two decimals."""
    return tuple(
        [None if register is None else Decimal(register) * HUNDREDTH for register in registers]
    )


def _table() -> list[int]:
    """Two bytes as they are sent, as a little-endian number, to their four digits.

    What is no BCD is None, which cannot be added: a lie to the type checker that
    `PreparedEnergies.energies` answers for."""
    digits: list[int | None] = [None] * 256
    for tens in range(10):
        for ones in range(10):
            digits[(tens << 4 | ones) + 0x33 & 0xFF] = 10 * tens + ones
    return [None if a is None or b is None else 100 * b + a for b in digits for a in digits]  # type: ignore[misc]


_LOW: Final = _table()
_HIGH: Final = [pair if pair is None else 10_000 * pair for pair in _LOW]
